"""What all servers of the tests need: a free port, a folder that their own user can reach, a start and an end."""

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

_SECONDS = 60
_MEMORY = "/dev/shm"


def free_port() -> int:
    """Give a port of 127.0.0.1 that nobody listens on, and that no client's connection gets by chance meanwhile: those
    have the numbers that ip(7) calls local ports, from 32768 on.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def required(program: str, *folders: str) -> str:
    """Give the path of a server's program. Where it is missing the test fails: a server is never skipped."""
    found = shutil.which(program, path=":".join([*folders, os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))
    assert found, f"{program} is not installed; make test installs it"
    return found


def hashed(password: str) -> str:
    """Give a password as /etc/shadow has it."""
    command = ["openssl", "passwd", "-6", "-stdin"]
    return subprocess.run(command, input=password, capture_output=True, text=True, check=True).stdout.strip()


def not_for_this_user(reason: str) -> NoReturn:
    """Skip a test that this user cannot run. Under CI, where each has to run, it fails."""
    (pytest.fail if "CI" in os.environ else pytest.skip)(reason)


@contextlib.contextmanager
def server_folder(user: str | None = None, memory: int = 0) -> Iterator[Path]:
    """Give a temporary folder that belongs to the server's user, where the tests run as root. It lies in memory where
    so many bytes of it may be taken: a server that makes many small files is some times faster there.
    """
    has_memory = memory and os.path.isdir(_MEMORY) and shutil.disk_usage(_MEMORY).free > memory
    folder = Path(tempfile.mkdtemp(prefix="pickup-server-", dir=_MEMORY if has_memory else "/tmp"))
    try:
        if user and os.geteuid() == 0:
            shutil.chown(folder, user)
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def as_user(user: str | None) -> dict[str, object]:
    """Give the arguments with which `subprocess` starts a program as that user, where the tests run as root."""
    if user is None or os.geteuid() != 0:
        return {}
    found = pwd.getpwnam(user)
    return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    port: int,
    log: Path,
    user: str | None = None,
    end: signal.Signals = signal.SIGTERM,
    env: Mapping[str, str] | None = None,
) -> Iterator[int]:
    """Run a server until the `with` is left; gives its process id once it accepts connections on its port."""
    with log.open("ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", env=env, **as_user(user)
        )
    try:
        limit = time.monotonic() + _SECONDS
        while not _accepts(port):
            assert process.poll() is None, f"{command[0]} ended at once: {log.read_text(errors='replace')[-2000:]}"
            assert time.monotonic() < limit, f"{command[0]} does not answer: {log.read_text(errors='replace')[-2000:]}"
            time.sleep(0.02)
        yield process.pid
    finally:
        process.send_signal(end)
        try:
            process.wait(_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def processes_below(pid: int) -> list[int]:
    """Give the ids of a process's children, and of those below them."""
    found, more = [], [pid]
    while more:
        below = Path(f"/proc/{more[0]}/task/{more.pop(0)}/children")
        with contextlib.suppress(OSError):
            found += (ids := [int(word) for word in below.read_text().split()])
            more += ids
    return found


def kill(pid: int) -> None:
    """End a server at once, with all that it has started, as when the power fails there."""
    for each in (pid, *processes_below(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
