"""Sizes, times, durations, ages and lists as people read them, and texts that a terminal only shows."""

import functools
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

from pickup_core.secret import redact

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_NAMES_SHOWN = 5
_LONGEST_LINE = 300
_DURATIONS = (("d", 86_400, 3 * 86_400), ("h", 3600, 7200), ("m", 60, 120), ("s", 1, 0))  # unit, seconds, from when on


def printable(text: str) -> str:
    """Give a text without secrets, and without characters that a terminal would obey; line ends and tabs stay."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}", redact(text))


def one_line(name: str) -> str:
    """Give a name that comes from elsewhere so that it cannot print lines of its own."""
    return name.replace("\n", "\\n").replace("\r", "\\r")


def pip_install(package: str) -> str:
    """Give the line that installs a Python package where this very Pickup runs."""
    return f"{shlex.quote(sys.executable)} -m pip install {package}"


def short_line(text: str) -> str:
    """Give a text that a server sent as one short line that does no harm to a terminal."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())[:_LONGEST_LINE]


def in_words(size: int) -> str:
    """Give a number of bytes."""
    import humanize

    return humanize.naturalsize(size, binary=True)


def counted(count: int, what: str) -> str:
    """Give a number of things: `1 artefact`, `2 artefacts`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def names_in_words(names: Sequence[str], between: str = ", ") -> str:
    """Give five of the names at most, and how many more there are."""
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return between.join(names[:_NAMES_SHOWN]) + more


def local_time(moment: datetime) -> str:
    """Give a moment as the clock of this machine's users shows it, to the minute."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M")


def age_of(moment: datetime) -> str:
    """Give how long ago a moment was."""
    age = datetime.now(timezone.utc) - moment
    return _age_in_words(age if age.days < 1 else timedelta(days=age.days))


@functools.cache
def _age_in_words(age: timedelta) -> str:
    import humanize

    return humanize.naturaltime(age)


def duration(seconds: float, parts: int = 2) -> str:
    """Give a duration in its largest units, as many as there are parts: `31h 20m`, `8d 2h`; hours up to three days."""
    left, words = max(0, int(seconds)), list[str]()
    for unit, size, least in _DURATIONS:
        if words or left >= least:
            count, left = divmod(left, size)
            words.append(f"{count}{unit}" if count or not words else "")
    return " ".join(filter(None, words[:parts]))
