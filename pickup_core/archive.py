"""Tar archives: what GNU tar can do here, and how to read the lists of contents that it writes."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from pickup_core.errors import ProcessError
from pickup_core.process import Terms, text_of

TAR = ("tar",)
TAR_ENVIRONMENT: Mapping[str, str | None] = {
    **dict.fromkeys(("LC_ALL", "LANG", "LANGUAGE", "TAR_OPTIONS", "POSIXLY_CORRECT", "TAPE")),
    "LC_MESSAGES": "C",
    "LC_COLLATE": "C",
    "LC_CTYPE": "C.UTF-8",
}
"""For tar: messages that a program can read, names that people can, a `?` that is a character; no options from outside.
"""
LONGEST_NAME = 128 * 1024
"""A member with a longer name, or one that is linked to such a name, is none that Pickup archives."""
_ESCAPE = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)
_SHORT_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_LISTED = re.compile(
    r"(\S)\S{9}[+.*]? +\S.*? (\d{1,19}|\d+,\d+) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})?) (.*)", re.DOTALL
)
"""One space only before a size: with a run of them that any text may stand before, a long run would take hours."""
_FIRST_YEAR, _LAST_YEAR = 2, 9998
"""In the years beside them the local time may be in none."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of a list of contents: type as `ls -l` writes it, size in bytes, time of the last change, member name."""

    type: str
    size: int
    modified: datetime
    name: str


def label_options(program: Sequence[str] = TAR) -> list[str]:
    """Give the options for ACLs and SELinux labels that this tar has. Raises `ProcessError` where it is not GNU tar."""
    text = text_of([*program, "--help"], Terms(stall=60, env=TAR_ENVIRONMENT))
    if "GNU" not in text:
        raise ProcessError(f"{' '.join(program)} is not GNU tar", hint="install GNU tar, and name it in `program`")
    return [option for option in ("--acls", "--selinux") if option in text]


def read_listing(lines: Iterator[bytes]) -> Iterator[Listed]:
    """Give what a list of contents says, line by line. Lines that are none are passed over, and so are those with a
    size or a time that no file has.
    """
    width = 0  # tar makes each time as wide as the widest one before it
    for line in lines:
        found = _LISTED.match(os.fsdecode(line.rstrip(b"\n")))
        if found is None:
            continue
        kind, size, moment, name = found.groups()
        width = max(width, len(moment))
        name = name[width - len(moment) :]
        modified = _time(moment)
        if modified is None:
            continue
        separator = {"l": " -> ", "h": " link to "}.get(kind)
        yield Listed(
            type=kind,
            size=0 if "," in size else int(size),
            modified=modified,
            name=unescaped(name.split(separator)[0] if separator else name).rstrip("/"),
        )


def _time(text: str) -> datetime | None:
    """Give the time of a line, or None for one that is none."""
    try:
        moment = datetime.fromisoformat(text[:19]).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return moment if _FIRST_YEAR <= moment.year <= _LAST_YEAR else None


def unescaped(name: str) -> str:
    r"""Give the name that GNU tar wrote with `--quoting-style=escape`, which makes a newline `\n` and a byte `\377`."""

    def byte(found: re.Match[str]) -> str:
        code = found[1]
        if len(code) == 3:
            return chr(int(code, 8))
        return chr(_SHORT_ESCAPES.get(code, ord(code)))

    if name.isascii() and "\\" not in name:
        return name
    raw = name.encode("utf-8", "surrogateescape").decode("latin-1")
    return os.fsdecode(_ESCAPE.sub(byte, raw).encode("latin-1"))
