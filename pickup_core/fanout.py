"""The fan-out: the files of a backup go to several targets at once while they are made, and no copy of them is kept.

The run writes on one side, each target reads on the other, in a thread of its own. What is written waits in memory, for
each target a few MiB of it at most: the slowest sets the pace. One that stalls, or fails, drops out.
"""

import io
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pickup_core.errors import NoTargetLeft, PickupError, StoreError, raise_if_stopped
from pickup_core.manifest import Manifest
from pickup_core.store import BLOCK, Store

_AHEAD = 4 * 2**20  # bytes that wait for a target
_SMALL = 2**20  # bytes; a file of no more is sent once it is known as a whole
_NAP = 1.0  # seconds after which a wait looks up whether a signal came
_SILENCE = 30.0  # seconds after which a server may have taken leave


class WithdrawnError(PickupError):
    """The run gives up a file, or the whole backup: what has come of it is to be deleted."""


@dataclass(frozen=True)
class _File:
    """A file begins: its path in the backup, and all of its content where that is known already."""

    path: str
    content: bytes | None = None


@dataclass(frozen=True)
class _End:
    """A file ends: it is whole, or not wanted any more."""

    is_whole: bool


@dataclass(frozen=True)
class _Manifest:
    """The backup ends."""

    manifest: Manifest
    encoded: bytes


_Item = _File | _End | _Manifest | bytes


