"""Shaping: tried again, slowed down, excused; over stores that fail as real ones do."""

import io
import logging
import random
import signal
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from pickup_core.artefact import Readable
from pickup_core.errors import AbsentError, NoRootError, Stopped, StoreError, UnreachableError
from pickup_core.pace import pause
from pickup_core.shaping import Shaped
from pickup_core.store import BLOCK, Item, Store
from target_profiles.folder import Config as FolderConfig
from target_profiles.folder import Target as Folder
from tests.builders import MemoryStore, seen_bytes
from tests.places import Watched, content, put, tree, write_files
from tests.target_contract import Connect, Pieces, TargetContract

DOWN = UnreachableError("nas:22: connection refused")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, which are noted in place of being waited for."""
    noted: list[float] = []
    monkeypatch.setattr("pickup_core.shaping.pause", noted.append)
    return noted


class Failing(Watched):
    """A store whose calls of one kind fail some times, before or after they have done their work."""

    def __init__(self, store: Store, name: str, times: int, error: Exception = DOWN, after: bool = False) -> None:
        super().__init__(store)
        self.name, self.left, self.error, self.after = name, times, error, after

    def _call(self, name: str, path: str, *more: Any) -> Any:
        if name != self.name or self.left == 0:
            return super()._call(name, path, *more)
        self.left -= 1
        if self.after:
            super()._call(name, path, *more)
        self.calls.append((f"{name} failed", path))
        raise self.error


class TestShaped(TargetContract):
    """It keeps what every target keeps."""

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: Shaped(Folder(FolderConfig(path=tmp_path / "place")), "folder/disk", 2, None)


class TestPaced(TargetContract):
    """Paced too, here as fast as it may be."""

    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: Shaped(Folder(FolderConfig(path=tmp_path / "place")), "folder/disk", 2, 10**9)


CALLS: list[tuple[str, Callable[[Store], object]]] = [
    ("listdir", lambda store: store.listdir("web01")),
    ("get", lambda store: content(store, "web01/file")),
    ("delete", lambda store: store.delete("web01/file")),
    ("sha256", lambda store: store.sha256("web01/file")),
    ("put", lambda store: put(store, "web01/new", b"new")),
    ("commit", lambda store: store.commit("web01/new", b"new")),
    ("create_root", lambda store: store.create_root()),
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [DOWN, ConnectionResetError(104, "Connection reset by peer"), TimeoutError("slow")])
@pytest.mark.parametrize(("name", "call"), CALLS)
def test_what_fails_because_the_place_is_out_of_reach_is_tried_again(
    name: str, call: Callable[[Store], object], error: Exception, after: bool, pauses: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """T1, T2: also where the work was done and only its answer was lost."""
    caplog.set_level(logging.INFO, "pickup")
    memory = MemoryStore()
    put(memory, "web01/file", b"1")
    failing = Failing(memory, name, 2, error, after)
    call(Shaped(failing, "ssh/nas", 2))
    assert failing.left == 0
    assert len(pauses) == 2
    assert 0 < pauses[0] < pauses[1] + 1 < 6
    assert [level for _, level, _ in caplog.record_tuples] == [logging.INFO] * 2
    assert all("ssh/nas: " in text and "; another try in " in text for text in caplog.messages)
    expected = {"web01/file": b"1"} if name != "delete" else {}
    assert memory.files == expected | ({"web01/new": b"new"} if name in ("put", "commit") else {})


@pytest.mark.parametrize(("name", "call"), CALLS)
def test_the_last_failure_gets_out(name: str, call: Callable[[Store], object], pauses: list[float]) -> None:
    for retries in (0, 1, 3):
        pauses.clear()
        failing = Failing(MemoryStore(), name, 100)
        with pytest.raises(UnreachableError) as caught:
            call(Shaped(failing, "ssh/nas", retries))
        assert caught.value is DOWN
        assert failing.left == 100 - 1 - retries
        assert len(pauses) == retries


@pytest.mark.parametrize("error", [StoreError("login refused"), FileExistsError("there"), PermissionError(13, "no")])
def test_what_another_try_would_not_help_is_not_tried_again(error: Exception, pauses: list[float]) -> None:
    failing = Failing(MemoryStore(), "put", 1, error)
    with pytest.raises(type(error)):
        put(Shaped(failing, "ssh/nas", 5), "web01/file", b"1")
    assert pauses == []


def test_a_stream_that_cannot_be_read_again_is_not_sent_again(pauses: list[float]) -> None:
    failing = Failing(MemoryStore(), "put", 1)
    with pytest.raises(UnreachableError):
        Shaped(failing, "ssh/nas", 5).put("web01/file", Pieces(b"1"))
    assert pauses == []


def test_a_stream_is_sent_again_from_where_it_was() -> None:
    memory, stream = MemoryStore(), io.BytesIO(b"head body")
    stream.read(5)

    class Half(Watched):
        failed = False

        def put(self, path: str, stream: Any) -> None:
            if not self.failed:
                self.failed = True
                put(self.store, path, stream.read(2))
                raise DOWN
            super().put(path, stream)

    Shaped(Half(memory), "ssh/nas", 1).put("web01/file", stream)
    assert memory.files == {"web01/file": b"body"}


FILES = {"a": b"1", "b/c": b"22", "d": b"333", "e/f/g": b"4444"}


class OneByOne(Failing):
    """Has no way of its own to store a folder."""

    bulk = 0


def test_a_folder_goes_on_with_the_file_that_broke_off(tmp_path: Path) -> None:
    """What was sent before is not sent once more."""
    memory = MemoryStore()
    failing = OneByOne(memory, "put", 1, after=True)
    Shaped(failing, "ftp/box", 2).put_folder(write_files(tmp_path / "local", FILES), "web01/id")
    assert memory.files == {f"web01/id/{name}": data for name, data in FILES.items()}
    assert [path for name, path in failing.calls if name == "put"] == [
        "web01/id/e/f/g", "web01/id/e/f/g", "web01/id/d", "web01/id/b/c", "web01/id/a"]  # fmt: skip


class Bulk(Watched):
    """Stores a folder in one call, which breaks off after half of the files, the last one of them cut."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.left_out: list[set[str]] = []

    def put_folder(self, folder: Path, path: str, without: Collection[str] = ()) -> None:
        self.left_out.append(set(without))
        if len(self.left_out) > 1:
            Store.put_folder(self, folder, path, without)
            return
        put(self.store, f"{path}/a", b"1")
        put(self.store, f"{path}/b/c", b"2")
        raise DOWN


