"""Which backups there are: only the place's listing says; the manifests say the rest, and are read once."""

import logging
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pickup_core.catalogue import Backup, Catalogue, read_small
from pickup_core.errors import DamageError, ProcessError, StoreError, UsageError
from pickup_core.manifest import UnfinishedError, backup_id, encode
from pickup_core.memory import Memory
from pickup_core.store import Item, Store
from tests.builders import MemoryStore
from tests.places import JOB, NIGHT, Watched, content, make_backup, put, store_backup, store_nights
from tests.target_contract import Pieces

NAME = backup_id(NIGHT)


@pytest.fixture
def store() -> Watched:
    return Watched(MemoryStore())


def catalogue_of(store: Store, state: Path | None = None) -> Catalogue:
    return Catalogue("disk", store, Memory(state) if state else None)


def statuses(store: Store, state: Path | None = None) -> dict[str, str]:
    return {backup.id: backup.status for backup in catalogue_of(store, state).backups(JOB)}


def exchange(store: Store, path: str, data: bytes) -> None:
    store.delete(path)
    put(store, path, data)


def count(store: Watched, name: str) -> int:
    return sum(call[0] == name for call in store.calls)


# The listing


def test_an_empty_place_has_no_backups_and_no_jobs(store: Watched) -> None:
    assert catalogue_of(store).backups(JOB) == []
    assert catalogue_of(store).jobs() == []


def test_the_newest_backup_comes_first(store: Watched, tmp_path: Path) -> None:
    nights = store_nights(store, tmp_path / "nights", 4, NIGHT + timedelta(days=400))
    nights = [*store_nights(store, tmp_path / "earlier", 3), *nights]
    backups = catalogue_of(store).backups(JOB)
    assert [backup.id for backup in backups] == [night.manifest.id for night in reversed(nights)]
    assert [backup.manifest for backup in backups] == [night.manifest for night in reversed(nights)]
    assert [backup.started for backup in backups] == [night.manifest.started for night in reversed(nights)]


def test_each_state_is_told(store: Watched, tmp_path: Path) -> None:
    """T15: finished is what has a manifest that is whole."""
    nights = store_nights(store, tmp_path / "nights", 5)
    store_backup(store, make_backup(tmp_path / "partial", NIGHT + timedelta(days=5), statuses={"a/b": "failed"}))
    store.delete(f"{JOB}/{nights[1].manifest.id}.json")
    for night, data in ((nights[2], nights[2].encoded[:-2]), (nights[3], nights[3].encoded.replace(b"www", b"xxx"))):
        exchange(store, f"{JOB}/{night.manifest.id}.json", data)
    store.delete(f"{JOB}/{nights[4].manifest.id}")
    assert list(statuses(store).values()) == ["partial", "damaged", "damaged", "unfinished", "unfinished", "complete"]
    backups = catalogue_of(store).backups(JOB)
    assert [backup.is_finished for backup in backups] == [True, False, False, False, False, True]
    assert [backup.has_folder for backup in backups] == [True, False, True, True, True, True]


def test_what_is_kept_is_told(store: Watched, tmp_path: Path) -> None:
    """R20"""
    store_nights(store, tmp_path / "nights", 2)
    put(store, f"{JOB}/{NAME}.keep", b"before the move")
    assert [backup.is_kept for backup in catalogue_of(store).backups(JOB)] == [False, True]


def test_a_reason_to_keep_alone_is_no_backup(store: Watched) -> None:
    put(store, f"{JOB}/{NAME}.keep", b"before the move")
    assert catalogue_of(store).backups(JOB) == []


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "2026-11-23", "2026-11-23T031502Z.json.bak", "2026-11-23T031502Z.zip", "2026-13-45T031502Z.json",
     "2026-11-23T031502", "x2026-11-23T031502Z.json", "archive.json", "2026-11-23t031502z.json", "2026-11-23T031502Z"],
)  # fmt: skip
def test_a_foreign_file_is_passed_over(store: Watched, name: str) -> None:
    """R3"""
    put(store, f"{JOB}/{name}", b"theirs")
    assert catalogue_of(store).backups(JOB) == []


