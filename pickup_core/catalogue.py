"""Which backups a place holds: read from one listing of a job's folder, and from the manifests.

JOB/ID.json, JOB/ID.partial.json    the manifest: this backup is finished
JOB/ID.keep                         why prune leaves it alone
JOB/ID/                             its files
JOB/retired                         somebody says that no more backups of this job will come
"""

import contextlib
import hashlib
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from pickup_core.artefact import Readable
from pickup_core.encryption import Identities
from pickup_core.errors import DamageError, PickupError, UsageError
from pickup_core.manifest import (
    LONGEST,
    LaterFormatError,
    Manifest,
    StoredFile,
    Summary,
    UnfinishedError,
    decode,
    started_at,
)
from pickup_core.memory import Memory
from pickup_core.program import PROGRAM
from pickup_core.store import Item, Store
from pickup_core.streams import Checked
from pickup_core.wording import counted, local_time

MARK_FILE = "PICKUP.txt"
MANIFEST_COPY = "manifest.json"
LATEST = "latest"
_RETIRED = "retired"
_MARKERS = {".json": "complete", ".partial.json": "partial"}
_JOB = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LONGEST_REASON = 65_536
_SHOWN_REASON = 4096

log = logging.getLogger("pickup.catalogue")


@dataclass(frozen=True)
class Backup:
    """One backup at a place. `marker` is the suffix of its manifest's name, None for an unfinished one."""

    catalogue: "Catalogue"
    job: str
    id: str
    marker: str | None
    marker_size: int
    has_folder: bool
    is_kept: bool

    @cached_property
    def started(self) -> datetime:
        moment = started_at(self.id)
        assert moment is not None
        return moment

    @property
    def folder(self) -> str:
        return f"{self.job}/{self.id}"

    @property
    def manifest_path(self) -> str:
        return f"{self.folder}{self.marker}"

    @property
    def status(self) -> str:
        """Tell `complete`, `partial`, `unfinished`, `later` (written by a later version of Pickup), or `damaged`: a
        manifest that cannot be believed, or no files to it.
        """
        return self._state[0]

    @property
    def trouble(self) -> str:
        """Say why a backup that has a manifest cannot be used; nothing for any other."""
        return self._state[1]

    @cached_property
    def _state(self) -> tuple[str, str]:
        """The status, and the trouble; what the manifest says is looked at for them once."""
        if self.marker is None:
            return "unfinished", ""
        if not self.has_folder:
            return "damaged", f"{self.folder} is missing, though {self.manifest_path} is there"
        try:
            self.summary  # noqa: B018 - it raises
        except (UnfinishedError, FileNotFoundError):
            return "unfinished", ""
        except LaterFormatError as error:
            return "later", error.message
        except DamageError as error:
            return "damaged", error.message
        return _MARKERS[self.marker], ""

    @property
    def is_finished(self) -> bool:
        return self.status in ("complete", "partial")

    @cached_property
    def manifest(self) -> Manifest:
        """Give the manifest. Raises `UnfinishedError` where it is torn, `DamageError` where it is wrong, and
        `LaterFormatError` where a later version wrote it.
        """
        return self._read()[0]

    @cached_property
    def summary(self) -> Summary:
        """Give what the manifest says in short; one that was read before is not read again. Raises as `manifest`
        does.
        """
        memory = self.catalogue.memory
        if memory is None or self.marker is None:
            return self.manifest.summary
        place, path = self.catalogue.place, self.manifest_path
        summary = memory.summary(place, path, self.marker_size)
        if summary is None:
            manifest, data = self._read()
            summary = manifest.summary
            memory.put(place, path, data, summary)
        return summary

    def _read(self) -> tuple[Manifest, bytes]:
        """Give the manifest and its bytes, from the copy that this machine has or else from the place."""
        memory = self.catalogue.memory if self.marker else None
        copy = memory.get(self.catalogue.place, self.manifest_path, self.marker_size) if memory else None
        if copy is not None:
            with contextlib.suppress(UnfinishedError, DamageError):  # the copy is damaged, and not the place's file
                return self._decoded(copy), copy
        return self.read_manifest()

    def read_manifest(self) -> tuple[Manifest, bytes]:
        """Read the manifest from the place itself, and give its bytes too. Raises as `manifest` does."""
        if self.marker is None:
            raise UnfinishedError(f"{self.folder} has no manifest")
        data = read_small(self.catalogue.store, self.manifest_path, LONGEST)
        return self._decoded(data), data

    def _decoded(self, data: bytes) -> Manifest:
        try:
            manifest = decode(data)
        except (DamageError, LaterFormatError) as error:
            raise type(error)(f"{self.manifest_path}: {error.message}", error.hint) from error
        if manifest.id != self.id or manifest.job != self.job:
            raise DamageError(f"{self.manifest_path} is the manifest of {manifest.job}/{manifest.id}")
        if manifest.is_complete != (self.marker == ".json"):
            raise DamageError(f"{self.manifest_path} has the wrong name for a backup of its kind")
        memory = self.catalogue.memory
        if memory and memory.contradicts(self.manifest_path, hashlib.sha256(data).hexdigest()):
            raise DamageError(f"{self.manifest_path} is not the manifest that this machine wrote")
        return manifest

    def keep_reason(self) -> str:
        """Give the text of the backup's `.keep` file, or its beginning."""
        try:
            with self.catalogue.store.get(f"{self.folder}.keep") as stream:
                return " ".join(stream.read(_SHOWN_REASON).decode("utf-8", "replace").split())
        except (OSError, PickupError) as error:  # it is kept for whatever reason
            return f"the reason cannot be read: {error}"

    def open(self, path: str) -> contextlib.AbstractContextManager[Readable]:
        """Give a file of the backup as a stream, to be used in a `with`."""
        return self.catalogue.store.get(f"{self.folder}/{path}")

    @contextlib.contextmanager
    def checked(self, file: StoredFile) -> Iterator[Readable]:
        """Give a file of the backup as a stream. Raises `DamageError` where it is missing, and, at its end, where it is
        not the one that the manifest names.
        """
        name = f"{self.folder}/{file.path}"
        try:
            with self.open(file.path) as stream:
                yield Checked(stream, name, file.size, file.sha256)
        except FileNotFoundError as error:
            raise DamageError(f"{name} is missing") from error


