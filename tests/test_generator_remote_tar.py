"""Archives of another host, over a real sshd."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from generator_profiles import remote_tar
from generator_profiles.remote_tar import Config, check
from pickup_core.errors import ExitCode, PickupError
from tests.generator_contract import GeneratorContract, Sample, produce, run_entry
from tests.servers.proxy import cutting_proxy
from tests.servers.rsync_sshd import RsyncHost, rsync_host
from tests.servers.running import free_port
from tests.servers.sshd import SFTP, Server, make_key, public_key, sshd
from tests.test_generator_folder import files_in, fill, listed, members, unpacked


@pytest.fixture(scope="module")
def host() -> Iterator[RsyncHost]:
    """Another host, where the user that the tests run as is let in."""
    with rsync_host() as running:
        yield running


@pytest.fixture(scope="module")
def closed() -> Iterator[Server]:
    """A host where one user has no shell."""
    with sshd() as running:
        yield running


def answered(host: RsyncHost, *paths: Path, **options: Any) -> dict[str, Any]:
    """Give the config of an entry, as a file has it."""
    config = {**host.config(), "path": [str(path) for path in paths], **options}
    return {name: str(value) if isinstance(value, Path) else value for name, value in config.items()}


class TestContract(GeneratorContract):
    profile = "remote_tar"

    @pytest.fixture
    def good(self, sources: Path, host: RsyncHost) -> Sample:
        fill(sources / "www", "index.html", "css/site.css", "\N{SNOWMAN} and\nmore")
        home = fill(sources / "-it's; `false` $(exit 1) \\n\n* \"" / "-mail $HOME; 'x'", "anna/inbox")
        (home / "link").symlink_to("anna")
        strange = b"-mail $HOME; 'x'"
        return Sample(
            answered(host, sources / "www", home),
            {
                "www.tar": {
                    b"www": None,
                    b"www/index.html": b"index.html",
                    b"www/css": None,
                    b"www/css/site.css": b"css/site.css",
                    b"www/\xe2\x98\x83 and\nmore": "\N{SNOWMAN} and\nmore".encode(),
                },
                "www.contents": [
                    (b"www", "d"),
                    (b"www/css", "d"),
                    (b"www/css/site.css", "-"),
                    (b"www/index.html", "-"),
                    (b"www/\xe2\x98\x83 and\nmore", "-"),
                ],
                "-mail $HOME; 'x'.tar": {
                    strange: None,
                    strange + b"/anna": None,
                    strange + b"/anna/inbox": b"anna/inbox",
                    strange + b"/link": b"-> anna",
                },
                "-mail $HOME; 'x'.contents": [
                    (strange, "d"),
                    (strange + b"/anna", "d"),
                    (strange + b"/anna/inbox", "-"),
                    (strange + b"/link", "l"),
                ],
            },
        )

    @pytest.fixture
    def bad(self, sources: Path, host: RsyncHost) -> Sample:
        fill(sources / "www", "index.html")
        return Sample(
            answered(host, sources / "missing", sources / "www"),
            {
                "www.tar": {b"www": None, b"www/index.html": b"index.html"},
                "www.contents": [(b"www", "d"), (b"www/index.html", "-")],
            },
            {"missing.tar": "missing: Cannot stat: No such file or directory"},
        )

    def meaning(self, name: str, content: bytes) -> Any:
        if name.endswith(".contents"):
            return sorted((os.fsencode(line.name), line.type) for line in listed(content))
        files: dict[str, bytes] = files_in(content)
        return {
            os.fsencode(name): f"-> {member.linkname}".encode() if member.issym() else files.get(name)
            for name, member in members(content).items()
        }


def names_of(archive: bytes) -> set[str]:
    return set(members(archive))


# What is archived


def test_links_holes_modes_times_and_attributes_come_along(tmp_path: Path, host: RsyncHost, scratch: Path) -> None:
    source = fill(tmp_path / "www", "file")
    (source / "second").hardlink_to(source / "file")
    with (source / "sparse").open("wb") as file:
        file.truncate(200_000_000)
    (source / "file").chmod(0o4751)
    os.utime(source / "file", ns=(1, 1_234_567_890_123_456_789))
    os.mkfifo(source / "fifo")
    os.setxattr(source / "file", "user.note", b"kept")
    produced = produce("remote_tar", answered(host, source), scratch)
    assert produced.failures == {}
    assert len(produced.contents["www.tar"]) < 100_000
    back = unpacked(produced.contents["www.tar"], tmp_path / "back") / "www"
    assert (back / "file").stat().st_ino == (back / "second").stat().st_ino
    assert (back / "file").stat().st_mtime_ns == 1_234_567_890_123_456_789
    assert (back / "file").stat().st_mode & 0o7777 == 0o4751
    assert os.getxattr(back / "file", "user.note") == b"kept"
    assert (back / "sparse").stat().st_size == 200_000_000


def test_what_is_excluded_stays_there(tmp_path: Path, host: RsyncHost, scratch: Path) -> None:
    source = fill(tmp_path / "www", "a.tmp", "deep/b.tmp", "cache/x", "deep/cache/y", "kept; $(touch x)")
    (source / "tagged").mkdir()
    (source / "tagged/CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55")
    (source / "tagged/file").write_text("1")
    config = answered(host, source, exclude=["*.tmp", f"{source}/cache"], exclude_caches=True)
    produced = produce("remote_tar", config, scratch)
    assert names_of(produced.contents["www.tar"]) == {
        "www", "www/deep", "www/deep/cache", "www/deep/cache/y", "www/kept; $(touch x)", "www/tagged",
        "www/tagged/CACHEDIR.TAG",
    }  # fmt: skip


def test_a_large_archive_goes_through_in_bounded_memory(tmp_path: Path, host: RsyncHost, scratch: Path) -> None:
    source = tmp_path / "www"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(40_000_000))
    produced = produce("remote_tar", answered(host, source), scratch)
    assert files_in(produced.contents["www.tar"])["www/large"] == (source / "large").read_bytes()
    assert [line.size for line in listed(produced.contents["www.contents"])] == [0, 40_000_000]


@pytest.mark.parametrize("allow", [False, True])
def test_an_empty_folder_is_none_unless_it_may_be(tmp_path: Path, host: RsyncHost, scratch: Path, allow: bool) -> None:
    (tmp_path / "empty").mkdir()
    produced = produce("remote_tar", answered(host, tmp_path / "empty", allow_empty=allow), scratch)
    if allow:
        assert names_of(produced.contents["empty.tar"]) == {"empty"}
    else:
        assert "empty on 127.0.0.1 is empty\nHint: is it mounted there?" in produced.failures["empty.tar"]
        assert produced.contents == {}


# What tar says


def fake_tar(folder: Path, script: str) -> str:
    """Give a tar that does something of its own before or after the real one, `"$@"`."""
    path = folder / "tar"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_file_that_vanished_is_a_warning_and_a_changed_folder_is_none(
    tmp_path: Path, host: RsyncHost, scratch: Path
) -> None:
    """G21, G36"""
    source = fill(tmp_path / "www", "file", "folder/x")
    script = """
    case "$*" in
        *--create*) tar "$@"; echo "tar: www/gone: File removed before we read it" >&2
            echo "tar: www/folder: file changed as we read it" >&2
            echo "tar: www/file: file changed as we read it" >&2; exit 1;;
        *) exec tar "$@";;
    esac"""
    produced = produce("remote_tar", answered(host, source, program=fake_tar(tmp_path, script)), scratch)
    assert produced.warnings == ["changed or vanished while it was read: www/gone, www/file"]
    assert produced.losses == []
    assert "www.contents" in produced.contents
    quiet = answered(host, source, program=fake_tar(tmp_path, script), may_change=["gone", "file"])
    assert produce("remote_tar", quiet, scratch).warnings == []


LOSS = """
    case "$*" in
        *--create*) tar "$@"; echo "tar: www/secret: Cannot open: Permission denied" >&2
            echo "tar: Exiting with failure status due to previous errors" >&2; exit 2;;
        *) exec tar "$@";;
    esac"""


def test_a_file_that_cannot_be_read_is_a_loss_or_a_warning(tmp_path: Path, host: RsyncHost) -> None:
    """G26, G36"""
    source = fill(tmp_path / "www", "file")
    config = answered(host, source, program=fake_tar(tmp_path, LOSS))
    ran = run_entry(tmp_path, "remote_tar", config)
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents.keys() == {"www.tar", "www.contents"}
    assert "could not be read: www/secret (Cannot open: Permission denied)" in ran.record.failures[0]
    assert run_entry(tmp_path, "remote_tar", {**config, "unreadable": "warn"}).exit_code == ExitCode.WARNINGS


def test_much_that_is_said_over_there_holds_nothing_up(tmp_path: Path, host: RsyncHost, scratch: Path) -> None:
    """G10, G37"""
    source = fill(tmp_path / "www", "file")
    noise = "yes 'tar: a line that is none of its own' | head -c 4000000 >&2"
    script = f'case "$*" in *--create*) {noise}; tar "$@"; {noise};; *) exec tar "$@";; esac'
    produced = produce("remote_tar", answered(host, source, program=fake_tar(tmp_path, script)), scratch)
    assert "www.tar" in produced.contents
    assert produced.failures == {}


CUTS = [
    f'tar "$@" | head -c {size}; {more}exit {status}'
    for size in (5000, 20_000)
    for status, more in ((0, ""), (1, "echo 'tar: www/file: file changed as we read it' >&2; "))
]


@pytest.mark.parametrize("script", ["exit 2", "head -c 20000 /dev/zero | tr '\\0' x", *CUTS])
def test_what_is_no_whole_archive_is_not_stored(tmp_path: Path, host: RsyncHost, script: str) -> None:
    """G2, G4, G36: also where tar has named a file, which is looked up in a list of contents that is gone by then."""
    source = fill(tmp_path / "www", "file")
    (source / "large").write_bytes(os.urandom(100_000))
    script = f'case "$*" in *--create*) {script};; *) exec tar "$@";; esac'
    ran = run_entry(tmp_path, "remote_tar", answered(host, source, program=fake_tar(tmp_path, script)))
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert any(text in ran.messages[0] for text in ("status 2", "is no whole archive", "its last lines are missing"))


def fake_ssh(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let ssh be a script, which may go on with the real one."""
    path = folder / "bin/ssh"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize("sudo", [False, True])
