"""A run, the straight line: generate, publish, prune, report."""

import hashlib
import logging
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pickup_core import __version__
from pickup_core.artefact import stored_name
from pickup_core.catalogue import MARK_FILE
from pickup_core.config import Config
from pickup_core.delivery import Delivery, Staged, Streamed
from pickup_core.entries import GeneratorEntry, chosen
from pickup_core.errors import NoTargetLeft
from pickup_core.generate import generate, skipped
from pickup_core.history import History
from pickup_core.hooks import hooked
from pickup_core.instructions import checksums, restore_text
from pickup_core.lock import job_lock
from pickup_core.manifest import EntryRecord, Manifest, StoredFile, backup_id
from pickup_core.program import PROGRAM
from pickup_core.publish import mark_text
from pickup_core.report import Report
from pickup_core.room import Room, needed_room
from pickup_core.staging import Staging
from pickup_core.wording import in_words

log = logging.getLogger("pickup.run")


@dataclass(frozen=True)
class RunWish:
    """What a run is asked for: generator and target entries by name (none: all), a reason to keep the backup for good,
    and how many seconds to wait for another run to end.
    """

    only: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    keep: str | None = None
    wait: float = 0


def run(config: Config, wish: RunWish, report: Report, begun: Callable[[], object] = lambda: None) -> None:
    """Make a backup and bring it to the targets; what happens is told to the report. `begun` is called once the backup
    has a name.

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
        if last and backup_id(started) < last:  # said once: the next run compares with this one
            report.warn(f"job {config.job}", f"the clock stands before the last backup, {last}")
        history.add("start", backup=backup_id(started), only=wish.only)
        report.course.backup, report.course.asked = backup_id(started), {target.name for target in targets}
        log.info("job %s, backup %s", config.job, report.course.backup)
        begun()
        draft = draft_of(config, wish, started)
        if not config.streams:
            sizes = history.last_sizes()
            warn_of_room(staging.room(), needed_room([sizes.get(entry.label, {}) for entry in generators]), report)
        facts: dict[str, Any] = {"backup": draft.id, "only": wish.only, "targets": wish.targets}
        where = f"job {config.job}"
        with report.attempt(where), hooked(config.before, config.after, where, report, config.at_hand):
            others = (config, draft, targets, wish.keep, report)
            with Streamed(*others) if config.streams else Staged(*others, staging) as delivery:
                try:
                    facts |= _delivered(delivery, generators, staging, note)
                except NoTargetLeft:
                    what = "no target took the backup, so the run is given up"
                    report.fail(where, f"{what}\nHint: {PROGRAM} check asks each of them")
        history.add("run", exit=report.exit_code, seconds=int((_now() - started).total_seconds()), **facts)


def _delivered(
    delivery: Delivery, generators: Sequence[GeneratorEntry], staging: Staging, note: Callable[[str], None]
) -> dict[str, Any]:
    """Let these generators produce, bring it to the targets, and give what the history should know of it."""
    config, report = delivery.config, delivery.report
    last_sizes = History(config.state_folder, delivery.draft.job).last_sizes("uncompressed")
    records, seconds = [], {}
    for entry in config.generators:
        note(f"at work on {entry.label}")
        if entry in generators:
            last, begun = last_sizes.get(entry.label, {}), time.monotonic()
            records.append(generate(entry, config, staging, delivery.sink, report, last))
            (report.course.good if records[-1].status == "ok" else report.course.failed).add(entry.label)
            seconds[entry.label] = round(time.monotonic() - begun, 3)
        else:
            records.append(skipped(entry))
    note("bringing the backup to the targets")
    if any(record.artefacts for record in records):
        return {"entry_seconds": seconds, **delivery.finish(_completed(delivery, records))}
    log.error("job %s: no entry produced anything, so nothing is published; earlier backups are as they were",
              config.job)  # fmt: skip
    return {}


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


def warn_of_room(room: Room, needed: int, report: Report) -> None:
    """Warn before anything is written where what a run will probably need does not fit."""
    if room.writable < max(needed, 1):
        kept = f"of {in_words(room.free)} that are free, MIN_FREE keeps {in_words(room.kept)}"
        sentence = f"{kept}, and a run will need about {in_words(needed)}" if needed else kept
        report.warn("staging area", f"{sentence}\nHint: make room, or see MIN_FREE and STAGING_AREA in the config")


def draft_of(config: Config, wish: RunWish, started: datetime) -> Manifest:
    """Give the manifest of a backup that holds nothing yet."""
    assert config.job is not None
    return Manifest(
        pickup=__version__,
        job=config.job,
        host=socket.gethostname(),
        machine=machine_digest(),
        id=backup_id(started),
        started=started,
        finished=started,
        only=wish.only,
        entries=(),
        others=(),
    )


def _completed(delivery: Delivery, records: Sequence[EntryRecord]) -> Manifest:
    """Write the files that stand beside the artefacts, and give the manifest of the whole backup."""
    config = delivery.config
    manifest = replace(delivery.draft, finished=_now().replace(microsecond=0), entries=tuple(records))
    notes = {entry.profile: getattr(entry.module, "RESTORE", "") for entry in config.generators}
    mark = mark_text(manifest.job, manifest.id)
    others = [_described(MARK_FILE, mark)]
    texts = {"pickup/config.py": config.masked_text, "RESTORE.txt": restore_text(manifest, notes)}
    for name, text in config.masked_modules.items():
        texts["/".join(["pickup/imported", *map(stored_name, name.split("/"))])] = text
    for name, text in texts.items():
        others.append(_written(delivery, name, text.encode("utf-8", "surrogateescape")))
    others.append(_written(delivery, "SHA256SUMS", checksums([*manifest.files, *others]).encode()))
    return replace(manifest, others=tuple(others))


def _written(delivery: Delivery, name: str, data: bytes) -> StoredFile:
    delivery.write(name, data)
    return _described(name, data)


def _described(name: str, data: bytes) -> StoredFile:
    return StoredFile(name, len(data), hashlib.sha256(data).hexdigest())
