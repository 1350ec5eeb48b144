"""What happened, entry by entry: the one place that catches, and the exit code that follows from it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from pickup_core.errors import AbsentError, ExitCode, PickupError, raise_if_stopped, worst
from pickup_core.secret import redact

log = logging.getLogger("pickup.report")


@dataclass
class Outcome:
    """What came of one attempt: sentences about what failed, and about what is worth a look."""

    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    is_absent: bool = False
    """Something optional was not there."""

    @property
    def is_ok(self) -> bool:
        return not self.failures


@dataclass
class Course:
    """How far a run came: the name of its `backup`, once it has one; the labels of the entries that went well, and of
    those that failed; the targets that were `asked` to take it, and what became of it at each, `absent` being one that
    may be; and what prune deleted at each.
    """

    backup: str | None = None
    good: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    targets: dict[str, Literal["stored", "failed", "absent"]] = field(default_factory=dict)
    pruned: dict[str, list[str]] = field(default_factory=dict)

    @property
    def stored(self) -> list[str]:
        """The names of the targets that have the backup, in order."""
        return sorted(name for name, state in self.targets.items() if state == "stored")

    @property
    def missing(self) -> set[str]:
        """The names of the targets that should have the backup, and have not."""
        return {name for name in self.asked if self.targets.get(name) not in ("stored", "absent")}


class Report:
    """Collects outcomes. What fails is logged as an error, what is worth a look as a warning, both with their place.
    `course` is how far a run came.
    """

    def __init__(self) -> None:
        self._codes: set[int] = set()
        self.course = Course()

    @property
    def exit_code(self) -> int:
        return worst(self._codes)

    @contextmanager
    def attempt(
        self, where: str, outcome: Outcome | None = None, part: str = "", even_if_stopped: bool = False
    ) -> Iterator[Outcome]:
        """Let the `with` fail without ending the run: an exception in it becomes a failure of the outcome, which names
        the `part` of what was attempted, if there is one.

        An optional target that is not there is no failure. What ends the process, `KeyboardInterrupt` and `Stopped`,
        passes, and nothing more is attempted then, but for what has to be done `even_if_stopped`.
        """
        outcome = outcome or Outcome()
        if not even_if_stopped:
            raise_if_stopped()
        try:
            yield outcome
        except AbsentError as error:
            outcome.is_absent = True
            log.info("%s: is not there, as it may be: %s", where, error.message)
        except Exception as error:
            if not even_if_stopped:
                raise_if_stopped()
            log.debug("%s: %s", where, type(error).__name__, exc_info=True)
            sentence = f"{part}: {explained(error)}" if part else explained(error)
            self.fail(where, sentence, outcome, error.exit_code if isinstance(error, PickupError) else None)

    def fail(self, where: str, sentence: str, outcome: Outcome | None = None, code: int | None = None) -> None:
        """Note a failure."""
        if outcome:
            outcome.failures.append(redact(sentence))
        self._codes.add(ExitCode.FAILED if code in (None, ExitCode.CONFIG) else code)
        log.error("%s: %s", where, sentence)

    def warn(self, where: str, sentence: str, outcome: Outcome | None = None) -> None:
        """Note something that is worth a look."""
        if outcome:
            outcome.warnings.append(redact(sentence))
        self._codes.add(ExitCode.WARNINGS)
        log.warning("%s: %s", where, sentence)

    def damage(self, where: str, sentence: str) -> None:
        """Note that something stored is not what was stored."""
        self._codes.add(ExitCode.DAMAGE)
        log.error("%s: %s", where, sentence)


def explained(error: BaseException) -> str:
    """Give the sentence that explains an exception to a person."""
    if isinstance(error, PickupError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename is not None else error.strerror
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{error}\nHint: install the Python package that has the module {error.name!r}"
    if isinstance(error, OSError) and str(error):  # one of our own, in words
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
