"""Prune: only what is ours and not wanted goes, the manifest first, and an interruption at any point loses nothing."""

import contextlib
import hashlib
import os
import shutil
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pickup_core.catalogue import Catalogue
from pickup_core.errors import StoreError
from pickup_core.history import History
from pickup_core.manifest import backup_id, encode
from pickup_core.memory import Memory
from pickup_core.prune import Pruned, clear_leftovers, prune
from pickup_core.publish import mark_text
from pickup_core.report import Report
from pickup_core.retention import Policy
from pickup_core.run import RunWish, run
from pickup_core.store import DryRun, Store
from pickup_core.verify import verify
from target_profiles.folder import Config, Target
from tests.builders import MemoryStore, config_text, loaded, ordinary_folder, python
from tests.places import (
    CONTENTS,
    JOB,
    MACHINE,
    NIGHT,
    Cut,
    Interrupted,
    Made,
    Watched,
    make_backup,
    put,
    store_backup,
    store_nights,
    tree,
)

ENTRIES = list(CONTENTS)
OTHER_MACHINE = "ffffffffffffffff"
LATER = NIGHT + timedelta(days=30)


@pytest.fixture(params=["memory", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
    else:
        with Target(Config(path=tmp_path / "place")) as target:
            target.create_root()
            yield target


def pruned(store: Store, now: datetime = LATER, entries: list[str] | None = ENTRIES, **policy: Any) -> Pruned:
    return prune(Catalogue("there", store), JOB, Policy(**policy), entries, now, MACHINE)


def finished(store: Store) -> list[str]:
    """Give the finished backups, the oldest first; each of them has to be whole."""
    backups = [backup for backup in Catalogue("there", store).backups(JOB) if backup.is_finished]
    assert [verify(backup) for backup in backups] == [[] for _ in backups]
    return [backup.id for backup in reversed(backups)]


def names(nights: list[Made]) -> list[str]:
    return [night.manifest.id for night in nights]


def belongs_to(path: str, ids: list[str]) -> bool:
    return any(path.startswith((f"{JOB}/{name}/", f"{JOB}/{name}.")) for name in ids)


OLD = "2026-11-20T031502Z"
FILES = {"folder/www/data.bin": b"1" * 100, "RESTORE.txt": b"2"}


def leave(store: Store, name: str, mark: bytes | None, files: dict[str, bytes]) -> None:
    for path, data in ({} if mark is None else {"PICKUP.txt": mark}).items() | files.items():
        put(store, f"{JOB}/{name}/{path}", data)


# What goes, and in which order


def test_what_no_rule_wants_goes_as_a_whole(store: Store, tmp_path: Path) -> None:
    nights = names(store_nights(store, tmp_path / "nights", 6))
    before = tree(store)
    result = pruned(store, last=3)
    assert result.warnings == []
    assert [decision.id for decision in result.decisions if not decision.keep] == nights[2::-1]
    assert tree(store) == {path: data for path, data in before.items() if not belongs_to(path, nights[:3])}
    assert finished(store) == nights[3:]


def test_each_decision_has_its_reasons(store: Store, tmp_path: Path) -> None:
    store_nights(store, tmp_path / "nights", 3)
    newest, middle, oldest = pruned(store, last=1, daily=2).decisions
    assert set(newest.reasons) >= {"folder/www newest", "postgres/main daily 2026-11-25"}
    assert set(middle.reasons) == {"folder/www daily 2026-11-24", "postgres/main daily 2026-11-24"}
    assert oldest.reasons == ()


def test_the_manifest_goes_first_and_the_mark_last(tmp_path: Path) -> None:
    """I3: what an interruption leaves is known as ours, and as unfinished."""
    watched = Watched(MemoryStore())
    [old, _] = names(store_nights(watched, tmp_path / "nights", 2))
    watched.calls.clear()
    pruned(watched, last=1)
    deletes = [path for name, path in watched.changes() if name == "delete"]
    assert len(deletes) == len(watched.changes())
    assert deletes[0] == f"{JOB}/{old}.json"
    assert deletes[-1] == f"{JOB}/{old}"
    assert f"{JOB}/{old}/PICKUP.txt" not in deletes


def test_where_everything_is_wanted_nothing_is_deleted(tmp_path: Path) -> None:
    watched = Watched(MemoryStore())
    nights = names(store_nights(watched, tmp_path / "nights", 3))
    watched.calls.clear()
    assert pruned(watched, last=3).warnings == []
    assert pruned(watched, days=365).warnings == []
    assert watched.changes() == []
    assert finished(watched) == nights


def test_pruning_again_changes_nothing(store: Store, tmp_path: Path) -> None:
    store_nights(store, tmp_path / "nights", 5)
    pruned(store, last=2)
    before = tree(store)
    assert all(decision.keep for decision in pruned(store, last=2).decisions)
    assert tree(store) == before


def test_a_job_without_backups_is_no_trouble(store: Store) -> None:
    assert pruned(store, last=1) == Pruned([], [], [], [], [])
    assert clear_leftovers(Catalogue("there", store), JOB, LATER) == ([], [])


# What stays


def test_the_newest_good_copy_of_every_entry_stays(store: Store, tmp_path: Path) -> None:
    """I2: an entry that fails for weeks, and runs that were asked for one entry alone."""
    [whole] = names(store_nights(store, tmp_path / "whole", 1))
    failed = names(store_nights(store, tmp_path / "failed", 8, NIGHT + timedelta(days=1),
                                contents={"folder/www": b"1"}, statuses={"postgres/main": "failed"}))  # fmt: skip
    skipped = names(store_nights(store, tmp_path / "skipped", 8, NIGHT + timedelta(days=9),
                                 contents={"postgres/main": b"2"}, statuses={"folder/www": "skipped"}))  # fmt: skip
    assert pruned(store, last=1).warnings == []
    assert finished(store) == [failed[-1], skipped[-1]]
    assert whole not in finished(store)


def test_an_entry_that_only_fails_keeps_its_last_good_copy(store: Store, tmp_path: Path) -> None:
    """I2, R18"""
    [whole] = names(store_nights(store, tmp_path / "whole", 1))
    failed = names(store_nights(store, tmp_path / "failed", 60, NIGHT + timedelta(days=1),
                                contents={"folder/www": b"1"}, statuses={"postgres/main": "failed"}))  # fmt: skip
    pruned(store, now=NIGHT + timedelta(days=61), last=2)
    assert finished(store) == [whole, *failed[-2:]]


def test_copies_with_losses_displace_no_good_one(store: Store, tmp_path: Path) -> None:
    """I2, R13: they are counted among themselves."""
    [whole] = names(store_nights(store, tmp_path / "whole", 1))
    lossy = names(store_nights(store, tmp_path / "lossy", 9, NIGHT + timedelta(days=1),
                               statuses={"folder/www": "failed", "postgres/main": "failed"}))  # fmt: skip
    pruned(store, now=NIGHT + timedelta(days=10), last=2)
    assert finished(store) == [whole, *lossy[-2:]]


def test_an_entry_that_the_config_no_longer_names_keeps_its_newest_copy(store: Store, tmp_path: Path) -> None:
    """I2"""
    old = names(store_nights(store, tmp_path / "old", 3, contents={"sqlite/gone": b"1"}))
    new = names(store_nights(store, tmp_path / "new", 3, NIGHT + timedelta(days=5)))
    pruned(store, last=1)
    assert finished(store) == [old[-1], new[-1]]


FOREIGN = {
    "notes.txt": b"1",
    "2010-01-01/file": b"2",
    "2010-01-01T000000Z/holiday.jpg": b"3",
    "2010-01-01T000000Z.json.bak": b"4",
    "2010-01-01T000000Z.txt": b"5",
    "2010-13-45T000000Z/PICKUP.txt": mark_text(JOB, "2010-13-45T000000Z"),
    "2010-01-02T000000Z": b"6",
    "archive.json": b"7",
    ".hidden": b"8",
    "lost+found": b"9",
}


def test_foreign_names_are_never_touched(tmp_path: Path) -> None:
    """R3, I3: whatever they look like. (In a folder, for the place in memory takes no such names.)"""
    place = tmp_path / "place"
    with Target(Config(path=place)) as store:
        store.create_root()
        nights = names(store_nights(store, tmp_path / "nights", 4))
        for path, data in FOREIGN.items():
            (place / JOB / path).parent.mkdir(exist_ok=True)
            (place / JOB / path).write_bytes(data)
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside/2010-01-03T000000Z").mkdir()
        (place / JOB / "2010-01-03T000000Z").symlink_to(tmp_path / "outside/2010-01-03T000000Z")
        (place / JOB / "2010-01-03T000000Z.json").symlink_to(tmp_path / "outside")
        assert clear_leftovers(Catalogue("there", store), JOB, LATER) == ([], [])
        assert pruned(store, last=1).warnings == []
        assert finished(store) == nights[-1:]
    assert {path: (place / JOB / path).read_bytes() for path in FOREIGN} == FOREIGN
    assert (tmp_path / "outside/2010-01-03T000000Z").is_dir()
    assert (place / JOB / "2010-01-03T000000Z").is_symlink()


def test_a_backup_whose_folder_has_become_a_link_costs_nothing_outside(tmp_path: Path) -> None:
    """T20"""
    with Target(Config(path=tmp_path / "place")) as store:
        store.create_root()
        nights = names(store_nights(store, tmp_path / "nights", 2))
        folder = tmp_path / "place" / JOB / nights[0]
        folder.rename(tmp_path / "elsewhere")
        folder.symlink_to(tmp_path / "elsewhere")
        result = pruned(store, last=1)
    assert len(result.warnings) == 1
    assert nights[0] in result.warnings[0]
    assert len([path for path in (tmp_path / "elsewhere").rglob("*") if path.is_file()]) == 7


def test_only_this_jobs_folder_is_looked_into(store: Store, tmp_path: Path) -> None:
    """R8"""
    store_nights(store, tmp_path / "nights", 3)
    for job in ("web01-other", "web", "web02"):
        store_nights(store, tmp_path / "nights", 3, job=job)
        put(store, f"{job}/2010-01-01T000000Z/PICKUP.txt", mark_text(job, "2010-01-01T000000Z"))
    others = {path: data for path, data in tree(store).items() if not path.startswith(f"{JOB}/")}
    clear_leftovers(Catalogue("there", store), JOB, LATER)
    pruned(store, last=1)
    assert {path: data for path, data in tree(store).items() if not path.startswith(f"{JOB}/")} == others


def _without_checksum(made: Made) -> bytes:
    return made.encoded.replace(b'"host": "web01', b'"host": "web02')


def _with_a_failed_entry(made: Made) -> bytes:
    first, second = made.manifest.entries
    return encode(replace(made.manifest, entries=(replace(first, status="failed"), second)))


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("changed", _without_checksum),
        ("of another backup", lambda made: encode(replace(made.manifest, id="2026-11-20T031502Z"))),
        ("of another job", lambda made: encode(replace(made.manifest, job="web02"))),
        ("of another kind", _with_a_failed_entry),
        ("no JSON", lambda made: b"\xff\xfe" * 500),
        ("a list", lambda made: b"[]\n"),
        ("with a path to the outside", lambda made: made.encoded.replace(b"folder/www/data", b"../../../www/d")),
    ],
)
def test_a_manifest_that_cannot_be_believed_is_neither_counted_nor_deleted(
    store: Store, tmp_path: Path, what: str, data: Callable[[Made], bytes]
) -> None:
    """R7: it is warned about, by its name, and the others are pruned as if it were not there."""
    nights = store_nights(store, tmp_path / "nights", 4)
    for night in (nights[0], nights[3]):
        path = f"{JOB}/{night.manifest.id}.json"
        store.delete(path)
        put(store, path, data(night))
    before = tree(store)
    assert clear_leftovers(Catalogue("there", store), JOB, LATER) == ([], [])
    result = pruned(store, last=1)
    assert result.warnings == [
        f"{JOB}/{nights[n].manifest.id}.json is damaged: neither counted nor deleted" for n in (3, 0)
    ]
    assert [decision.id for decision in result.decisions] == names(nights)[2:0:-1]
    gone = names(nights)[1:2]
    assert tree(store) == {path: content for path, content in before.items() if not belongs_to(path, gone)}


