"""Child processes as streams: `output_of` reads from one, `text_of` reads all of a short one, `feed` writes to one.

No shell. A command reads /dev/null or the given bytes. Every exit status counts. What a child process is given and
how it is ended stands in `child`.
"""

import contextlib
import os
import re
import select
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from pickup_core.artefact import Judgement, Readable
from pickup_core.child import Child, Deadline, Terms, failure, require_program, uninterrupted
from pickup_core.errors import ProcessError
from pickup_core.store import BLOCK

__all__ = ["Output", "Terms", "failure", "feed", "output_of", "require_program", "text_of"]

_LONGEST_END = 4096
_FEW = 8  # reads in a row that gave little: the next ones wait, for reading a little at a time takes a processor
_LET_FILL = 0.001  # seconds, in which a pipe of 1 MiB does not get full

Command = Sequence[str | Path]
Judge = Callable[[int, Sequence[str]], Judgement]


def output_of(
    *commands: Command,
    judge: Judge | None = None,
    success_codes: Collection[int] = (0,),
    allow_empty: bool = False,
    end: re.Pattern[bytes] | None = None,
    terms: Terms | None = None,
) -> "Output":
    """Give the output of a command, or of several in a pipe, as a source. Nothing starts before its `with` is entered.

    Leaving the `with` raises `ProcessError` where the first command does not end with one of `success_codes`, any
    other not with 0, where nothing was written (but for `allow_empty`), or where `end`, by which a whole dump is known,
    is not found in the last 4096 bytes. `judge`, called with the first command's status and its lines of standard
    error, decides in place of that status: it gives a `Judgement` or raises.
    """
    words = [[os.fspath(word) for word in command] for command in commands]
    judge = judge or _judge_by_status(words[0][0], success_codes)
    return Output(words, judge, allow_empty, end, terms or Terms())


def text_of(command: Command, terms: Terms | None = None) -> str:
    """Give all that a command prints, as text, which may be nothing. Raises `ProcessError` as `output_of` does."""
    with output_of(command, allow_empty=True, terms=terms) as stream:
        return b"".join(iter(stream.read, b"")).decode("utf-8", "replace")


def feed(command: Command, stream: Readable, judge: Judge | None = None, terms: Terms | None = None) -> Judgement:
    """Let a command read the stream to its end, and judge it as `output_of` does; what it prints is thrown away."""
    terms = terms or Terms()
    words = [os.fspath(word) for word in command]
    with contextlib.ExitStack() as stack:
        with uninterrupted():
            child = Child(words, subprocess.PIPE, subprocess.DEVNULL, terms)
            stack.callback(child.end)
        deadline = Deadline(terms, child.name)
        os.set_blocking(child.stdin.fileno(), False)
        reads_on = True
        while reads_on and (block := stream.read(BLOCK)):
            reads_on = _hand_over(block, child, deadline)
        child.stdin.close()
        judgement = (judge or _judge_by_status(words[0], (0,)))(child.wait(deadline), child.lines)
        if not reads_on:
            raise ProcessError(f"{child.name} ended without an error, but did not read all that it was given")
        return judgement


def _hand_over(block: bytes, child: Child, deadline: Deadline) -> bool:
    """Write a block to a command's input. Gives False where the command reads no more."""
    view = memoryview(block)
    while view:
        deadline.wait(child.stdin, select.POLLOUT, f"{child.name} read nothing")
        try:
            view = view[os.write(child.stdin.fileno(), view) :]
        except BlockingIOError:
            continue
        except BrokenPipeError:
            return False
    return True


class Output:
    """The source that `output_of` gives: what the last of its commands writes."""

    def __init__(
        self,
        commands: Sequence[Sequence[str]],
        judge: Judge,
        allow_empty: bool,
        end: re.Pattern[bytes] | None,
        terms: Terms,
    ) -> None:
        self._commands = commands
        self._judge = judge
        self._allow_empty = allow_empty
        self._expected_end = end
        self._terms = terms
        self._children: list[Child] = []
        self._at_end = False
        self._last = b""
        self._small_reads = 0
        self.judgement = Judgement()
        self.succeeded = False
        """True once the `with` was left without an error."""

    def __enter__(self) -> "Output":
        try:
            stdin = _input_file(self._terms.stdin)
            for command in self._commands:
                with stdin, uninterrupted():
                    self._children.append(Child(command, stdin, subprocess.PIPE, self._terms))
                stdin = self._children[-1].stdout
        except BaseException:
            self._end()
            raise
        self._stream = stdin
        self._deadline = Deadline(self._terms, " | ".join(child.name for child in self._children))
        return self

    def read(self, size: int = -1) -> bytes:
        """Give up to `size` bytes, none at the end. Raises `ProcessError` where nothing comes for too long."""
        if self._at_end:
            return b""
        if self._small_reads > _FEW:
            time.sleep(_LET_FILL)
        self._deadline.wait(self._stream, select.POLLIN, f"{self._children[-1].name} wrote nothing")
        wanted = size if size > 0 else BLOCK
        data = os.read(self._stream.fileno(), wanted)
        self._at_end = not data
        self._small_reads = self._small_reads + 1 if len(data) < min(wanted, BLOCK) // 4 else 0
        self._last = (self._last + data[-_LONGEST_END:])[-_LONGEST_END:]
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
        if not self._last and not self._allow_empty:
            raise ProcessError(f"{self._children[-1].name} ended without an error, but wrote nothing")
        if self._expected_end and not self._expected_end.search(self._last):
            raise ProcessError(f"{self._children[-1].name} ended without an error, but its last lines are missing")

    def _end(self) -> None:
        for child in self._children:
            child.end()


def _judge_by_status(program: str, success_codes: Collection[int]) -> Judge:
    def judge(status: int, lines: Sequence[str]) -> Judgement:
        if status not in success_codes:
            raise failure(program, status, lines)
        return Judgement()

    return judge


def _input_file(content: bytes) -> IO[bytes]:
    """Give a file to read the content from: no pipe that somebody would have to fill, and no name on the disk."""
    if not content:
        return Path(os.devnull).open("rb")
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(content)
    file.seek(0)
    return file
