"""The report: one place that catches, and the exit code that follows from what happened."""

import logging
import signal

import pytest

from pickup_core import secret
from pickup_core.errors import ConfigError, DamageError, ExitCode, LockedError, PickupError, RefusedError, Stopped
from pickup_core.report import Outcome, Report, explained
from pickup_core.secret import Secret


def failed(error: BaseException) -> Report:
    report = Report()
    with report.attempt("GENERATORS[0] 'a' (command)"):
        raise error
    return report


def test_nothing_that_happened_is_all_well() -> None:
    report = Report()
    with report.attempt("somewhere") as outcome:
        pass
    assert outcome.is_ok
    assert report.exit_code == ExitCode.OK


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PickupError("x"), 2),
        (OSError(28, "No space left on device"), 2),
        (ValueError("of a profile"), 2),
        (MemoryError(), 2),
        (RecursionError(), 2),
        (ConfigError("within one entry"), 2),
        (DamageError("x"), 6),
        (RefusedError("x"), 6),
        (LockedError("x"), 4),
    ],
)
def test_an_error_fails_the_entry_and_not_the_run(error: Exception, code: int) -> None:
    """I11, K7."""
    assert failed(error).exit_code == code


@pytest.mark.parametrize("error", [KeyboardInterrupt(), Stopped(signal.SIGTERM), SystemExit(0), GeneratorExit()])
def test_what_ends_the_process_passes(error: BaseException) -> None:
    """K1."""
    with pytest.raises(type(error)):
        failed(error)


def test_the_message_names_the_entry_and_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    """I11."""
    failed(PickupError("the disk is full", hint="make room"))
    assert caplog.messages == ["GENERATORS[0] 'a' (command): the disk is full\nHint: make room"]
    assert caplog.records[0].levelno == logging.ERROR


def test_the_traceback_is_a_detail(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "pickup.report"):
        failed(ValueError("odd"))
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.DEBUG]


def test_an_outcome_collects_what_happened() -> None:
    report = Report()
    outcome = Outcome()
    with report.attempt("a", outcome) as same:
        assert same is outcome
        report.warn("a", "odd", outcome)
        raise PickupError("first")
    with report.attempt("a", outcome):
        raise PickupError("second")
    assert (outcome.failures, outcome.warnings, outcome.is_ok) == (["first", "second"], ["odd"], False)
    assert report.exit_code == ExitCode.FAILED


def test_a_signal_whose_exception_is_swallowed_or_exchanged_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """K1."""
    report, stopped = Report(), Stopped(signal.SIGTERM)

    def library() -> None:
        monkeypatch.setattr(Stopped, "heard", stopped)
        raise RuntimeError("an error of its own")

    with pytest.raises(Stopped), report.attempt("a"):
        library()
    with pytest.raises(Stopped), report.attempt("b"):
        pytest.fail("nothing more is attempted")
    assert report.exit_code == 0


def test_a_warning_is_exit_code_one(caplog: pytest.LogCaptureFixture) -> None:
    report = Report()
    outcome = Outcome()
    report.warn("TARGETS[0] 'disk' (folder)", "odd", outcome)
    assert report.exit_code == ExitCode.WARNINGS
    assert outcome.is_ok
    assert caplog.messages == ["TARGETS[0] 'disk' (folder): odd"]


def test_damage_is_exit_code_six(caplog: pytest.LogCaptureFixture) -> None:
    """I5."""
    report = Report()
    report.warn("x", "odd")
    report.damage("target disk", "web01/x is missing")
    assert report.exit_code == ExitCode.DAMAGE
    assert caplog.messages[-1] == "target disk: web01/x is missing"


def test_what_goes_into_the_manifest_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """I6, L5: it is stored at every target."""
    monkeypatch.setattr(secret, "_spellings", {})
    Secret("c4n4ry-9")
    report, outcome = Report(), Outcome()
    report.warn("x", "slow with c4n4ry-9", outcome)
    with report.attempt("x", outcome):
        raise ValueError("login c4n4ry-9")
    assert outcome.warnings == ["slow with ***"]
    assert outcome.failures == ["ValueError: login ***"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PickupError("x"), "x"),
        (PickupError("x", "y"), "x\nHint: y"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (
            ModuleNotFoundError("No module named 'psycopg2'", name="psycopg2"),
            "No module named 'psycopg2'\nHint: install the Python package that has the module 'psycopg2'",
        ),
        (OSError(2, "No such file or directory", "/a"), "No such file or directory: /a"),
        (OSError("odd"), "odd"),
        (KeyError("x"), "KeyError: 'x'"),
        (EOFError(), "EOFError"),
    ],
)
def test_an_exception_is_explained_to_people(error: Exception, sentence: str) -> None:
    assert explained(error) == sentence
