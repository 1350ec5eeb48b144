"""The rsync target: the contract of all targets over SSH and to a daemon, and what rsync adds to it."""

import contextlib
import logging
import os
import re
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pickup_core.catalogue import Catalogue
from pickup_core.errors import NoRootError, PickupError, ProcessError, StoreError, UnreachableError
from pickup_core.manifest import backup_id
from pickup_core.prune import clear_leftovers, prune
from pickup_core.retention import Policy
from pickup_core.shaping import Shaped
from pickup_core.store import Item, Store
from pickup_core.verify import verify
from target_profiles.folder import Config as FolderConfig
from target_profiles.folder import Target as Folder
from target_profiles.rsync import Config, Target, check
from tests.builders import seen_bytes, tells
from tests.places import (
    JOB,
    MACHINE,
    NIGHT,
    Watched,
    content,
    make_backup,
    put,
    run_on_disk,
    store_backup,
    store_nights,
    tree,
    write_files,
)
from tests.servers.proxy import cutting_proxy
from tests.servers.rsync_sshd import RsyncHost, rsync_host
from tests.servers.rsyncd import PASSWORD, USER, RsyncDaemon, rsync_daemon
from tests.target_contract import ENTRIES, Connect, TargetContract

NOBODY = ["uid = nobody", "gid = nogroup"] if os.geteuid() == 0 else []
AUTH = [f"auth users = {USER}", "secrets file = SECRETS"]
MODULES = {
    "open": [],
    "closed": AUTH,
    "read-only": ["read only = yes"],
    "append": ["refuse options = delete force"],
    "write-only": ["write only = yes"],
    "hiding": ["exclude = hidden"],
    "elsewhere": ["hosts deny = *"],
    "unmounted": [],
}
HOSTILE = "a b;$(touch x)`touch y`'\"&|<>#%é:c/ -d=\u00a0"


@pytest.fixture(scope="module")
def daemon() -> Iterator[RsyncDaemon]:
    with rsync_daemon(MODULES) as server:
        (server.folder / "unmounted").rmdir()
        yield server


@pytest.fixture(scope="module")
def host() -> Iterator[RsyncHost]:
    with rsync_host() as server:
        yield server


@pytest.fixture
def target(daemon: RsyncDaemon, tmp_path: Path) -> Iterator[Store]:
    """An open store for a fresh place in the module that asks for no password."""
    with Target(Config(**daemon.config("open", path=tmp_path.name))) as store:
        store.create_root()
        yield store


@pytest.fixture
def root(daemon: RsyncDaemon, tmp_path: Path) -> Path:
    """The folder that `target` leads to."""
    return daemon.folder / "open" / tmp_path.name


def program(folder: Path, script: str) -> str:
    """Make a program that stands in for rsync."""
    path = folder / "rsync-shim"
    path.write_text(f"#!{sys.executable}\nimport os, sys\n{script}\nos.execvp('rsync', ['rsync', *sys.argv[1:]])\n")
    path.chmod(0o755)
    return str(path)


class TestDaemon(TargetContract):
    @pytest.fixture
    def connect(self, daemon: RsyncDaemon, tmp_path: Path) -> Connect:
        self.root = daemon.folder / "closed" / tmp_path.name
        config = daemon.config("closed", path=tmp_path.name, user=USER, password=PASSWORD)
        return lambda: Target(Config(**config))

    def mode_of(self, store: Store, path: str) -> int:
        return stat.S_IMODE((self.root / path).lstat().st_mode)

    @pytest.mark.slow
    def test_a_listing_names_each_of_many_files_once(self, target: Store) -> None:
        super().test_a_listing_names_each_of_many_files_once(target)

    @pytest.mark.slow
    def test_delete_takes_a_folder_of_many_files(self, target: Store) -> None:
        super().test_delete_takes_a_folder_of_many_files(target)

    @pytest.mark.slow
    def test_prune_keeps_what_the_policy_wants_and_touches_nothing_else(self, target: Store, tmp_path: Path) -> None:
        super().test_prune_keeps_what_the_policy_wants_and_touches_nothing_else(target, tmp_path)


