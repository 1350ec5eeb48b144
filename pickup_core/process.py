"""Child processes as streams: `output_of` reads from one, `feed` writes to one.

No shell. Each command gets a process group of its own (and no terminal, so it cannot ask for a password), /dev/null or
the given bytes as its input, and a cleaned environment. Its standard error is drained while it works. Every exit
status counts. A command that is no longer wanted gets SIGTERM, and its whole group SIGKILL after 10 seconds at most.
"""

import contextlib
import fcntl
import logging
import os
import select
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from pickup_core.artefact import Judgement, Readable
from pickup_core.errors import ProcessError
from pickup_core.secret import Secret, clean_environment, redact
from pickup_core.store import BLOCK

_PIPE_SIZE = 1024 * 1024
_GRACE = 10.0
_LINES_KEPT = 10_000
_LINES_SHOWN = 20
_LONGEST_LINE = 16_384

log = logging.getLogger("pickup.process")

Command = Sequence[str | Path]
Judge = Callable[[int, Sequence[str]], Judgement]


@dataclass(frozen=True)
class Terms:
    """Under what terms commands run.

    `stall`: how many seconds may go by without a byte while Pickup waits for one; `timeout`: how many seconds all of it
    may take, None for no such limit. `env` is added to the environment of these commands alone; None takes a variable
    away. `cwd`: the folder that they run in. `stdin`: what the first of them reads.
    """

    stall: float = 900
    timeout: float | None = None
    env: Mapping[str, str | Secret | None] | None = None
    cwd: Path | None = None
    stdin: bytes = b""


def require_program(program: str) -> str:
    """Give the path of a program. Raises `ProcessError` that names it and PATH where it cannot be run."""
    found = shutil.which(program)
    if found is None:
        where = "" if "/" in program else f" in PATH, which is {os.environ.get('PATH', 'not set')}"
        raise ProcessError(f"program {program} cannot be found{where}, or may not be executed", hint="install it")
    return found


def output_of(
    *commands: Command,
    judge: Judge | None = None,
    success_codes: Collection[int] = (0,),
    allow_empty: bool = False,
    terms: Terms | None = None,
) -> "Output":
    """Give the output of a command, or of several in a pipe, as a source. Nothing starts before its `with` is entered.

    Leaving the `with` raises `ProcessError` where the first command does not end with one of `success_codes`, any other
    not with 0, or where nothing was written (but for `allow_empty`). `judge`, called with the first command's status and
    its lines of standard error, decides in place of that status: it gives a `Judgement` or raises.
    """
    words = [[os.fspath(word) for word in command] for command in commands]
    judge = judge or _judge_by_status(words[0][0], success_codes)
    return Output(words, judge, allow_empty, terms or Terms())


def feed(command: Command, stream: Readable, judge: Judge | None = None, terms: Terms | None = None) -> Judgement:
    """Let a command read the stream to its end, and judge it as `output_of` does; its standard output is thrown away."""
    terms = terms or Terms()
    words = [os.fspath(word) for word in command]
    with contextlib.ExitStack() as stack:
        child = _Child(words, subprocess.PIPE, subprocess.DEVNULL, terms)
        stack.callback(child.end)
        deadline = _Deadline(terms)
        os.set_blocking(child.stdin.fileno(), False)
        with contextlib.suppress(BrokenPipeError):
            while block := stream.read(BLOCK):
                view = memoryview(block)
                while view:
                    deadline.wait(child.stdin, select.POLLOUT, f"{child.name} read nothing")
                    with contextlib.suppress(BlockingIOError):
                        view = view[os.write(child.stdin.fileno(), view) :]
        child.stdin.close()
        return (judge or _judge_by_status(words[0], (0,)))(child.wait(deadline), child.lines)


def failure(program: str, status: int, lines: Sequence[str]) -> ProcessError:
    """Give the error for a program that ended with this status, with the last lines of its standard error."""
    name = Path(program).name
    if status < 0:
        guess = " (out of memory?)" if status == -signal.SIGKILL else ""
        what = f"{name} was killed by signal {-status}{guess}"
    else:
        what = f"{name} ended with status {status}"
    shown = [redact(line) for line in list(lines)[-_LINES_SHOWN:]]
    if len(shown) == 1:
        return ProcessError(f"{what}: {shown[0]}")
    return ProcessError("\n  ".join([f"{what}:" if shown else what, *shown]))


