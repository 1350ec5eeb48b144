"""Delivery: bring a backup to its targets, prune there, and tell what came of it."""

import functools
import hashlib
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from pickup_core.catalogue import MANIFEST_COPY, MARK_FILE, Catalogue
from pickup_core.config import Config
from pickup_core.entries import TargetEntry
from pickup_core.history import History
from pickup_core.manifest import Manifest, encode
from pickup_core.memory import Memory
from pickup_core.prune import Pruned, clear_leftovers, prune
from pickup_core.publish import mark_text, publish
from pickup_core.report import Report
from pickup_core.retention import Policy
from pickup_core.staging import Staging
from pickup_core.store import Store
from pickup_core.together import together
from pickup_core.wording import in_words, names_in_words

log = logging.getLogger("pickup.delivery")


@dataclass(frozen=True)
class Delivery:
    """A backup on its way: the config, the staging area that holds its files, its manifest, and the reason to keep it
    for good, if there is one.
    """

    config: Config
    staging: Staging
    manifest: Manifest
    keep: str | None
    report: Report

    @property
    def history(self) -> History:
        return History(self.config.state_folder, self.manifest.job)

    def to(self, targets: Sequence[TargetEntry]) -> dict[str, Any]:
        """Bring the backup to all targets at once, and give what the history should know of it. One target that fails
        costs itself, and one that is slow holds up no other; where all fail, the backup is kept in the staging area.
        """
        manifest, encoded = self.manifest, encode(self.manifest)
        self.staging.write(MANIFEST_COPY, encoded)
        stored: dict[str, str] = {}
        levels = {}

        def serve(target: TargetEntry) -> None:
            with self.report.attempt(target.where) as outcome:
                self._serve(target, encoded, stored)
            levels[target.name] = logging.INFO if outcome.is_ok else logging.ERROR

        together({target.label: functools.partial(serve, target) for target in targets})
        places = {target.name: stored[target.name] for target in targets if target.name in stored}
        for target in targets:
            if places and target.name not in places:
                words = ["pickup.py", "copy", manifest.id, "--target", next(iter(places)), "--to", target.name]
                log.log(levels[target.name], "%s: once it works again: %s", target.where, shlex.join(words))
        if places:
            self.staging.discard_kept(manifest.job)
        else:  # with its mark, so that it is a backup like any other
            self.staging.write(MARK_FILE, mark_text(manifest.job, manifest.id))
            kept = self.staging.keep(manifest.job)
            what = f"no target took the backup; it is kept in {kept} until one takes a later one"
            self.report.fail(f"job {manifest.job}", f"{what}\nHint: restore --from that folder reads it")
        state = "complete" if manifest.is_complete else "partial"
        log.info("backup %s: %s, %s, stored at %d of %d targets", manifest.id, state, in_words(manifest.size),
                 len(places), len(targets))  # fmt: skip
        good = [entry for entry in manifest.entries if entry.status == "ok"]
        return {
            "places": list(places.values()),
            "sizes": {entry.label: {each.name: each.size for each in entry.artefacts} for entry in good},
            "uncompressed": {e.label: {each.name: each.uncompressed_size for each in e.artefacts} for e in good},
            "manifest": hashlib.sha256(encoded).hexdigest(),
        }

    def _serve(self, target: TargetEntry, encoded: bytes, stored: dict[str, str]) -> None:
        """Clear, publish and prune at one target; its place joins `stored`, by its name, once it has the backup."""
        manifest, policy = self.manifest, target.keys.retention
        with target.store() as store:
            catalogue = Catalogue(target.name, store, Memory(self.config.state_folder))
            if not self.history.knows_place(store.place):
                store.create_root()
            store.listdir()  # where that fails, nothing else is tried
            if policy:
                with self.report.attempt(f"{target.where}: clearing leftovers"):
                    self._clear(target, catalogue)
            publish(store, self.staging.backup, manifest, encoded, target.keys.read_back)
            stored[target.name] = store.place
            self._keep(store)
            log.info("%s: stored %s in %s", target.label, manifest.id, store.place)
            if policy:
                self._prune(target, catalogue, policy)

    def _clear(self, target: TargetEntry, catalogue: Catalogue) -> None:
        cleared, warnings = clear_leftovers(catalogue, self.manifest.job, self.manifest.started)
        for name in cleared:
            log.info("%s: removed %s, left by an upload that broke off", target.label, name)
        for sentence in warnings:
            self.report.warn(target.where, sentence)

    def _keep(self, store: Store) -> None:
        if self.keep is not None:
            path = f"{self.manifest.job}/{self.manifest.id}.keep"
            store.commit(path, self.keep.encode("utf-8", "surrogateescape"))

    def _prune(self, target: TargetEntry, catalogue: Catalogue, policy: Policy) -> None:
        labels, now = [entry.label for entry in self.config.generators], datetime.now(timezone.utc)
        pruned = prune(catalogue, self.manifest.job, policy, labels, now, self.manifest.machine)
        tell_pruned(target, policy, pruned, self.report)
        self.history.add("prune", target=target.name, deleted=pruned.deleted)


def tell_pruned(
    target: TargetEntry, policy: Policy, pruned: Pruned, report: Report, level: int = logging.DEBUG, dry: bool = False
) -> None:
    """Report what prune decided, or in a `dry` run would have done. The reason for each backup, and what is only worth
    knowing, goes to this level; what is deleted is always said.
    """
    word = "would delete" if dry else "deleted"
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
