"""Pace: how fast bytes may go, and that they, and whoever waits for them, stop with the run."""

import threading
import time

from pickup_core.artefact import Readable
from pickup_core.errors import StoreError, raise_if_stopped
from pickup_core.store import BLOCK

_CREDIT = 1.0  # seconds of silence that may be made up for
_NAP = 0.5  # seconds after which a pause looks up whether a signal came


class Pace:
    """How fast bytes may go, over all streams of a store."""

    def __init__(self, bytes_a_second: float) -> None:
        self._rate = bytes_a_second
        self._due = 0.0
        self._lock = threading.Lock()

    def wait(self, size: int) -> None:
        """Note that so many bytes have gone, and wait until that is slow enough."""
        with self._lock:
            now = time.monotonic()
            self._due = max(self._due, now - _CREDIT) + size / self._rate
            seconds = self._due - now
        pause(seconds)


def pause(seconds: float) -> None:
    """Wait, but not longer than until the run is stopped."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        raise_if_stopped()
        time.sleep(min(left, _NAP))


class Paced:
    """A stream that gives what another one gives, no faster than it may, and ends with the run."""

    def __init__(self, stream: Readable, pace: Pace | None, is_over: threading.Event) -> None:
        self._stream = stream
        self._pace = pace
        self._is_over = is_over

    def read(self, size: int = BLOCK) -> bytes:
        """Give some bytes, at most `size`; none at the end."""
        raise_if_stopped()
        if self._is_over.is_set():
            raise StoreError("another connection has failed")
        block = self._stream.read(BLOCK if size < 0 else min(size, BLOCK))
        if self._pace is not None:
            self._pace.wait(len(block))
        return block

    def fileno(self) -> int:
        """Give the descriptor, where the stream is a file: a store may want to know how long it is."""
        return self._stream.fileno()  # type: ignore[attr-defined, no-any-return]
