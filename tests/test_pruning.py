"""The command prune: of the config's job, of another one, and of all that a target holds; and what uploads have left."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from pickup_core.errors import ConfigError, LockedError, UsageError
from pickup_core.history import History
from pickup_core.lock import job_lock
from pickup_core.run import machine_digest
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
    assert [line for line in done.out.splitlines() if ": job " in line] == [
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
    assert done.status == 4
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
    with pytest.raises(ConfigError, match="GENERATORS is missing"):
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


def test_what_broken_uploads_of_a_job_have_left_is_cleared(tmp_path: Path) -> None:
    """T15: no run of a retired host will; one that does not bear our mark stays."""
    configure(tmp_path, "one", retention="dict(last=9)")
    left, strange, good = stored(tmp_path, "one", 3, **OTHER)
    for name in (left, strange):
        (tmp_path / "one/db02" / f"{name}.json").unlink()
    (tmp_path / "one/db02" / strange / "PICKUP.txt").unlink()
    with nothing_changes(tmp_path):
        shown = carried_out(tmp_path, "prune", "--job", "db02", "-n").out
    assert f"folder/one: would remove db02/{left}, left by an upload that broke off" in shown
    assert carried_out(tmp_path, "prune", "--job", "db02").out == shown.replace("would remove", "removed")
    assert {path.name for path in (tmp_path / "one/db02").iterdir() if path.is_dir()} == {strange, good}
