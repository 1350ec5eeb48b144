"""What each command does: load what it needs, call the module that does the work, show what came of it.

The commands that read backups are in `reading`, `restoring`, `copying` and `watching`, those that delete some in
`pruning` and `deleting`.
"""

import argparse
import contextlib
import json
import logging
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from pickup_core.catalogue import LATEST, LONGEST_REASON, Catalogue, read_small
from pickup_core.completion import completion_command
from pickup_core.config import Config, default_config_path, find_config, load_config
from pickup_core.copying import copy_command
from pickup_core.deleting import delete_command
from pickup_core.encryption import make_identity
from pickup_core.entries import TargetEntry
from pickup_core.errors import ConfigError, ExitCode, UsageError
from pickup_core.first_config import first_config
from pickup_core.lock import job_lock
from pickup_core.memory import Memory
from pickup_core.notify import told
from pickup_core.profiles import KINDS, manual_text, manuals_of
from pickup_core.pruning import prune_command
from pickup_core.reading import find_command, list_command, verify_command
from pickup_core.restoring import restore_command
from pickup_core.run import RunWish, run
from pickup_core.scheduling import schedule_command
from pickup_core.session import Session, job_of, print_table
from pickup_core.store import Store
from pickup_core.terminal import obeys
from pickup_core.trust import make_file, make_folder
from pickup_core.watching import status_command

_MOVING = ("run", "verify", "restore", "copy")

log = logging.getLogger("pickup.commands")


def carry_out(options: argparse.Namespace) -> int:
    """Carry out a parsed command line and give the exit code."""
    with _shown(options):
        session = Session(options)
        _COMMANDS[options.command](session)
        if session.exit_code and not session.logs.reach_stderr:
            what = f"ended with status {session.exit_code}; what LOGGING in the config names tells why"
            print(f"ERROR: {what}", file=sys.stderr)
        return session.exit_code


def _shown(options: argparse.Namespace) -> contextlib.AbstractContextManager[None]:
    """Show progress while the `with` goes on, where bytes are moved and somebody looks on."""
    if options.command not in _MOVING or options.quiet or not obeys(sys.stderr):
        return contextlib.nullcontext()
    from pickup_core.screen import on_screen

    return on_screen(sys.stderr)


def _run(session: Session) -> None:
    options = session.options
    wish = RunWish(tuple(options.only), tuple(options.target), options.keep, options.wait)
    if options.dry_run:
        from pickup_core.check import dry_run

        dry_run(session.config(), wish, session.report)
        return
    with session.logs.held_back() if options.quiet and not options.debug else contextlib.nullcontext() as held:
        config = session.config()
        message = held if config.logging is None else None  # that alone decides what is seen
        if held and not message:
            held.let_go()
        with told(config, wish, session.report, lambda: session.exit_code, message) as begun:
            run(config, wish, session.report, begun)


def _check(session: Session) -> None:
    from pickup_core.check import check

    check(session.config(), session.report, session.options.notify)


def _keep(session: Session) -> None:
    options, config = session.options, session.config(generators=False)
    job = job_of(config.job, "JOB in the config")
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
    hint = f"give more of its name: {', '.join(sorted(found)[:5])}" if found else "pickup.py list shows them"
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
        print_table(
            [["KIND", "PROFILE", "WHAT IT DOES"], *([k, m.name, m.docstring.split("\n")[0]] for k, m in manuals)]
        )
    else:
        for kind, manual in manuals:
            print(manual_text(kind, manual))


def _init(session: Session) -> None:
    path = session.options.file or session.options.config or default_config_path()
    first = first_config(Path("/"), path.absolute().parent)
    try:
        make_folder(path.parent)
        with open(make_file(path), "w", encoding="utf-8") as file:
            file.write(first.text)
    except FileExistsError as error:
        if error.filename != str(path):
            raise ConfigError(f"{path} cannot be written: {error.filename} is no folder") from None
        raise ConfigError(f"{path} is there already and is left as it is", hint="pickup.py init OTHER-FILE") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    for label, why in first.found.items():
        log.info("found %s: %s", label, why)
    log.info("wrote %s. Edit it; then pickup.py check tells whether it would work.", path)


def _keygen(session: Session) -> None:
    path = session.options.file
    public = make_identity(path)
    log.info("public key: %s", public)
    log.info("It goes into the config: ENCRYPTION = dict(recipients={%r: %r})", "what it is for", public)
    log.info("The private key is in %s. Without it nothing opens the backups: keep it, and a copy of it, away from "
             "this host, and then remove it here.", path)  # fmt: skip


_COMMANDS: dict[str, Callable[[Session], None]] = {
    "run": _run,
    "check": _check,
    "list": list_command,
    "status": status_command,
    "find": find_command,
    "verify": verify_command,
    "restore": restore_command,
    "copy": copy_command,
    "prune": prune_command,
    "delete": delete_command,
    "keep": _keep,
    "profiles": _profiles,
    "init": _init,
    "schedule": schedule_command,
    "keygen": _keygen,
    "completion": completion_command,
}
