"""Ten years of nights at one target, in one process: every tenth night something fails, and the clock jumps twice."""

import gc
import hashlib
import io
import random
import resource
import sys
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pickup_core.catalogue import MANIFEST_COPY, MARK_FILE, Catalogue
from pickup_core.errors import StoreError
from pickup_core.instructions import checksums, restore_text
from pickup_core.manifest import EntryRecord, Manifest, StoredArtefact, StoredFile, backup_id, encode
from pickup_core.prune import Pruned, clear_leftovers, prune
from pickup_core.publish import mark_text, publish
from pickup_core.retention import Policy
from pickup_core.store import Store
from pickup_core.verify import verify
from tests.builders import MemoryStore
from tests.places import JOB, MACHINE, NIGHT, Cut, Interrupted, put

LABELS = ("folder/www", "postgres/main")
FAULTS = ("the upload fails", "an entry fails", "an entry has losses", "a part alone", "a clearing fails",
          "a deletion fails")  # fmt: skip
FAULTY = 0.1
"""How many of the nights have a fault."""
TEN_YEARS = timedelta(days=3653)
SOME_WEEKS = timedelta(days=40)
UPLOAD_CALLS = 8
"""How often a store is changed by an upload of a whole backup: the mark, six files, and the manifest."""
MOST = 30
"""More backups than the policy lets be at the target at any time, also while it objects."""
FOREIGN = {
    "notes.txt": b"bought on a Monday",
    "photos/2010-01-01/cat.jpg": b"a cat",
    f"{JOB}/notes.txt": b"1",
    f"{JOB}/2010-01-01/file": b"2",
    f"{JOB}/2010-01-01T000000Z/holiday.jpg": b"3",
    f"{JOB}/2010-01-01T000000Z.txt": b"4",
}


