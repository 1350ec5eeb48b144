"""Delivery: a backup comes to all its targets, and none of them costs another or holds it up."""

import hashlib
import io
import itertools
import logging
import shutil
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pickup_core.artefact import Readable
from pickup_core.catalogue import Catalogue
from pickup_core.config import Config
from pickup_core.delivery import Staged, Streamed, tell_pruned
from pickup_core.errors import ExitCode, NoTargetLeft, StoreError
from pickup_core.history import History
from pickup_core.loose import LooseFolder
from pickup_core.prune import Pruned
from pickup_core.report import Report
from pickup_core.retention import Decision, Policy
from pickup_core.staging import Staging
from pickup_core.store import Item, Store
from pickup_core.verify import verify
from tests.builders import LOCAL, MemoryStore, config_text, loaded
from tests.end_to_end.command import wait_until
from tests.places import JOB, Interrupted, Made, Watched, make_backup, served_by, store_backup, store_nights
from tests.sessions import LONG_AGO

TONIGHT = LONG_AGO + timedelta(days=100)
ENTRIES = (
    '[dict(name="www", profile="folder", config=dict(path="/srv")),'
    ' dict(name="main", profile="command", config=dict(command="true"))]'
)
CONTENTS = {"folder/www": b"<h1>Hello</h1>\n", "command/main": b"CREATE TABLE shop ();\n"}
WHERE = "TARGETS[0] 't0' (folder)"


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_backup(tmp_path / "made", TONIGHT, CONTENTS)


def config_of(folder: Path, *stores: Store, retention: str = "None") -> Config:
    """Give a config with a target for each store."""
    entry = 'dict(name="t{0}", profile="folder", config=dict(path="t{0}"), retention={1})'
    targets = ", ".join(entry.format(number, retention) for number in range(len(stores)))
    config = loaded(folder, config_text(LOCAL, ENTRIES, f"[{targets}]"))
    served = tuple(served_by(target, store) for target, store in zip(config.targets, stores, strict=True))
    return replace(config, targets=served)


def delivered(config: Config, made: Made, report: Report, keep: str | None = None) -> dict[str, Any]:
    """Deliver a backup from a staging area as a run does, and give what the history should know."""
    with Staging(config.staging_area, config.min_free) as staging:
        ignored = shutil.ignore_patterns("manifest.json")
        shutil.copytree(made.folder, staging.backup, dirs_exist_ok=True, ignore=ignored)
        draft = replace(made.manifest, entries=(), others=())
        with Staged(config, draft, config.targets, keep, report, staging) as delivery:
            return delivery.finish(made.manifest)


def finished(store: Store) -> list[str]:
    """Give the finished backups, the newest first; each of them has to be whole."""
    backups = [backup for backup in Catalogue("there", store).backups(JOB) if backup.is_finished]
    assert [verify(backup) for backup in backups] == [[] for _ in backups]
    return [backup.id for backup in backups]


def ids(nights: list[Made]) -> list[str]:
    return [night.manifest.id for night in nights]


# One target and the others