def test_a_backup_of_a_later_version_is_left_alone(store: Store, tmp_path: Path) -> None:
    nights = store_nights(store, tmp_path / "nights", 3)
    path = f"{JOB}/{nights[2].manifest.id}.json"
    later = encode(replace(nights[2].manifest, format=(2, 0)))
    store.delete(path)
    put(store, path, later)
    assert [backup.status for backup in Catalogue("there", store).backups(JOB)] == ["later", "complete", "complete"]
    result = pruned(store, last=1)
    assert result.notes == [f"{path}, of a later version of Pickup: neither counted nor deleted"]
    assert result.warnings == []
    assert result.deleted == [nights[0].manifest.id]
    assert clear_leftovers(Catalogue("there", store), JOB, LATER) == ([], [])
    assert store.sha256(path) == hashlib.sha256(later).hexdigest()


def test_a_forged_manifest_displaces_no_backup(store: Store, tmp_path: Path) -> None:
    """V3: on the machine that made it, one that says another thing than was written counts for nothing."""
    nights = store_nights(store, tmp_path / "nights", 3)
    state = tmp_path / "state"
    for night in nights:
        digest = hashlib.sha256(night.encoded).hexdigest()
        History(state, JOB).add("run", backup=night.manifest.id, manifest=digest)
    path = f"{JOB}/{nights[2].manifest.id}.json"
    store.delete(path)
    put(store, path, encode(replace(nights[2].manifest, host="forged")))
    result = prune(Catalogue("there", store, Memory(state)), JOB, Policy(last=1), ENTRIES, LATER, MACHINE)
    assert result.warnings == [f"{path} is damaged: neither counted nor deleted"]
    assert result.deleted == [nights[0].manifest.id]


