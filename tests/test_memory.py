"""Memory: what this machine knows of manifests spares reading them, and tells which ones no run here wrote."""

import errno
import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pickup_core.history import History
from pickup_core.manifest import Summary, backup_id
from pickup_core.memory import Memory
from tests.places import JOB, NIGHT, REPOSITORY

NAME = backup_id(NIGHT)
PATH = f"{JOB}/{NAME}.json"
OLD = f"{JOB}/2020-01-01T000000Z.partial.json"
WHAT = Summary("web01.example.org", "0123", 42, ("folder/www",), ("postgres/main",), ("folder/www/a.tar",), ("age1",))


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "state")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def copies(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "state/manifests").rglob("*") if path.is_file()]


def test_what_was_put_is_given_for_its_place_path_and_size_alone(memory: Memory, tmp_path: Path) -> None:
    memory.put("/srv/one", PATH, b"manifest", WHAT)
    assert memory.get("/srv/one", PATH, 8) == b"manifest"
    assert Memory(tmp_path / "state").get("/srv/one", PATH, 8) == b"manifest", "a later run has it too"
    assert memory.get("/srv/one", PATH, 9) is None
    assert memory.get("/srv/two", PATH, 8) is None
    assert memory.get("/srv/one", PATH.replace(".json", ".partial.json"), 8) is None


def test_nobody_else_can_read_it(memory: Memory, tmp_path: Path) -> None:
    """I7"""
    memory.put("/srv/one", PATH, b"manifest", WHAT)
    for path in (*copies(tmp_path), *copies(tmp_path)[0].relative_to(tmp_path).parents):
        if path != Path():
            assert stat.S_IMODE((tmp_path / path).stat().st_mode) & 0o077 == 0


def test_a_frozen_one_changes_nothing(memory: Memory, tmp_path: Path) -> None:
    frozen = Memory(tmp_path / "state", is_frozen=True)
    frozen.put("/srv/one", PATH, b"manifest", WHAT)
    assert not (tmp_path / "state").exists()
    assert frozen.summary("/srv/one", PATH, 8) == WHAT, "it still remembers for itself"
    memory.put("/srv/one", PATH, b"manifest", WHAT)
    frozen.forget_others("/srv/one", JOB, set())
    assert frozen.get("/srv/one", PATH, 8) == b"manifest"
    assert Memory(tmp_path / "state").summary("/srv/one", PATH, 8) == WHAT


def test_copies_of_backups_that_are_gone_are_forgotten(memory: Memory, tmp_path: Path) -> None:
    for place in ("/srv/one", "/srv/two"):
        for path in (PATH, OLD):
            memory.put(place, path, b"manifest", WHAT)
    memory.forget_others("/srv/one", JOB, {NAME})
    assert sorted(copy.name for copy in copies(tmp_path)) == [
        "2020-01-01T000000Z.partial.json", f"{NAME}.json", f"{NAME}.json", "summaries.jsonl", "summaries.jsonl"
    ]  # fmt: skip
    assert memory.get("/srv/two", OLD, 8) == b"manifest"
    for each in (memory, Memory(tmp_path / "state")):
        assert each.summary("/srv/one", OLD, 8) is None
        assert each.summary("/srv/one", PATH, 8) == each.summary("/srv/two", PATH, 8) == WHAT
        assert each.summary("/srv/two", OLD, 8) == WHAT


