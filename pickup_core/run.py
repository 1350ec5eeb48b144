"""A run, the straight line: generate, publish, prune, report."""

import hashlib
import logging
import os
import socket
import time
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

from pickup_core import __version__
from pickup_core.catalogue import MANIFEST_COPY, MARK_FILE, Catalogue, ManifestCache
from pickup_core.config import Config
from pickup_core.entries import GeneratorEntry, TargetEntry
from pickup_core.errors import UsageError
from pickup_core.generate import generate, skipped
from pickup_core.history import History
from pickup_core.instructions import checksums, restore_text
from pickup_core.lock import job_lock
from pickup_core.manifest import EntryRecord, Manifest, StoredFile, backup_id, encode
from pickup_core.prune import Pruned, clear_leftovers, prune
from pickup_core.publish import mark_text, publish
from pickup_core.report import Outcome, Report
from pickup_core.staging import Staging
from pickup_core.wording import in_words

log = logging.getLogger("pickup.run")

_MARGIN = 1.2
AnyEntry = TypeVar("AnyEntry", GeneratorEntry, TargetEntry)


@dataclass(frozen=True)
class RunWish:
    """What a run is asked for: generator and target entries by name (none: all), a reason to keep the backup for good,
    and how many seconds to wait for another run to end.
    """

    only: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    keep: str | None = None
    wait: float = 0


def run(config: Config, wish: RunWish, report: Report) -> None:
    """Make a backup and bring it to the targets; what happens is told to the report.

    Raises `UsageError` for a name that the config does not have, `ConfigError` where state folder or staging area are
    not safe, `LockedError` where another run of this job is at work.
    """
    assert config.job is not None
    generators, targets = chosen(config.generators, wish.only), chosen(config.targets, wish.targets)
    history = History(config.state_folder, config.job)
    with ExitStack() as stack:
        note = stack.enter_context(job_lock(config.state_folder, config.job, _now(), wish.wait))
        staging = stack.enter_context(Staging(config.staging_area, config.min_free))
        last = history.last_backup()
        started = _start_after(last)
        if last and backup_id(started) < last:
            report.warn(f"job {config.job}", Outcome(), f"the clock stands before the last backup, {last}")
        history.add("start", backup=backup_id(started), only=wish.only)
        log.info("job %s, backup %s", config.job, backup_id(started))
        last_sizes = history.last_sizes()
        _warn_of_space(staging, [last_sizes.get(entry.label, {}) for entry in generators], report)
        records = []
        for entry in config.generators:
            note(f"at work on {entry.label}")
            last_size = last_sizes.get(entry.label, {})
            is_wanted = entry in generators
            records.append(generate(entry, config, staging, report, last_size) if is_wanted else skipped(entry))
        note("bringing the backup to the targets")
        facts = {"backup": backup_id(started), "only": wish.only}
        if any(record.artefacts for record in records):
            with report.attempt(f"job {config.job}"):
                manifest = _completed(config, wish, started, records, staging.backup)
                facts |= _deliver(config, wish, targets, staging, manifest, report)
        else:
            log.error("job %s: no entry produced anything, so nothing is published; "
                      "earlier backups are as they were", config.job)  # fmt: skip
        history.add("run", exit=report.exit_code, seconds=(_now() - started).seconds, **facts)


def chosen(entries: Sequence[AnyEntry], names: Collection[str]) -> list[AnyEntry]:
    """Give the entries of these names, or all where none is named. Raises `UsageError` for a name that there is not."""
    known = [entry.name for entry in entries]
    for name in names:
        if name not in known:
            raise UsageError(f"there is no entry {name!r} in the config", hint=f"there are: {', '.join(known)}")
    return [entry for entry in entries if not names or entry.name in names]


def machine_digest() -> str:
    """Give a digest that tells this machine from others, without telling its id (machine-id(5))."""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            identity = Path(path).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if identity:
            break
    else:
        identity = socket.gethostname()
    return hashlib.sha256(f"pickup {identity}".encode()).hexdigest()[:16]


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _start_after(last: str | None) -> datetime:
    """Give a starting time whose backup name is not that of the last backup; at most a second of waiting."""
    while backup_id(_now()) == last:
        time.sleep(0.05)
    return _now().replace(microsecond=0)


def _warn_of_space(staging: Staging, last_sizes: Sequence[dict[str, int]], report: Report) -> None:
    """Warn before anything is written where the last sizes, and a fifth more, will not fit."""
    needed, free = needed_space(last_sizes), staging.free()
    if needed > free:
        sentence = f"this run will need about {in_words(needed)}, but only {in_words(max(0, free))} may be written"
        report.warn("staging area", Outcome(), f"{sentence}. Hint: make room, or see MIN_FREE and STAGING_AREA")


def needed_space(last_sizes: Sequence[dict[str, int]]) -> int:
    """Estimate the bytes that a run takes: those of the last one, and a fifth more."""
    return int(_MARGIN * sum(sum(sizes.values()) for sizes in last_sizes))


