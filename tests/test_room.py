"""Room: what of a file system stays free, what may be written, and how much a run will need."""

import os
from pathlib import Path

import pytest

from pickup_core.room import Reserve, Room, needed_room, room_in


@pytest.mark.parametrize(
    ("text", "total", "kept"),
    [
        ("5%", 1000, 50),
        ("1 GiB", 10, 2**30),
        (0, 10**12, 0),
        ("512", 1, 512),
        ("1.5 MiB", 1, 1572864),
        ("0.5%", 1000, 5),
    ],
)
def test_a_reserve_is_a_share_or_a_size(text: object, total: int, kept: int) -> None:
    assert Reserve.parse(text).of(total) == kept


def test_of_a_share_and_a_size_the_larger_counts() -> None:
    reserve = Reserve(0.05, 2**30)
    assert reserve.of(2**30) == 2**30
    assert reserve.of(2**40) == int(0.05 * 2**40)


@pytest.mark.parametrize("text", ["", "5 %%", "100%", "-1", "1 GB", True, None, "many"])
def test_what_is_no_reserve_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="a size like"):
        Reserve.parse(text)


def test_what_is_free_less_the_reserve_may_be_written(tmp_path: Path) -> None:
    """Also for a folder that is yet to be made."""
    status = os.statvfs(tmp_path)
    room = room_in(tmp_path / "to" / "be" / "made", Reserve(0.5, 0))
    assert room.kept == int(status.f_blocks * status.f_frsize * 0.5)
    assert abs(room.free - status.f_bavail * status.f_frsize) < 2**30, "others write meanwhile"
    assert Room(free=100, kept=30).writable == 70
    assert Room(free=30, kept=100).writable == -70


def test_the_estimate_is_the_last_run_and_a_fifth_more() -> None:
    assert needed_room([{"a": 1000, "b": 500}, {}, {"c": 1}]) == 1801
    assert needed_room([]) == 0
