"""Hooks: called in their order, and the one that clears up always."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from pickup_core.catalogue import Catalogue
from pickup_core.errors import ExitCode, PickupError, ProcessError, Stopped
from pickup_core.hooks import hooked
from pickup_core.report import Report
from pickup_core.run import RunWish, run
from target_profiles.folder import Config as FolderConfig
from target_profiles.folder import Target
from tests.builders import LOCAL, config_text, loaded, problems_of
from tests.places import JOB


def raising(error: BaseException) -> Callable[[], NoReturn]:
    def raise_it() -> NoReturn:
        raise error

    return raise_it


def test_they_are_called_before_and_after() -> None:
    calls: list[str] = []
    with hooked(lambda: calls.append("before"), lambda: calls.append("after"), "here", Report()):
        calls.append("between")
    with hooked(None, None, "here", Report()):
        calls.append("alone")
    assert calls == ["before", "between", "after", "alone"]


@pytest.mark.parametrize("error", [ValueError("no such disk"), ProcessError("mount ended with 32"), SystemExit(0)])
def test_what_before_raises_names_it_and_after_is_called(error: BaseException) -> None:
    calls, report = list[str](), Report()
    with pytest.raises(PickupError, match=r"^before failed: (ValueError: no such|mount ended|it ends)") as caught:
        _enter(raising(error), lambda: calls.append("after"), report, calls)
    assert caught.value.__cause__ is error
    assert (calls, report.exit_code) == (["after"], 0)


def _enter(before: Callable[[], object], after: Callable[[], object], report: Report, calls: list[str]) -> None:
    with hooked(before, after, "here", report):
        calls.append("between")


@pytest.mark.parametrize("error", [ValueError("any"), KeyboardInterrupt(), Stopped(15)])
def test_after_is_called_whatever_happens(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """K1"""
    calls: list[str] = []
    if isinstance(error, Stopped):
        monkeypatch.setattr(Stopped, "heard", error)
    with pytest.raises(type(error)), hooked(None, lambda: calls.append("after"), "here", Report()):
        raising(error)()
    assert calls == ["after"]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), SystemExit(1)])
def test_after_that_fails_is_a_failure_and_costs_nothing_else(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    report = Report()
    with hooked(None, raising(error), "here", report):
        pass
    assert report.exit_code == ExitCode.FAILED
    assert [text for text in caplog.messages if text.startswith("here: after failed: ")]


# In a run


HEAD = (
    LOCAL
    + """
from pathlib import Path
HERE = Path(__file__).parent
def note(word):
    def write():
        with (HERE / "calls").open("a") as file:
            file.write(word + " ")
    return write
def fail():
    raise RuntimeError("no snapshot")
"""
)
ENTRY = 'dict(name="{0}", profile="command", config=dict(command="sh -c \'printf {0}\\\\  >> {1}/calls; echo\'"), {2})'


def ran(folder: Path, first: str = "", second: str = "", head: str = "", only: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run a config with the entries a and b, and give the exit code and what was called."""
    entries = ", ".join(ENTRY.format(name, folder, keys) for name, keys in (("a", first), ("b", second)))
    report = Report()
    run(loaded(folder, config_text(HEAD + head, f"[{entries}]")), RunWish(only=only), report)
    calls = folder / "calls"
    return report.exit_code, calls.read_text().strip() if calls.exists() else ""


def statuses(folder: Path) -> dict[str, str]:
    with Target(FolderConfig(path=folder / "backups")) as store:
        [backup] = Catalogue("there", store).backups(JOB)
        return {entry.name: entry.status for entry in backup.manifest.entries}


ALL = "\nBEFORE, AFTER = note('BEFORE'), note('AFTER')"
BOTH = "before=note('before'), after=note('after')"


def test_each_entry_has_its_own_and_the_run_has_its_own(tmp_path: Path) -> None:
    assert ran(tmp_path, BOTH, head=ALL) == (0, "BEFORE before a after b AFTER")
    assert statuses(tmp_path) == {"a": "ok", "b": "ok"}


def test_an_entry_that_is_not_asked_for_is_not_prepared(tmp_path: Path) -> None:
    assert ran(tmp_path, BOTH, head=ALL, only=("b",)) == (0, "BEFORE b AFTER")


def test_before_that_fails_fails_its_entry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert ran(tmp_path, "before=fail, after=note('after')", BOTH) == (2, "after before b after")
    assert statuses(tmp_path) == {"a": "failed", "b": "ok"}
    assert "GENERATORS[0] 'a' (command): before failed: RuntimeError: no snapshot" in caplog.messages


def test_before_that_fails_for_the_run_lets_nothing_be_backed_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert ran(tmp_path, BOTH, head="\nBEFORE, AFTER = fail, note('AFTER')") == (2, "AFTER")
    assert not (tmp_path / "backups").exists()
    assert f"job {JOB}: before failed: RuntimeError: no snapshot" in caplog.messages


def test_after_that_fails_leaves_a_backup_that_counts(tmp_path: Path) -> None:
    assert ran(tmp_path, "after=fail", head="\nAFTER = fail") == (2, "a b")
    assert statuses(tmp_path) == {"a": "ok", "b": "ok"}


def test_what_is_no_function_is_a_problem_of_the_config(tmp_path: Path) -> None:
    entry = '[dict(name="a", profile="command", config=dict(command="true"), before="systemctl stop")]'
    problems = problems_of(tmp_path, config_text("AFTER = 3", entry))
    assert len(problems) == 2
    assert problems[0].startswith("AFTER: should be callable, got 3")
    assert problems[1].startswith("GENERATORS[0] 'a' (command): before: should be callable, got 'systemctl stop'")


def test_they_are_noted_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "pickup")
    with hooked(lambda: None, lambda: None, "here", Report()):
        pass
    assert caplog.messages == ["here: calls before", "here: calls after"]
