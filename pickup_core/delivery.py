"""Delivery: bring a backup to its targets, prune there, and tell what came of it.

There are two ways: `Staged`, where all files lie in the staging area before a target sees the first of them, and
`Streamed`, where they go to the targets while they are made.
"""

import functools
import hashlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from types import TracebackType
from typing import Any

from pickup_core.artefact import Writable
from pickup_core.catalogue import MANIFEST_COPY, MARK_FILE, Catalogue
from pickup_core.config import Config, command_line
from pickup_core.entries import TargetEntry
from pickup_core.errors import NoTargetLeft
from pickup_core.fanout import Channel, Fanout, WithdrawnError
from pickup_core.history import History
from pickup_core.manifest import Manifest, encode
from pickup_core.memory import Memory
from pickup_core.progress import showing
from pickup_core.prune import Pruned, clear_leftovers, prune
from pickup_core.publish import PutFiles, from_folder, mark_text, publish
from pickup_core.report import Report
from pickup_core.retention import Policy
from pickup_core.staging import Staging
from pickup_core.store import Store
from pickup_core.together import beside, together
from pickup_core.wording import in_words, names_in_words
from pickup_core.writers import another_writer

log = logging.getLogger("pickup.delivery")


@dataclass
class Delivery(ABC):
    """The way of a backup to its targets: files are added one by one in its `with`, and the manifest is the end of it.

    All targets are served at once, and one that fails costs itself.
    """

    config: Config
    draft: Manifest
    """The manifest of a backup that holds nothing yet."""
    targets: Sequence[TargetEntry]
    keep: str | None
    """The reason to keep it for good, if there is one."""
    report: Report
    _places: dict[str, str] = field(default_factory=dict, init=False)
    _seconds: dict[str, float] = field(default_factory=dict, init=False)

    def __enter__(self) -> "Delivery":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of what was not finished."""

    @abstractmethod
    def sink(self, path: str) -> AbstractContextManager[Writable]:
        """Give a new file of the backup to write to. It stays after a clean exit of the `with`, and after no other."""

    @abstractmethod
    def write(self, path: str, data: bytes) -> None:
        """Add a small file to the backup."""

    @abstractmethod
    def finish(self, manifest: Manifest) -> dict[str, Any]:
        """Wait until every target has the backup, or has failed, and give what the history should know of it."""

    @property
    def _history(self) -> History:
        return History(self.config.state_folder, self.draft.job)

    def _serve(self, target: TargetEntry, put_files: PutFiles, size: int | None = None) -> None:
        """Clear, publish and prune at one target. Its place is noted once it has the backup. `size`: how many
        bytes the files have, where that is known.
        """
        begun = time.monotonic()

        def put(store: Store, path: str) -> tuple[Manifest, bytes]:
            with showing(f"to {target.label}", size):
                return put_files(store, path)

        states = self.report.course.targets
        attempt, shown = self.report.attempt(target.where), showing(target.label)
        with attempt as outcome, suppress(WithdrawnError), shown, target.store() as store:
            catalogue = Catalogue(target.name, store, Memory(self.config.state_folder))
            policy, job, name = target.keys.retention, self.draft.job, self.draft.id
            if not self._history.knows_place(store.place):
                store.create_root()
            backups = [] if policy else catalogue.backups(job)  # a listing: where that fails, nothing else is tried
            is_there = any(item.name == job for item in store.listdir()) if policy else bool(backups)
            if not is_there and self._history.stored_at(store.place):
                what = f"no backup of job {job} is there, though this machine has stored some"
                self.report.warn(target.where, f"{what}\nHint: is the disk mounted? See require_mount in its config")
            if policy:
                with self.report.attempt(f"{target.where}: clearing leftovers"):
                    self._clear(target, catalogue)
            elif other := another_writer(backups, self.draft.machine):  # else prune says it
                self.report.warn(target.where, other)
            publish(store, job, name, mark_text(job, name), put, target.keys.read_back)
            self._places[target.name], states[target.name] = store.place, "stored"
            if self.keep is not None:
                store.commit(f"{job}/{name}.keep", self.keep.encode("utf-8", "surrogateescape"))
            log.info("%s: stored %s in %s", target.label, name, store.place)
            if policy:
                self._prune(target, catalogue, policy)
        if outcome.is_absent or (outcome.failures and target.name not in states):  # else the run was given up
            states[target.name] = "absent" if outcome.is_absent else "failed"
        self._seconds[target.name] = round(time.monotonic() - begun, 3)

    def _told(self, manifest: Manifest, encoded: bytes) -> dict[str, Any]:
        """Tell where the backup is, and how one that may be absent gets it; give what the history should know."""
        there = [target.name for target in self.targets if target.name in self._places]
        for target in self.targets:
            if there and self.report.course.targets.get(target.name) == "absent":
                words = "copy", manifest.id, f"--target={there[0]}", f"--to={target.name}"
                log.info("%s: once it is there: %s", target.where, command_line(self.config, *words))
        state = "complete" if manifest.is_complete else "partial"
        if there:
            log.info("backup %s: %s, %s, stored at %d of %d targets", manifest.id, state, in_words(manifest.size),
                     len(there), len(self.targets))  # fmt: skip
        good = [entry for entry in manifest.entries if entry.status == "ok"]
        return {
            "places": [self._places[name] for name in there],
            "target_seconds": {name: self._seconds[name] for name in there},
            "size": manifest.size,
            "sizes": {entry.label: {each.name: each.size for each in entry.artefacts} for entry in good},
            "uncompressed": {e.label: {each.name: each.uncompressed_size for each in e.artefacts} for e in good},
            "manifest": hashlib.sha256(encoded).hexdigest(),
        }

    def _clear(self, target: TargetEntry, catalogue: Catalogue) -> None:
        tell_cleared(target, clear_leftovers(catalogue, self.draft.job, self.draft.started), self.report)

    def _prune(self, target: TargetEntry, catalogue: Catalogue, policy: Policy) -> None:
        labels, now = [entry.label for entry in self.config.generators], datetime.now(timezone.utc)
        pruned = prune(catalogue, self.draft.job, policy, labels, now, self.draft.machine)
        tell_pruned(target, policy, pruned, self.report)
        self._history.add("prune", target=target.name, place=catalogue.place, deleted=pruned.deleted)


@dataclass
class Staged(Delivery):
    """The files lie in the staging area until all are there. A target that is slow holds up no other. Where none takes
    the files, they are kept there.
    """

    staging: Staging

    def sink(self, path: str) -> AbstractContextManager[Writable]:
        return self.staging.sink(path)

    def write(self, path: str, data: bytes) -> None:
        self.staging.write(path, data)

    def finish(self, manifest: Manifest) -> dict[str, Any]:
        encoded, job = encode(manifest), manifest.job
        self.write(MANIFEST_COPY, encoded)
        put_files = from_folder(self.staging.backup, manifest, encoded)
        size = sum(file.size for file in manifest.files if file.path != MARK_FILE) + len(encoded)
        together({target.label: functools.partial(self._serve, target, put_files, size) for target in self.targets})
        if self._places:
            self.staging.discard_kept(job)
        else:  # with its mark, so that it is a backup like any other
            self.write(MARK_FILE, mark_text(job, manifest.id))
            kept = self.staging.keep(job)
            what = f"no target took the backup; it is kept in {kept} until one takes a later one"
            self.report.fail(f"job {job}", f"{what}\nHint: restore --from that folder reads it")
        return self._told(manifest, encoded)


class Streamed(Delivery):
    """The files go to all targets while they are made, and nowhere else. The slowest sets the pace. One that drops out
    does not get the backup; where all do, `NoTargetLeft` ends the making of it.
    """

    def __enter__(self) -> "Streamed":
        self._channels = [Channel(target.keys.stall) for target in self.targets]
        self._fanout = Fanout(self._channels)
        served = zip(self.targets, self._channels, strict=True)
        calls = {target.label: functools.partial(self._stream, target, channel) for target, channel in served}
        self._threads = ExitStack()
        self._threads.enter_context(beside(calls))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fanout.withdraw()
        self._threads.close()

    def sink(self, path: str) -> AbstractContextManager[Writable]:
        return self._fanout.sink(path)

    def write(self, path: str, data: bytes) -> None:
        self._fanout.write(path, data)

    def finish(self, manifest: Manifest) -> dict[str, Any]:
        encoded = encode(manifest)
        self.write(MANIFEST_COPY, encoded)
        self._fanout.finish(manifest, encoded)
        self._threads.close()
        if not self._places:
            raise NoTargetLeft
        return self._told(manifest, encoded)

    def _stream(self, target: TargetEntry, channel: Channel) -> None:
        try:
            if channel.is_wanted():
                self._serve(target, channel.put_files)
        finally:
            channel.close()
        for sentence in channel.remains:
            self.report.warn(target.where, sentence)


def tell_cleared(target: TargetEntry, found: tuple[list[str], list[str]], report: Report, dry: bool = False) -> None:
    """Report what `clear_leftovers` gave: what it deleted, or in a `dry` run would have, and what it could not."""
    cleared, warnings = found
    for name in cleared:
        word = "would remove" if dry else "removed"
        log.info("%s: %s %s, left by an upload that broke off", target.label, word, name)
    for sentence in warnings:
        report.warn(target.where, sentence)


def tell_pruned(
    target: TargetEntry, policy: Policy, pruned: Pruned, report: Report, level: int = logging.DEBUG, dry: bool = False
) -> None:
    """Report what prune decided, or in a `dry` run would have done. The reason for each backup, and what is only worth
    knowing, goes to this level; what is deleted is always said.
    """
    word = "would delete" if dry else "deleted"
    report.course.pruned[target.name] = list(pruned.deleted)
    for decision in pruned.decisions:
        if decision.keep:
            log.log(level, "%s: keep %s: %s", target.label, decision.id, ", ".join(decision.reasons))
        else:
            done = word if decision.id in pruned.deleted else "spared"
            log.log(level, "%s: %s %s: no rule of %s keeps it", target.label, done, decision.id, policy.text)
    if pruned.deleted:
        log.info("%s: %s %d of %d backups: %s", target.label, word, len(pruned.deleted), len(pruned.decisions),
                 names_in_words(pruned.deleted))  # fmt: skip
    for note in pruned.notes:
        log.log(level, "%s: %s", target.label, note)
    for sentence in pruned.warnings:
        report.warn(target.where, sentence)