class Breaking(Interrupted):
    """Raises at the N-th changing call; any file may be torn then. Where it raises `Cut`, the process is dead: nothing
    reaches the place after it.
    """

    def _call(self, name: str, path: str, *more: Any) -> Any:
        if self.fired and isinstance(self._error, Cut):
            raise self._error
        return super()._call(name, path, *more)

    def _half(self, name: str, path: str, *more: Any) -> None:
        if name in ("put", "commit"):
            data = more[0] if name == "commit" else more[0].read()
            put(self.store, path, data[: len(data) // 2])
        else:
            super()._half(name, path, *more)


@dataclass(frozen=True)
class Packed:
    """A backup as a run makes it, in memory: its files but for the mark, and its manifest."""

    manifest: Manifest
    encoded: bytes
    files: Mapping[str, bytes]

    def put_files(self, store: Store, path: str) -> tuple[Manifest, bytes]:
        for name, data in self.files.items():
            store.put(f"{path}/{name}", io.BytesIO(data))
        return self.manifest, self.encoded


def packed(started: datetime, statuses: Mapping[str, str]) -> Packed:
    """Make a backup of all entries; one with the status `failed` has no artefact, and one with `lossy` has."""
    name, files, entries = backup_id(started), dict[str, bytes](), list[EntryRecord]()
    for label in LABELS:
        profile, _, entry = label.partition("/")
        status, artefacts = statuses.get(label, "ok"), list[StoredArtefact]()
        if status in ("ok", "lossy"):
            path = f"{profile}/{entry}/data.bin"
            data = files[path] = f"{label} as it was at {name}\n".encode()
            digest = hashlib.sha256(data).hexdigest()
            artefacts.append(StoredArtefact(path, len(data), digest, "data.bin", len(data), "none"))
        recorded = "failed" if status == "lossy" else status
        entries.append(EntryRecord(entry, profile, recorded, tuple(artefacts)))
    manifest = Manifest("1.0.0", JOB, "web01.example.org", MACHINE, name, started, started, (), tuple(entries), ())
    files["pickup/config.py"] = b"TARGETS = []\n"
    files["RESTORE.txt"] = restore_text(manifest, {}).encode()
    others = [_described(path, files[path]) for path in ("pickup/config.py", "RESTORE.txt")]
    others.append(_described(MARK_FILE, mark_text(JOB, name)))
    files["SHA256SUMS"] = checksums([*manifest.files, *others]).encode()
    others.append(_described("SHA256SUMS", files["SHA256SUMS"]))
    manifest = replace(manifest, others=tuple(others))
    files[MANIFEST_COPY] = encode(manifest)
    return Packed(manifest, files[MANIFEST_COPY], files)


def _described(path: str, data: bytes) -> StoredFile:
    return StoredFile(path, len(data), hashlib.sha256(data).hexdigest())


@dataclass
class Soak:
    """A target, what is known of it, and what has happened so far."""

    random: random.Random
    policy: Policy
    store: MemoryStore = field(default_factory=MemoryStore)
    good: dict[str, frozenset[str]] = field(default_factory=dict)
    """Which entries each finished backup holds without failure."""
    armed: dict[str, Breaking] = field(default_factory=dict)
    """What will break, by what it breaks; a deletion may have to wait for a night that deletes."""
    drawn: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    most: int = 0
    """The largest number of backups, but for those later than now, that were there after a night."""
    later: int = 0
    """How many are later than now."""
    objections: int = 0
    """How many nights prune found that an age rule would delete too much."""

    def night(self, now: datetime) -> None:
        """Let a run clear, upload and prune, and see that all is as it should be."""
        before = dict(self.store.files)
        night = packed(now, self._statuses())
        name = night.manifest.id
        holds = frozenset(each.label for each in night.manifest.entries if each.status == "ok")
        assert name not in self.good
        pruned = None
        fault = ""
        try:
            with self._store_for(fault := "a clearing fails") as store, suppress(StoreError):
                clear_leftovers(Catalogue("disk", store), JOB, now)
            with self._store_for(fault := "the upload fails") as store:
                publish(store, JOB, name, mark_text(JOB, name), night.put_files, read_back=False)
            self.good[name] = holds
            with self._store_for(fault := "a deletion fails") as store:
                pruned = prune(Catalogue("disk", store), JOB, self.policy, LABELS, now, MACHINE)
        except (Cut, StoreError):
            assert self.armed[fault].fired
        broken = {each for each, store in self.armed.items() if store.fired}
        self.fired.update(broken)
        self.armed = {each: store for each, store in self.armed.items() if each not in broken}
        self._see(before, name, holds, now, pruned, broken)

    def see_that_all_verify(self) -> None:
        """I1: every finished backup is whole."""
        finished = [backup for backup in Catalogue("disk", self.store).backups(JOB) if backup.is_finished]
        assert {backup.id: verify(backup) for backup in finished} == {name: [] for name in self.good}

    def _statuses(self) -> dict[str, str]:
        """Draw what is wrong tonight, if anything; give the statuses of entries that are not well."""
        if self.random.random() >= FAULTY:
            return {}
        fault = self.random.choice(FAULTS)
        self.drawn[fault] += 1
        label = self.random.choice(LABELS)
        statuses = {
            "an entry fails": {label: "failed"},
            "an entry has losses": {label: "lossy"},
            "a part alone": {other: "skipped" for other in LABELS if other != label},
        }.get(fault)
        if statuses is not None:
            self.fired[fault] += 1
            return statuses
        if fault in self.armed:  # it waits already
            self.drawn[fault] -= 1
            return {}
        number = self.random.randint(1, UPLOAD_CALLS if fault == "the upload fails" else 7)
        moment = self.random.choice(("before", "half", "after"))
        error = self.random.choice((Cut(), StoreError("the connection is lost")))
        self.armed[fault] = Breaking(self.store, number, moment, error)
        return {}

    def _store_for(self, fault: str) -> Store:
        return self.armed.get(fault, self.store)

    def _see(
        self, before: Mapping[str, bytes], name: str, holds: frozenset[str], now: datetime, pruned: Pruned | None,
        broken: Collection[str],
    ) -> None:  # fmt: skip
        """See that what was there is there, but for what may go (I1, I2, I3)."""
        files = self.store.files
        assert {path: data for path, data in files.items() if path in FOREIGN} == FOREIGN
        assert all(files[path] == data for path, data in before.items() if path in files)
        gone = {_backup_of(path) for path in before.keys() - files.keys()}
        new = {_backup_of(path) for path in files.keys() - before.keys()}
        assert new <= {name}
        backups = Catalogue("disk", self.store).backups(JOB)
        touched = {backup.id: backup for backup in backups if backup.id in gone | new}
        assert all(backup.status in ("complete", "partial", "unfinished") for backup in touched.values())
        finished = (self.good.keys() - gone) | {each for each, backup in touched.items() if backup.is_finished}
        known = self.good | ({name: holds} if name in finished else {})
        lost = known.keys() - finished
        if pruned and not broken:
            assert lost == set(pruned.deleted)
        assert finished <= known.keys()
        assert lost <= gone
        assert not [each for each in lost if each > name], "what is later than now was deleted"
        assert not gone & finished, "a backup counts as finished, and a part of it was deleted"
        for label in LABELS:
            copies = [each for each, labels in known.items() if label in labels]
            for newest in (max(copies, default=None), max((c for c in copies if c <= name), default=None)):
                assert newest is None or newest in finished, f"{newest}, the newest good copy of {label}, is gone"
        self.good = {each: known[each] for each in finished}
        if name in finished:
            assert verify(touched[name]) == []
        self.later = sum(each > name for each in finished)
        self.most = max(self.most, len(backups) - self.later)
        self.objections += bool(pruned and any("at once" in sentence for sentence in pruned.warnings))


def _backup_of(path: str) -> str:
    """Give the name of the backup that a path belongs to."""
    job, _, rest = path.partition("/")
    assert job == JOB, f"{path} is none of this job's"
    return rest.partition("/")[0].partition(".")[0]


@pytest.mark.parametrize("nights", [400, pytest.param(3650, marks=pytest.mark.slow)])
def test_nothing_is_lost_and_nothing_piles_up_in_years_of_nights_with_faults(nights: int, seed: int) -> None:
    """I1, I2, I3, R1, R2, R3, R10, R11, R13: the clock goes ten years ahead, and back again, and some weeks back later on.
    Every backup that is finished verifies, the newest good copy of each entry stays, nothing foreign is touched, and
    neither the target nor this process grows.
    """
    soak = Soak(random.Random(seed), Policy(days=7, weekly=2, monthly=3))
    for path, data in FOREIGN.items():
        put(soak.store, path, data)
    ahead, home, back = nights * 3 // 10, nights * 4 // 10, nights * 7 // 10
    blocks, sizes = [], []
    for number in range(nights):
        now = NIGHT + timedelta(days=number, seconds=number)  # no two nights have one name, whatever the clock does
        now += TEN_YEARS if ahead <= number < home else -SOME_WEEKS if number >= back else timedelta(0)
        soak.night(now)
        if number % 100 == 99:
            soak.see_that_all_verify()
        if number % (nights // 40) == 0:
            gc.collect()
            blocks.append(sys.getallocatedblocks())
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
        assert soak.later or number not in (home, back)
    print(f"{nights} nights: {sum(soak.fired.values())} faults {dict(soak.fired)}, "
          f"at most {soak.most} backups, {soak.objections} objections")  # fmt: skip
    assert soak.objections > 0
    assert soak.drawn - soak.fired == Counter(soak.armed.keys())
    assert soak.most <= MOST
    limits = ((blocks, 1000), (sizes, 4 * 1024 * 1024)) if nights > 1000 else ()  # in a few, chance is larger than that
    for samples, more in limits:  # at first there is nothing to prune yet
        assert min(samples[24:]) - min(samples[8:24]) < more
