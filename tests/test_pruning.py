"""The command prune: of the config's job, of another one, and of all that a target holds; and what uploads have left."""

import json
import re
import shutil
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from pickup_core.errors import LockedError, UsageError
from pickup_core.history import History
from pickup_core.lock import job_lock
from pickup_core.run import machine_digest
from pickup_core.store import Item
from target_profiles.folder import Target
from tests.builders import LOCAL, config_text, write_config
from tests.places import JOB
from tests.sessions import LONG_AGO, carried_out, configure, stored, there
from tests.stored import nothing_changes

OTHER = {"job": "db02", "machine": "f" * 16, "contents": {"postgres/main": b"1", "folder/srv": b"2"}}


def test_another_machines_job_is_pruned_by_what_its_own_manifests_hold(tmp_path: Path) -> None:
    """R18, R19: the entries of this config are none of its own; nor is its history."""
    configure(tmp_path, "one", retention="dict(last=2)")
    nights = stored(tmp_path, "one", 4, **OTHER)
    mine = stored(tmp_path, "one", 4, LONG_AGO + timedelta(days=40), machine="e" * 16)
    done = carried_out(tmp_path, "prune", "--job", "db02")
    assert (done.status, done.err) == (0, "")
    assert there(tmp_path, "one", "db02") == nights[2:]
    assert there(tmp_path, "one") == mine
    [record] = History(tmp_path / "state", "db02").records("prune")
    assert (record["target"], record["deleted"]) == ("one", nights[1::-1])
    assert list(History(tmp_path / "state", JOB).records("prune")) == []


def test_a_prune_that_shows_what_it_would_do_writes_nothing_and_waits_for_nobody(tmp_path: Path) -> None:
    """R17, C6."""
    configure(tmp_path, "one", retention="dict(last=1)")
    nights = stored(tmp_path, "one", 3, **OTHER)
    with job_lock(tmp_path / "state", "db02", LONG_AGO):
        with nothing_changes(tmp_path):
            shown = carried_out(tmp_path, "prune", "--job", "db02", "--dry-run").out
        with pytest.raises(LockedError):
            carried_out(tmp_path, "prune", "--job", "db02")
    assert there(tmp_path, "one", "db02") == nights
    assert carried_out(tmp_path, "prune", "--job", "db02").out == shown.replace("would delete", "deleted")
    assert there(tmp_path, "one", "db02") == nights[2:]


def test_one_target_that_cannot_be_pruned_costs_itself(tmp_path: Path) -> None:
    configure(tmp_path, "one", "two", retention="dict(last=1)")
    nights = stored(tmp_path, "two", 2, **OTHER)
    done = carried_out(tmp_path, "prune", "--job", "db02")
    assert (done.status, there(tmp_path, "two", "db02")) == (2, nights[1:])
    assert "TARGETS[0] 'one' (folder): " in done.err
    assert [each["target"] for each in History(tmp_path / "state", "db02").records("prune")] == ["two"]


def test_where_nothing_has_retention_there_is_nothing_to_prune(tmp_path: Path) -> None:
    configure(tmp_path, "one")
    with pytest.raises(UsageError, match="no target has a retention policy, so nothing is ever deleted"):
        carried_out(tmp_path, "prune")


# All jobs


def test_all_jobs_of_each_target_are_pruned_each_by_itself(tmp_path: Path) -> None:
    """A machine that may delete does so for those that may not."""
    configure(tmp_path, "one", "two", retention="dict(last=1)")
    for target, jobs in (("one", ("db02", "web03")), ("two", ("web03",))):
        for number, job in enumerate(jobs):
            stored(tmp_path, target, 3, LONG_AGO + timedelta(days=400 * number), **{**OTHER, "job": job})
    newest = {job: there(tmp_path, "one", job)[-1:] for job in ("db02", "web03")}
    with nothing_changes(tmp_path):
        shown = carried_out(tmp_path, "prune", "--all-jobs", "-n").out
    assert shown.count("would delete 2 of 3 backups") == 3
    done = carried_out(tmp_path, "prune", "--all-jobs")
    assert (done.status, done.err, done.out) == (0, "", shown.replace("would delete", "deleted"))
    assert [line for line in done.out.splitlines() if re.search(r": job \w+$", line)] == [
        "folder/one: job db02", "folder/one: job web03", "folder/two: job web03"
    ]  # fmt: skip
    assert {job: there(tmp_path, "one", job) for job in newest} == newest
    assert len(there(tmp_path, "two", "web03")) == 1
    assert [each["target"] for each in History(tmp_path / "state", "web03").records("prune")] == ["one", "two"]