def test_a_backup_that_no_run_here_made_fills_no_place_and_stays(store: Store, tmp_path: Path) -> None:
    """V3: who can add files at a place could else let the real ones be deleted. Older ones may be of a lost history."""
    nights = names(store_nights(store, tmp_path / "nights", 5))
    history = History(tmp_path / "state", JOB)
    for name in nights[1:3]:
        history.add("start", backup=name)
    memory = Memory(tmp_path / "state")
    result = prune(Catalogue("there", store, memory), JOB, Policy(last=1), ENTRIES, LATER, MACHINE)
    assert result.strange == nights[:2:-1]
    assert [warning.partition(":")[0] for warning in result.warnings] == [
        f"no run here made {name}" for name in result.strange
    ]
    assert finished(store) == nights[2:]
    result = prune(Catalogue("there", store, memory), JOB, Policy(last=1), ENTRIES, LATER, MACHINE, anyway=True)
    assert (result.strange, result.warnings) == (nights[:2:-1], [])
    assert finished(store) == nights[4:]
    for name in nights[3:]:
        history.add("adopted", backup=name)
    result = prune(Catalogue("there", store, Memory(tmp_path / "state")), JOB, Policy(last=1), ENTRIES, LATER, MACHINE)
    assert (result.strange, result.warnings) == ([], [])


