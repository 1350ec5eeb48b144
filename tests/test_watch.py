"""The watch itself: it sees what it is there for, and nothing else."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pickup_core.secret import Secret
from tests.watch import watched


@pytest.fixture(autouse=True)
def _watched() -> None:
    """Nobody watches the watch."""


OPEN = {
    "os.open": "os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))",
    "open": "open(path, 'w').close()",
    "pathlib": "path.write_text('1')",
    "os.mkdir": "os.mkdir(path, 0o755)",
    "mkdir": "path.mkdir()",
}
PRIVATE = {
    "os.open": "os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))",
    "mkdir": "path.mkdir(mode=0o700)",
    "there": "open(there, 'w').close()",
}


def as_module(name: str, code: str, path: Path) -> None:
    """Run a line of code as if it stood in this module."""
    (path.parent / "there").touch(mode=0o644)
    names = {"__name__": name, "os": os, "path": path, "there": path.parent / "there"}
    exec(f"import subprocess\n{code}", names)


def seen(work: Callable[[], None]) -> str:
    """Give what the watch has to say."""
    try:
        with watched():
            work()
    except AssertionError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("code", OPEN.values(), ids=OPEN)
def test_what_pickup_leaves_open_to_others_is_seen(tmp_path: Path, code: str) -> None:
    said = seen(lambda: as_module("target_profiles.odd", code, tmp_path / "new"))
    assert said.startswith("open to others (I7): ")
    assert f"{tmp_path}/new" in said


@pytest.mark.parametrize("code", PRIVATE.values(), ids=PRIVATE)
def test_what_is_private_and_what_was_there_is_not(tmp_path: Path, code: str) -> None:
    assert seen(lambda: as_module("target_profiles.odd", code, tmp_path / "new")) == ""


@pytest.mark.parametrize("code", OPEN.values(), ids=OPEN)
def test_what_a_test_makes_is_its_own_business(tmp_path: Path, code: str) -> None:
    assert seen(lambda: as_module("tests.odd", code, tmp_path / "new")) == ""


@pytest.mark.parametrize(("name", "is_seen"), [("pickup_core.odd", True), ("tests.odd", False)])
def test_a_secret_in_the_arguments_of_a_program_is_seen(tmp_path: Path, name: str, is_seen: bool) -> None:
    def work() -> None:
        Secret("Canary-in-the-mine")
        as_module(name, "subprocess.run(['true', '--password=Canary-in-the-mine'])", tmp_path / "new")

    assert seen(work).startswith("secrets in the arguments of programs (I6): ") is is_seen