def test_a_folder_that_is_stored_in_one_call_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    """T2: what is there with its size stays, what is there with another one is sent anew."""
    memory = MemoryStore()
    put(memory, "web01/id/PICKUP.txt", b"mark")
    bulk = Bulk(memory)
    Shaped(bulk, "rsync/nas", 1).put_folder(write_files(tmp_path / "local", FILES), "web01/id")
    assert bulk.left_out == [set(), {"a"}]
    assert memory.files == {"web01/id/PICKUP.txt": b"mark"} | {f"web01/id/{n}": data for n, data in FILES.items()}
    assert [path for name, path in bulk.calls if name == "put"] == ["web01/id/b/c", "web01/id/d", "web01/id/e/f/g"]


def test_a_folder_that_is_stored_in_one_call_fails_where_nothing_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        Shaped(Bulk(MemoryStore()), "rsync/nas", 0).put_folder(write_files(tmp_path / "local", FILES), "web01/id")


# Within a large file


class Resuming(MemoryStore):
    """Keeps what came before the connection broke, as servers do, and can go on after it. `breaks` are the numbers of
    bytes after which it does.
    """

    def __init__(self, *breaks: int, can_append: bool = True, damage: bytes = b"") -> None:
        super().__init__()
        self.breaks, self.has_append, self.damage, self.received = list(breaks), can_append, damage, 0

    def can_append(self) -> bool:
        return self.has_append

    def put(self, path: str, stream: Readable) -> None:
        if path in self.files:
            raise FileExistsError(path)
        self.files[path] = b""
        self.append(path, stream)

    def append(self, path: str, stream: Readable) -> None:
        limit = self.breaks.pop(0) if self.breaks else None
        if limit == 0:
            raise DOWN
        while block := stream.read(BLOCK if limit is None else min(BLOCK, limit)):
            self.files[path] += block
            self.received += len(block)
            if limit is not None:
                limit -= len(block)
                if not limit:
                    self.files[path] = self.damage + self.files[path][len(self.damage) :]
                    raise DOWN


MANY = random.Random(1).randbytes(20 * 2**20)


def test_a_large_file_goes_on_after_what_is_there(caplog: pytest.LogCaptureFixture) -> None:
    """T2: twice, and from where the stream was."""
    caplog.set_level(logging.INFO, "pickup")
    store, stream = Resuming(8 * 2**20, 6 * 2**20), io.BytesIO(b"head" + MANY)
    stream.seek(4)
    Shaped(store, "ssh/nas", 2).put("web01/file", stream)
    assert store.files == {"web01/file": MANY}
    assert store.received == len(MANY)
    assert [text for text in caplog.messages if "goes on" in text] == [
        "ssh/nas: web01/file goes on after 8.0 MiB",
        "ssh/nas: web01/file goes on after 14.0 MiB",
    ]


