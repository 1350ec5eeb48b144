"""What stays and what goes: retention over many nights, by entry, with reasons; guards; and what is kept by hand."""

import os
import re
import shutil
import socket
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pickup_core.wording import local_time
from tests.end_to_end.aging import LAST_NIGHT, copied_to, moment_of, nights
from tests.end_to_end.command import JOB, Site, command_entry, folder_entry, shell_entry, target_entry
from tests.end_to_end.trees import everything_about

POLICY = {"daily": 7, "weekly": 4, "monthly": 12}


@pytest.fixture
def aged(site: Site) -> Site:
    """A site with 40 nights of backups, and the policy `POLICY`."""
    site.fill()
    entries = [folder_entry(), command_entry("date", name="date")]
    site.configure(entries)
    first = site.backup()
    for moment in nights(40):
        copied_to(moment, site.backups / JOB / first)
    _delete(site, first)
    site.configure(entries, [target_entry(retention=POLICY)])
    return site


def _delete(site: Site, name: str) -> None:
    for path in (site.backups / JOB).glob(f"{name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(site.state)


def _newest_of_each(names: list[str], period: Callable[[datetime], object], count: int) -> set[str]:
    """Give the newest of each of the newest `count` periods: the policy once more, written differently."""
    newest: dict[object, str] = {}
    for name in sorted(names):
        newest[period(moment_of(name))] = name
    return set(sorted(newest.values(), reverse=True)[:count])


def _expected(names: list[str]) -> set[str]:
    return (
        _newest_of_each(names, lambda moment: moment.date(), 7)
        | _newest_of_each(names, lambda moment: moment.isocalendar()[:2], 4)
        | _newest_of_each(names, lambda moment: (moment.year, moment.month), 12)
    )


def test_the_clock_of_the_place_is_of_no_account(aged: Site) -> None:
    """T13: what it says of when a file was written may be anything."""
    expected = _expected(aged.names())
    for number, path in enumerate(aged.backups.rglob("*")):
        year = (1, 10**9, 4 * 10**9)[number % 3]
        os.utime(path, (year, year), follow_symlinks=False)
    aged.run("prune")
    assert set(aged.names()) == expected
    aged.run("-q", "verify")


def test_after_forty_nights_exactly_what_the_policy_says_is_left(aged: Site) -> None:
    """R9, R13, I2, I3: prune -n says with reasons what prune then does, and neither touches what is not ours."""
    before = aged.names()
    assert len(before) == 40
    expected = _expected(before)
    for foreign in ("2010-01-01T000000Z.txt", "notes.txt", "2010-01-01"):
        (aged.backups / JOB / foreign).write_text("not ours")
        (aged.backups / JOB / foreign).chmod(0o600)
    (aged.backups / JOB / "2009-01-01T000000Z").mkdir(mode=0o700)
    (aged.backups / JOB / "2009-01-01T000000Z/letter").touch(mode=0o600)

    snapshot = everything_about(aged.backups)
    result = aged.run("prune", "-n")
    assert everything_about(aged.backups) == snapshot
    told = {
        found[1]: line
        for line in result.out.splitlines()
        if (found := re.search(r" (?:keep|would delete) (\S+): ", line))
    }
    assert {name for name, line in told.items() if " keep " in line} == expected
    assert {name for name, line in told.items() if " would delete " in line} == set(before) - expected
    newest = before[0]
    assert f"keep {newest}: command/date newest, command/date daily 2026-03-01" in told[newest]
    assert "folder/files monthly 2026-03" in told[newest]
    assert f"{40 - len(expected)} of 40 backups" in result.out

    result = aged.run("prune")
    assert set(aged.names()) - {"2009-01-01T000000Z"} == expected
    assert f"{40 - len(expected)} of 40 backups" in result.out
    assert (aged.backups / JOB / "2009-01-01T000000Z/letter").exists()
    assert (aged.backups / JOB / "notes.txt").read_text() == "not ours"
    assert {name for name, status in aged.listed() if status == "complete"} == expected
    aged.run("verify", "all")
    aged.run("prune")
    assert set(aged.names()) - {"2009-01-01T000000Z"} == expected
    assert aged.history()[-1]["deleted"] == []


def test_a_run_prunes_when_its_backup_is_there_and_measures_from_it(aged: Site) -> None:
    new = aged.backup()
    assert set(aged.names()) == _expected([*aged.names(), *{}]) == {new, *_expected(aged.names())}
    assert new in aged.names()
    aged.run("verify", "all")


def test_nothing_is_deleted_where_no_retention_is_asked_for(aged: Site) -> None:
    aged.configure([folder_entry()], [target_entry()])
    assert len(aged.names()) == 40
    aged.backup()
    assert len(aged.names()) == 41
    result = aged.run("prune", status=3)
    assert result.err.startswith("ERROR: no target has a retention policy, so nothing is ever deleted")
    assert len(aged.names()) == 41


def test_an_age_that_would_take_more_than_half_stops_and_asks(aged: Site) -> None:
    """R1: after a jump of the clock; exit 1, nothing deleted, and the way out is said."""
    aged.configure([folder_entry(), command_entry("date", name="date")], [target_entry(retention={"days": 3})])
    result = aged.run("-q", "prune", status=1)
    assert result.err == (
        "WARNING: TARGETS[0] 'disk' (folder): the retention policy would delete 36 of 40 backups at once, so nothing "
        "was deleted. Hint: if that is right, pickup.py prune --prune-anyway; if not, look at the clock and at "
        "retention\n"
    )
    assert len(aged.names()) == 40
    result = aged.run("-q", status=1)
    assert "at once, so nothing was deleted" in result.err
    assert len(aged.names()) == 41
    aged.run("prune", "--prune-anyway")
    assert len(aged.names()) == 1
    aged.run("verify", "all")


def test_a_backup_of_the_future_is_kept_and_counted_by_no_rule(aged: Site) -> None:
    """R2."""
    far = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=3650)
    future = copied_to(far, aged.backups / JOB / aged.names()[0])
    expected = _expected(aged.names()[1:])
    assert f"backup {future} is dated later than now: kept, and not counted" in aged.run("prune").out
    assert set(aged.names()) == {future, *expected}


