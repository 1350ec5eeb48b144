"""The command that deletes what the retention policy does not keep, and what broken uploads have left: prune."""

import contextlib
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone

from pickup_core.catalogue import Catalogue
from pickup_core.config import Config
from pickup_core.delivery import tell_cleared, tell_pruned
from pickup_core.entries import TargetEntry, chosen
from pickup_core.errors import ExitCode, LockedError, PickupError, UsageError
from pickup_core.history import History
from pickup_core.lock import job_lock
from pickup_core.memory import Memory
from pickup_core.program import PROGRAM
from pickup_core.prune import Earlier, clear_leftovers, prune
from pickup_core.run import machine_digest
from pickup_core.session import Session, job_of
from pickup_core.store import DryRun

log = logging.getLogger("pickup.commands")


def prune_command(session: Session) -> None:
    """Prune the backups of the config's job, of another one, or of all jobs that the targets hold."""
    options = session.options
    if options.job and options.all_jobs:
        raise UsageError("--job names one job, and --all-jobs all of them: they do not go together")
    config = session.config(generators=None)  # a machine that backs up nothing has no job of its own
    if not (config.generators or options.job or options.all_jobs):
        raise UsageError(
            "the config has no GENERATORS, and so no job of its own", hint="name one by --job, or --all-jobs"
        )
    targets = [target for target in chosen(config.targets, options.target) if target.keys.retention]
    if not targets:
        raise UsageError(
            "no target has a retention policy, so nothing is ever deleted", hint="retention=dict(daily=7, weekly=4)"
        )
    if not options.all_jobs:
        job = job_of(options.job or config.job, "--job, or JOB in the config")
        holds_some = _prune_job(session, config, targets, job)
        if options.job and not holds_some and session.report.exit_code == ExitCode.OK:
            raise UsageError(f"no target holds a backup of job {job}", hint=f"{PROGRAM} list --all-jobs shows them")
        return
    for target in targets:
        with session.report.attempt(target.where):
            for job in _jobs_at(target):
                log.info("%s: job %s", target.label, job)
                with session.report.attempt(f"{target.where}: job {job}"), _no_end_of_all():
                    _prune_job(session, config, [target], job)


def _jobs_at(target: TargetEntry) -> list[str]:
    """List the jobs at a target; a folder of somebody else's may have the name of one."""
    with target.store() as store:
        place = Catalogue(target.name, store)
        return [job for job in place.jobs() if place.backups(job)]


@contextlib.contextmanager
def _no_end_of_all() -> Iterator[None]:
    """Let a job that is locked fail like another one: it is not the only one."""
    try:
        yield
    except LockedError as error:
        raise PickupError(error.message, error.hint) from error


def _prune_job(session: Session, config: Config, targets: Sequence[TargetEntry], job: str) -> bool:
    """Prune the backups of a job at these targets, and tell whether there were any. Raises `LockedError` where a run of
    that job is at work here.
    """
    is_dry, holds_some = session.options.dry_run, False
    with contextlib.nullcontext() if is_dry else job_lock(config.state_folder, job, datetime.now(timezone.utc)):
        for target in targets:
            with session.report.attempt(target.where):
                holds_some |= _prune_at(session, config, target, job)
    return holds_some


def _prune_at(session: Session, config: Config, target: TargetEntry, job: str) -> bool:
    """Prune the backups of a job at a target, and tell whether there were any."""
    options, report, policy, now = session.options, session.report, target.keys.retention, datetime.now(timezone.utc)
    assert policy is not None
    is_own = job == config.job and bool(config.generators)
    labels = [entry.label for entry in config.generators] if is_own else None
    machine = machine_digest() if is_own else None
    store, memory = target.store(), Memory(config.state_folder, is_frozen=options.dry_run)
    history = History(config.state_folder, job)
    earlier = None if is_own else Earlier.known_to(history, store.place)
    spared: list[str] = []

    def spares(path: str) -> bool:
        """An upload of this machine is not at work now; one of another machine may be."""
        if is_own or (earlier and earlier.is_given_up(path, now)):
            return False
        spared.append(path)
        return True

    with store:
        catalogue = Catalogue(target.name, DryRun(store) if options.dry_run else store, memory, lists_once=True)
        cleared = clear_leftovers(catalogue, job, now, spares)
        tell_cleared(target, cleared, report, options.dry_run)
        pruned = prune(catalogue, job, policy, labels, now, machine, options.prune_anyway, earlier=earlier)
    if not pruned.decisions:
        log.info("%s: holds no finished backup of job %s", target.label, job)
    elif not (is_own or earlier):
        log.info("%s: job %s is pruned here for the first time: all that is there counts", target.label, job)
    tell_pruned(target, policy, pruned, report, logging.INFO, options.dry_run)
    if not options.dry_run:
        seen: dict[str, list[str]] = {}
        if not is_own:
            before, now_there = set(earlier.names if earlier else ()), {decision.id for decision in pruned.decisions}
            seen = {"names": sorted(now_there - before), "gone": sorted(before - now_there), "left": spared}
        history.add("prune", target=target.name, place=store.place, deleted=pruned.deleted, **seen)
        for name in pruned.strange if options.prune_anyway else ():
            history.add("adopted", backup=name)
    return bool(pruned.decisions or pruned.warnings or pruned.notes or spared or cleared[0])
