"""Every call of a run that changes a disk fails once, and from then on for ever: nothing that was finished suffers."""

import builtins
import contextlib
import errno
import fcntl
import gc
import io
import os
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pickup_core import delivery
from pickup_core import run as run_module
from pickup_core.catalogue import Backup, Catalogue
from pickup_core.config import Config
from pickup_core.errors import ExitCode, PickupError
from pickup_core.loose import LooseFolder
from pickup_core.report import Report
from pickup_core.run import RunWish, run
from pickup_core.verify import verify
from target_profiles.folder import Config as FolderConfig
from target_profiles.folder import Target
from tests.builders import LOCAL, config_text, loaded, moment
from tests.places import JOB

CALLS = ("write", "fsync", "open", "link", "rename", "mkdir", "unlink", "rmdir", "close")
"""What fails: `open` only where it makes a file."""
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
LIKELY = {
    "write": (errno.ENOSPC, True), "fsync": (errno.EIO, False), "open": (errno.ENOSPC, True),
    "link": (errno.EACCES, False), "rename": (errno.ENOSPC, False), "mkdir": (errno.ENOSPC, True),
    "unlink": (errno.EACCES, True), "rmdir": (errno.EIO, False), "close": (errno.EIO, False),
}  # fmt: skip
"""What the quick sample of each call fails with, and whether for ever."""
SAMPLE = 4
"""How many calls of the quick sample there are to one that fails."""
WITH_ANOTHER_WAY = ("link",)
"""Calls whose failure costs nothing: where there is no link, there is a copy."""
MAY_LEAVE = ("unlink", "rmdir", "rename")
"""Calls whose failure (removing deep folders renames them) may leave this run's folder in the staging area, for the next run to remove."""
TARGETS = ("backups", "stick")
GENERATORS = (
    '[dict(name="numbers", profile="command", config=dict(command=["seq", "1000"])),'
    ' dict(name="www", profile="folder", config=dict(path="{source}"))]'
)
PLACES = (
    '[dict(name="disk", profile="folder", config=dict(path="backups"), retention=dict(last=2)),'
    ' dict(name="stick", profile="folder", config=dict(path="stick"))]'
)


