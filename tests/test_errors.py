"""The exceptions, and the one exit code that follows from several."""

import inspect
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickup_core import errors
from pickup_core.errors import ConfigError, Ended, ExitCode, NoTargetLeft, PickupError, Stopped, worst

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, BaseException)]


def test_exit_codes_are_those_of_the_manual() -> None:
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([], 0),
        ([0, 1], 1),
        ([1, 2], 2),
        ([2, 6, 1], 6),
        ([6, 5], 5),
        ([5, 143, 6], 143),
        ([130, 143], 143),
        ([4], 4),
        ([0, 3, 2], 3),
    ],
)
def test_the_worst_of_several_codes_wins(codes: list[int], expected: int) -> None:
    assert worst(codes) == expected


@given(st.lists(st.sampled_from([*ExitCode, 129, 130, 143])))
def test_no_failure_becomes_a_success(codes: list[int]) -> None:
    result = worst(codes)
    assert result in {*codes, 0}
    assert (result == 0) == (set(codes) <= {0})


def test_an_error_is_its_message_and_its_hint() -> None:
    assert str(PickupError("the disk is full")) == "the disk is full"
    assert str(PickupError("the disk is full", hint="make room")) == "the disk is full\nHint: make room"


def test_a_config_error_lists_every_problem() -> None:
    error = ConfigError("one", "two", hint="mend it")
    assert error.problems == ("one", "two")
    assert str(error) == "one\ntwo\nHint: mend it"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_tree_in_the_manual_shows_each_exception_with_its_code(kind: type[BaseException]) -> None:
    assert errors.__doc__ is not None
    line = next(line for line in errors.__doc__.splitlines() if kind.__name__ in line)
    if issubclass(kind, PickupError) and kind.exit_code != ExitCode.FAILED:
        assert line.endswith(f"; {kind.exit_code.value}")
    assert issubclass(kind, PickupError) or kind in (Stopped, Ended, NoTargetLeft)


def test_a_signal_passes_everything_that_catches_exceptions() -> None:
    stopped = Stopped(signal.SIGTERM)
    assert not isinstance(stopped, Exception)
    assert stopped.exit_code == 143
    assert str(stopped) == "stopped by SIGTERM"
