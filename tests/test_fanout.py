"""The fan-out: what is written comes to every target, in bounded memory, and what is given up comes to none."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from pickup_core import fanout
from pickup_core.artefact import Readable
from pickup_core.errors import NoTargetLeft, PickupError, StoreError
from pickup_core.fanout import Channel, Fanout, WithdrawnError
from pickup_core.manifest import Manifest, encode
from pickup_core.store import BLOCK, Item, Store
from tests.builders import MemoryStore, manifest
from tests.end_to_end.command import wait_until
from tests.places import Watched

FOLDER = "web01/2026-11-23T031502Z"
MANIFEST = manifest()
SECONDS = 20
MUCH = 2**20 + 1
"""A file of so many bytes is sent before it is known as a whole."""


class Served:
    """A target that takes what its channel brings, in a thread of its own."""

    def __init__(self, store: Store, stall: float = SECONDS) -> None:
        self.store = store
        self.channel = Channel(stall)
        self.given: tuple[Manifest, bytes] | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        try:
            if self.channel.is_wanted():
                self.given = self.channel.put_files(self.store, FOLDER)
        except BaseException as error:  # noqa: BLE001 - it is looked at
            self.error = error
        finally:
            self.channel.close()

    def join(self) -> None:
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()


def files_of(served: Served) -> dict[str, bytes]:
    assert isinstance(served.store, MemoryStore | Watched)
    store = served.store.store if isinstance(served.store, Watched) else served.store
    assert isinstance(store, MemoryStore)
    return {path.removeprefix(f"{FOLDER}/"): data for path, data in store.files.items()}


@contextmanager
def streaming(*served: Served) -> Iterator[Fanout]:
    """Give the fan-out to these; wait for them when the `with` is left."""
    out = Fanout([each.channel for each in served])
    try:
        yield out
    finally:
        out.withdraw()
        for each in served:
            each.join()


def finish(out: Fanout, served: Sequence[Served]) -> None:
    out.finish(MANIFEST, encode(MANIFEST))
    for each in served:
        each.join()


# What comes through


class Nibbling(MemoryStore):
    """Asks for a few bytes at a time."""

    def put(self, path: str, stream: Readable) -> None:
        data = b""
        while block := stream.read(7):
            assert len(block) <= 7
            data += block
        self.files[path] = data


def test_every_target_gets_every_file_and_the_manifest() -> None:
    blocks = [os.urandom(size) for size in (1, 100, BLOCK, 1000)]
    served = [Served(MemoryStore()), Served(MemoryStore()), Served(Nibbling())]
    with streaming(*served) as out:
        with out.sink("folder/www/a") as sink:
            for block in blocks:
                assert sink.write(block) == len(block)
        with out.sink("folder/www/empty"):
            pass
        out.write("RESTORE.txt", b"in words")
        finish(out, served)
    expected = {"folder/www/a": b"".join(blocks), "folder/www/empty": b"", "RESTORE.txt": b"in words"}
    for each in served:
        assert each.error is None
        assert files_of(each) == expected
        assert each.given == (MANIFEST, encode(MANIFEST))


def test_a_file_that_is_known_as_a_whole_can_be_read_twice() -> None:
    """So that it can be sent again where the connection breaks: that is any small one."""

    class Twice(MemoryStore):
        def put(self, path: str, stream: Any) -> None:
            stream.read()
            stream.seek(0)
            super().put(path, stream)

    served = Served(Twice())
    with streaming(served) as out:
        out.write("SHA256SUMS", b"sums")
        with out.sink("small") as sink:
            sink.write(b"1")
            sink.write(bytes(2**20 - 1))
        finish(out, [served])
    assert files_of(served) == {"SHA256SUMS": b"sums", "small": b"1" + bytes(2**20 - 1)}


# The slowest sets the pace


class Waiting(MemoryStore):
    """Takes the first block of a file, and the others when it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun = threading.Event()
        self.go_on = threading.Event()

    def put(self, path: str, stream: Readable) -> None:
        first = stream.read(BLOCK)
        self.has_begun.set()
        assert self.go_on.wait(SECONDS)
        with suppress(PickupError):
            self.files[path] = first + b"".join(iter(lambda: stream.read(BLOCK), b""))
        stream.read(BLOCK)


