"""Publish: a backup is finished when all of it is there, and not a moment before."""

import io
import os
from collections.abc import Callable, Collection
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pickup_core.artefact import Readable
from pickup_core.catalogue import Catalogue
from pickup_core.errors import StoreError
from pickup_core.manifest import backup_id, decode
from pickup_core.publish import is_mark_of, mark_text
from pickup_core.store import Item, Store
from pickup_core.verify import verify
from target_profiles.folder import Config, Target
from tests.builders import MemoryStore
from tests.places import (
    CHANGING,
    JOB,
    NIGHT,
    Cut,
    Interrupted,
    Made,
    Watched,
    content,
    make_backup,
    put,
    store_backup,
    tree,
)

NAME = backup_id(NIGHT)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_backup(tmp_path / "made")


def status_of(store: Store, name: str = NAME) -> str:
    return {backup.id: backup.status for backup in Catalogue("there", store).backups(JOB)}.get(name, "absent")


# The order of things


def test_the_mark_comes_first_and_the_manifest_last(made: Made) -> None:
    watched = Watched(MemoryStore())
    store_backup(watched, made)
    assert watched.changes() == [
        ("put", f"{JOB}/{NAME}/PICKUP.txt"),
        ("put_folder", f"{JOB}/{NAME}"),
        ("commit", f"{JOB}/{NAME}.json"),
    ]


def test_everything_is_confirmed_before_the_manifest_and_the_manifest_after(made: Made) -> None:
    watched = Watched(MemoryStore())
    store_backup(watched, made, read_back=True)
    [commit] = [number for number, call in enumerate(watched.calls) if call[0] == "commit"]
    before, after = watched.calls[:commit], watched.calls[commit + 1 :]
    expected = {f"{JOB}/{NAME}/{file.path}" for file in made.manifest.files} | {f"{JOB}/{NAME}/manifest.json"}
    assert {path for name, path in before if name == "sha256"} == expected
    assert ("listdir", f"{JOB}/{NAME}") in before
    assert ("get", f"{JOB}/{NAME}.json") in after


def test_without_read_back_no_file_is_read(made: Made) -> None:
    watched = Watched(MemoryStore())
    store_backup(watched, made)
    assert [call for call in watched.calls if call[0] in ("get", "sha256")] == [("get", f"{JOB}/{NAME}.json")]


def test_what_is_stored_is_what_was_staged(made: Made) -> None:
    store = MemoryStore()
    store_backup(store, made)
    staged = {p.relative_to(made.folder).as_posix(): p.read_bytes() for p in made.folder.rglob("*") if p.is_file()}
    expected = {f"{JOB}/{NAME}/{path}": data for path, data in staged.items()}
    expected |= {f"{JOB}/{NAME}/PICKUP.txt": mark_text(JOB, NAME), f"{JOB}/{NAME}.json": made.encoded}
    assert tree(store) == expected
    assert content(store, f"{JOB}/{NAME}/manifest.json") == made.encoded
    assert decode(made.encoded) == made.manifest


def test_a_partial_backup_has_a_name_of_its_own(tmp_path: Path) -> None:
    store = MemoryStore()
    store_backup(store, make_backup(tmp_path / "made", statuses={"postgres/main": "failed"}))
    assert f"{JOB}/{NAME}.partial.json" in tree(store)
    assert status_of(store) == "partial"


# The mark


def test_the_mark_names_its_backup_and_is_known_again() -> None:
    mark = mark_text(JOB, NAME)
    assert is_mark_of(mark, JOB, NAME)
    assert b"RESTORE.txt" in mark
    assert not is_mark_of(mark, "web", NAME)
    assert not is_mark_of(mark, "web011", NAME)
    assert not is_mark_of(mark, JOB, "2026-11-24T031502Z")
    assert not is_mark_of(b"", JOB, NAME)
    assert not any(is_mark_of(mark[:length], JOB, NAME) for length in range(mark.index(NAME.encode()) + len(NAME)))


# What a place may do wrong


class Wrong(Watched):
    """A place that changes what it is given: `change` gives what is stored in place of a file's content, or raises."""

    def __init__(self, store: Store, path: str, change: Callable[[bytes], bytes | None]) -> None:
        super().__init__(store)
        self._path = path
        self._change = change
        self.fired = False

    def put(self, path: str, stream: Readable) -> None:
        self._store(path, stream.read())

    def commit(self, path: str, data: bytes) -> None:
        self._store(path, data)

    def put_folder(self, folder: Path, path: str, without: Collection[str] = ()) -> None:
        Store.put_folder(self, folder, path, without)

    def _store(self, path: str, data: bytes) -> None:
        self.calls.append(("put", path))
        kept: bytes | None = data
        if path.endswith(self._path):
            self.fired = True
            kept = self._change(data)
        if kept is not None:
            self.store.put(path, io.BytesIO(kept))


