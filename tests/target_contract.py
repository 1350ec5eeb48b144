"""What every target keeps, as tests. A target profile passes them by one fixture:

    class TestTarget(TargetContract):
        @pytest.fixture
        def connect(self): ...

What `connect` gives is called without arguments, and gives a new store, not yet opened. All stores of one test lead to
the same place, which nobody has used before; where a root has to be made, it has none yet.

Nothing here knows what a place is made of. What a place cannot do is said by the attributes and hooks of the class.
"""

import hashlib
import io
import os
import random
import string
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pickup_core.artefact import Readable
from pickup_core.catalogue import Catalogue
from pickup_core.errors import NoRootError, Stopped, StoreError, UsageError
from pickup_core.manifest import backup_id
from pickup_core.prune import clear_leftovers, prune
from pickup_core.publish import mark_text
from pickup_core.retention import Policy
from pickup_core.store import BLOCK, DryRun, Item, Store, walk
from pickup_core.verify import verify
from tests.places import (
    JOB,
    MACHINE,
    NIGHT,
    Interrupted,
    content,
    make_backup,
    put,
    store_backup,
    store_nights,
    tree,
    write_files,
)

Connect = Callable[[], Store]
LARGE = 5 * 2**20 + 4097
ENTRIES = ["folder/www", "postgres/main"]


class Pieces:
    """A stream whose `read` gives fewer bytes than it is asked for, and after `fail_after` bytes raises `error`."""

    def __init__(self, data: bytes, piece: int = 1000, fail_after: int | None = None, error: Any = None) -> None:
        self._data = io.BytesIO(data)
        self._piece = piece
        self._fail_after = fail_after
        self._error = error
        self.failed = False
        self.ended = False

    def read(self, size: int = -1) -> bytes:
        assert not self.failed, "a stream that has raised is not read again"
        if self._fail_after is not None and self._data.tell() >= self._fail_after:
            self.failed = True
            raise self._error
        piece = self._data.read(self._piece if size < 0 else min(size, self._piece))
        self.ended = not piece
        return piece