@pytest.mark.parametrize("can_append", [True, False])
def test_what_is_sent_again_is_shown_once(can_append: bool) -> None:
    store, stream = Resuming(8 * 2**20, 6 * 2**20, can_append=can_append), io.BytesIO(b"head" + MANY)
    stream.seek(4)
    with seen_bytes() as seen:
        Shaped(store, "ssh/nas", 2).put("web01/file", stream)
        assert seen() == len(MANY)
    assert store.received == len(MANY) + (0 if can_append else 14 * 2**20)


def test_all_of_a_folder_is_shown_whichever_way_it_goes(tmp_path: Path) -> None:
    """In one call, which is tried again; one by one; and slowed down."""
    local, size = write_files(tmp_path / "local", FILES), sum(map(len, FILES.values()))
    stores = [Shaped(Bulk(MemoryStore()), "x", 1), Shaped(MemoryStore(), "x"), Shaped(MemoryStore(), "x", 0, 10**6)]
    for store in stores:
        with seen_bytes() as seen:
            store.put_folder(local, "web01/id")
            assert seen() == size


@pytest.mark.parametrize("bandwidth", [None, 10**6])
def test_what_is_hashed_is_shown_once(bandwidth: int | None) -> None:
    store = Shaped(MemoryStore(), "x", 0, bandwidth)
    put(store, "web01/file", MANY)
    with seen_bytes() as seen:
        store.sha256("web01/file")
        assert seen() == len(MANY)


def test_a_file_that_gets_on_is_tried_as_often_as_it_takes(pauses: list[float]) -> None:
    """T2: a line that breaks every few megabytes; where nothing more arrives, the tries come to an end."""
    store = Resuming(5 * 2**20, 2 * 2**20, 2 * 2**20, 2 * 2**20, 2 * 2**20)
    put(Shaped(store, "ssh/nas", 1), "web01/file", MANY)
    assert store.files == {"web01/file": MANY}
    assert store.received == len(MANY)
    assert len(pauses) == 5
    store = Resuming(5 * 2**20, 2 * 2**20, 0, 0)
    with pytest.raises(UnreachableError):
        put(Shaped(store, "ssh/nas", 1), "web01/file", MANY)


def test_a_file_whose_answer_was_lost_is_not_sent_again() -> None:
    store = Resuming(len(MANY))
    put(Shaped(store, "ssh/nas", 1), "web01/file", MANY)
    assert store.files == {"web01/file": MANY}
    assert store.received == len(MANY)


class Blind(Resuming):
    """Lets nobody read."""

    def sha256(self, path: str) -> str:
        raise StoreError("this account may not read")


@pytest.mark.parametrize(
    ("store", "sent"),
    [
        (Resuming(2**20), len(MANY) + 2**20),
        (Resuming(8 * 2**20, can_append=False), len(MANY) + 8 * 2**20),
        (Resuming(8 * 2**20, damage=b"?"), len(MANY) + 8 * 2**20),
        (Blind(8 * 2**20), len(MANY) + 8 * 2**20),
    ],
    ids=["a small part", "a place that cannot do it", "a part that is damaged", "a part that may not be read"],
)
def test_a_file_begins_anew_where_going_on_is_of_no_use(store: Resuming, sent: int) -> None:
    put(Shaped(store, "ssh/nas", 1), "web01/file", MANY)
    assert store.files == {"web01/file": MANY}
    assert store.received == sent


def test_a_part_that_is_longer_than_the_file_is_none_of_it() -> None:
    store = Resuming(8 * 2**20)
    original = store.append

    def append(path: str, stream: Readable) -> None:
        try:
            original(path, stream)
        except UnreachableError:
            store.files[path] += MANY
            raise

    store.append = append  # type: ignore[method-assign]
    put(Shaped(store, "ssh/nas", 1), "web01/file", MANY)
    assert store.files == {"web01/file": MANY}


# Over several connections


class Connections(MemoryStore):
    """Every store of this class holds the same files. `most` is how many of them were at work at a time."""

    shared: dict[str, bytes]
    lock = threading.Lock()
    at_work = most = 0
    fails_at = ""

    def __init__(self, config: object = None) -> None:
        super().__init__()
        self.files = type(self).shared
        self.connections = 3

    def put(self, path: str, stream: Readable) -> None:
        kind = type(self)
        with kind.lock:
            kind.at_work += 1
            kind.most = max(kind.most, kind.at_work)
        try:
            if path.endswith(kind.fails_at or "/nothing"):
                time.sleep(0.1)
                raise StoreError("the disk is full")
            while stream.read(10):
                time.sleep(0.002)
            super().put(path, io.BytesIO(path.encode()))
        finally:
            with kind.lock:
                kind.at_work -= 1


@pytest.fixture
def connections() -> type[Connections]:
    return type("Fresh", (Connections,), {"shared": {}})