class Listing(NamedTuple):
    """What the folder of a job holds: its backups, the newest first, whether a file says that it is retired, and files
    and folders that are none of these.
    """

    backups: list[Backup]
    is_retired: bool
    others: list[Item]


class Catalogue:
    """The backups at one place. `name` is the target's name, for people; `memory` is what this machine remembers, and
    `identities` open what is encrypted. Where it `lists_once`, it shows a job as it was when first asked for.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        memory: Memory | None = None,
        identities: Identities | None = None,
        lists_once: bool = False,
    ) -> None:
        self.name = name
        self.store = store
        self.memory = memory
        self.identities = identities or Identities()
        self._listings: dict[str, Listing] | None = {} if lists_once else None

    @cached_property
    def place(self) -> str:
        """Where the backups are, as `Store.place` says."""
        return self.store.place

    def jobs(self) -> list[str]:
        """List the folders in this place that have the name of a job."""
        return sorted(item.name for item in self.store.listdir() if item.is_folder and _JOB.fullmatch(item.name))

    def backups(self, job: str) -> list[Backup]:
        """List the backups of a job, the newest first. What is not named like a part of one is passed over."""
        return self.look(job).backups

    def look(self, job: str) -> Listing:
        """List all that the folder of a job holds."""
        if self._listings is None:
            return self._look(job)
        if job not in self._listings:
            self._listings[job] = self._look(job)
        return self._listings[job]

    def _look(self, job: str) -> Listing:
        parts: dict[str, dict[str, int | None]] = {}
        is_retired, others = False, []
        for item in self.store.listdir(job):
            name, dot, suffix = item.name.partition(".")
            if (name in parts or started_at(name) is not None) and (
                dot + suffix in (*_MARKERS, ".keep") or item.is_folder
            ):
                parts.setdefault(name, {})[dot + suffix] = item.size
            elif item.name == _RETIRED and not item.is_folder:
                is_retired = True
            else:
                others.append(item)
                log.debug("%s: %s/%s is no part of a backup", self.name, job, item.name)
        found = [self._backup(job, name, names) for name, names in sorted(parts.items(), reverse=True)]
        if self.memory:
            self.memory.forget_others(self.place, job, {backup.id for backup in found})
        return Listing([backup for backup in found if backup.marker or backup.has_folder], is_retired, others)

    def _backup(self, job: str, name: str, names: dict[str, int | None]) -> Backup:
        marker = next((suffix for suffix in _MARKERS if names.get(suffix) is not None), None)
        return Backup(
            catalogue=self,
            job=job,
            id=name,
            marker=marker,
            marker_size=(names[marker] or 0) if marker else 0,
            has_folder="" in names,
            is_kept=".keep" in names,
        )

    def select(
        self,
        job: str,
        name: str = LATEST,
        before: datetime | None = None,
        lacks: Callable[[Backup], str] = lambda backup: "",
        which: str = "that is finished",
    ) -> Backup:
        """Give the backup of this name or beginning of a name, or the latest finished one before a moment that holds
        what is asked for: `lacks` says what one does not, nothing where it will do, and `which` what would.

        Raises `UsageError` where there is none or more than one, `DamageError` where the one that is named is damaged.
        """
        backups = self.backups(job)
        if not backups:
            there = ", ".join(self.jobs()) or "none at all"
            raise UsageError(f"it holds no backup of job {job}", hint=f"it holds jobs: {there}")
        if name != LATEST:
            return self._named(job, name, backups)
        passed: list[tuple[str, str]] = []
        for backup in backups:
            if before is not None and backup.started >= before:
                continue
            if backup.trouble:
                log.warning("target %s: %s; it is passed over", self.name, backup.trouble)
            elif backup.is_finished and (reason := lacks(backup)):
                passed.append((backup.id, reason))
            elif backup.is_finished:
                for newest, reason in passed[:1]:
                    log.info(
                        "passed over %s; the newest is %s: %s", counted(len(passed), "newer backup"), newest, reason
                    )
                return backup
        moment = f" and was started before {local_time(before)}" if before else ""
        hint = f"{PROGRAM} list shows what there is"
        for newest, reason in passed[:1]:
            hint = f"the newest is {newest}: {reason}. One that is named is taken as it is"
        raise UsageError(f"it holds no backup of job {job} {which}{moment}", hint=hint)

    def _named(self, job: str, name: str, backups: Iterable[Backup]) -> Backup:
        found = [backup for backup in backups if backup.id.startswith(name)]
        if len(found) != 1:
            names = ", ".join(backup.id for backup in found[:5])
            what = f"{len(found)} backups of job {job}" if found else f"no backup of job {job}"
            of_file = "" if name[:1].isdigit() else "; --path FILE restores a file"
            hint = f"for example {names}" if found else f"{PROGRAM} list shows them{of_file}"
            raise UsageError(f"it holds {what} whose name begins with {name!r}", hint=hint)
        if found[0].marker is None:
            hint = "where somebody copied its folder alone, --from THAT-FOLDER reads it"
            raise UsageError(f"backup {found[0].folder} is unfinished: no manifest lies beside it", hint=hint)
        if found[0].status == "unfinished":
            raise DamageError(f"{found[0].manifest_path} is cut off")
        return found[0]


def read_small(store: Store, path: str, longest: int) -> bytes:
    """Give a small file's content. Raises `DamageError` where it has more than `longest` bytes."""
    data = b""
    with store.get(path) as stream:
        while block := stream.read(longest + 1 - len(data)):
            data += block
            if len(data) > longest:
                raise DamageError(f"{path} is larger than {longest} bytes, and so is none that Pickup wrote")
    return data
