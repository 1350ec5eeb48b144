"""The run: the straight line, and what it leaves behind for the next one."""

import hashlib
import json
import logging
import re
import socket
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pickup_core.catalogue import Backup, Catalogue
from pickup_core.config import Config
from pickup_core.errors import ConfigError, LockedError, UsageError
from pickup_core.history import History
from pickup_core.lock import job_lock
from pickup_core.manifest import backup_id
from pickup_core.report import Report
from pickup_core.run import RunWish, machine_digest, run
from target_profiles.folder import Config as FolderConfig
from target_profiles.folder import Target
from tests.builders import LOCAL, config_text, loaded
from tests.places import JOB

ECHO = 'dict(name="{0}", profile="command", config=dict(command="{1}"))'


def config_of(folder: Path, *commands: str) -> Config:
    """Give a config with an entry `a`, `b` ... for each command."""
    entries = ", ".join(ECHO.format("abc"[number], command) for number, command in enumerate(commands))
    return loaded(folder, config_text(LOCAL, f"[{entries}]"))


def ran(config: Config, **wish: Any) -> int:
    report = Report()
    run(config, RunWish(**wish), report)
    return report.exit_code


def backups(folder: Path) -> list[Backup]:
    """Give the backups, the newest first."""
    return Catalogue("there", Target(FolderConfig(path=folder / "backups"))).backups(JOB)


def lines(config: Config) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (config.state_folder / f"{JOB}.history.jsonl").read_text().splitlines()]


# What a backup says of its run


def test_the_manifest_tells_of_every_entry_of_the_config_in_its_order(tmp_path: Path) -> None:
    assert ran(config_of(tmp_path, "echo one", "false", "echo three"), only=("c", "b")) == 2
    [backup] = backups(tmp_path)
    manifest = backup.manifest
    assert [(entry.name, entry.status, len(entry.artefacts)) for entry in manifest.entries] == [
        ("a", "skipped", 0), ("b", "failed", 0), ("c", "ok", 1),
    ]  # fmt: skip
    assert (manifest.only, backup.status) == (("c", "b"), "partial")
    assert (manifest.job, manifest.host, manifest.machine) == (JOB, socket.gethostname(), machine_digest())
    assert manifest.id == backup_id(manifest.started)
    assert timedelta(0) <= manifest.finished - manifest.started < timedelta(minutes=1)
    assert [file.path for file in manifest.others] == ["PICKUP.txt", "pickup/config.py", "RESTORE.txt", "SHA256SUMS"]


def test_a_run_of_a_part_is_complete_where_the_part_is_all(tmp_path: Path) -> None:
    assert ran(config_of(tmp_path, "echo one"), only=("a",)) == 0
    assert [backup.status for backup in backups(tmp_path)] == ["complete"]


# The history


def test_the_history_tells_when_a_run_starts_and_what_came_of_it(tmp_path: Path) -> None:
    config = config_of(tmp_path, "echo one", "false")
    assert ran(config) == 2
    [backup] = backups(tmp_path)
    start, end = lines(config)
    assert (start["kind"], start["backup"], start["only"]) == ("start", backup.id, [])
    assert (end["kind"], end["backup"], end["exit"], end["only"]) == ("run", backup.id, 2, [])
    assert 0 <= end["seconds"] < 60
    assert end["places"] == [str(tmp_path / "backups")]
    assert end["manifest"] == hashlib.sha256((tmp_path / "backups" / backup.manifest_path).read_bytes()).hexdigest()
    [artefact] = backup.manifest.entries[0].artefacts
    assert end["sizes"] == {"command/a": {"output": artefact.size}}


@pytest.mark.parametrize("streams", [False, True])
def test_where_nothing_was_produced_no_target_is_even_made(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, streams: bool
) -> None:
    config = replace(config_of(tmp_path, "false", "no-such-program"), streams=streams)
    assert ran(config) == 2
    assert f"job {JOB}: no entry produced anything, so nothing is published; earlier backups are as they were" in (
        caplog.messages
    )
    assert not (tmp_path / "backups").exists()
    assert not list(config.staging_area.iterdir())
    end = lines(config)[-1]
    assert (end["kind"], end["exit"]) == ("run", 2)
    assert not {"places", "sizes", "manifest"} & end.keys()


def test_what_cannot_begin_begins_nothing(tmp_path: Path) -> None:
    """E12, C1, S8: no line of history, and no target made."""
    config = config_of(tmp_path, "echo one")
    for wish in (dict(only=("b",)), dict(targets=("tape",))):
        with pytest.raises(UsageError, match="there is no entry"):
            ran(config, **wish)
    assert [path.name for path in tmp_path.iterdir()] == ["config.py"]
    with job_lock(config.state_folder, JOB, datetime.now(timezone.utc)), pytest.raises(LockedError):
        ran(config)
    (tmp_path / "area").write_text("")
    with pytest.raises(ConfigError, match="STAGING_AREA"):
        ran(config)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["area", "config.py", "state", f"{JOB}.lock"]


# The clock


def test_no_two_runs_have_one_name(tmp_path: Path) -> None:
    """T14: the second waits for the next second, and a run that was killed counts too."""
    config = config_of(tmp_path, "echo one")
    killed = backup_id(datetime.now(timezone.utc))
    History(config.state_folder, JOB).add("start", backup=killed)
    assert [ran(config), ran(config)] == [0, 0]
    newest, oldest = (backup.id for backup in backups(tmp_path))
    assert newest > oldest > killed


def test_a_clock_that_was_set_back_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """R2."""
    config = config_of(tmp_path, "echo one")
    History(config.state_folder, JOB).add("start", backup="2999-01-01T000000Z")
    assert ran(config) == 1
    said = f"job {JOB}: the clock stands before the last backup, 2999-01-01T000000Z"
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [said]
    caplog.clear()
    assert ran(config) == 0
    assert "the clock" not in caplog.text
    assert len(backups(tmp_path)) == 2


# Space


def test_a_run_that_may_not_fit_is_warned_of_before_anything_is_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S16: and tried all the same; entries that are not asked for take no room."""
    config = config_of(tmp_path, "echo one", "echo two")
    History(config.state_folder, JOB).add("run", sizes={"command/b": {"output": 2**60}})
    caplog.set_level(logging.INFO, "pickup")
    assert ran(config, only=("a",)) == 0
    caplog.clear()
    assert ran(config) == 1
    warning = next(record.message for record in caplog.records if record.levelno >= logging.WARNING)
    assert re.fullmatch(
        r"staging area: of .+ that are free, MIN_FREE keeps .+, and a run will need about 1\.2 EiB\nHint: make room, .+",
        warning,
    )
    assert caplog.messages.index(warning) < caplog.messages.index("command/a: starts")
    assert len(backups(tmp_path)) == 2


# The machine


def test_a_machine_is_told_from_others_without_its_id() -> None:
    """machine-id(5): the id is confidential, and must not be told by what is derived from it."""
    digest = machine_digest()
    assert re.fullmatch(r"[0-9a-f]{16}", digest)
    assert machine_digest() == digest
    path = Path("/etc/machine-id")
    identity = path.read_text().strip() if path.is_file() else ""
    for known in filter(None, (identity, socket.gethostname())):
        assert digest not in known
        assert not hashlib.sha256(known.encode()).hexdigest().startswith(digest)
