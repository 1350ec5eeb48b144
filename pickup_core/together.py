"""Together: several calls at once, each in a thread of its own."""

import threading
from collections.abc import Callable, Mapping
from contextvars import ContextVar

at_work_on: ContextVar[str] = ContextVar("at_work_on", default="")
"""What the thread that asks is at work on; nothing in the main thread."""


def together(calls: Mapping[str, Callable[[], object]]) -> None:
    """Make all calls at once, each under the name of what it is at work on, and return when all have ended. A single
    one is made here.

    Raises the first exception that a call raised, once all have ended. Only the main thread hears a signal: the others
    end at their next `raise_if_stopped`.
    """
    if len(calls) == 1:
        next(iter(calls.values()))()
        return
    failures: list[BaseException] = []

    def work(name: str, call: Callable[[], object]) -> None:
        at_work_on.set(name)
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised below
            failures.append(error)

    threads = [threading.Thread(target=work, args=each, name=each[0]) for each in calls.items()]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        for thread in threads:
            if thread.ident is not None:  # a signal may come before all of them are started
                thread.join()
    if failures:
        raise failures[0]