def test_a_backup_of_another_machine_is_none_that_a_run_here_should_have_made(store: Store, tmp_path: Path) -> None:
    """It is said that another machine writes backups of this job, and not that they were made up."""
    first, second = store_nights(store, tmp_path / "own", 2)
    other = make_backup(tmp_path / "other", second.manifest.started + timedelta(days=1), machine="fedcba9876543210")
    store_backup(store, other)
    for name in names([first, second]):
        History(tmp_path / "state", JOB).add("start", backup=name)
    memory = Memory(tmp_path / "state")
    result = prune(Catalogue("there", store, memory), JOB, Policy(last=1), ENTRIES, LATER, MACHINE)
    assert (result.strange, len(result.warnings), finished(store)) == ([], 1, names([first, second, other]))
    assert "writes backups of job" in result.warnings[0]


def test_a_backup_kept_by_hand_stays_until_it_is_released(store: Store, tmp_path: Path) -> None:
    """R20"""
    nights = names(store_nights(store, tmp_path / "nights", 4))
    put(store, f"{JOB}/{nights[0]}.keep", "before the   move:\nSchlüssel".encode() + b"\xff\n")
    put(store, f"{JOB}/{nights[1]}.keep", b"")
    result = pruned(store, last=1)
    assert finished(store) == [*nights[:2], nights[3]]
    reasons = {decision.id: decision.reasons for decision in result.decisions}
    assert reasons[nights[0]] == ("kept by hand: before the move: Schlüssel\ufffd",)
    assert reasons[nights[1]] == ("kept by hand: ",)
    store.delete(f"{JOB}/{nights[0]}.keep")
    pruned(store, last=1)
    assert finished(store) == [nights[1], nights[3]]


def test_the_reason_to_keep_a_backup_may_be_long_or_unreadable(tmp_path: Path) -> None:
    """R20: whatever it is, the backup is kept and the others are pruned."""

    class Unreadable(Watched):
        def get(self, path: str) -> Any:
            if path == f"{JOB}/{nights[1]}.keep":
                raise PermissionError(13, "Permission denied")
            return super().get(path)

    store = Unreadable(MemoryStore())
    nights: list[str] = ["", ""]
    nights = names(store_nights(store, tmp_path / "nights", 4))
    put(store, f"{JOB}/{nights[0]}.keep", b"x" * 100_000)
    put(store, f"{JOB}/{nights[1]}.keep", b"why")
    assert pruned(store, last=1).warnings == []
    assert finished(store) == [*nights[:2], nights[3]]


# Nothing at all