def test_a_folder_with_the_name_of_a_manifest_is_none(store: Watched, tmp_path: Path) -> None:
    """R3"""
    put(store, f"{JOB}/{NAME}.json/file", b"theirs")
    assert statuses(store) == {}
    put(store, f"{JOB}/{NAME}/PICKUP.txt", b"mark")
    assert statuses(store) == {NAME: "unfinished"}


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("of another backup", {"id": "2026-11-24T031502Z"}),
        ("of another job", {"job": "web02"}),
    ],
)
def test_a_manifest_under_another_name_is_damaged(
    store: Watched, tmp_path: Path, what: str, change: dict[str, Any]
) -> None:
    """R7"""
    made = make_backup(tmp_path / "made")
    store_backup(store, made)
    exchange(store, f"{JOB}/{NAME}.json", encode(replace(made.manifest, **change)))
    [backup] = catalogue_of(store).backups(JOB)
    assert backup.status == "damaged"
    with pytest.raises(DamageError, match=f"{JOB}/{NAME}.json is the manifest of "):
        _ = backup.manifest


def test_a_partial_backup_under_the_name_of_a_complete_one_is_damaged(store: Watched, tmp_path: Path) -> None:
    """R7"""
    made = make_backup(tmp_path / "made", statuses={"a/b": "failed"})
    store_backup(store, made)
    store.delete(f"{JOB}/{NAME}.partial.json")
    put(store, f"{JOB}/{NAME}.json", made.encoded)
    [backup] = catalogue_of(store).backups(JOB)
    assert backup.status == "damaged"
    with pytest.raises(DamageError, match="wrong name for a backup of its kind"):
        _ = backup.manifest


def test_an_unfinished_backup_has_no_manifest_to_give(store: Watched) -> None:
    put(store, f"{JOB}/{NAME}/PICKUP.txt", b"mark")
    [backup] = catalogue_of(store).backups(JOB)
    with pytest.raises(UnfinishedError):
        _ = backup.manifest


def test_a_manifest_that_goes_while_it_is_looked_at_is_no_trouble(store: Watched, tmp_path: Path) -> None:
    """V15"""
    store_nights(store, tmp_path / "nights", 2)
    backups = catalogue_of(store).backups(JOB)
    store.delete(f"{JOB}/{NAME}.json")
    assert [backup.status for backup in backups] == ["complete", "unfinished"]


def test_the_jobs_of_a_place_are_its_folders_with_such_names(store: Watched, tmp_path: Path) -> None:
    for job in ("web02", "web01", "db.example"):
        store_backup(store, make_backup(tmp_path / job, job=job))
    for path in (".Trash/file", "lost+found/file", "-x/file", "pickup-probe"):
        store.store.files[path] = b"1"
    assert catalogue_of(store).jobs() == ["db.example", "web01", "web02"]


def test_a_listing_that_fails_is_an_error_and_never_an_empty_one(tmp_path: Path) -> None:
    """T34, T9"""

    class Unlisted(Watched):
        def listdir(self, folder: str = "") -> list[Item]:
            raise StoreError("the disk is not mounted")

    store = Watched(MemoryStore())
    store_nights(store, tmp_path / "nights", 2)
    assert len(statuses(store, tmp_path / "state")) == 2
    with pytest.raises(StoreError, match="not mounted"):
        catalogue_of(Unlisted(store), tmp_path / "state").backups(JOB)


# The copies of manifests


def test_one_listing_tells_every_state_and_no_manifest_is_read_twice(store: Watched, tmp_path: Path) -> None:
    store_nights(store, tmp_path / "nights", 5)
    store_backup(store, make_backup(tmp_path / "partial", NIGHT + timedelta(days=5), statuses={"a/b": "failed"}))
    store.calls.clear()
    first = statuses(store, tmp_path / "state")
    assert (count(store, "listdir"), count(store, "get")) == (1, 6)
    store.calls.clear()
    assert statuses(store, tmp_path / "state") == first
    assert store.calls == [("listdir", JOB)]
    store_backup(store, make_backup(tmp_path / "next", NIGHT + timedelta(days=6)))
    store.calls.clear()
    assert list(statuses(store, tmp_path / "state")) == [backup_id(NIGHT + timedelta(days=6)), *first]
    assert store.calls == [("listdir", JOB), ("get", f"{JOB}/{backup_id(NIGHT + timedelta(days=6))}.json")]


def test_a_damaged_manifest_is_read_once_for_status_and_trouble(store: Watched, tmp_path: Path) -> None:
    [night] = store_nights(store, tmp_path / "nights", 1)
    exchange(store, f"{JOB}/{night.manifest.id}.json", b"{}\n")
    store.calls.clear()
    [backup] = catalogue_of(store).backups(JOB)
    assert (backup.status, backup.is_finished) == ("damaged", False)
    assert f"{JOB}/{night.manifest.id}.json: " in backup.trouble
    assert count(store, "get") == 1


