"""When Pickup is started, as whom, and by which command; and all of that as a crontab, crontab(5)."""

import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pickup_core.config import Config
from pickup_core.errors import UsageError

_LONGEST_COMMAND = 998  # of a crontab, as cron has it
_FIRST_HOUR, _HOURS = 1, 5
_BECOMING_ANOTHER = {"sudo", "doas", "su", "runuser", "pkexec", "run0"}


@dataclass(frozen=True)
class Time:
    """A time of the day."""

    hour: int
    minute: int

    def __str__(self) -> str:
        return f"{self.hour:02}:{self.minute:02}"


@dataclass(frozen=True)
class Plan:
    """What is started every night.

    `user` is who it runs as, and `by_root` tells whether root sets it up, and not that user. `folders` are those that
    it writes to. Where it `becomes_another`, a function of the config or a program such as sudo may need rights that
    this user has not.
    """

    command: tuple[str, ...]
    job: str
    time: Time
    user: str
    by_root: bool
    folders: tuple[Path, ...]
    becomes_another: bool

    @property
    def is_root(self) -> bool:
        return self.user == "root"


def time_for(host: str) -> Time:
    """Give a time between 01:00 and 05:59 that follows from the name of a host, so that many do not begin at once."""
    digest = hashlib.sha256(host.encode("utf-8", "surrogateescape")).digest()
    hours, minute = divmod(int.from_bytes(digest[:8], "big") % (_HOURS * 60), 60)
    return Time(_FIRST_HOUR + hours, minute)


def plan_for(config: Config, command: Iterable[str], time: Time, user: str, by_root: bool) -> Plan:
    """Give the plan for a config. Raises `UsageError` where a word of the command could not be written down."""
    words = tuple(command)
    for word in words:
        if not word.isprintable():
            raise UsageError(f"{word!r} has a character that cannot be written here", hint="rename that file or folder")
    assert config.job is not None
    return Plan(words, config.job, time, user, by_root, tuple(_written(config)), _becomes_another(config))


def crontab(plan: Plan) -> str:
    """Give a plan as a file for `/etc/cron.d`, or, where a user sets it up, as lines of that user's own crontab.

    Raises `UsageError` where the line is longer than cron takes.
    """
    words = ["nice", "-n", "10", "ionice", "-c", "3", *plan.command, "-q"]
    command = " ".join(_for_cron(word) for word in words)
    if len(command.encode()) > _LONGEST_COMMAND:
        raise UsageError(f"cron takes no command of more than {_LONGEST_COMMAND} bytes", hint="shorten the paths")
    place = "This is for /etc/cron.d/pickup" if plan.by_root else "This is for crontab -e"
    user = f"  {plan.user}" if plan.by_root else ""
    return (
        f"# Pickup makes a backup of {plan.job} every night. {place}.\n"
        "# Cron mails what it says: warnings and errors, and nothing after a night that went well.\n"
        f"MAILTO={'root' if plan.by_root else plan.user}\n"
        f"{plan.time.minute} {plan.time.hour} * * *{user}  {command}\n"
    )


def _for_cron(word: str) -> str:
    """Quote a word for the shell, and then for cron, which takes a bare % for the end of the command.

    Cron goes by the character before: a backslash that stands before a % has to be parted from that.
    """
    return re.sub(r"(?<=\\)%", "''%", shlex.quote(word)).replace("%", "\\%")


def _written(config: Config) -> Iterator[Path]:
    """Give the folders that a run writes to, each once: Pickup's own, and those of the entries."""
    folders = [config.staging_area, config.state_folder, config.log_folder]
    folders += [config.metrics_file.parent] if config.metrics_file else []
    for options in [entry.options for entry in config.generators] + [entry.options for entry in config.targets]:
        folders += options.written_folders
    for folder in dict.fromkeys(folders):
        if not any(other in folder.parents for other in folders):
            yield folder


def _becomes_another(config: Config) -> bool:
    hooks = [config.before, config.after]
    for entry in config.generators:
        hooks += [entry.keys.before, entry.keys.after]
    words = _words([each.get("config") for each in config.raw_generators])
    return any(hooks) or not _BECOMING_ANOTHER.isdisjoint(words)


def _words(value: Any) -> Iterator[str]:
    """Give each word that stands in an option, however deep; of a path its last part."""
    if isinstance(value, str):
        yield from (word.rpartition("/")[2] for word in value.split())
    elif isinstance(value, Mapping | list | tuple):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _words(each)