class Output:
    """The source that `output_of` gives: what the last of its commands writes."""

    def __init__(self, commands: Sequence[Sequence[str]], judge: Judge, allow_empty: bool, terms: Terms) -> None:
        self._commands = commands
        self._judge = judge
        self._allow_empty = allow_empty
        self._terms = terms
        self._children: list[_Child] = []
        self._at_end = False
        self._size = 0
        self.judgement = Judgement()
        self.succeeded = False
        """True once the `with` was left without an error."""

    def __enter__(self) -> "Output":
        try:
            stdin = _input_file(self._terms.stdin)
            for command in self._commands:
                with stdin:
                    self._children.append(_Child(command, stdin, subprocess.PIPE, self._terms))
                stdin = self._children[-1].stdout
        except BaseException:
            self._end()
            raise
        self._stream = stdin
        self._deadline = _Deadline(self._terms)
        return self

    def read(self, size: int = -1) -> bytes:
        """Give up to `size` bytes, none at the end. Raises `ProcessError` where nothing comes for too long."""
        if self._at_end:
            return b""
        self._deadline.wait(self._stream, select.POLLIN, f"{self._children[-1].name} wrote nothing")
        data = os.read(self._stream.fileno(), size if size > 0 else BLOCK)
        self._at_end = not data
        self._size += len(data)
        return data

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
                self.succeeded = True
        finally:
            self._end()

    def _finish(self) -> None:
        first, *others = self._children
        if not self._at_end:
            raise ProcessError(f"the output of {self._children[-1].name} was not read to its end")
        statuses = [child.wait(self._deadline) for child in self._children]
        for child, status in reversed(list(zip(others, statuses[1:], strict=True))):
            if status != 0:
                raise failure(child.name, status, child.lines)
        self.judgement = self._judge(statuses[0], first.lines)
        if self._size == 0 and not self._allow_empty:
            raise ProcessError(f"{self._children[-1].name} ended without an error, but wrote nothing")

    def _end(self) -> None:
        for child in self._children:
            child.end()


class _Deadline:
    """How long the next wait may last: the stall limit, and what is left of the time limit."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._start = time.monotonic()

    def next_wait(self) -> float:
        """Give seconds. Raises `ProcessError` where the time limit is reached."""
        if self._terms.timeout is None:
            return self._terms.stall
        left = self._start + self._terms.timeout - time.monotonic()
        if left <= 0:
            raise ProcessError(f"stopped after {self._terms.timeout:g} seconds, its time limit")
        return min(self._terms.stall, left)

    def wait(self, file: IO[bytes], event: int, what: str) -> None:
        """Wait until the file is ready. Raises `ProcessError` where it is not within the limits."""
        poll = select.poll()
        poll.register(file, event)
        if not poll.poll(self.next_wait() * 1000):
            self.next_wait()
            raise ProcessError(f"{what} for {self._terms.stall:g} seconds and was stopped")


class _Child:
    """One started command, the leader of its own process group."""

    def __init__(self, command: Sequence[str], stdin: int | IO[bytes], stdout: int, terms: Terms) -> None:
        self.name = Path(command[0]).name
        self.lines: deque[str] = deque(maxlen=_LINES_KEPT)
        log.debug("start: %s", " ".join(command))
        try:
            self._popen = subprocess.Popen(
                command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=terms.cwd,
                env=_environment(terms), start_new_session=True, bufsize=0,
            )  # fmt: skip
        except FileNotFoundError:
            if terms.cwd is not None and not terms.cwd.is_dir():
                raise ProcessError(f"folder {terms.cwd}, in which {self.name} should run, does not exist") from None
            require_program(command[0])
            raise
        except PermissionError as error:
            raise ProcessError(f"{command[0]} cannot be executed: {error.strerror}") from None
        self._drain = threading.Thread(target=self._collect, name=f"stderr of {self.name}", daemon=True)
        self._drain.start()
        if stdout == subprocess.PIPE:
            with contextlib.suppress(OSError, AttributeError):  # EPERM above the user's pipe quota
                fcntl.fcntl(self.stdout, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)

    @property
    def stdin(self) -> IO[bytes]:
        assert self._popen.stdin is not None
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._popen.stdout is not None
        return self._popen.stdout

    def wait(self, deadline: _Deadline) -> int:
        """Give the exit status, once the standard error was read to its end too."""
        try:
            status = self._popen.wait(deadline.next_wait())
        except subprocess.TimeoutExpired:
            raise ProcessError(f"{self.name} closed its output, but did not end") from None
        self._drain.join(1)
        return status

    def end(self) -> None:
        """Stop what still runs of the group, and let go of everything. Does nothing to a command that has ended."""
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if self._popen.returncode is None:
            self._kill_group()
        self._drain.join(1)
        if not self._drain.is_alive() and self._popen.stderr is not None:
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
        """Read standard error to its end, in a thread of its own; the last 10,000 lines are kept."""
        assert self._popen.stderr is not None
        with open(self._popen.stderr.fileno(), "rb", closefd=False) as stream:
            while line := stream.readline(_LONGEST_LINE):
                text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
                self.lines.append(text)
                log.debug("%s: %s", self.name, text)


def _judge_by_status(program: str, success_codes: Collection[int]) -> Judge:
    def judge(status: int, lines: Sequence[str]) -> Judgement:
        if status not in success_codes:
            raise failure(program, status, lines)
        return Judgement()

    return judge


def _environment(terms: Terms) -> dict[str, str]:
    environment = clean_environment()
    for name, value in (terms.env or {}).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value.reveal() if isinstance(value, Secret) else value
    return environment


def _input_file(content: bytes) -> IO[bytes]:
    """Give a file to read the content from: no pipe that somebody would have to fill, and no name on the disk."""
    if not content:
        return open(os.devnull, "rb")
    file = tempfile.TemporaryFile()
    file.write(content)
    file.seek(0)
    return file