def test_a_reason_that_cannot_be_read_is_a_reason(store: Watched, tmp_path: Path) -> None:
    """Whatever it is that the target raises: an error of a program that it starts is one too."""
    [night] = store_nights(store, tmp_path / "nights", 1)
    put(store, f"{JOB}/{night.manifest.id}.keep", b"for the auditor")
    [backup] = catalogue_of(store).backups(JOB)
    assert backup.keep_reason() == "for the auditor"
    store.store = Failing()
    assert backup.keep_reason() == "the reason cannot be read: rsync failed"


class Failing(MemoryStore):
    """A place at which nothing can be read."""

    def get(self, path: str) -> Any:
        raise ProcessError("rsync failed")


def test_a_manifest_is_read_once_even_without_copies(store: Watched, tmp_path: Path) -> None:
    store_nights(store, tmp_path / "nights", 3)
    store.calls.clear()
    for backup in catalogue_of(store).backups(JOB):
        assert [backup.status, backup.is_finished, backup.manifest.job] == ["complete", True, JOB]
    assert (count(store, "listdir"), count(store, "get")) == (1, 3)


def test_the_copies_never_say_which_backups_there_are(store: Watched, tmp_path: Path) -> None:
    nights = store_nights(store, tmp_path / "nights", 3)
    state = tmp_path / "state"
    assert len(statuses(store, state)) == 3
    store.delete(f"{JOB}/{nights[0].manifest.id}.json")
    store.delete(f"{JOB}/{nights[1].manifest.id}.json")
    store.delete(f"{JOB}/{nights[1].manifest.id}")
    assert statuses(store, state) == {nights[2].manifest.id: "complete", nights[0].manifest.id: "unfinished"}
    store.delete(JOB)
    assert statuses(store, state) == {}


