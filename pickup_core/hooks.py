"""Hooks: functions of the config that are called before and after a run, or an entry of it. They stop a service, take a
snapshot, mount a disk, and undo that.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from pickup_core.errors import PickupError
from pickup_core.progress import aside
from pickup_core.report import Report, explained

Hook = Callable[[], object]

log = logging.getLogger("pickup.hooks")


@contextmanager
def hooked(
    before: Hook | None,
    after: Hook | None,
    where: str,
    report: Report,
    at_hand: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Iterator[None]:
    """Call `before`, and `after` whatever happens: also where `before` has failed, and where a signal ends the run.
    `at_hand` lets each find what it imports.

    Raises `PickupError` where `before` fails, and then nothing is done in between. Where `after` fails, that is a
    failure at this place; what was done in between stays.
    """
    try:
        _call("before", before, where, at_hand)
        yield
    finally:
        with report.attempt(where, even_if_stopped=True):
            _call("after", after, where, at_hand)


def _call(name: str, hook: Hook | None, where: str, at_hand: Callable[[], AbstractContextManager[None]]) -> None:
    if hook is None:
        return
    log.debug("%s: calls %s", where, name)
    try:
        with at_hand(), aside():  # it may print, or start what does
            hook()
    except (Exception, SystemExit) as error:
        said = "it ends the process" if isinstance(error, SystemExit) else explained(error)
        raise PickupError(f"{name} failed: {said}") from error