def test_tar_is_run_with_sudo_where_that_is_asked_for(
    tmp_path: Path, host: RsyncHost, scratch: Path, monkeypatch: pytest.MonkeyPatch, sudo: bool
) -> None:
    """The other host is this one, for the sudo there has to be one of ours."""
    source, seen = fill(tmp_path / "www", "file"), tmp_path / "seen"
    fake_ssh(tmp_path, monkeypatch, 'for word; do :; done; SUDO= TAR_OPTIONS=--totals exec sh -c "$word"')
    (tmp_path / "bin/sudo").write_text('#!/bin/sh\ntest "$1" = -n || exit 9\nshift\nSUDO=yes exec "$@"\n')
    (tmp_path / "bin/sudo").chmod(0o755)
    program = fake_tar(tmp_path, f'echo "sudo=$SUDO TAR_OPTIONS=$TAR_OPTIONS" >> {seen}; exec tar "$@"')
    produced = produce("remote_tar", answered(host, source, program=program, sudo=sudo), scratch)
    assert produced.failures == {}
    assert set(seen.read_text().splitlines()) == {f"sudo={'yes' if sudo else ''} TAR_OPTIONS="}


# The way to the host


def refusal(config: dict[str, Any]) -> PickupError:
    """Give what both a check and a run refuse with."""
    options = Config(**config)
    with pytest.raises(PickupError) as checked:
        list(check(options))
    with pytest.raises(PickupError) as ran:
        list(remote_tar.run(options, Path("/nonexistent")))
    assert str(ran.value) == str(checked.value)
    return ran.value


