"""What is told of a run: a subject that says it all on a phone, and a text with what the report said."""

import logging
import re
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pickup_core.errors import ExitCode
from pickup_core.logs import Formatter
from pickup_core.report import Course
from pickup_core.wording import counted

Kind = Literal["failure", "warning", "success", "test"]
Occasion = Literal["failure", "warning", "success", "recovery", "test"]

_MOST_PROBLEMS = 20
_MOST_LINES = 200
_LONGEST_LINE = 1000
_LONGEST_PROBLEM = 8000
_LONGEST_SUBJECT = 120
_LONGEST_SUMMARY = 1500
_LONGEST_BODY = 10_000
_ROOM_FOR_LAST = 3000
_ENTRY = re.compile(r"(?:GENERATORS|TARGETS)\[\d+\] ('.*?') \(([\w.-]+)\)")


@dataclass(frozen=True)
class Notice:
    """What is told: its `summary` is short enough for a phone, its `body` for a heartbeat, at most 10 kB. The `message`
    is all that has to be known, below the subject.
    """

    kind: Kind
    occasions: frozenset[Occasion]
    subject: str
    summary: str
    body: str
    message: str


class Transcript(logging.Handler):
    """Keeps what a run says, as a terminal shows it: the first errors and warnings, and the last lines of all else."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(Formatter("%(message)s"))
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self.said: deque[str] = deque(maxlen=_MOST_LINES)
        self.more = 0

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno < logging.WARNING:
            self.said.append(_cut(text))
        else:
            self.add(text, self.errors if record.levelno >= logging.ERROR else self.warnings)

    def add(self, text: str, problems: list[str]) -> None:
        """Keep an error or a warning, unless there are many."""
        if len(problems) < _MOST_PROBLEMS:
            problems.append(_without_middle(text))
        else:
            self.more += 1

    @property
    def problems(self) -> list[str]:
        """Everything that is worth a look, each with its weight."""
        lines = [f"ERROR: {text}" for text in self.errors] + [f"WARNING: {text}" for text in self.warnings]
        return [*lines, f"and {self.more} more"] if self.more else lines


def notice_of(
    job: str, course: Course, code: int, has_recovered: bool, transcript: Transcript, aftermath: Sequence[str] = ()
) -> Notice:
    """Give what is told of a run that ended with this exit code; `has_recovered` where the last one had failed. Below
    its problems stand the lines of the `aftermath`.
    """
    kind: Kind = "success" if code == ExitCode.OK else "warning" if code == ExitCode.WARNINGS else "failure"
    occasions: set[Occasion] = {kind, "recovery"} if has_recovered else {kind}
    done = _done(course, kind, has_recovered)
    causes = transcript.errors or transcript.warnings
    cause = _ENTRY.sub(r"\2 \1", _beginning(causes[0])) if causes else ""
    subject = f"{job}: {done}" + (f": {cause}" if cause else "")
    head = [
        f"job {job} on {socket.gethostname()}, "
        + (f"backup {course.backup}" if course.backup else "no backup was begun"),
        f"{done}: exit code {code}, {_tally(transcript)}",
    ]
    text = "\n".join([*head, "", *transcript.problems] if transcript.problems else head)
    rest = "".join(f"\n{line}" for line in ("", *aftermath)) if aftermath else ""
    subject = _clean(_cut(" ".join(subject.split()), _LONGEST_SUBJECT))
    room = _LONGEST_SUMMARY - len(rest.encode("utf-8", "backslashreplace"))
    return Notice(
        kind=kind,
        occasions=frozenset(occasions),
        subject=subject,
        summary=_clean(_cut(_cut(text, max(room, _LONGEST_SUMMARY // 2)) + rest, _LONGEST_SUMMARY)),
        body=_clean(_with_last(text + rest, transcript.said)),
        message=_clean(f"{subject}\n\n{text}{rest}"),
    )


def _beginning(text: str) -> str:
    """Give the first line of a text, and where that leads over to the next one, that too."""
    first, _, rest = text.partition("\n")
    return f"{first} {rest.partition(chr(10))[0]}" if first.endswith(":") else first


def _done(course: Course, kind: Kind, has_recovered: bool) -> str:
    """Give in a few words what came of a run."""
    if kind != "failure":
        return f"backup {'works again' if has_recovered else 'stored'}{', with warnings' if kind == 'warning' else ''}"
    if not course.stored:
        return "backup failed"
    missing, stored = len(course.missing), len(course.stored)
    where = f" at {stored} of {stored + missing} targets" if missing else ""
    what = "partial backup stored" if course.failed else "backup stored"
    return f"{what}{where}" if course.failed or missing else f"{what}, with errors"


def trial_notice(job: str) -> Notice:
    """Give the message that shows whether messages arrive."""
    text = f"This is a test message from job {job} on {socket.gethostname()}. No backup was made."
    return Notice("test", frozenset({"test"}), f"{job}: test message of Pickup", text, text, text)


def _tally(transcript: Transcript) -> str:
    more = f", and {transcript.more} more" if transcript.more else ""
    return f"{counted(len(transcript.errors), 'error')}, {counted(len(transcript.warnings), 'warning')}{more}"


def _with_last(text: str, lines: deque[str]) -> str:
    """Give a text, and below it as many of the last lines as there is room for."""
    text = _cut(text, _LONGEST_BODY - _ROOM_FOR_LAST)
    room, fitting = _LONGEST_BODY - len(text.encode("utf-8", "backslashreplace")) - len("\n\n...\n"), deque[str]()
    for line in reversed(lines):
        room -= len(line.encode("utf-8", "backslashreplace")) + 1
        if room < 0:
            fitting.appendleft("...")
            break
        fitting.appendleft(line)
    return "\n".join([text, "", *fitting]) + "\n" if fitting else f"{text}\n"


def _cut(text: str, longest: int = _LONGEST_LINE) -> str:
    """Give a text of at most that many bytes; where it was longer it ends with three dots."""
    encoded = text.encode("utf-8", "backslashreplace")
    return text if len(encoded) <= longest else encoded[: longest - 3].decode("utf-8", "ignore") + "..."


def _without_middle(text: str) -> str:
    """Give a text that is not too long; the end of what a program said, and the hint, are worth as much as its
    beginning.
    """
    half = _LONGEST_PROBLEM // 2
    return text if len(text) <= _LONGEST_PROBLEM else f"{text[:half]}\n...\n{text[-half:]}"


def _clean(text: str) -> str:
    """Give a text that can be encoded: names of files may be no Unicode."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