@pytest.mark.parametrize("size", [BLOCK, 20_000, 3 * 2**20])
def test_a_target_that_is_slow_holds_the_run_up_at_a_few_mebibytes(size: int) -> None:
    slow, fast = Served(Waiting()), Served(MemoryStore())
    assert isinstance(slow.store, Waiting)
    written, digest = [0], hashlib.sha256()

    def write(out: Fanout) -> None:
        with out.sink("folder/www/a") as sink:
            while written[0] < 12 * 2**20:
                block = os.urandom(size)
                sink.write(block)
                digest.update(block)
                written[0] += size
        finish(out, [slow, fast])

    with streaming(slow, fast) as out:
        writer = threading.Thread(target=write, args=(out,), daemon=True)
        writer.start()
        assert slow.store.has_begun.wait(SECONDS)
        writer.join(0.5)
        assert writer.is_alive()
        assert written[0] <= 5 * 2**20 + 2 * size
        slow.store.go_on.set()
        writer.join(SECONDS)
        assert not writer.is_alive()
    for each in (slow, fast):
        assert hashlib.sha256(files_of(each)["folder/www/a"]).digest() == digest.digest()


def test_what_was_taken_makes_room_for_more() -> None:
    """However much has gone before, as much waits again for a target that is slow now."""
    served = Served(Waiting())
    assert isinstance(served.store, Waiting)
    served.store.go_on.set()
    with streaming(served) as out:
        write_much(out, "first")
        wait_until(lambda: "first" in files_of(served), "the first file is there")
        served.store.go_on.clear()
        ahead = threading.Thread(target=write_for_a_while, args=(out,), daemon=True)
        ahead.start()
        ahead.join(SECONDS)
        assert not ahead.is_alive()
        served.store.go_on.set()
        finish(out, [served])


def write_for_a_while(out: Fanout) -> None:
    with out.sink("second") as sink:
        for _ in range(8):
            sink.write(bytes(BLOCK))


def test_one_that_stalls_drops_out_and_the_others_get_everything() -> None:
    stalled, sound = Served(Waiting(), stall=0.2), Served(MemoryStore())
    assert isinstance(stalled.store, Waiting)
    data = os.urandom(10 * 2**20)
    with streaming(stalled, sound) as out:
        with out.sink("folder/www/a") as sink:
            for start in range(0, len(data), BLOCK):
                sink.write(data[start : start + BLOCK])
        out.finish(MANIFEST, encode(MANIFEST))
        sound.join()
        assert files_of(sound) == {"folder/www/a": data}
        assert not stalled.channel.is_open
        stalled.store.go_on.set()
    assert isinstance(stalled.error, StoreError)
    assert stalled.error.message == "has taken nothing for 0.2 seconds, and drops out"
    assert stalled.given is None


def test_a_source_that_is_slow_costs_no_target() -> None:
    served = Served(MemoryStore(), stall=0.05)
    with streaming(served) as out:
        with out.sink("folder/www/a") as sink:
            for _ in range(3):
                threading.Event().wait(0.1)
                sink.write(b"x")
        finish(out, [served])
    assert files_of(served) == {"folder/www/a": b"xxx"}


class Silent(Watched):
    """A server that takes leave: the first listing fails."""

    def listdir(self, folder: str = "") -> list[Item]:
        self.calls.append(("listdir", folder))
        raise StoreError("421 idle for too long")


@pytest.mark.parametrize("silence", [0.05, SECONDS])
def test_a_connection_that_was_silent_for_long_is_tried_before_a_file_is_lost_for_it(
    monkeypatch: pytest.MonkeyPatch, silence: float
) -> None:
    monkeypatch.setattr(fanout, "_SILENCE", silence)
    served = Served(Silent(MemoryStore()))
    assert isinstance(served.store, Silent)
    with streaming(served) as out:
        out.write("a", b"1")
        threading.Event().wait(0.2)
        out.write("b", b"2")
        finish(out, [served])
    assert files_of(served) == {"a": b"1", "b": b"2"}
    asked = [("listdir", "")] if silence < 1 else []
    assert served.store.calls == [("put", f"{FOLDER}/a"), *asked, ("put", f"{FOLDER}/b")]


# What is given up


@pytest.mark.parametrize("size", [1, MUCH, 6 * 2**20])
def test_a_source_that_fails_leaves_nothing_and_costs_no_target(size: int) -> None:
    served = [Served(MemoryStore()), Served(PartKeeping())]
    with streaming(*served) as out:
        out.write("first", b"1")
        with pytest.raises(OSError, match="the disk is broken"):
            write_and_fail(out, size)
        out.write("last", b"2")
        finish(out, served)
    for each in served:
        assert files_of(each) == {"first": b"1", "last": b"2"}
        assert each.channel.remains == []


def write_and_fail(out: Fanout, size: int) -> None:
    with out.sink("folder/www/a") as sink:
        for start in range(0, size, BLOCK):
            sink.write(bytes(min(BLOCK, size - start)))
        raise OSError("the disk is broken")


class PartKeeping(MemoryStore):
    """Keeps the part that came of a file that breaks off."""

    def put(self, path: str, stream: Readable) -> None:
        assert path not in self.files
        self.files[path] = b""
        while block := stream.read(BLOCK):
            self.files[path] += block


