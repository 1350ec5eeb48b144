"""Detours: what lies deeper than a path can say comes back, byte by byte."""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pickup_core.detours import Detours
from pickup_core.errors import DamageError, PickupError
from pickup_core.members import Members, check_members, unpack
from tests.builders import NOBODY, ordinary_folder, python
from tests.deep import removed_by_rm
from tests.end_to_end.trees import HOSTILE_NAMES
from tests.hostile_tars import END, file, folder, hard, pax, symlink
from tests.stored import archived, restored, stored_backup

IS_ROOT = os.geteuid() == 0
PART = b"p" * 250

removed = pytest.fixture(autouse=True)(removed_by_rm)


def deep_tree(top: Path, names: list[bytes]) -> None:
    """Make folders in folders, in each of them a file, and in the last one a link to that of the first."""
    top.mkdir()
    above = os.open(top, os.O_RDONLY)
    _write(above, b"0")
    first = above
    for number, name in enumerate(names):
        os.mkdir(name, dir_fd=above)
        above = os.open(name, os.O_RDONLY, dir_fd=above)
        _write(above, b"%d" % number)
        os.utime(above, (1_000 + number, 1_000 + number))
    os.link("file", "linked", src_dir_fd=first, dst_dir_fd=above)
    os.symlink("file", "symbolic", dir_fd=above)
    os.fchmod(above, 0o500)


def _write(folder: int, data: bytes) -> None:
    descriptor = os.open("file", os.O_WRONLY | os.O_CREAT, 0o640, dir_fd=folder)
    os.write(descriptor, data)
    os.close(descriptor)


def looks_below(top: Path) -> Iterator[tuple[object, ...]]:
    """Describe a tree that has one folder in each folder, without saying a path."""
    above: int | None = None
    name: str | Path = top
    while name:
        here = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=above)
        status = os.fstat(here)
        yield name if above else "", status.st_mode, status.st_mtime_ns
        above, name = here, ""
        for item in sorted(os.listdir(here)):
            status = os.stat(item, dir_fd=here, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                name = item
            elif stat.S_ISREG(status.st_mode):
                with open(os.open(item, os.O_RDONLY, dir_fd=here), "rb") as stream:
                    yield item, stream.read(), status.st_mode, status.st_nlink, status.st_mtime_ns
            else:
                yield item, os.readlink(item, dir_fd=here)


@pytest.mark.parametrize("names", [[PART] * 20, [PART] * 50, [b"dd"] * 1_500, HOSTILE_NAMES * 9])
def test_a_tree_that_is_deeper_than_a_path_can_say_comes_back_as_a_whole(tmp_path: Path, names: list[bytes]) -> None:
    """G30"""
    deep_tree(tmp_path / "www", names)
    before = list(looks_below(tmp_path / "www"))
    assert sum(len(name) + 1 for name in names) > 4096
    backup = stored_backup(tmp_path, {"folder/web": archived(tmp_path, tmp_path / "www")})
    restored(backup, tmp_path / "to")
    assert list(looks_below(tmp_path / "to/folder/web/www")) == before
    assert os.listdir(tmp_path / "to/folder/web") == ["www"]
    restored(backup, tmp_path / "one", paths=("symbolic",))
    *_, (last, target) = looks_below(tmp_path / "one/folder/web/www")
    assert (last, target) == ("symbolic", "file")


AS_NOBODY = """
import pathlib, sys
import tests.stored
from target_profiles.folder import Config, Target
from tests.generator_contract import become_nobody
become_nobody()
home = pathlib.Path(sys.argv[1])
tests.stored.restored(tests.stored.backup_at(Target(Config(path=home / "backups"))), home / "to")
"""


@pytest.mark.skipif(not IS_ROOT, reason="for an ordinary user the test above says it")
def test_it_comes_back_for_an_ordinary_user_too(tmp_path: Path) -> None:
    """G30"""
    deep_tree(tmp_path / "www", [PART] * 20)
    (tmp_path / "www" / os.fsdecode(PART)).chmod(0o500)
    before = list(looks_below(tmp_path / "www"))
    with ordinary_folder() as home:
        stored_backup(home, {"folder/web": archived(tmp_path, tmp_path / "www")})
        for path in (home / "backups", *(home / "backups").rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        done = python(AS_NOBODY, home)
        assert done.returncode == 0, done.stderr
        assert list(looks_below(home / "to/folder/web/www")) == before
        (home / "to/folder/web/www").rename(tmp_path / "taken away")


@pytest.mark.parametrize("first", [True, False])
def test_a_link_in_place_of_a_folder_on_the_way_is_not_followed(tmp_path: Path, first: bool) -> None:
    """V6, G30"""
    outside = tmp_path / "outside"
    outside.mkdir()
    deep = pax((b"path", b"w/l/" + b"/".join([PART] * 17))) + file(b"x")
    link = folder(b"w") + symlink(b"w/l", bytes(outside))
    archive = link + deep + END if first else deep + link + END
    (tmp_path / "to").mkdir()
    members = Members()
    if first:
        with pytest.raises(DamageError, match="behind a symbolic link"):
            check_members(io.BytesIO(archive), members)
    else:
        check_members(io.BytesIO(archive), members)
        assert members.detours.names
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            unpack(io.BytesIO(archive), tmp_path / "to", members, False)
    assert list(outside.iterdir()) == []


def test_hard_links_between_deep_files_stay(tmp_path: Path) -> None:
    """G30"""
    name = b"/".join([PART] * 17)
    archive = pax((b"path", name + b"/a")) + file(b"x", b"one") + pax((b"path", b"b"), (b"linkpath", name + b"/a"))
    archive += hard(b"x", b"x") + END
    members = Members()
    check_members(io.BytesIO(archive), members)
    (tmp_path / "to").mkdir()
    unpack(io.BytesIO(archive), tmp_path / "to", members, False)
    assert (tmp_path / "to" / "b").read_text() == "one"
    assert (tmp_path / "to" / "b").stat().st_nlink == 2


def test_names_that_are_short_enough_take_none() -> None:
    detours = Detours()
    for name in ("a", "/".join(["n" * 250] * 15), "n" * 3_000):
        detours.note(name)
    assert detours == Detours()
    assert detours.options() == []


def test_of_very_many_detours_the_archive_is_refused() -> None:
    """V7: each is an option of tar, and takes room on its command line."""
    detours = Detours()
    for number in range(100):
        detours.note("/".join([f"{number:0250}", *["n" * 250] * 17]))
    assert len(detours.options()) == 100
    with pytest.raises(PickupError, match="more than 100 folders that lie too deep"):
        detours.note("/".join([f"{100:0250}", *["n" * 250] * 17]))