def test_where_two_machines_write_neither_prunes(store: Store, tmp_path: Path) -> None:
    """R19: a cloned machine. Both say so."""
    nights = {
        MACHINE: store_nights(store, tmp_path / "mine", 3),
        OTHER_MACHINE: store_nights(store, tmp_path / "theirs", 3, NIGHT + timedelta(hours=1), machine=OTHER_MACHINE),
    }
    before = tree(store)
    for machine, other in ((MACHINE, OTHER_MACHINE), (OTHER_MACHINE, MACHINE)):
        result = prune(Catalogue("there", store), JOB, Policy(last=1), ENTRIES, LATER, machine)
        assert (len(result.decisions), result.deleted) == (6, ())
        [warning] = result.warnings
        newest = max(names(nights[other]))
        assert f"web01.example.org writes backups of job web01 too, the last of them {newest} of 2026-" in warning
        assert ": nothing is pruned. Hint: " in warning
        assert "Hint: give each machine its own JOB" in warning
    assert tree(store) == before


def test_a_machine_that_was_set_up_anew_goes_on(store: Store, tmp_path: Path) -> None:
    """R19: it finds only earlier backups of another machine, and for a week takes that one for alive."""
    theirs = names(store_nights(store, tmp_path / "theirs", 3, machine=OTHER_MACHINE))
    mine = names(store_nights(store, tmp_path / "mine", 3, NIGHT + timedelta(days=3)))
    [warning] = pruned(store, last=2).warnings
    assert "where this machine replaces that one, pickup.py prune --prune-anyway" in warning
    assert finished(store) == [*theirs, *mine]
    mine += names(store_nights(store, tmp_path / "later", 1, NIGHT + timedelta(days=9)))
    assert pruned(store, last=2).warnings == []
    assert finished(store) == mine[2:]


def test_a_clone_deletes_nothing_of_the_other_machine_in_its_first_run(store: Store, tmp_path: Path) -> None:
    """R19: it has no earlier backups of its own by which the two could be seen to alternate."""
    theirs = names(store_nights(store, tmp_path / "theirs", 2, machine=OTHER_MACHINE))
    mine = names(store_nights(store, tmp_path / "mine", 2, NIGHT + timedelta(days=2)))
    assert len(pruned(store, last=2).warnings) == 1
    assert finished(store) == [*theirs, *mine]
    anyway = prune(Catalogue("there", store), JOB, Policy(last=2), ENTRIES, LATER, MACHINE, anyway=True)
    assert anyway.warnings == []
    assert finished(store) == mine


def test_another_machines_job_is_pruned_where_that_is_asked_for(store: Store, tmp_path: Path) -> None:
    nights = names(store_nights(store, tmp_path / "theirs", 4, machine=OTHER_MACHINE))
    result = prune(Catalogue("there", store), JOB, Policy(last=2), None, LATER, None)
    assert result.warnings == []
    assert finished(store) == nights[2:]


def test_more_than_half_at_once_by_age_stops_and_says_so(store: Store, tmp_path: Path) -> None:
    """R1"""
    old = names(store_nights(store, tmp_path / "old", 6))
    new = names(store_nights(store, tmp_path / "new", 2, NIGHT + timedelta(days=3650)))
    before, now = tree(store), NIGHT + timedelta(days=3652)
    result = pruned(store, now=now, days=30)
    assert [decision.id for decision in result.decisions if not decision.keep] == old[::-1]
    assert result.deleted == ()
    [warning] = result.warnings
    assert "would delete 6 of 8 backups at once, so nothing was deleted" in warning
    assert "prune --prune-anyway" in warning
    assert tree(store) == before
    catalogue = Catalogue("there", store)
    assert prune(catalogue, JOB, Policy(days=30), ENTRIES, now, MACHINE, anyway=True).warnings == []
    assert finished(store) == new
    assert not set(old) & set(finished(store))


def test_more_than_half_at_once_by_count_is_what_was_asked_for(store: Store, tmp_path: Path) -> None:
    nights = names(store_nights(store, tmp_path / "nights", 9))
    assert pruned(store, last=1).warnings == []
    assert finished(store) == nights[-1:]


def test_a_backup_from_the_future_is_kept_not_counted_and_noted(store: Store, tmp_path: Path) -> None:
    """R2: it is no news of this night, so not warned about. The run that finds the clock set back warns."""
    nights = names(store_nights(store, tmp_path / "nights", 4))
    result = pruned(store, now=NIGHT + timedelta(days=2, hours=1), last=1)
    assert result.notes == [f"backup {nights[3]} is dated later than now: kept, and not counted"]
    assert result.warnings == []
    assert finished(store) == nights[2:]


# A dry run


