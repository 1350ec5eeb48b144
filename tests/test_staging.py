"""The staging area: private, always removed, never full of what others need, and blind to what is not ours."""

import contextlib
import errno
import logging
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pickup_core.catalogue import Catalogue
from pickup_core.config import Config
from pickup_core.errors import ConfigError, Stopped
from pickup_core.loose import LooseFolder
from pickup_core.report import Report
from pickup_core.room import Reserve
from pickup_core.run import RunWish, run
from pickup_core.staging import Staging
from pickup_core.verify import verify
from tests.builders import NOBODY, as_ordinary_user, config_text, loaded, ordinary_folder
from tests.deep import chain
from tests.places import REPOSITORY, run_on_disk, write_files

NO_RESERVE = Reserve(0, 0)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can do that")


@pytest.fixture
def area(tmp_path: Path) -> Path:
    return tmp_path / "area"


def staging_in(area: Path) -> Staging:
    return Staging(area, NO_RESERVE)


def write(staging: Staging, path: str, data: bytes) -> None:
    with staging.sink(path) as sink:
        assert sink.write(data) == len(data)


# A run's folder


def test_a_run_has_a_folder_of_its_own_that_goes_with_it(area: Path) -> None:
    with staging_in(area) as staging:
        write(staging, "folder/www/data.tar", b"1")
        write(staging, "folder/www/data.contents", b"2")
        write(staging, "top", b"3")
        assert staging.backup.parent.parent == area
        files = {path.relative_to(staging.backup).as_posix() for path in staging.backup.rglob("*") if path.is_file()}
        assert files == {"folder/www/data.tar", "folder/www/data.contents", "top"}
    assert os.listdir(area) == []


@pytest.mark.parametrize("error", [RuntimeError("any"), KeyboardInterrupt(), Stopped(15)])
def test_the_folder_goes_whatever_ends_the_run(area: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), staging_in(area) as staging:
        raise _after(write(staging, "folder/www/data", b"1"), error)
    assert os.listdir(area) == []


def test_two_runs_do_not_meet(area: Path) -> None:
    with staging_in(area) as one:
        write(one, "file", b"one")
        with staging_in(area) as two:
            write(two, "file", b"two")
            assert one.backup != two.backup
            assert (one.backup / "file").read_bytes() == b"one"
        assert (one.backup / "file").read_bytes() == b"one"
    assert os.listdir(area) == []


def test_a_scratch_folder_is_private_empty_and_removed_with_whatever_is_in_it(area: Path) -> None:
    with staging_in(area) as staging:
        with staging.scratch() as one, staging.scratch() as two:
            assert one != two
            assert os.listdir(one) == []
            assert stat.S_IMODE(one.stat().st_mode) == 0o700
            assert not one.is_relative_to(staging.backup)
            write_files(one / "deep", {"er/file": b"1"})
            (one / "link").symlink_to("/etc")
        with pytest.raises(ZeroDivisionError), staging.scratch() as three:
            raise _after((three / "file").touch(), ZeroDivisionError())
        assert not any(folder.exists() for folder in (one, two, three))
    assert Path("/etc/passwd").exists()


def test_a_scratch_folder_is_removed_however_deep_it_is(area: Path) -> None:
    """G30"""
    with staging_in(area) as staging:
        with staging.scratch() as folder:
            chain(folder / "top", 3000)
        assert not folder.exists()


READ_ONLY = """
    import sys
    from pathlib import Path
    from pickup_core.room import Reserve
    from pickup_core.staging import Staging
    area = Path(sys.argv[1], "area")
    with Staging(area, Reserve(0, 0)) as staging:
        with staging.scratch() as folder:
            (folder / "cache/module").mkdir(parents=True)
            (folder / "cache/module/file").touch()
            (folder / "cache/link").symlink_to(sys.argv[1])
            (folder / "cache/module").chmod(0o500)
            (folder / "cache").chmod(0)
        print(folder.exists())
    print(list(area.iterdir()))
"""


