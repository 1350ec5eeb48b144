"""Python 2, as far as it takes to say that a config or a profile is written in it, and what Python 3 writes instead."""

import contextlib
import re
from pathlib import Path

_ENOUGH = 20
_SYNTAX = (
    (r"\bprint\b(?!\s*[(=.,)\]])\s*(?:>>\s*)?", "", "print is a function: print(...)"),
    (r"\bexec\b(?!\s*[(=.,)\]])\s*", "", "exec is a function: exec(...)"),
    (r"\bexcept\s+([^:]+?)\s*,\s*(\w+)\s*:", r"except \1 as \2:", "an exception is named by as: except ERROR as name:"),
    (r"\braise\s+([\w.]+)\s*,\s*(.+)$", r"raise \1(\2)", "an exception is called with its text: raise ERROR(...)"),
    (r"(?<!\d-)(?<![\w.])0+([0-7]+)[lL]?\b", r"0o\1", "an octal number begins with 0o: 0o755"),
    (r"(?<![\w.])(\d+)[lL]\b", r"\1", "a whole number has no L at its end"),
    (r"<>", "!=", "unequal is written !="),
    (r"`([^`]*)`", r"repr(\1)", "backticks are written repr(...)"),
    (r"\b[uU][rR](?=['\"])", "r", "a text begins with r or u, not with ur"),
)
"""What a line may hold that only Python 2 can read, what it then becomes, and how it is said."""

_NAMES: dict[type[Exception], dict[str, str]] = {
    NameError: {"basestring": "str", "execfile": "exec", "file": "open", "long": "int", "raw_input": "input",
                "reduce": "functools.reduce", "unichr": "chr", "unicode": "str", "xrange": "range"},
    ModuleNotFoundError: {"ConfigParser": "configparser", "StringIO": "io", "cPickle": "pickle",
                          "commands": "subprocess", "urllib2": "urllib.request", "urlparse": "urllib.parse"},
    AttributeError: {"has_key": "in", "iteritems": "items", "iterkeys": "keys", "itervalues": "values"},
}  # fmt: skip


def old_lines(source: str) -> dict[str, list[int]]:
    """Give what Python 3 writes in place of what only Python 2 can read, with the numbers of the lines, those of the
    first twenty places.

    There is nothing where that is not all that is wrong with it: a missing comma makes no Python 2.
    """
    lines, found = source.splitlines(), list[tuple[int, str]]()
    while len(found) < _ENOUGH:
        try:
            compile("\n".join(lines) + "\n", "config", "exec", dont_inherit=True)
            break
        except SyntaxError as error:
            place = _modernized(lines, error.lineno or 0)
        if place is None:
            return {}
        found.append(place)
    told: dict[str, list[int]] = {}
    for number, sentence in sorted(found):
        told.setdefault(sentence, []).append(number)
    return told


def _modernized(lines: list[str], number: int) -> tuple[int, str] | None:
    """Write one place of a line as Python 3 does, and give it; None where there is none."""
    for pattern, now, sentence in _SYNTAX if 0 < number <= len(lines) else ():
        changed = re.sub(pattern, now, lines[number - 1])
        if changed != lines[number - 1]:
            lines[number - 1] = changed
            return number, sentence
    return None


def is_old(error: BaseException) -> bool:
    """Tell whether a module cannot be read because it is written in Python 2."""
    if isinstance(error, SyntaxError) and error.filename:
        with contextlib.suppress(OSError, ValueError):
            return bool(old_lines(Path(error.filename).read_text(encoding="utf-8")))
    return False


def name_of_now(error: BaseException) -> str:
    """Give what Python 3 calls the name that it did not find, or nothing where that is no name of Python 2."""
    for kind, names in _NAMES.items():
        if isinstance(error, kind):
            return names.get(getattr(error, "name", None) or "", "")
    return ""
