"""The command that lets prune never delete a backup: keep."""

import contextlib
import logging
from datetime import datetime, timezone

from pickup_core.catalogue import LATEST, LONGEST_REASON, Catalogue, read_small
from pickup_core.config import Config
from pickup_core.entries import TargetEntry
from pickup_core.errors import ExitCode, UsageError
from pickup_core.lock import job_lock
from pickup_core.memory import Memory
from pickup_core.program import PROGRAM
from pickup_core.session import Session, job_of
from pickup_core.store import Store

log = logging.getLogger("pickup.commands")


def keep_command(session: Session) -> None:
    """Put a reason beside a backup, or take it away."""
    options, config = session.options, session.config(generators=False)
    job = job_of(options.job or config.job, "--job, or JOB in the config")
    if bool(options.reason) == options.release:
        raise UsageError("keep takes a REASON, or --release")
    with job_lock(config.state_folder, job, datetime.now(timezone.utc)):  # prune has read them by now, or not yet
        _keep_at_all(session, config, job)


def _keep_at_all(session: Session, config: Config, job: str) -> None:
    options = session.options
    for name, targets in _holders(session, config, job).items():
        for target in targets:
            with session.report.attempt(target.where), target.store() as store:
                reason = options.reason.encode("utf-8", "surrogateescape")
                _set_keep(store, f"{job}/{name}.keep", None if options.release else reason)
                state = "may be deleted by prune again" if options.release else "is never deleted by prune"
                log.info("%s: %s %s", target.label, name, state)


def _set_keep(store: Store, path: str, reason: bytes | None) -> None:
    """Put a reason in the place of the one that there may be, or none. Where that fails, the old one comes back."""
    before = None
    with contextlib.suppress(FileNotFoundError):
        before = read_small(store, path, LONGEST_REASON)
        store.delete(path)
    if reason is None:
        return
    try:
        store.commit(path, reason)
    except BaseException:
        if before is not None:
            store.delete(path)
            store.commit(path, before)
        raise


def _holders(session: Session, config: Config, job: str) -> dict[str, list[TargetEntry]]:
    """Give the one finished backup that is asked for, with the targets that hold it; nothing where one failed, which
    may be the one that has it.

    Raises `UsageError` where there is none, or more than one over all targets.
    """
    wanted, found = session.options.backup, dict[str, list[TargetEntry]]()
    for target in config.targets:
        with session.report.attempt(target.where), target.store() as store:
            backups = Catalogue(target.name, store, Memory(config.state_folder)).backups(job)
            for name in [backup.id for backup in backups if backup.is_finished]:
                if wanted == LATEST or name.startswith(wanted):
                    found.setdefault(name, []).append(target)
    if wanted == LATEST and found:
        return {max(found): found[max(found)]}
    if len(found) == 1 or (not found and session.report.exit_code != ExitCode.OK):
        return found
    what = "" if wanted == LATEST else f" whose name begins with {wanted!r}"
    hint = f"give more of its name: {', '.join(sorted(found)[:5])}" if found else f"{PROGRAM} list shows them"
    raise UsageError(f"no target holds one finished backup of job {job}{what}", hint=hint)