class TargetContract:
    """The tests. Every attribute and method above the first test may be overridden."""

    has_root_to_make = True
    """False where a root needs no making, as that of a bucket: then there is none that could be absent."""

    can_append = False
    """True where an upload can go on in the middle of a file."""

    def mode_of(self, store: Store, path: str) -> int | None:
        """Give the permission bits of a file or folder in the place, None where the place knows none."""
        return None

    @pytest.fixture
    def connect(self) -> Connect:
        raise NotImplementedError("a target's test class gives this fixture")

    @pytest.fixture
    def target(self, connect: Connect) -> Iterator[Store]:
        """An open store for a fresh place."""
        with connect() as store:
            store.create_root()
            yield store

    # put and get

    def test_what_was_put_is_given_back(self, target: Store) -> None:
        put(target, "web01/hello.txt", b"Hello\r\n\0\xff\x1a\n")
        assert content(target, "web01/hello.txt") == b"Hello\r\n\0\xff\x1a\n"

    def test_an_empty_file_is_a_file(self, target: Store) -> None:
        put(target, "web01/empty", b"")
        assert target.listdir("web01") == [Item("empty", 0)]
        assert content(target, "web01/empty") == b""

    def test_a_file_may_lie_in_the_root(self, target: Store) -> None:
        put(target, "probe", b"1")
        assert target.listdir() == [Item("probe", 1)]
        assert content(target, "probe") == b"1"
        target.delete("probe")
        assert target.listdir() == []

    @pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, LARGE])
    def test_a_file_of_any_size_comes_back_whole(self, target: Store, size: int) -> None:
        data = random.Random(size).randbytes(size)
        put(target, "web01/large", data)
        assert target.listdir("web01") == [Item("large", size)]
        assert content(target, "web01/large") == data

    @pytest.mark.parametrize("piece", [1, 777, BLOCK - 1])
    def test_a_stream_may_give_short_pieces_and_is_read_to_its_end(self, target: Store, piece: int) -> None:
        data = random.Random(piece).randbytes(piece * 3 + 2)
        stream = Pieces(data, piece)
        target.put("web01/pieces", stream)
        assert stream.ended
        assert content(target, "web01/pieces") == data

    def test_line_ends_and_every_byte_stay_as_they_are(self, target: Store) -> None:
        data = bytes(range(256)) * 3 + b"\r\n.\r\n..\n\xff\xfb\x1f\r" + b"\n" * 1000
        put(target, "web01/bytes", data)
        assert content(target, "web01/bytes") == data

    def test_parent_folders_are_made_however_deep(self, target: Store) -> None:
        path = "/".join(f"level{n}" for n in range(20)) + "/file"
        put(target, path, b"deep")
        assert content(target, path) == b"deep"
        assert [item.is_folder for item in target.listdir("level0")] == [True]

    def test_a_name_may_have_every_character_that_is_allowed(self, target: Store) -> None:
        """T21: the names that Pickup writes are the ones that every place must take."""
        names = [string.ascii_letters + string.digits + "._=~-", "=2Fetc=0A=FF", "a=~0123456789abcdef.zst", "a..b", "_"]
        for name in names:
            put(target, f"web01/{name}/{name}", name.encode())
        assert {item.name for item in target.listdir("web01")} == set(names)
        assert tree(target, "web01") == {f"web01/{name}/{name}": name.encode() for name in names}

    @pytest.mark.parametrize("name", ["-rf", "--delete", "~root", "~", "=", "a~", "-", "2026-11-23T031502Z.json"])
    def test_a_name_that_means_something_to_others_is_a_name(self, target: Store, name: str) -> None:
        """T21"""
        put(target, f"web01/{name}", b"1")
        put(target, f"{name}/{name}", b"22")
        assert target.listdir("web01") == [Item(name, 1)]
        assert target.listdir(name) == [Item(name, 2)]
        assert content(target, f"{name}/{name}") == b"22"
        target.delete(f"{name}/{name}")
        target.delete(f"web01/{name}")
        assert target.listdir("web01") == target.listdir(name) == []

    def test_a_name_may_have_200_characters(self, target: Store) -> None:
        name = "n" * 196 + ".zst"
        put(target, f"web01/{name}/{name}", b"long")
        assert target.listdir("web01") == [Item(name, None)]
        assert content(target, f"web01/{name}/{name}") == b"long"

    def test_put_never_overwrites(self, target: Store) -> None:
        """T7"""
        put(target, "web01/file", b"the first")
        with pytest.raises(FileExistsError):
            put(target, "web01/file", b"another one")
        assert content(target, "web01/file") == b"the first"
        assert target.listdir("web01") == [Item("file", 9)]

    def test_a_part_of_a_file_is_gone_on_with_where_the_place_can_do_that(self, target: Store) -> None:
        assert target.can_append() == self.can_append
        if not self.can_append:
            with pytest.raises((OSError, StoreError)):
                target.append("web01/file", Pieces(b"1"))
            return
        data, store = random.Random(1).randbytes(LARGE), target
        for part in (1, BLOCK, LARGE):
            put(store, f"web01/{part}", data[:part])
            store.append(f"web01/{part}", Pieces(data[part:], 10_000))
            assert content(store, f"web01/{part}") == data
            assert self.mode_of(store, f"web01/{part}") in (None, 0o600)
        with pytest.raises((OSError, StoreError)):
            store.append("web01/absent", Pieces(b"1"))
        put(store, "web01/broken", data)
        with pytest.raises(RuntimeError, match="gone"):
            store.append("web01/broken", Pieces(data, fail_after=5000, error=RuntimeError("gone")))
        assert content(store, "web01/1") == data  # it works on

    def test_get_of_what_is_absent_says_so(self, target: Store) -> None:
        put(target, "web01/file", b"1")
        for path in ("nothing", "nothing/at/all", "web01/nothing"):
            with pytest.raises(FileNotFoundError), target.get(path):
                pass
        assert content(target, "web01/file") == b"1"

    def test_get_gives_a_stream_that_can_be_read_in_any_pieces(self, target: Store) -> None:
        data = random.Random(7).randbytes(BLOCK + 5000)
        put(target, "web01/file", data)
        read = b""
        with target.get("web01/file") as stream:
            for size in (1, 10, 1000, 100_000, 3):
                piece = stream.read(size)
                assert 0 < len(piece) <= size
                read += piece
            while piece := stream.read(70_000):
                read += piece
            assert stream.read(10) == b""
        assert read == data

    def test_a_stream_may_be_left_before_its_end(self, target: Store) -> None:
        data = os.urandom(LARGE)
        put(target, "web01/large", data)
        put(target, "web01/small", b"small")
        with target.get("web01/large") as stream:
            assert data.startswith(stream.read(10))
        assert content(target, "web01/small") == b"small"
        with pytest.raises(ZeroDivisionError), target.get("web01/large") as stream:
            raise ZeroDivisionError(stream.read(10))
        assert content(target, "web01/large") == data

    # listdir

    def test_a_listing_tells_names_and_sizes_of_one_level(self, target: Store) -> None:
        for size, path in enumerate(["web01/a", "web01/b", "web01/folder/c", "web01/folder/deeper/d", "web02/e"]):
            put(target, path, b"x" * size)
        assert set(target.listdir("web01")) == {Item("a", 0), Item("b", 1), Item("folder", None)}
        assert set(target.listdir()) == {Item("web01", None), Item("web02", None)}
        assert set(target.listdir("web01/folder")) == {Item("c", 2), Item("deeper", None)}
        assert set(walk(target, "web01")) == {("a", 0), ("b", 1), ("folder/c", 2), ("folder/deeper/d", 3)}

    def test_an_empty_place_lists_nothing(self, target: Store) -> None:
        assert target.listdir() == []

    def test_the_listing_of_an_absent_folder_is_empty(self, target: Store) -> None:
        put(target, "web01/file", b"1")
        for folder in ("absent", "web01/absent", "absent/below", "web", "web010"):
            assert target.listdir(folder) == []

    def test_a_listing_names_each_of_many_files_once(self, target: Store) -> None:
        names = {f"{number:04}.tar.zst" for number in range(250)}
        for name in names:
            put(target, f"web01/{name}", name.encode())
        listed = target.listdir("web01")
        assert len(listed) == len(names)
        assert {item.name for item in listed} == names
        assert {item.size for item in listed} == {12}

    # delete

    def test_delete_takes_one_file_and_leaves_its_neighbours(self, target: Store) -> None:
        for name in ("file", "file2", "file.json", "fil"):
            put(target, f"web01/{name}", b"1")
        target.delete("web01/file")
        assert {item.name for item in target.listdir("web01")} == {"file2", "file.json", "fil"}

    def test_delete_takes_a_folder_with_all_that_is_in_it(self, target: Store) -> None:
        for path in ("a/b/1", "a/b/2", "a/b/c/3", "a/b/c/d/e/4", "a/bc/5", "a/b.json", "ab/6"):
            put(target, path, path.encode())
        target.delete("a/b")
        assert tree(target) == {path: path.encode() for path in ("a/bc/5", "a/b.json", "ab/6")}
        assert "b" not in {item.name for item in target.listdir("a")}
        assert target.listdir("a/b") == []

    def test_delete_takes_a_folder_of_many_files(self, target: Store) -> None:
        for number in range(120):
            put(target, f"web01/many/{number % 7}/{number}", b"1")
        target.delete("web01/many")
        assert target.listdir("web01/many") == []
        assert tree(target) == {}

    def test_delete_is_content_where_the_path_is_gone_already(self, target: Store) -> None:
        put(target, "web01/file", b"1")
        for path in ("absent", "absent/below/it", "web01/absent"):
            target.delete(path)
        target.delete("web01/file")
        target.delete("web01/file")
        assert tree(target) == {}

    def test_what_was_deleted_can_be_put_again(self, target: Store) -> None:
        put(target, "web01/file", b"the first")
        target.delete("web01/file")
        put(target, "web01/file", b"another one")
        assert content(target, "web01/file") == b"another one"
        target.delete("web01")
        put(target, "web01/file", b"the third")
        assert tree(target) == {"web01/file": b"the third"}

    # Streams that raise

    @pytest.mark.parametrize("after", [0, 1000, 3 * 2**20])
    @pytest.mark.parametrize(
        "error", [OSError(5, "Input/output error"), StoreError("theirs"), ValueError("any"), Stopped(15)], ids=repr
    )
    def test_a_stream_that_raises_leaves_nothing(self, target: Store, error: BaseException, after: int) -> None:
        """G2: the exception gets out as it is, and after `delete` the file does not exist."""
        put(target, "web01/before", b"whole")
        stream = Pieces(b"x" * (after + 5000), BLOCK, after, error)
        with pytest.raises(type(error)) as caught:
            target.put("web01/folder/broken", stream)
        assert stream.failed
        assert caught.value is error
        target.delete("web01/folder/broken")
        assert tree(target) == {"web01/before": b"whole"}

    def test_a_store_works_on_after_a_stream_that_raised(self, target: Store) -> None:
        """T2: the next call makes a new connection where it needs one, and hears no stale answer."""
        for _ in range(3):
            stream = Pieces(b"x" * 2**20, BLOCK, 2**19, RuntimeError("broken"))
            with pytest.raises(RuntimeError, match="broken"):
                target.put("web01/file", stream)
            assert stream.failed
            target.delete("web01/file")
            assert target.listdir("web01") == []
        put(target, "web01/file", b"whole")
        assert content(target, "web01/file") == b"whole"
        assert target.sha256("web01/file") == hashlib.sha256(b"whole").hexdigest()

    def test_a_store_works_on_after_each_kind_of_error(self, target: Store) -> None:
        put(target, "web01/file", b"1")
        for _ in range(3):
            with pytest.raises(FileExistsError):
                put(target, "web01/file", b"2")
            with pytest.raises(FileNotFoundError), target.get("web01/absent"):
                pass
            with pytest.raises(FileNotFoundError):
                target.sha256("web01/absent")
            assert target.listdir("web01") == [Item("file", 1)]
        assert content(target, "web01/file") == b"1"

    # commit, put_folder, sha256

    def test_a_commit_stores_a_small_file_and_nothing_beside_it(self, target: Store) -> None:
        put(target, "web01/x/file", b"1")
        target.commit("web01/x.json", b'{"small": true}\n')
        assert tree(target) == {"web01/x/file": b"1", "web01/x.json": b'{"small": true}\n'}

    def test_a_commit_makes_its_folder_and_takes_an_empty_text(self, target: Store) -> None:
        target.commit("web01/x.keep", b"")
        assert target.listdir("web01") == [Item("x.keep", 0)]

    def test_a_commit_never_overwrites(self, target: Store) -> None:
        """T7"""
        target.commit("web01/x.json", b"the first")
        with pytest.raises(FileExistsError):
            target.commit("web01/x.json", b"another one")
        assert tree(target) == {"web01/x.json": b"the first"}

    def test_a_commit_of_some_megabytes_is_whole(self, target: Store) -> None:
        data = os.urandom(3 * 2**20 + 1)
        target.commit("web01/x.json", data)
        assert content(target, "web01/x.json") == data

    def test_a_folder_is_stored_with_all_that_is_below_it(self, target: Store, tmp_path: Path) -> None:
        files = {"a": b"1", "empty": b"", "deep/er/b": b"22", "deep/c": os.urandom(2 * BLOCK + 1), "=2F.zst": b"4444"}
        put(target, "web01/id/PICKUP.txt", b"mark")
        target.put_folder(write_files(tmp_path / "local", files), "web01/id")
        expected = {f"web01/id/{path}": data for path, data in files.items()}
        assert tree(target) == {"web01/id/PICKUP.txt": b"mark", **expected}

    def test_storing_a_folder_leaves_it_as_it_is(self, target: Store, tmp_path: Path) -> None:
        files = {"a": b"1", "deep/er/b": b"22"}
        local = write_files(tmp_path / "local", files)
        target.put_folder(local, "web01/id")
        target.delete("web01/id")
        assert {path: (local / path).read_bytes() for path in files} == files
        assert sorted(path.name for path in local.rglob("*")) == ["a", "b", "deep", "er"]

    def test_what_becomes_of_a_local_file_does_not_change_what_is_stored(self, target: Store, tmp_path: Path) -> None:
        local = write_files(tmp_path / "local", {"a": b"1"})
        target.put_folder(local, "web01/id")
        (local / "a").unlink()
        assert content(target, "web01/id/a") == b"1"

    def test_storing_a_folder_never_overwrites(self, target: Store, tmp_path: Path) -> None:
        """T7"""
        put(target, "web01/id/b", b"the first")
        with pytest.raises(FileExistsError):
            target.put_folder(write_files(tmp_path / "local", {"a": b"1", "b": b"another", "c": b"3"}), "web01/id")
        assert content(target, "web01/id/b") == b"the first"

    def test_an_empty_folder_stores_nothing(self, target: Store, tmp_path: Path) -> None:
        target.put_folder(write_files(tmp_path / "local", {}), "web01/id")
        assert tree(target) == {}

    @pytest.mark.parametrize("size", [0, 1, BLOCK, LARGE])
    def test_a_digest_is_that_of_the_stored_bytes(self, target: Store, size: int) -> None:
        data = random.Random(size).randbytes(size)
        put(target, "web01/-file", data)
        assert target.sha256("web01/-file") == hashlib.sha256(data).hexdigest()

    # The place, its root, and connections to it

    def test_a_place_says_where_it_is_in_one_line(self, connect: Connect) -> None:
        """T28: two targets with the same text are the same place."""
        assert connect().place == connect().place
        assert connect().place.strip()
        assert "\n" not in connect().place

    def test_making_a_root_that_is_there_changes_nothing(self, target: Store) -> None:
        put(target, "web01/file", b"1")
        target.create_root()
        assert tree(target) == {"web01/file": b"1"}

    def test_an_absent_root_is_an_error_and_is_not_made(self, connect: Connect) -> None:
        """T34: a disk that is not mounted is not an empty one."""
        if not self.has_root_to_make:
            return
        with connect() as store:
            calls: list[Callable[[], object]] = [
                store.listdir,
                lambda: store.listdir("web01"),
                lambda: store.listdir("web01/below"),
                lambda: put(store, "web01/file", b"1"),
                lambda: put(store, "file", b"1"),
                lambda: store.commit("web01/x.json", b"1"),
                lambda: content(store, "web01/file"),
                lambda: store.sha256("web01/file"),
                lambda: store.delete("web01/file"),
                lambda: store.delete("web01"),
            ]
            for _ in range(2):
                with pytest.raises(NoRootError):
                    store.listdir()
                for call in calls:
                    with pytest.raises(StoreError):
                        call()
            store.create_root()
            assert store.listdir() == []

    def test_another_connection_sees_what_was_put(self, connect: Connect, target: Store) -> None:
        put(target, "web01/file", b"1")
        with connect() as other:
            assert tree(other) == {"web01/file": b"1"}
            other.delete("web01/file")
        assert target.listdir("web01") == []

    def test_what_was_put_is_there_after_the_connection_has_ended(self, connect: Connect) -> None:
        with connect() as store:
            store.create_root()
            put(store, "web01/file", b"1")
        with connect() as store:
            assert tree(store) == {"web01/file": b"1"}

    def test_a_store_may_be_entered_again(self, connect: Connect, target: Store) -> None:
        """A restore looks at all places first, and comes back to the one that it chose."""
        put(target, "web01/a", b"kept")
        store = connect()
        for _ in range(3):
            with store:
                assert content(store, "web01/a") == b"kept"

    def test_an_error_within_the_with_gets_out_and_ends_the_connection(self, connect: Connect) -> None:
        with connect() as store:
            store.create_root()
        error = RuntimeError("ours")
        with pytest.raises(RuntimeError) as caught, connect() as store:
            raise _after(put(store, "web01/file", b"1"), error)
        assert caught.value is error
        with connect() as store:
            assert content(store, "web01/file") == b"1"

    def test_what_is_stored_is_private(self, target: Store, tmp_path: Path) -> None:
        """I7"""
        before = os.umask(0)
        try:
            put(target, "web01/id/PICKUP.txt", b"1")
            target.put_folder(write_files(tmp_path / "local", {"a": b"1", "deep/er/b": b"22"}), "web01/id")
            target.commit("web01/id.json", b"1")
        finally:
            os.umask(before)
        folders = ["web01", "web01/id", "web01/id/deep", "web01/id/deep/er"]
        assert {self.mode_of(target, path) for path in tree(target)} <= {0o600, None}
        assert {self.mode_of(target, path) for path in folders} <= {0o700, None}

    def test_what_is_stored_is_private_where_the_local_files_are_not(self, target: Store, tmp_path: Path) -> None:
        """I7"""
        local = write_files(tmp_path / "local", {"a": b"1", "deep/b": b"22"})
        for path in ("a", "deep/b"):
            (local / path).chmod(0o666)
        (local / "deep").chmod(0o777)
        target.put_folder(local, "web01/id")
        assert {self.mode_of(target, path) for path in tree(target)} <= {0o600, None}
        assert self.mode_of(target, "web01/id/deep") in (0o700, None)
        assert tree(target) == {"web01/id/a": b"1", "web01/id/deep/b": b"22"}

    # The whole core over this place

    def test_a_backup_is_published_listed_and_verified(self, target: Store, tmp_path: Path) -> None:
        """I1"""
        made = make_backup(tmp_path / "made", contents={"folder/www": os.urandom(LARGE), "postgres/main": b"--\n"})
        store_backup(target, made)
        [backup] = Catalogue("there", target).backups(JOB)
        assert (backup.id, backup.status, backup.manifest) == (made.manifest.id, "complete", made.manifest)
        assert verify(backup) == []
        with backup.open("folder/www/data.bin") as stream:
            assert hashlib.sha256(_all(stream)).hexdigest() == made.manifest.entries[0].artefacts[0].sha256

    def test_a_backup_can_be_read_back_before_it_counts(self, target: Store, tmp_path: Path) -> None:
        """T6"""
        store_backup(target, make_backup(tmp_path / "made"), read_back=True)
        [backup] = Catalogue("there", target).backups(JOB)
        assert verify(backup) == []

    def test_a_partial_backup_says_so_in_the_listing(self, target: Store, tmp_path: Path) -> None:
        store_backup(target, make_backup(tmp_path / "made", statuses={"postgres/main": "failed"}))
        names = {item.name for item in target.listdir(JOB)}
        assert names == {f"{backup_id(NIGHT)}.partial.json", backup_id(NIGHT)}
        [backup] = Catalogue("there", target).backups(JOB)
        assert backup.status == "partial"
        assert verify(backup) == []

    def test_a_backup_is_never_overwritten(self, target: Store, tmp_path: Path) -> None:
        """T7"""
        store_backup(target, make_backup(tmp_path / "first"))
        before = tree(target)
        with pytest.raises(FileExistsError, match=backup_id(NIGHT)):
            store_backup(target, make_backup(tmp_path / "second", contents={"folder/www": b"another"}))
        assert tree(target) == before

    @pytest.mark.parametrize("moment", ["before", "half", "after"])
    def test_an_upload_that_breaks_off_leaves_the_other_backups(
        self, target: Store, tmp_path: Path, moment: str
    ) -> None:
        """T2: wherever it breaks off, there is nothing of it, and what was there is whole."""
        store_backup(target, make_backup(tmp_path / "good"))
        before = tree(target)
        made = make_backup(tmp_path / "broken", NIGHT + timedelta(days=1))
        broken = 0
        while True:
            interrupted = Interrupted(target, broken + 1, moment, OSError(104, "Connection reset by peer"))
            try:
                store_backup(interrupted, made)
            except OSError:
                broken += 1
                assert interrupted.fired
                assert tree(target) == before
            else:
                assert not interrupted.fired
                break
        assert broken == 3
        assert [verify(backup) for backup in Catalogue("there", target).backups(JOB)] == [[], []]

    def test_damage_in_the_place_is_found(self, target: Store, tmp_path: Path) -> None:
        """V1, V2"""
        store_backup(target, make_backup(tmp_path / "made"))
        path = f"{JOB}/{backup_id(NIGHT)}/folder/www/data.bin"
        changed = content(target, path).replace(b"H", b"J")
        target.delete(path)
        [backup] = Catalogue("there", target).backups(JOB)
        assert verify(backup) == [f"{path} is missing"]
        put(target, path, changed)
        assert verify(backup) == [f"{path} has changed: its SHA-256 is not that of the manifest"]

    def test_prune_keeps_what_the_policy_wants_and_touches_nothing_else(self, target: Store, tmp_path: Path) -> None:
        """I3, R3, R8"""
        nights = store_nights(target, tmp_path / "nights", 5)
        store_nights(target, tmp_path / "nights", 2, job="web02")
        for foreign in (f"{JOB}/notes.txt", f"{JOB}/2010-01-01/file", "2026-11-23T031502Z/file", f"{JOB}/archive.json"):
            put(target, foreign, b"not ours")
        before = tree(target)
        catalogue = Catalogue("there", target)
        pruned = prune(catalogue, JOB, Policy(last=2), ENTRIES, NIGHT + timedelta(days=5), MACHINE)
        gone = [night.manifest.id for night in nights[:3]]
        assert pruned.warnings == []
        assert sorted(decision.id for decision in pruned.decisions if not decision.keep) == gone
        assert tree(target) == {
            path: data
            for path, data in before.items()
            if not any(path.startswith((f"{JOB}/{name}/", f"{JOB}/{name}.")) for name in gone)
        }
        assert {item.name for item in target.listdir(JOB)}.isdisjoint(gone)
        assert [verify(backup) for backup in catalogue.backups(JOB)] == [[], []]

    def test_a_deletion_that_breaks_off_is_finished_by_a_later_run(self, target: Store, tmp_path: Path) -> None:
        """R10"""
        nights = store_nights(target, tmp_path / "nights", 2)
        catalogue, later = Catalogue("there", target), NIGHT + timedelta(days=9)
        target.delete(f"{JOB}/{nights[0].manifest.id}.json")
        assert [backup.status for backup in catalogue.backups(JOB)] == ["complete", "unfinished"]
        assert clear_leftovers(catalogue, JOB, later) == ([f"{JOB}/{nights[0].manifest.id}"], [])
        assert [backup.id for backup in catalogue.backups(JOB)] == [nights[1].manifest.id]
        assert set(tree(target)) == {
            f"{JOB}/{nights[1].manifest.id}.json",
            *(f"{JOB}/{nights[1].manifest.id}/{file.path}" for file in nights[1].manifest.files),
            f"{JOB}/{nights[1].manifest.id}/manifest.json",
        }

    def test_a_leftover_is_cleared_and_a_folder_without_our_mark_is_not(self, target: Store) -> None:
        """T15, T31"""
        ours, foreign = "2026-11-01T031502Z", "2026-11-02T031502Z"
        put(target, f"{JOB}/{ours}/PICKUP.txt", mark_text(JOB, ours))
        put(target, f"{JOB}/{ours}/folder/www/data.bin", b"1" * 1000)
        put(target, f"{JOB}/{foreign}/holiday.jpg", b"2" * 1000)
        assert clear_leftovers(Catalogue("there", target), JOB, NIGHT) == ([f"{JOB}/{ours}"], [])
        assert tree(target) == {f"{JOB}/{foreign}/holiday.jpg": b"2" * 1000}

    def test_a_backup_that_is_kept_by_hand_stays(self, target: Store, tmp_path: Path) -> None:
        """R20"""
        nights = store_nights(target, tmp_path / "nights", 4)
        target.commit(f"{JOB}/{nights[1].manifest.id}.keep", "before the move: größer\n".encode())
        catalogue = Catalogue("there", target)
        pruned = prune(catalogue, JOB, Policy(last=1), ENTRIES, NIGHT + timedelta(days=9), MACHINE)
        assert [backup.id for backup in catalogue.backups(JOB)] == [nights[3].manifest.id, nights[1].manifest.id]
        assert [d.reasons for d in pruned.decisions if d.id == nights[1].manifest.id] == [
            ("kept by hand: before the move: größer",)
        ]

    def test_a_dry_run_changes_nothing(self, target: Store, tmp_path: Path) -> None:
        """R17"""
        store_nights(target, tmp_path / "nights", 3)
        before, dry = tree(target), DryRun(target)
        prune(Catalogue("there", dry), JOB, Policy(last=1), ENTRIES, NIGHT + timedelta(days=9), MACHINE)
        assert len(dry.changes) > 2
        assert tree(target) == before

    def test_a_job_without_backups_is_told_from_one_with_some(self, target: Store, tmp_path: Path) -> None:
        catalogue = Catalogue("there", target)
        assert catalogue.backups(JOB) == []
        store_backup(target, make_backup(tmp_path / "made", job="web02"))
        with pytest.raises(UsageError, match="holds no backup of job web01") as caught:
            catalogue.select(JOB)
        assert "web02" in caught.value.hint


def _all(stream: Readable) -> bytes:
    return b"".join(iter(lambda: stream.read(BLOCK), b""))


def _after(done: None, error: Exception) -> Exception:
    """Give an error to raise once something was done."""
    return error
