"""How something is measured: wall time, processor time, memory and bytes of commands that take turns."""

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_WATCH = """
import os, sys, time
start = time.monotonic()
null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=null)
_, status, usage = os.wait4(pid, 0)
print(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""  # a small process, for what starts another one lends it the memory that it has
PICKUP = [sys.executable, str(Path(__file__).resolve().parent.parent / "pickup.py")]


@dataclass(frozen=True)
class Figures:
    """What one command took: seconds by the clock and of processors, MiB of its largest process, bytes that it left."""

    wall: float
    cpu: float
    peak: float
    stored: int = 0


@dataclass(frozen=True)
class Contestant:
    """Something that does the work: a command, and what is done before it and after it without being measured. `stored`
    gives how many bytes it has left.
    """

    command: Sequence[str | Path]
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    stored: Callable[[], int] = lambda: 0
    env: Mapping[str, str] | None = None

    def run(self) -> Figures:
        """Do the work once. Ends the benchmark where the command fails: what is measured has to be the whole work."""
        self.before()
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _WATCH, *map(str, self.command)], env={**os.environ, **(self.env or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            sys.exit(f"{' '.join(map(str, self.command))} ended with status {done.returncode}")
        wall, cpu, peak = map(float, done.stdout.split())
        figures = Figures(wall, cpu, peak, self.stored())
        self.after()
        return figures


@dataclass(frozen=True)
class Goal:
    """That `ours` takes at most so many times the wall time of `than`."""

    ours: str
    than: str
    most: float


@dataclass(frozen=True)
class Contest:
    """One work, and all who do it, the first of them the one that the others are compared with."""

    name: str
    contestants: Mapping[str, Contestant]
    goals: Sequence[Goal] = ()

    def held(self, runs: int) -> dict[str, Figures]:
        """Let all take turns, once for practice and then so many times; give the medians of each."""
        found: dict[str, list[Figures]] = {name: [] for name in self.contestants}
        for _ in range(runs + 1):
            for name, contestant in self.contestants.items():
                found[name].append(contestant.run())
        return {name: _medians(figures[1:]) for name, figures in found.items()}


Part = Callable[[Path, float], Iterator[Contest]]
"""Gives the contests of one part, in a folder of its own, with corpora of so many times the usual size."""


def _medians(figures: Sequence[Figures]) -> Figures:
    return Figures(
        statistics.median(each.wall for each in figures),
        statistics.median(each.cpu for each in figures),
        max(each.peak for each in figures),
        figures[-1].stored,
    )


def size_of(folder: Path) -> int:
    """Give the bytes that files below a folder take; a hard link counts once."""
    found = {(status.st_dev, status.st_ino): status.st_size for path in folder.rglob("*")
             if path.is_file() and (status := path.lstat())}  # fmt: skip
    return sum(found.values())


@contextmanager
def umask(mask: int) -> Iterator[None]:
    """Have files made with another mask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
