"""The command that deletes one backup by its name, whatever retention says: delete.

It looks at all targets before it touches one: what is kept by hand, and what nothing else holds a copy of, stays unless
the command line says otherwise.
"""

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from pickup_core.catalogue import Backup, Catalogue
from pickup_core.config import Config
from pickup_core.entries import TargetEntry, chosen
from pickup_core.errors import ExitCode, PickupError, StoreError, UsageError
from pickup_core.history import History
from pickup_core.lock import job_lock
from pickup_core.manifest import Summary, started_at
from pickup_core.memory import Memory
from pickup_core.program import PROGRAM
from pickup_core.prune import Earlier, delete_backup, is_ours, is_strange
from pickup_core.report import explained
from pickup_core.run import machine_digest
from pickup_core.session import Session, job_of
from pickup_core.wording import in_words, names_in_words

log = logging.getLogger("pickup.commands")


@dataclass(frozen=True)
class _Found:
    """The backup that is to go, at one target. `kept` is why it is kept by hand, and `trouble` why it must not go."""

    target: TargetEntry
    backup: Backup
    kept: str | None
    trouble: str | None


def delete_command(session: Session) -> None:
    """Delete one backup at all targets, or at those that are named; in a dry run say what would go."""
    options = session.options
    if started_at(options.backup) is None:
        hint = f"{PROGRAM} list shows them: 2026-11-23T031502Z"
        raise UsageError(f"delete takes the whole name of one backup, and {options.backup!r} is none", hint=hint)
    config = session.config(generators=False)
    job, now = job_of(options.job or config.job, "--job, or JOB in the config"), datetime.now(timezone.utc)
    with contextlib.nullcontext() if options.dry_run else job_lock(config.state_folder, job, now):
        found, copies = _look(session, config, job)
        _see_that_it_may_go(session, found, copies, job)
        for each in found:
            with session.report.attempt(each.target.where):
                _delete(each, config, job, options.dry_run)


def _look(session: Session, config: Config, job: str) -> tuple[list[_Found], list[Summary]]:
    """Give the backup at each target where it is to go, and what all others hold that stay, wherever they are. One that
    is dated later than now, or that no run here made though it says so, is none to rely on; nor is one that prune would
    not count.
    """
    now = datetime.now(timezone.utc)
    found: list[_Found] = []
    copies: list[Summary] = []
    asked = chosen(config.targets, session.options.target)
    for target in config.targets:
        place = Catalogue(target.name, target.store(), Memory(config.state_folder, session.options.dry_run))
        earlier = Earlier.known_to(History(config.state_folder, job), place.place)
        with session.report.attempt(target.where) if target in asked else _not_counted(target) as outcome, place.store:
            for backup in place.backups(job):
                if backup.id == session.options.backup and target in asked:
                    found.append(_found(target, backup))
                elif backup.is_finished and not (
                    backup.started > now
                    or is_strange(backup, machine_digest(), now)
                    or (earlier and earlier.is_late(backup))
                ):
                    copies.append(backup.summary)
        if outcome and outcome.is_absent:
            what = f"is not there, and a backup {session.options.backup} that it may hold stays"
            session.report.fail(target.where, f"{what}\nHint: run the same command when it is there")
    return found, copies


@contextlib.contextmanager
def _not_counted(target: TargetEntry) -> Iterator[None]:
    """Let a target that is only asked for its copies fail: then it has none."""
    try:
        yield
    except (OSError, PickupError) as error:
        log.info("%s: could not be asked, so no copy there counts: %s", target.label, explained(error))


def _found(target: TargetEntry, backup: Backup) -> _Found:
    trouble = None
    if backup.status == "later":
        trouble = f"{backup.trouble}; only a Pickup that reads it deletes it"
    elif backup.status == "unfinished" and not is_ours(backup.catalogue.store, backup):
        trouble = "it bears no mark of Pickup, so whose it is cannot be told"
    return _Found(target, backup, backup.keep_reason() if backup.is_kept else None, trouble)


def _see_that_it_may_go(session: Session, found: Sequence[_Found], copies: Iterable[Summary], job: str) -> None:
    """Raise `UsageError` where there is no such backup, and where something speaks against deleting it anywhere."""
    options, name = session.options, session.options.backup
    if not found and session.report.exit_code == ExitCode.OK:
        raise UsageError(f"no target holds a backup {name} of job {job}", hint=f"{PROGRAM} list shows what there is")
    for each in found:
        if each.trouble:
            raise UsageError(f"{each.target.where}: backup {name} is not deleted: {each.trouble}")
        if each.kept is not None and not options.even_kept:
            what = f"{each.target.where}: backup {name} is kept: {each.kept}"
            raise UsageError(what, hint="--even-kept deletes it all the same")
    lost = _lost([each.backup.summary for each in found if each.backup.is_finished], copies)
    if lost and not options.even_last:
        what = f"backup {name} of job {job} holds the last copy that was found of {names_in_words(lost)}"
        raise UsageError(what, hint="--even-last deletes it all the same; a newer backup would hold another one")


def _lost(going: Sequence[Summary], others: Iterable[Summary]) -> list[str]:
    """Give the labels of the entries of which no copy stays that is as good as the one which goes, and of the same
    machine: those of a clone are of something else.
    """
    machines = {summary.machine for summary in going}
    staying = [summary for summary in others if summary.machine in machines]
    good = {label for summary in staying for label in summary.good}
    some = good | {label for summary in staying for label in summary.lossy}
    lost = [label for summary in going for label in summary.good if label not in good]
    lost += [label for summary in going for label in summary.lossy if label not in some]
    return list(dict.fromkeys(lost))


def _delete(found: _Found, config: Config, job: str, dry: bool) -> None:
    """Delete a backup at one target, and see that it is gone. Raises `StoreError` where it is not."""
    target, name = found.target, found.backup.id
    size = f", {in_words(found.backup.summary.size)}" if found.backup.is_finished else ""
    what = f"{name} of job {job}, {found.backup.status}{size}"
    if dry:
        log.info("%s: would delete %s", target.label, what)
        return
    with target.store() as store:
        place = Catalogue(target.name, store, Memory(config.state_folder))
        try:
            for backup in [backup for backup in place.backups(job) if backup.id == name]:
                delete_backup(backup)
            is_there = name in [backup.id for backup in place.backups(job)]
        except (OSError, PickupError) as error:
            said, hint = (error.message, error.hint) if isinstance(error, PickupError) else (explained(error), "")
            hint = hint or "may this account delete there? The same command goes on with what is left"
            raise StoreError(f"backup {job}/{name} could not be deleted: {said}", hint=hint) from error
    if is_there:
        raise StoreError(f"backup {job}/{name} is listed still, after it was deleted", hint="run the command again")
    log.info("%s: deleted %s", target.label, what)
    History(config.state_folder, job).add("delete", target=target.name, place=place.place, backup=name)
