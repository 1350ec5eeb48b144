"""Memory: what this machine knows of manifests spares reading them, and tells which ones no run here wrote."""

import hashlib
import stat
from pathlib import Path

import pytest

from pickup_core.history import History
from pickup_core.manifest import backup_id
from pickup_core.memory import Memory
from tests.places import JOB, NIGHT

NAME = backup_id(NIGHT)
PATH = f"{JOB}/{NAME}.json"


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "state")


def copies(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "state/manifests").rglob("*") if path.is_file()]


def test_what_was_put_is_given_for_its_place_path_and_size_alone(memory: Memory, tmp_path: Path) -> None:
    memory.put("/srv/one", PATH, b"manifest")
    assert memory.get("/srv/one", PATH, 8) == b"manifest"
    assert Memory(tmp_path / "state").get("/srv/one", PATH, 8) == b"manifest", "a later run has it too"
    assert memory.get("/srv/one", PATH, 9) is None
    assert memory.get("/srv/two", PATH, 8) is None
    assert memory.get("/srv/one", PATH.replace(".json", ".partial.json"), 8) is None


def test_nobody_else_can_read_it(memory: Memory, tmp_path: Path) -> None:
    """I7"""
    memory.put("/srv/one", PATH, b"manifest")
    [copy] = copies(tmp_path)
    for path in (copy, *copy.relative_to(tmp_path).parents):
        if path != Path():
            assert stat.S_IMODE((tmp_path / path).stat().st_mode) & 0o077 == 0


def test_a_frozen_one_changes_nothing(memory: Memory, tmp_path: Path) -> None:
    frozen = Memory(tmp_path / "state", is_frozen=True)
    frozen.put("/srv/one", PATH, b"manifest")
    assert not (tmp_path / "state").exists()
    memory.put("/srv/one", PATH, b"manifest")
    frozen.forget_others("/srv/one", JOB, set())
    assert frozen.get("/srv/one", PATH, 8) == b"manifest"


def test_copies_of_backups_that_are_gone_are_forgotten(memory: Memory, tmp_path: Path) -> None:
    for place in ("/srv/one", "/srv/two"):
        for path in (PATH, f"{JOB}/2020-01-01T000000Z.partial.json"):
            memory.put(place, path, b"manifest")
    memory.forget_others("/srv/one", JOB, {NAME})
    assert sorted(copy.name for copy in copies(tmp_path)) == [
        "2020-01-01T000000Z.partial.json", f"{NAME}.json", f"{NAME}.json"
    ]  # fmt: skip
    assert memory.get("/srv/two", f"{JOB}/2020-01-01T000000Z.partial.json", 8) == b"manifest"


def test_a_copy_that_cannot_be_written_is_not_missed(memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    memory.put("/srv/one", PATH, b"manifest")
    memory.forget_others("/srv/one", JOB, set())
    assert memory.get("/srv/one", PATH, 8) is None


def test_a_manifest_that_a_run_here_did_not_write_is_contradicted(memory: Memory, tmp_path: Path) -> None:
    """V3: for a backup that a run here wrote; of others nothing is known."""
    assert not memory.contradicts(PATH, b"manifest")
    History(tmp_path / "state", JOB).add("run", backup=NAME, manifest=hashlib.sha256(b"manifest").hexdigest())
    later = Memory(tmp_path / "state")
    assert not later.contradicts(PATH, b"manifest")
    assert later.contradicts(PATH, b"another")
    assert later.contradicts(PATH.replace(".json", ".partial.json"), b"another")
    assert not later.contradicts(f"{JOB}/2020-01-01T000000Z.json", b"another")
    assert not later.contradicts(f"other/{NAME}.json", b"another")


def test_a_backup_that_no_run_here_began_is_missed_since_the_history_begins(memory: Memory, tmp_path: Path) -> None:
    """V3"""
    assert not memory.misses(JOB, "2026-12-01T000000Z"), "without a history nothing is known"
    for kind, name in (("start", "2026-11-01T000000Z"), ("adopted", "2026-11-05T000000Z")):
        History(tmp_path / "state", JOB).add(kind, backup=name)
    later = Memory(tmp_path / "state")
    missed = ["2026-10-01", "2026-11-01", "2026-11-04", "2026-11-05", "2026-11-06"]
    assert [day for day in missed if later.misses(JOB, f"{day}T000000Z")] == ["2026-11-04", "2026-11-06"]