def test_a_job_at_work_here_costs_itself(tmp_path: Path) -> None:
    """C1: the others are pruned."""
    configure(tmp_path, "one", retention="dict(last=1)")
    for job in ("db02", "web03"):
        stored(tmp_path, "one", 2, LONG_AGO + timedelta(days=9 * (job == "db02")), **{**OTHER, "job": job})
    with job_lock(tmp_path / "state", "db02", LONG_AGO):
        done = carried_out(tmp_path, "prune", "--all-jobs")
    assert done.status == 2
    assert done.err.startswith("ERROR: TARGETS[0] 'one' (folder): job db02: another run of job db02 is at work")
    assert (len(there(tmp_path, "one", "db02")), len(there(tmp_path, "one", "web03"))) == (2, 1)


def test_one_job_and_all_jobs_do_not_go_together(tmp_path: Path) -> None:
    configure(tmp_path, "one", retention="dict(last=1)")
    with pytest.raises(UsageError, match="they do not go together"):
        carried_out(tmp_path, "prune", "--job", "db02", "--all-jobs")


def test_a_machine_that_backs_up_nothing_prunes_for_others(tmp_path: Path) -> None:
    """R18: with TARGETS alone, also where a job has this machine's name; its entries are those of its manifests."""
    configure(tmp_path, "one", retention="dict(last=2)")
    path = tmp_path / "config.py"
    path.write_text(re.sub("(?m)^GENERATORS = .*$", "", path.read_text()))
    mine = stored(tmp_path, "one", 3, contents={"folder/old": b"1"})
    mine += stored(tmp_path, "one", 3, LONG_AGO + timedelta(days=9), contents={"folder/new": b"1"})
    others = stored(tmp_path, "one", 3, LONG_AGO + timedelta(days=40), **OTHER)
    assert carried_out(tmp_path, "prune", "--all-jobs").status == 0
    assert (there(tmp_path, "one"), there(tmp_path, "one", "db02")) == ([*mine[1:3], *mine[4:]], others[1:])
    assert carried_out(tmp_path, "prune", "--job", "db02").status == 0
    with pytest.raises(UsageError, match="no GENERATORS, and so no job of its own\nHint: name one by --job"):
        carried_out(tmp_path, "prune")


def test_the_own_job_among_all_has_the_entries_of_the_config(tmp_path: Path) -> None:
    """One that the config no longer names keeps its newest good copy, and no more."""
    configure(tmp_path, "one", retention="dict(last=2)")
    machine = machine_digest()
    gone = stored(tmp_path, "one", 3, contents={"folder/gone": b"1"}, machine=machine)
    mine = stored(tmp_path, "one", 3, LONG_AGO + timedelta(9), contents={"command/system": b"1"}, machine=machine)
    carried_out(tmp_path, "prune", "--all-jobs")
    assert there(tmp_path, "one") == [gone[2], *mine[1:]]


# What uploads have left


def test_what_broken_uploads_of_another_machine_have_left_is_cleared_a_week_after_it_was_seen(tmp_path: Path) -> None:
    """T15: no run of a retired host will; one that does not bear our mark stays."""
    configure(tmp_path, "one", retention="dict(last=9)")
    left, strange, good = stored(tmp_path, "one", 3, **OTHER)
    for name in (left, strange):
        (tmp_path / "one/db02" / f"{name}.json").unlink()
    (tmp_path / "one/db02" / strange / "PICKUP.txt").unlink()
    for _ in range(2):
        assert "removed" not in carried_out(tmp_path, "prune", "--job", "db02").out
    assert [each["left"] for each in History(tmp_path / "state", "db02").records("prune")] == [[f"db02/{left}"]] * 2
    days_pass(tmp_path, 8)
    with nothing_changes(tmp_path):
        shown = carried_out(tmp_path, "prune", "--job", "db02", "-n").out
    assert f"folder/one: would remove db02/{left}, left by an upload that broke off" in shown
    assert carried_out(tmp_path, "prune", "--job", "db02").out == shown.replace("would remove", "removed")
    assert {path.name for path in (tmp_path / "one/db02").iterdir() if path.is_dir()} == {strange, good}


def days_pass(home: Path, days: int) -> None:
    """Let all that the history tells of db02 be so long ago."""
    path = home / "state/db02.history.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        record["time"] = (datetime.fromisoformat(record["time"]) - timedelta(days=days)).isoformat()
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))