WRONG: list[tuple[Callable[[Path, RsyncHost], dict[str, Any]], str, str]] = [
    (
        lambda folder, host: {"known_hosts": fill(folder, "none") / "none"},
        "Host key verification failed",
        "ssh-keyscan",
    ),
    (lambda folder, host: {"known_hosts": _other_key(folder, host)}, "IDENTIFICATION HAS CHANGED", "ssh-keyscan"),
    (lambda folder, host: {"key_file": make_key(folder / "key")}, "Permission denied (publickey)", "authorized_keys"),
    (lambda folder, host: {"port": free_port()}, "Connection refused", "is sshd running"),
    (lambda folder, host: {"host": "nowhere.invalid"}, "Could not resolve hostname", "is the name right"),
    (lambda folder, host: {"program": "/nowhere/tar"}, "has no program /nowhere/tar", "install it there"),
    (lambda folder, host: {"program": "echo"}, "echo is not GNU tar", "install GNU tar"),
]


def _other_key(folder: Path, host: RsyncHost) -> Path:
    known = folder / "known"
    known.write_text(f"[127.0.0.1]:{host.port} {public_key(make_key(folder / 'other'))}")
    return known


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_stands_in_the_way_is_told(tmp_path: Path, host: RsyncHost, number: int) -> None:
    """G36, L5"""
    change, message, hint = WRONG[number]
    error = refusal({**answered(host, tmp_path), **change(tmp_path, host)})
    assert message in error.message
    assert hint in error.hint