@pytest.mark.slow
class TestHost(TargetContract):
    """Each call makes a connection of its own, so this takes minutes."""

    @pytest.fixture
    def connect(self, host: RsyncHost, tmp_path: Path) -> Connect:
        self.root = host.folder / "places" / tmp_path.name
        config = host.config(path=str(self.root))
        return lambda: Target(Config(**config))

    def mode_of(self, store: Store, path: str) -> int:
        return stat.S_IMODE((self.root / path).lstat().st_mode)


@pytest.mark.slow
def test_retention_of_500_backups_lists_once_and_deletes_the_oldest(target: Store, root: Path, tmp_path: Path) -> None:
    """R8"""
    store_nights(Folder(FolderConfig(path=root)), tmp_path / "nights", 500)
    (root / JOB / "notes.txt").write_text("foreign")
    watched = Watched(target)
    pruned = prune(Catalogue("there", watched), JOB, Policy(last=490), ENTRIES, NIGHT + timedelta(days=500), MACHINE)
    assert pruned.warnings == []
    assert watched.calls.count(("listdir", JOB)) == 1
    left = {path.name for path in (root / JOB).iterdir()}
    nights = [backup_id(NIGHT + timedelta(days=number)) for number in range(10, 500)]
    assert left == {"notes.txt", *nights, *(f"{night}.json" for night in nights)}


# Over SSH


@pytest.mark.parametrize("key", ["key_file", "narrow_key_file"])
def test_files_are_stored_listed_read_and_deleted_over_ssh(host: RsyncHost, key: str) -> None:
    """With a key that may do anything, and with one that may run `rrsync` alone. The whole contract takes minutes."""
    path = f"/{key}" if key.startswith("narrow") else str(host.folder / key)
    with Target(Config(**{**host.config(path=path), "key_file": getattr(host, key)})) as target:
        target.create_root()
        put(target, "web01/file", b"1")
        assert target.listdir("web01") == [Item("file", 1)]
        assert content(target, "web01/file") == b"1"
        target.delete("web01")
    assert list((host.narrow / key if key.startswith("narrow") else Path(path)).iterdir()) == []


def narrow(host: RsyncHost, path: str) -> Target:
    """Give a store at a path of what `rrsync` leaves open."""
    return Target(Config(**{**host.config(path=path), "key_file": host.narrow_key_file}))


def test_an_absent_root_is_told_from_what_rrsync_refuses(host: RsyncHost) -> None:
    """T34: `rrsync` of rsync 3.5 looks for the folder by itself, and has words of its own."""
    (host.narrow / "file").write_text("1")
    with narrow(host, "/absent/root") as target:
        with pytest.raises(NoRootError) as absent:
            target.listdir()
        assert "mounted" in absent.value.hint
        target.create_root()
        assert target.listdir() == []
    for path, said in (
        ("/file", "Not a directory"),
        ("/file/root", "Not a directory"),
        ("a b", "-s has been disabled"),
    ):
        with narrow(host, path) as target:
            for call in (target.listdir, target.create_root):
                with pytest.raises(StoreError, match=said) as caught:
                    call()
                assert not isinstance(caught.value, NoRootError)
    host.narrow.rename(f"{host.narrow}-away")
    try:
        with narrow(host, "/root") as target, pytest.raises(StoreError, match="No such file") as caught:
            target.listdir()
    finally:
        Path(f"{host.narrow}-away").rename(host.narrow)
    assert not isinstance(caught.value, NoRootError)
    assert "rrsync" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "said", "hint"),
    [("closed", "Permission denied", "owner and mode"), ("closed/root", "Permission denied", "owner and mode"),
     ("file", "Not a directory", "whose")],
)  # fmt: skip
def test_a_root_that_is_closed_or_a_file_is_not_absent(path: str, said: str, hint: str) -> None:
    """T19, T34"""
    with rsync_daemon({"place": NOBODY}) as server:
        closed = server.folder / "place/closed"
        (closed / "root").mkdir(parents=True)
        closed.chmod(0)
        (server.folder / "place/file").write_text("1")
        with Target(Config(**server.config("place", path=path))) as target:
            for call in (target.listdir, target.create_root):
                with pytest.raises(StoreError, match=rf"change_dir .*{said}") as caught:
                    call()
                assert not isinstance(caught.value, NoRootError)
                assert hint in caught.value.hint
        closed.chmod(0o700)


