"""Archives: what check_members notes, what comes back for root and for others, and lists of contents."""

import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pickup_core.archive import Listed, Members, check_members, label_options, read_listing, unescaped, unpack
from pickup_core.errors import DamageError, ProcessError
from pickup_core.patterns import search_expression
from tests.builders import NOBODY, ordinary_folder, python
from tests.end_to_end.trees import HOSTILE_NAMES, fill_with_everything, looks_of
from tests.hostile_tars import END, file, folder, hard, header, pax, symlink
from tests.stored import archived

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give files away and make devices")
Archive = Callable[..., bytes]


@pytest.fixture
def www(tmp_path: Path) -> Path:
    source = tmp_path / "www"
    (source / "css").mkdir(parents=True)
    (source / "index.html").write_text("<h1>Hello</h1>")
    (source / "css" / "site.css").write_text("h1 { color: red }")
    return source


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """A folder to unpack into, inside one that is ours alone."""
    destination = tmp_path / "spool" / "to"
    destination.mkdir(parents=True)
    return destination


def checked(archive: bytes, *patterns: str) -> Members:
    members = Members()
    check_members(io.BytesIO(archive), members, [search_expression(pattern) for pattern in patterns])
    return members


def unpacked(archive: bytes, to: Path, *patterns: str, privileged: bool = False) -> Members:
    members = checked(archive, *patterns)
    unpack(io.BytesIO(archive), to, members, privileged)
    return members


def names_below(to: Path) -> list[str]:
    return sorted(str(path.relative_to(to)) for path in to.rglob("*"))


# What a check notes


def test_a_check_counts_what_will_not_come_back() -> None:
    """V14"""
    archive = b"".join(
        [
            folder(b"d"),
            header(b"d/zero", b"3", device=(1, 5)),
            header(b"d/disk", b"4", device=(8, 0)),
            file(b"shell", mode=0o4755),
            file(b"./group", mode=0o2755),
            header(b"sticky", b"5", mode=0o3777),
            pax((b"SCHILY.xattr.security.capability", b"x" * 20)),
            file(b"ping"),
            file(b"foreign", uid=4711),
            END,
        ]
    )
    members = checked(archive)
    assert members.devices == ["d/zero", "d/disk"]
    assert members.setuid_files == ["shell", "group"]
    assert members.capabilities == 1
    assert members.foreign_owners == (1 if IS_ROOT else 8)
    assert members.selected is None


def test_a_check_counts_only_what_was_asked_for() -> None:
    """V14"""
    archive = b"".join(
        [
            file(b"shell", mode=0o4755, uid=4711),
            header(b"zero", b"3", device=(1, 5), uid=4711),
            pax((b"SCHILY.xattr.security.capability", b"x" * 20)),
            file(b"ping", uid=4711),
            file(b"page", uid=4711),
            END,
        ]
    )
    members = checked(archive, "page")
    assert list(members.selected or ()) == ["page"]
    assert (members.devices, members.setuid_files, members.capabilities, members.foreign_owners) == ([], [], 0, 1)


def test_a_hard_link_that_is_asked_for_brings_its_file_once() -> None:
    archive = file(b"a") + hard(b"b", b"a") + hard(b"c", b"a") + file(b"d") + END
    assert list(checked(archive, "b").selected or ()) == ["a", "b"]
    assert list(checked(archive, "a", "b", "c").selected or ()) == ["a", "b", "c"]
    assert list(checked(archive, "nothing").selected or ["nothing"]) == ["nothing"]


def test_the_file_behind_a_hard_link_loses_its_setuid_bit(to: Path) -> None:
    """V14"""
    archive = file(b"shell", mode=0o4755) + header(b"alias", b"1", link=b"shell", mode=0o755) + END
    members = unpacked(archive, to, "alias")
    assert members.setuid_files == ["shell"]
    assert stat.S_IMODE((to / "alias").stat().st_mode) == 0o755


