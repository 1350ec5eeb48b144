"""Progress: bytes are counted once, in whatever thread they go, and not at all where nobody looks on."""

import io
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from pickup_core.progress import Board, Task, aside, looking_on, metered, moved, moving, showing
from pickup_core.store import BLOCK
from pickup_core.together import together
from tests.builders import MemoryStore


def shown(board: Board) -> list[tuple[str, int]]:
    """Give label and bytes of each task that is seen."""
    return [(task.label, task.done) for task in board.tasks if not task.is_covered]


@pytest.fixture
def board() -> Board:
    return Board()


def test_where_nobody_looks_on_a_stream_is_given_as_it_is(board: Board) -> None:
    stream = io.BytesIO(b"12345")
    with showing("here"):
        assert metered(stream) is stream
        moved(3)
    with looking_on(board):
        assert metered(stream) is stream, "it belongs to no task"
        moved(3)
    assert board.tasks == []


def test_what_is_read_is_counted_and_given(board: Board) -> None:
    with looking_on(board), showing("folder/a", 5):
        stream = metered(io.BytesIO(b"12345"))
        assert stream.read(2) == b"12"
        assert shown(board) == [("folder/a", 2)]
        assert stream.read(-1) == b"345"
        assert stream.read(1) == b""
        assert shown(board) == [("folder/a", 5)]
    assert board.tasks == []


def test_a_task_goes_whatever_ends_it(board: Board) -> None:
    with looking_on(board), suppress(KeyboardInterrupt), showing("folder/a"), showing("folder/b"):
        raise KeyboardInterrupt
    assert board.tasks == []


def test_one_within_another_is_shown_in_its_place(board: Board) -> None:
    with looking_on(board), showing("outer"):
        moved(1)
        with showing("inner"):
            moved(2)
            assert shown(board) == [("inner", 2)]
        moved(3)
        assert shown(board) == [("outer", 4)]


def test_threads_count_for_what_their_caller_does_and_for_what_they_do(board: Board) -> None:
    """Several connections to one target count for it, several targets each for itself; nothing is lost."""
    seen: list[list[tuple[str, int]]] = []
    barrier = threading.Barrier(4, action=lambda: seen.append(shown(board)))

    def connection() -> None:
        for _ in range(5000):
            moved(1)
        barrier.wait(10)

    def target(name: str) -> None:
        with showing(name):
            together({f"{name} {number}": connection for number in range(2)})

    with looking_on(board):
        together({name: lambda name=name: target(name) for name in ("a", "b")})  # type: ignore[misc]
    assert sorted(seen[0]) == [("a", 10_000), ("b", 10_000)]


def test_what_is_not_metered_of_a_size_counts_at_its_end(board: Board) -> None:
    with looking_on(board), showing("here", 20):
        with moving(10):
            moved(3)
        assert shown(board) == [("here", 10)]
        with suppress(OSError), moving(10):
            moved(4)
            raise OSError
        assert shown(board) == [("here", 10)]
    with moving(10):
        pass


def test_the_hash_of_a_stored_file_is_metered(board: Board) -> None:
    store = MemoryStore()
    store.put("a/b", io.BytesIO(b"x" * (BLOCK + 1)))
    with looking_on(board), showing("here"):
        store.sha256("a/b")
        assert shown(board) == [("here", BLOCK + 1)]


def test_a_metered_file_is_still_one(board: Board, tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"123")
    with looking_on(board), showing("here"), (tmp_path / "file").open("rb") as file:
        assert metered(file).fileno() == file.fileno()  # type: ignore[attr-defined]
        with pytest.raises(io.UnsupportedOperation):
            metered(io.BytesIO()).fileno()  # type: ignore[attr-defined]


def test_others_may_have_the_terminal(board: Board) -> None:
    calls = []

    class Watching(Board):
        def aside(self) -> Any:
            calls.append(True)
            return super().aside()

    with aside(), looking_on(Watching()), aside():
        assert calls == [True]


# What is seen of a task


def test_the_rate_is_that_of_the_last_seconds() -> None:
    task, begun = Task("here", 10_000), time.monotonic()
    rates = []
    for second in range(1, 31):
        task.move(100 if second <= 15 else 10)
        seen = task.look(begun + second)
        rates.append(round(seen.rate))
    assert (rates[0], rates[14], rates[29]) == (100, 100, 10)
    assert (seen.done, seen.total) == (1650, 10_000)
    assert seen.elapsed == pytest.approx(30, abs=0.1)


def test_what_is_taken_back_is_no_rate() -> None:
    task, begun = Task("here"), time.monotonic()
    task.move(5)
    task.look(begun + 1)
    task.move(-5)
    assert task.look(begun + 20).rate == 0


@pytest.mark.parametrize(("is_estimate", "total"), [(True, None), (False, 10)])
def test_an_estimate_that_was_too_small_is_none(is_estimate: bool, total: int | None) -> None:
    task, now = Task("here", 10, is_estimate), time.monotonic()
    task.move(10)
    assert task.look(now + 1).total == 10
    task.move(1)
    assert task.look(now + 2).total == total
