"""The staging area: a private folder that artefacts pass through, always removed at the end of a run.

A run makes a folder of its own in it, locks it, and marks it; so the folder of a run that was killed is known by its
mark and its free lock, and cleared by the next run. What bears no mark is never touched.
"""

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from pickup_core.artefact import STAGING_MARK
from pickup_core.errors import ConfigError, PickupError
from pickup_core.removal import remove_folder, temporary_folder
from pickup_core.room import Reserve, Room, room_in
from pickup_core.trust import make_file, make_folder, private_folder

_CHECK_EVERY = 8 * 1024 * 1024
_LEFTOVER_AGE = 3600

log = logging.getLogger("pickup.staging")


class Staging:
    """This run's folder in the staging area, made when the `with` is entered and removed when it is left.

    `backup` is the folder that is published. Raises `ConfigError` where the area is not safe, `PickupError` where
    nothing can be written to it.
    """

    def __init__(self, area: Path, reserve: Reserve) -> None:
        self._area = area
        self._reserve = reserve

    def __enter__(self) -> "Staging":
        if not shutil.rmtree.avoids_symlink_attacks:
            raise ConfigError("this Python cannot delete folders safely (see shutil.rmtree.avoids_symlink_attacks)")
        _check_area(self._area)
        _clear_leftovers(self._area)
        with contextlib.ExitStack() as end:
            try:
                self._make_run_folder(end)
            except OSError as error:
                what = f"nothing can be written to the staging area {self._area}: {error.strerror}"
                raise PickupError(what) from error
            self._end = end.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.close()

    def _make_run_folder(self, end: contextlib.ExitStack) -> None:
        """Make the folder, lock it, and only then mark it: what is marked and not locked was left by a run that
        ended.
        """
        lock = end.enter_context(contextlib.ExitStack())  # let go of when the folder is gone
        self._run = end.enter_context(temporary_folder("run-", self._area, _remove))
        descriptor = os.open(self._run, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        lock.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        (self._run / STAGING_MARK).touch(mode=0o600)
        self.backup = self._run / "backup"
        self.backup.mkdir(mode=0o700)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a private empty folder for one generator; it is removed afterwards, with whatever is in it."""
        with temporary_folder("scratch-", self._run) as folder:
            yield folder

    def sink(self, path: str) -> "StagedFile":
        """Give a new file of the backup to write to, to be used in a `with`."""
        return StagedFile(self.backup / path, self._reserve)

    def write(self, path: str, data: bytes) -> None:
        """Write a small file of the backup, whatever the reserve is: without it the others would be lost."""
        with StagedFile(self.backup / path, Reserve(0.0, 0)) as file:
            file.write(data)

    def room(self) -> Room:
        """Give the room that there is for what is staged."""
        return room_in(self._run, self._reserve)

    def keep(self, name: str) -> Path:
        """Keep the backup folder of this run beyond its end, and give its new path. One that was kept before goes."""
        self.discard_kept(name)
        kept = self._area / f"kept-{name}"
        if os.path.lexists(kept):  # and is none of ours
            kept = self._area / f"kept-{name}~{self._run.name}"
        self._run.rename(kept)
        return kept / "backup"

    def discard_kept(self, name: str) -> None:
        """Remove what an earlier run kept under this name, if anything."""
        for kept in (self._area / f"kept-{name}", *self._area.glob(f"kept-{name}~*")):
            if (kept / STAGING_MARK).is_file() and not kept.is_symlink():
                _remove(kept)
                log.info("staging area: removed %s, which an earlier run had kept", kept)


class StagedFile:
    """A file that is being written: it stays after a clean exit of the `with`, and is removed after any other.

    Raises `PickupError` where the file system would fall below its reserve. Nothing is synced: what is kept is synced
    by the target that keeps it.
    """

    def __init__(self, path: Path, reserve: Reserve) -> None:
        self.path = path
        self._reserve = reserve
        self._unchecked = _CHECK_EVERY  # so that the first block is checked: its source may have taken room before

    def __enter__(self) -> "StagedFile":
        make_folder(self.path.parent)
        self._descriptor = make_file(self.path)
        return self

    def write(self, data: bytes) -> int:
        """Write all of the bytes."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:  # which does not name the file by itself
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        if self._unchecked >= _CHECK_EVERY:
            self._check_space()
        self._unchecked += len(data)
        return len(data)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            os.close(self._descriptor)
        except OSError:
            self._discard()
            raise
        if kind is not None:
            self._discard()

    def _discard(self) -> None:
        self.path.unlink()
        with contextlib.suppress(OSError):  # it may hold other artefacts
            self.path.parent.rmdir()

    def _check_space(self) -> None:
        self._unchecked = 0
        if room_in(self.path.parent, self._reserve).writable <= 0:
            what = f"the file system of {self.path.parent} has fallen below MIN_FREE; writing stops before it is full"
            raise PickupError(what, hint="make room, or lower MIN_FREE or move STAGING_AREA in the config")


def _check_area(area: Path) -> None:
    """Make the area where it is absent. Raises `ConfigError` where somebody else could reach into it."""
    try:
        private_folder(area)
    except ConfigError as error:
        raise ConfigError(f"STAGING_AREA: {error.message}", hint=error.hint) from None
    if area.parent.is_symlink():
        raise ConfigError(f"STAGING_AREA: {area.parent} is a symbolic link", hint="name the folder that it leads to")
    status = area.stat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
        raise ConfigError(f"STAGING_AREA: {area} is not private", hint=f"chmod 700 {area}, and own it")


def _clear_leftovers(area: Path) -> None:
    """Remove the folders of runs that were killed: what bears the mark, and an old empty one that never got it."""
    for folder in area.glob("run-*"):
        try:
            if not folder.is_symlink():
                _clear(folder)
        except FileNotFoundError:  # another job's run has just removed it
            continue
        except OSError as error:
            log.warning("staging area: %s is left from a run that was killed and cannot be removed: %s", folder, error)


def _clear(folder: Path) -> None:
    if not (folder / STAGING_MARK).is_file():
        if time.time() - folder.stat().st_mtime > _LEFTOVER_AGE:
            with contextlib.suppress(OSError):  # it holds something, so it is none of ours
                folder.rmdir()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder)
        log.info("staging area: removed %s, left by a run that was killed", folder)
    except BlockingIOError:
        log.debug("staging area: %s belongs to a run that is at work", folder)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Remove the folder of a run, its mark last: what an interruption leaves is known as ours, and cleared later."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            remove_folder(path)
        elif path.name != STAGING_MARK:
            path.unlink()
    shutil.rmtree(folder)
