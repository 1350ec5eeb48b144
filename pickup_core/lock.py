"""One run per job on a host at a time: a lock that the kernel frees, whatever ends its holder."""

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from pickup_core.errors import ConfigError, LockedError
from pickup_core.program import PROGRAM
from pickup_core.trust import private_folder

_LOOKS = 20
_LOOK_EVERY = 0.1
_LONGEST_LINE = 4096


@contextlib.contextmanager
def job_lock(state_folder: Path, job: str, started: datetime, wait: float = 0) -> Iterator[Callable[[str], None]]:
    """Hold the lock of a job while the `with` lasts; children do not inherit it. Gives a function to note down what its
    holder is doing.

    Waits up to `wait` seconds. Raises `LockedError` that says who holds it since when and what for, `ConfigError` where
    the lock file cannot be used.
    """
    path = private_folder(state_folder) / f"{job}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = (
            "this user needs a STATE_FOLDER, and a LOG_FOLDER, of its own: name them in the config, and chown -R them"
        )
        raise ConfigError(f"lock file {path} cannot be used: {error.strerror}", hint=hint) from None
    with open(descriptor, "rb"):
        limit = time.monotonic() + wait
        while not _acquired(descriptor, path):
            if time.monotonic() >= limit:
                what = f"another run of job {job} is at work: {_holder(descriptor)}"
                raise LockedError(what, hint=f"wait for its end, as {PROGRAM} run --wait 2h does")
            time.sleep(min(1.0, max(0.0, limit - time.monotonic())))

        def note(doing: str) -> None:
            line = f"process {os.getpid()}, started {started.isoformat(timespec='seconds')}, {doing}\n".encode()
            with contextlib.suppress(OSError):  # a full disk: the lock is held all the same
                os.pwrite(descriptor, line, 0)
                os.ftruncate(descriptor, len(line))

        note("beginning")
        yield note


def _holder(descriptor: int) -> str:
    """Say who holds the lock. A moment after it was taken the file still names the one before, or nobody."""
    for _ in range(_LOOKS):
        line = os.pread(descriptor, _LONGEST_LINE, 0).decode("utf-8", "replace").partition("\n")[0]
        found = re.match(r"process (\d+),", line)
        if found and _is_running(int(found[1])):
            return line
        time.sleep(_LOOK_EVERY)
    return line or "another process"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _acquired(descriptor: int, path: Path) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise ConfigError(
            f"lock file {path} cannot be locked: {error.strerror}", hint="put STATE_FOLDER on a local disk"
        ) from None
    return True
