"""Memory: what this machine remembers of manifests, in its state folder. Losing it loses no backup.

Copies of those that were read spare reading them again, for they never change. The history's lines tell which backups
runs here made, and with which manifest: so one that was exchanged or invented at a target is noticed.
"""

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

from pickup_core.errors import ConfigError
from pickup_core.history import History
from pickup_core.manifest import started_at
from pickup_core.trust import private_folder


class Memory:
    """The memory of one state folder. A manifest is named by its target's `place` and its `path`, `JOB/ID.json`. Which
    backups exist it never says. With `is_frozen` nothing is added or removed: a dry run changes nothing.
    """

    def __init__(self, state_folder: Path, is_frozen: bool = False) -> None:
        self._state_folder = state_folder
        self._folder = state_folder / "manifests"
        self._is_frozen = is_frozen
        self._written: dict[str, dict[str, set[str]]] = {}
        self._begun: dict[str, set[str]] = {}

    def contradicts(self, path: str, data: bytes) -> bool:
        """Tell whether a run here wrote another manifest for this backup than these bytes."""
        job, _, name = path.partition("/")
        if job not in self._written:
            self._written[job] = History(self._state_folder, job).manifest_digests()
        written = self._written[job].get(name.partition(".")[0])
        return written is not None and hashlib.sha256(data).hexdigest() not in written

    def misses(self, job: str, backup: str) -> bool:
        """Tell whether the history here goes back to before this backup's time, but knows of no run that began it."""
        if job not in self._begun:
            self._begun[job] = History(self._state_folder, job).begun()
        begun = self._begun[job]
        return bool(begun) and backup > min(begun) and backup not in begun

    def get(self, place: str, path: str, size: int) -> bytes | None:
        """Give a manifest's bytes where they were read before and have the size that the listing tells."""
        try:
            data = self._path(place, path).read_bytes()
        except OSError:
            return None
        return data if len(data) == size else None

    def put(self, place: str, path: str, data: bytes) -> None:
        """Remember a manifest. A copy that cannot be written is not missed."""
        if self._is_frozen:
            return
        copy = self._path(place, path)
        with contextlib.suppress(OSError, ConfigError):
            for folder in (self._state_folder, self._folder, copy.parent.parent, copy.parent):
                private_folder(folder)
            with tempfile.NamedTemporaryFile(dir=copy.parent, delete=False) as file:
                file.write(data)
            os.replace(file.name, copy)

    def forget_others(self, place: str, job: str, present: set[str]) -> None:
        """Remove the copies of manifests whose backups are gone."""
        if self._is_frozen:
            return
        with contextlib.suppress(OSError):
            for copy in self._path(place, job).iterdir():
                name = copy.name.partition(".")[0]
                if started_at(name) and name not in present:
                    copy.unlink()

    def _path(self, place: str, path: str) -> Path:
        return self._folder / hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16] / path