def test_a_host_with_another_key_gets_nothing(host: RsyncHost, tmp_path: Path) -> None:
    """T17: unknown, and changed."""
    other = tmp_path / "known_hosts"
    for keys in ("", f"[127.0.0.1]:{host.port} {host.key_file.with_name(f'{host.key_file.name}.pub').read_text()}"):
        other.write_text(keys)
        with Target(Config(**{**host.config(path="x"), "known_hosts": other})) as target:
            with pytest.raises(StoreError, match=r"ost key verification failed") as caught:
                put(target, "file", b"1")
            assert "ssh-keyscan" in caught.value.hint
        assert other.read_text() == keys


def test_a_login_that_is_refused_says_so(host: RsyncHost) -> None:
    config = {**host.config(path="x"), "key_file": host.folder / "host_key"}
    with Target(Config(**config)) as target, pytest.raises(StoreError, match="Permission denied") as caught:
        target.listdir()
    assert "authorized_keys" in caught.value.hint


def test_a_host_without_rsync_says_so(host: RsyncHost, tmp_path: Path) -> None:
    script = "if '--version' not in sys.argv: sys.argv.insert(1, '--rsync-path=no-such-rsync')"
    with Target(Config(**host.config(path="x", program=program(tmp_path, script)))) as target:
        with pytest.raises(StoreError, match="no-such-rsync: ") as caught:
            target.listdir()
        assert caught.value.hint == "install rsync on the server"


# Names and links


def test_a_path_may_have_characters_that_a_shell_reads(daemon: RsyncDaemon, host: RsyncHost, tmp_path: Path) -> None:
    """T21, also one that begins like an option."""
    served = daemon.folder / "open"
    places = [
        (host.config(path=f"{host.folder}/{HOSTILE}"), host.folder / HOSTILE),
        (daemon.config("open", path=f"-{HOSTILE}"), served / f"-{HOSTILE}"),
        (daemon.config("open", path=HOSTILE, spool=tmp_path), served / HOSTILE),
    ]
    for config, folder in places:
        with Target(Config(**config)) as target:
            target.create_root()
            put(target, "web01/file", b"1")
            assert tree(target) == {"web01/file": b"1"}
            assert (folder / "web01/file").read_bytes() == b"1"
            target.delete("web01")
            assert list(folder.iterdir()) == []


def test_a_local_folder_may_look_like_a_host(daemon: RsyncDaemon, tmp_path: Path) -> None:
    """T21: `host:path`, and `host::module`."""
    for name in ("a:b", "a::b", "-n c"):
        spool = tmp_path / name
        spool.mkdir()
        with Target(Config(**daemon.config("open", path=f"{tmp_path.name}-{name.strip('-')}", spool=spool))) as target:
            target.create_root()
            target.put_folder(write_files(spool / "files", {"x": b"1"}), "web01")
            assert tree(target) == {"web01/x": b"1"}
        assert [path.name for path in spool.iterdir()] == ["files"]


def test_foreign_names_are_passed_over_and_go_with_their_folder(target: Store, root: Path) -> None:
    put(target, "web01/file", b"1")
    for name in ("a b", "ä", "a\nb", "*", "[x]", "\\#012", "-rw-r--r-- 1 f"):
        (root / "web01" / name).write_text("foreign")
    os.mkfifo(root / "web01" / "pipe")
    assert target.listdir("web01") == [Item("file", 1)]
    target.delete("web01")
    assert target.listdir() == []


def test_a_folder_of_others_in_the_root_is_not_opened() -> None:
    with rsync_daemon({"place": NOBODY}) as server:
        (server.folder / "place/web01").mkdir()
        (server.folder / "place/lost+found").mkdir(mode=0)
        with Target(Config(**server.config("place"))) as target:
            assert target.listdir() == [Item("web01", None)]
            (server.folder / "place/web01/theirs").mkdir(mode=0)
            with pytest.raises(StoreError, match="Permission denied"):
                target.listdir("web01")


@pytest.mark.parametrize("path", ["web01/*", "../x", "web01/../../x", "a b", ""])
def test_what_is_no_path_of_ours_is_not_deleted(target: Store, root: Path, path: str) -> None:
    put(target, "web01/file", b"1")
    with contextlib.suppress(StoreError):
        target.delete(path)
    assert (root / "web01/file").exists()