FILES = ["PICKUP.txt", "www/data.bin", "RESTORE.txt", "SHA256SUMS", "config.py", "/manifest.json", f"{NAME}.json"]


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("cut short", lambda data: data[:-1]),
        ("empty", lambda data: b""),
        ("longer", lambda data: data + b"\n"),
        ("not there", lambda data: None),
    ],
)
def test_a_place_that_says_ok_but_stores_another_size_is_found_out(
    made: Made, path: str, what: str, change: Any
) -> None:
    """T5: the file is named, there is no backup, and nothing is left."""
    store = MemoryStore()
    wrong = Wrong(store, path, change)
    with pytest.raises((StoreError, FileNotFoundError)) as caught:
        store_backup(wrong, made)
    assert wrong.fired
    assert path in str(caught.value)
    assert tree(store) == {}


def test_the_message_tells_both_sizes(made: Made) -> None:
    """T5"""
    with pytest.raises(StoreError) as caught:
        store_backup(Wrong(MemoryStore(), "www/data.bin", lambda data: data[:-4]), made)
    assert str(caught.value) == f"{JOB}/{NAME}/folder/www/data.bin was stored with 11 bytes in place of 15 bytes"
    with pytest.raises(StoreError) as caught:
        store_backup(Wrong(MemoryStore(), "www/data.bin", lambda data: None), made)
    assert str(caught.value) == f"{JOB}/{NAME}/folder/www/data.bin is not there in place of 15 bytes"


@pytest.mark.parametrize("path", FILES)
def test_flipped_bytes_are_found_by_reading_back(made: Made, path: str) -> None:
    """T6: the manifest itself always is."""
    store = MemoryStore()
    wrong = Wrong(store, path, lambda data: bytes([data[0] ^ 1]) + data[1:])
    with pytest.raises(StoreError, match=path):
        store_backup(wrong, made, read_back=True)
    assert wrong.fired
    assert tree(store) == {}


@pytest.mark.parametrize("path", FILES[:-1])
def test_flipped_bytes_that_were_not_read_back_are_found_by_verify(made: Made, path: str) -> None:
    """T6"""
    store = MemoryStore()
    wrong = Wrong(store, path, lambda data: bytes([data[0] ^ 1]) + data[1:])
    store_backup(wrong, made)
    assert wrong.fired
    [backup] = Catalogue("there", store).backups(JOB)
    [finding] = verify(backup)
    assert path in finding


def test_a_file_that_is_missing_in_the_staging_area_is_named(made: Made) -> None:
    """I1"""
    store = MemoryStore()
    (made.folder / "folder/www/data.bin").unlink()
    with pytest.raises(StoreError, match=r"folder/www/data.bin is not there in place of 15 bytes"):
        store_backup(store, made)
    assert tree(store) == {}


# Broken off


@pytest.mark.parametrize("moment", ["before", "half", "after"])
@pytest.mark.parametrize("error", [Cut, ConnectionResetError, StoreError, KeyboardInterrupt])
def test_wherever_it_breaks_off_nothing_is_left_and_the_others_are_whole(
    tmp_path: Path, made: Made, moment: str, error: type[BaseException]
) -> None:
    """T2, I1: and the exception gets out as it is."""
    for count in range(1, 5):
        store = MemoryStore()
        store_backup(store, make_backup(tmp_path / f"before-{count}", NIGHT - timedelta(days=1)))
        before, raised = tree(store), error("broken off")
        interrupted = Interrupted(store, count, moment, raised)
        if count == 4:
            store_backup(interrupted, made)
            assert not interrupted.fired
            break
        with pytest.raises(error) as caught:
            store_backup(interrupted, made)
        assert caught.value is raised
        assert interrupted.fired
        assert tree(store) == before
    assert [verify(backup) for backup in Catalogue("there", store).backups(JOB)] == [[], []]


def test_an_interruption_while_the_manifest_is_read_back_leaves_no_backup(made: Made) -> None:
    """I1"""

    class Unread(Watched):
        def get(self, path: str) -> Any:
            raise TimeoutError(f"{path}: nobody answers")

    store = MemoryStore()
    with pytest.raises(TimeoutError, match="json"):
        store_backup(Unread(store), made)
    assert tree(store) == {}


class Stuck(Watched):
    """A place that after the commit cannot be read, and that cannot delete some paths."""

    def __init__(self, store: Store, refused: Callable[[str], bool]) -> None:
        super().__init__(store)
        self._refused = refused
        self.fired = False

    def get(self, path: str) -> Any:
        raise ConnectionResetError("gone")

    def delete(self, path: str) -> None:
        if self._refused(path):
            self.fired = True
            raise PermissionError(13, "Permission denied", path)
        super().delete(path)


