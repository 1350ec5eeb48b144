"""The exceptions of Pickup and the exit codes that they lead to.

    PickupError                 something went wrong that a message can explain; exit code 2
    |-- UsageError              the command line cannot be carried out; 3
    |-- ConfigError             the config, or the safety of a file that it needs; 3
    |-- LockedError             another run of this job is at work; 4
    |-- ProcessError            a program that was started did not end well
    |-- StoreError              a target did not do what was asked of it
    |   |-- NoRootError         its root is absent
    |   |-- UnreachableError    it could not be reached, or the connection broke
    |   `-- AbsentError         it is optional, and not there
    |-- DamageError             what is stored is not what was stored; 6
    `-- RefusedError            restore refuses, because it would do harm; 6
    Stopped (BaseException)     a signal asked the run to end; 128 + its number
    Ended (BaseException)       it ended before its time, and why has been said
    NoTargetLeft (BaseException)  nobody takes what a run still makes

Every message names the entry or the file, says what is, and ends with a hint where there is one.
"""

import signal
from collections.abc import Iterable
from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What the command's exit status says. A signal N gives 128 + N."""

    OK = 0
    WARNINGS = 1
    FAILED = 2
    CONFIG = 3
    LOCKED = 4
    INTERNAL = 5
    DAMAGE = 6


_WORST_FIRST = (
    ExitCode.INTERNAL,
    ExitCode.DAMAGE,
    ExitCode.LOCKED,
    ExitCode.CONFIG,
    ExitCode.FAILED,
    ExitCode.WARNINGS,
)


def worst(codes: Iterable[int]) -> int:
    """Give the one exit code that stands for several: 128+N, 5, 6, 2, 1, 0, in this order; 3 and 4 end at once."""
    seen = set(codes)
    signals = [code for code in seen if code > 128]
    return max(signals) if signals else next((code for code in _WORST_FIRST if code in seen), ExitCode.OK)


class PickupError(Exception):
    """The root of all errors that Pickup explains; `hint` says what to do about it."""

    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message


class UsageError(PickupError):
    """The command line asks for something that there is not."""

    exit_code = ExitCode.CONFIG


class ConfigError(PickupError):
    """The config cannot be used; `problems` lists every reason that was found."""

    exit_code = ExitCode.CONFIG

    def __init__(self, *problems: str, hint: str = "") -> None:
        super().__init__("\n".join(problems), hint)
        self.problems = problems


class LockedError(PickupError):
    """Another run of the same job holds the lock."""

    exit_code = ExitCode.LOCKED


class ProcessError(PickupError):
    """A program could not be started, ended badly, wrote nothing, or stalled."""


class StoreError(PickupError):
    """A target could not be reached, or did not do what was asked of it."""


class NoRootError(StoreError):
    """The root of a target is absent: no run has made it yet, or a disk is not mounted."""


class UnreachableError(StoreError):
    """A target could not be reached, or the connection to it broke: it may pass, and another try may go well."""


class AbsentError(StoreError):
    """A target that is optional is not there, which is no failure."""


class DamageError(PickupError):
    """A stored file or manifest differs from what was written."""

    exit_code = ExitCode.DAMAGE


class RefusedError(PickupError):
    """Restore refuses, because going on could overwrite or write outside of the destination."""

    exit_code = ExitCode.DAMAGE


class Ended(BaseException):
    """What was to be done has ended before its time, and the reason has been said: only the exit code is left."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(f"ended with status {exit_code}")
        self.exit_code = exit_code


class Stopped(BaseException):
    """A signal asked the run to end. It passes every `except Exception` and ends only in the command line.

    `heard` is that of this process, once a signal came: a library may swallow it, or put another exception in its
    place.
    """

    heard: ClassVar["Stopped | None"] = None

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class NoTargetLeft(BaseException):
    """All targets have dropped out of a run that streams, so it need not go on. It passes every `except Exception`, and
    ends in the run.
    """


def raise_if_stopped() -> None:
    """Raise `Stopped` where a signal came before, whatever has become of its exception."""
    if Stopped.heard is not None:
        raise Stopped.heard