def test_nothing_is_read_written_or_deleted_through_a_link(target: Store, root: Path, tmp_path: Path) -> None:
    """T20, S9: a link goes, what it leads to stays."""
    outside = write_files(tmp_path / "outside", {"secret": b"outside", "below/file": b"outside too"})
    put(target, "web01/file", b"inside")
    (root / "web01/to-folder").symlink_to(outside)
    (root / "web01/to-file").symlink_to(outside / "secret")
    (root / "web02").symlink_to(outside)
    assert tree(target) == {"web01/file": b"inside"}
    for path in ("web01/to-folder/secret", "web01/to-folder/below/file", "web02/secret", "web01/to-file"):
        with pytest.raises(OSError, match=r"."):
            content(target, path)
        with pytest.raises(OSError, match=r"."):
            put(target, path, b"through")
    for path in ("web01/to-folder/secret", "web01/to-folder/below", "web02/secret"):
        with pytest.raises(NotADirectoryError):
            target.delete(path)
    with pytest.raises(NotADirectoryError):
        store_backup(target, make_backup(tmp_path / "made", job="web02"))
    (root / "web01/id").mkdir()
    (root / "web01/id/linked").symlink_to(outside)
    with pytest.raises(NotADirectoryError):
        target.put_folder(write_files(tmp_path / "local", {"a/deeper/1": b"1", "linked/new": b"2"}), "web01/id")
    target.delete("web01/to-folder")
    target.delete("web01")
    target.delete("web02")
    assert list(root.iterdir()) == []
    assert (outside / "secret").read_bytes() + (outside / "below/file").read_bytes() == b"outsideoutside too"


# Faults


@pytest.mark.parametrize(
    ("module", "more", "message", "hint"),
    [
        ("closed", {"user": USER, "password": "wrong-password"}, r"status 5\):\n.*auth failed", "secrets file"),
        ("closed", {}, r"status 5\):\n.*auth failed", "secrets file"),
        ("read-only", {}, r"status 1\):\n.*module is read only", "read only = no"),
        ("write-only", {}, r"status 1\):\n.*module is write only", ""),
        ("elsewhere", {}, r"status 5\):\n.*access denied", "hosts allow"),
        ("unmounted", {}, r"status 5\):\n.*chdir failed", "mounted"),
        ("nothing", {}, r"status 5\):\n.*Unknown module", "rsyncd.conf"),
        ("open", {"port": 1}, r"status 10\):\n.*Connection refused", "port"),
        ("open", {"host": "no-such-host.invalid"}, "no-such-host.invalid", ""),
    ],
)  # fmt: skip
def test_a_server_that_refuses_is_understood(
    daemon: RsyncDaemon, module: str, more: dict[str, Any], message: str, hint: str
) -> None:
    """T1, T19, T26, T34"""
    with Target(Config(**{**daemon.config(module), **more})) as target:
        with pytest.raises(StoreError, match=message) as caught:
            put(target, "file", b"1")
        assert hint in caught.value.hint
        assert target.place in caught.value.message


def test_a_user_who_may_not_write_says_so() -> None:
    """T19"""
    with rsync_daemon({"place": NOBODY}) as server:
        (server.folder / "place").chmod(0o755 if os.geteuid() == 0 else 0o555)
        with Target(Config(**server.config("place"))) as target:
            with pytest.raises(StoreError, match=r"status 23\):(.|\n)*Permission denied") as caught:
                put(target, "web01/file", b"1")
            assert "owner and mode" in caught.value.hint


@pytest.mark.parametrize("nights", [2, pytest.param(30, marks=pytest.mark.slow)])
def test_an_append_only_module_takes_backups_and_deletes_nothing(
    daemon: RsyncDaemon, tmp_path: Path, nights: int
) -> None:
    """T19, T33"""
    with Target(Config(**daemon.config("append", path=f"nights{nights}"))) as target:
        target.create_root()
        store_nights(target, tmp_path / "nights", nights)
        before = tree(target)
        for path in (JOB, f"{JOB}/2026-11-23T031502Z.json"):
            with pytest.raises(StoreError, match="refuse --delete") as caught:
                target.delete(path)
            assert "refuse options" in caught.value.hint
        with pytest.raises(FileExistsError):
            put(target, f"{JOB}/2026-11-23T031502Z.json", b"forged")
        assert tree(target) == before


