"""Shaping: what the keys `optional`, `retries` and `bandwidth` of a target's entry make of its store. No profile knows
of them.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

from pickup_core.artefact import Readable
from pickup_core.errors import AbsentError, NoRootError, PickupError, UnreachableError
from pickup_core.report import explained
from pickup_core.store import BLOCK, Item, Store, files_in, walk

_PASSING = (UnreachableError, ConnectionError, TimeoutError)
_LONGEST_PAUSE = 60
_CREDIT = 1.0  # seconds of silence that may be made up for

log = logging.getLogger("pickup.shaping")

Result = TypeVar("Result")


class Shaped(Store):
    """A store that tries again, so many times, what failed because the place could not be reached, and moves at most
    `bandwidth` KiB a second.

    What reads a stream of others is tried again only where that can be read from its beginning once more.

    Where it is `optional`, a place that is not there when it is opened or first listed is an `AbsentError`. Its root is
    not made: what lies where a disk is not mounted is none.
    """

    def __init__(
        self, store: Store, label: str, retries: int = 0, bandwidth: int | None = None, optional: bool = False
    ) -> None:
        super().__init__(store.config)
        self._store = store
        self._label = label
        self._retries = retries
        self._optional = optional
        self._is_met = False
        store.bandwidth = bandwidth
        self._pace = _Pace(bandwidth * 1024) if bandwidth and not store.keeps_bandwidth else None
        self.takes_streams = store.takes_streams

    @property
    def place(self) -> str:
        return self._store.place

    def open(self) -> None:
        self._is_met = False
        self._meet(self._store.open)

    def close(self) -> None:
        self._store.close()

    def create_root(self) -> None:
        if not self._optional:
            self._again(self._store.create_root)

    def listdir(self, folder: str = "") -> list[Item]:
        found = self._meet(lambda: self._store.listdir(folder))
        self._is_met = True
        return found

    def delete(self, path: str) -> None:
        self._again(lambda: self._store.delete(path))

    def sha256(self, path: str) -> str:
        return self._again(lambda: self._store.sha256(path)) if self._pace is None else super().sha256(path)

    @contextlib.contextmanager
    def get(self, path: str) -> Iterator[Readable]:
        with contextlib.ExitStack() as stack:
            yield self._paced(self._again(lambda: stack.enter_context(self._store.get(path))))

    def put(self, path: str, stream: Readable) -> None:
        start = _start_of(stream)

        def anew() -> None:
            self._store.delete(path)
            stream.seek(start)  # type: ignore[attr-defined]

        if start is None:
            self._store.put(path, self._paced(stream))
        else:
            self._again(lambda: self._store.put(path, self._paced(stream)), anew)

    def commit(self, path: str, data: bytes) -> None:
        self._again(lambda: self._store.commit(path, data), lambda: self._store.delete(path))

    def put_folder(self, folder: Path, path: str) -> None:
        """Store the files of a folder: in one call where the place can do that, and else, or once that broke off, those
        that are not whole there one by one.
        """
        whole: Collection[str] = ()
        if self._pace is None and type(self._store).put_folder is not Store.put_folder:
            try:
                self._store.put_folder(folder, path)
                return
            except _PASSING as error:
                if not self._retries:
                    raise
                log.info("%s: %s; it goes on with what is missing there", self._label, _sentence(error))
            whole = self._again(lambda: self._whole(folder, path))
        for name, file in files_in(folder):
            if name not in whole:
                with file.open("rb") as stream:
                    self.put(f"{path}/{name}", stream)

    def _whole(self, folder: Path, path: str) -> list[str]:
        """Give the local files that are there with their size, and delete what is there of the others."""
        there, whole = dict(walk(self._store, path)), []
        for name, file in files_in(folder):
            if there.get(name) == file.stat().st_size:
                whole.append(name)
            elif name in there:
                self._store.delete(f"{path}/{name}")
        return whole

    def _meet(self, call: Callable[[], Result]) -> Result:
        """Give what the first call to a place gives: where that may be absent, nobody waits for it."""
        if not self._optional or self._is_met:
            return self._again(call)
        try:
            return call()
        except (NoRootError, UnreachableError) as error:
            note = "; the root of an optional target is yours to make" if isinstance(error, NoRootError) else ""
            raise AbsentError(f"{error.message}{note}") from error

    def _paced(self, stream: Readable) -> Readable:
        return stream if self._pace is None else _Paced(stream, self._pace)

    def _again(self, call: Callable[[], Result], prepare: Callable[[], object] = lambda: None) -> Result:
        """Give what a call gives. Where it fails because the place could not be reached, call again, after `prepare`.

        Raises the last failure.
        """
        try:
            return call()
        except _PASSING as error:
            if not self._retries:
                raise
            failures = [error]
        import tenacity  # only when something has failed: it takes its time to load

        def attempt() -> Result:
            if failures:
                raise failures.pop()  # the first one, which waits like any other
            prepare()
            return call()

        def tell(state: tenacity.RetryCallState) -> None:
            failure = state.outcome and state.outcome.exception()
            assert isinstance(failure, Exception)
            log.info("%s: %s; another try in %.0f s", self._label, _sentence(failure), state.upcoming_sleep)

        again = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._retries + 1),
            wait=tenacity.wait_exponential_jitter(initial=1, max=_LONGEST_PAUSE),
            retry=tenacity.retry_if_exception_type(_PASSING),
            before_sleep=tell,
            reraise=True,
        )
        return again(attempt)


class _Pace:
    """How fast bytes may go, over all streams of a store."""

    def __init__(self, bytes_a_second: float) -> None:
        self._rate = bytes_a_second
        self._due = 0.0

    def wait(self, size: int) -> None:
        """Note that so many bytes have gone, and wait until that is slow enough."""
        now = time.monotonic()
        self._due = max(self._due, now - _CREDIT) + size / self._rate
        if self._due > now:
            time.sleep(self._due - now)


class _Paced:
    """A stream that gives what another one gives, and no faster than it may."""

    def __init__(self, stream: Readable, pace: _Pace) -> None:
        self._stream = stream
        self._pace = pace

    def read(self, size: int = BLOCK) -> bytes:
        """Give some bytes, at most `size`; none at the end."""
        block = self._stream.read(BLOCK if size < 0 else min(size, BLOCK))
        self._pace.wait(len(block))
        return block

    def fileno(self) -> int:
        """Give the descriptor, where the stream is a file: a store may want to know how long it is."""
        return self._stream.fileno()  # type: ignore[attr-defined, no-any-return]


def _sentence(error: Exception) -> str:
    """Give what happened, without the hint, which is for those who have to do something."""
    return error.message if isinstance(error, PickupError) else explained(error)


def _start_of(stream: Readable) -> int | None:
    """Give where a stream is, if it can be read from there once more."""
    try:
        return stream.tell() if stream.seekable() else None  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None
