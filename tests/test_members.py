"""Members: what a check notes, and what comes back for root and for others."""

import io
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pickup_core.archive import LONGEST_NAME, label_options
from pickup_core.errors import DamageError, ProcessError
from pickup_core.members import Members, check_members, unpack
from pickup_core.patterns import search_expression
from tests.builders import NOBODY, ordinary_folder, python
from tests.end_to_end.trees import HOSTILE_NAMES, fill_with_everything, looks_of
from tests.hostile_tars import END, file, folder, hard, header, long, pax, symlink
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


@pytest.fixture(autouse=True)
def nothing_is_left_beside(tmp_path: Path) -> Iterator[None]:
    """The files with names for tar are removed."""
    yield
    assert not any(path.is_file() for path in (tmp_path / "spool").glob("*"))


# What a check notes


def test_a_check_counts_what_headers_alone_tell() -> None:
    """V14"""
    archive = b"".join(
        [
            folder(b"d"),
            file(b"shell", mode=0o4755),
            pax((b"SCHILY.xattr.security.capability", b"x" * 20)),
            file(b"ping"),
            file(b"foreign", uid=4711),
            END,
        ]
    )
    members = checked(archive)
    assert members.capabilities == 1
    assert members.foreign_owners == (1 if IS_ROOT else 4)
    assert members.selected is None
    members = checked(archive, "shell", "foreign")
    assert list(members.selected or ()) == ["shell", "foreign"]
    assert (members.capabilities, members.foreign_owners) == (0, 1 if IS_ROOT else 2)


@needs_root
def test_what_is_taken_away_is_counted_where_it_was_asked_for(to: Path) -> None:
    """V14"""
    archive = b"".join(
        [
            folder(b"d"),
            header(b"d/zero", b"3", device=(1, 5)),
            header(b"d/disk", b"4", device=(8, 0)),
            hard(b"d/same disk", b"d/disk"),
            file(b"shell", mode=0o4755),
            file(b"./group", mode=0o2755),
            header(b"sticky", b"5", mode=0o3777),
            file(b"page"),
            END,
        ]
    )
    members = unpacked(archive, to)
    assert (members.devices, members.setuid_files) == (3, 2)
    assert names_below(to) == ["d", "group", "page", "shell", "sticky"]
    (to.parent / "page").mkdir()
    members = unpacked(archive, to.parent / "page", "page")
    assert (members.devices, members.setuid_files) == (0, 0)
    assert names_below(to.parent / "page") == ["page"]


@needs_root
def test_a_device_whose_name_only_tar_can_read_is_taken_away(to: Path) -> None:
    """V6: Python's tarfile reads another name than GNU tar."""
    archive = long(b"safe\0") + long(b"other\0") + header(b"x", b"3", device=(1, 5)) + file(b"f") + END
    members = unpacked(archive, to)
    assert members.devices == 1
    assert names_below(to) == ["f"]


def test_a_hard_link_that_is_asked_for_brings_its_file_once() -> None:
    archive = file(b"a") + hard(b"b", b"a") + hard(b"c", b"a") + file(b"d") + END
    assert list(checked(archive, "b").selected or ()) == ["a", "b"]
    assert list(checked(archive, "a", "b", "c").selected or ()) == ["a", "b", "c"]
    assert checked(archive, "nothing").selected == {}


def test_the_file_behind_a_hard_link_loses_its_setuid_bit(to: Path) -> None:
    """V14"""
    archive = file(b"shell", mode=0o4755) + header(b"alias", b"1", link=b"shell", mode=0o755) + END
    members = unpacked(archive, to, "alias")
    assert members.setuid_files == 1
    assert stat.S_IMODE((to / "alias").stat().st_mode) == 0o755


def test_where_nothing_is_selected_nothing_is_unpacked(to: Path) -> None:
    """tar takes a list without names for no list."""
    unpacked(file(b"a") + folder(b"d") + END, to, "nothing")
    assert names_below(to) == []


def test_a_name_of_very_many_parts_takes_a_moment() -> None:
    """V7: stored, the archive is of a few hundred bytes."""
    name = b"a/" * 40_000 + b"f"
    start = time.process_time()
    checked(symlink(b"x", b"y") + (pax((b"path", name)) + file(b"f")) * 40 + END)
    assert time.process_time() - start < 5
    with pytest.raises(DamageError, match="that lies behind a symbolic link"):
        checked(symlink(b"x", b"y") + pax((b"path", name), (b"linkpath", b"y")) + symlink(b"l", b"y")
                + pax((b"path", b"./" + name + b"//g")) + file(b"f") + END)  # fmt: skip


