"""Wording: sizes, times and ages as people read them."""

import string
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from pickup_core.wording import age_of, counted, duration, in_words, local_time, names_in_words, one_line, short_line
from tests.builders import moment


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the clock on the wall be that of a time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 Bytes"),
        (1, "1 Byte"),
        (1023, "1023 Bytes"),
        (1536, "1.5 KiB"),
        (5 * 2**20, "5.0 MiB"),
        (2**41, "2.0 TiB"),
    ],
)
def test_a_size_is_told_in_the_units_that_tools_show(size: int, words: str) -> None:
    assert in_words(size) == words


@pytest.mark.parametrize(("count", "words"), [(0, "0 artefacts"), (1, "1 artefact"), (2, "2 artefacts")])
def test_one_thing_is_no_plural(count: int, words: str) -> None:
    assert counted(count, "artefact") == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, ""), (1, "a"), (5, "a, b, c, d, e"), (6, "a, b, c, d, e and 1 more"), (26, "a, b, c, d, e and 21 more")],
)
def test_of_many_names_five_are_told(count: int, words: str) -> None:
    assert names_in_words(string.ascii_lowercase[:count]) == words
    assert names_in_words(list(string.ascii_lowercase[:count]), between="; ") == words.replace(", ", "; ")


@pytest.mark.parametrize(
    ("zone", "shown"),
    [("UTC", "2026-07-01 22:30"), ("Asia/Tokyo", "2026-07-02 07:30"), ("America/New_York", "2026-07-01 18:30")],
    indirect=["zone"],
)
def test_a_moment_is_told_as_the_clock_on_the_wall_shows_it(zone: None, shown: str) -> None:
    assert local_time(moment("2026-07-01 22:30:59")) == shown


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=5), "5 seconds ago"),
        (timedelta(hours=26), "a day ago"),
        (timedelta(days=12), "12 days ago"),
        (timedelta(days=-3, minutes=-1), "3 days from now"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"], indirect=True)
def test_an_age_is_told_wherever_the_clock_stands(zone: None, ago: timedelta, words: str) -> None:
    """A backup of a clock that was wrong lies in the future."""
    assert age_of(datetime.now(timezone.utc) - ago) == words


@pytest.mark.parametrize(
    ("seconds", "two", "one"),
    [
        (-5, "0s", "0s"), (0.9, "0s", "0s"), (119, "119s", "119s"), (120, "2m", "2m"), (125, "2m 5s", "2m"),
        (7199, "119m 59s", "119m"), (7200, "2h", "2h"), (112_800, "31h 20m", "31h"), (26 * 3600, "26h", "26h"),
        (259_199, "71h 59m", "71h"), (259_200, "3d", "3d"), (3 * 86_400 + 3600 + 60, "3d 1h", "3d"),
        (8 * 86_400 + 59, "8d", "8d"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_its_largest_units(seconds: float, two: str, one: str) -> None:
    assert (duration(seconds), duration(seconds, parts=1)) == (two, one)


def test_what_a_server_says_is_one_short_line_that_does_no_harm() -> None:
    """L4, L5"""
    assert short_line("550 no\r\n \x1b[31m\x00\u202eroom\u2028 here ü\n") == "550 no [31m room here ü"
    assert short_line("x" * 10_000) == "x" * 300


def test_a_name_from_elsewhere_prints_no_line_of_its_own() -> None:
    """L4."""
    assert one_line("shop\nERROR: call 0800\r") == "shop\\nERROR: call 0800\\r"
