"""--from FOLDER: what was copied by hand is read as a target is, whether it is one backup, a job or a whole target."""

import os
import shutil
import socket
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pickup_core.catalogue import Catalogue
from pickup_core.errors import DamageError, StoreError, UsageError
from pickup_core.loose import LooseFolder
from pickup_core.manifest import LaterFormatError, backup_id, decode, encode
from pickup_core.store import Item
from pickup_core.verify import verify
from target_profiles.folder import Config, Target
from tests.places import JOB, NIGHT, Made, content, make_backup, put, store_backup, store_nights, tree

NAME = backup_id(NIGHT)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    with Target(Config(path=folder / "place")) as store:
        store.create_root()
        store_nights(store, folder / "nights", 2, NIGHT, contents={"folder/www": b"1", "postgres/main": b"22"})
        partial = {"started": NIGHT + timedelta(hours=1), "statuses": {"postgres/main": "failed"}}
        store_backup(store, make_backup(folder / "partial", contents={"folder/www": b"3"}, **partial))
    return folder / "place"


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    """The root of a target with two whole backups and a partial one between them."""
    return Path(shutil.copytree(template, tmp_path / "place"))


def backups_in(folder: Path, job: str | None = None) -> dict[str, str]:
    store = LooseFolder(folder)
    backups = Catalogue("copy", store).backups(job or store.job or "?")
    assert [verify(backup) for backup in backups if backup.is_finished] == [[] for b in backups if b.is_finished]
    return {backup.id: backup.status for backup in backups}


ALL = {
    backup_id(NIGHT + timedelta(days=1)): "complete",
    backup_id(NIGHT + timedelta(hours=1)): "partial",
    NAME: "complete",
}


# The three layouts


def test_the_root_of_a_target_is_read(place: Path) -> None:
    """V18"""
    store = LooseFolder(place)
    assert store.job == JOB
    assert Catalogue("copy", store).jobs() == [JOB]
    assert backups_in(place) == ALL


def test_a_jobs_folder_is_read(place: Path) -> None:
    """V18"""
    store = LooseFolder(place / JOB)
    assert store.job == JOB
    assert store.listdir() == [Item(JOB, None)]
    assert Catalogue("copy", store).jobs() == [JOB]
    assert backups_in(place / JOB) == ALL


@pytest.mark.parametrize("name", list(ALL))
def test_the_folder_of_a_single_backup_is_read(place: Path, name: str) -> None:
    """V18: complete or partial."""
    store = LooseFolder(place / JOB / name)
    assert store.job == JOB
    assert store.listdir() == [Item(JOB, None)]
    assert Catalogue("copy", store).jobs() == [JOB]
    assert backups_in(place / JOB / name) == {name: ALL[name]}
    with Catalogue("copy", store).select(JOB).open("folder/www/data.bin") as stream:
        assert stream.read() in (b"1", b"3")


def test_all_three_show_the_same_files(place: Path) -> None:
    from_root, from_job = tree(LooseFolder(place)), tree(LooseFolder(place / JOB))
    assert from_root == from_job
    single = tree(LooseFolder(place / JOB / NAME))
    assert single == {path: data for path, data in from_root.items() if path.startswith(f"{JOB}/{NAME}")}
    assert len(single) == 8


@pytest.mark.parametrize("name", ["rescued", "web02", "2020-01-01T000000Z", "my copy, größer", "web01.bak"])
def test_the_folder_may_have_any_name_now(place: Path, tmp_path: Path, name: str) -> None:
    """V18: the manifests tell the job, and the backup."""
    shutil.copytree(place / JOB / NAME, tmp_path / "a" / name)
    assert backups_in(tmp_path / "a" / name) == {NAME: "complete"}
    shutil.copytree(place / JOB, tmp_path / "b" / name)
    assert LooseFolder(tmp_path / "b" / name).job == JOB
    assert backups_in(tmp_path / "b" / name) == ALL