class AppendOnly(PartKeeping):
    def delete(self, path: str) -> None:
        raise PermissionError(13, "Permission denied")


def served_with_a_failure(store: Store) -> Served:
    """Let a target take a file that is given up, and another one after it."""
    served = Served(store)
    with streaming(served) as out:
        with suppress(OSError):
            write_and_fail(out, MUCH)
        out.write("last", b"2")
        finish(out, [served])
    return served


def test_what_is_given_up_and_may_not_be_deleted_is_told() -> None:
    served = served_with_a_failure(AppendOnly())
    assert files_of(served) == {"folder/www/a": bytes(MUCH), "last": b"2"}
    [sentence] = served.channel.remains
    assert sentence == (
        f"{FOLDER}/folder/www/a is left, of which the source has failed: "
        "it could not be deleted: [Errno 13] Permission denied"
    )


class NoDelete(MemoryStore):
    def delete(self, path: str) -> None:
        raise PermissionError(13, "Permission denied")


def test_where_nothing_is_left_nothing_is_deleted() -> None:
    """T19: as at an object store, where a part is no object."""
    served = served_with_a_failure(NoDelete())
    assert files_of(served) == {"last": b"2"}
    assert served.channel.remains == []


@pytest.mark.parametrize("size", [0, 2**20])
def test_no_target_hears_of_a_source_that_fails_soon(size: int) -> None:
    """What a compressor makes of nothing is no reason to touch a place."""
    store = Watched(MemoryStore())
    served = Served(store)
    with streaming(served) as out, suppress(OSError):
        write_and_fail(out, size)
    assert store.calls == []
    assert (served.given, served.error) == (None, None)


@pytest.mark.parametrize("when", ["between", "within"])
def test_a_backup_that_is_given_up_ends_every_target(when: str) -> None:
    served = [Served(MemoryStore()), Served(MemoryStore())]
    with streaming(*served) as out:
        out.write("first", b"1")
        wait_until(lambda: all(files_of(each) for each in served), "both have the first file")
        if when == "within":
            with suppress(KeyboardInterrupt), out.sink("folder/www/a") as sink:
                sink.write(bytes(MUCH))
                raise KeyboardInterrupt
    for each in served:
        assert each.given is None
        assert isinstance(each.error, WithdrawnError)
        assert "folder/www/a" not in files_of(each)


# Targets that fail


class Failing(MemoryStore):
    def __init__(self, where: Callable[[str], bool]) -> None:
        super().__init__()
        self.where = where

    def put(self, path: str, stream: Readable) -> None:
        if self.where(path):
            stream.read(10)
            raise StoreError("the disk is full")
        super().put(path, stream)


def write_much(out: Fanout, path: str) -> bytes:
    data = os.urandom(6 * 2**20)
    with out.sink(path) as sink:
        for start in range(0, len(data), BLOCK):
            sink.write(data[start : start + BLOCK])
    return data


@pytest.mark.parametrize("number", range(3))
def test_a_target_that_fails_drops_out_and_the_others_get_everything(number: int) -> None:
    """The run does not wait for one that takes no more, however much it had in hand."""
    failing, sound = Served(Failing(lambda path: path.endswith(str(number)))), Served(MemoryStore())
    with streaming(failing, sound) as out:
        written = {f"file-{n}": write_much(out, f"file-{n}") for n in range(3)}
        finish(out, [failing, sound])
    assert files_of(sound) == written
    assert isinstance(failing.error, StoreError)
    assert failing.error.message == "the disk is full"
    assert list(files_of(failing)) == [f"file-{n}" for n in range(number)]


class Hasty(MemoryStore):
    def put(self, path: str, stream: Readable) -> None:
        self.files[path] = stream.read(1000)


def test_a_target_that_returns_before_the_end_has_failed() -> None:
    hasty, sound = Served(Hasty()), Served(MemoryStore())
    with streaming(hasty, sound) as out:
        data = write_much(out, "file")
        finish(out, [hasty, sound])
    assert isinstance(hasty.error, StoreError)
    assert hasty.error.message == f"{FOLDER}/file was stored before all of it had come"
    assert files_of(sound) == {"file": data}


def test_where_no_target_is_left_the_run_need_not_go_on() -> None:
    """Nothing that a profile or a library catches stops that."""

    def write_for_long(out: Fanout) -> None:
        for number in range(1000):
            with suppress(Exception):
                write_much(out, f"file-{number}")

    served = [Served(Failing(lambda path: True)), Served(Failing(lambda path: True))]
    with streaming(*served) as out, pytest.raises(NoTargetLeft):
        write_for_long(out)
    assert [str(each.error) for each in served] == ["the disk is full"] * 2
