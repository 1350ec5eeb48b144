"""The command that deletes what the retention policy does not keep, and what broken uploads have left: prune."""

import contextlib
import logging
from collections.abc import Sequence
from datetime import datetime, timezone

from pickup_core.catalogue import Catalogue
from pickup_core.config import Config, load_config
from pickup_core.delivery import tell_cleared, tell_pruned
from pickup_core.entries import TargetEntry, chosen
from pickup_core.errors import UsageError
from pickup_core.history import History
from pickup_core.lock import job_lock
from pickup_core.memory import Memory
from pickup_core.prune import clear_leftovers, prune
from pickup_core.run import machine_digest
from pickup_core.session import Session, job_of
from pickup_core.store import DryRun

log = logging.getLogger("pickup.commands")


def prune_command(session: Session) -> None:
    """Prune the backups of the config's job, of another one, or of all jobs that the targets hold."""
    options = session.options
    if options.job and options.all_jobs:
        raise UsageError("--job names one job, and --all-jobs all of them: they do not go together")
    config = session.config(generators=False)
    if config.raw_generators or not (options.job or options.all_jobs):  # a machine that backs up has a job of its own
        config = load_config(config.path)
    targets = [target for target in chosen(config.targets, options.target) if target.keys.retention]
    if not targets:
        raise UsageError(
            "no target has a retention policy, so nothing is ever deleted", hint="retention=dict(daily=7, weekly=4)"
        )
    if not options.all_jobs:
        _prune_job(session, config, targets, job_of(options.job or config.job, "--job, or JOB in the config"))
        return
    for target in targets:
        with session.report.attempt(target.where):
            for job in _jobs_at(target):
                log.info("%s: job %s", target.label, job)
                with session.report.attempt(f"{target.where}: job {job}"):
                    _prune_job(session, config, [target], job)


def _jobs_at(target: TargetEntry) -> list[str]:
    with target.store() as store:
        return Catalogue(target.name, store).jobs()


def _prune_job(session: Session, config: Config, targets: Sequence[TargetEntry], job: str) -> None:
    """Prune the backups of a job at these targets. Raises `LockedError` where a run of that job is at work here."""
    is_dry = session.options.dry_run
    with contextlib.nullcontext() if is_dry else job_lock(config.state_folder, job, datetime.now(timezone.utc)):
        for target in targets:
            with session.report.attempt(target.where):
                _prune_at(session, config, target, job)


def _prune_at(session: Session, config: Config, target: TargetEntry, job: str) -> None:
    options, report, policy, now = session.options, session.report, target.keys.retention, datetime.now(timezone.utc)
    assert policy is not None
    is_own = job == config.job and bool(config.generators)
    labels = [entry.label for entry in config.generators] if is_own else None
    machine = machine_digest() if is_own else None
    store, memory = target.store(), Memory(config.state_folder, is_frozen=options.dry_run)
    with store:
        catalogue = Catalogue(target.name, DryRun(store) if options.dry_run else store, memory)
        tell_cleared(target, clear_leftovers(catalogue, job, now), report, options.dry_run)
        pruned = prune(catalogue, job, policy, labels, now, machine, options.prune_anyway)
    if not pruned.decisions:
        log.info("%s: holds no finished backup of job %s", target.label, job)
    tell_pruned(target, policy, pruned, report, logging.INFO, options.dry_run)
    if not options.dry_run:
        history = History(config.state_folder, job)
        history.add("prune", target=target.name, deleted=pruned.deleted)
        for name in pruned.strange if options.prune_anyway else ():
            history.add("adopted", backup=name)