def test_a_root_may_have_the_name_of_its_job(place: Path, tmp_path: Path) -> None:
    """A target at /backup/web01 has its backups in /backup/web01/web01."""
    place.rename(tmp_path / JOB)
    assert backups_in(tmp_path / JOB) == ALL
    assert backups_in(tmp_path / JOB / JOB) == ALL


@pytest.mark.parametrize(
    ("below", "given"),
    [
        ("", "."),
        ("web01", "."),
        ("web01", ".."),
        (f"web01/{NAME}", "."),
        (f"web01/{NAME}", ".."),
        (f"web01/{NAME}", "../.."),
    ],
)
def test_the_folder_may_be_written_as_people_do(
    place: Path, monkeypatch: pytest.MonkeyPatch, below: str, given: str
) -> None:
    monkeypatch.chdir(place / below)
    store = LooseFolder(Path(given))
    assert store.job == JOB
    assert NAME in backups_in(Path(given))
    monkeypatch.chdir("/")
    assert NAME in {backup.id for backup in Catalogue("copy", store).backups(JOB)}


def test_some_backups_copied_into_a_folder_are_read(place: Path, tmp_path: Path) -> None:
    """V18: `cp -r web01/2026-11-23* rescued/`"""
    (tmp_path / "rescued").mkdir()
    for path in (place / JOB).glob("2026-11-23*"):
        if path.is_dir():
            shutil.copytree(path, tmp_path / "rescued" / path.name)
        else:
            shutil.copy(path, tmp_path / "rescued")
    assert len(backups_in(tmp_path / "rescued")) == 2


def test_the_manifest_of_the_job_is_found_behind_a_damaged_one(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / JOB, tmp_path / "rescued")
    for name in sorted(ALL)[1:]:
        for path in (tmp_path / "rescued").glob(f"{name}*.json"):
            path.write_bytes(b"nothing\n")
    assert LooseFolder(tmp_path / "rescued").job == JOB


def test_what_is_kept_can_be_seen(place: Path) -> None:
    """R20"""
    (place / JOB / f"{NAME}.keep").write_bytes(b"before the move")
    for folder in (place, place / JOB):
        backups = Catalogue("copy", LooseFolder(folder)).backups(JOB)
        assert [backup.id for backup in backups if backup.is_kept] == [NAME]
        assert backups[-1].keep_reason() == "before the move"


def test_an_unfinished_backup_is_unfinished_here_too(place: Path) -> None:
    (place / JOB / f"{NAME}.json").unlink()
    for folder in (place, place / JOB):
        assert backups_in(folder)[NAME] == "unfinished"
    assert backups_in(place / JOB / NAME) == {NAME: "complete"}, "its own copy of the manifest makes it whole"


def test_of_several_jobs_none_is_taken_for_the_one_that_is_meant(place: Path, tmp_path: Path) -> None:
    with Target(Config(path=place)) as store:
        store_backup(store, make_backup(tmp_path / "other", job="web02"))
    store = LooseFolder(place)
    assert store.job is None
    assert Catalogue("copy", store).jobs() == [JOB, "web02"]
    assert backups_in(place, JOB) == ALL
    assert backups_in(place, "web02") == {NAME: "complete"}


def test_folders_beside_the_job_are_not_taken_for_one(place: Path) -> None:
    for name in ("lost+found", ".Trash-1000", "photos"):
        (place / name).mkdir()
    (place / "photos/2026-11-23").mkdir()
    (place / "lost+found").chmod(0)
    assert LooseFolder(place).job == JOB
    assert backups_in(place) == ALL


def test_another_job_than_the_folders_holds_nothing(place: Path) -> None:
    for folder in (place, place / JOB, place / JOB / NAME):
        catalogue = Catalogue("copy", LooseFolder(folder))
        assert catalogue.backups("web02") == []
        with pytest.raises(UsageError, match="holds no backup of job web02") as caught:
            catalogue.select("web02")
        assert caught.value.hint == f"it holds jobs: {JOB}"


# Damage


