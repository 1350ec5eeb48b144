"""Merge: what is moved into a folder lands there and nowhere else, whoever changes it meanwhile."""

import ctypes
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pickup_core.errors import RefusedError
from pickup_core.merge import move_into_place, opened, put_back, rename, replace
from tests.builders import as_ordinary_user, ordinary_folder
from tests.deep import chain, removed_by_rm
from tests.end_to_end.trees import everything_about, looks_of

IS_ROOT = os.geteuid() == 0
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE

removed = pytest.fixture(autouse=True)(removed_by_rm)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    folder = tmp_path / "fresh"
    (folder / "a" / "deeper").mkdir(parents=True)
    (folder / "a" / "deeper" / "file").write_text("new")
    (folder / "a" / "file").write_text("new")
    (folder / "link").symlink_to("a")
    os.utime(folder / "a" / "deeper", (1_000, 1_000))
    return folder


@pytest.fixture
def to(tmp_path: Path) -> Path:
    folder = tmp_path / "to"
    (folder / "a" / "deeper").mkdir(parents=True)
    (folder / "a" / "mine").write_text("mine")
    (folder / "a").chmod(0o750)
    return folder


def test_folders_become_one_and_keep_their_look(fresh: Path, to: Path) -> None:
    os.utime(to / "a" / "deeper", (2_000, 2_000))
    move_into_place(fresh, to, overwrite=False)
    assert (to / "a/deeper/file").read_text() == (to / "a/file").read_text() == "new"
    assert (to / "a/mine").read_text() == "mine"
    assert (to / "link").is_symlink()
    assert stat.S_IMODE((to / "a").stat().st_mode) == 0o750
    assert [path.name for path in fresh.iterdir()] == ["a"], "what is left is folders"


def test_with_overwrite_a_folder_takes_the_look_of_the_new_one(fresh: Path, to: Path) -> None:
    os.setxattr(fresh / "a", "user.colour", b"blue")
    (fresh / "a").chmod(0o2755)
    if IS_ROOT:
        os.chown(fresh / "a", 1, 2)
        (fresh / "a").chmod(0o2755)
    os.utime(fresh / "a", (3_000, 3_000))
    before = looks_of(fresh)
    (to / "a" / "mine").unlink()
    move_into_place(fresh, to, overwrite=True)
    after = looks_of(to)
    assert {name: look for name, look in after.items() if name != b"."} == {
        name: look for name, look in before.items() if name != b"."
    }


def test_replace_gives_the_folder_itself_the_look_too(fresh: Path, to: Path) -> None:
    fresh.chmod(0o711)
    os.utime(fresh, (4_000, 4_000))
    replace(fresh, to)
    assert stat.S_IMODE(to.stat().st_mode) == 0o711
    assert to.stat().st_mtime == 4_000


@pytest.mark.parametrize(
    ("there", "overwrite", "named"),
    [
        (lambda to: (to / "a/file").write_text("old"), False, "a/file"),
        (lambda to: (to / "a/file").symlink_to("/etc/passwd"), False, "a/file"),
        (lambda to: (to / "link").mkdir(), False, "link"),
        (lambda to: (to / "link").mkdir(), True, "link"),
        (lambda to: ((to / "a/deeper").rmdir(), (to / "a/deeper").symlink_to("/etc")), True, "a/deeper"),
        (lambda to: ((to / "a/deeper").rmdir(), (to / "a/deeper").write_text("old")), True, "a/deeper"),
    ],
)
def test_what_is_in_the_way_is_named_before_anything_is_moved(
    fresh: Path, to: Path, there: Callable[[Path], object], overwrite: bool, named: str
) -> None:
    """V8"""
    there(to)
    before = everything_about(fresh, to)
    with pytest.raises(RefusedError) as raised:
        move_into_place(fresh, to, overwrite)
    assert raised.value.message == f"already there: {to / named}"
    assert everything_about(fresh, to) == before


@contextmanager
def exchanged(one: Path, other: Path) -> Iterator[list[int]]:
    """Let two paths change their names all the time, each time in one step (renameat2(2)); the list says how often."""
    libc, ended, turns = ctypes.CDLL(None, use_errno=True), threading.Event(), [0]

    def exchange() -> None:
        while not ended.is_set():
            failed = libc.renameat2(_HERE, bytes(one), _HERE, bytes(other), _EXCHANGE)
            turns[0] += not failed

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        yield turns
    finally:
        ended.set()
        thread.join()


