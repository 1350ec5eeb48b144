"""How something is measured: wall time, processor time, memory and bytes of commands that take turns."""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_WATCH = """
import os, sys, time
start = time.monotonic()
null = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, file_actions=null)
_, status, usage = os.wait4(pid, 0)
print(time.monotonic() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""  # a small process, for what starts another one lends it the memory that it has
_SECONDS_TO_CLEAN_UP = 10
LIMIT = 600
"""What no command may take longer than, in seconds."""
SLOW = 30
"""Who takes longer than so many seconds takes one turn: practice would change little."""
PICKUP = [sys.executable, str(Path(__file__).resolve().parent.parent / "pickup.py")]


class Failed(Exception):
    """A contest cannot be held to its end. The message names it, who failed, and how."""


@dataclass(frozen=True)
class Figures:
    """What one command took: seconds by the clock and of processors, MiB of its largest process, bytes that it left,
    and, where they are counted, the listings that it asked a server for.
    """

    wall: float
    cpu: float
    peak: float
    stored: int = 0
    listings: int | None = None


@dataclass(frozen=True)
class Contestant:
    """Something that does the work: a command, and what is done before it and after it without being measured. `stored`
    gives how many bytes it has left, `listings` how many listings a server has seen.
    """

    command: Sequence[str | Path]
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    stored: Callable[[], int] = lambda: 0
    listings: Callable[[], int | None] = lambda: None
    env: Mapping[str, str] | None = None

    def run(self, limit: float = LIMIT) -> Figures:
        """Do the work once. What others have left in memory is on the disk before, so that nobody who syncs his own
        data pays for theirs.

        Raises `Failed` where the command fails, for what is measured has to be the whole work, or takes more than so
        many seconds: it is ended then, with all that it has started.
        """
        self.before()
        os.sync()
        with subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WATCH, *map(str, self.command)], env={**os.environ, **(self.env or {})},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, start_new_session=True,
        ) as process:  # fmt: skip
            try:
                said, _ = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                raise Failed(f"takes more than {limit:g} s: {self}") from None
            finally:
                _end(process)
        if process.returncode != 0:
            raise Failed(f"ended with status {process.returncode}: {self}")
        wall, cpu, peak = map(float, said.split())
        figures = Figures(wall, cpu, peak, self.stored(), self.listings())
        self.after()
        return figures

    def __str__(self) -> str:
        return " ".join(map(str, self.command))


@dataclass(frozen=True)
class Goal:
    """That `ours` takes at most so many times the wall time of `than`; without `than`, at most so many seconds, or
    `listings`.
    """

    ours: str
    most: float
    than: str = ""
    listings: bool = False

    def __str__(self) -> str:
        if self.than:
            return f"{self.ours}: at most {self.most:.2f} times {self.than}"
        return f"{self.ours}: at most {self.most:g} {'listing' if self.listings else 's'}"

    def figure(self, found: Mapping[str, Figures]) -> float | None:
        """Give what is to be at most `most`; None where one of the two was not measured."""
        if self.ours not in found or (self.than and self.than not in found):
            return None
        if self.listings:
            return found[self.ours].listings
        return found[self.ours].wall / (found[self.than].wall if self.than else 1)


@dataclass(frozen=True)
class Contest:
    """One work, and all who do it, the first of them the one that the others are compared with. `stored` says what the
    bytes are that are counted.
    """

    name: str
    contestants: Mapping[str, Contestant]
    goals: Sequence[Goal] = ()
    stored: str = "stored"

    def held(self, runs: int, limit: float) -> dict[str, Figures]:
        """Let all take turns, once for practice and then so many times; give the medians of each. Who is slow takes the
        first turn alone, and that one counts.

        Raises `Failed` where one of them does.
        """
        found: dict[str, list[Figures]] = {name: [] for name in self.contestants}
        for turn in range(runs + 1):
            for name, contestant in self.contestants.items():
                if turn and found[name][0].wall > SLOW:
                    continue
                try:
                    found[name].append(contestant.run(limit))
                except (Failed, OSError, subprocess.SubprocessError) as error:
                    raise Failed(f"{self.name}: {name}: {error}") from error
        return {name: _medians(figures[1:] or figures) for name, figures in found.items()}


Part = Callable[[Path, float], Generator[Contest, None, None]]
"""Gives the contests of one part, in a folder of its own, with corpora of so many times the usual size."""


def _medians(figures: Sequence[Figures]) -> Figures:
    return Figures(
        statistics.median(each.wall for each in figures),
        statistics.median(each.cpu for each in figures),
        max(each.peak for each in figures),
        figures[-1].stored,
        figures[-1].listings,
    )


def _end(process: subprocess.Popen[str]) -> None:
    """End a process that still runs, and its group: gently, for it may have something to clean up, then at once."""
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        limit = time.monotonic() + _SECONDS_TO_CLEAN_UP
        while time.monotonic() < limit:
            process.poll()  # else its group is never empty
            os.killpg(process.pid, 0)
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def shell(text: str) -> list[str]:
    """Give the command that lets a shell do this; one that fails within a pipeline counts too."""
    return ["bash", "-ec", f"set -o pipefail; {text}"]


def size_of(path: Path) -> int:
    """Give the bytes that a file, or the files below a folder take; a hard link counts once."""
    found = {(status.st_dev, status.st_ino): status.st_size for each in (path, *path.rglob("*"))
             if each.is_file() and (status := each.lstat())}  # fmt: skip
    return sum(found.values())


def private(path: Path, text: str) -> Path:
    """Write a file that its owner alone may read, as Pickup wants its config."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    """Have files made with another mask."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