@pytest.mark.parametrize("below", ["", JOB, f"{JOB}/{NAME}"])
@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        ("folder/www/data.bin", lambda path: path.write_bytes(b"2"), "has changed"),
        ("folder/www/data.bin", lambda path: path.write_bytes(b""), "has 0 bytes, not 1"),
        ("SHA256SUMS", lambda path: path.unlink(), "is missing"),
        ("PICKUP.txt", lambda path: path.unlink(), "is missing"),
        ("extra", lambda path: path.touch(), "is no part of the backup"),
    ],
)
def test_damage_is_found_in_every_layout(
    place: Path, below: str, file: str, spoil: Callable[[Path], object], said: str
) -> None:
    """V1, V2, V18"""
    spoil(place / JOB / NAME / file)
    backup = Catalogue("copy", LooseFolder(place / below)).select(JOB, NAME)
    [finding] = verify(backup)
    assert finding.startswith(f"{JOB}/{NAME}/{file} {said}")


def test_every_bit_of_the_manifest_of_a_single_backup_counts(place: Path) -> None:
    """V1: whatever is flipped, it is never listed as whole."""
    manifest = place / JOB / NAME / "manifest.json"
    data = manifest.read_bytes()
    for position in range(len(data)):
        manifest.write_bytes(data[:position] + bytes([data[position] ^ 1 << position % 8]) + data[position + 1 :])
        with pytest.raises(DamageError, match=r"manifest\.json"):
            LooseFolder(manifest.parent)
    manifest.write_bytes(data)
    assert backups_in(manifest.parent) == {NAME: "complete"}


def test_a_manifest_that_was_cut_off_is_damage_and_named(place: Path) -> None:
    """V2"""
    manifest = place / JOB / NAME / "manifest.json"
    data = manifest.read_bytes()
    for length in range(0, len(data), 7):
        manifest.write_bytes(data[:length])
        with pytest.raises(DamageError, match=f"{NAME}/manifest.json is cut off"):
            LooseFolder(manifest.parent)


def test_a_single_backup_without_its_manifest_is_damage_and_named(place: Path) -> None:
    """V2"""
    (place / JOB / NAME / "manifest.json").unlink()
    with pytest.raises(DamageError, match=f"{NAME}/manifest.json is missing") as caught:
        LooseFolder(place / JOB / NAME)
    assert "beside its folder" in caught.value.hint


def test_a_backup_of_a_later_format_says_what_to_do(place: Path) -> None:
    manifest = place / JOB / NAME / "manifest.json"
    manifest.write_bytes(encode(replace(decode(manifest.read_bytes()), format=(9, 0))))
    with pytest.raises(LaterFormatError, match="has format") as caught:
        LooseFolder(manifest.parent)
    assert caught.value.hint == "use the version of Pickup that wrote it"


# A folder that is none, and what is in it


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "absent", tmp_path / "file"):
        with pytest.raises(UsageError, match=f"--from {path}: there is no such folder"):
            LooseFolder(path)


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    store = LooseFolder(tmp_path)
    assert store.job is None
    assert Catalogue("copy", store).jobs() == []
    assert Catalogue("copy", store).backups(JOB) == []


def test_nothing_in_it_can_be_changed(place: Path) -> None:
    for below in ("", JOB, f"{JOB}/{NAME}"):
        store = LooseFolder(place / below)
        before = sorted(place.rglob("*"))
        for call in (
            lambda store: put(store, f"{JOB}/file", b"1"),
            lambda store: store.commit(f"{JOB}/file", b"1"),
            lambda store: store.delete(f"{JOB}/{NAME}"),
        ):
            with pytest.raises(StoreError, match="is only read from"):
                call(store)
        assert sorted(place.rglob("*")) == before


def test_what_is_absent_is_not_found(place: Path) -> None:
    for below in ("", JOB, f"{JOB}/{NAME}"):
        store = LooseFolder(place / below)
        for path in (f"{JOB}/{NAME}/absent", f"{JOB}/absent", "absent", f"{JOB}/{NAME}", f"{JOB}/{NAME}x/PICKUP.txt"):
            with pytest.raises(FileNotFoundError):
                content(store, path)
            assert path.endswith(NAME) or store.listdir(path) == []
        assert store.listdir(f"{JOB}/{NAME}/folder") == [Item("www", None)]