def test_a_dry_run_asks_the_place_for_no_change(tmp_path: Path) -> None:
    """R17: not one, and it decides what a real one decides."""
    watched = Watched(MemoryStore())
    nights = store_nights(watched, tmp_path / "nights", 6)
    put(watched, f"{JOB}/2010-01-01T000000Z/PICKUP.txt", mark_text(JOB, "2010-01-01T000000Z"))
    watched.calls.clear()
    dry = DryRun(watched)
    cleared = clear_leftovers(Catalogue("there", dry), JOB, LATER)
    shown = pruned(dry, last=2)
    assert watched.calls
    assert watched.changes() == []
    assert dry.changes.count(f"delete {JOB}/{nights[0].manifest.id}.json") == 1
    assert clear_leftovers(Catalogue("there", watched), JOB, LATER) == cleared != ([], [])
    assert pruned(watched, last=2) == shown
    assert watched.changes() != []


def test_a_dry_run_counts_the_backup_that_would_be_made(tmp_path: Path) -> None:
    """R17"""
    store = MemoryStore()
    nights = store_nights(store, tmp_path / "nights", 2)
    upcoming = make_backup(tmp_path / "upcoming", LATER).manifest
    result = prune(Catalogue("there", store), JOB, Policy(last=2), ENTRIES, LATER, MACHINE, upcoming=upcoming)
    assert {decision.id: decision.keep for decision in result.decisions} == {
        upcoming.id: True, nights[1].manifest.id: True, nights[0].manifest.id: False
    }  # fmt: skip


# Deletions that fail or break off


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), StoreError("550 no")])
def test_one_deletion_that_fails_is_a_warning_and_the_others_go_on(tmp_path: Path, error: Exception) -> None:
    """R11: and it is not tried again and again."""

    class Stubborn(Watched):
        tries = 0

        def delete(self, path: str) -> None:
            if path.startswith(f"{JOB}/{nights[1]}"):
                self.tries += 1
                raise error
            super().delete(path)

    store = Stubborn(MemoryStore())
    nights: list[str] = names(store_nights(store, tmp_path / "nights", 5))
    result = pruned(store, last=1)
    assert result.warnings == [f"backup {JOB}/{nights[1]} could not be deleted: {error}"]
    assert store.tries == 1
    assert finished(store) == [nights[1], nights[4]]


def test_a_leftover_that_cannot_be_deleted_is_a_warning_and_the_others_go(tmp_path: Path) -> None:
    """R11, T19"""
    stuck, free = "2026-11-01T031502Z", "2026-11-02T031502Z"

    class Stubborn(Watched):
        fired = False

        def delete(self, path: str) -> None:
            if stuck in path:
                self.fired = True
                raise PermissionError(13, "Permission denied")
            super().delete(path)

    store = Stubborn(MemoryStore())
    for name in (stuck, free):
        put(store, f"{JOB}/{name}/PICKUP.txt", mark_text(JOB, name))
        put(store, f"{JOB}/{name}/data", b"1")
    cleared, warnings = clear_leftovers(Catalogue("there", store), JOB, LATER)
    assert store.fired
    assert cleared == [f"{JOB}/{free}"]
    assert warnings == [f"{JOB}/{stuck} was left unfinished and could not be deleted: [Errno 13] Permission denied"]


@pytest.mark.parametrize("moment", ["before", "half", "after"])
@pytest.mark.parametrize("kind", ["memory", "folder"])
def test_a_deletion_may_break_off_at_every_step(tmp_path: Path, kind: str, moment: str) -> None:
    """R10, I1, I2: what is listed as finished is whole, and a later run removes what was left."""
    place = tmp_path / "place"
    store = MemoryStore() if kind == "memory" else Target(Config(path=place))
    store.create_root()
    nights = names(store_nights(store, tmp_path / "nights", 4))
    kept = [nights[0], nights[3]]
    put(store, f"{JOB}/{nights[0]}.keep", b"by hand")
    leave(store, OLD, mark_text(JOB, OLD), FILES)
    start = tree(store)
    if kind == "folder":
        shutil.copytree(place, tmp_path / "saved")
    for step in range(1, 100):
        interrupted = Interrupted(store, step, moment)
        with contextlib.suppress(Cut):
            clear_leftovers(Catalogue("there", interrupted), JOB, LATER)
            pruned(interrupted, last=1)
        assert set(kept) <= set(finished(store)) <= set(nights)
        if not interrupted.fired:
            break
        assert clear_leftovers(Catalogue("there", store), JOB, LATER)[1] == []
        assert pruned(store, last=1).warnings == []
        assert finished(store) == kept
        assert tree(store) == {path: data for path, data in start.items() if belongs_to(path, kept)}
        if isinstance(store, MemoryStore):
            store.files = dict(start)
        else:
            shutil.rmtree(place)
            shutil.copytree(tmp_path / "saved", place)
    assert 15 < step < 30
    assert finished(store) == kept