def test_what_the_module_hides_is_not_deleted_silently(daemon: RsyncDaemon) -> None:
    with Target(Config(**daemon.config("hiding"))) as target:
        put(target, "web01/file", b"1")
        (daemon.folder / "hiding/web01/hidden").write_text("1")
        with pytest.raises(StoreError, match="cannot delete non-empty directory"):
            target.delete("web01")


@pytest.mark.parametrize("status", [*range(1, 6), *range(10, 17), *range(19, 26), 30, 35, 127, 255, 99])
def test_every_status_is_a_failure_with_a_sentence(daemon: RsyncDaemon, tmp_path: Path, status: int) -> None:
    """T23"""
    script = f"if '--version' not in sys.argv: print('what rsync says', file=sys.stderr); sys.exit({status})"
    with Target(Config(**daemon.config("open", program=program(tmp_path, script)))) as target:
        for call in (target.listdir, lambda: content(target, "web01/file")):
            with pytest.raises(PickupError, match=rf"status {status}\b(.|\n)*what rsync says"):
                call()


def test_a_listing_that_is_not_understood_leads_to_no_delete(daemon: RsyncDaemon, tmp_path: Path) -> None:
    """T9"""
    script = "if '--list-only' in sys.argv: print('total 4\\n-rw------- 1 web01'); sys.exit(0)"
    with Target(Config(**daemon.config("open", program=program(tmp_path, script)))) as target:
        for call in (target.listdir, lambda: target.delete("web01/file")):
            with pytest.raises(StoreError, match="not understood"):
                call()


@pytest.mark.parametrize("upwards", [False, True])
@pytest.mark.parametrize("call", [1, 3, pytest.param(None, marks=pytest.mark.slow)])
def test_a_connection_that_is_cut_anywhere_leaves_no_backup_that_is_not_whole(
    daemon: RsyncDaemon, tmp_path: Path, call: int | None, upwards: bool
) -> None:
    """T2: each call of rsync is a connection of its own; each is cut once, or some, at several places. The next run
    succeeds.
    """
    config, made = daemon.config("open", path=tmp_path.name), make_backup(tmp_path / "made")
    with Target(Config(**config)) as target:
        target.create_root()
        cuts = 0
        for number in range(100) if call is None else [call]:
            has_fired = False
            for cut_after in (0, 60, 130, 160, 400):
                with cutting_proxy(daemon.port, cut_after, upwards, times=1, spared=number) as proxy:
                    said = ""
                    try:
                        with Target(Config(**{**config, "port": proxy.port})) as cut:
                            store_backup(cut, made)
                    except StoreError as error:
                        said = error.message
                    assert bool(re.search(r"status \d+", said)) == (proxy.cuts == 1), said
                    cuts += proxy.cuts
                    has_fired |= proxy.cuts > 0
                for backup in Catalogue("there", target).backups(JOB):
                    assert not backup.is_finished or verify(backup) == []
                clear_leftovers(Catalogue("there", target), JOB, NIGHT + timedelta(days=2))
                target.delete(JOB)
            if not has_fired:
                break
        assert cuts > (20 if call is None else 0)
        store_backup(target, made)
        assert [verify(backup) for backup in Catalogue("there", target).backups(JOB)] == [[]]


