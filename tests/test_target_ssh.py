"""The ssh target: the contract of all targets, both ways, and what SSH adds to it."""

import contextlib
import hashlib
import itertools
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pickup_core.catalogue import Catalogue
from pickup_core.errors import NoRootError, Stopped, StoreError, UnreachableError
from pickup_core.prune import prune
from pickup_core.retention import Policy
from pickup_core.shaping import Shaped
from pickup_core.store import BLOCK, Item, Store
from pickup_core.verify import verify
from target_profiles import folder
from target_profiles._ssh_requests import Requests
from target_profiles._ssh_session import Session
from target_profiles._ssh_writing import _script
from target_profiles.ssh import Config, Target
from tests.builders import seen_bytes, tells
from tests.places import (
    JOB,
    MACHINE,
    NIGHT,
    Watched,
    content,
    make_backup,
    put,
    store_backup,
    store_nights,
    tree,
    write_files,
)  # fmt: skip
from tests.servers.proxy import cutting_proxy
from tests.servers.running import free_port
from tests.servers.sshd import APPENDING, LYING, PASSWORD, SFTP, SHELL, Server, fingerprint, make_key, sshd
from tests.target_contract import Connect, Pieces, TargetContract

_numbers = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with sshd() as running:
        yield running


def target_at(server: Server, user: str = SHELL, **options: Any) -> Target:
    return Target(Config(**{"path": f"place{next(_numbers)}", **server.config(user, **options)}))


class Contract(TargetContract):
    user = ""
    can_append = True

    @pytest.fixture
    def connect(self, server: Server) -> Connect:
        config = Config(path=f"place{next(_numbers)}", **server.config(self.user))
        self.root = server.home(self.user) / config.path
        return lambda: Target(config)

    def mode_of(self, store: Store, path: str) -> int:
        return stat.S_IMODE((self.root / path).lstat().st_mode)


class TestWithAShell(Contract):
    user = SHELL


class TestWithSFTPAlone(Contract):
    user = SFTP


BOTH = pytest.mark.parametrize("user", [SHELL, SFTP])


@pytest.fixture
def target(server: Server, user: str) -> Iterator[Target]:
    with target_at(server, user) as store:
        store.create_root()
        yield store


def root_of(server: Server, target: Store, user: str) -> Path:
    return server.home(user) / target.config.path


def refusal(target: Store) -> StoreError:
    """Connect in vain, and give what that says."""
    with pytest.raises(StoreError) as caught, target:
        pass
    return caught.value


# Two ways


def test_a_shell_is_used_where_there_is_one_and_only_there(server: Server) -> None:
    """A host with SFTP alone answers a command too, with a sentence."""
    for user, has_shell in ((SHELL, True), (SFTP, False)):
        with target_at(server, user) as store:
            assert store._session is not None
            assert store._session.has_shell is has_shell


