"""What each command does: load what it needs, call the module that does the work, show what came of it."""

import argparse
import contextlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pickup_core.archive import Listed
from pickup_core.catalogue import LATEST, Backup, Catalogue, ManifestCache
from pickup_core.config import Config, default_config_path, find_config, host_job, job_name, load_config
from pickup_core.errors import ConfigError, ExitCode, PickupError, StoreError, UsageError, worst
from pickup_core.find import find
from pickup_core.history import History
from pickup_core.lock import job_lock
from pickup_core.logs import Logs, printable
from pickup_core.loose import LooseFolder
from pickup_core.manifest import EntryRecord
from pickup_core.patterns import search_expression
from pickup_core.profiles import KINDS, manual_text, manuals_of
from pickup_core.prune import prune
from pickup_core.report import Report, explained
from pickup_core.restore import Wish, choose, restore, space_needed
from pickup_core.run import RunWish, chosen, machine_digest, run, tell_pruned
from pickup_core.store import DryRun
from pickup_core.verify import verify
from pickup_core.wording import age_of, counted, in_words, local_time

log = logging.getLogger("pickup.commands")


class Session:
    """What all commands have in common: the options, the log, the report, and the config once it is loaded."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.report = Report()
        self.logs = Logs()
        self.logs.to_console(options.quiet, options.debug)

    def config(self, generators: bool = True) -> Config:
        """Load the config and start the log that it names; a dry run, which changes nothing, writes no log either."""
        config = load_config(find_config(self.options.config), generators)
        if config.logging is not None:
            self.logs.replace(config.logging)
        elif not getattr(self.options, "dry_run", False):
            self.logs.to_file(config.log_folder)
        return config

    @property
    def exit_code(self) -> int:
        is_worth_a_look = self.logs.is_broken or self.logs.has_warned
        return worst([self.report.exit_code, ExitCode.WARNINGS if is_worth_a_look else ExitCode.OK])


def carry_out(options: argparse.Namespace) -> int:
    """Carry out a parsed command line and give the exit code."""
    session = Session(options)
    _COMMANDS[options.command](session)
    if session.exit_code and not session.logs.reach_stderr:
        print(
            f"ERROR: ended with status {session.exit_code}; what LOGGING in the config names tells why", file=sys.stderr
        )
    return session.exit_code


def _run(session: Session) -> None:
    options, config = session.options, session.config()
    wish = RunWish(tuple(options.only), tuple(options.target), options.keep, options.wait)
    if options.dry_run:
        from pickup_core.check import dry_run

        dry_run(config, wish, session.report)
    else:
        run(config, wish, session.report)


def _check(session: Session) -> None:
    from pickup_core.check import check

    check(session.config(), session.report)


@dataclass(frozen=True)
class Reading:
    """Where a command reads: the places in their order, not open yet, the job, and its history where there is a
    config.
    """

    places: Sequence[Catalogue]
    job: str
    history: History | None

    def remember(self, kind: str, **facts: Any) -> None:
        """Add a line to the history."""
        if self.history:
            self.history.add(kind, job=self.job, **facts)


def _reading(session: Session) -> Reading:
    """Give the places to read from: the targets, or the folder of `--from`, which needs no config."""
    options = session.options
    if getattr(options, "folder", None) is not None:
        store = LooseFolder(options.folder)
        place = Catalogue(str(options.folder), store)
        jobs = [job for job in place.jobs() if place.backups(job)]
        if not jobs:
            hint = "name the folder of a backup, of a job, or of a whole target"
            raise UsageError(f"--from {options.folder}: there are no backups in it", hint=hint)
        name = options.job or store.job or (jobs[0] if len(jobs) == 1 or _asks_for_all_jobs(options) else None)
        return Reading([place], _job(name, f"--job, one of: {', '.join(jobs)}"), None)
    config = session.config(generators=False)
    name = options.job or config.job or ("any" if _asks_for_all_jobs(options) else None)
    job = _job(name, "--job, or JOB in the config")
    cache = ManifestCache(config.state_folder)
    targets = chosen(config.targets, [options.target] if getattr(options, "target", None) else [])
    return Reading([Catalogue(t.name, t.store(), cache) for t in targets], job, History(config.state_folder, job))


def _asks_for_all_jobs(options: argparse.Namespace) -> bool:
    return getattr(options, "all_jobs", False)


def _job(name: str | None, hint: str) -> str:
    if name is None:
        raise UsageError("whose backups? No job is named", hint=hint)
    try:
        return job_name(name)
    except ValueError as error:
        raise UsageError(f"the name of a job {error}, and {name!r} is not") from None


def _list(session: Session) -> None:
    reading, found = _reading(session), []
    for place in reading.places:
        with session.report.attempt(f"target {place.name}"), place.store:
            for job in place.jobs() if session.options.all_jobs else [reading.job]:
                found += place.backups(job)
                for backup in found:
                    backup.status  # noqa: B018 - read while the store is open
    if session.options.json:
        print(json.dumps([_as_json(backup) for backup in found], indent=1))
    elif not found:
        log.info("no backups of %s", "any job" if session.options.all_jobs else f"job {reading.job}")
    else:
        rows = [["JOB", "TARGET", "BACKUP", "LOCAL TIME", "AGE", "STATUS", "SIZE"], *map(_as_row, found)]
        _print_table(rows if session.options.all_jobs else [row[1:] for row in rows])


def _as_json(backup: Backup) -> dict[str, Any]:
    manifest = backup.manifest if backup.is_finished else None
    return {
        "target": backup.catalogue.name,
        "job": backup.job,
        "backup": backup.id,
        "status": backup.status,
        "started": backup.started.isoformat(),
        "size": manifest.size if manifest else None,
        "artefacts": [artefact.path for entry in manifest.entries for artefact in entry.artefacts] if manifest else [],
        "kept": backup.is_kept,
    }


def _as_row(backup: Backup) -> list[str]:
    manifest = backup.manifest if backup.is_finished else None
    return [
        backup.job,
        backup.catalogue.name,
        backup.id,
        local_time(backup.started),
        age_of(backup.started),
        backup.status + (", kept" if backup.is_kept else ""),
        in_words(manifest.size) if manifest else "-",
    ]


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    rows = [[printable(text).replace("\n", "\\n") for text in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def _find(session: Session) -> None:
    reading, pattern = _reading(session), search_expression(session.options.pattern)
    found: list[tuple[Backup, EntryRecord, Listed]] = []
    for place in reading.places:
        with session.report.attempt(f"target {place.name}"), place.store:
            for backup in filter(lambda backup: backup.is_finished, place.backups(reading.job)):
                found += [(backup, entry, line) for entry, line in find(backup, pattern)]
    if session.options.json:
        print(json.dumps([_found_as_json(*each) for each in found], indent=1))
    elif found:
        _print_table(
            [["TARGET", "BACKUP", "ENTRY", "SIZE", "MODIFIED", "FILE"], *(_found_as_row(*each) for each in found)]
        )
    elif session.report.exit_code == ExitCode.OK:
        raise UsageError(f"no backup of job {reading.job} holds a file that matches {session.options.pattern!r}")


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


def _verify(session: Session) -> None:
    reading, results = _reading(session), []
    for place in reading.places:
        with session.report.attempt(f"target {place.name}"), place.store:
            wanted, backups = session.options.backup, place.backups(reading.job)
            if wanted == LATEST:  # a damaged one too: it must not hide behind an older one that is whole
                backups = [backup for backup in backups if backup.marker][:1]
            if wanted != "all" and (wanted != LATEST or not backups):
                backups = [place.select(reading.job, wanted)]
            results += [_verified(session, reading, backup) for backup in backups]
    if session.options.json:
        print(json.dumps(results, indent=1))


def _verified(session: Session, reading: Reading, backup: Backup) -> dict[str, Any]:
    where = f"target {backup.catalogue.name}"
    result: dict[str, Any] = {"target": backup.catalogue.name, "job": backup.job, "backup": backup.id, "findings": []}
    if backup.marker is None:
        if not session.options.json:
            log.info("%s: %s is unfinished and not verified", where, backup.id)
        return {**result, "status": "unfinished"}
    digests = reading.history.manifest_digests(backup.id) if reading.history else ()
    findings = verify(backup, digests)
    for finding in findings:
        session.report.damage(where, finding)
    if not findings and not session.options.json:
        count, size = len(backup.manifest.files), in_words(backup.manifest.size)
        log.info("%s: %s is whole: %d files, %s", where, backup.id, count, size)
    reading.remember("verify", target=backup.catalogue.name, backup=backup.id, findings=len(findings))
    return {**result, "status": "damaged" if findings else "whole", "findings": findings}


def _restore(session: Session) -> None:
    options, reading = session.options, _reading(session)
    wish = Wish(
        to=options.to.absolute(),
        only=tuple(options.only),
        paths=tuple(options.path),
        as_stored=options.as_stored,
        overwrite=options.overwrite,
        privileged=options.privileged,
    )
    failed: list[PickupError | OSError] = []
    reasons: list[str] = []
    for place in reading.places:
        try:
            with place.store:
                backup = place.select(reading.job, options.backup, options.before, wish.holds, wish.which)
                _restored(reading, backup, wish)
                return
        except (StoreError, UsageError, OSError) as error:
            failed.append(error)
            reasons.append(f"target {place.name}: {explained(error)}")
            log.debug("%s", reasons[-1])
    raise (UsageError if all(isinstance(error, UsageError) for error in failed) else StoreError)("\n".join(reasons))


def _restored(reading: Reading, backup: Backup, wish: Wish) -> None:
    """Say what will be restored, restore it, and say what came of it."""
    chosen_ones = choose(backup, wish)
    log.info("from target %s: job %s, backup %s of %s (%s)", backup.catalogue.name, backup.job, backup.id,
             local_time(backup.started), age_of(backup.started))  # fmt: skip
    count, space = counted(len(chosen_ones), "artefact"), in_words(space_needed(chosen_ones, wish))
    log.info("to %s: %s, taking up to %s meanwhile", wish.to, count, space)
    restored = restore(backup, chosen_ones, wish)
    log.info(
        "restored %s", counted(restored.members, "file") if wish.paths else counted(restored.artefacts, "artefact")
    )
    for sentence in restored.left_out(wish.privileged):
        log.info("%s", sentence)
    reading.remember("restore", target=backup.catalogue.name, backup=backup.id, to=str(wish.to), only=wish.only)


def _prune(session: Session) -> None:
    options, config = session.options, session.config()
    job = _job(options.job or config.job, "--job, or JOB in the config")
    is_own = job == config.job
    policies = [target for target in chosen(config.targets, options.target) if target.keys.retention]
    if not policies:
        raise UsageError(
            "no target has a retention policy, so nothing is ever deleted", hint="retention=dict(daily=7, weekly=4)"
        )
    now = datetime.now(timezone.utc)
    with contextlib.nullcontext() if options.dry_run else job_lock(config.state_folder, job, now):
        for target in policies:
            store = target.store()
            if options.dry_run:
                catalogue = Catalogue(target.name, DryRun(store))
            else:
                catalogue = Catalogue(target.name, store, ManifestCache(config.state_folder))
            with session.report.attempt(target.where), store:
                labels = [entry.label for entry in config.generators] if is_own else None
                machine = machine_digest() if is_own else None
                assert target.keys.retention is not None
                pruned = prune(catalogue, job, target.keys.retention, labels, now, machine, options.prune_anyway)
                tell_pruned(target, pruned, session.report, logging.INFO)
                if not options.dry_run:
                    deleted = [decision.id for decision in pruned.decisions if not decision.keep]
                    History(config.state_folder, job).add("prune", target=target.name, deleted=deleted)


def _keep(session: Session) -> None:
    options, config = session.options, session.config(generators=False)
    job = _job(config.job, "JOB in the config")
    if bool(options.reason) == options.release:
        raise UsageError("keep takes a REASON, or --release")
    found, ambiguous = 0, set()
    for target in config.targets:
        with session.report.attempt(target.where), target.store() as store:
            finished = [backup for backup in Catalogue(target.name, store).backups(job) if backup.is_finished]
            matching = [backup for backup in finished if backup.id.startswith(options.backup)]
            if options.backup == LATEST:
                matching = finished[:1]
            if len(matching) == 1:
                found += 1
                path = f"{matching[0].folder}.keep"
                store.delete(path)
                if not options.release:
                    store.commit(path, options.reason.encode("utf-8", "surrogateescape"))
                state = "may be deleted by prune again" if options.release else "is never deleted by prune"
                log.info("%s: %s %s", target.label, matching[0].id, state)
            ambiguous |= {backup.id for backup in matching[1:]}
    if not found:
        what = "" if options.backup == LATEST else f" whose name begins with {options.backup!r}"
        hint = (
            f"give more of its name: {', '.join(sorted(ambiguous)[:5])}" if ambiguous else "pickup.py list shows them"
        )
        raise UsageError(f"no target holds one finished backup of job {job}{what}", hint=hint)


def _profiles(session: Session) -> None:
    options = session.options
    beside = Path("/nonexistent")
    with contextlib.suppress(ConfigError):  # a config may add to the Python path, but is not needed here
        beside = find_config(options.config).parent
        load_config(find_config(options.config), generators=False)
    manuals = [(kind, manual) for kind in KINDS for manual in manuals_of(kind, beside, options.name)]
    if not manuals:
        raise UsageError(f"there is no profile {options.name!r}", hint="pickup.py profiles lists them")
    if options.json:
        print(json.dumps([{"kind": kind, **asdict(manual)} for kind, manual in manuals], indent=1))
    elif options.name is None:
        _print_table(
            [["KIND", "PROFILE", "WHAT IT DOES"], *([k, m.name, m.docstring.split("\n")[0]] for k, m in manuals)]
        )
    else:
        for kind, manual in manuals:
            print(manual_text(kind, manual))


def _init(session: Session) -> None:
    path = session.options.file or default_config_path()
    text = Path(__file__).with_name("config.py.example").read_text(encoding="utf-8")
    if job := host_job():
        text = re.sub(r"(?m)^# JOB = .*$", f'JOB = "{job}"', text)
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    try:
        with open(
            os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(f"{path} is there already and is left as it is", hint="pickup.py init OTHER-FILE") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    log.info("wrote %s. Edit it; then pickup.py check tells whether it would work.", path)


_COMMANDS: dict[str, Callable[[Session], None]] = {
    "run": _run,
    "check": _check,
    "list": _list,
    "find": _find,
    "verify": _verify,
    "restore": _restore,
    "prune": _prune,
    "keep": _keep,
    "profiles": _profiles,
    "init": _init,
}