def test_an_upload_of_another_machine_that_is_at_work_is_left_alone(tmp_path: Path) -> None:
    """One that began days ago, or brings a backup that is so old, as copy does."""
    configure(tmp_path, "one", retention="dict(last=1)")
    [name] = stored(tmp_path, "one", **OTHER)
    manifest = tmp_path / "one/db02" / f"{name}.json"
    manifest.rename(tmp_path / "not yet")
    (tmp_path / "one/db02" / f".{name}.json.abc").write_text("{")
    carried_out(tmp_path, "prune", "--all-jobs")
    days_pass(tmp_path, 6)
    carried_out(tmp_path, "prune", "--job", "db02")
    assert (tmp_path / "one/db02" / f".{name}.json.abc").exists()
    (tmp_path / "not yet").rename(manifest)
    assert carried_out(tmp_path, "verify", name, "--job", "db02").status == 0


# Who has broken into another machine


def test_what_is_dated_before_the_last_prune_and_was_not_there_lets_nothing_be_deleted(tmp_path: Path) -> None:
    """R21: a host that may only add cannot let the one that prunes delete its backups."""
    configure(tmp_path, "one", retention="dict(daily=7)")
    real = stored(tmp_path, "one", 7, **OTHER)
    assert carried_out(tmp_path, "prune", "--all-jobs").status == 0
    assert there(tmp_path, "one", "db02") == real
    forged = stored(tmp_path, "one", 9, LONG_AGO + timedelta(hours=20), **OTHER)
    done = carried_out(tmp_path, "prune", "--all-jobs")
    assert done.status == 1
    assert done.err.count("was not there when this machine last pruned, though it is dated long before") == len(forged)
    assert "Hint: if that is right, as after a copy, pickup.py prune --job db02 --prune-anyway" in done.err
    assert set(there(tmp_path, "one", "db02")) == {*real, *forged}
    assert carried_out(tmp_path, "prune", "--job", "db02", "--prune-anyway").status == 0
    assert there(tmp_path, "one", "db02") == forged[-7:]
    assert carried_out(tmp_path, "prune", "--all-jobs").status == 0, "who has said once that it is right is believed"


def test_the_name_of_a_deleted_backup_lets_nothing_be_deleted(tmp_path: Path) -> None:
    """R21: a host knows the names that its backups had, and may add other ones under them."""
    configure(tmp_path, "one", retention="dict(last=1)")
    without_postgres: dict[str, Any] = {**OTHER, "contents": {"folder/srv": b"2"}}
    [last_good] = stored(tmp_path, "one", 1, **OTHER)
    deleted, newest = stored(tmp_path, "one", 2, LONG_AGO + timedelta(days=1), **without_postgres)
    assert carried_out(tmp_path, "prune", "--all-jobs").status == 0
    assert there(tmp_path, "one", "db02") == [last_good, newest]
    for nights in tmp_path.glob("nights-*"):
        shutil.rmtree(nights)
    assert stored(tmp_path, "one", 1, LONG_AGO + timedelta(days=1), **OTHER) == [deleted]
    assert carried_out(tmp_path, "prune", "--all-jobs").status == 1
    assert there(tmp_path, "one", "db02") == [last_good, deleted, newest]


@pytest.mark.parametrize("way", ["delete", "somebody else"])
def test_what_is_gone_is_not_known_when_it_comes_back(tmp_path: Path, way: str) -> None:
    """R21: whoever deleted it."""
    configure(tmp_path, "one", retention="dict(last=3)")
    names = stored(tmp_path, "one", 3, **OTHER)
    carried_out(tmp_path, "prune", "--all-jobs")
    if way == "delete":
        assert carried_out(tmp_path, "delete", names[0], "--job", "db02").status == 0
    else:
        (tmp_path / f"one/db02/{names[0]}.json").unlink()
        shutil.rmtree(tmp_path / f"one/db02/{names[0]}")
    for nights in tmp_path.glob("nights-*"):
        shutil.rmtree(nights)
    if way == "somebody else":
        carried_out(tmp_path, "prune", "--job", "db02")
    assert stored(tmp_path, "one", 1, **OTHER) == names[:1]
    done = carried_out(tmp_path, "prune", "--all-jobs")
    assert (done.status, done.err.count(f"WARNING: TARGETS[0] 'one' (folder): {names[0]} was not there")) == (1, 1)