class Channel:
    """What is on its way to one target. `stall`: for how many seconds it may take nothing while more waits for it.

    One thread sends, one thread takes.
    """

    def __init__(self, stall: float) -> None:
        self._stall = stall
        self._items: deque[_Item] = deque()
        self._waiting = 0
        self._changed = threading.Condition()
        self._failure: PickupError | None = None
        self.is_open = True
        """False once the target takes no more, whatever the reason."""
        self.remains: list[str] = []
        """Sentences about files that were given up, and could not be deleted."""

    # The side of the run

    def send(self, item: _Item) -> None:
        """Hand something on; wait as long as too much is waiting. A target that has dropped out gets nothing."""
        size = _size_of(item)
        with self._changed:
            if not self._wait(lambda: not self._items or self._waiting + size <= _AHEAD, self._stall):
                self._end(StoreError(f"has taken nothing for {self._stall:g} seconds, and drops out",
                                     hint="see stall in the entry"))  # fmt: skip
            elif self.is_open:
                self._items.append(item)
                self._waiting += size
                self._changed.notify_all()

    def withdraw(self) -> None:
        """Give up the whole backup; the target finds out when it wants to take more."""
        with self._changed:
            self._end(WithdrawnError("the run has given up this backup"))

    # The side of the target

    def is_wanted(self) -> bool:
        """Wait until there is something to take; tell whether there is."""
        with self._changed:
            self._wait(lambda: bool(self._items))
            return self.is_open

    def put_files(self, store: Store, folder: str) -> tuple[Manifest, bytes]:
        """Put every file that comes into a folder of a store, and give the manifest that comes last, with its bytes.

        Raises what the store raises, `StoreError` where the target has stalled, and `WithdrawnError`.
        """
        while True:
            since = time.monotonic()
            item = self._take()
            if isinstance(item, _Manifest):
                return item.manifest, item.encoded
            assert isinstance(item, _File)
            if time.monotonic() - since > _SILENCE:
                _call_on(store)
            self._put(store, f"{folder}/{item.path}", item.content)

    def close(self) -> None:
        """Take no more."""
        with self._changed:
            self._end(None)

    def _put(self, store: Store, path: str, content: bytes | None) -> None:
        if content is not None:
            store.put(path, io.BytesIO(content))
            return
        stream = _Incoming(self._take)
        try:
            store.put(path, stream)
        except WithdrawnError:
            if not self.is_open:
                raise
            self._delete(store, path)
            return
        if not stream.is_at_end:
            raise StoreError(f"{path} was stored before all of it had come")

    def _delete(self, store: Store, path: str) -> None:
        """Delete a file that was given up, if there is one. Where that fails, the other files are not lost for it."""
        folder, _, name = path.rpartition("/")
        try:
            if name in {item.name for item in store.listdir(folder)}:
                store.delete(path)
        except (OSError, PickupError) as error:
            self.remains.append(f"{path} is left, of which the source has failed: it could not be deleted: {error}")

    def _take(self) -> _Item:
        with self._changed:
            self._wait(lambda: bool(self._items))
            if self._failure is not None:
                raise self._failure
            item = self._items.popleft()
            self._waiting -= _size_of(item)
            self._changed.notify_all()
            return item

    # Both sides

    def _end(self, failure: PickupError | None) -> None:
        if self.is_open:
            self.is_open, self._failure = False, failure
            self._items.clear()
            self._changed.notify_all()

    def _wait(self, is_so: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until something is so, or the channel is not open any more; tell whether that came in time."""
        end = math.inf if seconds is None else time.monotonic() + seconds
        while not self._changed.wait_for(lambda: not self.is_open or is_so(), min(end - time.monotonic(), _NAP)):
            raise_if_stopped()
            if time.monotonic() >= end:
                return False
        return True


class _Incoming:
    """One file, as a stream, out of what comes in a channel."""

    def __init__(self, take: Callable[[], _Item]) -> None:
        self._take = take
        self._rest = memoryview(b"")
        self.is_at_end = False

    def read(self, size: int = -1) -> bytes:
        """Give some bytes, at most `size`, and none at the end. Raises `WithdrawnError` where the file is given up."""
        if not self._rest and not self.is_at_end:
            item = self._take()
            if isinstance(item, bytes):
                self._rest = memoryview(item)
            else:
                assert isinstance(item, _End)
                if not item.is_whole:
                    raise WithdrawnError("the source of this file has failed")
                self.is_at_end = True
        size = BLOCK if size < 0 else size
        block, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return block


class Fanout:
    """The side of the run: what it writes goes to all channels that are open.

    Writing raises `NoTargetLeft` where there is none.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = channels

    @contextmanager
    def sink(self, path: str) -> Iterator["_Sink"]:
        """Give a new file of the backup to write to. It is whole after a clean exit of the `with`, and given up after
        any other. No target hears of it before it is whole, or larger than a MiB.
        """
        sink = _Sink(path, self.send)
        try:
            yield sink
        except Exception:
            if sink.is_begun:
                self.send(_End(is_whole=False))
            raise
        self.send(_End(is_whole=True) if sink.is_begun else _File(path, bytes(sink.held)))

    def write(self, path: str, data: bytes) -> None:
        """Add a small file."""
        self.send(_File(path, data))

    def finish(self, manifest: Manifest, encoded: bytes) -> None:
        """Say that these were all files."""
        self.send(_Manifest(manifest, encoded))

    def withdraw(self) -> None:
        """Give up the backup, at all targets that are not done with it."""
        for channel in self._channels:
            channel.withdraw()

    def send(self, item: _Item) -> None:
        for channel in self._channels:
            channel.send(item)
        if not any(channel.is_open for channel in self._channels):
            raise NoTargetLeft


class _Sink:
    """A file of the fan-out that is being written."""

    def __init__(self, path: str, send: Callable[[_Item], None]) -> None:
        self._path = path
        self._send = send
        self.held = bytearray()
        self.is_begun = False

    def write(self, data: bytes) -> int:
        """Write all of the bytes."""
        if self.is_begun:
            self._send(bytes(data))
        else:
            self.held += data
            if len(self.held) > _SMALL:
                self.is_begun = True
                self._send(_File(self._path))
                self._send(bytes(self.held))
                self.held.clear()
        return len(data)


def _size_of(item: _Item) -> int:
    """Give the bytes of content that an item brings."""
    content = item.content if isinstance(item, _File) else item
    return len(content) if isinstance(content, bytes) else 0


def _call_on(store: Store) -> None:
    """Have a connection that has been silent for long opened anew where its server has closed it: the next call would
    find out, and cannot be tried again. After an exception the next call opens a new one.
    """
    try:
        store.listdir()
    except (OSError, PickupError):
        return