def test_what_breaks_off_is_gone_from_the_list_of_finished_ones_at_once(tmp_path: Path) -> None:
    """R10"""
    store = MemoryStore()
    nights = names(store_nights(store, tmp_path / "nights", 2))
    interrupted = Interrupted(store, 2, "before")
    with pytest.raises(Cut):
        pruned(interrupted, last=1)
    statuses = [(backup.id, backup.status) for backup in Catalogue("there", store).backups(JOB)]
    assert statuses == [(nights[1], "complete"), (nights[0], "unfinished")]


# Leftovers


def cleared(store: Store, now: datetime = LATER) -> list[str]:
    names, warnings = clear_leftovers(Catalogue("there", store), JOB, now)
    assert warnings == []
    return names


def test_a_leftover_goes_when_it_is_older_than_a_day(store: Store) -> None:
    """T15: an upload may be at work beside us."""
    leave(store, OLD, mark_text(JOB, OLD), FILES)
    before, started = tree(store), datetime.fromisoformat("2026-11-20T03:15:02+00:00")
    for age in (timedelta(days=-1), timedelta(0), timedelta(days=1)):
        assert cleared(store, started + age) == []
        assert tree(store) == before
    assert cleared(store, started + timedelta(days=1, seconds=1)) == [f"{JOB}/{OLD}"]
    assert tree(store) == {}


def test_a_leftover_is_never_counted(store: Store, tmp_path: Path) -> None:
    """T15: neither as a backup that fills a place, nor as one that prune may take."""
    nights = names(store_nights(store, tmp_path / "nights", 2))
    leave(store, backup_id(LATER), mark_text(JOB, backup_id(LATER)), FILES)
    result = pruned(store, now=LATER + timedelta(hours=1), last=1)
    assert [decision.id for decision in result.decisions] == nights[::-1]
    assert finished(store) == nights[1:]
    assert f"{JOB}/{backup_id(LATER)}/PICKUP.txt" in tree(store)


def test_a_leftover_that_broke_off_at_any_byte_of_its_mark_goes(store: Store) -> None:
    """T31, K6: nothing but the beginning of our mark is there, with zeros in place of the rest where the power failed."""
    mark = mark_text(JOB, OLD)
    for length in range(len(mark) + 1):
        for rest in (0, len(mark) - length):
            leave(store, OLD, mark[:length] + bytes(rest), {})
            assert cleared(store) == [f"{JOB}/{OLD}"]
            assert tree(store) == {}


def test_an_empty_folder_with_the_name_of_a_backup_goes(tmp_path: Path) -> None:
    """T31: broken off before the first byte."""
    with Target(Config(path=tmp_path)) as store:
        (tmp_path / JOB / OLD).mkdir(parents=True)
        assert cleared(store) == [f"{JOB}/{OLD}"]
        assert os.listdir(tmp_path / JOB) == []


@pytest.mark.parametrize(
    ("mark", "files"),
    [
        (None, FILES),
        (b"", FILES),
        (mark_text(JOB, OLD)[:60], FILES),
        (mark_text("web02", OLD), FILES),
        (mark_text("web02", OLD), {}),
        (mark_text(JOB, "2026-11-19T031502Z"), {}),
        (b"A shop where one picks up parcels.\n", {}),
        (b"x" * 70_000, {}),
    ],
    ids=["none", "empty", "torn", "other job", "other job alone", "other backup alone", "foreign", "huge"],
)
def test_a_folder_that_does_not_bear_our_mark_stays(store: Store, mark: bytes | None, files: dict[str, bytes]) -> None:
    """T31, I3"""
    leave(store, OLD, mark, files)
    before = tree(store)
    assert clear_leftovers(Catalogue("there", store), JOB, LATER)[0] == []
    assert tree(store) == before


