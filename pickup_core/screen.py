"""The screen: the last lines of a terminal, which show what is going on, while all else is written above them.

A thread of its own draws them. What is printed, by whomever, passes through here too, so that no line of it is torn.
The cursor is never hidden, and stays at the beginning of the line below: it is in its place whatever becomes of the
process.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TextIO

from pickup_core.child import uninterrupted
from pickup_core.meter import meters
from pickup_core.progress import Board, looking_on
from pickup_core.terminal import has_colours, obeys

_PERIOD = 0.2  # seconds
_YOUNG = 0.3  # seconds that a task takes before it is shown


class Screen(Board):
    """The lines at the end of what a terminal shows."""

    def __init__(self, terminal: TextIO) -> None:
        super().__init__()
        self._terminal = terminal
        self._has_colours = has_colours(terminal)
        self._lock = threading.RLock()  # what is written may lead to something more that is
        self._lines: Sequence[str] = ()
        self._drawn = 0
        self._hiding = 0
        self._is_within_line = False
        self._is_over = threading.Event()
        os.register_at_fork(after_in_child=self._leave_alone)

    def draw_on(self) -> None:
        """Draw, again and again, until the screen is closed."""
        while not self._is_over.wait(_PERIOD):
            lines = self._now()
            with self._lock:
                self._lines = lines
                self._draw()

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        with uninterrupted(), self._lock:
            self._hiding += 1
            self._draw()
        try:
            yield
        finally:
            with self._lock:
                self._hiding -= 1

    def close(self) -> None:
        """Remove the lines, for good."""
        self._is_over.set()
        with uninterrupted(), self._lock:
            self._hiding += 1
            self._draw()

    def suspend(self) -> None:
        """Suspend the process, as Ctrl-Z asks for, with the terminal free for the shell."""
        with self.aside():
            handler = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTSTP)
            signal.signal(signal.SIGTSTP, handler)

    def write_above(self, stream: TextIO, text: str) -> None:
        """Write a text to a stream that the terminal shows. A line that is not at its end is not drawn below of."""
        if not text:
            return
        with uninterrupted(), self._lock:
            self._is_within_line = True
            try:
                self._draw()
                stream.write(text)
                stream.flush()
            finally:
                self._is_within_line = not text.endswith("\n")
            self._draw()

    def _leave_alone(self) -> None:
        """Draw nothing in a process that was forked: its parent does. Somebody may have held the lock then."""
        self._lock = threading.RLock()
        self._hiding, self._drawn = 1, 0

    def _now(self) -> Sequence[str]:
        """Give the lines that show what is going on; none while the terminal is somebody else's."""
        now, size = time.monotonic(), os.terminal_size((80, 24))
        seen = [each.look(now) for each in list(self.tasks) if not each.is_covered]
        with contextlib.suppress(OSError):
            found = os.get_terminal_size(self._terminal.fileno())
            size = found if found.columns and found.lines else size
        seen = [each for each in seen if each.elapsed >= _YOUNG]
        most = max(1, size.lines - 2)
        lines = meters(seen[:most], size.columns - 1, self._terminal.encoding, self._has_colours)
        more = len(seen) - most
        return [*lines[:-1], f"and {more + 1} more"[: size.columns - 1]] if more > 0 else lines

    def _draw(self) -> None:
        """Put the lines in the place of those that are there."""
        is_ours = self._is_ours()
        lines = self._lines if is_ours and not self._hiding and not self._is_within_line else ()
        if not is_ours:  # and where those are, nobody knows
            self._drawn = 0
        text = f"\r\x1b[{self._drawn}A" if self._drawn else ""
        text += "".join(f"{line}\x1b[K\n" for line in lines) + ("\x1b[J" if self._drawn else "")
        if text:
            with contextlib.suppress(OSError, ValueError):  # a terminal that is gone, or was closed
                self._terminal.write(text)
                self._terminal.flush()
        self._drawn = len(lines)

    def _is_ours(self) -> bool:
        """Tell whether we are in the foreground of the terminal, and nobody types a command below."""
        try:
            return os.tcgetpgrp(self._terminal.fileno()) == os.getpgrp()
        except (OSError, ValueError):  # it is not that of our session
            return True


class _Above:
    """Stands in the place of a stream that the terminal shows."""

    def __init__(self, stream: TextIO, screen: Screen) -> None:
        self._stream = stream
        self._screen = screen

    def write(self, text: str) -> int:
        self._screen.write_above(self._stream, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _suspended_by(suspend: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-Z suspend the process in this way."""
    before = signal.getsignal(signal.SIGTSTP)
    if before is signal.SIG_DFL:
        signal.signal(signal.SIGTSTP, lambda number, frame: suspend())
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, before)


@contextlib.contextmanager
def on_screen(terminal: TextIO) -> Iterator[None]:
    """Show on a terminal what the `with` does, and leave nothing of it there. Standard output and error are written
    above that meanwhile.
    """
    screen = Screen(terminal)
    streams = sys.stdout, sys.stderr
    draws = threading.Thread(target=screen.draw_on, name="progress", daemon=True)
    try:
        sys.stdout, sys.stderr = (_Above(each, screen) if obeys(each) else each for each in streams)
        with uninterrupted():
            draws.start()
        with looking_on(screen), _suspended_by(screen.suspend):
            yield
    finally:
        screen.close()
        sys.stdout, sys.stderr = streams
