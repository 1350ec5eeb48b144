"""What `Store` builds on the four methods of a target, over one that keeps its files in memory."""

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickup_core.artefact import Readable
from pickup_core.errors import StoreError
from pickup_core.options import Options
from pickup_core.secret import Secret
from pickup_core.store import BLOCK, DryRun, Item, Store, walk
from tests.builders import MemoryStore


def filled(*paths: str) -> MemoryStore:
    store = MemoryStore()
    for path in paths:
        store.put(path, io.BytesIO(path.encode()))
    return store


NAMES = st.sampled_from(["a", "b", "c", "x.y"])
TREES = st.sets(st.lists(NAMES, min_size=1, max_size=4).map("/".join)).map(
    lambda paths: {path for path in paths if not any(other.startswith(f"{path}/") for other in paths)}
)


@given(TREES)
def test_walking_finds_every_file_below_a_folder(paths: set[str]) -> None:
    store = filled(*(f"job/{path}" for path in paths), "other/z")
    assert dict(walk(store, "job")) == {path: len(f"job/{path}") for path in paths}
    assert dict(walk(store, "")) == {f"job/{path}": len(f"job/{path}") for path in paths} | {"other/z": 7}


def test_walking_an_absent_folder_finds_nothing() -> None:
    assert list(walk(filled("a/b"), "job")) == []


def test_walking_never_takes_an_absent_root_for_an_empty_one() -> None:
    """T34."""
    store = filled("a/b")
    store.has_root = False
    with pytest.raises(StoreError):
        list(walk(store, "a"))


def test_a_folder_is_put_file_by_file(tmp_path: Path) -> None:
    for path in ("x", "a/y", "a/b/z"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(path.encode())
    (tmp_path / "empty").mkdir()
    store = MemoryStore()
    store.put_folder(tmp_path, "job/id")
    assert store.files == {f"job/id/{path}": path.encode() for path in ("x", "a/y", "a/b/z")}


def test_putting_a_folder_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"new")
    store = filled("job/id/x")
    with pytest.raises(FileExistsError):
        store.put_folder(tmp_path, "job/id")
    assert store.files["job/id/x"] == b"job/id/x"


def test_a_commit_is_a_put_that_never_overwrites() -> None:
    store = MemoryStore()
    store.commit("job/id.json", b"{}")
    assert store.files == {"job/id.json": b"{}"}
    with pytest.raises(FileExistsError):
        store.commit("job/id.json", b"other")


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK + 1])
def test_a_digest_is_that_of_the_stored_content(size: int) -> None:
    store = MemoryStore()
    store.commit("x", bytes(size))
    assert store.sha256("x") == hashlib.sha256(bytes(size)).hexdigest()
    with pytest.raises(FileNotFoundError):
        store.sha256("y")


class Place(Options):
    host: str = "nas"
    password: Secret = Secret("c4n4ry-2")


class Connected(MemoryStore):
    """A store that notes when it is opened and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.config: Any = Place()
        self.calls: list[str] = []

    place = Store.place  # type: ignore[assignment]

    def open(self) -> None:
        self.calls.append("open")

    def close(self) -> None:
        self.calls.append("close")


def test_a_store_is_opened_and_closed_after_an_error_too() -> None:
    store = Connected()
    with pytest.raises(OSError, match="gone"), store:
        raise OSError("gone")
    assert store.calls == ["open", "close"]


def test_a_place_is_told_without_its_secrets() -> None:
    """I6, T28."""
    assert Connected().place == f"{__name__}(host=nas, password=***)"


def test_a_store_needs_the_four_methods() -> None:
    class Half(Store):
        def put(self, path: str, stream: Readable) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Half(None)  # type: ignore[abstract]
    assert Store.__abstractmethods__ == {"put", "get", "listdir", "delete"}


def test_an_item_without_a_size_is_a_folder() -> None:
    assert Item("x", None).is_folder
    assert not Item("x", 0).is_folder


def test_a_dry_run_reads_and_changes_nothing(tmp_path: Path) -> None:
    """R17."""
    store = Connected()
    store.commit("job/x", b"content")
    (tmp_path / "new").write_bytes(b"new")
    before = dict(store.files)
    with DryRun(store) as dry:
        assert dry.listdir("job") == [Item("x", 7)]
        with dry.get("job/x") as stream:
            assert stream.read() == b"content"
        assert dry.sha256("job/x") == hashlib.sha256(b"content").hexdigest()
        dry.put("job/y", io.BytesIO(b"y"))
        dry.commit("job/z.json", b"{}")
        dry.put_folder(tmp_path, "job/id")
        dry.delete("job/x")
        dry.create_root()
        assert dry.place == store.place
    assert store.files == before
    assert dry.changes == ["put job/y", "put job/z.json", "put job/id/new", "delete job/x"]
    assert store.calls == ["open", "close"]


def test_a_dry_run_makes_no_root() -> None:
    """R17."""
    store = MemoryStore()
    store.has_root = False
    DryRun(store).create_root()
    assert not store.has_root


class Broken:
    def read(self, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


def test_the_store_of_these_tests_keeps_the_contract_itself() -> None:
    store = filled("job/a", "job/b/c", "jobs/d")
    assert {item.name for item in store.listdir()} == {"job", "jobs"}
    assert {(item.name, item.size) for item in store.listdir("job")} == {("a", 5), ("b", None)}
    with pytest.raises(OSError, match="Input/output error"):
        store.put("job/broken", Broken())
    store.delete("job")
    store.delete("job")
    assert set(store.files) == {"jobs/d"}
    with pytest.raises(FileNotFoundError), store.get("job/a"):
        pass


def test_folders_that_lie_deeper_than_any_backup_are_not_walked() -> None:
    """V7: at a hostile place they may lie in each other for ever."""
    path = "/".join(["d"] * 17)
    assert list(walk(filled(f"job/{path[2:]}/f"), "job")) == [(f"{path[2:]}/f", len(path) + 4)]
    with pytest.raises(StoreError, match=rf"job/{path} lies deeper than anything that Pickup stores"):
        list(walk(filled(f"job/{path}/f"), "job"))