@pytest.mark.parametrize("way", ["daemon", "ssh", "rrsync"])
def test_a_large_file_goes_on_where_the_connection_was_cut(
    daemon: RsyncDaemon, host: RsyncHost, tmp_path: Path, way: str
) -> None:
    """T2: what arrived before is not sent again, and what was whole is not either."""
    files = {"a/small": os.urandom(100), "b/large": os.urandom(24 * 2**20), "c/last": b"1"}
    if way == "daemon":
        config, port = daemon.config("open", path=tmp_path.name), daemon.port
    else:
        path = f"/{tmp_path.name}" if way == "rrsync" else str(host.folder / tmp_path.name)
        config, port = host.config(path=path), host.port
        config["key_file"] = host.narrow_key_file if way == "rrsync" else host.key_file
    with Target(Config(**config)) as target, cutting_proxy(port, 16 * 2**20, upwards=True, times=1) as proxy:
        target.create_root()
        if way != "daemon":
            known = tmp_path / "known"
            known.write_text(host.known_hosts.read_text().replace(str(port), str(proxy.port)))
            config["known_hosts"] = known
        with Shaped(Target(Config(**{**config, "port": proxy.port})), "rsync/nas", 1) as shaped:
            shaped.put_folder(write_files(tmp_path / "local", files), "web01/id")
        assert proxy.cuts == 1
        # rrsync ends before its rsync has put the part aside
        assert proxy.passed_up < (44 if way == "rrsync" else 28) * 2**20
        assert tree(target) == {f"web01/id/{name}": data for name, data in files.items()}


def test_a_connection_that_is_cut_while_a_file_is_read_gives_no_part_of_it(daemon: RsyncDaemon, target: Store) -> None:
    """T2"""
    put(target, "web01/large", os.urandom(2**20))
    with cutting_proxy(daemon.port, 2**19) as proxy:
        cut = Target(target.config.model_copy(update={"port": proxy.port}))
        with cut, pytest.raises(StoreError, match="status 12"), cut.get("web01/large"):
            pass
        assert proxy.cuts == 1


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"module": "open", "timeout": 1}, "did not answer in time (rsync's status 30)"),
        ({"path": "x", "timeout": 5, "connect_timeout": 1}, "Connection timed out during banner exchange"),
    ],
    ids=["daemon", "ssh"],
)
def test_a_server_that_never_answers_is_given_up(config: dict[str, Any], said: str) -> None:
    """T3, I9"""
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = {"host": "127.0.0.1", "port": silent.getsockname()[1], **config}
        with Target(Config(**config)) as target, pytest.raises(UnreachableError, match=re.escape(said)):
            target.listdir()
    assert time.monotonic() - start < 10


def test_what_rsync_says_has_gone_is_shown(target: Store, tmp_path: Path) -> None:
    files = {"a/b": b"1" * 3_000_000, "c": b"2" * 1_000_000, "none": b""}
    with seen_bytes() as seen:
        target.put_folder(write_files(tmp_path / "local", files), "web01/id")
        assert seen() == 4_000_000


def test_a_full_disk_is_named_and_nothing_is_left_there() -> None:
    """T4"""
    script = """
        import io
        from tests.servers.rsyncd import rsync_daemon
        from target_profiles.rsync import Config, Target, check
        with rsync_daemon({"small": []}) as server:
            (server.folder / "small").rmdir()
            (server.folder / "small").symlink_to(DISK)
            with Target(Config(**server.config("small"))) as target:
                target.put("web01/fits", io.BytesIO(b"x" * 1000))
                try:
                    target.put("web01/large", io.BytesIO(b"x" * 3 * 2**20))
                except Exception as error:
                    said = [type(error).__name__, str(error)]
                print(json.dumps([*said, [[item.name, item.size] for item in target.listdir("web01")]]))
    """
    kind, message, left = run_on_disk(script, "1M")
    assert kind == "StoreError"
    assert "No space left" in message
    assert "make room" in message
    assert left == [["fits", 1000]]


def test_a_disk_that_an_upload_has_filled_is_free_again() -> None:
    """T4, T31: the part of a large file, which rsync puts aside, goes with the rest."""
    script = """
        import os, pathlib, tempfile
        from tests.places import make_backup, store_backup, tree
        from tests.servers.rsyncd import rsync_daemon
        from target_profiles.rsync import Config, Target
        with rsync_daemon({"small": []}) as server, tempfile.TemporaryDirectory() as local:
            (server.folder / "small").rmdir()
            (server.folder / "small").symlink_to(DISK)
            free = os.statvfs(DISK).f_bfree
            made = make_backup(pathlib.Path(local) / "made", contents={"folder/www": os.urandom(6 * 2**20)})
            with Target(Config(**server.config("small"))) as target:
                try:
                    store_backup(target, made)
                except Exception as error:
                    said = [type(error).__name__, str(error)]
                lost = free - os.statvfs(DISK).f_bfree
                print(json.dumps([*said, sorted(tree(target)), lost * os.statvfs(DISK).f_bsize]))
    """
    kind, message, left, lost = run_on_disk(script, "4M")
    assert kind == "StoreError"
    assert "No space left" in message
    assert left == []
    assert lost < 100_000