def test_a_generator_may_leave_folders_that_cannot_be_written_to() -> None:
    """As an ordinary user, who cannot just delete them. What a link leads to keeps its mode."""
    with ordinary_folder() as folder:
        done = as_ordinary_user(textwrap.dedent(READ_ONLY), folder)
        assert (done.stdout, done.stderr) == ("False\n[]\n", "")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


# A staged file


def test_a_file_stays_after_a_clean_end_and_goes_after_any_other(area: Path) -> None:
    with staging_in(area) as staging:
        write(staging, "a/b/whole", b"12")
        for error in (RuntimeError("any"), Stopped(15)):
            with pytest.raises(type(error)), staging.sink("a/b/broken") as sink:
                raise _after(sink.write(b"half"), error)
        assert [path.name for path in staging.backup.rglob("*") if path.is_file()] == ["whole"]
        assert (staging.backup / "a/b/whole").read_bytes() == b"12"


def test_a_large_file_is_written_whole(area: Path) -> None:
    """S14"""
    blocks = [os.urandom(300_001) for _ in range(40)]
    with staging_in(area) as staging:
        with staging.sink("large") as sink:
            for block in blocks:
                assert sink.write(block) == len(block)
        assert (staging.backup / "large").read_bytes() == b"".join(blocks)


def test_a_file_is_never_overwritten(area: Path) -> None:
    with staging_in(area) as staging:
        write(staging, "file", b"the first")
        with pytest.raises(FileExistsError), staging.sink("file"):
            pass
        assert (staging.backup / "file").read_bytes() == b"the first"


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_is_written_through_a_planted_link(area: Path, tmp_path: Path, exists: bool) -> None:
    """S9"""
    outside = tmp_path / "outside"
    if exists:
        outside.write_bytes(b"theirs")
    with staging_in(area) as staging:
        (staging.backup / "file").symlink_to(outside)
        with pytest.raises(FileExistsError), staging.sink("file"):
            pass
    assert outside.exists() is exists
    assert not exists or outside.read_bytes() == b"theirs"


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_everything_is_private_whatever_the_umask(area: Path, umask: int) -> None:
    """S10, I7"""
    before = os.umask(umask)
    try:
        with staging_in(area) as staging:
            write(staging, "postgres/main/deep/file", b"1")
            with staging.scratch():
                found = [area, *area.rglob("*")]
                modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in found}
            kept = staging.keep("web01")
    finally:
        os.umask(before)
    assert modes == {(True, 0o700), (False, 0o600)}
    assert len(found) == 9
    modes = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in (kept.parent, *kept.parent.rglob("*"))}
    assert modes == {(True, 0o700), (False, 0o600)}


# A full disk


def test_a_full_disk_costs_the_artefact_that_met_it_and_no_other() -> None:
    """S1: with 32 amounts of room; the message names the file, the part is removed, smaller ones go on."""
    script = """
        import shutil
        from pickup_core.room import Reserve
        from pickup_core.staging import Staging

        results = []
        for size in range(64, 2049, 64):
            with (DISK / "filler").open("wb") as file:
                file.truncate(0)
                os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(DISK).free - size * 1024)
            with Staging(DISK / "area", Reserve(0, 0)) as staging:
                written, failed = 0, None
                try:
                    with staging.sink("folder/large/data") as sink:
                        for _ in range(64):
                            written += sink.write(bytes(40_000))
                except OSError as error:
                    failed = [error.errno, error.filename, error.strerror]
                part = (staging.backup / "folder/large/data").exists()
                with staging.sink("folder/small/data") as sink:
                    sink.write(b"small")
                small = (staging.backup / "folder/small/data").read_bytes() == b"small"
                results.append([size, written, failed, part, small, str(staging.backup)])
        print(json.dumps([results, os.listdir(DISK / "area")]))
    """
    results, left = run_on_disk(script, "4m")
    assert len(results) == 32
    for size, written, failed, part, small, backup in results:
        assert failed == [errno.ENOSPC, f"{backup}/folder/large/data", "No space left on device"]
        assert 0 <= written <= size * 1024
        assert (part, small) == (False, True)
    assert left == []