@pytest.mark.parametrize("key", [b"path", b"linkpath"])
def test_a_name_that_is_too_long_for_any_use_is_damage(key: bytes) -> None:
    """V7"""
    archive = pax((key, b"a/" * (LONGEST_NAME // 2) + b"f")) + symlink(b"l", b"y") + END
    with pytest.raises(DamageError, match=f"a member with a name of more than {LONGEST_NAME} characters"):
        checked(archive)


def test_very_many_symbolic_links_with_long_names_take_little_memory() -> None:
    """V7: they are stored in some KB."""
    code = """
import io, resource
from pickup_core.members import Members, check_members
from tests.hostile_tars import END, pax, symlink
class Stream:
    def __init__(self): self.left = 40_000
    def read(self, size):
        self.left -= 1
        name = b"%d/" % self.left + (b"a" * 230 + b"/") * 4 + b"l"
        return pax((b"path", name)) + symlink(b"l", b"x") if self.left > 0 else END * 20 if self.left == 0 else b""
check_members(io.BytesIO(END), Members())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
members = Members()
check_members(Stream(), members)
print(len(members.symlinks), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr
    count, kibibytes = map(int, done.stdout.split())
    assert count == 39_999
    assert kibibytes < 10_000


def test_a_check_takes_little_memory() -> None:
    """V7"""
    code = """
import io, resource
from pickup_core.members import Members, check_members
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
    assert members.devices == 3
    assert members.setuid_files == 2
    assert members.capabilities == 1
    assert not any(stat.S_ISCHR(path.lstat().st_mode) or stat.S_ISBLK(path.lstat().st_mode) for path in to.rglob("*"))
    assert stat.S_IMODE((to / "www" / "shell").stat().st_mode) == 0o755
    assert stat.S_IMODE((to / "www" / "closed").stat().st_mode) == 0o111
    assert stat.S_IMODE((to / "www" / "shared").stat().st_mode) == 0o2775, "harmless on a folder, and part of its use"
    assert "security.capability" not in os.listxattr(to / "www" / "ping")

    (to.parent / "privileged").mkdir()
    unpacked(archive, to.parent / "privileged", privileged=True)
    assert looks_of(to.parent / "privileged" / "www") == before


@needs_root
def test_a_great_number_of_devices_can_be_left_out(to: Path) -> None:
    """V14: an overlay of containers holds a device for each file that was deleted."""
    name = b"whiteout-" * 9
    archive = b"".join(header(name + b"%06d" % number, b"3") for number in range(30_000)) + file(b"f") + END
    members = unpacked(archive, to)
    assert members.devices == 30_000
    assert names_below(to) == ["f"]


AS_NOBODY = """
import io, json, os, pathlib, sys
import tests.end_to_end.trees as trees
from pickup_core.members import Members, check_members, unpack
from tests.generator_contract import become_nobody
become_nobody()
archive, to = pathlib.Path(sys.argv[1]).read_bytes(), pathlib.Path(sys.argv[2])
members = Members()
check_members(io.BytesIO(archive), members)
unpack(io.BytesIO(archive), to, members, len(sys.argv) > 3)
print(json.dumps([members.foreign_owners, members.devices, members.setuid_files, members.capabilities]))
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


def test_a_member_that_no_file_system_takes_is_named(to: Path) -> None:
    """G30: a name of more than 255 bytes, alone or deep down."""
    for name in (b"n" * 256, b"/".join([b"p" * 250] * 3 + [b"n" * 5000])):
        with pytest.raises(ProcessError, match="File name too long"):
            unpacked(pax((b"path", name)) + file(b"x") + END, to)


AS_NOBODY_WITH_DEVICES = """
import io, pathlib, sys
from pickup_core.errors import PickupError
from pickup_core.members import Members, check_members, unpack
from tests.generator_contract import become_nobody
from tests.hostile_tars import END, file, hard, header
become_nobody()
to, members = pathlib.Path(sys.argv[1]), Members()
archive = b"".join(header(b"d%d" % number, b"3", device=(1, 5)) for number in range(int(sys.argv[2])))
archive += file(b"f") + (hard(b"x", b"absent") if sys.argv[3] else b"") + END
check_members(io.BytesIO(archive), members)
try:
    unpack(io.BytesIO(archive), to, members, False)
    print(members.devices, *(path.name for path in to.iterdir()))
except PickupError as error:
    print(str(error))
"""


@needs_root
def test_only_devices_may_fail_for_an_ordinary_user() -> None:
    """V14: tar's status says only that something failed; that is no reason to lose a file without a word."""
    for count, broken, said in (
        (3, "", "3 f"),
        (0, "", "0 f"),
        (3, "and a link to nothing", "x: Cannot hard link to"),
        (9_500, "", "tar ended with status 2"),
    ):
        with ordinary_folder() as home:
            done = python(AS_NOBODY_WITH_DEVICES, home, str(count), broken)
            assert done.returncode == 0, done.stderr
            assert said in done.stdout
            assert ("mknod" in done.stdout) == (count > 3)


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


def test_a_pipe_that_breaks_off_leaves_no_process(to: Path) -> None:
    from tests.generator_contract import children

    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    running = children()
    with pytest.raises(OSError, match="Input/output error"):
        unpack(Broken(), to, Members(), False)
    assert children() == running


def test_symbolic_links_are_remembered_from_one_archive_to_the_next() -> None:
    """V6"""
    members = checked(symlink(b"l", b"elsewhere") + END)
    with pytest.raises(DamageError, match="'l/f' that lies behind a symbolic link"):
        check_members(io.BytesIO(file(b"l/f") + END), members)