def test_a_target_may_get_another_name(tmp_path: Path) -> None:
    """R21: what was seen belongs to the place; one that moves is told to be seen for the first time."""
    configure(tmp_path, "one", retention="dict(last=3)")
    stored(tmp_path, "one", 3, **OTHER)
    first = "job db02 is pruned here for the first time: all that is there counts\n"
    assert first in carried_out(tmp_path, "prune", "--all-jobs").out
    entry = dict(name="uno", profile="folder", config=dict(path="one"), retention=dict(last=3))
    write_config(tmp_path, config_text(LOCAL, targets=repr([entry])))
    stored(tmp_path, "one", 9, LONG_AGO + timedelta(hours=20), **OTHER)
    done = carried_out(tmp_path, "prune", "--all-jobs")
    assert (done.status, len(there(tmp_path, "one", "db02"))) == (1, 12)
    assert first not in done.out
    (tmp_path / "one").rename(tmp_path / "two")
    configure(tmp_path, "two", retention="dict(last=30)")
    assert first in carried_out(tmp_path, "prune", "--all-jobs").out


def test_a_copy_that_prune_would_not_count_is_none_for_delete_either(tmp_path: Path) -> None:
    """R21."""
    configure(tmp_path, "one", retention="dict(last=3)")
    [name] = stored(tmp_path, "one", 1, **OTHER)
    carried_out(tmp_path, "prune", "--all-jobs")
    stored(tmp_path, "one", 1, LONG_AGO + timedelta(days=1), **OTHER)
    with pytest.raises(UsageError, match="holds the last copy that was found of postgres/main, folder/srv"):
        carried_out(tmp_path, "delete", name, "--job", "db02")


def test_an_upload_that_went_well_in_the_end_is_not_given_up_when_it_is_made_again(tmp_path: Path) -> None:
    configure(tmp_path, "one", retention="dict(last=3)")
    [name] = stored(tmp_path, "one", 1, **OTHER)
    manifest = tmp_path / f"one/db02/{name}.json"
    for old, new in ((manifest, tmp_path / "aside"), (tmp_path / "aside", manifest), (manifest, tmp_path / "aside")):
        old.rename(new)
        assert "removed" not in carried_out(tmp_path, "prune", "--job", "db02").out
        days_pass(tmp_path, 9)
    assert f"removed db02/{name}" in carried_out(tmp_path, "prune", "--job", "db02").out


def test_what_comes_after_the_last_prune_counts(tmp_path: Path) -> None:
    """Also what was begun shortly before it: a run takes its time."""
    configure(tmp_path, "one", retention="dict(last=2)")
    now = datetime.now(timezone.utc).replace(microsecond=0)
    stored(tmp_path, "one", 2, now - timedelta(days=9), **OTHER)
    carried_out(tmp_path, "prune", "--all-jobs")
    new = stored(tmp_path, "one", 2, now - timedelta(hours=47), **OTHER)
    assert carried_out(tmp_path, "prune", "--all-jobs").status == 0
    assert there(tmp_path, "one", "db02") == new


def test_a_job_that_is_nowhere_is_said_to_be(tmp_path: Path) -> None:
    """A name that was misspelt is not pruned every night without a word."""
    configure(tmp_path, "one", retention="dict(last=2)")
    stored(tmp_path, "one", 1, **OTHER)
    with pytest.raises(UsageError, match=r"no target holds a backup of job db20\nHint: pickup.py list --all-jobs"):
        carried_out(tmp_path, "prune", "--job", "db20")
    assert carried_out(tmp_path, "prune").status == 0, "the own one may have none yet"


def test_a_folder_of_somebody_else_is_no_job(tmp_path: Path) -> None:
    configure(tmp_path, "one", retention="dict(last=2)")
    stored(tmp_path, "one", 1, **OTHER)
    (tmp_path / "one/photos").mkdir()
    (tmp_path / "one/photos/cat.jpg").write_bytes(b"cat")
    assert "photos" not in carried_out(tmp_path, "prune", "--all-jobs").out
    assert not list((tmp_path / "state").glob("photos*"))


def test_the_folder_of_a_job_is_listed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much would be cleared and deleted: a listing may take many round trips."""
    listed, listdir = list[str](), Target.listdir

    def noted(target: Target, folder: str = "") -> list[Item]:
        listed.append(folder)
        return listdir(target, folder)

    configure(tmp_path, "one", retention="dict(last=1)")
    left, *_ = stored(tmp_path, "one", 5)
    (tmp_path / "one" / JOB / f"{left}.json").unlink()
    monkeypatch.setattr(Target, "listdir", noted)
    done = carried_out(tmp_path, "prune", "--prune-anyway", "--dry-run")
    assert "would delete 3 of 4 backups" in done.out
    assert f"would remove {JOB}/{left}, left by an upload" in done.out
    assert listed.count(JOB) == 1