def test_files_go_over_as_many_connections_as_the_store_may_have(
    tmp_path: Path, connections: type[Connections]
) -> None:
    local = write_files(tmp_path / "local", {f"{number}/file": b"x" * 100 * number for number in range(12)})
    Shaped(connections(), "ftp/box", 0).put_folder(local, "web01/id", ["3/file"])
    assert sorted(connections.shared) == sorted(f"web01/id/{number}/file" for number in range(12) if number != 3)
    assert connections.most == 3


def test_a_failure_of_one_connection_ends_the_others(tmp_path: Path, connections: type[Connections]) -> None:
    files = {"small": b"x" * 10, "large": b"x" * 100_000, "larger": b"x" * 200_000, "least": b""}
    local, start = write_files(tmp_path / "local", files), time.monotonic()
    connections.fails_at = "small"
    shaped = Shaped(connections(), "ftp/box", 0)
    with pytest.raises(StoreError, match="the disk is full"):
        shaped.put_folder(local, "web01/id")
    assert time.monotonic() - start < 10  # all of it would take 60 s
    assert connections.shared == {}
    assert connections.at_work == 0
    put(shaped, "web01/after", b"")  # the store works on
    assert set(connections.shared) == {"web01/after"}


# Pace


def test_a_pause_ends_with_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the pauses of this file
    monkeypatch.setattr(Stopped, "heard", Stopped(signal.SIGTERM))
    start = time.monotonic()
    with pytest.raises(Stopped):
        pause(60)
    with pytest.raises(Stopped):
        put(Shaped(MemoryStore(), "ssh/nas", 0), "web01/file", b"1")
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("move", ["put", "get", "sha256", "put_folder"])
def test_no_more_than_the_bandwidth_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, move: str) -> None:
    """100 KiB at 50 KiB a second; time stands still but for what is waited for."""
    now = 1000.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += max(seconds, 0)

    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr("pickup_core.pace.pause", sleep)
    data, place = random.Random(1).randbytes(100 * 1024), Folder(FolderConfig(path=tmp_path / "place"))
    with place:
        place.create_root()
    store, start = Shaped(place, "folder/disk", 0, 50), now
    if move == "put":
        store.put("file", io.BytesIO(data))
    elif move == "put_folder":
        store.put_folder(write_files(tmp_path / "local", {"a": data[:50_000], "b": data[50_000:]}), "id")
    else:
        put(place, "file", data)
        store.sha256("file") if move == "sha256" else content(store, "file")
    assert 0.9 <= now - start <= 2.1
    assert b"".join(data for _, data in sorted(tree(place).items())) == data


def test_a_store_that_keeps_to_the_bandwidth_itself_is_told(tmp_path: Path) -> None:
    class Own(MemoryStore):
        keeps_bandwidth = True

    store = Own()
    before = time.monotonic()
    put(Shaped(store, "rsync/nas", 0, 1), "file", bytes(100 * BLOCK))
    assert time.monotonic() - before < 10
    assert store.bandwidth == 1


# Optional


class Away(MemoryStore):
    """A place that is not there: nothing is listed, or it cannot even be opened."""

    def __init__(self, error: Exception, at: str) -> None:
        super().__init__()
        self.error, self.at = error, at

    def open(self) -> None:
        if self.at == "open":
            raise self.error

    def listdir(self, folder: str = "") -> list[Item]:
        if self.at == "listdir":
            raise self.error
        return super().listdir(folder)


@pytest.mark.parametrize("at", ["open", "listdir"])
@pytest.mark.parametrize("error", [DOWN, NoRootError("/media/stick does not exist")])
def test_an_optional_place_that_is_not_there_is_absent(error: Exception, at: str) -> None:
    with pytest.raises(AbsentError, match=str(error)), Shaped(Away(error, at), "folder/stick", 1, None, True) as store:
        store.listdir()
    with pytest.raises(type(error)), Shaped(Away(error, at), "folder/stick", 0) as store:
        store.listdir()


def test_a_place_that_vanishes_later_has_failed() -> None:
    away = Away(DOWN, "never")
    with Shaped(away, "folder/stick", 0, None, True) as store:
        store.listdir()
        away.at = "listdir"
        with pytest.raises(UnreachableError):
            store.listdir("web01")
    away.at = "open"
    with pytest.raises(AbsentError), store:
        pass


def test_another_failure_is_one_for_an_optional_place_too() -> None:
    store = Shaped(Away(StoreError("login refused"), "listdir"), "ssh/nas", 0, None, True)
    with pytest.raises(StoreError, match="login refused"), store:
        store.listdir()


def test_the_root_of_an_optional_place_is_not_made(tmp_path: Path) -> None:
    place = Folder(FolderConfig(path=tmp_path / "stick"))
    with Shaped(place, "folder/stick", 0, None, True) as store:
        store.create_root()
        assert not (tmp_path / "stick").exists()
        with pytest.raises(AbsentError, match="yours to make"):
            store.listdir()