def test_the_history_gets_the_places_the_sizes_and_the_digest_of_the_manifest(tmp_path: Path, made: Made) -> None:
    """V3: the digest is that of the manifest at the target; a failed entry's sizes are no measure for the next run."""
    lossy = make_backup(tmp_path / "lossy", TONIGHT, CONTENTS, statuses={"folder/www": "failed"})
    stores = MemoryStore(), MemoryStore()
    report = Report()
    facts = delivered(config_of(tmp_path, *stores), lossy, report)
    assert {name: 0 <= seconds < 60 for name, seconds in facts.pop("target_seconds").items()} == {
        "t0": True,
        "t1": True,
    }
    assert facts == {
        "places": [store.place for store in stores],
        "size": lossy.manifest.size,
        "sizes": {"command/main": {"data.bin": len(CONTENTS["command/main"])}},
        "uncompressed": {"command/main": {"data.bin": len(CONTENTS["command/main"])}},
        "manifest": hashlib.sha256(stores[1].files[f"{JOB}/{lossy.manifest.id}.partial.json"]).hexdigest(),
    }
    assert report.exit_code == 0


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_target_that_fails_costs_itself(
    tmp_path: Path, made: Made, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    """T26: at its root, its mark, its files or its manifest."""
    broken, sound = Interrupted(MemoryStore(), number, "before", StoreError("the disk is gone")), MemoryStore()
    config, report = config_of(tmp_path, broken, sound), Report()
    caplog.set_level(logging.INFO, "pickup")
    facts = delivered(config, made, report)
    assert broken.fired
    assert f"{WHERE}: the disk is gone" in caplog.messages
    assert report.exit_code == ExitCode.FAILED
    assert facts["places"] == [sound.place]
    assert (finished(broken.store), finished(sound)) == ([], [made.manifest.id])
    assert broken.store.files == {}
    assert caplog.messages[-1].endswith("stored at 1 of 2 targets")
    assert not list(config.staging_area.iterdir())


class Meeting(Watched):
    """Goes on once as many stores as are needed have come as far."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__(MemoryStore())
        self.barrier = barrier

    def _call(self, name: str, path: str, *more: Any) -> Any:
        if name == "commit":
            self.barrier.wait()
        return super()._call(name, path, *more)


def test_targets_are_served_at_once(tmp_path: Path, made: Made) -> None:
    barrier = threading.Barrier(3, timeout=20)  # breaks where they come one by one
    stores, report = [Meeting(barrier) for _ in range(3)], Report()
    facts = delivered(config_of(tmp_path, *stores), made, report)
    assert report.exit_code == ExitCode.OK
    assert facts["places"] == [store.place for store in stores]
    assert [finished(store) for store in stores] == [[made.manifest.id]] * 3


class Waiting(Watched):
    """Hangs in its upload until somebody lets it go on, and fails then."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.go_on = threading.Event()

    def put_folder(self, folder: Path, path: str, without: Collection[str] = ()) -> None:
        assert self.go_on.wait(20)
        raise StoreError("it has stalled")


class Letting(Watched):
    """Lets another store go on when it has all of the backup."""

    def __init__(self, waiting: Waiting) -> None:
        super().__init__(MemoryStore())
        self.waiting = waiting

    def close(self) -> None:
        self.waiting.go_on.set()


def test_a_target_that_hangs_holds_up_no_other(tmp_path: Path, made: Made) -> None:
    waiting, report = Waiting(), Report()
    letting = Letting(waiting)
    facts = delivered(config_of(tmp_path, waiting, letting), made, report)
    assert report.exit_code == ExitCode.FAILED
    assert facts["places"] == [letting.place]
    assert finished(letting) == [made.manifest.id]
    assert finished(waiting) == []


def test_where_all_fail_the_backup_is_kept_as_a_whole_one_until_the_next_is_taken(
    tmp_path: Path, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    """S13: it verifies where it lies; one target of two that works is enough for it to go."""
    stores = [Interrupted(MemoryStore(), 3, "half", OSError(28, "No space left on device")) for _ in range(2)]
    config, report = config_of(tmp_path, *stores), Report()
    facts = delivered(config, made, report)
    assert [store.fired for store in stores] == [True, True]
    assert (facts["places"], report.exit_code) == ([], ExitCode.FAILED)
    kept = config.staging_area / f"kept-{JOB}"
    assert (
        f"job {JOB}: no target took the backup; it is kept in {kept}/backup until one takes a later one" in caplog.text
    )
    assert finished(LooseFolder(kept / "backup")) == [made.manifest.id]

    stores[0] = Interrupted(MemoryStore(), 1, "before", StoreError("still full"))
    next_night = make_backup(tmp_path / "next", TONIGHT + timedelta(days=1), CONTENTS)
    assert delivered(config_of(tmp_path, *stores), next_night, Report())["places"] == [stores[1].place]
    assert stores[0].fired
    assert not list(config.staging_area.iterdir())


# The order of things at one target


def test_leftovers_go_before_the_upload_and_old_backups_after_the_commit(tmp_path: Path, made: Made) -> None:
    """I3, T31: a leftover must not hold the room that the upload needs, and an old backup goes when the new one is
    there, with its reason to be kept.
    """
    store = Watched(MemoryStore())
    nights = ids(store_nights(store, tmp_path / "nights", 3, LONG_AGO, contents=CONTENTS))
    store.delete(f"{JOB}/{nights[0]}.json")
    store.calls.clear()
    report = Report()
    delivered(config_of(tmp_path, store, retention="dict(last=1)"), made, report, keep="for the audit")
    new = f"{JOB}/{made.manifest.id}"
    changes = store.changes()
    first, last = changes.index(("put", f"{new}/PICKUP.txt")), changes.index(("commit", f"{new}.keep"))
    assert changes[0] == ("create_root", "")
    assert changes[first - 1] == ("delete", f"{JOB}/{nights[0]}")
    assert changes[first : last + 1] == [
        ("put", f"{new}/PICKUP.txt"), ("put_folder", new), ("commit", f"{new}.json"), ("commit", f"{new}.keep"),
    ]  # fmt: skip
    assert changes[last + 1] == ("delete", f"{JOB}/{nights[2]}.json")
    assert {name for name, _ in changes[last + 1 :]} == {"delete"}
    assert finished(store.store) == [made.manifest.id]
    assert store.store.files[f"{new}.keep"] == b"for the audit"
    assert report.exit_code == 0


def test_without_retention_nothing_is_deleted(tmp_path: Path, made: Made) -> None:
    """T33: leftovers included; that is how an append-only place is served."""
    store = Watched(MemoryStore())
    nights = ids(store_nights(store, tmp_path / "nights", 2, LONG_AGO, contents=CONTENTS))
    store.delete(f"{JOB}/{nights[0]}.json")
    store.calls.clear()
    config = config_of(tmp_path, store)
    delivered(config, made, Report())
    assert "delete" not in {name for name, _ in store.changes()}
    assert list(History(config.state_folder, JOB).records("prune")) == []


def test_a_place_that_has_a_backup_of_ours_is_not_made_anew(tmp_path: Path, made: Made) -> None:
    """T34: an unmounted disk is no empty one."""
    store = MemoryStore()
    config, report = config_of(tmp_path, store), Report()
    History(config.state_folder, JOB).add("run", places=[store.place])
    store.has_root = False
    assert delivered(config, made, report)["places"] == []
    assert (store.has_root, report.exit_code) == (False, ExitCode.FAILED)


class Unlisted(Watched):
    """Cannot list the job's folder the first time, when leftovers are looked for."""

    fired = False

    def listdir(self, folder: str = "") -> list[Item]:
        if folder == JOB and not self.fired:
            self.fired = True
            raise StoreError("the listing broke off")
        return super().listdir(folder)


def test_leftovers_that_cannot_be_cleared_do_not_hold_up_the_backup(
    tmp_path: Path, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    store, report = Unlisted(MemoryStore()), Report()
    facts = delivered(config_of(tmp_path, store, retention="dict(last=3)"), made, report)
    assert store.fired
    assert f"{WHERE}: clearing leftovers: the listing broke off" in caplog.messages
    assert (facts["places"], report.exit_code) == ([store.place], ExitCode.FAILED)
    assert finished(store) == [made.manifest.id]


class Stubborn(Watched):
    """Deletes nothing of one backup."""

    stuck = "none"
    fired = False

    def delete(self, path: str) -> None:
        if path.startswith(f"{JOB}/{self.stuck}"):
            self.fired = True
            raise PermissionError(13, "Permission denied")
        super().delete(path)


def test_the_history_tells_what_was_deleted_and_not_what_was_to_be(tmp_path: Path, made: Made) -> None:
    """R11: the one that stays is a warning, and finished still."""
    store, report = Stubborn(MemoryStore()), Report()
    nights = ids(store_nights(store, tmp_path / "nights", 3, LONG_AGO, contents=CONTENTS))
    store.stuck = nights[1]
    config = config_of(tmp_path, store, retention="dict(last=1)")
    assert delivered(config, made, report)["places"] == [store.place]
    assert store.fired
    [record] = History(config.state_folder, JOB).records("prune")
    assert (record["target"], record["deleted"]) == ("t0", [nights[2], nights[0]])
    assert finished(store) == [made.manifest.id, nights[1]]
    assert report.exit_code == ExitCode.WARNINGS


def test_a_backup_whose_reason_cannot_be_stored_is_there_and_nothing_is_pruned(tmp_path: Path, made: Made) -> None:
    """R20: what was to be kept for good is not left to the policy."""
    store = Interrupted(MemoryStore(), 5, "before", StoreError("552 quota exceeded"))
    store_backup(store.store, make_backup(tmp_path / "old", LONG_AGO, CONTENTS))
    config, report = config_of(tmp_path, store, retention="dict(last=1)"), Report()
    facts = delivered(config, made, report, keep="for the audit")
    assert store.fired
    assert store.calls[-1][0] != "delete"
    assert (facts["places"], report.exit_code) == ([store.place], ExitCode.FAILED)
    assert len(finished(store.store)) == 2
    assert not list(config.staging_area.iterdir())


# What is told


def test_every_decision_is_told_with_its_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reason in the log costs nobody's sleep; what was not done does."""
    [target] = config_of(tmp_path, MemoryStore()).targets
    decisions = [Decision("C", ("folder/www newest", "folder/www last C")), Decision("B", ()), Decision("A", ())]
    pruned = Pruned(decisions, deleted=["A"], warnings=["backup B could not be deleted"], notes=["D is of a later day"])
    caplog.set_level(logging.DEBUG, "pickup")
    caplog.clear()
    report = Report()
    tell_pruned(target, Policy(days=9, last=2), pruned, report, logging.DEBUG)
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.DEBUG, "folder/t0: keep C: folder/www newest, folder/www last C"),
        (logging.DEBUG, "folder/t0: spared B: no rule of days=9, last=2 keeps it"),
        (logging.DEBUG, "folder/t0: deleted A: no rule of days=9, last=2 keeps it"),
        (logging.INFO, "folder/t0: deleted 1 of 3 backups: A"),
        (logging.DEBUG, "folder/t0: D is of a later day"),
        (logging.WARNING, f"{WHERE}: backup B could not be deleted"),
    ]
    assert report.exit_code == ExitCode.WARNINGS


# Streamed


def streamed(config: Config, made: Made, report: Report) -> dict[str, Any]:
    """Deliver a backup while it is made, as a run without a staging area does."""
    draft = replace(made.manifest, entries=(), others=())
    with Streamed(config, draft, config.targets, None, report) as delivery:
        for file in made.manifest.files:
            if file.path != "PICKUP.txt":
                with delivery.sink(file.path) as sink:
                    sink.write((made.folder / file.path).read_bytes())
        return delivery.finish(made.manifest)


def test_what_is_streamed_is_what_would_have_been_staged(tmp_path: Path, made: Made) -> None:
    staged, *stores = (MemoryStore() for _ in range(3))
    expected = delivered(config_of(tmp_path, staged), made, Report())
    report = Report()
    facts = streamed(config_of(tmp_path, *stores), made, report)
    assert [store.files for store in stores] == [staged.files] * 2
    assert set(facts.pop("target_seconds")) == {"t0", "t1"}
    assert set(expected.pop("target_seconds")) == {"t0"}
    assert facts == {**expected, "places": [store.place for store in stores]}
    assert report.exit_code == 0


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_a_target_that_breaks_anywhere_in_a_stream_costs_itself_and_leaves_nothing(
    tmp_path: Path, made: Made, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    """T2, T26: at every call that changes something."""
    caplog.set_level(logging.INFO, "pickup.delivery")
    for number in itertools.count(1):
        broken, sound = Interrupted(MemoryStore(), number, moment, StoreError("it is gone")), MemoryStore()
        config, report = config_of(tmp_path, broken, sound), Report()
        caplog.clear()
        facts = streamed(config, made, report)
        assert finished(sound) == [made.manifest.id]
        if not broken.fired:
            break
        assert facts["places"] == [sound.place]
        assert report.exit_code == ExitCode.FAILED
        assert f"{WHERE}: it is gone" in caplog.messages
        assert report.course.targets == {"t0": "failed", "t1": "stored"}
        assert broken.store.files == {}
    assert number == 1 + 1 + len(made.manifest.files) + 1 + 1  # the root, all files and the manifest, and its copy


def test_a_target_that_has_no_root_drops_out_of_a_stream(tmp_path: Path, made: Made) -> None:
    """T34: an unmounted disk is no empty one; and all others are served."""
    gone, sound = MemoryStore(), MemoryStore()
    config, report = config_of(tmp_path, gone, sound), Report()
    History(config.state_folder, JOB).add("run", places=[gone.place])
    gone.has_root = False
    assert streamed(config, made, report)["places"] == [sound.place]
    assert (gone.has_root, report.exit_code) == (False, ExitCode.FAILED)


def test_where_no_target_takes_a_stream_it_ends(tmp_path: Path, made: Made) -> None:
    stores = [Interrupted(MemoryStore(), number, "before", StoreError("it is gone")) for number in (2, 8)]
    with pytest.raises(NoTargetLeft):
        streamed(config_of(tmp_path, *stores), made, Report())
    assert [store.fired for store in stores] == [True, True]
    assert [store.store.files for store in stores] == [{}, {}]


def test_what_is_given_up_leaves_no_target_with_anything(tmp_path: Path, made: Made) -> None:
    """I1: without a word about the targets, for none of them has failed."""
    stores, report = [MemoryStore(), MemoryStore()], Report()
    config = config_of(tmp_path, *stores)
    with suppress(KeyError), Streamed(config, made.manifest, config.targets, None, report) as delivery:
        delivery.write("a", b"1")
        wait_until(lambda: all(len(store.files) == 2 for store in stores), "the mark and the first file are there")
        with delivery.sink("b") as sink:
            sink.write(bytes(2_000_000))
            raise KeyError("a mistake")
    assert [store.files for store in stores] == [{}, {}]
    assert report.exit_code == ExitCode.OK


class AppendOnly(MemoryStore):
    """Keeps what has come of a file that breaks off, and deletes nothing."""

    def put(self, path: str, stream: Readable) -> None:
        super().put(path, io.BytesIO())
        while block := stream.read():
            self.files[path] += block

    def delete(self, path: str) -> None:
        raise PermissionError(13, "Permission denied")


def test_a_part_that_may_not_be_deleted_is_a_warning(
    tmp_path: Path, made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    store, report = AppendOnly(), Report()
    config = config_of(tmp_path, store)
    with Streamed(config, made.manifest, config.targets, None, report) as delivery:
        with suppress(KeyError), delivery.sink("folder/www/part") as sink:
            sink.write(bytes(2_000_000))
            raise KeyError("a mistake")
        for file in made.manifest.files:
            if file.path != "PICKUP.txt":
                delivery.write(file.path, (made.folder / file.path).read_bytes())
        assert delivery.finish(made.manifest)["places"] == [store.place]
    assert report.exit_code == ExitCode.WARNINGS
    assert f"{WHERE}: {JOB}/{made.manifest.id}/folder/www/part is left, of which the source has failed" in caplog.text
