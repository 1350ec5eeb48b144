"""How a message looks where it goes: on a terminal, which may show colours (https://no-color.org), in the journal of
systemd, and elsewhere.
"""

import contextlib
import logging
import os
from typing import Any

RED, YELLOW, GREEN = "31", "33", "32"
_ERROR, _WARNING = 3, 4  # priorities of syslog(3)


def obeys(stream: Any) -> bool:
    """Tell whether a stream, or what stands in its place, is a terminal that moves its cursor when told to."""
    try:
        return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")
    except ValueError:  # it is closed
        return False


def has_colours(stream: Any) -> bool:
    """Tell whether a stream is a terminal that is to show colours."""
    return obeys(stream) and not os.environ.get("NO_COLOR")


def coloured(text: str, colour: str) -> str:
    """Give a text in a colour, for a terminal that has them."""
    return f"\x1b[{colour}m{text}\x1b[0m"


def dressed(text: str, level: int, stream: Any) -> str:
    """Give an error or a warning as a stream is to show it: on a terminal that has colours its first word has one."""
    if has_colours(stream):
        word, colon, rest = text.partition(":")
        return coloured(word, RED if level >= logging.ERROR else YELLOW) + colon + rest
    return for_journal(text, level, stream)


def for_journal(text: str, level: int, stream: Any) -> str:
    """Give a text whose lines have their priority, where a stream goes to the journal of systemd, so that `journalctl
    -p err` finds them (sd-daemon(3)). Elsewhere it is as it was.
    """
    if not _is_journal(stream):
        return text
    priority = _ERROR if level >= logging.ERROR else _WARNING
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def _is_journal(stream: Any) -> bool:
    """Tell whether a stream goes to the journal, as systemd says (systemd.exec(5), JOURNAL_STREAM)."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none that has a descriptor
        status = os.fstat(stream.fileno())
        return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return False
