"""A folder with backups that somebody copied by hand, as a place to read from: `--from FOLDER` needs no config.

The folder may be a single backup (`PICKUP.txt` and `manifest.json` lie in it), a job's folder, or the root of a target.
"""

from contextlib import AbstractContextManager
from pathlib import Path

from pickup_core.artefact import Readable
from pickup_core.catalogue import MANIFEST_COPY
from pickup_core.errors import DamageError, StoreError, UsageError
from pickup_core.manifest import LONGEST, Manifest, UnfinishedError, decode, started_at
from pickup_core.store import Item, Store


class LooseFolder(Store):
    """Shows a folder in the layout of a target's root, and changes nothing in it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(())
        self._folder = folder.absolute()
        if not self._folder.is_dir():
            raise UsageError(f"--from {folder}: there is no such folder")
        self._single = self._single_backup()

    @property
    def place(self) -> str:
        return str(self._folder)

    @property
    def job(self) -> str | None:
        """The job whose backups these are, where the folder holds those of one job only."""
        if self._single:
            return self._single.job
        names = [path.name for path in self._folder.iterdir() if path.is_dir()]
        if any(started_at(name) for name in names):
            return self._folder.name
        return names[0] if len(names) == 1 else None

    def put(self, path: str, stream: Readable) -> None:
        raise StoreError(f"{self._folder} is only read from")

    def delete(self, path: str) -> None:
        raise StoreError(f"{self._folder} is only read from")

    def get(self, path: str) -> AbstractContextManager[Readable]:
        return self._real(path).open("rb")

    def listdir(self, folder: str = "") -> list[Item]:
        if self._single:
            marker = ".json" if self._single.is_complete else ".partial.json"
            job, name = self._single.job, self._single.id
            if folder in ("", job):
                return (
                    [Item(job, None)]
                    if folder == ""
                    else [Item(name, None), Item(name + marker, self._manifest_size())]
                )
        elif folder == "" and self.job == self._folder.name:
            return [Item(self._folder.name, None)]
        real = self._real(folder)
        if not real.is_dir():
            return []
        return [_item(path) for path in real.iterdir() if not path.is_symlink() and (path.is_file() or path.is_dir())]

    def _real(self, path: str) -> Path:
        """Give the file behind a path in the layout of a target's root."""
        job, _, rest = path.partition("/")
        if self._single:
            name, _, file = rest.partition("/")
            is_manifest = name.endswith(".json") and not file
            return self._folder / (MANIFEST_COPY if is_manifest else file)
        return self._folder / rest if job == self.job == self._folder.name else self._folder / path

    def _single_backup(self) -> Manifest | None:
        try:
            with (self._folder / MANIFEST_COPY).open("rb") as stream:
                return decode(stream.read(LONGEST))
        except FileNotFoundError:
            return None
        except UnfinishedError:
            raise DamageError(f"{self._folder / MANIFEST_COPY} is cut off") from None
        except DamageError as error:
            raise DamageError(f"{self._folder / MANIFEST_COPY}: {error.message}", error.hint) from None

    def _manifest_size(self) -> int:
        return (self._folder / MANIFEST_COPY).stat().st_size


def _item(path: Path) -> Item:
    return Item(path.name, None if path.is_dir() else path.stat().st_size)
