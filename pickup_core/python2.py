"""Python 2, as far as it takes to say that a config or a profile is written in it, and what Python 3 writes instead."""

import re
from collections.abc import Iterator

_SYNTAX = (
    (r"\bprint\b(?!\s*[(=.,)\]])\s*(?:>>\s*)?", "", "print is a function: print(...)"),
    (r"\bexec\b(?!\s*[(=.,)\]])\s*", "", "exec is a function: exec(...)"),
    (r"\bexcept\s+([^:]+?)\s*,\s*(\w+)\s*:", r"except \1 as \2:", "an exception is named by as: except ERROR as name:"),
    (r"\braise\s+([\w.]+)\s*,\s*(.+)$", r"raise \1(\2)", "an exception is called with its text: raise ERROR(...)"),
    (r"(?<![\w.])0+([0-7]+)[lL]?\b", r"0o\1", "an octal number begins with 0o: 0o755"),
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
    """Give what Python 3 writes in place of what only Python 2 can read, with the numbers of the lines.

    There is nothing where this is no Python 2, but wrong in both. What else is wrong with it is not told.
    """
    found: dict[str, list[int]] = {}
    for number, sentence in sorted(_found(source.splitlines())):
        found.setdefault(sentence, []).append(number)
    return found


def _found(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Give each such place, and write it as Python 3 does, so that the next one comes to light."""
    while True:
        try:
            compile("\n".join(lines) + "\n", "config", "exec", dont_inherit=True)
            return
        except SyntaxError as error:
            number = error.lineno or 0
            for pattern, now, sentence in _SYNTAX if 0 < number <= len(lines) else ():
                changed = re.sub(pattern, now, lines[number - 1])
                if changed != lines[number - 1]:
                    lines[number - 1] = changed
                    yield number, sentence
                    break
            else:
                return


def is_old(error: BaseException) -> bool:
    """Tell whether a module cannot be read because it is written in Python 2."""
    return isinstance(error, SyntaxError) and bool(old_lines((error.text or "").strip()))


def name_of_now(error: BaseException) -> str:
    """Give what Python 3 calls the name that it did not find, or nothing where that is no name of Python 2."""
    for kind, names in _NAMES.items():
        if isinstance(error, kind):
            return names.get(getattr(error, "name", None) or "", "")
    return ""
