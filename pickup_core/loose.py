"""A folder with backups that somebody copied by hand, as a place to read from: `--from FOLDER` needs no config.

The folder may be a single backup (`PICKUP.txt` and `manifest.json` lie in it), a job's folder, or the root of a target.
"""

import os
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from pickup_core.artefact import Readable
from pickup_core.catalogue import MANIFEST_COPY, MARK_FILE
from pickup_core.errors import DamageError, StoreError, UsageError
from pickup_core.manifest import LONGEST, Manifest, UnfinishedError, decode, started_at
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
        real = self._real(path)
        if real is None or not real.is_file():
            raise FileNotFoundError(f"{path} is not in {self._folder}")
        return real.open("rb")

    def listdir(self, folder: str = "") -> list[Item]:
        above, _, name = self._prefix.rpartition("/")
        if folder == above != self._prefix:
            items = [Item(name, None)]
            if self._single:
                items.append(Item(f"{name}{self._marker}", (self._folder / MANIFEST_COPY).stat().st_size))
            return items
        if folder == "" and self._prefix:
            return [Item(above, None)]
        real = self._real(folder)
        if real is None or not real.is_dir():
            return []
        return [_item(path) for path in real.iterdir() if not path.is_symlink() and (path.is_file() or path.is_dir())]

    @property
    def _marker(self) -> str:
        return ".json" if self._single and self._single.is_complete else ".partial.json"

    def _real(self, path: str) -> Path | None:
        """Give the file behind a path in the layout of a target's root, None where there can be none."""
        if self._single and path == f"{self._prefix}{self._marker}":
            return self._folder / MANIFEST_COPY
        if not self._prefix:
            return self._folder / path
        if not f"{path}/".startswith(f"{self._prefix}/"):
            return None
        return self._folder / path[len(self._prefix) + 1 :]

    def _job_of_folder(self) -> str | None:
        """Give the job whose folder this is, whatever it is called now: its manifests tell. None for another folder."""
        if not _holds_backups(self._folder):
            return None
        for path in self._folder.glob("*.json"):
            if started_at(path.name.partition(".")[0]):
                with suppress(UnfinishedError, DamageError, OSError):
                    return decode(_beginning(path)).job
        return self._folder.name

    def _single_backup(self) -> Manifest | None:
        try:
            return decode(_beginning(self._folder / MANIFEST_COPY))
        except FileNotFoundError:
            if (self._folder / MARK_FILE).is_file():
                hint = "where the backup was copied from, its manifest lies beside its folder"
                raise DamageError(f"{self._folder / MANIFEST_COPY} is missing", hint) from None
            return None
        except UnfinishedError:
            raise DamageError(f"{self._folder / MANIFEST_COPY} is cut off") from None
        except DamageError as error:
            raise DamageError(f"{self._folder / MANIFEST_COPY}: {error.message}", error.hint) from None


def _holds_backups(folder: Path) -> bool:
    """Tell whether something in a folder is named like a backup, as in a job's folder."""
    try:
        return any(started_at(name.partition(".")[0]) for name in os.listdir(folder))
    except OSError:  # no folder, or one that we may not look into
        return False


def _beginning(path: Path) -> bytes:
    """Give as much of a file as may be a manifest."""
    with path.open("rb") as stream:
        return stream.read(LONGEST)


def _item(path: Path) -> Item:
    return Item(path.name, None if path.is_dir() else path.stat().st_size)