def test_no_inodes_left_is_a_full_disk_too() -> None:
    """S5"""
    script = """
        from pickup_core.room import Reserve
        from pickup_core.staging import Staging

        with Staging(DISK / "area", Reserve(0, 0)) as staging:
            made, failed = 0, None
            try:
                for number in range(50):
                    with staging.sink(f"folder/www/{number}") as sink:
                        sink.write(b"1")
                    made += 1
            except OSError as error:
                failed = error.errno
            print(json.dumps([made, failed, len(list((staging.backup / "folder/www").iterdir()))]))
    """
    made, failed, left = run_on_disk(script, "2m", options=["nr_inodes=20"])
    assert failed == errno.ENOSPC
    assert 0 < made == left < 20


@as_root
def test_a_disk_that_is_full_or_read_only_from_the_start_is_said_at_once() -> None:
    """S1, S4: with exit code 2, before anything runs."""
    script = """
        import subprocess
        from pickup_core.errors import PickupError
        from pickup_core.room import Reserve
        from pickup_core.staging import Staging

        with Staging(DISK / "area", Reserve(0, 0)):
            pass
        said = []
        (DISK / "filler").touch()
        while os.statvfs(DISK).f_ffree:
            (DISK / f"filler{os.statvfs(DISK).f_ffree}").touch()
        for options in (None, "remount,ro"):
            if options:
                subprocess.run(["mount", "-o", options, DISK], check=True)
            try:
                with Staging(DISK / "area", Reserve(0, 0)):
                    said.append("nothing")
            except PickupError as error:
                said.append([error.message, error.exit_code])
        print(json.dumps([said, str(DISK)]))
    """
    said, disk = run_on_disk(script, "2m", options=["nr_inodes=20"])
    head = f"nothing can be written to the staging area {disk}/area: "
    assert said == [[f"{head}No space left on device", 2], [f"{head}Read-only file system", 2]]


def test_writing_stops_before_the_reserve_is_used_up() -> None:
    """S15: what shares the disk keeps its room, and the part is removed."""
    script = """
        import shutil
        from pickup_core.errors import PickupError
        from pickup_core.room import Reserve
        from pickup_core.staging import Staging

        with Staging(DISK / "area", Reserve(0, 32 * 2**20)) as staging:
            before, failed, least = staging.room().writable, None, 2**40
            try:
                with staging.sink("folder/large/data") as sink:
                    for _ in range(1000):
                        sink.write(bytes(256 * 1024))
                        least = min(least, shutil.disk_usage(DISK).free)
            except PickupError as error:
                failed = [error.message, error.hint, error.exit_code]
            after = staging.room().writable
            with staging.sink("folder/small/data") as sink:
                sink.write(b"small")
            (DISK / "filler").write_bytes(bytes(33 * 2**20))
            try:
                with staging.sink("folder/other/data") as sink:
                    sink.write(b"other")
                    refused = False
            except PickupError as error:
                refused = True
            left = sorted(path.name for path in staging.backup.rglob("*") if path.is_file())
        print(json.dumps([before, after, least, failed, refused, left, staging.backup.name]))
    """
    before, after, least, failed, refused, left, _ = run_on_disk(script, "64m")
    assert 31 * 2**20 < before <= 32 * 2**20
    assert abs(before - after) < 100_000
    assert 32 * 2**20 - 8 * 2**20 <= least <= 32 * 2**20, "looked at every 8 MiB"
    assert "has fallen below MIN_FREE" in failed[0]
    assert "folder/large" in failed[0]
    assert "MIN_FREE" in failed[1]
    assert failed[2] == 2
    assert refused
    assert left == ["data"]


# Areas that are not safe


def refused(area: Path) -> str:
    with pytest.raises(ConfigError) as caught, staging_in(area):
        pass
    assert caught.value.exit_code == 3
    assert caught.value.hint
    return caught.value.message


def test_an_area_is_made_where_it_is_absent(tmp_path: Path) -> None:
    with staging_in(tmp_path / "deep/er/area") as staging:
        assert stat.S_IMODE((tmp_path / "deep/er/area").stat().st_mode) == 0o700
        write(staging, "file", b"1")


