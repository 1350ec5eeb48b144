"""The command `schedule`: what starts Pickup every night, for cron or for systemd, to be put in its place by root."""

import logging
import os
import pwd
import shlex
import socket
import stat
from pathlib import Path

from pickup_core.config import Config, find_config, load_config
from pickup_core.errors import PickupError, UsageError
from pickup_core.program import PROGRAM, command_words
from pickup_core.schedule import Plan, Time, crontab, plan_for, time_for
from pickup_core.session import Session
from pickup_core.trust import make_file
from pickup_core.units import service, switch_on, timer

log = logging.getLogger("pickup.scheduling")

_OWN_FOLDERS = {"STATE_FOLDER": "/var/lib/pickup", "LOG_FOLDER": "/var/log/pickup"}


def schedule_command(session: Session) -> None:
    """Print a crontab, or units of systemd; these may be written into a folder too. Nothing is switched on."""
    options = session.options
    if options.to is not None and not options.systemd:
        raise UsageError("--to goes with --systemd", hint=f"{PROGRAM} schedule > /etc/cron.d/pickup")
    plan = _plan(session)
    if not options.systemd:
        print(crontab(plan), end="")
        return
    units = {"pickup.service": service(plan), "pickup.timer": timer(plan)}
    if options.to is None:
        print("\n".join(units.values()), end="")
        return
    for name, text in units.items():
        _write(options.to / name, text)
    log.info("wrote %s. Switch it on: %s", " and ".join(str(options.to / name) for name in units), switch_on(plan))


def _plan(session: Session) -> Plan:
    options = session.options
    config = load_config(find_config(options.config))
    me, is_root = _name_of_us(), os.geteuid() == 0
    user = options.user or me
    if user != me:
        _see_that_it_can_run_as(user, config, is_root, reads_all=options.systemd)
    time = Time(*options.at) if options.at else time_for(socket.gethostname())
    return plan_for(config, [*command_words(), "-c", str(config.path)], time, user, is_root)


def _name_of_us() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise PickupError(f"system user {os.geteuid()} has no name, and cron and systemd want one") from None


def _see_that_it_can_run_as(user: str, config: Config, is_root: bool, reads_all: bool) -> None:
    if not is_root:
        raise UsageError(f"only root can let a job run as {user}", hint="run this as root, or leave --user out")
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        hint = f"useradd --system --home-dir /nonexistent --shell /usr/sbin/nologin {user}"
        raise UsageError(f"there is no system user {user!r}", hint=hint) from None
    missing = [f'{name} = "{folder}"' for name, folder in _OWN_FOLDERS.items() if name not in config.named]
    if missing:
        what = f"the config names no {' and no '.join(line.partition(' ')[0] for line in missing)}"
        raise UsageError(f"{what}, and root's own are not for {user}", hint=f"add {'; '.join(missing)}")
    if not reads_all and not _may_read(found, config.path):
        hint = f"--systemd lets {user} read everything; cron does not"
        log.warning("%s may not read %s\nHint: %s", user, config.path, hint)
    for target in config.targets:
        place = Path(target.store().place)
        if place.is_absolute() and place.is_dir() and not _may_write(found, place):
            what = f"{target.where}: {user} may not write to {place}"
            log.warning("%s\nHint: chown -R %s %s", what, user, shlex.quote(str(place)))


def _may_write(user: pwd.struct_passwd, folder: Path) -> bool:
    """Tell whether a user may write in a folder, as far as owner, groups and mode tell."""
    return _has(user, folder, stat.S_IWOTH)


def _may_read(user: pwd.struct_passwd, file: Path) -> bool:
    """Tell in the same way whether a user may read a file, and come to it."""
    return _has(user, file, stat.S_IROTH) and all(_has(user, folder, stat.S_IXOTH) for folder in file.parents)


def _has(user: pwd.struct_passwd, path: Path, bit: int) -> bool:
    """Tell whether a user has a right, which is given as the bit that others have it by."""
    status = path.stat()
    if status.st_uid == user.pw_uid:
        return bool(status.st_mode & bit << 6)
    groups = os.getgrouplist(user.pw_name, user.pw_gid)
    return bool(status.st_mode & (bit << 3 if status.st_gid in groups else bit))


def _write(path: Path, text: str) -> None:
    """Write a unit, which everybody may read. Never over a file that is there."""
    try:
        with open(make_file(path), "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)
    except FileExistsError:
        hint = "remove it, or name another folder"
        raise UsageError(f"{path} is there already and is left as it is", hint=hint) from None
    except FileNotFoundError:
        what = f"{path} cannot be written: there is no folder {path.parent}"
        raise UsageError(what, hint=f"mkdir -p {shlex.quote(str(path.parent))}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
