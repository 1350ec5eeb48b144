"""Which backup is the newest with a good copy of an entry: as the targets say, and where they do not, the history."""

import io
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pickup_core import copies
from pickup_core.artefact import Readable
from pickup_core.config import Config
from pickup_core.copies import Copies, copies_at
from pickup_core.errors import UnreachableError
from pickup_core.history import History
from pickup_core.manifest import encode
from pickup_core.store import Item
from tests.builders import MemoryStore, entry, manifest
from tests.test_delivery import config_of

A, B = "2026-11-21T031502Z", "2026-11-22T031502Z"
SYSTEM, WWW = "command/system", "folder/www"


def put(store: MemoryStore, day: int, *bad: str) -> None:
    """Store the manifest of a backup of two entries, of which these failed."""
    statuses = [
        entry(name, profile, "failed" if name in bad else "ok")
        for name, profile in (("system", "command"), ("www", "folder"))
    ]
    record = manifest(f"2026-11-{day} 03:15:02", entries=tuple(statuses))
    marker = ".json" if record.is_complete else ".partial.json"
    store.put(f"{record.job}/{record.id}{marker}", io.BytesIO(encode(record)))
    store.put(f"{record.job}/{record.id}/RESTORE.txt", io.BytesIO(b"see"))


def note(config: Config, kind: str, backup: str, places: Sequence[str], *labels: str) -> None:
    facts = {"sizes": {label: {"x": 1} for label in labels}} if kind == "run" else {}
    History(config.state_folder, "web01").add(kind, backup=backup, places=list(places), **facts)


def test_a_target_that_is_looked_at_says_what_it_holds(tmp_path: Path) -> None:
    store = MemoryStore()
    put(store, 20)
    put(store, 21)
    put(store, 22, "www")
    store.put(f"web01/{B}.keep", io.BytesIO(b"why"))
    config = config_of(tmp_path, store)
    note(config, "run", "2026-11-23T031502Z", [store.place], SYSTEM, WWW)
    assert copies_at(config, config.targets, [SYSTEM, WWW]) == {"t0": Copies({SYSTEM: B, WWW: A}, is_seen=True)}


def test_a_target_is_read_no_further_than_needed(tmp_path: Path) -> None:
    store = Reading()
    put(store, 21)
    put(store, 22)
    config = config_of(tmp_path, store)
    assert copies_at(config, config.targets, [WWW]) == {"t0": Copies({SYSTEM: B, WWW: B}, is_seen=True)}
    assert store.read == [f"web01/{B}.json"]


class Reading(MemoryStore):
    """Notes what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def get(self, path: str) -> AbstractContextManager[Readable]:
        self.read.append(path)
        return super().get(path)


class Broken(MemoryStore):
    def listdir(self, folder: str = "") -> list[Item]:
        raise UnreachableError("no route to host")


class Hanging(MemoryStore):
    """Answers when it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.released = threading.Event()

    def listdir(self, folder: str = "") -> list[Item]:
        self.released.wait()
        return []


def test_of_the_others_the_history_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that hangs holds nobody up, and one that is broken costs itself."""
    monkeypatch.setattr(copies, "_LONGEST", 0.3)
    broken, hanging, unseen, sound = stores = Broken(), Hanging(), MemoryStore(), MemoryStore()
    put(sound, 21)
    config = config_of(tmp_path, *stores)
    note(config, "run", A, [store.place for store in stores], SYSTEM, WWW)
    note(config, "run", B, [hanging.place, unseen.place], SYSTEM)
    note(config, "copy", B, [broken.place])
    note(config, "run", "2026-11-23T031502Z", [], SYSTEM, WWW)
    assert copies_at(config, [t for t in config.targets if t.name != "t2"], [SYSTEM, WWW]) == {
        "t0": Copies({SYSTEM: B, WWW: A}, is_seen=False),
        "t1": Copies({SYSTEM: B, WWW: A}, is_seen=False),
        "t2": Copies({SYSTEM: B, WWW: A}, is_seen=False),
        "t3": Copies({SYSTEM: A, WWW: A}, is_seen=True),
    }
    hanging.released.set()


def test_what_was_deleted_is_not_there(tmp_path: Path) -> None:
    store, other = MemoryStore(), MemoryStore()
    config = config_of(tmp_path, store, other)
    for name in (A, B, "2026-11-23T031502Z"):
        note(config, "run", name, [store.place, other.place], SYSTEM)
    history = History(config.state_folder, "web01")
    history.add("prune", target="t0", place=store.place, deleted=["2026-11-23T031502Z"])
    history.add("delete", target="t0", place=store.place, backup=B)
    assert {name: held.newest[SYSTEM] for name, held in copies_at(config, [], []).items()} == {
        "t0": A,
        "t1": "2026-11-23T031502Z",
    }


def test_where_nothing_was_stored_there_is_nothing(tmp_path: Path) -> None:
    config = config_of(tmp_path, MemoryStore())
    assert copies_at(config, [], [SYSTEM]) == {"t0": Copies({}, is_seen=False)}
    assert copies_at(config, config.targets, [SYSTEM]) == {"t0": Copies({}, is_seen=True)}