class FaultyDisk:
    """Lets the N-th call of a kind that concerns certain folders fail, once or from then on for ever.

    `fired` tells how often it did, `lost` which files were being written or synced then. A failed `close` has closed,
    as on Linux. `retried` are files that were synced again by the descriptor on which that had failed (S3).
    """

    def __init__(self, folders: list[Path], call: str, number: int, code: int, for_ever: bool) -> None:
        self._folders = tuple(f"{folder}/" for folder in folders)
        self._call = call
        self._left = number
        self._code = code
        self._for_ever = for_ever
        self._failed_syncs: set[int] = set()
        self.fired = 0
        self.lost: list[str] = []
        self.retried: list[str] = []

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Stand between the run and the disk while the `with` lasts."""
        with pytest.MonkeyPatch.context() as patch:
            for name in ("link", "rename", "mkdir", "unlink", "rmdir"):
                patch.setattr(os, name, self._by_path(name, getattr(os, name)))
            patch.setattr(os, "open", self._opening(os.open))
            patch.setattr(os, "write", self._writing(os.write))
            patch.setattr(os, "fsync", self._syncing(os.fsync))
            patch.setattr(os, "close", self._closing(os.close))
            patch.setattr(builtins, "open", self._opening_a_stream(builtins.open))
            yield

    def check(self, call: str, path: str) -> None:
        """Raise where this is the call that fails."""
        if call != self._call or not f"{path}/".startswith(self._folders):
            return
        self._left -= 1
        if self._left == 0 or (self._left < 0 and self._for_ever):
            self.fired += 1
            raise OSError(self._code, os.strerror(self._code), path)

    def check_descriptor(self, call: str, descriptor: int) -> None:
        """Do so for a call that is given a descriptor."""
        path = _path_of(descriptor)
        if call == "close" and fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            return  # the late news of a write (close(2)) come to who wrote
        try:
            self.check(call, path)
        except OSError:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                self.lost.append(path)
            if call == "fsync":
                self._failed_syncs.add(descriptor)
            raise

    def _by_path(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *others: Any, **options: Any) -> Any:
            last = others[0] if name in ("link", "rename") else path  # what is made
            above = options.get("dst_dir_fd", options.get("dir_fd"))
            place = os.path.join(_path_of(above), last) if above is not None else os.fspath(last)
            if name == "rename" or os.path.lexists(place) == (name in ("unlink", "rmdir")):
                self.check(name, place)  # else it fails by itself, in another way
            return real(path, *others, **options)

        return call

    def _opening(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
            if flags & os.O_CREAT:
                self.check("open", os.path.join(_path_of(dir_fd), path) if dir_fd is not None else os.fspath(path))
            return real(path, flags, mode, dir_fd=dir_fd)

        return call

    def _writing(self, real: Callable[[int, Any], int]) -> Callable[[int, Any], int]:
        def call(descriptor: int, data: Any) -> int:
            self.check_descriptor("write", descriptor)
            return real(descriptor, data)

        return call

    def _syncing(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            if descriptor in self._failed_syncs:
                self.retried.append(_path_of(descriptor))
            self.check_descriptor("fsync", descriptor)
            if not _path_of(descriptor).startswith(self._folders):
                real(descriptor)

        return call

    def _closing(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            self._failed_syncs.discard(descriptor)
            try:
                self.check_descriptor("close", descriptor)
            finally:
                real(descriptor)

        return call

    def _opening_a_stream(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *others: Any, **options: Any) -> Any:
            if mode == "wb" and isinstance(file, int) and _path_of(file).startswith(self._folders):
                assert options == {"buffering": 0}
                return _FaultyStream(self, file)
            return real(file, mode, *others, **options)

        return call


class _FaultyStream(io.FileIO):
    """A stream that is written to the disk by no function of `os`."""

    def __init__(self, disk: FaultyDisk, descriptor: int) -> None:
        super().__init__(descriptor, "wb")
        self._disk = disk

    def write(self, data: Any, /) -> int:
        self._disk.check_descriptor("write", self.fileno())
        return super().write(data)

    def close(self) -> None:
        if not self.closed:
            self._disk._failed_syncs.discard(self.fileno())
            try:
                self._disk.check_descriptor("close", self.fileno())
            finally:
                super().close()


def _path_of(descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except FileNotFoundError:
        return ""


@dataclass
class Site:
    """Two generators, two targets, one of them with retention, and a clock that goes two days on with each run."""

    folder: Path
    now: datetime = field(default_factory=lambda: moment("2015-01-01 03:15:00"))

    def __post_init__(self) -> None:
        source = self.folder / "source"
        source.mkdir()
        for number in range(3):
            (source / f"{number}.txt").write_text(f"{number}\n" * 100)
        text = config_text(LOCAL, GENERATORS.format(source=source), PLACES)
        self.config: Config = loaded(self.folder, text)

    @property
    def disks(self) -> list[Path]:
        return [self.folder / name for name in ("area", *TARGETS)]

    def run(self) -> int:
        """Make a backup and give the exit code, as the command line does. Anything but these errors is a defect."""
        self.now += timedelta(days=2)
        for left in (self.folder / "area").glob(
            "run-*"
        ):  # that of a run which could not even mark it goes when it is old
            os.utime(left, (left.stat().st_atime, left.stat().st_mtime - 2 * 86400))
        report = Report()
        try:
            run(self.config, RunWish(), report)
        except PickupError as error:
            return error.exit_code
        except OSError:
            return ExitCode.FAILED
        return report.exit_code

    def backups(self, target: str) -> list[Backup]:
        return Catalogue(target, Target(FolderConfig(path=self.folder / target))).backups(JOB)

    def finished(self) -> dict[str, dict[str, str]]:
        """Give status by name of the finished backups at each target. I1: every one of them is whole."""
        found = {}
        for target in TARGETS:
            backups = [backup for backup in self.backups(target) if backup.is_finished]
            assert {backup.id: verify(backup) for backup in backups} == {backup.id: [] for backup in backups}
            found[target] = {backup.id: backup.status for backup in backups}
        return found

    def staged(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "area").iterdir())

    def thin_out(self) -> None:
        """Let nobody but us delete the old ones where there is no retention, so that the test stays fast."""
        for backup in self.backups("stick")[3:]:
            for path in (self.folder / "stick" / JOB).glob(f"*{backup.id}*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with three backups. One target is served after the other, so that the N-th call is always the same."""

    def one_by_one(calls: Mapping[str, Callable[[], object]]) -> None:
        for call in calls.values():
            call()

    site = Site(tmp_path)
    monkeypatch.setattr(run_module, "_now", lambda: site.now)
    monkeypatch.setattr(delivery, "together", one_by_one)
    for _ in range(3):
        assert site.run() == 0
    return site