def test_links_and_special_files_are_none_of_ours_and_stop_nothing(place: Path) -> None:
    """I9: a FIFO without a writer would be waited for."""
    folder = place / JOB / NAME
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(folder)
    (folder / "RESTORE.txt").unlink()
    os.mkfifo(folder / "RESTORE.txt")
    for below in ("", JOB, f"{JOB}/{NAME}"):
        backup = Catalogue("copy", LooseFolder(place / below)).select(JOB, NAME)
        assert verify(backup) == [f"{JOB}/{NAME}/RESTORE.txt is missing"]
        with pytest.raises(FileNotFoundError):
            backup.open("RESTORE.txt")


@pytest.mark.parametrize("below", ["", JOB, f"{JOB}/{NAME}"])
@pytest.mark.parametrize("what", ["fifo", "link", "socket", "folder"])
def test_a_manifest_that_is_no_regular_file_is_none(place: Path, tmp_path: Path, below: str, what: str) -> None:
    """I9: nothing is waited for, and nothing outside of the folder is read."""
    shutil.copytree(place, tmp_path / "elsewhere")
    for path in (place / JOB / NAME / "manifest.json", *(place / JOB).glob("*.json")):
        path.unlink()
        if what == "fifo":
            os.mkfifo(path)
        elif what == "link":
            path.symlink_to(tmp_path / "elsewhere" / path.relative_to(place))
        elif what == "folder":
            path.mkdir()
        else:
            with closing(socket.socket(socket.AF_UNIX)) as one:
                os.symlink(path.parent, tmp_path / "s")  # a socket's path is short
                one.bind(f"{tmp_path}/s/{path.name}")
                (tmp_path / "s").unlink()
    if below.endswith(NAME):
        with pytest.raises(DamageError, match=r"manifest\.json is missing"):
            LooseFolder(place / below)
    else:
        assert set(backups_in(place / below, JOB).values()) == {"unfinished"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make devices")
def test_a_device_is_not_read(place: Path) -> None:
    """I9: /dev/zero has no end."""
    (place / JOB / NAME / "RESTORE.txt").unlink()
    os.mknod(place / JOB / NAME / "RESTORE.txt", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    for below in ("", JOB, f"{JOB}/{NAME}"):
        backup = Catalogue("copy", LooseFolder(place / below)).select(JOB, NAME)
        assert verify(backup) == [f"{JOB}/{NAME}/RESTORE.txt is missing"]
        with pytest.raises(FileNotFoundError):
            backup.open("RESTORE.txt")


def test_no_folder_is_entered_through_a_link(place: Path, tmp_path: Path) -> None:
    """I9: what lies behind it is no part of what was copied."""
    (place / JOB / NAME / "folder").rename(tmp_path / "moved")
    (place / JOB / NAME / "folder").symlink_to(tmp_path / "moved")
    for below in ("", JOB, f"{JOB}/{NAME}"):
        store = LooseFolder(place / below)
        assert store.listdir(f"{JOB}/{NAME}/folder") == store.listdir(f"{JOB}/{NAME}/folder/www") == []
        with pytest.raises(FileNotFoundError):
            store.get(f"{JOB}/{NAME}/folder/www/data.bin")
    (tmp_path / "link").symlink_to(place)
    assert LooseFolder(tmp_path / "link").job == JOB, "the folder itself may be named by one"


def test_the_place_says_where_it_is(place: Path) -> None:
    assert LooseFolder(place).place == str(place)
    assert LooseFolder(place / JOB / "..").place == str(place)


def test_a_staged_backup_that_was_never_stored_can_be_read(tmp_path: Path) -> None:
    """S13: what a run keeps where no target took it; only its mark is still to come."""
    made: Made = make_backup(tmp_path / "made")
    [backup] = Catalogue("copy", LooseFolder(made.folder)).backups(JOB)
    assert backup.manifest == made.manifest
    assert verify(backup) == [f"{JOB}/{NAME}/PICKUP.txt is missing"]
