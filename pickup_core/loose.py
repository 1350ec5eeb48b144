"""A folder with backups that somebody copied by hand, as a place to read from: `--from FOLDER` needs no config.

The folder may be a single backup (`PICKUP.txt` and `manifest.json` lie in it), a job's folder, or the root of a target.
Who made it is not known, so only regular files are read from it, and no symbolic link in it is followed.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from errno import ELOOP, ENOTDIR, ENXIO
from pathlib import Path
from typing import BinaryIO

from pickup_core.artefact import Readable
from pickup_core.catalogue import MANIFEST_COPY, MARK_FILE
from pickup_core.errors import DamageError, StoreError, UsageError
from pickup_core.manifest import LONGEST, LaterFormatError, Manifest, UnfinishedError, decode, started_at
from pickup_core.store import Item, Store


class LooseFolder(Store):
    """Shows a folder in the layout of a target's root, and changes nothing in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(())
        self._folder = Path(os.path.abspath(folder))
        if not self._folder.is_dir():
            raise UsageError(f"--from {folder}: there is no such folder")
        self._single = self._single_backup()
        self._prefix = f"{self._single.job}/{self._single.id}" if self._single else self._job_of_folder() or ""

    @property
    def place(self) -> str:
        return str(self._folder)

    @property
    def job(self) -> str | None:
        """The job whose backups these are, where the folder holds those of one job only."""
        if self._prefix:
            return self._prefix.partition("/")[0]
        jobs = [path.name for path in self._folder.iterdir() if _holds_backups(path)]
        return jobs[0] if len(jobs) == 1 else None

    def put(self, path: str, stream: Readable) -> None:
        raise StoreError(f"{self._folder} is only read from")

    def delete(self, path: str) -> None:
        raise StoreError(f"{self._folder} is only read from")

    def get(self, path: str) -> AbstractContextManager[Readable]:
        below = self._below(path)
        if below is None:
            raise FileNotFoundError(f"{path} is not in {self._folder}")
        return _opened(self._folder, below)

    def listdir(self, folder: str = "") -> list[Item]:
        above, _, name = self._prefix.rpartition("/")
        if folder == above != self._prefix:
            items = [Item(name, None)]
            if self._single:
                items.append(Item(f"{name}{self._marker}", (self._folder / MANIFEST_COPY).lstat().st_size))
            return items
        if folder == "" and self._prefix:
            return [Item(above, None)]
        below = self._below(folder)
        if below is None:
            return []
        try:
            with _entered(self._folder, below) as here:
                found = [(name, os.stat(name, dir_fd=here, follow_symlinks=False)) for name in os.listdir(here)]
        except FileNotFoundError:
            return []
        sizes = {name: status.st_size for name, status in found if stat.S_ISREG(status.st_mode)}
        return [Item(name, sizes.get(name)) for name, status in found if name in sizes or stat.S_ISDIR(status.st_mode)]

    @property
    def _marker(self) -> str:
        return ".json" if self._single and self._single.is_complete else ".partial.json"

    def _below(self, path: str) -> str | None:
        """Give where in the folder a path in the layout of a target's root lies, None where it can be nowhere."""
        if self._single and path == f"{self._prefix}{self._marker}":
            return MANIFEST_COPY
        if not self._prefix:
            return path
        if not f"{path}/".startswith(f"{self._prefix}/"):
            return None
        return path[len(self._prefix) + 1 :]

    def _job_of_folder(self) -> str | None:
        """Give the job whose folder this is, whatever it is called now: its manifests tell. None for another folder."""
        if not _holds_backups(self._folder):
            return None
        for path in self._folder.glob("*.json"):
            if started_at(path.name.partition(".")[0]):
                with suppress(UnfinishedError, DamageError, LaterFormatError, OSError):
                    return decode(_beginning(self._folder, path.name)).job
        return self._folder.name

    def _single_backup(self) -> Manifest | None:
        try:
            return decode(_beginning(self._folder, MANIFEST_COPY))
        except FileNotFoundError:
            if (self._folder / MARK_FILE).is_file():
                hint = "where the backup was copied from, its manifest lies beside its folder"
                raise DamageError(f"{self._folder / MANIFEST_COPY} is missing", hint) from None
            return None
        except UnfinishedError:
            raise DamageError(f"{self._folder / MANIFEST_COPY} is cut off") from None
        except (DamageError, LaterFormatError) as error:
            raise type(error)(f"{self._folder / MANIFEST_COPY}: {error.message}", error.hint) from None


def _holds_backups(folder: Path) -> bool:
    """Tell whether something in a folder is named like a backup, as in a job's folder."""
    try:
        return any(started_at(name.partition(".")[0]) for name in os.listdir(folder))
    except OSError:  # no folder, or one that we may not look into
        return False


def _beginning(folder: Path, name: str) -> bytes:
    """Give as much of a file as may be a manifest."""
    with _opened(folder, name) as stream:
        return stream.read(LONGEST)


def _opened(folder: Path, path: str) -> BinaryIO:
    """Open a regular file below a folder, and do not wait for a FIFO. Raises `FileNotFoundError` for all that is
    none.
    """
    above, _, name = path.rpartition("/")
    with _entered(folder, above) as here:
        file = _open(name, os.O_NONBLOCK, here)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise FileNotFoundError(f"{path} in {folder} is no regular file")
    return open(file, "rb")


@contextmanager
def _entered(folder: Path, path: str) -> Iterator[int]:
    """Give a descriptor of a folder below another one. Raises `FileNotFoundError` where there is no such folder."""
    with ExitStack() as stack:
        here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, here)
        for part in filter(None, path.split("/")):
            here = _open(part, os.O_DIRECTORY, here)
            stack.callback(os.close, here)
        yield here


def _open(name: str, flags: int, above: int) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=above)
    except OSError as error:
        if error.errno in (ELOOP, ENOTDIR, ENXIO):  # a link, something in place of a folder, a socket
            raise FileNotFoundError(error.errno, "No such file or folder, but something else", name) from None
        raise