def _completed(
    config: Config, wish: RunWish, started: datetime, records: Sequence[EntryRecord], folder: Path
) -> Manifest:
    """Write the files that stand beside the artefacts, and give the manifest of the whole backup."""
    assert config.job is not None
    manifest = Manifest(
        pickup=__version__,
        job=config.job,
        host=socket.gethostname(),
        machine=machine_digest(),
        id=backup_id(started),
        started=started,
        finished=_now().replace(microsecond=0),
        only=wish.only,
        entries=tuple(records),
        others=(),
    )
    notes = {entry.profile: getattr(entry.module, "RESTORE", "") for entry in config.generators}
    mark = mark_text(manifest.job, manifest.id)
    others = [_described(MARK_FILE, mark)]
    for name, text in (("pickup/config.py", config.masked_text), ("RESTORE.txt", restore_text(manifest, notes))):
        others.append(_written(folder, name, text.encode("utf-8", "surrogateescape")))
    sums = checksums([*manifest.files, *others]).encode()
    others.append(_written(folder, "SHA256SUMS", sums))
    return replace(manifest, others=tuple(others))


def _written(folder: Path, name: str, data: bytes) -> StoredFile:
    path = folder / name
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
    return _described(name, data)


def _described(name: str, data: bytes) -> StoredFile:
    return StoredFile(name, len(data), hashlib.sha256(data).hexdigest())


def _deliver(
    config: Config, wish: RunWish, targets: Sequence[TargetEntry], staging: Staging, manifest: Manifest, report: Report
) -> dict[str, Any]:
    """Bring the backup to the targets, and give what the history should know of it."""
    encoded = encode(manifest)
    _written(staging.backup, MANIFEST_COPY, encoded)
    places: list[str] = []
    for target in targets:
        with report.attempt(target.where):
            _serve(target, config, wish, staging.backup, manifest, encoded, report, places)
    if places:
        staging.discard_kept(manifest.job)
    else:
        _written(
            staging.backup, MARK_FILE, mark_text(manifest.job, manifest.id)
        )  # so that it is a backup like any other
        log.error("job %s: no target took the backup; it is kept in %s", manifest.job, staging.keep(manifest.job))
    state = "complete" if manifest.is_complete else "partial"
    log.info("backup %s: %s, %s, stored at %d of %d targets", manifest.id, state, in_words(manifest.size),
             len(places), len(targets))  # fmt: skip
    sizes = {
        f"{record.profile}/{record.name}": {artefact.name: artefact.size for artefact in record.artefacts}
        for record in manifest.entries
        if record.status == "ok"
    }
    return {"places": places, "sizes": sizes, "manifest": hashlib.sha256(encoded).hexdigest()}


def _serve(
    target: TargetEntry,
    config: Config,
    wish: RunWish,
    folder: Path,
    manifest: Manifest,
    encoded: bytes,
    report: Report,
    places: list[str],
) -> None:
    """Clear, publish and prune at one target; its place is added to `places` once it has the backup."""
    policy, history = target.keys.retention, History(config.state_folder, manifest.job)
    with target.store() as store:
        catalogue = Catalogue(target.name, store, ManifestCache(config.state_folder))
        if not history.knows_place(store.place):
            store.create_root()
        if policy:
            with report.attempt(f"{target.where}: clearing leftovers"):
                cleared, warnings = clear_leftovers(catalogue, manifest.job, manifest.started)
                for name in cleared:
                    log.info("%s: removed %s, left by an upload that broke off", target.label, name)
                for sentence in warnings:
                    report.warn(target.where, Outcome(), sentence)
        publish(store, folder, manifest, encoded, target.keys.read_back)
        places.append(store.place)
        if wish.keep is not None:
            store.commit(f"{manifest.job}/{manifest.id}.keep", wish.keep.encode("utf-8", "surrogateescape"))
        log.info("%s: stored %s in %s", target.label, manifest.id, store.place)
        if policy:
            labels = [entry.label for entry in config.generators]
            pruned = prune(catalogue, manifest.job, policy, labels, _now(), manifest.machine)
            tell_pruned(target, pruned, report, logging.DEBUG)


def tell_pruned(target: TargetEntry, pruned: Pruned, report: Report, level: int) -> None:
    """Report what prune decided; the reason for each backup is logged with this level."""
    for decision in pruned.decisions:
        reasons = ", ".join(decision.reasons)
        log.log(level, "%s: %s %s%s", target.label, "keep  " if decision.keep else "delete", decision.id,
                f": {reasons}" if reasons else "")  # fmt: skip
    deleted = [decision.id for decision in pruned.decisions if not decision.keep]
    if deleted:
        log.info("%s: retention lets go of %d of %d backups", target.label, len(deleted), len(pruned.decisions))
    for sentence in pruned.warnings:
        report.warn(target.where, Outcome(), sentence)