def test_a_leftover_with_half_a_manifest_goes(store: Store, tmp_path: Path) -> None:
    """T31: where the manifest cannot appear at once, an upload may break off in it."""
    made = make_backup(tmp_path / "made")
    for length in (0, 1, len(made.encoded) // 2, len(made.encoded) - 1):
        store_backup(store, made)
        store.delete(f"{JOB}/{made.manifest.id}.json")
        put(store, f"{JOB}/{made.manifest.id}.json", made.encoded[:length])
        assert cleared(store) == [f"{JOB}/{made.manifest.id}"]
        assert tree(store) == {}


def test_a_leftover_that_somebody_wants_to_keep_stays(store: Store) -> None:
    """R20"""
    leave(store, OLD, mark_text(JOB, OLD), FILES)
    put(store, f"{JOB}/{OLD}.keep", b"by hand")
    before = tree(store)
    assert cleared(store) == []
    assert tree(store) == before


def test_a_manifest_on_its_way_to_its_name_goes_after_a_day(store: Store, tmp_path: Path) -> None:
    """K4: a run that is killed in between leaves it."""
    nights = names(store_nights(store, tmp_path / "nights", 1))
    for name in (f".{OLD}.json.0123456789abcdef", f".{OLD}.partial.json.00", f".{OLD}.keep.00"):
        put(store, f"{JOB}/{name}", b"1")
    stays = {f".{backup_id(LATER)}.json.00", ".bashrc", f".{OLD}.txt.00", ".2026-13-45T000000Z.json.00"}
    for name in stays:
        put(store, f"{JOB}/{name}", b"1")
    assert len(cleared(store, LATER + timedelta(hours=1))) == 3
    assert {item.name for item in store.listdir(JOB)} == {*stays, nights[0], f"{nights[0]}.json"}


# Whole runs


def test_each_manifest_is_read_once_and_then_never_again(tmp_path: Path) -> None:
    watched = Watched(MemoryStore())
    store_nights(watched, tmp_path / "nights", 5)
    for _ in range(3):
        watched.calls.clear()
        catalogue = Catalogue("there", watched, Memory(tmp_path / "state"))
        prune(catalogue, JOB, Policy(last=9), ENTRIES, LATER, MACHINE)
        clear_leftovers(catalogue, JOB, LATER)
    assert [call for call in watched.calls if call[0] == "get"] == []


BROKEN = '''
    """A folder that breaks when the manifest is to be stored."""
    from target_profiles.folder import Config
    from target_profiles.folder import Target as Folder
    API_VERSION = (1, 0)
    class Target(Folder):
        def commit(self, path, data):
            raise OSError(5, "Input/output error", path)
'''


def test_where_this_runs_backup_is_not_stored_nothing_is_pruned(tmp_path: Path) -> None:
    """I3, T4: old backups make no room for one that failed."""
    head = 'STAGING_AREA = "area"\nSTATE_FOLDER = LOG_FOLDER = "state"\nMIN_FREE = 0'
    target = '[dict(name="disk", profile="{}", config=dict(path="place"), retention=dict(last={}))]'
    (tmp_path / "target_profiles").mkdir()
    (tmp_path / "target_profiles/broken.py").write_text(textwrap.dedent(BROKEN))
    for _ in range(2):
        run(loaded(tmp_path, config_text(head, targets=target.format("folder", 9))), RunWish(), Report())
    with Target(Config(path=tmp_path / "place")) as store:
        before = tree(store)
        report = Report()
        run(loaded(tmp_path, config_text(head, targets=target.format("broken", 1))), RunWish(), report)
        assert report.exit_code == 2
        assert tree(store) == before
        report = Report()
        run(loaded(tmp_path, config_text(head, targets=target.format("folder", 1))), RunWish(), report)
        assert report.exit_code == 0
        assert len(finished(store)) == 1
        assert not set(tree(store)) & set(before)


TWO_TARGETS = """
    import os, shutil, sys, tempfile
    from pathlib import Path
    from pickup_core.report import Report
    from pickup_core.run import RunWish, run
    from tests.builders import NOBODY, config_text, loaded
    head = 'STAGING_AREA = "area"\\nSTATE_FOLDER = LOG_FOLDER = "state"\\nMIN_FREE = 0'
    entry = 'dict(name="{0}", profile="folder", config=dict(path="{0}"), retention=dict(last=1))'
    text = config_text(head, targets=f"[{entry.format('one')}, {entry.format('two')}]")
    warm_up = Path(tempfile.mkdtemp())  # an ordinary user may not be able to import from here
    run(loaded(warm_up, text), RunWish(), Report())
    shutil.rmtree(warm_up)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    folder = Path(sys.argv[1])
    config = loaded(folder, text)
    run(config, RunWish(), Report())
    [stuck] = [path for path in (folder / "one/web01").iterdir() if path.is_dir()]
    stuck.chmod(0o500)
    report = Report()
    run(config, RunWish(), report)
    stuck.chmod(0o700)
    print(int(report.exit_code), len(os.listdir(folder / "one/web01")), len(os.listdir(folder / "two/web01")))
"""


def test_a_deletion_that_fails_at_one_target_does_not_touch_the_other() -> None:
    """R15, R11: exit 1, and the line names target and backup."""
    with ordinary_folder() as folder:
        done = python(textwrap.dedent(TWO_TARGETS), folder)
        assert done.stdout == "1 3 2\n", done.stderr
        [line] = done.stderr.splitlines()
        assert line.startswith("TARGETS[0] 'one' (folder): backup web01/2")
        assert "could not be deleted: [Errno 13] Permission denied" in line
