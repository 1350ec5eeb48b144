"""Metrics: what stands in the file, as Prometheus reads it."""

import os
import stat
from datetime import datetime, timezone
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pickup_core.config import Config
from pickup_core.history import History
from pickup_core.metrics import check_metrics, write_metrics
from pickup_core.report import Report
from pickup_core.run import RunWish, run
from tests.builders import LOCAL, config_text, loaded

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
Labels = frozenset[tuple[str, str]]


def read(path: Path) -> dict[tuple[str, Labels], float]:
    """Give each sample, by its name and its labels but for the job, which all of them have."""
    found = {}
    for family in text_string_to_metric_families(path.read_text(encoding="utf-8")):
        assert family.type == "gauge"
        assert family.documentation
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("job") == "web01"
            found[sample.name, frozenset(labels.items())] = sample.value
    return found


def labelled(**labels: str) -> Labels:
    return frozenset(labels.items())


def made(folder: Path, command: str = "uname", target: str = "backups") -> Config:
    entries = f'[dict(name="system", profile="command", config=dict(command="{command}")), dict(name="no", profile="folder", config=dict(path="no"))]'
    return loaded(
        folder, config_text(LOCAL, entries, f'[dict(name="disk", profile="folder", config=dict(path="{target}"))]')
    )


def after_a_run(config: Config, exit_code: int = 2) -> dict[tuple[str, Labels], float]:
    run(config, RunWish(), Report())
    path = config.path.parent / "pickup.prom"
    write_metrics(path, config, exit_code, 1.23456, NOW)
    return read(path)


def test_a_run_is_told_entry_by_entry_and_target_by_target(tmp_path: Path) -> None:
    found = after_a_run(made(tmp_path))
    [record] = History(tmp_path / "state", "web01").records("run")
    ended = datetime.fromisoformat(record["time"]).timestamp()
    system, no, disk = labelled(entry="command/system"), labelled(entry="folder/no"), labelled(target="disk")
    seconds = [
        found.pop(("pickup_entry_duration_seconds", system)),
        found.pop(("pickup_target_duration_seconds", disk)),
    ]
    assert all(0 < each < 60 for each in seconds)
    assert found == {
        ("pickup_last_run_timestamp_seconds", labelled()): NOW.timestamp(),
        ("pickup_last_run_duration_seconds", labelled()): 1.235,
        ("pickup_last_run_exit_code", labelled()): 2,
        ("pickup_entry_last_success_timestamp_seconds", system): ended,
        ("pickup_entry_last_success_timestamp_seconds", no): 0,
        ("pickup_entry_bytes", system): sum(record["sizes"]["command/system"].values()),
        ("pickup_target_last_success_timestamp_seconds", disk): ended,
        ("pickup_target_bytes", disk): record["size"],
    }
    assert record["size"] == sum(
        path.stat().st_size for path in (tmp_path / "backups/web01" / record["backup"]).rglob("*")
        if path.is_file() and path.name != "manifest.json"
    )  # fmt: skip


def test_a_run_that_fails_takes_nothing_away(tmp_path: Path) -> None:
    """L7"""
    before = after_a_run(made(tmp_path))
    (tmp_path / "blocked").write_text("")
    after = after_a_run(made(tmp_path, command="false"))
    assert {key: value for key, value in after.items() if key[1]} == {
        key: value for key, value in before.items() if key[1]
    }
    moved = after_a_run(made(tmp_path, target="blocked/deep"))
    assert (
        moved["pickup_entry_last_success_timestamp_seconds", labelled(entry="command/system")]
        == (before["pickup_entry_last_success_timestamp_seconds", labelled(entry="command/system")])
    ), "what no target took is no success"
    assert moved["pickup_target_last_success_timestamp_seconds", labelled(target="disk")] == 0


def test_a_record_of_an_earlier_version_is_enough(tmp_path: Path) -> None:
    config = made(tmp_path)
    place = config.targets[0].store().place
    History(config.state_folder, "web01").add("run", places=[place], sizes={"command/system": {"a": 3, "b": 4}})
    write_metrics(tmp_path / "pickup.prom", config, 0, 1, NOW)
    found = read(tmp_path / "pickup.prom")
    assert found["pickup_entry_bytes", labelled(entry="command/system")] == 7
    assert found["pickup_target_last_success_timestamp_seconds", labelled(target="disk")] > 0
    assert not [name for name, _ in found if name.startswith(("pickup_target_bytes", "pickup_entry_duration"))]


@pytest.mark.parametrize("name", ['a"b', "back\\slash", "ünï", "a,b}", "a\\nb"])
def test_names_are_read_as_they_are(tmp_path: Path, name: str) -> None:
    """Injection: a name can make no sample of its own."""
    entries = f'[dict(name={name!r}, profile="command", config=dict(command="uname"))]'
    write_metrics(tmp_path / "m.prom", loaded(tmp_path, config_text(LOCAL, entries)), 0, 1, NOW)
    assert ("pickup_entry_last_success_timestamp_seconds", labelled(entry=f"command/{name}")) in read(
        tmp_path / "m.prom"
    )


def test_everybody_may_read_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    """L7: it is replaced in one step, and never written to where a link leads."""
    config, folder = made(tmp_path), tmp_path / "collected"
    folder.mkdir()
    path = folder / "pickup.prom"
    path.symlink_to(tmp_path / "elsewhere")
    for code in (0, 2):
        write_metrics(path, config, code, 1, NOW)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o644
        assert os.listdir(folder) == ["pickup.prom"]
        assert read(path)["pickup_last_run_exit_code", labelled()] == code
    assert not (tmp_path / "elsewhere").exists()


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """L6"""
    config, path = made(tmp_path), tmp_path / "folder/pickup.prom"
    path.mkdir(parents=True)
    with pytest.raises(OSError, match="Is a directory"):
        write_metrics(path, config, 0, 1, NOW)
    assert os.listdir(tmp_path / "folder") == ["pickup.prom"]
    with pytest.raises(FileNotFoundError, match="none"):
        write_metrics(tmp_path / "none/pickup.prom", config, 0, 1, NOW)


def test_a_check_tells_whether_it_could_be_written(tmp_path: Path) -> None:
    check_metrics(tmp_path / "pickup.prom")
    assert os.listdir(tmp_path) == []
    with pytest.raises(OSError, match=f"^{tmp_path}/none is no folder$"):
        check_metrics(tmp_path / "none/pickup.prom")
    (tmp_path / "m").mkdir()
    with pytest.raises(OSError, match=f"^{tmp_path}/m is a folder$"):
        check_metrics(tmp_path / "m")
