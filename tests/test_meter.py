"""Meters: a line for each task that fits the terminal, whatever the names are, and tells what is known."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickup_core.meter import meters, shortened, shown
from pickup_core.progress import Seen
from tests.terminals import ESCAPES

MIB = 2**20


def seen(label: str = "folder/etc/etc.tar", done: int = 45 * MIB, total: int | None = 100 * MIB, about: bool = False,
         rate: float = 5 * MIB, elapsed: float = 9.0) -> Seen:  # fmt: skip
    return Seen(label, done, total, about, rate, elapsed)


def line(each: Seen, columns: int) -> str:
    return meters([each], columns, "utf-8", colours=False)[0]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (99, "folder/etc/etc.tar  [#########...........]  45.0 MiB of 100.0 MiB  45 %  5.0 MiB/s  11s left"),
        (79, "folder/etc/etc.tar  45.0 MiB of 100.0 MiB  45 %  5.0 MiB/s  11s left"),
        (60, "folder/etc/etc.tar  45.0 MiB of 100.0 MiB  45 %  11s left"),
        (50, "folder/etc/etc.tar  45.0 MiB of 100.0 MiB  45 %"),
        (39, "folder/etc/etc.tar  45.0 MiB  45 %"),
        (30, "folder/etc/etc.tar  45 %"),
        (20, "folder...c.tar  45 %"),
    ],
)
def test_where_there_is_less_room_less_is_told(columns: int, expected: str) -> None:
    assert line(seen(), columns) == expected


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        (seen(total=None), "folder/etc/etc.tar  45.0 MiB  5.0 MiB/s"),
        (seen(done=0), "folder/etc/etc.tar  100.0 MiB  9s"),
        (seen(done=0, total=None), "folder/etc/etc.tar  9s"),
        (seen(total=0, done=0), "folder/etc/etc.tar  9s"),
        (seen(about=True), "folder/etc/etc.tar  45.0 MiB of ~100.0 MiB  ~45 %  5.0 MiB/s  ~11s left"),
        (seen(rate=0.0), "folder/etc/etc.tar  45.0 MiB of 100.0 MiB  45 %  0 Bytes/s"),
        (seen(elapsed=1.0), "folder/etc/etc.tar  45.0 MiB of 100.0 MiB  45 %  5.0 MiB/s"),
        (seen(done=101 * MIB), "folder/etc/etc.tar  101.0 MiB of 100.0 MiB  100 %  5.0 MiB/s  0s left"),
        (seen(done=-1), "folder/etc/etc.tar  100.0 MiB  9s"),
    ],
)
def test_only_what_is_known_is_told(each: Seen, expected: str) -> None:
    assert line(each, 78) == expected


def test_the_labels_stand_below_each_other() -> None:
    lines = meters([seen("a"), seen("folder/bb", total=None)], 70, "utf-8", colours=False)
    assert [text.index("45.0 MiB") for text in lines] == [lines[1].index("45.0 MiB")] * 2


def test_colours_change_nothing_else() -> None:
    tasks = [seen(), seen("b", total=None), seen("c", about=True)]
    with_colours, without = meters(tasks, 99, "utf-8", colours=True), meters(tasks, 99, "utf-8", colours=False)
    assert [ESCAPES.sub("", text) for text in with_colours] == without != with_colours
    assert not ESCAPES.search("".join(without))


@pytest.mark.parametrize(
    ("label", "encoding", "expected"),
    [
        ("a\x1b[2Jb\tc\nd\x9b", "utf-8", r"a\x1b[2Jb\tc\nd\x9b"),
        ("caf\u00e9", "ascii", r"caf\xe9"),
        ("caf\u00e9", "utf-8", "caf\u00e9"),
        ("bad\udcff", "utf-8", r"bad\udcff"),
        ("right\u202eleft\u200b", "utf-8", r"right\u202eleft\u200b"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(label: str, encoding: str, expected: str) -> None:
    assert shown(label, encoding) == expected


def test_a_long_name_loses_its_middle() -> None:
    assert shortened("folder/var_www/site-a.tar", 40) == "folder/var_www/site-a.tar"
    assert shortened("folder/var_www/site-a.tar", 15) == "folder...-a.tar"
    assert shortened("\u5099\u4efd\u5099\u4efd\u5099\u4efd", 9) == "\u5099...\u4efd"
    assert shortened("e\u0301" * 9, 9) == "e\u0301" * 9, "an accent takes no column"
    assert [shortened("abcdef", columns) for columns in range(5)] == ["", ".", "..", "...", "a..."]


def width(text: str) -> int:
    """Count columns as https://www.unicode.org/reports/tr11/ has them, in another way than the code."""
    return sum(
        0 if unicodedata.category(char)[0] == "M" and unicodedata.category(char) != "Mc" else
        1 + (unicodedata.east_asian_width(char) in ("W", "F"))
        for char in text
    )  # fmt: skip


LABELS = st.text(st.sampled_from("abc/ .\u00e9\u5099e\u0301\U0001f600\x1b\t\n\x9b\udc80\u202e\u200b"), max_size=60)
SIZES = st.integers(0, 2**60)


@given(st.lists(st.builds(Seen, LABELS, SIZES, st.none() | SIZES, st.booleans(), st.floats(0, 1e15), st.floats(0, 1e7)),
                max_size=5), st.integers(1, 120), st.sampled_from(["utf-8", "ascii", "latin-1"]))  # fmt: skip
def test_no_line_is_wider_than_the_terminal(tasks: list[Seen], columns: int, encoding: str) -> None:
    lines = meters(tasks, columns, encoding, colours=False)
    assert len(lines) == len(tasks)
    for text in lines:
        assert width(text) <= columns
        assert re.fullmatch(r"[^\x00-\x1f\x7f-\x9f]*", text)
        text.encode(encoding)
