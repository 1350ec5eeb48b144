"""The commands that look at backups: list, find, verify. They need `TARGETS` only, or a folder and no config."""

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pickup_core.archive import Listed
from pickup_core.catalogue import LATEST, Backup, Catalogue
from pickup_core.config import Config
from pickup_core.encryption import Identities
from pickup_core.entries import chosen
from pickup_core.errors import AbsentError, DamageError, ExitCode, PickupError, StoreError, UsageError
from pickup_core.find import find
from pickup_core.history import History
from pickup_core.loose import LooseFolder
from pickup_core.manifest import EntryRecord
from pickup_core.memory import Memory
from pickup_core.patterns import search_expression
from pickup_core.program import PROGRAM
from pickup_core.report import explained
from pickup_core.session import Session, job_of, print_table
from pickup_core.verify import verify, verify_deep
from pickup_core.wording import age_of, counted, in_words, local_time

log = logging.getLogger("pickup.commands")


@dataclass(frozen=True)
class Reading:
    """Where a command reads: the places in their order, not open yet, the job, and the config where there is one."""

    places: Sequence[Catalogue]
    job: str
    config: Config | None

    def remember(self, kind: str, **facts: Any) -> None:
        """Add a line to the history."""
        if self.config:
            History(self.config.state_folder, self.job).add(kind, job=self.job, **facts)


def reading_of(session: Session) -> Reading:
    """Give the places to read from: the targets, or the folder of `--from`, which needs no config."""
    options = session.options
    identities = Identities(getattr(options, "identity", ()))
    if options.folder is not None:
        if options.target:
            raise UsageError("--from reads a folder, and --target a target: they do not go together")
        store = LooseFolder(options.folder)
        place = Catalogue(str(options.folder), store, identities=identities)
        jobs = [job for job in place.jobs() if place.backups(job)]
        if not jobs:
            hint = "name the folder of a backup, of a job, or of a whole target"
            raise UsageError(f"--from {options.folder}: there are no backups in it", hint=hint)
        name = options.job or store.job or (jobs[0] if len(jobs) == 1 or _asks_for_all_jobs(options) else None)
        return Reading([place], job_of(name, f"--job, one of: {', '.join(jobs)}"), None)
    config = session.config(generators=False)
    name = options.job or config.job or ("any" if _asks_for_all_jobs(options) else None)
    job = job_of(name, "--job, or JOB in the config")
    memory = Memory(config.state_folder)
    targets = chosen(config.targets, [options.target] if options.target else [])
    return Reading([Catalogue(t.name, t.store(), memory, identities) for t in targets], job, config)


def selected(
    reading: Reading,
    name: str,
    before: datetime | None = None,
    lacks: Callable[[Backup], str] = lambda backup: "",
    which: str = "that is finished",
) -> Backup:
    """Give the newest backup over all places that will do; at each it is found as by `Catalogue.select`. A place that
    has none is told; one that cannot be read, or has a damaged one, is warned about.

    Where there is none, raises `DamageError`, `UsageError` or `StoreError` with what each of the places said.
    """
    found: list[Backup] = []
    failed: list[PickupError | OSError] = []
    reasons: list[str] = []
    for place in reading.places:
        try:
            with place.store:
                backup = place.select(reading.job, name, before, lacks, which)
                if backup.trouble:
                    raise DamageError(backup.trouble)
                found.append(backup)
        except (PickupError, OSError) as error:
            failed.append(error)
            reasons.append(f"target {place.name}: {explained(error)}")
    if found:
        for failure, reason in zip(failed, reasons, strict=True):
            level = logging.INFO if isinstance(failure, UsageError | AbsentError) else logging.WARNING
            log.log(level, "%s", reason)
        return max(found, key=lambda backup: backup.id)  # the first of those that are equal
    if any(isinstance(error, DamageError) for error in failed):
        raise DamageError("\n".join(reasons))
    raise (UsageError if all(isinstance(error, UsageError) for error in failed) else StoreError)("\n".join(reasons))


def _asks_for_all_jobs(options: argparse.Namespace) -> bool:
    return getattr(options, "all_jobs", False)


def list_command(session: Session) -> None:
    """Show the backups at each place."""
    reading = reading_of(session)
    found: list[Backup] = []
    jobs: set[str] = set()
    for place in reading.places:
        with session.report.attempt(f"target {place.name}"), place.store:
            for job in place.jobs() if session.options.all_jobs else [reading.job]:
                for backup in place.backups(job):
                    with session.report.attempt(f"target {place.name}: backup {backup.id}"):
                        backup.status, backup.trouble  # noqa: B018 - its manifest is read while the store is open
                        found.append(backup)
            if not found:
                jobs |= set(place.jobs())
    if session.options.json:
        print(json.dumps([_as_json(backup) for backup in found], indent=1))
    elif not found:
        if session.report.exit_code == ExitCode.OK:
            log.info("no backups of %s%s", "any job" if session.options.all_jobs else f"job {reading.job}",
                     f"; there are jobs: {', '.join(sorted(jobs))}" if jobs else "")  # fmt: skip
    else:
        rows = [["JOB", "TARGET", "BACKUP", "LOCAL TIME", "AGE", "STATUS", "SIZE"], *map(_as_row, found)]
        print_table(rows if session.options.all_jobs else [row[1:] for row in rows], ("LOCAL TIME", "SIZE", "AGE"))
        for sentence in _keys_in_words(found):
            log.info("%s", sentence)
        for backup in filter(lambda backup: backup.trouble, found):
            log.info("target %s: %s", backup.catalogue.name, backup.trouble)


