"""Tame: no device and no setuid bit is left below a folder, and nothing else of it changes."""

import os
import stat
from pathlib import Path

import pytest

from pickup_core.tame import tame
from tests.builders import as_ordinary_user, ordinary_folder
from tests.deep import chain, removed_by_rm
from tests.end_to_end.trees import looks_of

IS_ROOT = os.geteuid() == 0

removed = pytest.fixture(autouse=True)(removed_by_rm)


def test_a_harmless_folder_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o3775)
    (tmp_path / "link").symlink_to("/usr/bin/passwd")
    os.mkfifo(tmp_path / "fifo")
    before = looks_of(tmp_path)
    assert tame(tmp_path) == (0, 0)
    assert looks_of(tmp_path) == before


@pytest.mark.skipif(not IS_ROOT, reason="only root can make devices")
def test_what_could_harm_is_taken_away_and_counted(tmp_path: Path) -> None:
    """V14"""
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    for number, mode in enumerate((0o4755, 0o2755, 0o6000, 0o1644)):
        (folder / f"{number}").touch()
        (folder / f"{number}").chmod(mode)
    os.link(folder / "0", tmp_path / "second name")
    os.mknod(folder / "zero", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    os.mknod(tmp_path / "disk", 0o660 | stat.S_IFBLK, os.makedev(8, 0))
    os.utime(folder, (1_000, 1_000))
    assert tame(tmp_path) == (2, 3)
    assert [stat.S_IMODE((folder / f"{number}").stat().st_mode) for number in range(4)] == [0o755, 0o755, 0, 0o1644]
    assert sorted(os.listdir(folder)) == ["0", "1", "2", "3"]
    assert not (tmp_path / "disk").exists()
    assert folder.stat().st_mtime == 1_000


def test_folders_may_lie_as_deep_as_tar_can_make_them(tmp_path: Path) -> None:
    chain(tmp_path / "top", 2_000)
    assert tame(tmp_path / "top") == (0, 0)


CLOSED = """
import pathlib, sys
from pickup_core.tame import tame
top = pathlib.Path(sys.argv[1])
(top / "a" / "b").mkdir(parents=True)
(top / "a" / "b" / "shell").touch()
(top / "a" / "b" / "shell").chmod(0o4755)
(top / "a" / "b").chmod(0o100)
(top / "a").chmod(0o2000)
print(tame(top), oct((top / "a").stat().st_mode))
(top / "a").chmod(0o700)
print(oct((top / "a" / "b").stat().st_mode), oct((top / "a" / "b" / "shell").stat().st_mode))
"""


def test_an_ordinary_user_does_it_in_closed_folders_too() -> None:
    """V14"""
    with ordinary_folder() as home:
        done = as_ordinary_user(CLOSED, home)
        assert done.stdout == "(0, 1) 0o42000\n0o40100 0o100755\n", done.stderr