def test_evenings_of_one_entry_displace_no_night_of_the_other(site: Site) -> None:
    """R13: 30 evenings of `--only` beside 30 nights; each entry has what the policy says, of what it holds."""
    site.fill()
    entries = [folder_entry(), command_entry("date", name="date")]
    site.configure(entries)
    both, one = site.backup(), site.backup("--only", "date")
    assert site.listed() == [(one, "partial"), (both, "complete")]
    for moment in nights(30):
        copied_to(moment, site.backups / JOB / both)
    for moment in nights(30, hour=18):
        copied_to(moment, site.backups / JOB / one)
    for name in (both, one):
        _delete(site, name) if site.state.exists() else shutil.rmtree(site.backups / JOB / name)
        for path in (site.backups / JOB).glob(f"{name}*"):
            path.unlink()
    with_files = [name for name in site.names() if name[11:13] == "02"]
    expected = _expected(site.names()) | _expected(with_files)
    site.configure(entries, [target_entry(retention=POLICY)])
    site.run("prune")
    assert set(site.names()) == expected
    assert {name for name in site.names() if name in with_files} >= _expected(with_files)


def test_an_entry_that_fails_for_weeks_keeps_its_last_good_copy_and_stops_no_pruning(site: Site) -> None:
    """R6, R18: I2 for the entry; the others are pruned as ever."""
    site.fill()
    dump = f"test ! -e {site.folder}/broken && date"
    site.configure([folder_entry(), shell_entry(dump, name="dump")])
    good = site.backup()
    (site.folder / "broken").touch()
    bad = site.backup(status=2)
    moments = nights(30)
    last_good = copied_to(moments[-1] - timedelta(days=1), site.backups / JOB / good)
    for moment in moments:
        copied_to(moment, site.backups / JOB / bad)
    for name in (good, bad):
        for path in (site.backups / JOB).glob(f"{name}*"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    site.configure([folder_entry(), shell_entry(dump, name="dump")], [target_entry(retention={"last": 3})])
    result = site.run("prune")
    assert site.names()[-1] == last_good
    assert len(site.names()) == 4
    assert f"keep {last_good}: command/dump newest" in result.out
    (site.folder / "restored").mkdir()
    site.run("restore", "--only", "dump", "--to", site.folder / "restored/dump")


def test_a_backup_that_is_kept_by_hand_outlives_every_policy_until_it_is_released(aged: Site) -> None:
    """R20."""
    old = aged.names()[-1]
    result = aged.run("keep", old, "before the move to the new server")
    assert f"folder/disk: {old} is never deleted by prune" in result.out
    aged.configure([folder_entry(), command_entry("date", name="date")], [target_entry(retention={"last": 2})])
    result = aged.run("prune", "-n")
    assert f"keep {old}: kept by hand: before the move to the new server" in result.out
    aged.run("prune")
    assert aged.names() == [*sorted(nights_named(2), reverse=True), old]
    assert "complete, kept" in aged.run("list").out
    assert [each["kept"] for each in aged.run("list", "--json").json] == [False, False, True]
    aged.run("keep", old, "--release")
    assert not list((aged.backups / JOB).glob("*.keep"))
    aged.run("prune")
    assert aged.names() == sorted(nights_named(2), reverse=True)


def nights_named(count: int) -> list[str]:
    return [moment.strftime("%Y-%m-%dT%H%M%SZ") for moment in nights(count)]


def test_a_run_can_keep_its_backup_from_the_start(site: Site) -> None:
    site.fill()
    site.configure(targets=[target_entry(retention={"last": 1})])
    kept = site.backup("--keep", "before the upgrade")
    for _ in range(2):
        site.backup()
    assert len(site.names()) == 2
    assert site.names()[-1] == kept
    assert (site.backups / JOB / f"{kept}.keep").read_text() == "before the upgrade"


def test_only_and_target_choose_what_runs_and_where_to(site: Site) -> None:
    site.fill()
    site.private.append(site.folder / "stick")
    site.configure(
        [folder_entry(), command_entry("date", name="date")], [target_entry(), target_entry("stick", name="stick")]
    )
    name = site.backup("--only", "date", "--target", "disk")
    assert not (site.folder / "stick").exists()
    assert site.listed("--target", "disk") == [(name, "partial")]
    folder = site.backups / JOB / name
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["command", "pickup"]
    assert "failed or were not asked for: files." in (folder / "RESTORE.txt").read_text()
    name = site.backup("--only", "date", "--only", "files")
    assert site.listed("--target", "stick") == [(name, "complete")]


@pytest.mark.parametrize("retention", [None, {"last": 3}])
def test_a_disk_that_is_not_mounted_is_noticed_though_its_folder_is_there(
    site: Site, retention: dict[str, int] | None
) -> None:
    """T34: the night's backup is stored where it should not be, and a warning says so."""
    site.fill()
    site.configure(targets=[target_entry(retention=retention)])
    assert site.run("-q").err == ""
    site.backups.rename(site.folder / "unmounted")
    site.backups.mkdir(mode=0o700)
    result = site.run("-q", status=1)
    assert result.problems == (
        f"WARNING: TARGETS[0] 'disk' (folder): no backup of job {JOB} is there, though this machine has stored some\n"
        "Hint: is the disk mounted? See require_mount in its config\n"
    )


def test_a_place_from_which_all_was_deleted_is_no_disk_that_is_not_mounted(site: Site) -> None:
    site.fill()
    site.run("delete", site.backup(), "--even-last")
    assert site.run("-q").err == ""


def test_two_machines_that_write_one_job_are_told_and_nothing_is_pruned(aged: Site) -> None:
    """R19: a cloned machine; neither deletes what the other one made."""
    other = LAST_NIGHT + timedelta(days=1)
    name = copied_to(other, aged.backups / JOB / aged.names()[0], machine="0123456789abcdef")
    result = aged.run("-q", "prune", status=1)
    assert result.err == (
        f"WARNING: TARGETS[0] 'disk' (folder): {socket.gethostname()} writes backups of job {JOB} too, the last of them "
        f"{name} of {local_time(other)}: nothing is pruned. Hint: give each machine its own JOB; where this machine "
        "replaces that one, pickup.py prune --prune-anyway\n"
    )
    assert len(aged.names()) == 41


def test_a_manifest_that_cannot_be_believed_is_neither_counted_nor_deleted(aged: Site) -> None:
    """R7."""
    names = aged.names()
    path = aged.backups / JOB / f"{names[5]}.json"
    path.write_bytes(path.read_bytes().replace(b'"ok"', b'"no"', 1))
    result = aged.run("-q", "prune", status=1)
    assert f"{JOB}/{names[5]}.json is damaged: neither counted nor deleted" in result.err
    assert set(aged.names()) == {names[5], *_expected([name for name in names if name != names[5]])}


def test_an_unfinished_backup_is_shown_never_counted_and_cleared_after_a_day(site: Site) -> None:
    """T15, I3: by our mark; one that does not bear it stays."""
    site.fill()
    site.configure(targets=[target_entry(retention={"last": 5})])
    name = site.backup()
    old = copied_to(LAST_NIGHT, site.backups / JOB / name)
    foreign = copied_to(LAST_NIGHT - timedelta(days=1), site.backups / JOB / name)
    fresh = copied_to(moment_of(name) - timedelta(hours=2), site.backups / JOB / name)
    for each in (old, foreign, fresh):
        (site.backups / JOB / f"{each}.json").unlink()
    (site.backups / JOB / f".{old}.json.0123456789abcdef").touch(mode=0o600)
    (site.backups / JOB / foreign / "PICKUP.txt").unlink()
    assert dict(site.listed()) == {name: "complete", old: "unfinished", foreign: "unfinished", fresh: "unfinished"}
    assert "is unfinished and not verified" in site.run("verify", "all").out
    result = site.run()
    assert f"folder/disk: removed {JOB}/{old}, left by an upload that broke off" in result.out
    assert set(site.names()) == {site.names()[0], name, foreign, fresh}
    assert not list((site.backups / JOB).glob(".*"))


def test_a_prune_that_may_not_delete_one_backup_handles_the_others(aged: Site) -> None:
    """R11: here by an immutable file; exit 1 names the backup, and it is a whole one or gone from the list."""
    victim = next(name for name in aged.names() if name not in _expected(aged.names()))
    marker = aged.backups / JOB / f"{victim}.json"
    if not _made_immutable(marker):
        pytest.skip("this file system has no immutable files, or we are not root")
    try:
        result = aged.run("-q", "prune", status=1)
    finally:
        _made_immutable(marker, "-i")
    assert f"WARNING: TARGETS[0] 'disk' (folder): backup {JOB}/{victim} could not be deleted: " in result.err
    assert dict(aged.listed())[victim] == "complete"
    aged.run("verify", victim)
    aged.run("prune")
    assert victim not in aged.names()


def _made_immutable(path: Path, flag: str = "+i") -> bool:
    import subprocess

    return subprocess.run(["chattr", flag, path], check=False, capture_output=True).returncode == 0