def test_an_area_that_is_a_link_is_refused(tmp_path: Path) -> None:
    """S8: it, and the folder above it."""
    (tmp_path / "real/area").mkdir(mode=0o700, parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real/area")
    assert refused(tmp_path / "link") == f"STAGING_AREA: {tmp_path}/link is a symbolic link"
    (tmp_path / "above").symlink_to(tmp_path / "real")
    assert refused(tmp_path / "above/area") == f"STAGING_AREA: {tmp_path}/above is a symbolic link"
    assert os.listdir(tmp_path / "real/area") == []


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o701, 0o777, 0o1777])
def test_an_area_that_others_can_look_into_is_refused(area: Path, mode: int) -> None:
    """S8"""
    area.mkdir()
    area.chmod(mode)
    assert str(area) in refused(area)
    assert os.listdir(area) == []


def test_an_area_that_everybody_can_rename_is_refused(tmp_path: Path) -> None:
    """S8: but the sticky bit is enough."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    message = f"STAGING_AREA: {tmp_path}/open can be written by others, who could replace what lies there"
    assert refused(tmp_path / "open/area") == message
    (tmp_path / "open").chmod(0o1777)
    with staging_in(tmp_path / "open/area"):
        pass


@as_root
def test_an_area_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """S8: or one in a folder of somebody else, who can rename it."""
    (tmp_path / "theirs").mkdir(mode=0o700)
    os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    assert f"{tmp_path}/theirs belongs to user {NOBODY}" in refused(tmp_path / "theirs")
    message = refused(tmp_path / "theirs/area")
    assert message == f"STAGING_AREA: {tmp_path}/theirs belongs to user {NOBODY}, who could replace what lies there"


def test_an_area_of_root_is_refused_for_others() -> None:
    """S8"""
    code = """
        from pathlib import Path
        from pickup_core.errors import ConfigError
        from pickup_core.room import Reserve
        from pickup_core.staging import Staging
        try:
            with Staging(Path("/usr/lib"), Reserve(0, 0)):
                print("taken")
        except ConfigError as error:
            print(error.message)
    """
    assert as_ordinary_user(textwrap.dedent(code)).stdout == "STAGING_AREA: /usr/lib is not private\n"


def test_an_area_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o600)
    with pytest.raises(ConfigError, match="file is not a folder"), staging_in(tmp_path / "file"):
        pass
    with pytest.raises(ConfigError, match="file/area cannot be made"), staging_in(tmp_path / "file/area"):
        pass


# What runs before us have left

HOLD = """
    import sys
    from pathlib import Path
    from pickup_core.room import Reserve
    from pickup_core.staging import Staging
    with Staging(Path(sys.argv[1]), Reserve(0, 0)) as staging:
        with staging.sink("folder/www/data") as sink:
            sink.write(b"half")
            print(staging.backup.parent.name, flush=True)
            sys.stdin.read()