def test_a_check_takes_little_memory() -> None:
    """V7"""
    code = """
import io, resource
from pickup_core.archive import Members, check_members
from tests.hostile_tars import END, file
class Stream:
    def __init__(self): self.left, self.block = 60, file(b"f", b"") * 1000
    def read(self, size):
        self.left -= 1
        return self.block if self.left > 0 else END * 20 if self.left == 0 else b""
check_members(io.BytesIO(END), Members())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
check_members(Stream(), Members())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 5000


@pytest.mark.parametrize("cut", [1, 100, 511, 512, 700, 1024, 1500])
def test_an_archive_that_is_cut_off_is_damaged(cut: int) -> None:
    archive = file(b"a", b"a" * 700) + file(b"b") + END
    with pytest.raises(DamageError, match=r"the archive (is cut off|has a header that cannot be read|cannot be read)"):
        checked(archive[:cut])


def test_no_bytes_at_all_are_no_archive() -> None:
    with pytest.raises(DamageError, match="the archive is cut off"):
        checked(b"")


def test_an_archive_without_members_is_one() -> None:
    assert checked(END) == Members()


def test_every_bit_of_a_header_is_read_strictly() -> None:
    """What tarfile takes for the end of the archive, where tar would read on, is damage."""
    archive = bytearray(file(b"a") + file(b"b") + file(b"c") + END)
    for position in {*range(1024, 1536)} - {1024 + 148, 1024 + 154, 1024 + 155}:  # spaces around the checksum
        changed = bytearray(archive)
        changed[position] ^= 0x10
        with pytest.raises(DamageError):
            checked(bytes(changed))


# What comes back


@needs_root
def test_for_root_everything_comes_back(tmp_path: Path, to: Path) -> None:
    """V14"""
    fill_with_everything(tmp_path / "www")
    os.chown(tmp_path / "www" / "empty", 1, 2)
    os.chown(tmp_path / "www" / "empty folder", 3, 4)
    os.lchown(tmp_path / "www" / "dangling", 5, 6)
    before = looks_of(tmp_path / "www")
    members = unpacked(archived(tmp_path, tmp_path / "www")["www.tar"], to)
    assert looks_of(to / "www") == before
    assert members.foreign_owners == 3


@needs_root
def test_owners_come_back_by_name(to: Path) -> None:
    """V14: the same user has another number on another machine."""
    archive = bytearray(file(b"f", uid=4711))
    archive[265:297] = b"daemon".ljust(32, b"\0")
    archive[148:156] = b" " * 8
    archive[148:156] = b"%06o\0 " % sum(archive[:512])
    unpacked(bytes(archive) + END, to)
    assert (to / "f").owner() == "daemon"


@needs_root
def test_devices_setuid_bits_and_capabilities_come_back_only_with_privileged(
    tmp_path: Path, to: Path, www: Path
) -> None:
    """V14"""
    os.mknod(www / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(www / "new\nline ", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    os.mknod(www / "trailing ", 0o660 | stat.S_IFBLK, os.makedev(7, 200))
    (www / "shell").write_text("#!")
    (www / "shell").chmod(0o6755)
    (www / "closed").write_text("#!")
    (www / "closed").chmod(0o4111)
    shutil.copy("/bin/true", www / "ping")
    subprocess.run(["setcap", "cap_net_raw+ep", www / "ping"], check=True)
    (www / "shared").mkdir()
    (www / "shared").chmod(0o2775)
    before = looks_of(www)
    archive = archived(tmp_path, www)["www.tar"]

    members = unpacked(archive, to)
    assert len(members.devices) == 3
    assert sorted(members.setuid_files) == ["www/closed", "www/shell"]
    assert members.capabilities == 1
    assert not any(stat.S_ISCHR(path.lstat().st_mode) or stat.S_ISBLK(path.lstat().st_mode) for path in to.rglob("*"))
    assert stat.S_IMODE((to / "www" / "shell").stat().st_mode) == 0o755
    assert stat.S_IMODE((to / "www" / "closed").stat().st_mode) == 0o111
    assert stat.S_IMODE((to / "www" / "shared").stat().st_mode) == 0o2775, "harmless on a folder, and part of its use"
    assert "security.capability" not in os.listxattr(to / "www" / "ping")

    (to.parent / "privileged").mkdir()
    unpacked(archive, to.parent / "privileged", privileged=True)
    assert looks_of(to.parent / "privileged" / "www") == before


def test_a_great_number_of_devices_can_be_left_out(to: Path) -> None:
    """V14: an overlay of containers holds a device for each file that was deleted."""
    name = b"whiteout-" * 9
    archive = b"".join(header(name + b"%06d" % number, b"3") for number in range(30_000)) + file(b"f") + END
    members = unpacked(archive, to)
    assert len(members.devices) == 30_000
    assert names_below(to) == ["f"]


AS_NOBODY = """
import io, json, os, pathlib, sys
import tests.end_to_end.trees as trees
from pickup_core.archive import Members, check_members, unpack
from tests.generator_contract import become_nobody
become_nobody()
archive, to = pathlib.Path(sys.argv[1]).read_bytes(), pathlib.Path(sys.argv[2])
members = Members()
check_members(io.BytesIO(archive), members)
unpack(io.BytesIO(archive), to, members, len(sys.argv) > 3)
print(json.dumps([members.foreign_owners, len(members.devices), len(members.setuid_files), members.capabilities]))
"""


def test_an_ordinary_user_gets_all_that_may_be_theirs(tmp_path: Path, www: Path) -> None:
    """V14"""
    if IS_ROOT:
        os.mknod(www / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.chown(www / "css", 1, 1)
    (www / "closed").write_text("#!")
    (www / "closed").chmod(0o4111 if IS_ROOT else 0o4511)
    (www / "sealed").mkdir()
    (www / "sealed" / "inside").write_text("x")
    os.setxattr(www / "index.html", "user.colour", b"blue")
    subprocess.run(["setfacl", "-m", "u:daemon:r", www / "index.html"], check=True)
    (www / "sealed").chmod(0o500)
    before = looks_of(www, owners=False)
    archive = archived(tmp_path, www)["www.tar"]
    with ordinary_folder() as home:
        (home / "www.tar").write_bytes(archive)
        (home / "www.tar").chmod(0o644)
        for name, more in (("to", []), ("privileged", ["--privileged"])):
            (home / name).mkdir()
            if IS_ROOT:
                os.chown(home / name, NOBODY, NOBODY)
            done = python(AS_NOBODY, home / "www.tar", home / name, *more)
            assert done.returncode == 0, done.stderr
            foreign, devices, setuid, capabilities = __import__("json").loads(done.stdout)
            assert (foreign, devices, setuid, capabilities) == ((8, 1, 1, 0) if IS_ROOT else (0, 0, 1, 0))
            after = looks_of(home / name / "www", owners=False)
            assert after.keys() == before.keys() - {b"null"}
            changed = {key for key in after if after[key] != before[key]} - {b"."}
            assert changed <= {b"closed"}
            assert all(path.lstat().st_uid in (NOBODY, os.geteuid()) for path in (home / name).rglob("*"))


def test_the_selected_members_alone_are_unpacked(to: Path) -> None:
    archive = folder(b"www") + file(b"www/a") + folder(b"www/d") + file(b"www/d/b") + file(b"www/d*") + END
    unpacked(archive, to, "www/d")
    assert names_below(to) == ["www", "www/d", "www/d/b"]


def test_members_with_hostile_names_can_be_selected(tmp_path: Path, to: Path) -> None:
    """G30"""
    (tmp_path / "www").mkdir()
    for name in HOSTILE_NAMES:
        with open(os.path.join(os.fsencode(tmp_path / "www"), name), "wb") as stream:
            stream.write(name)
    archive = archived(tmp_path, tmp_path / "www")["www.tar"]
    members = Members()
    check_members(io.BytesIO(archive), members, [search_expression("www/*")])
    assert sorted(map(os.fsencode, members.selected or ())) == sorted(b"www/" + name for name in HOSTILE_NAMES)
    unpack(io.BytesIO(archive), to, members, False)
    assert sorted(os.listdir(os.fsencode(to / "www"))) == sorted(HOSTILE_NAMES)


def test_a_member_that_tar_cannot_write_is_named(tmp_path: Path, to: Path) -> None:
    """G30: no program can open a path of more than 4096 bytes at once."""
    name = b"/".join([b"p" * 250] * 18)
    with pytest.raises(ProcessError, match="File name too long"):
        unpacked(pax((b"path", name)) + file(b"x") + END, to)


def test_what_stands_in_the_environment_has_no_effect(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("TAR_OPTIONS", "--exclude=* --no-such-option"),
        ("POSIXLY_CORRECT", "1"),
        ("TAPE", "/dev/null"),
    ):
        monkeypatch.setenv(name, value)
    unpacked(file(b"f") + END, to)
    assert names_below(to) == ["f"]
    assert "--acls" in label_options()


def test_a_tar_that_is_none_is_told_by_its_help(tmp_path: Path) -> None:
    (tmp_path / "tar").write_text("#!/bin/sh\necho a tar of our own\n")
    (tmp_path / "tar").chmod(0o755)
    with pytest.raises(ProcessError, match="is not GNU tar\nHint: install GNU tar"):
        label_options([str(tmp_path / "tar")])
    with pytest.raises(ProcessError, match="cannot be found in PATH"):
        label_options(["a-tar-that-is-not-there"])


def test_a_pipe_that_breaks_off_leaves_no_process(to: Path) -> None:
    from tests.generator_contract import children

    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    running = children()
    with pytest.raises(OSError, match="Input/output error"):
        unpack(Broken(), to, Members(), False)
    assert children() == running


# Lists of contents


def listed(*lines: bytes) -> list[Listed]:
    return list(read_listing(iter(line + b"\n" for line in lines)))


def test_a_line_of_a_list_tells_type_size_time_and_name() -> None:
    (line,) = listed(b"-rw-r--r--  root/root        15 2026-11-23 18:19:05.928903006 www/index.html")
    assert line == Listed("-", 15, datetime(2026, 11, 23, 18, 19, 5, tzinfo=timezone.utc), "www/index.html")


@pytest.mark.parametrize(
    ("line", "kind", "name"),
    [
        (b"drwxr-xr-x  root/root         0 2026-11-23 18:03:08.1 www/", "d", "www"),
        (b"-rw-r--r--* root/root         3 2026-11-23 18:03:08.1 www/with attributes", "-", "www/with attributes"),
        (b"-rw-r--r--+ root/root         3 2026-11-23 18:03:08.1 www/with acl", "-", "www/with acl"),
        (b"-rw-r--r--. root/root         3 2026-11-23 18:03:08.1 www/with label", "-", "www/with label"),
        (b"lrwxrwxrwx  root/root         0 2026-11-23 18:03:08.1 www/link -> ../elsewhere", "l", "www/link"),
        (b"hrw-r--r--  root/root         0 2026-11-23 18:03:08.1 www/a link to www/b", "h", "www/a"),
        (b"crw-rw-rw-  root/root       1,3 2026-11-23 18:03:08.1 dev/null", "c", "dev/null"),
        (b"prw-r-----  root/root         0 2026-11-23 18:03:08.1 www/fifo", "p", "www/fifo"),
        (b"-rwsr-Sr-t  1000/1000         0 1969-12-31 23:59:59 www/old", "-", "www/old"),
        (b"-rw-r--r--  CORP\\anna/CORP\\domain users 7 2026-11-23 18:03:08.1 www/of a domain", "-", "www/of a domain"),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 www/\\303\\274\\377\\n\\t\\\\ \\e", "-", "www/\xfc\udcff\n\t\\ e"),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 www/\xc3\xbc\\377", "-", "www/\xfc\udcff"),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1  leading", "-", " leading"),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 trailing ", "-", "trailing "),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 a -> b", "-", "a -> b"),
        (b"-rw-r--r--  root/root         3 2026-11-23 18:03:08.1 a link to b", "-", "a link to b"),
    ],
)  # fmt: skip
def test_a_line_of_a_list_is_read_whatever_it_holds(line: bytes, kind: str, name: str) -> None:
    (found,) = listed(line)
    assert (found.type, found.name) == (kind, name)


def test_lines_that_are_none_are_passed_over() -> None:
    assert (
        listed(b"", b"garbage", b"  x:  6 user.foo", b"\xff\xfe", b"-rw-r--r-- root/root x 2026-11-23 18:03:08 f") == []
    )


def test_a_list_that_tar_has_made_is_read_to_the_letter(tmp_path: Path) -> None:
    """G30"""
    if IS_ROOT:
        fill_with_everything(tmp_path / "www")
    else:
        (tmp_path / "www").mkdir()
        for name in HOSTILE_NAMES:
            with open(os.path.join(os.fsencode(tmp_path / "www"), name), "wb"):
                pass
    contents = archived(tmp_path, tmp_path / "www")
    with tarfile.open(fileobj=io.BytesIO(contents["www.tar"]), errors="surrogateescape") as archive:
        members: dict[str, Any] = {member.name: member for member in archive}
    lines = {line.name: line for line in read_listing(iter(contents["www.contents"].splitlines(keepends=True)))}
    assert lines.keys() == members.keys()
    for name, member in members.items():
        assert lines[name].size == (member.size if member.isreg() else 0), name
        assert abs(lines[name].modified.timestamp() - member.mtime) < 1, name


def test_escapes_are_undone() -> None:
    assert unescaped(r"a\nb\t\\ \"\303\274\377") == 'a\nb\t\\ "\xfc\udcff'
    assert unescaped("plain") == "plain"
    assert unescaped("\xfc") == "\xfc"
    assert os.fsencode(unescaped(r"\a\b\f\n\r\t\v\177\001")) == b"\a\b\f\n\r\t\v\x7f\x01"


def test_names_in_a_list_can_be_read_by_people(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "M\xfcller.txt").write_text("x")
    contents = archived(tmp_path, tmp_path / "www")["www.contents"]
    assert "www/M\xfcller.txt" in contents.decode()


@pytest.fixture(autouse=True)
def nothing_is_left_beside(tmp_path: Path) -> Iterator[None]:
    """The files with names for tar are removed."""
    yield
    assert not any(path.is_file() for path in (tmp_path / "spool").glob("*"))


def test_symbolic_links_are_remembered_from_one_archive_to_the_next() -> None:
    """V6"""
    members = checked(symlink(b"l", b"elsewhere") + END)
    with pytest.raises(DamageError, match="'l/f' that lies behind a symbolic link"):
        check_members(io.BytesIO(file(b"l/f") + END), members)
