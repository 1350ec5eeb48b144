"""Hostile archives: whatever one of them says, nothing is written outside of the destination (I10)."""

import io
import os
import random
import shutil
import stat
from pathlib import Path

import pytest

from pickup_core.errors import DamageError, ExitCode, PickupError
from pickup_core.members import Members, check_members, unpack
from tests.end_to_end.trees import everything_about
from tests.hostile_tars import (
    DAMAGE,
    EITHER,
    END,
    FAILS,
    HARMLESS,
    Hostile,
    corpus,
    file,
    folder,
    hard,
    header,
    pax,
    symlink,
)
from tests.stored import restored, stored_backup

IS_ROOT = os.geteuid() == 0
NAMES = [each.name for each in corpus(Path("/outside"))]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The folder that the archives aim at. Nothing around the destination may change but the destination itself."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "victim").write_text("as it was\n")
    (tmp_path / "in").mkdir()
    return folder


def surroundings(tmp_path: Path) -> dict[str, tuple[object, ...]]:
    inside = str(tmp_path / "in")
    return {path: facts for path, facts in everything_about(tmp_path).items() if not path.startswith(inside)}


def chosen(outside: Path, name: str) -> Hostile:
    return next(each for each in corpus(outside) if each.name == name)


def test_the_corpus_is_large_enough() -> None:
    """V6"""
    assert len(NAMES) >= 100
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize("privileged", [False, True], ids=["", "privileged"])
@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_archive_does_no_harm(tmp_path: Path, outside: Path, name: str, privileged: bool) -> None:
    """V6, V7"""
    hostile = chosen(outside, name)
    archives = {f"{number}.tar": archive for number, archive in enumerate(hostile.archives)}
    backup = stored_backup(tmp_path, {"folder/web": archives}, "none")
    before, to = surroundings(tmp_path), tmp_path / "in" / "to"
    ending, error = HARMLESS, None
    try:
        restored(backup, to, privileged=privileged)
    except DamageError as damage:
        ending, error = DAMAGE, damage
    except PickupError as other:
        ending, error = FAILS, other
    assert surroundings(tmp_path) == before
    assert (outside / "victim").read_text() == "as it was\n"
    assert ending == hostile.ending or hostile.ending == EITHER, error
    if ending == HARMLESS:
        for there in hostile.there:
            assert os.path.lexists(to / "folder" / "web" / there), there
        see_that_it_is_tame(to, privileged)
    else:
        assert not to.exists()
        assert list((tmp_path / "in").iterdir()) == []
    if error is not None:
        assert error.exit_code == (ExitCode.DAMAGE if ending == DAMAGE else ExitCode.FAILED)
        assert str(error).startswith(("folder/web/", f"restoring to {to} failed: ")), "the message names what failed"


def see_that_it_is_tame(folder: Path, privileged: bool) -> None:
    for path in folder.rglob("*"):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            continue
        assert path.resolve().is_relative_to(folder)
        assert status.st_blocks < 1000, f"{path} takes room that its archive does not have"
        if not privileged:
            assert stat.S_IFMT(status.st_mode) not in (stat.S_IFCHR, stat.S_IFBLK), path
            assert stat.S_ISDIR(status.st_mode) or not status.st_mode & (stat.S_ISUID | stat.S_ISGID), path
            assert "security.capability" not in os.listxattr(path), path


@pytest.mark.parametrize("name", ["parent", "absolute", "file through an absolute link", "hard link to a file outside"])
def test_a_hostile_member_is_refused_when_a_good_one_is_asked_for(tmp_path: Path, outside: Path, name: str) -> None:
    """V6"""
    (archive,) = chosen(outside, name).archives
    backup = stored_backup(tmp_path, {"folder/web": {"www.tar": file(b"good") + archive}}, "none")
    before = surroundings(tmp_path)
    with pytest.raises(DamageError):
        restored(backup, tmp_path / "in" / "to", paths=("good",))
    assert surroundings(tmp_path) == before
    assert list((tmp_path / "in").iterdir()) == []


def test_a_link_in_the_destination_is_not_followed(tmp_path: Path, outside: Path) -> None:
    """V6, V8: what lies at the destination may be a trap, left by an earlier restore."""
    backup = stored_backup(tmp_path, {"folder/web": {"www.tar": folder(b"l") + file(b"l/evil") + END}}, "none")
    place = tmp_path / "in" / "to" / "folder" / "web"
    place.mkdir(parents=True)
    (place / "l").symlink_to(outside)
    before = surroundings(tmp_path)
    for overwrite in (False, True):
        with pytest.raises(PickupError, match="already there"):
            restored(backup, tmp_path / "in" / "to", overwrite=overwrite)
        assert surroundings(tmp_path) == before
        assert sorted(path.name for path in (tmp_path / "in" / "to").iterdir()) == ["folder"]