"""


@contextlib.contextmanager
def another_run(area: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Give a run in another process that is at work in the area, and the name of its folder."""
    command = [sys.executable, "-c", textwrap.dedent(HOLD), area]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_the_folder_of_a_killed_run_is_cleared_and_that_of_a_living_one_is_not(
    area: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S6: known by its mark and its free lock; never published, and logged."""
    caplog.set_level(logging.INFO)
    with another_run(area) as (process, folder):
        with staging_in(area) as staging:
            assert sorted(os.listdir(area)) == sorted([folder, staging.backup.parent.name])
        assert os.listdir(area) == [folder]
        process.send_signal(signal.SIGKILL)
        assert process.wait(20) == -signal.SIGKILL
        assert (area / folder / "backup/folder/www/data").read_bytes() == b"half"
        with staging_in(area) as staging:
            assert os.listdir(area) == [staging.backup.parent.name]
            assert os.listdir(staging.backup) == []
    assert f"removed {area}/{folder}, left by a run that was killed" in caplog.text


def test_what_bears_no_mark_is_never_touched(area: Path, tmp_path: Path) -> None:
    """S6: foreign content is neither published nor deleted, whatever its name."""
    area.mkdir(mode=0o700)
    outside = write_files(tmp_path / "outside", {"PICKUP-STAGING": b"", "photo": b"theirs"})
    write_files(area / "run-theirs", {"photo": b"theirs"})
    write_files(area / "kept-web01", {"photo": b"theirs"})
    write_files(area / "holidays", {"PICKUP-STAGING": b"", "photo": b"theirs"})
    (area / "run-file").write_bytes(b"theirs")
    (area / "run-link").symlink_to(outside)
    os.utime(area / "run-theirs", (0, 0))
    os.utime(area / "run-file", (0, 0))
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    with staging_in(area) as staging:
        assert os.listdir(staging.backup) == []
        staging.discard_kept("web01")
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_an_empty_folder_that_a_run_could_not_mark_is_cleared_later(area: Path) -> None:
    """S6: a run may be starting beside us, so only an old one goes."""
    area.mkdir(mode=0o700)
    (area / "run-new").mkdir()
    (area / "run-old").mkdir()
    os.utime(area / "run-old", (0, 0))
    with staging_in(area):
        pass
    assert os.listdir(area) == ["run-new"]


@as_root
def test_a_leftover_that_cannot_be_removed_stops_no_run(area: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S6: it is said with its name."""
    with another_run(area) as (process, folder):
        process.kill()
        process.wait(20)
    stuck = area / folder / "backup/folder/www/data"
    subprocess.run(["chattr", "+i", stuck], check=True)
    try:
        with staging_in(area) as staging:
            write(staging, "file", b"1")
        assert f"{area}/{folder} is left from a run that was killed and cannot be removed" in caplog.text
    finally:
        subprocess.run(["chattr", "-i", *area.rglob("data")], check=True)  # its folder may have been moved up
    with staging_in(area):
        pass
    assert os.listdir(area) == []


def test_many_runs_may_start_and_end_beside_each_other(area: Path) -> None:
    """S6: of two jobs whose runs clear the same leftovers, none trips over the other."""
    code = """
        import sys
        from pathlib import Path
        from pickup_core.room import Reserve
        from pickup_core.staging import Staging
        for number in range(150):
            with Staging(Path(sys.argv[1]), Reserve(0, 0)) as staging:
                with staging.sink("file") as sink:
                    sink.write(b"1")
                (staging.backup / "file").unlink()
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), area]
    runs = [subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [run.communicate(timeout=60)[1] for run in runs]
    assert said == [""] * 4
    assert os.listdir(area) == []


# What is kept where no target took it


def test_a_kept_folder_stays_and_replaces_the_one_before(area: Path) -> None:
    """S13: of each job the newest one only."""
    kept = []
    for data in (b"one", b"two"):
        with staging_in(area) as staging:
            write(staging, "folder/www/data", data)
            kept.append(staging.keep("web01"))
    with staging_in(area) as staging:
        kept.append(staging.keep("web02"))
    assert kept[0] == kept[1] == area / "kept-web01/backup"
    assert (kept[1] / "folder/www/data").read_bytes() == b"two"
    assert sorted(os.listdir(area)) == ["kept-web01", "kept-web02"]
    with staging_in(area) as staging:
        staging.discard_kept("web01")
        staging.discard_kept("web01")
    assert os.listdir(area) == ["kept-web02"]


def test_a_folder_of_somebody_else_is_not_replaced_by_a_kept_one(area: Path) -> None:
    """S13, S6"""
    area.mkdir(mode=0o700)
    write_files(area / "kept-web01", {"photo": b"theirs"})
    for data in (b"one", b"two"):
        with staging_in(area) as staging:
            write(staging, "data", data)
            kept = staging.keep("web01")
    assert (area / "kept-web01/photo").read_bytes() == b"theirs"
    assert (kept / "data").read_bytes() == b"two"
    assert len(os.listdir(area)) == 2
    with staging_in(area) as staging:
        staging.discard_kept("web01")
    assert os.listdir(area) == ["kept-web01"]


def config_with(folder: Path, targets: str) -> Config:
    head = 'STAGING_AREA = "area"\nSTATE_FOLDER = "state"\nLOG_FOLDER = "log"\nMIN_FREE = 0'
    generators = '[dict(name="words", profile="command", config=dict(command="printf words"))]'
    return loaded(folder, config_text(head, generators, targets))


def test_where_no_target_takes_the_backup_it_is_kept_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """S13: private, with its path in the message, as a backup that can be read; the next good run removes it."""
    (tmp_path / "file").touch()
    targets = '[dict(name="disk", profile="folder", config=dict(path="file/backups"))]'
    names = []
    for _ in range(2):
        report = Report()
        run(config_with(tmp_path, targets), RunWish(), report)
        assert report.exit_code == 2
        assert os.listdir(tmp_path / "area") == ["kept-web01"]
        kept = tmp_path / "area/kept-web01/backup"
        assert f"it is kept in {kept}" in caplog.text
        with LooseFolder(kept) as store:
            [backup] = Catalogue("kept", store).backups("web01")
            assert verify(backup) == []
        names.append(backup.id)
    assert names[0] < names[1]
    assert {stat.S_IMODE(path.lstat().st_mode) & 0o077 for path in kept.parent.rglob("*")} == {0}
    report = Report()
    run(config_with(tmp_path, targets.replace("file/backups", "backups")), RunWish(), report)
    assert report.exit_code == 0
    assert os.listdir(tmp_path / "area") == []


def test_where_one_of_two_targets_takes_the_backup_nothing_is_kept(tmp_path: Path) -> None:
    """S13"""
    (tmp_path / "file").touch()
    one = 'dict(name="{0}", profile="folder", config=dict(path="{0}"))'
    report = Report()
    run(config_with(tmp_path, f"[{one.format('file')}, {one.format('disk')}]"), RunWish(), report)
    assert report.exit_code == 2
    assert os.listdir(tmp_path / "area") == []
    assert len(os.listdir(tmp_path / "disk/web01")) == 2


@as_root
def test_a_small_disk_costs_the_large_entry_and_the_backup_is_partial(tmp_path: Path) -> None:
    """S1: a whole run with its staging area on a disk of 2 MiB; earlier backups are as they were."""
    script = """
        import subprocess
        from tests.builders import config_text, write_config

        folder, results = pathlib.Path(sys.argv[1]), []
        head = f'STAGING_AREA = "{DISK}/area"; STATE_FOLDER = LOG_FOLDER = "state"; MIN_FREE = 0; COMPRESSION = "none"'
        entry = "dict(name='{0}', profile='command', config=dict(command='{1}')),"
        for size in (100_000, 4_000_000):
            entries = [("before", "printf 1"), ("large", f"head -c {size} /dev/urandom"), ("after", "printf 2")]
            write_config(folder, config_text(head, f"[{''.join(entry.format(*each) for each in entries)}]"))
            command = [sys.executable, "pickup.py", "-c", folder / "config.py", "-q"]
            done = subprocess.run(command, capture_output=True, text=True)
            results.append([done.returncode, done.stdout, done.stderr, os.listdir(DISK / "area")])
        names = sorted(os.listdir(folder / "backups/web01"))
        command = [sys.executable, "pickup.py", "-c", folder / "config.py", "verify", "all"]
        done = subprocess.run(command, capture_output=True, text=True)
        print(json.dumps([results, names, done.returncode]))
    """
    [[first, second], names, verified] = run_on_disk(script, "2m", tmp_path)
    assert first == [0, "", "", []]
    code, out, err, left = second
    assert (code, out, left) == (2, "", [])
    assert re.findall(r"(?m)^(?:ERROR|WARNING): (.*: )", err) == [
        "GENERATORS[1] 'large' (command): output: No space left on device: "
    ]
    suffixes = [name.partition(".")[2] for name in names]
    assert suffixes == ["", "json", "", "partial.json"]
    assert verified == 0


def _after(done: object, error: BaseException) -> BaseException:
    """Give an error to raise once something was done."""
    return error
