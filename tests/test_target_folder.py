"""The folder target: the contract of all targets, and what a file system adds to it."""

import contextlib
import errno
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from pickup_core.catalogue import Catalogue
from pickup_core.errors import StoreError
from pickup_core.manifest import backup_id
from pickup_core.store import Store
from pickup_core.verify import verify
from target_profiles.folder import Config, Target
from tests.builders import as_ordinary_user, ordinary_folder, seen_bytes
from tests.places import (
    JOB,
    NIGHT,
    REPOSITORY,
    content,
    make_backup,
    put,
    run_on_disk,
    store_backup,
    tree,
    write_files,
)
from tests.target_contract import Connect, TargetContract


class TestContract(TargetContract):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: Target(Config(path=tmp_path / "place"))

    def mode_of(self, store: Store, path: str) -> int:
        return stat.S_IMODE((store.config.path / path).lstat().st_mode)


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Store]:
    with target_at(tmp_path / "place") as store:
        store.create_root()
        yield store


def target_at(path: Path) -> Target:
    return Target(Config(path=path))


# Modes


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
@pytest.mark.parametrize("staging", ["/var/tmp", "/dev/shm"])
def test_every_path_is_private_from_the_first_moment(tmp_path: Path, umask: int, staging: str) -> None:
    """I7, S10: linked or copied, whatever the umask, and whatever the modes of the local files."""
    with tempfile.TemporaryDirectory(dir=staging) as area:
        made = make_backup(Path(area, "made"))
        (made.folder / "RESTORE.txt").chmod(0o644)
        before = os.umask(umask)
        try:
            with target_at(tmp_path / "place") as target:
                target.create_root()
                store_backup(target, made)
        finally:
            os.umask(before)
    found = [tmp_path / "place", *(tmp_path / "place").rglob("*")]
    files = [path for path in found if path.is_file()]
    assert len(files) == len(made.manifest.files) + 2
    assert {stat.S_IMODE(path.lstat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.lstat().st_mode) for path in found if path not in files} == {0o700}


# Links and special files


@pytest.fixture
def outside(target: Store, tmp_path: Path) -> Path:
    """A folder outside of the root, to which links in the root lead."""
    folder = write_files(tmp_path / "outside", {"secret": b"outside", "below/file": b"outside too"})
    put(target, "web01/file", b"inside")
    root = target.config.path / "web01"
    (root / "to-folder").symlink_to(folder)
    (root / "to-file").symlink_to(folder / "secret")
    (root / "to-nothing").symlink_to(folder / "new")
    return folder


