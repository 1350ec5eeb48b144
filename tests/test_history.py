"""The history: what was written is read again, whatever became of the file meanwhile."""

import json
import os
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickup_core.history import History
from tests.builders import python


def written(folder: Path) -> Path:
    return folder / "web01.history.jsonl"


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path, "web01")


def test_a_record_is_read_as_it_was_written(tmp_path: Path, history: History) -> None:
    history.add("verify", target="disk", backup="2026-11-23T031502Z", findings=0, name="\udcff\n€")
    history.add("prune", deleted=["x"])
    (record,) = History(tmp_path, "web01").records("verify")
    assert record["backup"] == "2026-11-23T031502Z"
    assert record["name"] == "\udcff\n€"
    assert record["time"].endswith("+00:00")
    assert [each["deleted"] for each in history.records("prune")] == [["x"]]


def test_each_job_has_its_own_history(tmp_path: Path, history: History) -> None:
    history.add("run")
    assert list(History(tmp_path, "web02").records("run")) == []


def test_a_history_that_is_not_there_is_empty(tmp_path: Path) -> None:
    history = History(tmp_path / "absent", "web01")
    assert list(history.records("run")) == []
    assert history.last_backup() is None
    assert history.last_sizes() == {}
    assert not history.knows_place("anywhere")
    assert history.manifest_digests() == {}
    assert not (tmp_path / "absent").exists()


def test_it_is_private(tmp_path: Path) -> None:
    """I7."""
    before = os.umask(0)
    try:
        History(tmp_path / "state", "web01").add("run")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE(written(tmp_path / "state").stat().st_mode) == 0o600


def test_the_last_size_of_an_artefact_is_that_of_the_last_run_that_had_it(history: History) -> None:
    """G7: an entry that failed, or was not asked for, is compared with the time before."""
    history.add("run", sizes={"command/a": {"x": 100}, "command/b": {"y": 5}})
    history.add("run", sizes={"command/a": {"x": 200, "z": 1}})
    history.add("run")
    history.add("verify", sizes={"command/a": {"x": 7}})
    assert history.last_sizes() == {"command/a": {"x": 200, "z": 1}, "command/b": {"y": 5}}


def test_the_last_backup_is_that_of_the_last_run_whatever_the_clock_did(history: History) -> None:
    """T14, R2: so a clock that once jumped ahead is said by the next run, and by no later one."""
    for name in ("2026-11-23T031502Z", "2026-11-24T031502Z", "2026-11-22T031502Z"):
        history.add("start", backup=name)
    assert history.last_backup() == "2026-11-22T031502Z"


def test_a_place_is_known_once_a_run_has_stored_something_there(history: History) -> None:
    """T34: from then on an absent root is an error."""
    history.add("run", places=[])
    assert not history.knows_place("/mnt/disk")
    history.add("run", places=["/mnt/disk"])
    history.add("run", places=["/mnt/other"])
    assert history.knows_place("/mnt/disk")
    assert not history.knows_place("/mnt")


def test_the_digest_of_each_manifest_is_known(history: History) -> None:
    """V3."""
    history.add("run", backup="b1", manifest="aa")
    history.add("run", backup="b2", manifest="bb")
    history.add("run", backup="b1")
    assert history.manifest_digests() == {"b1": {"aa"}, "b2": {"bb"}}


RECORDS = b'{"kind": "run", "n": 1}\n{"kind": "run", "n": 2}\n'


@pytest.mark.parametrize("length", range(len(RECORDS)))
def test_a_torn_line_costs_itself_and_nothing_after_it(tmp_path: Path, history: History, length: int) -> None:
    """K6: at whatever byte a power cut tore it."""
    written(tmp_path).write_bytes(RECORDS[:length])
    before = [record["n"] for record in history.records("run")]
    assert before == [1, 2][: RECORDS.count(b"}\n", 0, length + 1)]
    history.add("run", n=3)
    history.add("run", n=4)
    assert [record["n"] for record in history.records("run")] == [*before, 3, 4]


NO_RECORDS = [b"[]", b"null", b'{"kind": 5}', b'{"kind": ["run"]}', b"{}", b"7"]


