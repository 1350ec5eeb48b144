"""Shaping: what the keys `optional`, `retries` and `bandwidth` of a target's entry make of its store, and over how many
connections it is served. No profile knows of it.
"""

import contextlib
import hashlib
import logging
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TypeVar

from pickup_core.artefact import Readable
from pickup_core.errors import AbsentError, NoRootError, PickupError, UnreachableError
from pickup_core.pace import Pace, Paced, pause
from pickup_core.progress import metered, moved, moving, showing
from pickup_core.report import explained
from pickup_core.store import BLOCK, Item, Store, files_in, walk
from pickup_core.together import together
from pickup_core.wording import in_words

_PASSING = (UnreachableError, ConnectionError, TimeoutError)
_LONGEST_PAUSE = 60
_LARGE = 4 * 2**20  # bytes: less than that is soon sent again

log = logging.getLogger("pickup.shaping")

Result = TypeVar("Result")


class Shaped(Store):
    """A store that tries again, so many times, what failed because the place could not be reached, and moves at most
    `bandwidth` KiB a second. An upload goes on with the files that are not there yet, and within a large file where the
    store can do that.

    What reads a stream of others is tried again only where that can be read from its beginning once more. Every stream
    ends where the run was stopped.

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
        self._is_over = threading.Event()  # shared by all connections: what failed at one of them ends the others
        store.bandwidth = bandwidth
        self._pace = Pace(bandwidth * 1024) if bandwidth and not store.keeps_bandwidth else None

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
            yield self._shaped(self._again(lambda: stack.enter_context(self._store.get(path))))

    def put(self, path: str, stream: Readable) -> None:
        self._put(self._store, path, stream)

    def commit(self, path: str, data: bytes) -> None:
        self._again(lambda: self._store.commit(path, data), lambda: self._store.delete(path))

    def put_folder(self, folder: Path, path: str, without: Collection[str] = ()) -> None:
        """Store the files of a folder: those in one call for which the place has a faster way, and the others one by
        one, over as many connections as the store may have.
        """
        there = set(without)

        def go_on() -> bool:
            before = len(there)
            there.update(self._whole(folder, path))
            return len(there) > before

        files = [each for each in files_in(folder) if each[0] not in there]
        if self._pace is None and self._store.bulk:
            sizes = {name: file.stat().st_size for name, file in files}
            alone = [(name, file) for name, file in files if sizes[name] > self._store.bulk]
            if len(alone) < len(files):
                without = {name for name, _ in alone}
                with moving(sum(size for name, size in sizes.items() if name not in without)):
                    self._again(lambda: self._store.put_folder(folder, path, there | without), go_on)
            files = alone
        self._put_one_by_one(files, path)

    def _put_one_by_one(self, files: list[tuple[str, Path]], path: str) -> None:
        """Store files, the largest first, over as many connections as there may be. The first failure ends all."""
        left = iter(sorted(files, key=lambda each: -each[1].stat().st_size))  # each takes the next one

        def work(store: Store) -> None:
            try:
                for name, file in left:
                    with file.open("rb") as stream:
                        self._put(store, f"{path}/{name}", stream)
            except BaseException:
                self._is_over.set()
                raise

        def work_anew() -> None:
            store = type(self._store)(self._store.config)
            store.bandwidth = self._store.bandwidth
            with contextlib.ExitStack() as stack:
                self._again(lambda: stack.enter_context(store))
                work(store)

        count = min(self._store.connections, len(files))
        others = {f"{self._label} over connection {number}": work_anew for number in range(2, count + 1)}
        try:
            together({self._label: lambda: work(self._store), **others})
        finally:
            self._is_over.clear()

    def _put(self, store: Store, path: str, stream: Readable) -> None:
        """Store a file over the connection of a store, and go on with it over a new one where that breaks."""
        start, write, reached = _start_of(stream), store.put, 0

        def go_on() -> bool:
            nonlocal write, reached
            assert start is not None
            moved(start - stream.tell())  # type: ignore[attr-defined]
            there = self._part(store, path, stream, start)
            write = store.append if there else store.put
            if not there:
                store.delete(path)
            stream.seek(start + there)  # type: ignore[attr-defined]
            moved(there)
            before, reached = reached, max(reached, there)
            return there > before

        if start is None:
            store.put(path, metered(self._shaped(stream)))
        else:
            self._again(lambda: write(path, metered(self._shaped(stream))), go_on)

    def _whole(self, folder: Path, path: str) -> list[str]:
        """Give the local files that are there with their size, and delete what is there of the others."""
        there, whole = dict(walk(self._store, path)), []
        for name, file in files_in(folder):
            if there.get(name) == file.stat().st_size:
                whole.append(name)
            elif name in there:
                self._store.delete(f"{path}/{name}")
        return whole

    def _part(self, store: Store, path: str, stream: Readable, start: int) -> int:
        """Give how many bytes of a file are there that need not be sent again. They are believed where they have the
        SHA-256 of what the stream has given, and only asked about where they are many.
        """
        folder, _, name = path.rpartition("/")
        try:
            size = {item.name: item.size for item in store.listdir(folder)}.get(name) or 0
            if size < _LARGE or not store.can_append():
                return 0
            stream.seek(start)  # type: ignore[attr-defined]
            with showing(f"comparing {path}", size):
                is_ours = _sha256(self._shaped(stream), size) == store.sha256(path)
        except _PASSING:
            raise
        except (OSError, PickupError) as error:  # an account that may not read, for one
            log.debug("%s: %s begins anew: %s", self._label, path, explained(error))
            return 0
        if is_ours:
            log.info("%s: %s goes on after %s", self._label, path, in_words(size))
        return size if is_ours else 0

    def _meet(self, call: Callable[[], Result]) -> Result:
        """Give what the first call to a place gives: where that may be absent, nobody waits for it."""
        if not self._optional or self._is_met:
            return self._again(call)
        try:
            return call()
        except (NoRootError, UnreachableError) as error:
            note = "; the root of an optional target is yours to make" if isinstance(error, NoRootError) else ""
            raise AbsentError(f"{error.message}{note}") from error

    def _shaped(self, stream: Readable) -> Readable:
        return Paced(stream, self._pace, self._is_over)

    def _again(self, call: Callable[[], Result], prepare: Callable[[], object] = lambda: None) -> Result:
        """Give what a call gives. Where it fails because the place could not be reached, call again, after `prepare`.
        Where that gives something true, something was achieved meanwhile, and the tries are counted anew.

        Raises the last failure.
        """
        try:
            return call()
        except _PASSING as error:
            if not self._retries:
                raise
            failures = [error]
        import tenacity  # only when something has failed: it takes its time to load

        left = self._retries

        def attempt() -> Result:
            nonlocal left
            if failures:
                raise failures.pop()  # the first one, which waits like any other
            if prepare():
                left = self._retries
            return call()

        def is_over(state: tenacity.RetryCallState) -> bool:
            nonlocal left
            left -= 1
            return left < 0

        def tell(state: tenacity.RetryCallState) -> None:
            failure = state.outcome and state.outcome.exception()
            assert isinstance(failure, Exception)
            log.info("%s: %s; another try in %.0f s", self._label, _sentence(failure), state.upcoming_sleep)

        again = tenacity.Retrying(
            stop=is_over,
            wait=tenacity.wait_exponential_jitter(initial=1, max=_LONGEST_PAUSE),
            retry=tenacity.retry_if_exception_type(_PASSING),
            sleep=pause,
            before_sleep=tell,
            reraise=True,
        )
        return again(attempt)


def _sha256(stream: Readable, size: int) -> str:
    """Give the digest of the next bytes of a stream, at most so many."""
    digest = hashlib.sha256()
    while size and (block := stream.read(min(size, BLOCK))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()


def _sentence(error: Exception) -> str:
    """Give what happened, without the hint, which is for those who have to do something."""
    return error.message if isinstance(error, PickupError) else explained(error)


def _start_of(stream: Readable) -> int | None:
    """Give where a stream is, if it can be read from there once more."""
    try:
        return stream.tell() if stream.seekable() else None  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None