def test_a_folder_that_becomes_a_link_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    """I10: whoever may write in the destination exchanges a folder for a link; nothing is written where it leads."""
    to, elsewhere = tmp_path / "to", tmp_path / "elsewhere"
    (to / "a").mkdir(parents=True)
    (to / "link").symlink_to(elsewhere)
    elsewhere.mkdir()
    endings = {"landed": 0, "refused": 0}
    with exchanged(to / "a", to / "link") as turns:
        for number in range(1_000):
            fresh = tmp_path / f"fresh-{number}"
            (fresh / "a").mkdir(parents=True)
            (fresh / "a" / f"{number}").touch()
            try:
                move_into_place(fresh, to, overwrite=True)
                endings["landed"] += 1
            except (RefusedError, OSError):
                endings["refused"] += 1
    assert os.listdir(elsewhere) == []
    assert turns[0] > 1_000
    assert min(endings.values()) > 10, endings


def test_a_folder_that_was_opened_is_not_looked_for_again(tmp_path: Path) -> None:
    """I10: between the look at a folder and the move into it."""
    to, elsewhere = tmp_path / "to", tmp_path / "elsewhere"
    (to / "a").mkdir(parents=True)
    elsewhere.mkdir()
    (tmp_path / "file").touch()
    with opened(tmp_path) as here, opened(to) as above, opened("a", above) as folder:
        (to / "a").rename(to / "moved")
        (to / "a").symlink_to(elsewhere)
        rename("file", here, "file", folder)
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"), opened("a", above):
            pass
    assert os.listdir(elsewhere) == []
    assert os.listdir(to / "moved") == ["file"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_folders_that_lie_very_deep_are_moved_but_not_merged(tmp_path: Path, overwrite: bool) -> None:
    """G30, V7"""
    for name in ("first", "second"):
        chain(tmp_path / name, 3_000)
    (tmp_path / "to").mkdir()
    move_into_place(tmp_path / "first", tmp_path / "to", overwrite)
    (tmp_path / "first").rmdir()
    with pytest.raises(RefusedError, match="more than 200 deep are not merged") as raised:
        move_into_place(tmp_path / "second", tmp_path / "to", overwrite)
    assert "new folder" in raised.value.hint
    with pytest.raises(RefusedError, match="more than 200 deep"):
        replace(tmp_path / "second", tmp_path / "to")


def test_what_is_put_back_leaves_the_times_of_folders_and_follows_no_link(tmp_path: Path) -> None:
    """G30"""
    (tmp_path / "top" / "a").mkdir(parents=True)
    (tmp_path / "top" / "short").mkdir()
    for path in (tmp_path / "top" / "a", tmp_path / "top"):
        os.utime(path, (1_000, 1_000))
    put_back(tmp_path / "top", "short", ["a", "name"])
    assert (tmp_path / "top/a/name").is_dir()
    assert [(tmp_path / each).stat().st_mtime for each in ("top", "top/a")] == [1_000, 1_000]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "top" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "top" / "short").mkdir()
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        put_back(tmp_path / "top", "short", ["link", "name"])
    assert os.listdir(tmp_path / "elsewhere") == []


CLOSED = """
import os, pathlib, sys
from pickup_core.merge import move_into_place
top = pathlib.Path(sys.argv[1])
for name in ("fresh", "to"):
    (top / name / "a" / "b").mkdir(parents=True)
    (top / name / "a" / f"{name}.txt").touch()
(top / "fresh" / "sealed").mkdir()
for path, mode in (("fresh/a", 0), ("to/a", 0o300), ("fresh/sealed", 0o500)):
    (top / path).chmod(mode)
move_into_place(top / "fresh", top / "to", True)
print(*(oct((top / "to" / name).stat().st_mode & 0o7777) for name in ("a", "sealed")), oct((top / "fresh" / "a").stat().st_mode & 0o7777))
(top / "to" / "a").chmod(0o700)
print(*sorted(os.listdir(top / "to" / "a")))
"""


def test_an_ordinary_user_may_do_it_with_folders_that_are_closed_to_them() -> None:
    """V14"""
    with ordinary_folder() as home:
        done = as_ordinary_user(CLOSED, home)
        assert done.stdout == "0o0 0o500 0o0\nb fresh.txt to.txt\n", done.stderr
