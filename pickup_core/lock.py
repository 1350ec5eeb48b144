"""One run per job on a host at a time: a lock that the kernel frees, whatever ends its holder."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from pickup_core.errors import ConfigError, LockedError
from pickup_core.trust import private_folder


@contextlib.contextmanager
def job_lock(state_folder: Path, job: str, started: datetime, wait: float = 0) -> Iterator[None]:
    """Hold the lock of a job while the `with` lasts; children do not inherit it.

    Waits up to `wait` seconds. Raises `LockedError` that says who holds it since when, `ConfigError` where the lock
    file cannot be used.
    """
    path = private_folder(state_folder) / f"{job}.lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"lock file {path} cannot be used: {error.strerror}") from None
    with open(descriptor, "r+") as file:
        limit = time.monotonic() + wait
        while not _acquired(descriptor, path):
            if time.monotonic() >= limit:
                holder = file.read().strip() or "another process"
                raise LockedError(f"another run of job {job} is at work: {holder}", hint="--wait 2h waits for its end")
            time.sleep(min(1.0, max(0.0, limit - time.monotonic())))
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()}, started {started.isoformat(timespec='seconds')}\n")
        file.flush()
        yield


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
