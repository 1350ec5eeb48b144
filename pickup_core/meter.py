"""Meters: what is seen of each task, as a line that fits into a terminal."""

import unicodedata
from collections.abc import Sequence

from pickup_core.progress import Seen
from pickup_core.terminal import GREEN, coloured
from pickup_core.wording import duration, in_words, printable

_BAR = 20  # columns
_GAP = "  "
_CUT = "..."
_STEADY = 3.0  # seconds after which a rate says something about the time that is left

_Fact = tuple[str, str]  # what a column shows, and how, with its colour


def meters(seen: Sequence[Seen], columns: int, encoding: str, colours: bool) -> list[str]:
    """Give a line for each task, none of more than so many columns; the labels stand below each other.

    Where there is little room the bar, the rate and the time left go first, then the total, and then a long label loses
    its middle.
    """
    labels = [shown(each.label, encoding) for each in seen]
    facts = [_facts_that_fit(each, columns - min(_width(label), columns // 2)) for each, label in
             zip(seen, labels, strict=True)]  # fmt: skip
    taken = max((sum(len(_GAP) + len(text) for text, _ in each) for each in facts), default=0)
    room = min(max(map(_width, labels), default=0), max(0, columns - taken))
    lines = []
    for label, line in zip(labels, facts, strict=True):
        name = shortened(label, room)
        padding = " " * (room - _width(name)) if line else ""
        lines.append(_GAP.join([name + padding, *(look if colours else text for text, look in line)]).rstrip())
    return lines


def shown(label: str, encoding: str) -> str:
    """Give a label as a terminal of this encoding shows it, on one line; what it would obey is escaped."""
    text = printable(label).encode(encoding, "backslashreplace").decode(encoding)
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shortened(text: str, columns: int) -> str:
    """Give a text in so many columns at most: without its middle, where it has more."""
    if _width(text) <= columns:
        return text
    room = max(0, columns - len(_CUT))
    head = _beginning(text, (room + 1) // 2)
    tail = _beginning(text[::-1], room // 2)[::-1]
    return f"{head}{_CUT}{tail}"[: max(columns, 0)] if columns < len(_CUT) else f"{head}{_CUT}{tail}"


def _beginning(text: str, columns: int) -> str:
    end = 0
    while end < len(text) and _width(text[: end + 1]) <= columns:
        end += 1
    return text[:end]


def _width(text: str) -> int:
    """Give how many columns a text takes: two for a wide character, none for one that joins another."""
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _facts_that_fit(seen: Seen, columns: int) -> list[_Fact]:
    """Give as many facts of a task as fit into so many columns."""
    bar, sizes, size, share, rate, left = _facts(seen)
    for some in ([bar, sizes, share, rate, left], [sizes, share, rate, left], [sizes, share, left], [sizes, share],
                 [size, share], [share or size], []):  # fmt: skip
        facts = [fact for fact in some if fact is not None]
        if sum(len(_GAP) + len(text) for text, _ in facts) <= columns:
            return facts
    return []


def _facts(seen: Seen) -> tuple[_Fact | None, _Fact, _Fact, _Fact | None, _Fact | None, _Fact | None]:
    """Give a bar, how much has gone of how much, how much, the share of it, the rate, and the time left."""
    about = "~" if seen.is_estimate else ""
    elapsed = duration(seen.elapsed)
    if seen.done <= 0:  # how many have gone is not known, or it takes its time to begin
        total = [f"{about}{in_words(seen.total)}"] if seen.total else []
        return None, _plain(_GAP.join([*total, elapsed])), _plain(elapsed), None, None, None
    size, rate = in_words(seen.done), f"{in_words(int(seen.rate))}/s"
    if not seen.total:
        return None, _plain(size), _plain(size), None, _plain(rate), None
    part = min(max(seen.done / seen.total, 0.0), 1.0)
    is_steady = seen.elapsed >= _STEADY and seen.rate >= 1
    seconds = max(0, seen.total - seen.done) / seen.rate if is_steady else None
    left = None if seconds is None else _plain(f"{about}{duration(seconds)} left")
    share, full = f"{about}{int(part * 100)} %", "#" * int(part * _BAR)
    bar = (f"[{full:.<{_BAR}}]", f"[{coloured(full, GREEN)}{'.' * (_BAR - len(full))}]")
    sizes = _plain(f"{size} of {about}{in_words(seen.total)}")
    return bar, sizes, _plain(size), (share, coloured(share, GREEN)), _plain(rate), left


def _plain(text: str) -> _Fact:
    return text, text
