"""Damage at a target: verify finds and names it, restore refuses and touches nothing."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.command import JOB, Site, command_entry, folder_entry, target_entry
from tests.end_to_end.trees import everything_about, looks_of


@pytest.fixture
def stored(site: Site) -> Site:
    """A site with one complete backup of two entries."""
    site.fill({"a.txt": "first\n", "b.bin": os.urandom(5000)})
    site.configure([folder_entry(), command_entry("date", name="date")])
    site.backup()
    return site


def _flip(path: Path, position: int | None = None, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1 << bit
    path.write_bytes(data)


def _files(site: Site) -> list[Path]:
    (name,) = site.names()
    folder = site.backups / JOB / name
    return [*(path for path in sorted(folder.rglob("*")) if path.is_file()), site.backups / JOB / f"{name}.json"]


def test_one_flipped_bit_in_any_file_is_found_and_the_file_is_named(stored: Site) -> None:
    """V1, I5: every file of the backup, the manifest and its copy among them; `verify` alone, and `verify all`."""
    dice = random.Random(4711)
    files = _files(stored)
    assert len(files) == 9
    for path in files:
        original = path.read_bytes()
        _flip(path, dice.randrange(len(original)), dice.randrange(8))
        for what in ((), ("all",)):
            result = stored.run("-q", "verify", *what, status=6)
            assert path.relative_to(stored.backups).as_posix() in result.err, f"{path} is not named\n{result}"
        path.write_bytes(original)
    stored.run("-q", "verify")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda path: os.truncate(path, 10), "has 10 bytes, not "),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), " bytes, not "),
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.rename(path.with_name("renamed")), "renamed is no part of the backup"),
        (lambda path: shutil.rmtree(path.parent), "is missing"),
        (lambda path: path.with_name("extra").touch(mode=0o600), "extra is no part of the backup"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "is missing"),
        (lambda path: (path.unlink(), path.mkdir(mode=0o700)), "is missing"),
    ],
)
def test_every_change_of_an_artefact_is_found(stored: Site, change: Callable[[Path], object], said: str) -> None:
    """V2, I5: shortened, lengthened, missing, renamed, extra, and something else in its place."""
    (artefact,) = stored.backups.rglob("source.tar.zst")
    change(artefact)
    result = stored.run("-q", "verify", status=6)
    assert "folder/files/" in result.err
    assert said in result.err


def test_two_files_that_change_places_are_found(stored: Site) -> None:
    """V2."""
    (tar,), (contents,) = stored.backups.rglob("source.tar.zst"), stored.backups.rglob("source.contents.zst")
    tar.rename(tar.with_name("x"))
    contents.rename(tar)
    tar.with_name("x").rename(contents)
    result = stored.run("-q", "verify", status=6)
    assert "source.tar.zst" in result.err
    assert "source.contents.zst" in result.err


@pytest.mark.parametrize("length", [0, 1, 0.5, -1, -2, -80])
def test_a_manifest_that_was_cut_off_later_is_found(stored: Site, length: float) -> None:
    """V2: this machine knows that it had been finished; nothing is deleted, and no backup is taken for another."""
    (name,) = stored.names()
    manifest = stored.backups / JOB / f"{name}.json"
    size = manifest.stat().st_size
    os.truncate(manifest, int(size * length) if 0 < length < 1 else int(length) if length >= 0 else size + int(length))
    result = stored.run("-q", "verify", "all", status=6)
    assert f"{JOB}/{name}.json" in result.err
    result = stored.run("-q", "verify", name, status=6)
    assert f"{JOB}/{name}.json" in result.err


def test_a_manifest_that_is_gone_makes_a_backup_unfinished(stored: Site) -> None:
    (name,) = stored.names()
    (stored.backups / JOB / f"{name}.json").unlink()
    assert stored.listed() == [(name, "unfinished")]
    result = stored.run("-q", "restore", "--to", stored.folder / "to", status=3)
    assert "no backup" in result.err
    assert not (stored.folder / "to").exists()


def test_restore_of_a_damaged_artefact_refuses_and_the_destination_is_untouched(stored: Site) -> None:
    """V5, I10: found before anything is written; the other entries come back with --only."""
    (artefact,) = stored.backups.rglob("source.tar.zst")
    _flip(artefact)
    to = stored.folder / "to"
    result = stored.run("-q", "restore", "--to", to, status=6)
    name = stored.names()[0]
    assert result.err == (
        f"ERROR: {JOB}/{name}/folder/files/source.tar.zst has changed since it was stored\n"
        "Hint: --only restores other entries; pickup.py verify all shows which backups are whole\n"
    )
    assert not to.exists()
    to.mkdir()
    (to / "mine").write_text("mine")
    before = {path: about for path, about in everything_about(to).items() if path != str(to)}
    stored.run("-q", "restore", "--to", to, "--overwrite", status=6)
    assert {path: about for path, about in everything_about(to).items() if path != str(to)} == before
    stored.run("-q", "restore", "--to", to, "--only", "date")
    assert sorted(path.name for path in to.iterdir()) == ["command", "mine"]


def test_restore_from_a_damaged_manifest_refuses(stored: Site) -> None:
    """V1, V5: the newest backup is damaged; an older one is not taken in its place without a word."""
    older = stored.names()[0]
    name = stored.backup()
    _flip(stored.backups / JOB / f"{name}.json")
    assert dict(stored.listed()) == {name: "damaged", older: "complete"}
    result = stored.run("-q", "restore", name, "--to", stored.folder / "to", status=6)
    assert "checksum" in result.err
    assert not (stored.folder / "to").exists()
    result = stored.run("-q", "restore", "--to", stored.folder / "to", status=1)
    assert (
        result.err
        == f"WARNING: target disk: {JOB}/{name}.json: the manifest's own checksum is wrong; it is passed over\n"
    )
    assert (stored.folder / "to/folder/files/source/a.txt").read_text() == "first\n"


def test_the_other_target_has_a_whole_copy_and_verify_says_which(site: Site) -> None:
    site.fill()
    site.private.append(site.folder / "stick")
    site.configure(targets=[target_entry(), target_entry("stick", name="stick")])
    name = site.backup()
    _flip(next(site.backups.rglob("source.tar.zst")))
    result = site.run("verify", status=6)
    assert "ERROR: target disk: web/" in result.err
    assert f"target stick: {name} is whole" in result.out
    states = {each["target"]: each["status"] for each in site.run("verify", "--json", status=6).json}
    assert states == {"disk": "damaged", "stick": "whole"}
    site.run("-q", "restore", "--to", site.folder / "to", status=6)
    to = site.restored("--target", "stick")
    assert looks_of(to / "folder/files/source") == looks_of(site.source)


def test_a_target_that_cannot_be_reached_is_not_damage(site: Site) -> None:
    """V4: exit 2, not 6; the other target is verified all the same."""
    site.fill()
    site.private.append(site.folder / "stick")
    site.configure(targets=[target_entry(), target_entry("stick", name="stick")])
    name = site.backup()
    site.backups.rename(site.folder / "unplugged")
    for what in ((), ("all",), (name,)):
        result = site.run("verify", *what, status=2)
        assert f"target disk: {site.backups} does not exist\nHint: is the disk mounted?" in result.err
        assert f"target stick: {name} is whole" in result.out
    result = site.run("restore", "--to", site.folder / "to", status=1)
    assert f"WARNING: target disk: {site.backups} does not exist" in result.err
    assert f"from target stick: job {JOB}, backup {name}" in result.out


def test_a_backup_that_is_pruned_while_it_is_restored_ends_in_a_clear_error(stored: Site) -> None:
    """V15: here its artefact is gone after the manifest was read."""
    (artefact,) = stored.backups.rglob("source.tar.zst")
    artefact.unlink()
    result = stored.run("-q", "restore", "--to", stored.folder / "to", status=6)
    assert "folder/files/source.tar.zst is missing" in result.err
    assert not (stored.folder / "to").exists()
