"""Terminals to run Pickup in: a real pty, and an emulator that tells what a person sees there."""

import errno
import fcntl
import os
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyte

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LONGEST = 60.0  # seconds


class Terminal:
    """A terminal in which a command runs; `raw` is all that came from it."""

    def __init__(self, columns: int, rows: int = 60) -> None:
        self.master, self.slave = os.openpty()
        self.raw = b""
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int = 60) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._screen.resize(rows, columns)

    @property
    def lines(self) -> list[str]:
        """What stands on it, without the empty lines at its end."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip("\n").split("\n")

    @property
    def cursor(self) -> tuple[int, int, bool]:
        """Row and column of the cursor, from 0, and whether it can be seen."""
        return self._screen.cursor.y, self._screen.cursor.x, not self._screen.cursor.hidden

    def feed(self, data: bytes) -> None:
        self.raw += data
        self._stream.feed(data)

    def type(self, data: bytes) -> None:
        """Let a person type something."""
        os.write(self.master, data)

    def read_until(self, is_so: Callable[[], bool]) -> None:
        """Read until something is so. Raises `AssertionError` where that takes too long, or nothing more comes."""
        end = time.monotonic() + _LONGEST
        while not is_so():
            assert time.monotonic() < end, self.lines
            assert self._read(), f"it has ended: {self.lines}"

    def read_to_end(self) -> None:
        """Read until nobody has the terminal open any more. Raises `AssertionError` where that takes too long."""
        end = time.monotonic() + _LONGEST
        while self._read():
            assert time.monotonic() < end, self.lines

    def _read(self) -> bool:
        """Read what comes in a moment; tell whether more may come."""
        waiting = select.poll()  # which has no limit of descriptors, as select has
        waiting.register(self.master, select.POLLIN)
        if waiting.poll(50):
            try:
                self.feed(os.read(self.master, 65_536))
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                return False
        return True

    def shows(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.lines)


@contextmanager
def running(
    *words: str | Path,
    columns: int = 80,
    rows: int = 60,
    env: Mapping[str, str] | None = None,
    script: str = 'exec "$@"',
) -> Iterator[tuple[Terminal, "subprocess.Popen[bytes]"]]:
    """Run a command in a terminal of its own, started by a line of shell."""
    terminal = Terminal(columns, rows)
    given = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TERM": "xterm", "LC_ALL": "C.UTF-8", **(env or {})}
    shell = ["sh", "-c", script, "sh", *map(str, words)]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), terminal.slave)
    heard = ["env", "--default-signal=INT"]  # the tests may run in the background, where a shell lets it be ignored
    process = subprocess.Popen([*heard, "setsid", "--ctty", *shell], env=given, **streams)
    os.close(terminal.slave)
    try:
        yield terminal, process
    finally:
        process.kill()
        process.wait()
        os.close(terminal.master)


def ended(terminal: Terminal, process: "subprocess.Popen[bytes]") -> int:
    """Read to the end, and give the exit status."""
    terminal.read_to_end()
    return process.wait(timeout=_LONGEST)