def _keys_in_words(found: Sequence[Backup]) -> Iterator[str]:
    """Say of each public key how many of these backups its private key opens, at however many targets they are."""
    opened: dict[str, set[tuple[str, str]]] = {}
    for backup in filter(lambda backup: backup.is_finished, found):
        for key in backup.summary.keys:
            opened.setdefault(key, set()).add((backup.id, backup.job))
    for key, backups in opened.items():
        newest = max(backups)[0]
        yield f"{counted(len(backups), 'backup')}, the newest of them {newest}: opened by the private key of {key}"


def _as_json(backup: Backup) -> dict[str, Any]:
    summary = backup.summary if backup.is_finished else None
    return {
        "target": backup.catalogue.name,
        "job": backup.job,
        "backup": backup.id,
        "status": backup.status,
        "started": backup.started.isoformat(),
        "size": summary.size if summary else None,
        "artefacts": list(summary.artefacts) if summary else [],
        "kept": backup.is_kept,
        "keys": list(summary.keys) if summary else [],
    }


def _as_row(backup: Backup) -> list[str]:
    summary = backup.summary if backup.is_finished else None
    return [
        backup.job,
        backup.catalogue.name,
        backup.id,
        local_time(backup.started),
        age_of(backup.started),
        backup.status + (", kept" if backup.is_kept else ""),
        in_words(summary.size) if summary else "-",
    ]


def find_command(session: Session) -> None:
    """Show which backups hold a file."""
    reading, pattern = reading_of(session), search_expression(session.options.pattern)
    found: list[tuple[Backup, EntryRecord, Listed]] = []
    for place in reading.places:
        with session.report.attempt(f"target {place.name}"), place.store:
            for backup in filter(lambda backup: backup.is_finished, place.backups(reading.job)):
                with session.report.attempt(f"target {place.name}"):
                    found += [(backup, entry, line) for entry, line in find(backup, pattern)]
    if session.options.json:
        print(json.dumps([_found_as_json(*each) for each in found], indent=1))
    elif found:
        rows = [["TARGET", "BACKUP", "ENTRY", "SIZE", "MODIFIED", "FILE"], *(_found_as_row(*each) for each in found)]
        print_table(rows, ("MODIFIED", "SIZE", "ENTRY", "TARGET"))
    if not found and session.report.exit_code == ExitCode.OK:
        hint = f"a pattern takes the whole name of a file: '*part*' finds a part; {PROGRAM} list shows the backups"
        raise UsageError(f"no backup of job {reading.job} holds a file that matches {session.options.pattern!r}", hint)


def _found_as_json(backup: Backup, entry: EntryRecord, line: Listed) -> dict[str, Any]:
    return {
        "target": backup.catalogue.name,
        "backup": backup.id,
        "entry": entry.name,
        "path": line.name,
        "type": line.type,
        "size": line.size,
        "modified": line.modified.isoformat(),
    }


def _found_as_row(backup: Backup, entry: EntryRecord, line: Listed) -> list[str]:
    size, modified = in_words(line.size), local_time(line.modified)
    return [backup.catalogue.name, backup.id, entry.name, size, modified, line.name]


def verify_command(session: Session) -> None:
    """Read backups back and compare them with their manifests."""
    reading, results = reading_of(session), []
    absent: list[str] = []
    for place in reading.places:
        with session.report.attempt(f"target {place.name}"), place.store:
            try:
                backups = _to_verify(place, reading.job, session.options.backup)
            except UsageError as error:
                absent.append(f"target {place.name}: {error}")
                continue
            for backup in backups:
                with session.report.attempt(f"target {place.name}"):
                    results.append(_verified(session, reading, backup))
    if session.options.json:
        print(json.dumps(results, indent=1))
    if len(absent) == len(reading.places):
        raise UsageError("\n".join(absent))
    for sentence in absent:
        session.report.fail("verify", sentence)


def _to_verify(place: Catalogue, job: str, wanted: str) -> list[Backup]:
    """Give the backups of this name at a place. The latest may be a damaged one: it must not hide behind an older one
    that is whole.
    """
    backups = place.backups(job)
    if wanted == LATEST:
        backups = [backup for backup in backups if backup.marker][:1]
    return backups if backups and wanted in (LATEST, "all") else [place.select(job, wanted)]


def _verified(session: Session, reading: Reading, backup: Backup) -> dict[str, Any]:
    where = f"target {backup.catalogue.name}"
    result: dict[str, Any] = {"target": backup.catalogue.name, "job": backup.job, "backup": backup.id, "findings": []}
    if backup.marker is None:
        log.info("%s: %s is unfinished and not verified", where, backup.id)
        return {**result, "status": "unfinished"}
    findings = verify(backup)
    if session.options.deep and not findings:
        findings = verify_deep(backup)
    for finding in findings:
        session.report.damage(where, finding)
    if not findings:
        count, size = len(backup.manifest.files), in_words(backup.manifest.size)
        depth = ", and what it holds can be read" if session.options.deep else ""
        state = "whole" if backup.status == "complete" else "as it was stored, which is partial"
        log.info("%s: %s is %s: %d files, %s%s", where, backup.id, state, count, size, depth)
    reading.remember("verify", target=backup.catalogue.name, backup=backup.id, findings=len(findings))
    return {**result, "status": "damaged" if findings else "whole", "findings": findings}
