"""Together: several calls at once, each in a thread of its own."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context

from pickup_core.child import uninterrupted

at_work_on: ContextVar[str] = ContextVar("at_work_on", default="")
"""What the thread that asks is at work on; nothing in the main thread."""


def together(calls: Mapping[str, Callable[[], object]]) -> None:
    """Make all calls at once, and return when all have ended. A single one is made here. Raises what `beside` does."""
    if len(calls) == 1:
        next(iter(calls.values()))()
        return
    with beside(calls):
        pass


@contextmanager
def beside(calls: Mapping[str, Callable[[], object]]) -> Iterator[None]:
    """Make all calls at once, each under the name of what it is at work on, while the `with` goes on. Leaving that
    waits until all have ended.

    Raises the first exception that a call raised, once all have ended. Only the main thread hears a signal: the others
    end at their next `raise_if_stopped`.
    """
    failures: list[BaseException] = []
    at_work: list[threading.Event] = []

    def work(name: str, call: Callable[[], object], ended: threading.Event) -> None:
        at_work_on.set(name)
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failures.append(error)
        finally:
            ended.set()

    try:
        with uninterrupted():
            for name, call in calls.items():
                ended = threading.Event()
                at_work_with = copy_context().run  # each knows what its caller does, as who looks on
                threading.Thread(target=at_work_with, args=(work, name, call, ended), name=name).start()
                at_work.append(ended)
        yield
        for ended in at_work:
            ended.wait()
    finally:  # `Thread.join` may not be called again after a signal: it would return at once
        for ended in at_work:
            ended.wait()
    if failures:
        raise failures[0]


def at_most(seconds: float, calls: Mapping[str, Callable[[], object]]) -> dict[str, BaseException]:
    """Make all calls at once, wait for them so long and no longer, and give what went wrong, by their names.

    What has not ended by then counts as gone wrong, and is left to itself: its thread ends with the process.
    """
    ended: queue.SimpleQueue[tuple[str, BaseException | None]] = queue.SimpleQueue()

    def work(name: str, call: Callable[[], object]) -> None:
        failure: BaseException | None = None
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is given back
            failure = error
        ended.put((name, failure))

    limit = time.monotonic() + seconds
    for name, call in calls.items():
        threading.Thread(target=work, args=(name, call), name=name, daemon=True).start()
    failures: dict[str, BaseException] = {}
    waiting = list(calls)
    while waiting:
        try:
            name, failure = ended.get(timeout=max(0.0, limit - time.monotonic()))
        except queue.Empty:
            return failures | {name: TimeoutError(f"has not ended within {seconds:g} seconds") for name in waiting}
        waiting.remove(name)
        if failure is not None:
            failures[name] = failure
    return failures