def see_what_one_fault_does(site: Site, call: str, number: int, code: int, for_ever: bool) -> bool:
    """Run with a fault and then without, and see that nothing is lost; tell whether the fault came to be."""
    before = site.finished()
    disk = FaultyDisk(site.disks, call, number, code, for_ever)
    with disk.at_work():
        status = site.run()
    what = f"{call} {number} {errno.errorcode[code]} {'for ever' if for_ever else 'once'}: {status}"
    if not disk.fired:
        assert status == 0, what
        return False
    assert disk.retried == [], what
    after = site.finished()
    name = max(after["backups"].keys() | after["stick"].keys() | before["stick"].keys())
    taken = [target for target in TARGETS if name not in before[target] and name in after[target]]
    whole = [target for target in taken if after[target][name] == "complete"]
    for target in TARGETS:
        newest = max(each for each, state in before[target].items() if state == "complete")
        assert newest in after[target] or target in whole, f"{what}: {newest} is gone from {target}"
    assert before["stick"].items() <= after["stick"].items(), what
    assert (status == 0) == (call in WITH_ANOTHER_WAY), what
    if status in (0, 1):
        assert whole == list(TARGETS), what
    else:
        assert status == ExitCode.FAILED, what
    _see_what_is_staged(site, call, bool(taken), what)
    kept = tuple(str(site.folder / "area" / name) for name in site.staged())
    for path in disk.lost:
        assert not os.path.lexists(path) or path.startswith(kept), f"{what}: {path} was not discarded"

    assert site.run() == 0, what
    later = site.finished()
    assert after["stick"].items() <= later["stick"].items(), what
    assert [*later["backups"].values()].count("complete") == 2, what
    assert len(later["backups"]) == len(site.backups("backups")) <= 3, (
        what
    )  # a partial one may be the second of an entry
    assert max(later["backups"]) == max(later["stick"]) > name, what
    assert site.staged() == [], what
    site.thin_out()
    return True


def _see_what_is_staged(site: Site, call: str, is_taken: bool, what: str) -> None:
    """See that nothing of the run is left in the staging area, but a whole backup that no target took."""
    for name in site.staged():
        if name == f"kept-{JOB}":
            assert not is_taken, what
            [kept] = Catalogue("kept", LooseFolder(site.folder / "area" / name / "backup")).backups(JOB)
            assert (kept.is_finished, verify(kept)) == (True, []), what
        else:
            assert name.startswith("run-"), what
            assert call in MAY_LEAVE, what


@pytest.mark.parametrize("call", CALLS)
def test_a_sample_of_failing_calls_costs_nothing_that_was_finished(site: Site, call: str) -> None:
    """S1, S2, S3, S5, I1, I2, I11: the fault that is likely for each call."""
    number = 1
    while see_what_one_fault_does(site, call, number, *LIKELY[call]):
        number += SAMPLE
    print(f"{number // SAMPLE} faults")
    assert number > 1


@pytest.mark.slow
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for-ever"])
@pytest.mark.parametrize("code", ERRORS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("call", CALLS)
def test_any_call_that_fails_costs_nothing_that_was_finished(site: Site, call: str, code: int, for_ever: bool) -> None:
    """S1, S2, S3, S5, I1, I2, I11: each call, with each error, once and for ever."""
    number = 1
    while see_what_one_fault_does(site, call, number, code, for_ever):
        number += 1
    print(f"{number - 1} faults")
    assert number > 1


@pytest.mark.parametrize("number", range(1, 12))
def test_what_could_not_be_synced_is_not_synced_again(site: Site, number: int) -> None:
    """S3: after an EIO the kernel has dropped the pages and says so once; a second fsync of the descriptor would lie. The
    target fails and its unfinished backup goes.
    """
    disk = FaultyDisk(site.disks, "fsync", number, errno.EIO, for_ever=False)
    with disk.at_work():
        assert site.run() == ExitCode.FAILED
    assert (disk.fired, disk.retried) == (1, [])
    assert len(site.backups("backups")) == 2
    assert all(backup.is_finished for backup in site.backups("backups"))
    assert len(site.backups("stick")) == 4


def test_a_source_is_closed_where_there_is_no_file_to_write_it_to(site: Site) -> None:
    """S5: the list of contents is open when the making of its staged file fails."""
    for number in range(1, 12):
        with (
            warnings.catch_warnings(record=True) as caught,
            FaultyDisk(site.disks, "open", number, errno.ENOSPC, for_ever=False).at_work(),
        ):
            warnings.simplefilter("always")
            site.run()
            gc.collect()
        assert not [str(warning.message) for warning in caught]