def test_a_file_does_not_go_through_a_link_of_its_name(tmp_path: Path, outside: Path) -> None:
    """V6, V8"""
    backup = stored_backup(tmp_path, {"folder/web": {"www.tar": file(b"victim") + END}}, "none")
    place = tmp_path / "in" / "to" / "folder" / "web"
    place.mkdir(parents=True)
    (place / "victim").symlink_to(outside / "victim")
    before = surroundings(tmp_path)
    restored(backup, tmp_path / "in" / "to", overwrite=True)
    assert surroundings(tmp_path) == before
    assert (place / "victim").read_bytes() == b"evil\n"
    assert not (place / "victim").is_symlink()


def test_a_dump_is_not_written_through_a_link_that_an_archive_has_made(tmp_path: Path, outside: Path) -> None:
    """V6"""
    artefacts = {"a.tar": symlink(b"dump.sql", bytes(outside / "victim")) + END, "dump.sql": b"evil\n"}
    backup = stored_backup(tmp_path, {"folder/web": artefacts}, "none")
    before = surroundings(tmp_path)
    with pytest.raises(PickupError):
        restored(backup, tmp_path / "in" / "to")
    assert surroundings(tmp_path) == before
    assert list((tmp_path / "in").iterdir()) == []


def test_a_manifest_with_a_wrong_size_bounds_what_is_unpacked(tmp_path: Path, outside: Path) -> None:
    """V7: an archive of 50 MiB of zeros whose manifest says 4 KiB."""
    archive = file(b"zeros", bytes(50 * 2**20)) + END
    backup = stored_backup(tmp_path, {"folder/web": {"www.tar": archive}}, uncompressed_size=4096)
    before = surroundings(tmp_path)
    with pytest.raises(DamageError, match=r"folder/web/www\.tar\.zst: is larger than its manifest says"):
        restored(backup, tmp_path / "in" / "to")
    assert surroundings(tmp_path) == before
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.parametrize("method", ["zstd", "gzip"])
def test_a_dump_that_is_larger_than_its_manifest_says_is_refused(tmp_path: Path, outside: Path, method: str) -> None:
    """V7"""
    backup = stored_backup(tmp_path, {"command/db": {"dump.sql": bytes(50 * 2**20)}}, method, uncompressed_size=4096)
    with pytest.raises(DamageError, match="is larger than its manifest says"):
        restored(backup, tmp_path / "in" / "to")
    assert list((tmp_path / "in").iterdir()) == []


@pytest.mark.slow
def test_an_archive_of_a_million_folders_is_bounded_by_its_manifest(tmp_path: Path) -> None:
    """V7"""
    block = folder(b"d")
    backup = stored_backup(tmp_path, {"folder/web": {"www.tar": block * 200_000 + END}}, uncompressed_size=512 * 1000)
    with pytest.raises(DamageError, match="is larger than its manifest says"):
        restored(backup, tmp_path / "to")


def test_bytes_that_were_changed_at_random_do_no_harm(tmp_path: Path, outside: Path) -> None:
    """V6: 200 archives with wrong bytes, whose manifests are right. Each is refused, fails, or is unpacked inside."""
    good = b"".join(
        [
            folder(b"www"), file(b"www/a", b"a" * 700), symlink(b"www/l", b"a"), hard(b"www/h", b"www/a"),
            pax((b"path", b"www/\xc3\xbc" * 30), (b"mtime", b"1.5"), (b"SCHILY.xattr.user.x", b"y")), file(b"www/u"),
            header(b"www/fifo", b"6"), file(b"www/deep/er/z", b"z"), END,
        ]
    )  # fmt: skip
    chance = random.Random(20261123)
    endings = {DAMAGE: 0, FAILS: 0, HARMLESS: 0}
    headers = [
        position for position in range(0, len(good) - 1024, 512) if good[position + 257 : position + 262] == b"ustar"
    ]
    before = surroundings(tmp_path)
    for number in range(200):
        changed = bytearray(good)
        start = chance.choice(headers)
        for _ in range(chance.randint(1, 4)):
            changed[start + chance.randrange(512)] = chance.choice(
                (0, 0x2E, 0x2F, 0x30, 0x37, 0xFF, chance.randrange(256))
            )
        if chance.random() < 0.8:  # with a right checksum
            block = bytes(changed[start : start + 148]) + b" " * 8 + bytes(changed[start + 156 : start + 512])
            changed[start + 148 : start + 156] = b"%06o\0 " % sum(block)
        to = tmp_path / "in" / f"{number}"
        to.mkdir()
        try:
            members = Members()
            check_members(io.BytesIO(changed), members)
            unpack(io.BytesIO(changed), to, members, False)
            endings[HARMLESS] += 1
        except DamageError:
            endings[DAMAGE] += 1
            assert list(to.iterdir()) == []
        except PickupError:
            endings[FAILS] += 1
        shutil.rmtree(to)
        assert surroundings(tmp_path) == before
    assert min(endings[DAMAGE], endings[HARMLESS]) > 20, endings