def test_where_the_manifest_cannot_be_taken_back_its_files_stay_too(made: Made) -> None:
    """I1: finished means whole, whatever happens."""
    store = MemoryStore()
    stuck = Stuck(store, lambda path: path.endswith(".json"))
    with pytest.raises(ConnectionResetError):
        store_backup(stuck, made)
    assert stuck.fired
    [backup] = Catalogue("there", store).backups(JOB)
    assert backup.status == "complete"
    assert verify(backup) == []


def test_where_nothing_may_be_deleted_the_first_error_is_what_is_said(made: Made) -> None:
    """T19: and what is left is not a backup."""
    store = MemoryStore()

    class NoDelete(Wrong):
        def delete(self, path: str) -> None:
            raise PermissionError(13, "Permission denied", path)

    with pytest.raises(StoreError, match="was stored with 0 bytes"):
        store_backup(NoDelete(store, "SHA256SUMS", lambda data: b""), made)
    assert status_of(store) == "unfinished"


def test_an_account_that_may_not_delete_can_publish(made: Made) -> None:
    """T19, T33: nothing is deleted on the way, not even what is not there."""
    watched = Watched(MemoryStore())
    store_backup(watched, made)
    assert "delete" not in {name for name, _ in watched.calls}


# Never over another one


@pytest.mark.parametrize("there", [f"{NAME}.json", f"{NAME}.partial.json", f"{NAME}/PICKUP.txt", f"{NAME}/photo.jpg"])
def test_what_has_the_name_already_is_neither_overwritten_nor_deleted(made: Made, there: str) -> None:
    """T7"""
    store = MemoryStore()
    put(store, f"{JOB}/{there}", b"theirs")
    watched = Watched(store)
    with pytest.raises(FileExistsError, match=f"{JOB}/{there.partition('/')[0]} exists already at this target"):
        store_backup(watched, made)
    assert watched.changes() == []
    assert tree(store) == {f"{JOB}/{there}": b"theirs"}


def test_what_lies_beside_it_is_in_nobodys_way(made: Made) -> None:
    store = MemoryStore()
    for name in ("2026-11-23T031501Z.json", f"{NAME}x/file", f"{NAME}.keep", f"x{NAME}.json"):
        put(store, f"{JOB}/{name}", b"theirs")
    store_backup(store, made)
    assert status_of(store) == "complete"


def test_of_two_machines_that_begin_in_the_same_second_one_wins(tmp_path: Path) -> None:
    """T7, R19: the loser deletes nothing of the winner's, wherever that one is."""
    mine = make_backup(tmp_path / "mine", contents={"folder/www": b"mine"})
    theirs = make_backup(tmp_path / "theirs", contents={"folder/www": b"theirs"}, machine="ffffffffffffffff")
    steps: list[Callable[[Store], None]] = [
        lambda store: put(store, f"{JOB}/{NAME}/PICKUP.txt", mark_text(JOB, NAME)),
        lambda store: store.put_folder(theirs.folder, f"{JOB}/{NAME}"),
        lambda store: store.commit(f"{JOB}/{NAME}.json", theirs.encoded),
    ]

    class Beside(Watched):
        """Lets the other machine take its steps after this one has looked whether the name is free."""

        def put(self, path: str, stream: Readable) -> None:
            for step in steps[:taken]:
                step(self.store)
            super().put(path, stream)

    for taken in (1, 2, 3):
        store = MemoryStore()
        beside = Beside(store)
        with pytest.raises(FileExistsError):
            store_backup(beside, mine)
        assert [call for call in beside.changes() if call[0] == "delete"] == []
        for step in steps[taken:]:
            step(store)
        [backup] = Catalogue("there", store).backups(JOB)
        assert verify(backup) == []
        assert backup.read_manifest()[1] == theirs.encoded


def test_a_name_that_is_taken_on_a_disk_is_refused_too(tmp_path: Path, made: Made) -> None:
    """T7, T14"""
    with Target(Config(path=tmp_path / "place")) as store:
        store.create_root()
        (tmp_path / "place" / JOB / NAME).mkdir(parents=True)
        with pytest.raises(FileExistsError):
            store_backup(store, made)
        os.rmdir(tmp_path / "place" / JOB / NAME)
        store_backup(store, made)
        assert status_of(store) == "complete"


def test_a_listing_that_fails_stops_it_before_anything_is_stored(made: Made) -> None:
    class Unlisted(Watched):
        def listdir(self, folder: str = "") -> list[Item]:
            raise TimeoutError("nobody answers")

    unlisted = Unlisted(MemoryStore())
    with pytest.raises(TimeoutError):
        store_backup(unlisted, made)
    assert not {name for name, _ in unlisted.calls} & set(CHANGING)
