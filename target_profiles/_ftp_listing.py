"""How servers list a folder: the lines of MLSD, of LIST as Unix servers write them, and of NLST.

Pure functions. A listing that is not understood raises, and never gives a part. Names that no folder can hold (with
`/`, or with a control character) are dropped: a server that sends them wants to lead elsewhere.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pickup_core.api import StoreError

FILE, FOLDER, OTHER = "file", "folder", "other"
_HERE = (".", "..")
_KINDS = {"-": FILE, "d": FOLDER}
_UNIX = re.compile(
    r"(?P<kind>[-a-zA-Z])[-rwxsStTlL]{9}\S*\s.*?\s(?P<size>\d+)\s+"
    r"(?:(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\s+\d{1,2}\s+|\d{4}-\d\d-\d\d\s+)"
    r"(?:\d{1,2}:\d\d|\d{4})\s(?P<name>.+)"
)
_TOTAL = re.compile(r"total \d+", re.IGNORECASE)


class UnreadableError(StoreError):
    """A listing has a line that means nothing to us."""


@dataclass(frozen=True)
class Entry:
    """One name in a folder. `kind` is FILE, FOLDER, or OTHER: a link or a special file, which is none of ours."""

    name: str
    kind: str
    size: int = 0


def mlsd_entries(lines: Iterable[str]) -> list[Entry]:
    """Read lines of MLSD, https://www.rfc-editor.org/rfc/rfc3659#section-7."""
    entries = []
    for line in lines:
        facts, space, name = line.partition(" ")
        known = dict(fact.lower().split("=", 1) for fact in facts.split(";") if "=" in fact)
        kind, size = known.get("type"), known.get("size", "")
        if not space or kind is None or (kind == "file" and not _is_number(size)):
            raise UnreadableError(f"MLSD gives a line without type or size: {line!r}")
        if kind in ("cdir", "pdir"):
            continue
        if kind == "file":
            entries.append(Entry(name, FILE, int(size)))
        else:
            entries.append(Entry(name, FOLDER if kind == "dir" else OTHER))
    return _possible(entries)


def unix_entries(lines: Iterable[str]) -> list[Entry]:
    """Read lines as `ls -l` writes them."""
    entries = []
    for line in lines:
        if _TOTAL.fullmatch(line.strip()):
            continue
        match = _UNIX.fullmatch(line)
        if not match:
            raise UnreadableError(f"LIST gives a line that ls does not write: {line!r}")
        name, kind = match["name"], _KINDS.get(match["kind"], OTHER)
        if match["kind"] == "l":
            name = name.partition(" -> ")[0]
        entries.append(Entry(name, kind, int(match["size"]) if kind == FILE else 0))
    return _possible(entries)


def shows_itself(lines: Iterable[str]) -> bool:
    """Tell whether a listing has the folder's own `.`, as only one with all names has."""
    return any((match := _UNIX.fullmatch(line)) and match["name"] == "." for line in lines)


def plain_names(lines: Iterable[str]) -> list[str]:
    """Read lines of NLST, where some servers write whole paths."""
    names = dict.fromkeys(line.rstrip("/").rpartition("/")[2] for line in lines)
    return [entry.name for entry in _possible(Entry(name, OTHER) for name in names)]


def _possible(entries: Iterable[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.name not in _HERE and _is_name(entry.name)]


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and not any(ord(char) < 32 or ord(char) == 127 for char in name)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()