def test_two_that_store_the_same_name_at_once_do_not_overwrite(daemon: RsyncDaemon, tmp_path: Path) -> None:
    """T7, T14: the other one is there between our look and our file."""
    place = daemon.folder / "open" / tmp_path.name / "web01"
    script = f"""if '--version' not in sys.argv and '--list-only' not in sys.argv:
        os.makedirs({str(place)!r}, exist_ok=True)
        open({str(place / "file")!r}, "w").write("theirs")"""
    with Target(Config(**daemon.config("open", path=tmp_path.name, program=program(tmp_path, script)))) as target:
        place.parent.mkdir()
        with pytest.raises(FileExistsError, match="web01/file exists already"):
            put(target, "web01/file", b"ours")
    assert (place / "file").read_text() == "theirs"


def test_rsync_itself_keeps_to_the_bandwidth(daemon: RsyncDaemon, tmp_path: Path) -> None:
    with Target(Config(**daemon.config("open", path=tmp_path.name))) as target:
        target.create_root()
        target.bandwidth = 200
        start = time.monotonic()
        put(target, "web01/file", os.urandom(600 * 1024))
        assert time.monotonic() - start > 1.5


# Programs and secrets


def test_a_program_that_is_missing_is_named(daemon: RsyncDaemon) -> None:
    """T24"""
    target = Target(Config(**daemon.config("open", program="no-such-rsync")))
    with pytest.raises(ProcessError, match="program no-such-rsync cannot be found"):
        target.open()


@pytest.mark.parametrize(
    ("version", "told"),
    [("version 3.2.7", "3.2.7"), ("version 3.4.9", "3.4.9"), ("version 3.5.0", ""), ("version v3.10.1", ""),
     ("of mine", "of no known version")],
)  # fmt: skip
def test_a_check_points_at_an_old_rsync_and_at_what_is_in_the_clear(tmp_path: Path, version: str, told: str) -> None:
    """T24"""
    shim = program(tmp_path, f"if '--version' in sys.argv: print('rsync  {version}  protocol version 31'); sys.exit(0)")
    old = (
        [f"{shim} {told} is older than 3.5.0, which closed many security holes; did your distribution?"] if told else []
    )
    assert list(check(Config(host="nas", path="x", program=shim))) == old
    clear = "a daemon encrypts nothing: whoever is between reads and can change the backups"
    assert list(check(Config(host="nas", module="x", program=shim))) == [clear, *old]


