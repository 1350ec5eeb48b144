"""Configs and profiles that are written in Python 2: told as such, line by line."""

import time
from pathlib import Path

import pytest

from pickup_core.old_spellings import PAGE
from pickup_core.python2 import old_lines
from tests.builders import refusal

PRINT = "print is a function: print(...)"
OCTAL = "an octal number begins with 0o: 0o755"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("print 'a'", PRINT),
        ("if 1: print 'a %s' % 3,", PRINT),
        ("print", None),
        ("print('a')", None),
        ("print 'a', (\n    3)", PRINT),
        ("print >>sys.stderr, 'a'", None),  # what Python 3 says of it when it is run is good enough
        ("exec 'a'", "exec is a function: exec(...)"),
        ("try: pass\nexcept OSError, e: pass", "an exception is named by as: except ERROR as name:"),
        ("try: pass\nexcept (OSError, ValueError), e: pass", "an exception is named by as: except ERROR as name:"),
        ("raise ValueError, 'a'", "an exception is called with its text: raise ERROR(...)"),
        ("os.umask(077)", OCTAL),
        ("os.umask(0077L)", OCTAL),
        ("a = 0", None),
        ("a = [0, 10, 0.07, 'x07']", None),
        ("a = 10L", "a whole number has no L at its end"),
        ("a = 1 <> 2", "unequal is written !="),
        ("a = `3`", "backticks are written repr(...)"),
        ("a = ur'x'", "a text begins with r or u, not with ur"),
        ("a = u'x'", None),
        ("x = = 1", None),
        ("a = 08", None),
        ("def f(:", None),
    ],
)
def test_a_line_of_python_2_is_told(line: str, sentence: str | None) -> None:
    number = len(line.splitlines()) if "except" in line else 1
    assert old_lines(f"# -*- coding: utf-8 -*-\n{line}\n") == ({sentence: [number + 1]} if sentence else {})


def test_all_lines_of_python_2_are_told_together() -> None:
    text = '"""print "this" 0755 is a text"""\nprint 1\nif 1 <> 0755:\n    print "a", 10L\n'
    assert old_lines(text) == {
        PRINT: [2, 4],
        OCTAL: [3],
        "unequal is written !=": [3],
        "a whole number has no L at its end": [4],
    }


@pytest.mark.parametrize("text", ["", "(", "print 1\n(", "if 1:\nprint 1"])
def test_what_is_wrong_in_other_ways_ends(text: str) -> None:
    assert set(old_lines(text)) <= {PRINT}


@pytest.mark.parametrize(
    "text",
    [
        'a = dict(filename="02-notes.txt") b = 1',
        'a = dict(at="03:15", b=[',
        "a = 1 b = 2  # since 2024-01-05, print it as `it` is",
        "since = 2026-01-07",
        'print "a"\na = dict("/srv/01" name=1)',
    ],
)
def test_a_slip_in_python_3_is_no_python_2(tmp_path: Path, text: str) -> None:
    """Also beside what looks like Python 2."""
    assert old_lines(text) == {}
    assert "Python 2" not in str(refusal(tmp_path, text))


def test_of_many_lines_the_first_are_told_at_once() -> None:
    """A config of thousands of lines holds nobody up."""
    begun = time.monotonic()
    assert old_lines("print 'a'\n" * 5000) == {PRINT: list(range(1, 21))}
    assert time.monotonic() - begun < 30


def test_a_config_in_python_2_is_told_as_such(tmp_path: Path) -> None:
    """F2."""
    error = refusal(tmp_path, "import os\nos.umask(077)\n" + "print 'hello'\n" * 7)
    assert set(error.problems) == {
        "config.py is written in Python 2, and this is Python 3, which reads no more of it",
        "config.py, line 4: " + OCTAL,
        "config.py, line 5, 6, 7, 8, 9 and 2 more: " + PRINT,
    }
    assert error.problems[0].startswith("config.py is written in Python 2")
    assert error.hint == f"mend {tmp_path}/config.py; {PAGE} shows more"


@pytest.mark.parametrize(
    ("head", "what"),
    [
        ("a = unicode('x')", "NameError: name 'unicode' is not defined, which is Python 2; Python 3 has str"),
        ("import ConfigParser", "ModuleNotFoundError: No module named 'ConfigParser', which is Python 2; Python 3 has"),
        ("a = {}.has_key(1)", "AttributeError: 'dict' object has no attribute 'has_key', which is Python 2; Python 3 has in"),
        ("a = unicorn('x')", "NameError: name 'unicorn' is not defined"),
    ],
)  # fmt: skip
def test_a_name_of_python_2_is_told_with_that_of_now(tmp_path: Path, head: str, what: str) -> None:
    """F2."""
    message = refusal(tmp_path, head).message
    assert message.startswith(f"config.py, line 3: {what}")
    assert ("Python 2" in message) == ("Python 2" in what)
