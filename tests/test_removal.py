"""Removal of folders, whatever lies in them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pickup_core.removal import remove_folder, temporary_folder
from tests.builders import as_ordinary_user, ordinary_folder
from tests.deep import chain, removed_by_rm
from tests.places import REPOSITORY

removed = pytest.fixture(autouse=True)(removed_by_rm)


def test_it_is_removed_however_deep_and_whatever_it_holds(tmp_path: Path) -> None:
    """G30, V7: folders that no path leads to; a link is removed, and not what it leads to."""
    chain(tmp_path / "spool", 5_000)
    (tmp_path / "spool" / "d" / "link").symlink_to(tmp_path / "mine")
    (tmp_path / "spool" / "deeper-1").touch()
    (tmp_path / "mine").mkdir()
    os.mkfifo(tmp_path / "spool" / "fifo")
    remove_folder(tmp_path / "spool")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


CLOSED = """
import os, pathlib, sys
from pickup_core.removal import remove_folder
top = pathlib.Path(sys.argv[1]) / "spool"
for mode in (0, 0o100, 0o200, 0o300, 0o400, 0o500):
    (top / f"{mode:o}" / "inside" / "deeper").mkdir(parents=True)
    (top / f"{mode:o}" / "inside" / "file").touch()
    (top / f"{mode:o}" / "inside").chmod(mode)
    (top / f"{mode:o}").chmod(mode)
remove_folder(top)
print(os.listdir(sys.argv[1]))
"""


def test_an_ordinary_user_can_remove_folders_that_are_closed_to_them() -> None:
    """V14"""
    with ordinary_folder() as home:
        assert as_ordinary_user(CLOSED, home).stdout == "[]\n"


def test_a_temporary_folder_is_private_and_goes_with_what_is_in_it_unless_it_was_renamed(tmp_path: Path) -> None:
    with temporary_folder("pre-", tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith("pre-")
        assert folder.stat().st_mode & 0o7777 == 0o700
        (folder / "file").touch()
    assert not folder.exists()
    with temporary_folder("pre-", tmp_path) as folder:
        folder.rename(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


INTERRUPTED = """
import os, pathlib, sys
from pickup_core import removal
class Stop(BaseException):
    pass
top, calls = pathlib.Path(sys.argv[1]), 0
def interrupt(frame, event, argument):
    global calls
    if frame.f_code.co_filename == removal.__file__ or frame.f_code.co_name == "mkdir":
        calls += 1
        if calls == stop_at:
            sys.settrace(None)
            raise Stop
    return interrupt
for stop_at in range(1, 1000):
    if os.fork() == 0:
        try:
            sys.settrace(interrupt)
            with removal.temporary_folder("pre-", top) as folder:
                (folder / "below" / "deeper").mkdir(parents=True)
                (folder / "below" / "file").touch()
            sys.settrace(None)
        except Stop:
            sys.exit(9)
        sys.exit(0)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    assert not os.listdir(top), stop_at
    if status != 9:
        print(stop_at, status)
        break
"""


def test_a_temporary_folder_goes_wherever_a_signal_comes(tmp_path: Path) -> None:
    """K1: before every line that makes, uses and removes it, also at the begin of the removal itself."""
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    moments, status = map(int, done.stdout.split())
    assert moments > 30
    assert status == 0