@given(st.lists(st.binary(max_size=30) | st.sampled_from(NO_RECORDS)))
def test_lines_that_are_none_are_passed_over(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    folder = tmp_path_factory.mktemp("history")
    written(folder).write_bytes(b"\n".join([*lines, b'{"kind": "run", "backup": "x"}', *lines, b""]))
    assert [record["backup"] for record in History(folder, "web01").records("run")] == ["x"]


def test_lines_of_several_threads_are_not_mixed_up(tmp_path: Path, history: History) -> None:
    def write(number: int) -> None:
        for _ in range(20):
            history.add("run", number=number, text="x" * 500)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(history.records("run"))) == 80
    # a line that is seen half-written is closed by an empty one, and no more
    assert all(json.loads(line) for line in written(tmp_path).read_text().splitlines() if line)


def test_a_history_that_cannot_be_written_is_a_warning(
    tmp_path: Path, history: History, caplog: pytest.LogCaptureFixture
) -> None:
    """L6, I12: it never stops what it tells of."""
    written(tmp_path).mkdir()
    history.add("run")
    assert caplog.messages == [f"history {written(tmp_path)} could not be written: Is a directory"]


def test_a_state_folder_that_others_can_write_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """L6: after a restore, for example, which has done its work."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(0o777)
    History(tmp_path / "state", "web01").add("restore")
    (message,) = caplog.messages
    assert f"{tmp_path}/state can be written by others" in message
    assert os.listdir(tmp_path / "state") == []


def test_a_history_that_cannot_be_read_is_a_warning(
    tmp_path: Path, history: History, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path).mkdir()
    assert list(history.records("run")) == []
    assert caplog.messages == [f"history {written(tmp_path)} cannot be read: Is a directory"]


def test_a_link_is_not_written_through(tmp_path: Path, history: History, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "precious").write_text("precious")
    written(tmp_path).symlink_to("precious")
    history.add("run")
    assert (tmp_path / "precious").read_text() == "precious"
    assert "could not be written" in caplog.text


def test_a_full_disk_is_a_warning_and_costs_one_line(tmp_path: Path) -> None:
    """S1, L6: the disk takes 40 bytes more, then it is full, then there is room again."""
    code = f"""
import resource
from pathlib import Path
from pickup_core.history import History
history, path = History(Path({str(tmp_path)!r}), "web01"), Path({str(written(tmp_path))!r})
history.add("run", n=1)
size = path.stat().st_size
for limit in (size + 40, size + 40, resource.RLIM_INFINITY):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    history.add("run", n=2)
print([record["n"] for record in history.records("run")])
"""
    done = python(code)
    assert done.stdout == "[1, 2]\n", done.stderr
    assert done.stderr.count("could not be written: ") == 2


# Recovery


def night(history: History, number: int, code: int | None = 0, **facts: object) -> str:
    """Note a run, or with None one that was killed, and give its backup."""
    backup = f"2026-11-{number:02}T031502Z"
    history.add("start", backup=backup)
    if code is not None:
        history.add("run", backup=backup, exit=code, **facts)
    return backup


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([], False),
        ([(0, {})], False),
        ([(1, {})], False),
        ([(2, {})], True),
        ([(None, {})], True),
        ([(2, {}), (0, {})], False),
        ([(2, {}), (2, {}), (0, {}), (2, {})], True),
        ([(2, {}), (0, {"only": ["db"]})], True),
        ([(2, {}), (0, {"targets": ["disk"]})], True),
        ([(0, {}), (2, {"only": ["db"]})], True),
        ([(0, {}), (0, {"only": ["db"]})], False),
        ([("2", {})], True),
    ],
)
def test_the_first_whole_run_that_goes_well_after_a_failure_is_a_recovery(
    history: History, before: list[tuple[int | None, dict[str, object]]], expected: bool
) -> None:
    for number, (code, facts) in enumerate(before, 1):
        night(history, number, code, **facts)
    assert history.has_recovered(night(history, 20)) == expected
    assert not history.has_recovered(night(history, 21))


def test_a_run_of_a_part_is_no_recovery(history: History) -> None:
    night(history, 1, 2)
    assert not history.has_recovered(night(history, 2, 0, only=["db"]))
    assert not history.has_recovered(night(history, 3, 0, targets=["disk"]))
    assert history.has_recovered(night(history, 4, 0, only=[], targets=[]))


def test_what_was_deleted_and_brought_again_is_stored(tmp_path: Path) -> None:
    history = History(tmp_path, "web01")
    name = "2026-11-23T031502Z"
    for gone in ({"kind": "delete", "backup": name}, {"kind": "prune", "deleted": [name]}):
        history.add("copy", backup=name, places=["/there"])
        assert history.stored_at("/there") == {name}
        history.add(**gone, target="disk", place="/other")
        assert history.stored_at("/there") == {name}
        history.add(**gone, target="disk", place="/there")
        assert history.stored_at("/there") == set()
