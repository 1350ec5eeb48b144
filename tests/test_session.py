"""The session: what all commands have in common."""

import argparse
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pickup_core import secret
from pickup_core.cli import parser
from pickup_core.errors import PickupError, UsageError
from pickup_core.secret import Secret
from pickup_core.session import Session, job_of, print_table
from tests.builders import LOCAL, config_text, write_config
from tests.sessions import own_logging


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with own_logging():
        yield


def options(folder: Path, *words: str) -> argparse.Namespace:
    return parser().parse_args(["-c", str(folder / "config.py"), *words])


# The exit code


def test_a_warning_that_only_the_log_got_is_worth_an_exit_code(tmp_path: Path) -> None:
    """L4: whoever warned, and however quiet the command is."""
    session = Session(options(tmp_path, "-q", "list"))
    assert session.exit_code == 0
    logging.getLogger("pickup.anything.below").info("no more than information")
    assert session.exit_code == 0
    logging.getLogger("pickup.anything.below").warning("history could not be written")
    assert session.exit_code == 1


def test_a_failure_weighs_more_than_a_warning(tmp_path: Path) -> None:
    session = Session(options(tmp_path, "list"))
    session.report.warn("somewhere", "odd")
    assert session.exit_code == 1
    with session.report.attempt("somewhere"):
        raise PickupError("broken")
    assert session.exit_code == 2
    session.report.damage("somewhere", "changed")
    assert session.exit_code == 6


def test_a_warning_of_the_session_before_is_none_of_this_one(tmp_path: Path) -> None:
    first = Session(options(tmp_path, "list"))
    logging.getLogger("pickup.x").warning("odd")
    assert (first.exit_code, Session(options(tmp_path, "list")).exit_code) == (1, 0)


# The log


def test_the_log_begins_where_the_config_says(tmp_path: Path) -> None:
    write_config(tmp_path, config_text(LOCAL))
    Session(options(tmp_path, "run")).config()
    logging.getLogger("pickup.x").debug("a detail")
    assert (tmp_path / "log/pickup.log").read_text().endswith("DEBUG pickup.x: a detail\n")


@pytest.mark.parametrize("command", ["run", "prune"])
def test_a_dry_run_writes_to_no_log(tmp_path: Path, command: str) -> None:
    """R17: neither to ours nor to one that LOGGING names."""
    own = f'{{"version": 1, "handlers": {{"f": {{"class": "logging.FileHandler", "filename": "{tmp_path}/own.log"}}}}}}'
    for head in (LOCAL, f"{LOCAL}\nLOGGING = {own}"):
        write_config(tmp_path, config_text(head))
        session = Session(options(tmp_path, command, "--dry-run"))
        assert session.config().job == "web01"
        logging.getLogger("pickup.x").error("broken")
        assert [path.name for path in tmp_path.iterdir()] == ["config.py"]
        assert session.exit_code == 1


def test_a_logging_dictionary_takes_the_place_of_our_log(tmp_path: Path) -> None:
    own = f'dict(version=1, handlers=dict(f={{"class": "logging.FileHandler", "filename": "{tmp_path}/own.log"}}),'
    write_config(tmp_path, config_text(f'{LOCAL}\nLOGGING = {own} root=dict(level="DEBUG", handlers=["f"]))'))
    session = Session(options(tmp_path, "run"))
    session.config()
    logging.getLogger("pickup.x").warning("odd")
    assert (tmp_path / "own.log").read_text() == "odd\n"
    assert not (tmp_path / "log").exists()
    assert session.exit_code == 1


def test_reading_needs_no_generators(tmp_path: Path) -> None:
    text = re.sub("GENERATORS = .*", "GENERATORS = 'to be done'", config_text(LOCAL))
    write_config(tmp_path, text)
    config = Session(options(tmp_path, "list")).config(generators=False)
    assert ([target.name for target in config.targets], config.generators) == (["disk"], ())


# Jobs


def test_the_name_of_a_job_is_given_back() -> None:
    assert job_of("web01", "") == "web01"


def test_where_no_job_is_named_the_hint_says_how() -> None:
    with pytest.raises(UsageError, match=r"^whose backups\? No job is named\nHint: --job$"):
        job_of(None, "--job")


@pytest.mark.parametrize("name", ["", "..", "web/01", "-web", "wéb", "w" * 101, "web\n"])
def test_what_can_be_no_folder_is_no_job(name: str) -> None:
    """I10: the name becomes a part of every path at a target."""
    with pytest.raises(UsageError, match="the name of a job should be made of letters, digits"):
        job_of(name, "")


# Tables


def test_columns_are_as_wide_as_their_widest_cell(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([["A", "LONGER", "C"], ["wide cell", "b", ""], ["", "", "c"]])
    assert capsys.readouterr().out == "A          LONGER  C\nwide cell  b\n                   c\n"


def test_a_name_in_a_table_neither_ends_the_line_nor_commands_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """L4, I6: names come from the file systems of others."""
    monkeypatch.setattr(secret, "_spellings", {})
    Secret("c4n4ry")
    print_table([["FILE", "X"], ["two\nlines\r\x1b[2J\x9b", "c4n4ry"]])
    assert capsys.readouterr().out == "FILE                       X\ntwo\\nlines\\x0d\\x1b[2J\\x9b  ***\n"