@BOTH
def test_of_two_that_put_one_file_one_wins(server: Server, target: Store, user: str) -> None:
    for number in range(5):
        outcomes: list[str] = []
        start = threading.Barrier(2)

        def race(text: bytes, number: int = number, start: Any = start, outcomes: list[str] = outcomes) -> None:
            with Target(target.config) as store:
                start.wait(20)
                try:
                    put(store, f"web01/{number}", text * 100_000)
                    outcomes.append(text.decode())
                except FileExistsError:
                    outcomes.append("exists")

        threads = [threading.Thread(target=race, args=(text,)) for text in (b"a", b"b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        winner, _ = sorted(outcomes)
        assert sorted(outcomes)[1] == "exists"
        assert content(target, f"web01/{number}") == winner.encode() * 100_000


def script_with(folder: Path, shell: str, program: str, text: str) -> "subprocess.CompletedProcess[bytes]":
    """Run the script that stores a file, with a program of ours in place of one that it calls."""
    (folder / "root").mkdir()
    (folder / program).write_text(f"#!/bin/sh\n{text}\n")
    (folder / program).chmod(0o755)
    return subprocess.run(
        [shell, "-c", _script("root", "web01/file", 0)], cwd=folder, env={"PATH": f"{folder}:{os.environ['PATH']}"},
        input=b"ours", capture_output=True, check=False, timeout=20,
    )  # fmt: skip


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_file_that_appears_in_the_last_moment_is_not_overwritten(tmp_path: Path, shell: str) -> None:
    """T7: the script itself, in which mkdir is one that makes the file too."""
    done = script_with(tmp_path, shell, "mkdir", '/bin/mkdir "$@"\nprintf theirs > root/web01/file')
    assert done.returncode != 0
    assert done.stdout == b""
    assert (tmp_path / "root/web01/file").read_text() == "theirs"


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_file_and_its_folder_are_synced_and_it_is_no_file_before(tmp_path: Path, shell: str) -> None:
    """K6, S2: the script itself, in which sync is one that fails."""
    done = script_with(tmp_path, shell, "sync", 'printf "%s\\n" "$@" > synced\nexit 1')
    assert done.returncode == 1
    assert (tmp_path / "synced").read_text().split() == ["./root/web01/file", "./root/web01", "./root"]


@BOTH
def test_a_file_that_was_broken_off_and_deleted_stays_away(target: Store, user: str) -> None:
    """What the server still has to do must not make it again."""
    for after in (0, 1000, 2**20):
        with pytest.raises(ValueError, match="theirs"):
            target.put("web01/file", Pieces(b"x" * 2**21, BLOCK, after, ValueError("theirs")))
        target.delete("web01/file")
    time.sleep(0.3)
    assert tree(target) == {}


# Host keys


@BOTH
def test_an_unknown_host_key_is_refused_before_a_password_is_sent(server: Server, tmp_path: Path, user: str) -> None:
    """T17: and what it says helps: with the line that it prints one gets in."""
    before, known = len(server.log()), tmp_path / "known_hosts"
    target = target_at(server, user, known_hosts=known, key_file=None, password=PASSWORD)
    error = refusal(target)
    assert f"[127.0.0.1]:{server.port} is unknown: ssh-ed25519 {server.fingerprint}" in error.message
    time.sleep(0.1)
    assert "[preauth]" in server.log()[before:]
    assert not re.search("Accepted|Failed|Invalid", server.log()[before:])
    assert not known.exists()
    known.write_text(error.hint.partition(f"{known}: ")[2] + "\n")
    with target:
        target.create_root()


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_a_changed_host_key_is_refused_before_a_password_is_sent(server: Server, tmp_path: Path, kind: str) -> None:
    """T17"""
    before, known = len(server.log()), tmp_path / "known_hosts"
    other = make_key(tmp_path / "other", kind=kind).with_suffix(".pub").read_text()
    known.write_text(f"[127.0.0.1]:{server.port} {other}")
    error = refusal(target_at(server, known_hosts=known, key_file=None, password=PASSWORD))
    assert f"host key of [127.0.0.1]:{server.port} is ssh-ed25519 {server.fingerprint}, not the one" in error.message
    assert "ssh-keygen -R" in error.hint
    time.sleep(0.1)
    assert "[preauth]" in server.log()[before:]
    assert not re.search("Accepted|Failed|Invalid", server.log()[before:])


def test_a_fingerprint_can_be_pinned(server: Server, tmp_path: Path) -> None:
    """T17"""
    nowhere = tmp_path / "known_hosts"
    with target_at(server, known_hosts=nowhere, fingerprint=server.fingerprint) as target:
        target.create_root()
    other = fingerprint(make_key(tmp_path / "other").with_suffix(".pub"))
    error = refusal(target_at(server, fingerprint=other))
    assert f"is ssh-ed25519 {server.fingerprint}, not the pinned {other}" in error.message


@pytest.mark.parametrize("option", ["known_hosts", "ssh_config"])
def test_a_file_that_others_can_change_is_not_believed(server: Server, tmp_path: Path, option: str) -> None:
    """S8: nor one in a folder in which others could put another one in its place."""
    folder = tmp_path / "folder"
    folder.mkdir()
    file = folder / "file"
    file.write_text(server.known_hosts.read_text() if option == "known_hosts" else "Host x\n")
    for changed, mode in ((file, 0o666), (file, 0o602), (folder, 0o777)):
        usual = stat.S_IMODE(changed.stat().st_mode)
        changed.chmod(mode)
        error = refusal(target_at(server, **{option: file}))
        assert error.message.startswith(f"{changed} can be written by others")
        assert error.hint == f"chmod go-w {changed}"
        changed.chmod(usual)
    file.chmod(0o644)
    with target_at(server, **{option: file}):
        pass


def test_a_line_that_is_no_host_key_is_told(server: Server, tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text("nas ssh-ed25519 AAAAB\n")
    assert "a line that is no host key: nas ssh-ed25519" in refusal(target_at(server, known_hosts=known)).message


def test_of_the_lines_about_a_host_the_first_of_a_kind_counts(server: Server, tmp_path: Path) -> None:
    """Comments, empty lines, hashed names, other kinds of key and what paramiko does not know stand beside it."""
    known, right = tmp_path / "known_hosts", server.known_hosts.read_text()
    others = [make_key(tmp_path / kind, kind=kind).with_suffix(".pub").read_text() for kind in ("rsa", "ed25519")]
    rsa, other = (f"[127.0.0.1]:{server.port} {line}" for line in others)
    beside = ["# a note of nobody", "", "@revoked nas ssh-rsa AAAA", "nas sk-new@example.org AAAA", f"#{other}", "nas"]
    known.write_text("".join(f"{line}\n" for line in beside) + rsa + right + other)
    with target_at(server, known_hosts=known):
        pass
    known.write_text(other + right)
    assert "not the one in" in refusal(target_at(server, known_hosts=known)).message
    known.write_text(f"@revoked * {' '.join(right.split()[1:])}\n{right}")
    assert "unknown" in refusal(target_at(server, known_hosts=known)).message
    known.write_text(right)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", known], check=True, capture_output=True)
    assert "127.0.0.1" not in known.read_text()
    with target_at(server, known_hosts=known):
        pass


# Logging in


@BOTH
def test_one_gets_in_with_a_password(server: Server, user: str) -> None:
    with target_at(server, user, key_file=None, password=PASSWORD) as target:
        target.create_root()


def test_one_gets_in_with_a_key_that_has_a_passphrase(server: Server, tmp_path: Path) -> None:
    key = make_key(tmp_path / "key", "open:sesame")
    with (server.folder / "authorized_keys").open("a") as file:
        file.write(key.with_suffix(".pub").read_text())
    with target_at(server, key_file=key, key_passphrase="open:sesame") as target:
        target.create_root()
    assert refusal(target_at(server, key_file=key)).message == f"key {key} has a passphrase"
    error = refusal(target_at(server, key_file=key, key_passphrase="open:barley"))
    assert error.message == f"key {key} cannot be used"
    assert "barley" not in str(error)


def test_one_gets_in_with_an_agent(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = subprocess.run(["ssh-agent", "-s", "-a", tmp_path / "agent"], capture_output=True, text=True, check=True)
    pid = int(re.search(r"SSH_AGENT_PID=(\d+)", shown.stdout)[1])  # type: ignore[index]
    try:
        monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
        monkeypatch.setenv("HOME", str(tmp_path))
        subprocess.run(["ssh-add", "-q", server.key], check=True)
        with target_at(server, key_file=None, agent=True) as target:
            target.create_root()
        error = refusal(target_at(server, key_file=None))
        assert error.message == f"there is no key and no password for {SHELL} at 127.0.0.1 port {server.port}"
    finally:
        os.kill(pid, signal.SIGTERM)


def test_a_wrong_password_is_told_and_not_shown(server: Server) -> None:
    error = refusal(target_at(server, key_file=None, password="hunter2:hunter3"))
    assert f"does not let {SHELL} in" in error.message
    assert "hunter" not in str(error) + repr(error.__cause__)


def test_a_wrong_key_is_told(server: Server, tmp_path: Path) -> None:
    error = refusal(target_at(server, key_file=make_key(tmp_path / "other")))
    assert f"127.0.0.1 port {server.port} does not let {SHELL} in" in error.message


def test_a_key_that_is_not_there_or_that_others_can_read_is_refused(server: Server, tmp_path: Path) -> None:
    key = make_key(tmp_path / "other")
    key.chmod(0o644)
    assert refusal(target_at(server, key_file=key)).message == f"key {key} can be read by others"
    key.unlink()
    assert refusal(target_at(server, key_file=key)).message == f"key {key} cannot be read: No such file or directory"
    key.write_text("rubbish")
    key.chmod(0o600)
    assert refusal(target_at(server, key_file=key)).message == f"key {key} cannot be used"


def test_no_secret_is_in_what_is_shown_of_a_target(server: Server) -> None:
    target = target_at(server, password=PASSWORD, key_passphrase="open:sesame")
    shown = f"{target.place} {target.config} {target.config!r}"
    assert not tells(shown, PASSWORD)
    assert "sesame" not in shown


def test_a_missing_library_gives_one_sentence(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paramiko", None)
    error = refusal(target_at(server))
    assert (error.message, error.hint) == (
        "the target ssh needs paramiko, which is not installed",
        f"{sys.executable} -m pip install paramiko",
    )


# The way there


def test_an_alias_and_a_jump_come_from_the_config_of_ssh(server: Server, tmp_path: Path) -> None:
    (tmp_path / "config").write_text(f"""
        Host jump
            HostName 127.0.0.1
            Port {server.port}
            User {SHELL}
            IdentityFile {server.key}
        Host nas
            HostName localhost
            Port {server.port}
            User {SFTP}
            IdentityFile {server.key}
            ProxyJump jump
    """)
    keys = server.known_hosts.read_text()
    (tmp_path / "known_hosts").write_text(keys + keys.replace("127.0.0.1", "localhost"))
    before = len(server.log())
    config = Config(host="nas", path="jumped", known_hosts=tmp_path / "known_hosts", ssh_config=tmp_path / "config")
    with Target(config) as target:
        target.create_root()
        put(target, "web01/file", b"1" * 100_000)
        assert content(target, "web01/file") == b"1" * 100_000
    assert re.findall(r"Accepted publickey for (\S+)", server.log()[before:]) == [SHELL, SFTP]
    assert (server.home(SFTP) / "jumped/web01/file").stat().st_size == 100_000


def test_a_jump_checks_the_host_key_too_and_gets_no_password(server: Server, tmp_path: Path) -> None:
    """T17"""
    (tmp_path / "config").write_text(f"Host nas\n HostName 127.0.0.1\n ProxyJump {SHELL}@127.0.0.1:{server.port}\n")
    way = {"host": "nas", "ssh_config": tmp_path / "config", "key_file": None, "password": PASSWORD}
    pinned = {"known_hosts": tmp_path / "none", "fingerprint": server.fingerprint}
    assert "is unknown" in refusal(target_at(server, **way, **pinned)).message
    before = len(server.log())
    assert SHELL in refusal(target_at(server, **way)).message
    time.sleep(0.1)
    assert not re.search("(Accepted|Failed) password", server.log()[before:])


@pytest.mark.parametrize("line", ["ProxyCommand touch {}/ran", "Match host x exec 'touch {}/ran'", " MATCH EXEC {}"])
def test_a_command_in_the_config_of_ssh_is_not_run(server: Server, tmp_path: Path, line: str) -> None:
    (tmp_path / "config").write_text(f"Host nas\n{line.format(tmp_path)}\n")
    error = refusal(target_at(server, host="nas", ssh_config=tmp_path / "config"))
    assert "which Pickup does not run" in error.message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("line", ["Port many", "Host"])
def test_a_config_of_ssh_that_cannot_be_used_is_told(server: Server, tmp_path: Path, line: str) -> None:
    (tmp_path / "config").write_text(f"{line}\n")
    error = refusal(target_at(server, port=None, ssh_config=tmp_path / "config"))
    assert error.message.startswith(f"{tmp_path}/config cannot be used for 127.0.0.1: ")


@pytest.mark.parametrize(
    "options",
    [{"host": "-oProxyCommand=touch x"}, {"host": "-F/x"}, {"host": "a b"}, {"host": ""}, {"host": "a\nb"},
     {"user": "-l"}, {"user": "a\tb"}, {"path": ""}, {"path": "a\nb"}, {"path": "~/backups"}, {"port": 0},
     {"timeout": 0}, {"fingerprint": "MD5:00:11"}, {"key_passphrase": "open:sesame"}],
)  # fmt: skip
def test_an_option_that_cannot_be_is_refused(options: dict[str, Any]) -> None:
    """T22"""
    with pytest.raises(ValidationError) as caught:
        Config(**{"host": "nas", "path": "backups", **options})
    assert "sesame" not in str([error["msg"] for error in caught.value.errors()])


def test_places_that_differ_are_told_apart() -> None:
    """T28"""
    places = [Target(Config(**{"host": "nas", "path": "b", **options})).place for options in
              ({}, {"path": "/b"}, {"user": "u"}, {"port": 22}, {"host": "other"})]  # fmt: skip
    assert places == ["ssh://nas/~/b", "ssh://nas/b", "ssh://u@nas/~/b", "ssh://nas:22/~/b", "ssh://other/~/b"]
    assert Target(Config(host="nas", path=".//b/")).place == places[0]


def test_a_port_that_nobody_listens_on_is_told(server: Server) -> None:
    """T1"""
    error = refusal(target_at(server, port=free_port()))
    assert "cannot be reached: Connection refused" in error.message
    assert "cannot be reached" in refusal(target_at(server, host="nowhere.invalid")).message


@BOTH
@pytest.mark.parametrize("path", ["a b'c\"d", "-rf", "$(touch ran)`touch ran`;touch ran", "*\\*", "größe", "#x", "!!"])
def test_the_path_may_have_any_character(server: Server, user: str, path: str) -> None:
    """T21"""
    with target_at(server, user, path=f"{path}/{path}") as target:
        target.create_root()
        put(target, "web01/file", b"1")
        with pytest.raises(FileExistsError):
            put(target, "web01/file", b"2")
        assert tree(target) == {"web01/file": b"1"}
        assert target.sha256("web01/file") == hashlib.sha256(b"1").hexdigest()
        target.delete("web01")
        assert target.listdir() == []
    assert (server.home(user) / path / path).is_dir()
    assert not list(server.home(user).rglob("ran"))


# Links and special files


@BOTH
def test_nothing_is_deleted_through_a_link_and_links_are_none_of_ours(
    server: Server, target: Store, user: str, tmp_path: Path
) -> None:
    """T20"""
    outside = server.home(user) / f"outside{next(_numbers)}"
    outside.mkdir()
    (outside / "file").write_text("outside")
    os.chown(outside, *(root := root_of(server, target, user)).stat()[4:6])
    put(target, "web01/file", b"inside")
    (root / "web01/link").symlink_to(f"../../{outside.name}")
    os.mkfifo(root / "web01/fifo")
    assert tree(target) == {"web01/file": b"inside"}
    with pytest.raises(StoreError, match="web01/link is not a folder"):
        target.delete("web01/link/file")
    for path in ("web01/link", "web01/fifo"):
        with pytest.raises(FileExistsError):
            put(target, path, b"2")
        for call in (content, lambda store, path: store.sha256(path)):
            with pytest.raises(StoreError, match="not a regular file"):
                call(target, path)
    target.delete("web01")
    assert target.listdir() == []
    assert (outside / "file").read_text() == "outside"


# Many small files


MANY = {f"{number % 7}/{number}": bytes([number % 256]) * (number * 97 % 5000) for number in range(250)}
SIZES = {"none": b"", "packet": b"p" * 32768, "block": b"b" * BLOCK, "more": b"m" * (BLOCK + 1)}


@BOTH
def test_small_files_that_have_gone_together_are_shown(target: Target, user: str, tmp_path: Path) -> None:
    with seen_bytes() as seen:
        target.put_folder(write_files(tmp_path / "local", MANY), "web01/id")
        assert seen() == sum(map(len, MANY.values()))


@BOTH
@pytest.mark.parametrize("is_openssh", [True, False])
def test_small_files_go_together_and_are_what_they_were(
    server: Server, target: Target, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_openssh: bool
) -> None:
    """I7, K6: where the server is another one than OpenSSH they go one by one."""
    opened: list[str] = []
    monkeypatch.setattr(Session, "is_openssh", is_openssh)
    monkeypatch.setattr(Target, "put", _noting(Target.put, opened))
    target.put_folder(write_files(tmp_path / "local", MANY | SIZES), "web01/id", ["5/5"])
    expected = {f"web01/id/{name}": data for name, data in (MANY | SIZES).items() if name != "5/5"}
    assert tree(target) == expected
    assert set(opened) == ({"web01/id/more"} if is_openssh else expected.keys())
    modes = {path.is_dir(): stat.S_IMODE(path.lstat().st_mode) for path in root_of(server, target, user).rglob("*")}
    assert modes == {True: 0o700, False: 0o600}


def _noting(put: Callable[..., None], noted: list[str]) -> Callable[..., None]:
    def noting(self: Target, path: str, stream: Any) -> None:
        noted.append(path)
        put(self, path, stream)

    return noting


@BOTH
def test_small_files_that_were_stored_are_not_sent_again(
    server: Server, target: Target, user: str, tmp_path: Path
) -> None:
    """T2: what the cut file was at is sent anew, and what comes after it."""
    local, size = write_files(tmp_path / "local", MANY), sum(map(len, MANY.values()))
    for cut_after in range(0, size, size // 6):
        with cutting_proxy(server.port, cut_after, upwards=True, times=1) as proxy:
            options = {**target.config.__dict__, "fingerprint": server.fingerprint, "port": proxy.port}
            with Shaped(Target(Config(**options)), "ssh/nas", 1) as shaped:
                shaped.put_folder(local, f"web01/{cut_after}")
            assert proxy.cuts == 1
            assert proxy.passed_up < size * 1.7
        assert {name: content(target, f"web01/{cut_after}/{name}") for name in MANY} == MANY


@BOTH
def test_small_files_that_were_stored_are_synced_once_more(
    server: Server, target: Target, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K6: the connection may have broken between the write and the sync of a file."""
    local, real = write_files(tmp_path / "local", MANY), Requests.sync
    target.put_folder(local, "web01/id")
    synced: list[bytes] = []

    def sync(self: Requests, handle: bytes) -> int:
        synced.append(handle)
        return real(self, handle)

    monkeypatch.setattr(Requests, "sync", sync)
    target.delete("web01/id/0/0")
    target.delete("web01/id/1/1")
    target.put_folder(local, "web01/id", [name for name in MANY if name != "0/0"])
    assert len(synced) == len(MANY) - 1
    assert "web01/id/1/1" not in tree(target)


@BOTH
def test_small_files_end_with_the_run(
    target: Target, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K1: a thread hears of a signal only where it asks."""
    local = write_files(tmp_path / "local", MANY)
    monkeypatch.setattr(Stopped, "heard", Stopped(signal.SIGTERM))
    with pytest.raises(Stopped):
        target.put_folder(local, "web01/id")
    assert len(tree(target)) < len(MANY)


@BOTH
def test_small_files_for_which_there_is_no_place_are_told(
    server: Server, target: Target, user: str, tmp_path: Path
) -> None:
    """T19, T4"""
    local = write_files(tmp_path / "local", MANY)
    put(target, "web01/id/PICKUP.txt", b"mark")
    (root_of(server, target, user) / "web01/id").chmod(0o500)
    with pytest.raises((StoreError, PermissionError), match="web01/id/0"):
        target.put_folder(local, "web01/id")
    (tmp_path / "local/1").rename(tmp_path / "flat")
    with pytest.raises((StoreError, PermissionError), match="web01/id/1"):
        target.put_folder(tmp_path / "flat", "web01/id")
    files = {str(number): os.urandom(100_000) for number in range(100)}
    with target_at(server, user, path=f"small/place{next(_numbers)}") as small:
        small.create_root()
        with pytest.raises(StoreError, match=r"web01/id/.*the server says: Failure") as caught:
            small.put_folder(write_files(tmp_path / "more", files), "web01/id")
        assert "disk full" in str(caught.value)
        small.delete("web01")


# Connections that break off, and servers that say nothing


class Meanwhile:
    """A stream of zeros in which something happens after so many bytes."""

    def __init__(self, size: int, after: int, event: Callable[[], None]) -> None:
        self._left, self._until, self._event = size, size - after, event
        self.happened = False

    def read(self, size: int = -1) -> bytes:
        if not self.happened and self._left <= self._until:
            self.happened = True
            self._event()
        piece = min(self._left, size)
        self._left -= piece
        return bytes(piece)


def signal_to(server: Server, number: signal.Signals) -> None:
    for pid in server.children():
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, number)


@BOTH
@pytest.mark.parametrize("after", [0, 2**20, 8 * 2**20])
def test_a_server_that_dies_in_the_middle_is_told_and_the_next_call_connects_anew(
    server: Server, target: Store, user: str, after: int
) -> None:
    """T2"""
    put(target, "web01/before", b"whole")
    stream = Meanwhile(8 * 2**20, after, lambda: signal_to(server, signal.SIGKILL))
    with pytest.raises((StoreError, OSError)) as caught:
        target.put("web01/file", stream)
    assert stream.happened
    assert "web01/file" in str(caught.value)
    target.delete("web01/file")
    assert tree(target) == {"web01/before": b"whole"}


@BOTH
def test_a_stream_that_raises_is_heard_though_the_connection_is_gone(server: Server, target: Store, user: str) -> None:
    """G2"""

    def both() -> None:
        signal_to(server, signal.SIGKILL)
        time.sleep(0.2)
        raise ValueError("theirs")

    for after in (0, 2**20):
        stream = Meanwhile(2**21, after, both)
        with pytest.raises(ValueError, match="theirs"):
            target.put("web01/file", stream)
        assert stream.happened
        target.delete("web01/file")
        assert tree(target) == {}


@BOTH
@pytest.mark.parametrize("after", [0, 2**20, 20 * 2**20])
def test_a_server_that_stalls_is_waited_for_as_long_as_was_said(server: Server, user: str, after: int) -> None:
    """T3"""
    with target_at(server, user, timeout=1) as target:
        target.create_root()
        stream = Meanwhile(20 * 2**20, after, lambda: signal_to(server, signal.SIGSTOP))
        start = time.monotonic()
        try:
            with pytest.raises((StoreError, OSError), match="web01/file"):
                target.put("web01/file", stream)
        finally:
            took = time.monotonic() - start
            signal_to(server, signal.SIGCONT)
        assert stream.happened
        assert took < 12
        target.delete("web01/file")
        assert tree(target) == {}


@BOTH
def test_a_reader_of_a_server_that_stalls_or_dies_is_told(server: Server, user: str) -> None:
    """T2, T3"""
    with target_at(server, user, timeout=1) as target:
        target.create_root()
        put(target, "web01/file", b"x" * 9 * 2**20)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            try:
                with target.get("web01/file") as stream:
                    stream.read(10)
                    signal_to(server, number)
                    with pytest.raises((StoreError, OSError), match="web01/file"):
                        stream.read()
            finally:
                signal_to(server, signal.SIGCONT)
            assert target.listdir("web01") == [Item("file", 9 * 2**20)]
            with contextlib.ExitStack() as stack:
                signal_to(server, number)
                stack.callback(signal_to, server, signal.SIGCONT)
                with pytest.raises((StoreError, OSError)):
                    target.listdir("web01")
            assert target.listdir("web01") == [Item("file", 9 * 2**20)]


def test_a_server_that_never_answers_is_given_up(server: Server) -> None:
    """T3"""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        error = refusal(target_at(server, port=silent.getsockname()[1], timeout=1))
        assert time.monotonic() - start < 5
    assert "no connection to 127.0.0.1" in error.message


@BOTH
def test_a_connection_that_is_cut_anywhere_leaves_no_backup_that_is_not_whole(
    server: Server, target: Store, user: str, tmp_path: Path
) -> None:
    """T2: whatever the number of bytes that came back; the run after it succeeds."""
    made = make_backup(tmp_path / "made", contents={"folder/www": os.urandom(300_000)})
    failures = 0
    for cut_after in itertools.count(0, 1500):
        options = {**target.config.__dict__, "fingerprint": server.fingerprint}
        with cutting_proxy(server.port, cut_after) as proxy:
            broken = Target(Config(**{**options, "port": proxy.port}))
            try:
                with broken:
                    store_backup(broken, made)
            except (StoreError, OSError):
                failures += 1
                assert proxy.cuts
            else:
                break
        backups = Catalogue("there", target).backups(JOB)
        assert [backup for backup in backups if backup.is_finished and verify(backup)] == []
        target.delete(JOB)
    assert failures > 3
    assert [verify(backup) for backup in Catalogue("there", target).backups(JOB)] == [[]]


@BOTH
def test_a_large_file_goes_on_where_the_connection_was_cut(server: Server, target: Target, user: str) -> None:
    """T2: what arrived before is not sent again."""
    data = os.urandom(24 * 2**20)
    with cutting_proxy(server.port, 16 * 2**20, upwards=True, times=1) as proxy:
        options = {**target.config.__dict__, "fingerprint": server.fingerprint, "port": proxy.port}
        with Shaped(Target(Config(**options)), "ssh/nas", 1) as shaped:
            put(shaped, "web01/large", data)
        assert proxy.cuts == 1
        assert proxy.passed_up < len(data) + 4 * 2**20
    assert content(target, "web01/large") == data


def test_a_channel_that_is_closed_while_it_is_written_to_is_a_connection_that_has_ended(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T2: whether paramiko hears of the end before it sends or after is a matter of chance; here it is before."""
    with target_at(server, SFTP) as target:
        target.create_root()
        assert target._session
        channel = target._session.sftp.get_channel()
        monkeypatch.setattr(channel, "closed", True)
        with pytest.raises(UnreachableError, match="the connection has ended"):
            put(target, "web01/file", b"1")


# Servers that lie, accounts that may not, and full disks


def test_a_server_that_stores_fewer_bytes_than_it_says_is_told(server: Server) -> None:
    """T5"""
    with target_at(server, LYING) as target:
        target.create_root()
        put(target, "web01/file", b"1" * 100_000)
        with pytest.raises(StoreError, match="web01/more was stored with 100000 bytes in place of 100001"):
            put(target, "web01/more", b"1" * 100_001)


def test_a_server_that_stores_other_bytes_is_told_by_reading_back(server: Server, tmp_path: Path) -> None:
    """T6"""
    with target_at(server, LYING) as target:
        target.create_root()
        made = make_backup(tmp_path / "made", contents={"folder/www": b"x"})
        with pytest.raises(StoreError, match="was stored with another content"):
            store_backup(target, made, read_back=True)
        assert Catalogue("there", target).backups(JOB) == []


@BOTH
def test_an_account_that_may_not_write_is_told(server: Server, target: Store, user: str) -> None:
    """T19"""
    put(target, "web01/file", b"1")
    (root_of(server, target, user) / "web01").chmod(0o500)
    for path in ("web01/new", "web01/deep/er/new"):
        with pytest.raises((StoreError, OSError), match=path) as caught:
            put(target, path, b"2")
        assert "denied" in str(caught.value)
    with pytest.raises(PermissionError, match="web01/file"):
        target.delete("web01/file")
    assert tree(target) == {"web01/file": b"1"}


@BOTH
@pytest.mark.parametrize("above", [False, True])
def test_a_root_that_may_not_be_entered_is_not_absent(server: Server, user: str, above: bool) -> None:
    """T19, T34: whoever took it for absent would make it anew, or say that a disk is not mounted."""
    with target_at(server, user, path=f"place{next(_numbers)}/root") as target:
        target.create_root()
        root = root_of(server, target, user)
        (root.parent if above else root).chmod(0)
        with pytest.raises(PermissionError, match=str(target.config.path)):
            target.listdir()
        for call in (
            lambda: target.listdir("web01"),
            lambda: target.delete("web01"),
            lambda: put(target, "web01/file", b"1"),
            lambda: content(target, "web01/file"),
        ):
            with pytest.raises((StoreError, PermissionError), match="denied") as caught:
                call()
            assert not isinstance(caught.value, NoRootError)


@BOTH
def test_a_root_that_is_a_file_is_not_absent(server: Server, target: Store, user: str) -> None:
    root = root_of(server, target, user)
    root.rmdir()
    root.touch()
    for call in (lambda: target.listdir("web01"), lambda: put(target, "web01/file", b"1"), target.create_root):
        with pytest.raises(StoreError, match=f"{root.name} is not a folder") as caught:
            call()
        assert not isinstance(caught.value, NoRootError)


@pytest.mark.parametrize("nights", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_an_account_that_may_not_delete_takes_backups_night_after_night(
    server: Server, tmp_path: Path, nights: int
) -> None:
    """T19, T33"""
    with target_at(server, APPENDING, path=f"place{next(_numbers)}") as target:
        target.create_root()
        store_nights(target, tmp_path / "nights", nights)
        root = root_of(server, target, APPENDING)
        assert {stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")} == {0o600, 0o700}
        backups = Catalogue("there", target).backups(JOB)
        assert [verify(backup) for backup in backups] == [[]] * nights
        with pytest.raises(PermissionError, match=backups[0].id):
            target.delete(backups[0].folder)
        assert [verify(backup) for backup in backups] == [[]] * nights


@BOTH
def test_a_full_disk_costs_the_new_backup_alone(server: Server, user: str, tmp_path: Path) -> None:
    """T4, T31: what was there stays whole, and what was begun is deleted."""
    with target_at(server, user, path=f"small/place{next(_numbers)}") as target:
        target.create_root()
        store_backup(target, make_backup(tmp_path / "first"))
        before = tree(target)
        for size in (2 * 2**20, 9 * 2**20):
            night = make_backup(tmp_path / str(size), NIGHT + timedelta(days=1), {"folder/www": os.urandom(size)})
            with pytest.raises(StoreError, match="folder/www/data") as caught:
                store_backup(target, night)
            assert re.search("No space left|disk full", str(caught.value))
            assert tree(target) == before
        assert [verify(backup) for backup in Catalogue("there", target).backups(JOB)] == [[]]


# Many backups


@pytest.mark.slow
@BOTH
def test_of_500_backups_the_right_ones_are_pruned(server: Server, target: Target, user: str, tmp_path: Path) -> None:
    """I3: after one listing, and nothing else is touched."""
    root = root_of(server, target, user)
    with folder.Target(folder.Config(path=root)) as local:
        nights = store_nights(local, tmp_path / "nights", 500)
        put(local, f"{JOB}/notes.txt", b"not ours")
    owner = root.stat()
    for path in root.rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid)
    watched = Watched(target)
    later = NIGHT + timedelta(days=500)
    pruned = prune(Catalogue("there", watched), JOB, Policy(last=10), ["folder/www", "postgres/main"], later, MACHINE)
    assert pruned.warnings == []
    assert watched.calls.count(("listdir", JOB)) == 1
    kept = {night.manifest.id for night in nights[-10:]}
    assert {path.name for path in (root / JOB).iterdir()} == {"notes.txt", *kept, *(f"{name}.json" for name in kept)}
    assert [verify(backup) for backup in Catalogue("there", target).backups(JOB)] == [[]] * 10