def test_an_old_rsync_is_no_matter_for_a_run(
    daemon: RsyncDaemon, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    script = "if '--version' in sys.argv: print('rsync  version 3.2.7  protocol version 31'); sys.exit(0)"
    with Target(Config(**daemon.config("open", program=program(tmp_path, script)))) as target:
        target.listdir()
    assert caplog.messages == []


def test_an_rsync_that_cannot_sync_says_how_to_do_without(daemon: RsyncDaemon, tmp_path: Path) -> None:
    script = "if '--fsync' in sys.argv: print('rsync: --fsync: unknown option', file=sys.stderr); sys.exit(1)"
    config = daemon.config("open", path=tmp_path.name, program=program(tmp_path, script))
    with Target(Config(**config)) as target:
        target.create_root()
        with pytest.raises(StoreError, match="unknown option") as caught:
            put(target, "file", b"1")
        assert "fsync=False" in caught.value.hint
    with Target(Config(**config, fsync=False)) as target:
        put(target, "file", b"1")
        assert tree(target) == {"file": b"1"}


def test_the_password_is_seen_by_rsync_alone(
    daemon: RsyncDaemon, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Secrets: not in any command, message or place, and in the environment under its one name."""
    caplog.set_level(logging.DEBUG)
    seen = tmp_path / "seen"
    script = f"with open({str(seen)!r}, 'a') as file: print(sys.argv, dict(os.environ), file=file)"
    config = daemon.config("closed", user=USER, password=PASSWORD, program=program(tmp_path, script))
    with Target(Config(**config)) as target:
        put(target, f"web01/{tmp_path.name}", b"1")
    text = seen.read_text()
    assert f"'RSYNC_PASSWORD': {PASSWORD!r}" in text
    assert text.count(repr(PASSWORD)) == text.count(f"'RSYNC_PASSWORD': {PASSWORD!r}")
    assert not tells(caplog.text + target.place + repr(target.config), PASSWORD)
    assert not tells(daemon.log(), PASSWORD)


def test_variables_that_change_rsync_are_taken_away(
    daemon: RsyncDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RSYNC_RSH", "RSYNC_OLD_ARGS", "RSYNC_PARTIAL_DIR", "RSYNC_PASSWORD", "RSYNC_ICONV"):
        monkeypatch.setenv(name, "utf-8,latin1")
    seen = tmp_path / "seen"
    script = f"with open({str(seen)!r}, 'a') as file: print(dict(os.environ), file=file)"
    with Target(Config(**daemon.config("open", program=program(tmp_path, script)))) as target:
        target.listdir()
    assert "'LC_ALL': 'C'" in seen.read_text()
    assert "'RSYNC_" not in seen.read_text()


def test_the_private_folder_is_gone_whatever_happened(daemon: RsyncDaemon, tmp_path: Path) -> None:
    with Target(Config(**daemon.config("open", path=tmp_path.name, spool=tmp_path))) as target:
        target.create_root()
        put(target, "file", b"1")
        with target.get("file"):
            [spool] = tmp_path.iterdir()
            assert stat.S_IMODE(spool.stat().st_mode) == 0o700
        with pytest.raises(FileExistsError):
            put(target, "file", b"1")
        shutil.rmtree(daemon.folder / "open" / tmp_path.name)
        with pytest.raises(StoreError):
            put(target, "file", b"1")
    assert list(tmp_path.iterdir()) == []


def test_a_private_folder_that_cannot_be_made_is_not_a_file_that_is_absent(target: Store, tmp_path: Path) -> None:
    put(target, "file", b"1")
    other = Target(target.config.model_copy(update={"spool": tmp_path / "absent"}))
    with other, pytest.raises(StoreError, match="no folder can be made in") as caught, other.get("file"):
        pass
    assert "spool" in caught.value.hint


# The config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"host": "-oProxyCommand=x", "path": "x"}, "host"),
        ({"host": "a b", "path": "x"}, "host"),
        ({"host": "a\n", "path": "x"}, "host"),
        ({"host": "a", "user": "-l", "path": "x"}, "user"),
        ({"host": "a", "user": "a\nb", "path": "x"}, "user"),
        ({"host": "a", "user": "x\n", "path": "x"}, "user"),
        ({"host": "a", "module": "a/b"}, "module"),
        ({"host": "a", "path": "a\nb"}, "control character"),
        ({"host": "a", "path": "a*"}, "patterns"),
        ({"host": "a", "path": "~/backup"}, "relative to the login"),
        ({"host": "a", "path": "a/../b"}, r"has \.\. in it"),
        ({"host": "a"}, "needs a path, or the module"),
        ({"host": "a", "path": "x", "password": "secret"}, "over SSH use a key"),
        ({"host": "a", "module": "x", "key_file": "/k"}, "are for SSH"),
        ({"host": "a", "module": "x", "timeout": 0}, "timeout"),
    ],
)
def test_what_cannot_be_meant_is_refused(config: dict[str, Any], message: str) -> None:
    """T21, T22"""
    with pytest.raises(ValidationError, match=message):
        Config(**config)


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"host": "nas", "path": "/srv//backup/"}, "rsync+ssh://nas:/srv/backup"),
        ({"host": "nas", "user": "u", "port": 22, "path": "b"}, "rsync+ssh://u@nas:22:b"),
        ({"host": "nas", "module": "m", "user": "u", "password": "secret"}, "rsync://nas/m"),
        ({"host": "::1", "module": "m", "port": 874, "path": "/a/b"}, "rsync://::1:874/m/a/b"),
    ],
)
def test_a_place_is_where_the_files_lie(config: dict[str, Any], place: str) -> None:
    """T28"""
    assert Target(Config(**config)).place == place


def test_a_target_of_this_kind_cannot_take_a_stream() -> None:
    assert Target.takes_streams is False