def test_a_manifest_that_was_cut_off_is_not_hidden_by_its_copy(store: Watched, tmp_path: Path) -> None:
    """V2"""
    [night] = store_nights(store, tmp_path / "nights", 1)
    assert statuses(store, tmp_path / "state") == {NAME: "complete"}
    exchange(store, f"{JOB}/{NAME}.json", night.encoded[:-1])
    assert statuses(store, tmp_path / "state") == {NAME: "unfinished"}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-10],
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data[:50] + b"!" + data[51:],
    ],
)
def test_a_copy_that_was_spoiled_is_read_anew(store: Watched, tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    store_nights(store, tmp_path / "nights", 1)
    statuses(store, tmp_path / "state")
    copy, summaries = sorted(path for path in (tmp_path / "state").rglob("*") if path.is_file())
    originals = copy.read_bytes(), summaries.read_bytes()
    copy.write_bytes(spoil(originals[0]))
    summaries.write_bytes(spoil(originals[1]))
    assert statuses(store, tmp_path / "state") == {NAME: "complete"}
    assert copy.read_bytes() == originals[0]
    before = count(store, "get")
    assert statuses(store, tmp_path / "state") == {NAME: "complete"}
    assert count(store, "get") == before


def test_where_the_summaries_are_lost_the_copies_do(store: Watched, tmp_path: Path) -> None:
    """So it is with the state folder of an earlier version."""
    store_nights(store, tmp_path / "nights", 3)
    before = count(store, "get")
    for _ in range(2):
        assert len(statuses(store, tmp_path / "state")) == 3
        [summaries] = (tmp_path / "state").rglob("summaries.jsonl")
        summaries.unlink()
    assert len(statuses(store, tmp_path / "state")) == 3
    assert count(store, "get") - before == 3
    assert len(summaries.read_bytes().splitlines()) == 3


def test_what_was_read_before_is_told_from_one_file(store: Watched, tmp_path: Path) -> None:
    store_nights(store, tmp_path / "nights", 3)
    expected = [(backup.id, backup.summary) for backup in catalogue_of(store).backups(JOB)]
    statuses(store, tmp_path / "state")
    for copy in (tmp_path / "state").rglob("*Z.json"):
        copy.unlink()
    before = count(store, "get")
    found = catalogue_of(store, tmp_path / "state").backups(JOB)
    assert [(backup.id, backup.summary) for backup in found] == expected
    assert count(store, "get") == before
    assert {backup.status for backup in found} == {"complete"}


def test_a_backup_that_was_made_anew_under_a_name_is_not_the_old_one(store: Watched, tmp_path: Path) -> None:
    """V3: where the size differs; where it does not, verify reads the place itself."""
    store_nights(store, tmp_path / "nights", 1)
    statuses(store, tmp_path / "state")
    store.delete(JOB)
    other = make_backup(tmp_path / "other", contents={"folder/other": b"another one"})
    store_backup(store, other)
    [backup] = catalogue_of(store, tmp_path / "state").backups(JOB)
    assert backup.manifest == other.manifest


def test_two_places_do_not_share_copies(tmp_path: Path) -> None:
    one, two = Watched(MemoryStore()), Watched(MemoryStore())
    store_backup(one, make_backup(tmp_path / "one", contents={"folder/www": b"one"}))
    store_backup(two, make_backup(tmp_path / "two", contents={"folder/www": b"two"}))
    for _ in range(2):
        digests = set()
        for store in (one, two):
            [backup] = catalogue_of(store, tmp_path / "state").backups(JOB)
            digests.add(backup.manifest.entries[0].artefacts[0].sha256)
        assert len(digests) == 2


def test_copies_of_backups_that_are_gone_go_too(store: Watched, tmp_path: Path) -> None:
    nights = store_nights(store, tmp_path / "nights", 3)
    store_backup(store, make_backup(tmp_path / "other", job="web02"))
    for job in (JOB, "web02"):
        for backup in catalogue_of(store, tmp_path / "state").backups(job):
            assert backup.is_finished
    assert len(_copies(tmp_path)) == 4
    for path in (f"{nights[0].manifest.id}.json", nights[0].manifest.id):
        store.delete(f"{JOB}/{path}")
    catalogue_of(store, tmp_path / "state").backups(JOB)
    names = sorted(path.relative_to(tmp_path / "state/manifests").parts[1:] for path in _copies(tmp_path))
    assert names == [(JOB, f"{night.manifest.id}.json") for night in nights[1:]] + [("web02", f"{NAME}.json")]


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_copies_are_private(store: Watched, tmp_path: Path, umask: int) -> None:
    """I7"""
    store_nights(store, tmp_path / "nights", 1)
    before = os.umask(umask)
    try:
        statuses(store, tmp_path / "state")
    finally:
        os.umask(before)
    found = [tmp_path / "state", *(tmp_path / "state").rglob("*")]
    assert len(found) == 6
    assert {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in found} == {(True, 0o700), (False, 0o600)}


def test_a_state_folder_that_cannot_be_used_is_not_missed(store: Watched, tmp_path: Path) -> None:
    """Reading needs the place alone."""
    store_nights(store, tmp_path / "nights", 2)
    (tmp_path / "file").touch()
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for state in (tmp_path / "file", tmp_path / "file/below", tmp_path / "open"):
        assert list(statuses(store, state).values()) == ["complete", "complete"]
    assert os.listdir(tmp_path / "open") == []


# Choosing one


@pytest.fixture
def five(store: Watched, tmp_path: Path) -> list[str]:
    """Five nights, of which the third and the fourth hold only one of two entries; and one that is unfinished."""
    first = store_nights(store, tmp_path / "first", 2)
    partial = store_nights(
        store, tmp_path / "partial", 2, NIGHT + timedelta(days=2),
        contents={"folder/www": b"1"}, statuses={"postgres/main": "failed"},
    )  # fmt: skip
    last = store_nights(store, tmp_path / "last", 1, NIGHT + timedelta(days=40))
    put(store, f"{JOB}/2027-02-01T031502Z/PICKUP.txt", b"mark")
    return [night.manifest.id for night in (*first, *partial, *last)]


def lacks_one(backup: Backup) -> str:
    return "" if backup.manifest.is_complete else "it is partial"


def test_latest_is_the_newest_that_is_finished(store: Watched, five: list[str]) -> None:
    assert catalogue_of(store).select(JOB).id == five[4]


def test_latest_reads_no_more_manifests_than_it_needs(store: Watched, five: list[str]) -> None:
    store.calls.clear()
    assert catalogue_of(store).select(JOB).id == five[4]
    assert store.calls == [("listdir", JOB), ("get", f"{JOB}/{five[4]}.json")]


def test_before_moves_the_point_from_which_latest_is_looked_for(store: Watched, five: list[str]) -> None:
    catalogue = catalogue_of(store)
    assert catalogue.select(JOB, before=NIGHT + timedelta(days=40)).id == five[3]
    assert catalogue.select(JOB, before=NIGHT + timedelta(days=40, seconds=1)).id == five[4]
    assert catalogue.select(JOB, before=NIGHT + timedelta(days=2)).id == five[1]
    with pytest.raises(UsageError, match="holds no backup of job web01 that is finished and was started before"):
        catalogue.select(JOB, before=NIGHT)


def test_latest_holds_what_is_asked_for(store: Watched, five: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """R13: and it is said what was passed over."""
    caplog.set_level(logging.INFO)
    found = catalogue_of(store).select(JOB, before=NIGHT + timedelta(days=39), lacks=lacks_one)
    assert found.id == five[1]
    assert f"passed over 2 newer backups; the newest is {five[3]}: it is partial" in caplog.text


def test_where_none_holds_what_is_asked_for_the_hint_says_what_there_is(store: Watched, five: list[str]) -> None:
    with pytest.raises(UsageError, match="it holds no backup of job web01 with everything") as caught:
        catalogue_of(store).select(JOB, lacks=lambda backup: "it is small", which="with everything")
    assert caught.value.hint == f"the newest is {five[4]}: it is small. One that is named is taken as it is"


def test_a_beginning_of_a_name_is_enough_where_it_is_the_only_one(store: Watched, five: list[str]) -> None:
    catalogue = catalogue_of(store)
    for name in (five[0], "2026-11-23", "2026-11-23T03", "2027-01"):
        assert catalogue.select(JOB, name).id == (five[4] if name == "2027-01" else five[0])


def test_a_beginning_of_several_names_lists_them(store: Watched, five: list[str]) -> None:
    with pytest.raises(UsageError, match="it holds 4 backups of job web01 whose name begins with '2026-11'") as caught:
        catalogue_of(store).select(JOB, "2026-11")
    assert caught.value.hint == "for example " + ", ".join(five[3::-1])


def test_a_name_that_there_is_not_says_so(store: Watched, five: list[str]) -> None:
    with pytest.raises(UsageError, match="holds no backup of job web01 whose name begins with '2025'") as caught:
        catalogue_of(store).select(JOB, "2025")
    assert "pickup.py list" in caught.value.hint


def test_a_job_that_there_is_not_names_those_that_there_are(store: Watched, five: list[str]) -> None:
    with pytest.raises(UsageError, match="it holds no backup of job db01") as caught:
        catalogue_of(store).select("db01")
    assert caught.value.hint == "it holds jobs: web01"


def test_an_unfinished_backup_is_refused_by_name(store: Watched, five: list[str]) -> None:
    with pytest.raises(UsageError, match="backup web01/2027-02-01T031502Z is unfinished: no manifest lies beside it"):
        catalogue_of(store).select(JOB, "2027-02")


def test_a_damaged_backup_is_given_by_name_and_passed_over_otherwise(
    store: Watched, five: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """V1, R7: never in silence."""
    path = f"{JOB}/{five[4]}.json"
    exchange(store, path, content(store, path).replace(b"www", b"xxx"))
    assert catalogue_of(store).select(JOB, five[4]).status == "damaged"
    assert catalogue_of(store).select(JOB).id == five[3]
    assert f"{path}: the manifest's own checksum is wrong; it is passed over" in caplog.text
    exchange(store, path, b"{\n")
    with pytest.raises(DamageError, match=f"{path} is cut off"):
        catalogue_of(store).select(JOB, five[4])


# Small files


def test_a_small_file_is_read_to_its_end_and_a_large_one_is_not(store: Watched) -> None:
    """R7: no place makes us read without an end."""
    put(store, "web01/file", b"x" * 1000)
    assert read_small(store, "web01/file", 1000) == b"x" * 1000
    with pytest.raises(DamageError, match="web01/file is larger than 999 bytes"):
        read_small(store, "web01/file", 999)
    with pytest.raises(FileNotFoundError):
        read_small(store, "web01/absent", 999)


def test_a_small_file_may_come_in_pieces() -> None:
    class Slow(MemoryStore):
        def get(self, path: str) -> Any:
            return _Opened(Pieces(self.files[path], 7))

    store = Slow()
    put(store, "web01/file", bytes(range(200)))
    assert read_small(store, "web01/file", 200) == bytes(range(200))
    with pytest.raises(DamageError):
        read_small(store, "web01/file", 199)


class _Opened:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __enter__(self) -> Any:
        return self._stream

    def __exit__(self, *_: object) -> None:
        pass


def _copies(folder: Path) -> list[Path]:
    return list((folder / "state").rglob("*Z*.json"))
