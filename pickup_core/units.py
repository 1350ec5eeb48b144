"""A plan as units of systemd: a service that may do little besides its work, and a timer that starts it.

What the settings mean: systemd.exec(5), systemd.service(5), systemd.timer(5).
"""

import re
from pathlib import Path

from pickup_core.errors import UsageError
from pickup_core.schedule import Plan

_MADE_BY_SYSTEMD = {"/var/lib": "StateDirectory", "/var/log": "LogsDirectory", "/var/cache": "CacheDirectory"}
_OWN_NAME = "pickup"
_EVERYBODYS = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - for the temporary files of the programs that are started
_POLITE = (
    "SyslogIdentifier=pickup",  # and not python3
    "TimeoutStartSec=infinity",
    "KillMode=mixed",
    "UMask=0077",
    "Nice=10",
    "IOSchedulingClass=idle",
)
_HARDENED = (
    "ProtectKernelTunables=true",
    "ProtectKernelModules=true",
    "ProtectKernelLogs=true",
    "ProtectControlGroups=true",
    "ProtectHostname=true",
    "LockPersonality=true",
    "RestrictRealtime=true",
    "RestrictSUIDSGID=true",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    "SystemCallArchitectures=native",
)
_FOR_WHO_BECOMES_ANOTHER = ("ProtectControlGroups=true",)  # the others imply NoNewPrivileges for an ordinary user
_UNPRIVILEGED = (
    "ProtectClock=true",  # which denies devices, too
    "PrivateDevices=true",
    "RestrictNamespaces=true",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
)
_NOT_IN_A_PROGRAM = {"'", '"', "\\"}
_READS_ALL = "CAP_DAC_READ_SEARCH"
_FOR_OTHERS = (
    "# The config calls functions, or names sudo or its like, and what these start may need rights of its own. So that",
    "# may be had here; what it writes besides this needs a ReadWritePaths= of yours.",
)


def service(plan: Plan) -> str:
    """Give `pickup.service`. Raises `UsageError` where a folder that it writes to could only be made in `/`."""
    lines = ["Type=oneshot", _start(plan), *_POLITE]
    if plan.by_root:
        lines += _rights(plan)
    elif not plan.becomes_another:  # a user's own systemd can hardly take more away
        lines += ["NoNewPrivileges=true"]
    network = ["Wants=network-online.target", "After=network-online.target"] if plan.by_root else []
    description = f"Description=Make a backup of {plan.job} with Pickup"
    head = [f"# {_folder_of(plan)}/pickup.service", "", "[Unit]", description, *network]
    return "\n".join([*head, "", "[Service]", *lines, ""])


def timer(plan: Plan) -> str:
    """Give `pickup.timer`, which makes up for a night on which the machine was off."""
    return "\n".join([
        f"# {_folder_of(plan)}/pickup.timer",
        f"# Switch it on: {switch_on(plan)}",
        "",
        "[Unit]",
        f"Description=Make a backup of {plan.job} with Pickup every night",
        "",
        "[Timer]",
        f"OnCalendar=*-*-* {plan.time}:00",
        "RandomizedDelaySec=5min",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
        "",
    ])  # fmt: skip


def switch_on(plan: Plan) -> str:
    """Give the line that switches the timer on."""
    systemctl = "systemctl" if plan.by_root else "systemctl --user"
    linger = "" if plan.by_root else " && loginctl enable-linger"
    return f"{systemctl} daemon-reload && {systemctl} enable --now pickup.timer{linger}"


def _folder_of(plan: Plan) -> str:
    return "/etc/systemd/system" if plan.by_root else "~/.config/systemd/user"


def _start(plan: Plan) -> str:
    program, *arguments = plan.command
    if not _NOT_IN_A_PROGRAM.isdisjoint(program):
        what = f"systemd starts no program whose path has a quote or a backslash, as {program} has"
        raise UsageError(what, hint="rename that folder")
    return " ".join([f"ExecStart={_quoted(program)}", *(_quoted(word.replace("$", "$$")) for word in arguments)])


def _rights(plan: Plan) -> list[str]:
    """Give what the service of a system may do. An ordinary user may read everything, and nothing else besides."""
    may_become_another = plan.becomes_another and not plan.is_root
    settings = _FOR_WHO_BECOMES_ANOTHER if may_become_another else _HARDENED
    hardened = ["ProtectSystem=strict", *_folders(plan), *settings]
    lines = [] if plan.is_root else [f"User={plan.user}", f"AmbientCapabilities={_READS_ALL}"]
    if plan.becomes_another:
        return [*lines, *hardened, *_FOR_OTHERS]
    lines += [] if plan.is_root else [f"CapabilityBoundingSet={_READS_ALL}"]
    return [*lines, "NoNewPrivileges=true", *hardened, *(() if plan.is_root else _UNPRIVILEGED)]


def _folders(plan: Plan) -> list[str]:
    """Give the lines that let the service write to its folders: some are made by systemd, which gives them to its user.

    Of the others one may be absent while the service starts, as where a disk is not mounted.
    """
    lines, paths = [], [*_EVERYBODYS]
    for folder in plan.folders:
        parent, _, name = str(folder).rpartition("/")
        # Of Pickup's own folders alone: what systemd makes, it gives to its user with all that is in it.
        if setting := _MADE_BY_SYSTEMD.get(parent) if name == _OWN_NAME else None:
            lines += [f"{setting}={name}", f"{setting}Mode=0700"]
        else:
            paths.append(_there(folder))
    paths = [path for path in dict.fromkeys(paths) if not any(other in path.parents for other in paths)]
    return [*lines, f"ReadWritePaths={' '.join(_quoted(f'-{path}') for path in paths)}"]


def _there(folder: Path) -> Path:
    """Give a folder, or where the first run has yet to make it, the one above it that is there."""
    found = next(each for each in (folder, *folder.parents) if each.is_dir())
    if found == found.parent:
        raise UsageError(f"{folder} does not exist, and a service could not make it", hint=f"mkdir -m 700 {folder}")
    return found


def _quoted(word: str) -> str:
    """Quote a word for a line of a unit, where % begins a specifier."""
    word = word.replace("%", "%%")
    if re.fullmatch(r"[\w./@:=+,%$-]+", word):
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