def unchanged(outside: Path) -> bool:
    files = {path.relative_to(outside).as_posix(): path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    return files == {"secret": b"outside", "below/file": b"outside too"}


def test_links_are_not_listed(target: Store, outside: Path) -> None:
    """T20"""
    assert tree(target) == {"web01/file": b"inside"}


@pytest.mark.parametrize(
    "path", ["web01/to-folder/new", "web01/to-folder/below/new", "web01/to-file", "web01/to-nothing"]
)
def test_nothing_is_written_through_a_link(target: Store, outside: Path, tmp_path: Path, path: str) -> None:
    """T20, S9"""
    with pytest.raises(OSError, match=r"."):
        put(target, path, b"through")
    with pytest.raises(OSError, match=r"."):
        target.commit(path, b"through")
    with pytest.raises(OSError, match=r"."):
        target.put_folder(write_files(tmp_path / "local", {Path(path).name: b"through"}), str(Path(path).parent))
    assert unchanged(outside)


@pytest.mark.parametrize("path", ["web01/to-folder/secret", "web01/to-folder/below/file", "web01/to-file"])
def test_nothing_is_read_through_a_link(target: Store, outside: Path, path: str) -> None:
    """T20"""
    with pytest.raises(OSError, match=r"."):
        content(target, path)
    with pytest.raises(OSError, match=r"."):
        target.sha256(path)
    with pytest.raises(OSError, match=r"."):
        target.listdir("web01/to-folder")


def test_nothing_is_deleted_through_a_link(target: Store, outside: Path) -> None:
    """T20: a link goes, what it leads to stays."""
    for path in ("web01/to-folder/secret", "web01/to-folder/below", "web01/to-folder/below/file"):
        with pytest.raises(OSError, match=r"."):
            target.delete(path)
    target.delete("web01/to-folder")
    assert not os.path.lexists(target.config.path / "web01/to-folder")
    (target.config.path / "web01/deep").mkdir()
    (target.config.path / "web01/deep/again").symlink_to(outside)
    target.delete("web01")
    assert os.listdir(target.config.path) == []
    assert unchanged(outside)


def test_a_job_that_is_a_link_is_not_followed(target: Store, outside: Path, tmp_path: Path) -> None:
    """T20: neither published to, nor listed, nor pruned."""
    (target.config.path / "web02").symlink_to(outside)
    with pytest.raises(OSError, match=r"."):
        store_backup(target, make_backup(tmp_path / "made", job="web02"))
    with pytest.raises(OSError, match=r"."):
        Catalogue("disk", target).backups("web02")
    assert unchanged(outside)


def test_the_root_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with target_at(tmp_path / "link") as target:
        store_backup(target, make_backup(tmp_path / "made"))
        assert target.place == target_at(tmp_path / "disk").place == target_at(tmp_path / "made/../link").place
    assert (tmp_path / "disk" / JOB).is_dir()


def test_a_special_file_is_none_of_ours_and_stops_nothing(target: Store) -> None:
    """I9: a FIFO without a writer would be waited for."""
    put(target, "web01/file", b"1")
    os.mkfifo(target.config.path / "web01/fifo")
    assert tree(target) == {"web01/file": b"1"}
    for path in ("web01/fifo", "web01"):
        with pytest.raises(StoreError, match=f"{path} is not a regular file"):
            content(target, path)
    with pytest.raises(FileExistsError):
        put(target, "web01/fifo", b"2")
    target.delete("web01/fifo")
    assert os.listdir(target.config.path / "web01") == ["file"]


def test_an_error_names_the_file(target: Store) -> None:
    put(target, "web01/file", b"1")
    with pytest.raises(FileExistsError) as caught:
        put(target, "web01/file", b"2")
    assert caught.value.filename == str(target.config.path / "web01/file")


# The root


def test_a_root_that_was_renamed_is_an_error_and_stays_away(target: Store, tmp_path: Path) -> None:
    """T34"""
    store_backup(target, make_backup(tmp_path / "first"))
    root = target.config.path
    root.rename(tmp_path / "unplugged")
    with pytest.raises(StoreError, match="does not exist") as caught:
        store_backup(target, make_backup(tmp_path / "second", NIGHT + timedelta(days=1)))
    assert str(root) in caught.value.message
    assert "mounted" in caught.value.hint
    assert not root.exists()
    (tmp_path / "unplugged").rename(root)
    assert [verify(backup) for backup in Catalogue("disk", target).backups(JOB)] == [[]]


def test_a_root_that_is_closed_or_a_file_is_not_absent() -> None:
    code = """
from pathlib import Path
from target_profiles.folder import Config, Target
root = Path(sys.argv[1]) / "root"
target = Target(Config(path=root))
target.create_root()
for damage in (lambda: root.chmod(0), lambda: root.parent.chmod(0o600), lambda: (root.parent.chmod(0o700), root.rmdir(), root.touch())):
    damage()
    for call in (target.listdir, lambda: target.listdir("web01"), lambda: target.delete("web01")):
        try:
            call()
        except Exception as error:
            print(type(error).__name__, error.filename == str(root))
"""
    with ordinary_folder() as folder:
        done = as_ordinary_user(code, folder)
    said = ["PermissionError True"] * 6 + ["NotADirectoryError True"] * 3
    assert done.stdout.splitlines() == said, done.stderr


def test_a_folder_that_is_no_mount_point_is_refused(tmp_path: Path) -> None:
    """T25"""
    (tmp_path / "mnt").mkdir()
    with (
        pytest.raises(StoreError, match="is not a mount point") as caught,
        Target(Config(path=tmp_path / "mnt", require_mount=True)),
    ):
        pass
    assert str(tmp_path / "mnt") in caught.value.message
    assert "mount" in caught.value.hint
    assert os.listdir(tmp_path / "mnt") == []


def test_a_disk_is_used_while_it_is_mounted_and_refused_when_it_is_not(tmp_path: Path) -> None:
    """T25: with a real mount, and after it a real empty folder."""
    script = """
        import subprocess
        from pickup_core.catalogue import Catalogue
        from pickup_core.errors import StoreError
        from target_profiles.folder import Config, Target
        from tests.places import make_backup, store_backup

        folder = pathlib.Path(sys.argv[1])
        config = Config(path=DISK, require_mount=True)
        with Target(config) as target:
            store_backup(target, make_backup(folder / "made"))
            mounted = [backup.status for backup in Catalogue("disk", target).backups("web01")]
        os.chdir("/")
        subprocess.run(["umount", DISK], check=True)
        try:
            with Target(config) as target:
                refused = ""
        except StoreError as error:
            refused = error.message
        print(json.dumps([mounted, refused, os.listdir(DISK), str(DISK)]))
    """
    mounted, refused, left, disk = run_on_disk(script, "4m", tmp_path)
    assert mounted == ["complete"]
    assert refused == f"{disk} is not a mount point"
    assert left == []


# Links from the staging area, and copies


def test_one_target_shares_the_staged_file_and_a_second_gets_a_copy(tmp_path: Path) -> None:
    """One disk error must not hit two targets: link, then exactly two names, else copy."""
    made = make_backup(tmp_path / "made")
    targets = [target_at(tmp_path / name) for name in ("one", "two", "three")]
    for target in targets:
        with target:
            target.create_root()
            store_backup(target, made)
    for file in made.manifest.files[:2]:
        staged = (made.folder / file.path).stat()
        stored = [(t.config.path / JOB / made.manifest.id / file.path).stat() for t in targets]
        assert [(s.st_ino == staged.st_ino, s.st_nlink) for s in stored] == [(True, 2), (False, 1), (False, 1)]
        assert len({s.st_ino for s in stored}) == 3
    shutil.rmtree(made.folder)
    for target in targets:
        with target:
            [backup] = Catalogue("disk", target).backups(JOB)
            assert verify(backup) == []


def test_what_is_copied_is_shown(tmp_path: Path) -> None:
    """A second target gets no link."""
    local, seen_there = write_files(tmp_path / "local", {"a": b"1" * 1000, "b/c": b"22"}), []
    for name in ("one", "two"):
        with Target(Config(path=tmp_path / name)) as store, seen_bytes() as seen:
            store.create_root()
            store.put_folder(local, "web01/id")
            seen_there.append(seen())
    assert seen_there == [0, 1002]


def test_what_is_changed_at_one_target_stays_whole_at_the_other(tmp_path: Path) -> None:
    made = make_backup(tmp_path / "made")
    for name in ("one", "two"):
        with target_at(tmp_path / name) as target:
            target.create_root()
            store_backup(target, made)
    with (tmp_path / "one" / JOB / made.manifest.id / "folder/www/data.bin").open("r+b") as file:
        file.write(b"!")
    found = []
    for name in ("one", "two"):
        with target_at(tmp_path / name) as target:
            [backup] = Catalogue("disk", target).backups(JOB)
            found.append(len(verify(backup)))
    assert found == [1, 0]


@pytest.mark.parametrize(("staging", "place"), [("/dev/shm", "/var/tmp"), ("/var/tmp", "/dev/shm")])
def test_across_file_systems_files_are_copied(staging: str, place: str) -> None:
    """S12"""
    assert os.stat(staging).st_dev != os.stat(place).st_dev
    with tempfile.TemporaryDirectory(dir=staging) as area, tempfile.TemporaryDirectory(dir=place) as root:
        made = make_backup(Path(area, "made"), contents={"folder/www": os.urandom(3 * 2**20 + 1)})
        with target_at(Path(root)) as target:
            store_backup(target, made)
            [backup] = Catalogue("disk", target).backups(JOB)
            assert verify(backup) == []
            stored = target.config.path / backup.folder / "folder/www/data.bin"
            assert stored.stat().st_nlink == 1
            assert (made.folder / "folder/www/data.bin").stat().st_nlink == 1


# A full disk

FILL_UP = """
    from datetime import timedelta
    from pickup_core.catalogue import Catalogue
    from pickup_core.verify import verify
    from target_profiles.folder import Config, Target
    from tests.places import NIGHT, make_backup, store_backup, tree

    folder, results = pathlib.Path(sys.argv[1]), []
    first = make_backup(folder / "first")
    second = make_backup(folder / "second", NIGHT + timedelta(days=1), {"folder/www": b"x" * 9000, "b/c": b"y"})
    with Target(Config(path=DISK / "place")) as target:
        target.create_root()
        store_backup(target, first)
        before = tree(target)
        for room in range(31):
            fill_all_but(room)
            try:
                store_backup(target, second)
                failed = None
            except OSError as error:
                failed = [error.errno, str(error.filename or "")]
            backups = Catalogue("disk", target).backups("web01")
            whole = not any(verify(backup) for backup in backups)
            left = sorted(os.listdir(DISK / "place/web01"))
            results.append([failed, len(backups), whole, tree(target) == before, left])
            if not failed:
                break
    print(json.dumps([results, str(DISK), first.manifest.id]))
"""
BLOCKS = """
    import shutil
    def fill_all_but(pages):
        with (DISK / "filler").open("wb") as file:
            file.truncate(0)
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(DISK).free - pages * 4096)
"""
INODES = """
    made = 0
    def fill_all_but(count):
        global made
        for n in range(made):
            (DISK / f"filler{n}").unlink()
        made = max(0, os.statvfs(DISK).f_ffree - count)
        for n in range(made):
            (DISK / f"filler{n}").touch()
"""


@pytest.mark.parametrize(("filler", "options"), [(BLOCKS, ["size=256k"]), (INODES, ["size=1m", "nr_inodes=60"])])
def test_a_full_disk_costs_the_new_backup_alone(tmp_path: Path, filler: str, options: list[str]) -> None:
    """T4, S5: for every amount of room, up to the first with which it fits."""
    results, disk, first = run_on_disk(filler + FILL_UP, "1m", tmp_path, options=options)
    *failures, success = results
    assert len(failures) > 5
    for failed, count, whole, as_before, left in failures:
        assert failed[0] == 28
        assert failed[1].startswith(f"{disk}/place/web01/")
        assert (count, whole, as_before) == (1, True, True)
        assert left == [first, f"{first}.json"]
    assert success[:3] == [None, 2, True]


# What reaches the disk, and when

IN_PLACE = """
import sys
from pathlib import Path
from target_profiles.folder import Config, Target
from tests.places import make_backup, put, store_backup, write_files

made = make_backup(Path(sys.argv[1], "made"))
with Target(Config(path=Path(sys.argv[2], "new/place"))) as target:
    target.create_root()
    {}
"""
CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += (\S+)")
PATH_OF_FD = re.compile(r"(?:\d+|AT_FDCWD)<([^>]*)>")
TRACED = "fsync,fdatasync,write,openat,mkdir,mkdirat,link,linkat,rename,renameat,renameat2,unlink,unlinkat,sync,syncfs"


def traced(tmp_path: Path, action: str, staging: Path, place: Path) -> list[tuple[str, str, str]]:
    """Do something under strace; give each call that changed something in the place: name, folder, file name."""
    log = tmp_path / "strace.log"
    command = ["strace", "-f", "-y", "-s", "400", "-o", log, "-e", f"trace={TRACED}", sys.executable, "-c"]
    done = subprocess.run(
        [*command, IN_PLACE.format(action), staging, place],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    calls, begun = [], dict[str, str]()
    for line in log.read_text().splitlines():
        thread, _, rest = line.partition(" ")
        if rest.endswith("<unfinished ...>"):  # another thread's line stands between
            begun[thread] = line.removesuffix("<unfinished ...>")
            continue
        found = CALL.match(re.sub(r".*<\.\.\. \w+ resumed>", lambda _, thread=thread: begun.pop(thread), line))
        if not found or found[3].startswith("-1"):
            continue
        name, arguments = found[1], found[2]
        paths = PATH_OF_FD.findall(arguments)
        texts = re.findall(r'"([^"]*)"', arguments)
        if name in ("fsync", "fdatasync", "write"):
            calls.append((name, *os.path.split(paths[0])))
        elif name == "openat" and "O_CREAT" not in arguments:
            continue
        elif texts:
            calls.append((name, *os.path.split(os.path.join(paths[-1] if paths else "", texts[-1]))))
    return [call for call in calls if f"{call[1]}/{call[2]}/".startswith(f"{place}/")]


class Disk:
    """What of a trace of calls would be lost if the power failed now: entries of folders, and contents of files."""

    def __init__(self) -> None:
        self.unsynced: set[tuple[str, str]] = set()  # an entry as folder and name, the content of a file as path and ""
        self.created: set[str] = set()

    def note(self, call: str, folder: str, file: str) -> None:
        path = f"{folder}/{file}"
        if call in ("fsync", "fdatasync"):
            self.unsynced = {(where, name) for where, name in self.unsynced if where != path}
        elif call == "write":
            self.unsynced.add((path, ""))
        else:
            self.unsynced.add((folder, file))
            if not call.startswith(("unlink", "mkdir", "rename")):
                self.unsynced.add((path, ""))
                self.created.add(path)


@pytest.mark.parametrize("staging", ["/var/tmp", "/dev/shm"])
def test_everything_is_on_the_disk_before_the_manifest_has_its_name(tmp_path: Path, staging: str) -> None:
    """K6: each file and each folder of a backup is synced after its last change, linked or copied, and the manifest
    appears under its name at once, by a rename.
    """
    with tempfile.TemporaryDirectory(dir=staging) as area, tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        calls = traced(tmp_path, "store_backup(target, made)", Path(area), Path(place))
        files = {path.relative_to(place).as_posix() for path in Path(place).rglob("*") if path.is_file()}
    manifest = f"{place}/new/place/{JOB}/{backup_id(NIGHT)}.json"
    disk, renamed = Disk(), 0
    for call, folder, file in calls:
        if call.startswith("rename"):
            assert f"{folder}/{file}" == manifest
            lost = {(where, name) for where, name in disk.unsynced if where != folder or not name.startswith(".")}
            assert lost == set(), "not on the disk when the manifest appears"
            disk.unsynced.clear()  # but the name that it had before
            renamed += 1
        disk.note(call, folder, file)
    assert renamed == 1
    assert disk.unsynced == set()
    assert {f"{place}/{path}" for path in files} - disk.created == {manifest}
    links = sum(call == "linkat" for call, _, _ in calls)
    assert links == (6 if os.stat(staging).st_dev == os.stat("/var/tmp").st_dev else 0)
    assert len(files) == 8


@pytest.mark.parametrize(
    "action",
    ['put(target, "web01/deep/er/file", b"1")', 'put(target, "file", b"1")', 'target.commit("web01/x.keep", b"1")',
     'target.put_folder(made.folder, "web01/id")', 'put(target, "web01/file", b"1"); target.delete("web01/file")',
     'target.put_folder(write_files(made.folder / "many", dict.fromkeys(map(str, range(40)), b"1")), "web01/id")'],
)  # fmt: skip
def test_what_has_returned_is_on_the_disk(tmp_path: Path, action: str) -> None:
    """K6"""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as area, tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        calls = traced(tmp_path, action, Path(area), Path(place))
    disk = Disk()
    for call in calls:
        disk.note(*call)
        if call[0].startswith("rename"):
            disk.unsynced = {(where, name) for where, name in disk.unsynced if not name.startswith(".")}
    assert disk.created
    assert disk.unsynced == set()


def test_one_of_many_that_cannot_be_synced_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3"""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as area, target_at(Path(area) / "place") as target:
        target.create_root()
        local = write_files(Path(area) / "local", dict.fromkeys(map(str, range(40)), b"1"))
        bad, real = (local / "33").stat().st_ino, os.fsync

        def sync(descriptor: int) -> None:
            if os.fstat(descriptor).st_ino == bad:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(descriptor)

        monkeypatch.setattr(os, "fsync", sync)
        with pytest.raises(OSError, match="Input/output error"):
            target.put_folder(local, "web01/id")


def test_a_reader_sees_a_manifest_as_a_whole_or_not_at_all(target: Store) -> None:
    data = os.urandom(200_000)
    seen, ended = set(), threading.Event()

    def look() -> None:
        with target_at(target.config.path) as other:
            while not ended.is_set():
                with contextlib.suppress(FileNotFoundError):
                    seen.add(content(other, "web01/x.json"))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(150):
            target.commit("web01/x.json", data)
            target.delete("web01/x.json")
    finally:
        ended.set()
        reader.join()
    assert seen == {data}


def test_a_commit_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """T4: neither the manifest nor the name that it has before it is whole."""
    script = """
        from target_profiles.folder import Config, Target
        from tests.places import put

        with Target(Config(path=DISK)) as target:
            put(target, "web01/file", b"1")
            try:
                target.commit("web01/x.json", b"x" * 300_000)
                failed = None
            except OSError as error:
                failed = str(error)
        print(json.dumps([failed, os.listdir(DISK / "web01"), str(DISK)]))
    """
    failed, left, disk = run_on_disk(script, "128k")
    assert failed == f"[Errno 28] No space left on device: '{disk}/web01/x.json'"
    assert left == ["file"]