def test_a_host_without_a_shell_says_so(closed: Server, tmp_path: Path) -> None:
    config = closed.config(SFTP)
    names = ("host", "port", "user", "key_file", "known_hosts")
    error = refusal({**{name: config[name] for name in names}, "path": "/home"})
    assert "127.0.0.1 has no shell: This service allows sftp connections only." in error.message


def test_a_shell_that_prints_something_of_its_own_is_named(
    tmp_path: Path, host: RsyncHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ssh(tmp_path, monkeypatch, f'echo Welcome; exec {shutil.which("ssh")} "$@"')
    error = refusal(answered(host, tmp_path))
    assert "prints something of its own: Welcome" in error.message
    assert "startup files" in error.hint


def test_a_connection_that_is_cut_in_the_middle_is_no_archive(tmp_path: Path, host: RsyncHost) -> None:
    """G14, G36"""
    source = tmp_path / "www"
    source.mkdir()
    (source / "large").write_bytes(os.urandom(3_000_000))
    known = tmp_path / "known"
    with cutting_proxy(host.port, 1_000_000) as proxy:
        known.write_text(host.known_hosts.read_text().replace(str(host.port), str(proxy.port)))
        config = answered(host, source, port=proxy.port, known_hosts=known)
        ran = run_entry(tmp_path, "remote_tar", config)
        assert proxy.cuts == 1
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert "127.0.0.1 cannot be reached, or the connection broke" in ran.messages[0]


def test_a_host_that_never_answers_is_given_up(tmp_path: Path, host: RsyncHost) -> None:
    """G36, I9"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        config = answered(host, tmp_path, port=silent.getsockname()[1], connect_timeout=1)
        assert "timed out" in refusal(config).message
        assert time.monotonic() - start < 20


# The config, and check


def test_check_tells_the_version_and_sees_each_folder(tmp_path: Path, host: RsyncHost) -> None:
    version = subprocess.run(["tar", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    assert list(check(Config(**answered(host, tmp_path)))) == [f"127.0.0.1 has {version}"]
    with pytest.raises(PickupError, match="missing: Cannot stat"):
        list(check(Config(**answered(host, tmp_path, tmp_path / "missing"))))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"host": "-oProxyCommand=touch x"}, "host"),
        ({"host": "a b"}, "host"),
        ({"user": "-x"}, "user"),
        ({"path": "www"}, "should begin with /"),
        ({"path": "/a/../b"}, "should begin with /"),
        ({"path": []}, "names no folder"),
        ({"path": ["/a/x", "/b/x"]}, "two folders of the same name"),
        ({"exclude": ["/elsewhere/x"]}, "matches nothing below /srv"),
        ({"port": 0}, "port"),
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config(**{"host": "web02", "path": "/srv", **changed})
