"""Room on a file system: how much is free, how much of that stays free, and how much a run will need."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_MARGIN = 1.2


@dataclass(frozen=True)
class Reserve:
    """How much of a file system stays free: the larger of a share of it and a number of bytes."""

    share: float
    size: int

    @classmethod
    def parse(cls, value: object) -> "Reserve":
        """Read `0`, a number of bytes, `"2 GiB"` or `"5%"`. Raises `ValueError`."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%|[KMGT]iB|B|)", str(value))
        if found is None or isinstance(value, bool) or (found[2] == "%" and float(found[1]) >= 100):
            raise ValueError('should be a number of bytes, a size like "2 GiB" or a share like "5%"')
        number = float(found[1])
        return cls(number / 100, 0) if found[2] == "%" else cls(0.0, int(number * _UNITS[found[2]]))

    def of(self, total: int) -> int:
        """Give the bytes that stay free on a file system of `total` bytes."""
        return max(int(total * self.share), self.size)


@dataclass(frozen=True)
class Room:
    """What is free on a file system, and what of it stays free, in bytes."""

    free: int
    kept: int

    @property
    def writable(self) -> int:
        """How many bytes may be written; fewer than none where less is free than should be."""
        return self.free - self.kept


def room_in(folder: Path, reserve: Reserve) -> Room:
    """Look at the file system that a folder is on, or will be on once it is made."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    status = os.statvfs(there)
    return Room(status.f_bavail * status.f_frsize, reserve.of(status.f_blocks * status.f_frsize))


def needed_room(last_sizes: Sequence[Mapping[str, int]]) -> int:
    """Estimate the bytes that a run takes: those of the last one, and a fifth more."""
    return int(_MARGIN * sum(sum(sizes.values()) for sizes in last_sizes))
