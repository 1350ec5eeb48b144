"""One child process: started, watched, and ended with all of its group.

It gets a process group of its own (and no terminal, so it cannot ask for a password) and a cleaned environment: as
another user, who may read it, the path, the language, the time zone and that user's names alone. Its standard error is
drained while it works, and its last lines are kept. When it is no longer wanted it gets SIGTERM, and its whole group
SIGKILL after 10 seconds at most.
"""

import contextlib
import contextvars
import fcntl
import logging
import os
import select
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pickup_core.errors import ProcessError, raise_if_stopped
from pickup_core.secret import Secret, clean_environment, redact
from pickup_core.system_user import SystemUser

_PIPE_SIZE = 1024 * 1024
_POLL = 100
_GRACE = 10.0
_LINES_KEPT = 10_000
_LINES_SHOWN = 20
_LONGEST_LINE = 16_384
_NAP = 1.0  # seconds after which a wait looks up whether a signal came
_PLAIN = ("PATH", "LANG", "LC_", "TZ")

log = logging.getLogger("pickup.process")


@dataclass(frozen=True)
class Terms:
    """Under what terms commands run.

    `stall`: how many seconds may go by without a byte while Pickup waits for one; `timeout`: how many seconds all of it
    may take, None for no such limit. `env` is added to the environment of these commands alone; None takes a variable
    away. `cwd`: the folder that they run in. `stdin`: what the first of them reads. `user`: the name or number of the
    system user that they run as, in that user's groups and home; only root can name another one.
    """

    stall: float = 900
    timeout: float | None = None
    env: Mapping[str, str | Secret | None] | None = None
    cwd: Path | None = None
    stdin: bytes = b""
    user: str | int | None = None


def require_program(program: str) -> str:
    """Give the path of a program. Raises `ProcessError` that names it and PATH where it cannot be run."""
    found = shutil.which(program)
    if found is None:
        where = "" if "/" in program else f" in PATH, which is {os.environ.get('PATH', 'not set')}"
        raise ProcessError(f"program {program} cannot be found{where}, or may not be executed", hint="install it")
    return found


def failure(program: str, status: int, lines: Sequence[str], hint: str = "") -> ProcessError:
    """Give the error for a program that ended with this status, with the last lines of its standard error."""
    name = Path(program).name
    if status < 0:
        guess = " (out of memory?)" if status == -signal.SIGKILL else ""
        what = f"{name} was killed by signal {-status}{guess}"
    else:
        what = f"{name} ended with status {status}"
    shown = [redact(line) for line in list(lines)[-_LINES_SHOWN:]]
    if len(shown) == 1:
        return ProcessError(f"{what}: {shown[0]}", hint)
    return ProcessError("\n  ".join([f"{what}:" if shown else what, *shown]), hint)


class Deadline:
    """How long the next wait may last: the stall limit, and what is left of the time limit. `name` is for messages."""

    def __init__(self, terms: Terms, name: str) -> None:
        self._terms = terms
        self._name = name
        self._start = time.monotonic()

    def next_wait(self) -> float:
        """Give seconds. Raises `ProcessError` where the time limit is reached."""
        if self._terms.timeout is None:
            return self._terms.stall
        left = self._start + self._terms.timeout - time.monotonic()
        if left <= 0:
            raise ProcessError(f"{self._name} was stopped after {self._terms.timeout:g} seconds, its time limit")
        return min(self._terms.stall, left)

    def wait(self, file: IO[bytes], event: int, what: str) -> None:
        """Wait until the file is ready, or the run is stopped. Raises `ProcessError` where it is not within limits."""
        poll, end = select.poll(), time.monotonic() + self.next_wait()
        poll.register(file, event)
        while not poll.poll(max(0, min(end - time.monotonic(), _NAP)) * 1000):
            raise_if_stopped()
            if time.monotonic() >= end:
                self.next_wait()
                raise ProcessError(f"{what} for {self._terms.stall:g} seconds and was stopped")


