"""What rsync says: the lines of a listing, and what each of its statuses means and what to do about it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pickup_core.api import Judgement, NoRootError, StoreError, UnreachableError, failure, short_line

_LINE = re.compile(r"([-dlpscbD])\S{9}\S? +([0-9,.]+) \d{4}/\d\d/\d\d \d\d:\d\d:\d\d (.+)")
_ABSENT = re.compile(r'change_dir ".*" .*No such file|rrsync error: .* No such file or directory$')
_ABSENT_HINT = "is the disk mounted there? If it is gone for good, make the folder anew"
_NARROW_HINT = "rrsync cannot open the folder that it is restricted to: is its disk mounted?"
_LINES_SHOWN = 20
_NOISE = ("rsync error:", "***", "@@@")

# rsync(1), EXIT VALUES; 255 is ssh's.
_STATUSES = {
    1: "the server refuses it, or one of the two rsyncs does not know an option",
    2: "the server does not speak rsync's protocol, or prints something before it does",
    3: "a file or a folder that it was to read or write could not be chosen",
    4: "the server refuses it or cannot do it",
    5: "the server does not let us in, or broke off at once",
    10: "the connection could not be made, or was cut",
    11: "a file could not be read or written",
    12: "the connection was cut, or the server's rsync ended",
    13: "its program for diagnostics failed",
    14: "its processes lost each other",
    15: "one of its processes crashed",
    16: "one of its processes was killed",
    19: "it was told to stop",
    20: "it was told to stop",
    21: "it lost a process",
    22: "its memory did not suffice",
    23: "not all of it could be done",
    24: "files vanished while they were read",
    25: "it stopped deleting at a limit",
    30: "the server did not answer in time",
    35: "the server's rsync did not answer in time",
    127: "the server has no program rsync",
    255: "ssh could not connect",
}
_PASSING = (10, 12, 30, 35, 255)
_NOBODY_THERE = "is it running, and is the port right?"
_HINTS = [
    ("auth failed", "compare user and password with `auth users` and `secrets file` of the module"),
    ("Unknown module", "compare `module` with the names in the server's rsyncd.conf"),
    ("chdir failed", "the server cannot open the module's `path`: is its disk mounted?"),
    ("max connections", "the server serves no more at a time: see `max connections` of the module"),
    ("module is read only", "set `read only = no` for the module"),
    ("--fsync", "rsync can sync what it stores since 3.2.4, on both sides; fsync=False does without"),
    ("to refuse", "the server's administrator does not want this: see `refuse options` of the module"),
    ("estricted dir", _NARROW_HINT),
    ("FileNotFoundError", _NARROW_HINT),
    ("ost key", "`ssh-keyscan HOST | ssh-keygen -lf -` shows its fingerprint; if that is right, add it to known_hosts"),
    ("Permission denied (13)", "that user may not do it there: see owner and mode of the folder"),
    ("Not a directory (20)", "see what it is and whose"),
    ("access denied", "see `hosts allow` and `hosts deny` of the module"),
    ("denied (publickey", "is the public half of the key in authorized_keys of that user?"),
    ("No space left", "make room there, or set retention"),
    ("quota", "make room there, or set retention"),
    ("command not found", "install rsync on the server"),
    ("Connection refused", _NOBODY_THERE),
]


@dataclass(frozen=True)
class Found:
    """What a listing says of one path; `kind` is its letter: `-` for a file, `d` for a folder, `l` for a link."""

    kind: str
    size: int


def listed(lines: Iterable[str]) -> dict[str, Found]:
    """Give what lies at each path of a listing. Raises `StoreError` where a line is none of rsync's."""
    found = {}
    for line in filter(None, lines):
        match = _LINE.fullmatch(line)
        if match is None:
            raise StoreError(f"rsync's listing has a line that is not understood: {line[:200]!r}")
        kind, size, path = match.groups()
        found[path] = Found(kind, int(re.sub("[,.]", "", size)))
    return found


def judged(place: str, status: int, lines: Sequence[str]) -> Judgement:
    """Take status 0 for success. Raises `StoreError` that says what any other means, with what rsync wrote.

    That is a `NoRootError` where the folder does not exist, and an `UnreachableError` where another try may help.
    """
    if status == 0:
        return Judgement()
    if status not in _STATUSES:
        raise failure("rsync", status, lines)
    said = [line for line in lines if line.strip() and not line.startswith(_NOISE)] or list(lines)
    text = " ".join(said)
    is_absent = any(map(_ABSENT.search, said))
    hint = _ABSENT_HINT if is_absent else next((hint for mark, hint in _HINTS if mark in text), "")
    more = [f"and {len(said) - _LINES_SHOWN} more lines"] if len(said) > _LINES_SHOWN else []
    shown = "".join(f"\n  {short_line(line)}" for line in [*said[:_LINES_SHOWN], *more])
    is_passing = status in _PASSING and hint in ("", _NOBODY_THERE)
    kind = NoRootError if is_absent else UnreachableError if is_passing else StoreError
    raise kind(f"{place}: {_STATUSES[status]} (rsync's status {status}){':' if shown else ''}{shown}", hint)