def test_a_copy_that_cannot_be_written_is_not_missed(memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    memory.put("/srv/one", PATH, b"manifest", WHAT)
    memory.forget_others("/srv/one", JOB, set())
    assert memory.get("/srv/one", PATH, 8) is None


def test_summaries_are_given_for_their_place_path_and_size_alone(memory: Memory, tmp_path: Path) -> None:
    memory.put("/srv/one", PATH, b"manifest", WHAT)
    for each in (memory, Memory(tmp_path / "state")):
        assert each.summary("/srv/one", PATH, 8) == WHAT
        assert each.summary("/srv/one", PATH, 9) is None
        assert each.summary("/srv/two", PATH, 8) is None
        assert each.summary("/srv/one", PATH.replace(".json", ".partial.json"), 8) is None
        assert each.summary("/srv/one", PATH.replace(JOB, "other"), 8) is None


@pytest.mark.parametrize(
    "harm",
    [
        lambda line: line[: len(line) // 2],
        lambda line: line.replace(b"web01", b"web02"),
        lambda line: line.replace(b" 42,", b" 43,"),
        lambda line: b"\0" * len(line),
        lambda line: b"\n",
        lambda line: signed(b"[2" + line[67:-1]),
        lambda line: signed(b"[1]"),
        lambda line: signed(b"1"),
        lambda line: signed(b'{"format": 1}'),
        lambda line: signed(b"\xff"),
        lambda line: signed(b"no JSON"),
    ],
    ids=["torn", "host", "size", "zeros", "empty", "later format", "short", "number", "object", "no UTF-8", "no JSON"],
)
def test_a_line_that_is_damaged_or_of_another_version_is_passed_over_and_others_are_not(
    memory: Memory, tmp_path: Path, harm: Callable[[bytes], bytes]
) -> None:
    for path in (OLD, PATH):
        memory.put("/srv/one", path, b"manifest", WHAT)
    [file] = [path for path in copies(tmp_path) if path.name == "summaries.jsonl"]
    first, second = file.read_bytes().splitlines(keepends=True)
    harmed = harm(first)
    assert harmed != first
    file.write_bytes(second + harmed)
    later = Memory(tmp_path / "state")
    assert later.summary("/srv/one", OLD, 8) is None
    assert later.summary("/srv/one", PATH, 8) == WHAT
    later.put("/srv/one", OLD, b"manifest", WHAT)
    later.put("/srv/one", OLD, b"manifest", WHAT)
    assert Memory(tmp_path / "state").summary("/srv/one", OLD, 8) == WHAT, "it is remembered again"


def signed(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b" " + body + b"\n"


def test_a_later_line_replaces_an_earlier_one(memory: Memory, tmp_path: Path) -> None:
    """Two machines may write a backup of one name, one after the other."""
    memory.put("/srv/one", PATH, b"manifest", WHAT)
    memory.put("/srv/one", PATH, b"another one", WHAT._replace(size=43))
    for each in (memory, Memory(tmp_path / "state")):
        assert each.summary("/srv/one", PATH, 8) is None
        assert each.summary("/srv/one", PATH, 11) == WHAT._replace(size=43)


def test_processes_that_remember_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each line is written whole."""
    script = (
        "import sys; from pathlib import Path; from pickup_core.memory import Memory;"
        "from tests.test_memory import JOB, WHAT; memory = Memory(Path(sys.argv[1]));"
        "[memory.put('/srv/one', f'{JOB}/20{sys.argv[2]}-01-01T00{n:04d}Z.json', b'manifest', WHAT) for n in range(60)]"
    )
    command = [sys.executable, "-c", script, tmp_path / "state"]
    started = [subprocess.Popen([*map(str, command), year], cwd=REPOSITORY) for year in ("21", "22", "23", "24")]
    assert [process.wait(60) for process in started] == [0] * 4
    later = Memory(tmp_path / "state")
    for year in ("21", "22", "23", "24"):
        for number in range(60):
            assert later.summary("/srv/one", f"{JOB}/20{year}-01-01T00{number:04d}Z.json", 8) == WHAT


def test_what_cannot_be_written_leaves_nothing(memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S1: a full disk would be fuller each night."""
    memory.put("/srv/one", PATH, b"manifest", WHAT)
    before = sorted((tmp_path / "state").rglob("*"))

    def refuse(*paths: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", refuse)
    memory.put("/srv/one", OLD, b"another", WHAT)
    memory.forget_others("/srv/one", JOB, set())
    left = sorted((tmp_path / "state").rglob("*"))
    assert [path for path in left if path not in before] == []


def test_a_summary_of_a_manifest_that_a_run_here_did_not_write_is_not_given(memory: Memory, tmp_path: Path) -> None:
    """V3"""
    memory.put("/srv/one", PATH, b"manifest", WHAT)
    History(tmp_path / "state", JOB).add("run", backup=NAME, manifest=sha256(b"another"))
    later = Memory(tmp_path / "state")
    assert later.summary("/srv/one", PATH, 8) is None
    History(tmp_path / "state", JOB).add("run", backup=NAME, manifest=sha256(b"manifest"))
    assert Memory(tmp_path / "state").summary("/srv/one", PATH, 8) == WHAT


def test_a_manifest_that_a_run_here_did_not_write_is_contradicted(memory: Memory, tmp_path: Path) -> None:
    """V3: for a backup that a run here wrote; of others nothing is known."""
    assert not memory.contradicts(PATH, sha256(b"manifest"))
    History(tmp_path / "state", JOB).add("run", backup=NAME, manifest=sha256(b"manifest"))
    later = Memory(tmp_path / "state")
    assert not later.contradicts(PATH, sha256(b"manifest"))
    assert later.contradicts(PATH, sha256(b"another"))
    assert later.contradicts(PATH.replace(".json", ".partial.json"), sha256(b"another"))
    assert not later.contradicts(f"{JOB}/2020-01-01T000000Z.json", sha256(b"another"))
    assert not later.contradicts(f"other/{NAME}.json", sha256(b"another"))


def test_a_backup_that_no_run_here_began_is_missed_since_the_history_begins(memory: Memory, tmp_path: Path) -> None:
    """V3"""
    assert not memory.misses(JOB, "2026-12-01T000000Z"), "without a history nothing is known"
    for kind, name in (("start", "2026-11-01T000000Z"), ("adopted", "2026-11-05T000000Z")):
        History(tmp_path / "state", JOB).add(kind, backup=name)
    later = Memory(tmp_path / "state")
    missed = ["2026-10-01", "2026-11-01", "2026-11-04", "2026-11-05", "2026-11-06"]
    assert [day for day in missed if later.misses(JOB, f"{day}T000000Z")] == ["2026-11-04", "2026-11-06"]
