"""Removal of folders, whatever lies in them."""

import os
from pathlib import Path

import pytest

from pickup_core.removal import remove_folder
from tests.builders import as_ordinary_user, ordinary_folder
from tests.deep import chain, removed_by_rm

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
