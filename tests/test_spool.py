"""Spool: a private folder in the destination, and what may be a destination for root."""

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from types import FrameType
from typing import Any

import pytest

from pickup_core.errors import RefusedError
from pickup_core.spool import made_below, spool_in
from tests.builders import NOBODY, as_ordinary_user, ordinary_folder

IS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="an ordinary user is not warned of the folders of others")


def test_it_is_private_and_removed_with_what_was_made_for_it(tmp_path: Path) -> None:
    """I7"""
    before = os.umask(0)
    try:
        with spool_in(tmp_path / "a" / "b") as spool:
            made_below(spool / "fresh", PurePosixPath("folder/web"))
            for path in (spool, *spool.rglob("*"), tmp_path / "a", tmp_path / "a" / "b"):
                assert stat.S_IMODE(path.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_what_holds_something_stays(tmp_path: Path) -> None:
    with spool_in(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b" / "mine").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["mine"]


def test_a_file_is_no_destination(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match="is not a folder"), spool_in(tmp_path / "file"):
        pass


# A destination that another user could turn into something else


@needs_root
@pytest.mark.parametrize("below", ["", "to", "to/deeper"])
def test_root_does_not_restore_where_somebody_else_leads_the_way(below: str) -> None:
    """I10"""
    with ordinary_folder() as theirs:
        (theirs / "to").mkdir()
        os.chown(theirs / "to", NOBODY, NOBODY)
        with pytest.raises(RefusedError) as raised, spool_in(theirs / below):
            pass
        assert f"belongs to user {NOBODY}, who could replace what lies there" in raised.value.message
        assert raised.value.hint == "name a folder of root's, or a new one: /root/restored"
        assert [path.name for path in theirs.rglob("*")] == ["to"]


@needs_root
def test_root_does_not_restore_through_a_link_of_somebody_elses(tmp_path: Path) -> None:
    """I10"""
    (tmp_path / "roots").mkdir()
    with ordinary_folder() as theirs:
        (theirs / "link").symlink_to(tmp_path / "roots")
        with pytest.raises(RefusedError, match=f"{theirs} belongs to user"), spool_in(theirs / "link" / "to"):
            pass
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    (tmp_path / "shared" / "link").symlink_to(tmp_path / "roots")
    os.lchown(tmp_path / "shared" / "link", NOBODY, NOBODY)
    for below in ("shared/link", "shared/link/to"):
        with pytest.raises(RefusedError, match=f"link is a symbolic link of user {NOBODY}"), spool_in(tmp_path / below):
            pass
    (tmp_path / "link").symlink_to("/tmp")
    with pytest.raises(RefusedError, match="is a folder that everybody shares"), spool_in(tmp_path / "link"):
        pass
    assert list((tmp_path / "roots").iterdir()) == []


@needs_root
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o707])
def test_root_does_not_restore_into_a_folder_that_everybody_writes(tmp_path: Path, mode: int) -> None:
    """I10"""
    (tmp_path / "to").mkdir()
    (tmp_path / "to").chmod(mode)
    with pytest.raises(RefusedError), spool_in(tmp_path / "to"):
        pass
    if mode == 0o1777:  # a new one in it is root's own
        with spool_in(tmp_path / "to" / "new"):
            assert (tmp_path / "to" / "new").is_dir()
    else:
        with (
            pytest.raises(RefusedError, match="can be written by others, who could replace"),
            spool_in(tmp_path / "to/x"),
        ):
            pass


def test_an_ordinary_user_restores_where_they_may_write() -> None:
    code = """
import pathlib, sys
from pickup_core.spool import spool_in
(pathlib.Path(sys.argv[1]) / "shared").mkdir()
(pathlib.Path(sys.argv[1]) / "shared").chmod(0o777)
with spool_in(pathlib.Path(sys.argv[1]) / "shared" / "to") as spool:
    print(spool.is_dir())
"""
    with ordinary_folder() as home:
        assert as_ordinary_user(code, home).stdout == "True\n"


@contextlib.contextmanager
def before_call(number: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Let somebody act just before one of the calls by which Python asks the kernel; give how many there were."""
    calls, profile = [0], sys.getprofile()

    def watch(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and getattr(called, "__module__", None) == "posix":
            calls[0] += 1
            if calls[0] == number:
                act()

    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(profile)


@needs_root
@pytest.mark.parametrize("is_link", [False, True])
@pytest.mark.parametrize("below", ["to", "to/deeper"])
def test_a_folder_that_somebody_makes_meanwhile_is_not_taken(tmp_path: Path, below: str, is_link: bool) -> None:
    """I10: whenever they do it. What is asked for is told by the list of processes, and a shared folder takes anything."""
    (tmp_path / "roots").mkdir()
    outcomes, number, calls = set(), 0, [1]
    while number <= calls[0]:
        shared = tmp_path / f"shared-{number}"
        shared.mkdir()
        shared.chmod(0o1777)

        def act(theirs: Path = shared / "to") -> None:
            with contextlib.suppress(FileExistsError):
                theirs.symlink_to(tmp_path / "roots") if is_link else theirs.mkdir()
                os.lchown(theirs, NOBODY, NOBODY)

        before = (tmp_path / "roots").stat().st_mtime_ns
        try:
            with before_call(number, act) as calls, spool_in(shared / below) as spool:
                sys.setprofile(None)
                assert {path.lstat().st_uid for path in (shared / "to", spool)} == {0}
                assert spool.resolve() == spool
                outcomes.add("made")
        except RefusedError as error:
            outcomes.add("made by somebody else meanwhile" if "meanwhile" in error.message else "seen")
            assert [path.name for path in shared.rglob("*")] == ["to"]
            assert (shared / "to").lstat().st_uid == NOBODY
        assert (tmp_path / "roots").stat().st_mtime_ns == before
        number += 1
    assert outcomes == {"made", "made by somebody else meanwhile", "seen"}


def test_a_link_to_nothing_is_no_destination(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("absent")
    for below in ("link", "link/deeper"):
        with (
            pytest.raises(RefusedError, match=r"/link was made .* or is a link to nothing"),
            spool_in(tmp_path / below),
        ):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["link"]
