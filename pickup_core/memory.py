"""Memory: what this machine remembers of manifests, in its state folder. Losing it loses no backup.

Copies of those that were read spare reading them again, for they never change; and one file for each job at a place
holds a line for each of them with what list and prune need, so that these open no file per backup. The history's lines
tell which backups runs here made, and with which manifest: so one that was exchanged or invented at a target is
noticed.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pickup_core.errors import ConfigError
from pickup_core.history import History
from pickup_core.manifest import Summary, started_at
from pickup_core.trust import private_folder, replacing

_SUMMARIES = "summaries.jsonl"
_FORMAT = 1  # of its lines: those of another one are passed over


class _Known(NamedTuple):
    """What is remembered of one manifest: how many bytes it has, their SHA-256, and its summary."""

    size: int
    sha256: str
    summary: Summary


class Memory:
    """The memory of one state folder. A manifest is named by its target's `place` and its `path`, `JOB/ID.json`. Which
    backups exist it never says. With `is_frozen` nothing is added or removed: a dry run changes nothing.

    Several processes may use it at once. What one of them adds while another one forgets may be lost, and is read
    again.
    """

    def __init__(self, state_folder: Path, is_frozen: bool = False) -> None:
        self._state_folder = state_folder
        self._folder = state_folder / "manifests"
        self._is_frozen = is_frozen
        self._written: dict[str, dict[str, set[str]]] = {}
        self._begun: dict[str, tuple[str | None, set[str]]] = {}
        self._known: dict[tuple[str, str], dict[str, _Known]] = {}

    def contradicts(self, path: str, sha256: str) -> bool:
        """Tell whether a run here wrote another manifest for this backup than the one with this SHA-256."""
        job, _, name = path.partition("/")
        if job not in self._written:
            self._written[job] = History(self._state_folder, job).manifest_digests()
        written = self._written[job].get(name.partition(".")[0])
        return written is not None and sha256 not in written

    def misses(self, job: str, backup: str) -> bool:
        """Tell whether the history here goes back to before this backup's time, but knows of no run that began it."""
        first, begun = self._begun_of(job)
        return first is not None and backup > first and backup not in begun

    def began(self, job: str, backup: str) -> bool:
        """Tell whether a run here began this backup."""
        return backup in self._begun_of(job)[1]

    def get(self, place: str, path: str, size: int) -> bytes | None:
        """Give a manifest's bytes where they were read before and have the size that the listing tells."""
        job, _, name = path.partition("/")
        try:
            data = (self._home(place, job) / name).read_bytes()
        except OSError:
            return None
        return data if len(data) == size else None

    def summary(self, place: str, path: str, size: int) -> Summary | None:
        """Give the summary of a manifest where it was read before and has the size that the listing tells; not of one
        that `contradicts` what a run here wrote.
        """
        job, _, name = path.partition("/")
        known = self._known_of(place, job).get(name)
        return known.summary if known and known.size == size and not self.contradicts(path, known.sha256) else None

    def put(self, place: str, path: str, data: bytes, summary: Summary) -> None:
        """Remember a manifest: its bytes, and its summary. What cannot be written is not missed."""
        job, _, name = path.partition("/")
        known = _Known(len(data), hashlib.sha256(data).hexdigest(), summary)
        self._known_of(place, job)[name] = known
        if self._is_frozen:
            return
        with contextlib.suppress(OSError, ConfigError):
            home = self._home(place, job)
            for folder in (self._state_folder, self._folder, home.parent, home):
                private_folder(folder)
            with replacing(home / name) as copy:
                copy.write(data)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(home / _SUMMARIES, flags, 0o600), "wb", buffering=0) as file:
                file.write(_line(name, known))  # in one call, so that those of several processes do not mix

    def forget_others(self, place: str, job: str, present: set[str]) -> None:
        """Remove what is remembered of manifests whose backups are gone."""
        if self._is_frozen:
            return
        home, known = self._home(place, job), self._known_of(place, job)
        with contextlib.suppress(OSError):
            for name in filter(lambda name: _is_gone(name, present), os.listdir(home)):
                (home / name).unlink()
            gone = [name for name in known if _is_gone(name, present)]
            for name in gone:
                del known[name]
            if gone:
                with replacing(home / _SUMMARIES) as file:
                    file.writelines(_line(name, each) for name, each in known.items())

    def _begun_of(self, job: str) -> tuple[str | None, set[str]]:
        """Give the first of the backups that runs here began, and all of them."""
        if job not in self._begun:
            names = History(self._state_folder, job).begun()
            self._begun[job] = min(names, default=None), names
        return self._begun[job]

    def _known_of(self, place: str, job: str) -> dict[str, _Known]:
        """Give what is remembered of the manifests of a job at a place, by their names."""
        if (place, job) not in self._known:
            found = self._known[place, job] = {}
            with contextlib.suppress(OSError), open(self._home(place, job) / _SUMMARIES, "rb") as lines:
                found.update(_read(lines))
        return self._known[place, job]

    def _home(self, place: str, job: str) -> Path:
        """Give the folder for the manifests of a job at a place."""
        return self._folder / hashlib.sha256(place.encode("utf-8", "surrogateescape")).hexdigest()[:16] / job


def _is_gone(name: str, present: set[str]) -> bool:
    backup = name.partition(".")[0]
    return backup not in present and started_at(backup) is not None


def _line(name: str, known: _Known) -> bytes:
    """Give a line: the SHA-256 of the rest of it, a space, and JSON."""
    body = json.dumps([_FORMAT, name, known.size, known.sha256, *known.summary]).encode()
    return hashlib.sha256(body).hexdigest().encode() + b" " + body + b"\n"


def _read(lines: Iterable[bytes]) -> Iterator[tuple[str, _Known]]:
    """Give what whole lines of this format say. What is torn, and what another version wrote, is passed over."""
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # most backups of a job hold the same
    for line in lines:
        sha256, _, body = line[:-1].partition(b" ")
        if hashlib.sha256(body).hexdigest().encode() != sha256:
            continue
        try:
            form, name, size, digest, host, machine, stored, *lists = json.loads(body.decode())
            if form == _FORMAT:
                good, lossy, artefacts, keys = (shared.setdefault(each, each) for each in map(tuple, lists))
                yield name, _Known(size, digest, Summary(host, machine, stored, good, lossy, artefacts, keys))
        except (ValueError, TypeError):
            continue
