"""Progress: who moves bytes says here what they are, and whoever looks on, as a terminal does, shows how it goes.

with showing("folder/etc/etc.tar", total):
    transfer(metered(stream), writer)

Where nobody looks on nothing is counted: `metered` gives the stream as it is.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from pickup_core.artefact import Readable

_WINDOW = 10.0  # seconds over which a rate is taken


@dataclass(frozen=True)
class Seen:
    """What is seen of a task at a moment. Sizes are in bytes, `rate` is in bytes a second, `elapsed` in seconds.

    `total` is None where it is not known, or was estimated and has turned out to be too small.
    """

    label: str
    done: int
    total: int | None
    is_estimate: bool
    rate: float
    elapsed: float


class Task:
    """Something that moves bytes, or takes its time. `total` is how many there are, where that is known, and where it
    `is_estimate` about how many.

    Any thread may move bytes. No lock is taken for that.
    """

    def __init__(self, label: str, total: int | None = None, is_estimate: bool = False) -> None:
        self.label = label
        self.is_covered = False
        """A task within this one is shown in its place."""
        self._total = total
        self._is_estimate = is_estimate
        self._begun = time.monotonic()
        self._moved: deque[int] = deque()
        self._done = 0
        self._counting = threading.Lock()
        self._samples = deque([(self._begun, 0)])
        self.move = self._moved.append
        """Count so many bytes more, or less."""

    @property
    def done(self) -> int:
        """How many bytes have gone."""
        with self._counting:
            while self._moved:
                self._done += self._moved.popleft()
            return self._done

    def look(self, now: float) -> Seen:
        """Give what is seen at a moment of the monotonic clock; the rate is that of the last seconds."""
        done, total = self.done, self._total
        self._samples.append((now, done))
        while self._samples[1][0] < now - _WINDOW:
            self._samples.popleft()
        since, before = self._samples[0]
        rate = max(0.0, (done - before) / (now - since)) if now > since else 0.0
        if total is not None and done > total and self._is_estimate:
            total = None
        return Seen(self.label, done, total, self._is_estimate, rate, now - self._begun)


class Board:
    """Who looks on: `tasks` are what is going on, in the order in which it began."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []

    def aside(self) -> contextlib.AbstractContextManager[None]:
        """Show nothing while the `with` goes on."""
        return contextlib.nullcontext()


_board: ContextVar[Board | None] = ContextVar("board", default=None)
_task: ContextVar[Task | None] = ContextVar("task", default=None)


@contextlib.contextmanager
def looking_on(board: Board) -> Iterator[None]:
    """Let a board look on at all that the `with` does, here and in the threads of `together`."""
    token = _board.set(board)
    try:
        yield
    finally:
        _board.reset(token)


@contextlib.contextmanager
def showing(label: str, total: int | None = None, is_estimate: bool = False) -> Iterator[None]:
    """Let what the `with` does be seen under this label: the bytes that are metered in it, and how long it takes.

    One within another is shown in its place.
    """
    board, outer = _board.get(), _task.get()
    if board is None:
        yield
        return
    task = Task(label, total, is_estimate)
    token = _task.set(task)
    board.tasks.append(task)
    try:
        if outer is not None:
            outer.is_covered = True
        yield
    finally:
        if outer is not None:
            outer.is_covered = False
        board.tasks.remove(task)
        _task.reset(token)


def metered(stream: Readable) -> Readable:
    """Give a stream of the same bytes; those that are read from it are counted, if anybody looks on."""
    task = _task.get()
    return stream if task is None else _Metered(stream, task)


def moved(count: int) -> None:
    """Count so many bytes more, or less, that went another way than through a stream, or did not arrive."""
    task = _task.get()
    if task is not None:
        task.move(count)


@contextlib.contextmanager
def moving(size: int) -> Iterator[None]:
    """Count so many bytes in the `with`: what is not metered meanwhile counts at its end. Where it fails nothing does.

    Only for a task whose bytes go one after another.
    """
    task = _task.get()
    if task is None:
        yield
        return
    before = task.done
    try:
        yield
    except BaseException:
        task.move(before - task.done)
        raise
    task.move(before + size - task.done)


def aside() -> contextlib.AbstractContextManager[None]:
    """Keep the terminal free for others while the `with` goes on."""
    board = _board.get()
    return contextlib.nullcontext() if board is None else board.aside()


class _Metered:
    """A stream whose bytes count for a task."""

    def __init__(self, stream: Readable, task: Task) -> None:
        self._stream = stream
        self._move = task.move

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self._move(len(block))
        return block

    def fileno(self) -> int:
        """Give the descriptor, where the stream is a file: a store may want to know how long it is."""
        return self._stream.fileno()  # type: ignore[attr-defined, no-any-return]