class Child:
    """One started command, the leader of its own process group."""

    def __init__(self, command: Sequence[str], stdin: int | IO[bytes], stdout: int, terms: Terms) -> None:
        self.name = Path(command[0]).name
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        user = self._other_user(terms)
        log.debug("start: %s", " ".join(command))
        try:
            self._popen = subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=_environment(terms, user),
                cwd=terms.cwd or (Path("/") if user else None), start_new_session=True, bufsize=0,
                user=user.uid if user else None, group=user.gid if user else None,
                extra_groups=user.groups if user else None,
            )  # fmt: skip
        except FileNotFoundError:
            if terms.cwd is not None and not terms.cwd.is_dir():
                raise ProcessError(f"folder {terms.cwd}, in which {self.name} should run, does not exist") from None
            if "/" not in command[0]:
                require_program(command[0])
            what = "there is no such file, or not the interpreter that its first line names"
            raise ProcessError(f"{command[0]} cannot be run: {what}") from None
        except OSError as error:
            if "/" not in command[0]:  # a folder of PATH that we may not look into ends here too
                require_program(command[0])
            whom = f" as user {terms.user}" if user else ""
            raise ProcessError(f"{command[0]} cannot be executed{whom}: {error.strerror}") from None
        self._ended = threading.Event()
        context = contextvars.copy_context()  # its messages say what that is about which it is at work on
        self._drain = threading.Thread(
            target=context.run, args=[self._collect], name=f"stderr of {self.name}", daemon=True
        )
        self._drain.start()
        if stdout == subprocess.PIPE:
            with contextlib.suppress(OSError, AttributeError):  # EPERM above the user's pipe quota
                fcntl.fcntl(self.stdout, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)

    def _other_user(self, terms: Terms) -> SystemUser | None:
        """Give the user to change to, None where the command runs as we do."""
        user = SystemUser.of(terms.user) if terms.user is not None else None
        if user is None or user.uid == os.geteuid():
            return None
        if os.geteuid() != 0:
            raise ProcessError(f"{self.name} cannot be run as user {terms.user}: only root can change the user")
        return user

    @property
    def stdin(self) -> IO[bytes]:
        assert self._popen.stdin is not None
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._popen.stdout is not None
        return self._popen.stdout

    def wait(self, deadline: Deadline) -> int:
        """Give the exit status, once all was read that the command wrote to its standard error."""
        limit = deadline.next_wait()
        try:
            status = self._popen.wait(limit)
        except subprocess.TimeoutExpired:
            deadline.next_wait()
            raise ProcessError(f"{self.name} did not end within {limit:g} seconds after its last byte") from None
        self._ended.set()
        self._drain.join()
        return status

    def end(self) -> None:
        """Stop what still runs of the group, and let go of everything. Does nothing to a command that has ended."""
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if self._popen.returncode is None:
            self._kill_group()
        self._ended.set()
        self._drain.join()
        if self._popen.stderr is not None:
            self._popen.stderr.close()

    def _kill_group(self) -> None:
        """Ask the group to end, then kill it. The leader is not reaped before, so that its number stays its own."""
        self._signal(signal.SIGTERM)
        limit = time.monotonic() + _GRACE
        while time.monotonic() < limit and not self._leader_ended():
            time.sleep(0.01)
        self._signal(signal.SIGKILL)
        try:
            self._popen.wait(_GRACE)
        except subprocess.TimeoutExpired:
            log.warning("%s (process %d) could not be ended and may still run", self.name, self._popen.pid)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # a program under sudo ends when its pipe closes
            os.killpg(self._popen.pid, number)

    def _leader_ended(self) -> bool:
        return os.waitid(os.P_PID, self._popen.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _collect(self) -> None:
        """Read standard error, in a thread of its own, until its end, or until the command has ended: something that it
        has left behind may keep it open. The last 10,000 lines are kept.
        """
        assert self._popen.stderr is not None
        poll, rest, is_over = select.poll(), b"", False
        poll.register(self._popen.stderr, select.POLLIN)
        while not is_over:
            has_ended = self._ended.is_set()
            is_ready = bool(poll.poll(0 if has_ended else _POLL))
            block = os.read(self._popen.stderr.fileno(), _PIPE_SIZE) if is_ready else b""
            is_over = has_ended or (is_ready and not block)  # one read empties the pipe
            *lines, rest = (rest + block).split(b"\n")
            if rest and (is_over or len(rest) > _LONGEST_LINE):
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._keep(line)

    def _keep(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, _LONGEST_LINE):
            text = line[start : start + _LONGEST_LINE].decode("utf-8", "backslashreplace").rstrip("\r")
            self.lines.append(text)
            log.debug("%s: %s", self.name, text)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hear a signal only when the `with` is left: a child that was started by then is known, and can be ended."""
    heard: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTSTP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    if threading.current_thread() is not threading.main_thread():  # where no signal is heard
        handlers = {}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}

    def note(number: int, frame: object) -> None:
        if number in heard and number != signal.SIGTSTP:  # who asks twice does not want to wait
            os._exit(128 + number)
        heard.append(number)

    for number in ours:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for late in heard:
            signal.raise_signal(late)


def _environment(terms: Terms, user: SystemUser | None) -> dict[str, str]:
    environment = clean_environment()
    if user is not None:
        plain = {name: value for name, value in environment.items() if name.startswith(_PLAIN)}
        environment = {**plain, **user.environment}
    for name, value in (terms.env or {}).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value.reveal() if isinstance(value, Secret) else value
    return environment
