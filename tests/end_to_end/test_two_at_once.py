"""Two runs at once: one works, the other says who does."""

import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.end_to_end.command import JOB, Site, is_running, shell_entry, wait_until

ROUNDS = 20


@pytest.mark.timeout(600)
def test_of_two_runs_at_once_exactly_one_works_and_the_other_names_it(site: Site, tmp_path: Path) -> None:
    """C1, E9, I8: 20 times two processes; pid and start time are those of the one that works.

    Two sites take turns, so that none has to wait until the second in its last backup's name has passed.
    """
    sites = [site, Site(tmp_path / "other")]
    for each in sites:
        each.configure([shell_entry(f"until [ -e {each.folder}/flag ]; do sleep 0.01; done; echo done")])
    for turn in range(ROUNDS):
        _see_that_one_works(sites[turn % 2], f"turn {turn}")
    for each in sites:
        assert [status for _, status in each.listed()] == ["complete"] * (ROUNDS // 2)
        each.run("verify", "all")


def _see_that_one_works(site: Site, turn: str) -> None:
    flag = site.folder / "flag"
    flag.unlink(missing_ok=True)
    before = datetime.now(timezone.utc).replace(microsecond=0)
    two = [site.start("-q"), site.start("-q")]
    wait_until(lambda: any(process.poll() is not None for process in two), "one of the two gives way")
    flag.touch()
    winner, loser = sorted(two, key=lambda process: process.poll() is not None)
    refused, done = site.finish(loser), site.finish(winner)
    assert (done.status, refused.status) == (0, 4), f"{turn}: {done} {refused}"
    found = re.fullmatch(
        rf"ERROR: another run of job {JOB} is at work: process (\d+), started (\S+), .+\nHint: .*\n", refused.problems
    )
    assert found, refused
    assert int(found[1]) == winner.pid
    assert before <= datetime.fromisoformat(found[2]) <= datetime.now(timezone.utc)


def test_the_one_that_gives_way_never_names_the_holder_before(site: Site) -> None:
    """C1, C2: the holder is held up between taking the lock and writing its number into it."""
    site.fill()
    site.run("-q")
    former = (site.state / f"{JOB}.lock").read_text()
    site.prefix = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=pwrite64:delay_enter=1500000:when=1"]
    slow = site.start("-q")
    lock = site.state / f"{JOB}.lock"
    mark = f":{lock.stat().st_ino} "  # see proc(5): to try the lock could take it away from the run
    wait_until(lambda: mark in Path("/proc/locks").read_text(encoding="ascii"), "it has the lock")
    site.prefix = ()
    assert lock.read_text() == former, "the holder was not held up"
    refused = site.run("-q", status=4)
    assert site.finish(slow).status == 0
    holder = lock.read_text().partition(",")[0]
    assert former.partition(",")[0] != holder
    assert f"is at work: {holder}, started " in refused.err, refused


def test_the_lock_of_a_killed_run_is_free_at_once(site: Site) -> None:
    """C2, C9, I8: also where a child of it is still there, for children do not inherit the lock."""
    orphan = site.folder / "orphan"
    site.configure([shell_entry(f"echo $$ > {orphan}; exec sleep 1000")])
    killed = site.start("-q")
    wait_until(lambda: orphan.exists() and orphan.read_text().endswith("\n"), "the child is at work")
    killed.kill()
    assert killed.wait() == -9
    child = int(orphan.read_text())
    killed.stdout.close()  # type: ignore[union-attr]
    killed.stderr.close()  # type: ignore[union-attr]
    assert is_running(child)
    try:
        site.configure([shell_entry("date")])
        site.run("-q")
    finally:
        subprocess.run(["kill", "-9", str(child)], check=True)
        wait_until(lambda: not is_running(child), "the orphan is gone")


def test_two_jobs_on_one_machine_do_not_wait_for_each_other(site: Site) -> None:
    """C7: one staging area, one target, two jobs; neither touches what the other one has under way."""
    flag = site.folder / "flag"
    site.configure([shell_entry(f"until [ -e {flag} ]; do sleep 0.02; done; echo done")])
    first = site.start("-q")
    wait_until(lambda: list(site.staging.glob("run-*/scratch-*")), "the first job is at work")
    site.configure([shell_entry("date")], JOB="mail")
    site.run("-q")
    flag.touch()
    assert site.finish(first).status == 0
    jobs = site.run("list", "--all-jobs", "--json").json
    assert sorted((each["job"], each["status"]) for each in jobs) == [("mail", "complete"), (JOB, "complete")]


@pytest.mark.parametrize("kind", ["link", "folder", "read-only place"])
def test_a_lock_file_that_cannot_be_used_is_told(site: Site, kind: str) -> None:
    """C4: exit 3, nothing was done."""
    site.fill()
    site.state.mkdir(mode=0o700)
    lock = site.state / f"{JOB}.lock"
    if kind == "link":
        lock.symlink_to(site.folder / "elsewhere")
    elif kind == "folder":
        lock.mkdir(mode=0o700)
    else:
        lock = site.folder / "config.py/state"
        site.configure(STATE_FOLDER=str(lock))
    result = site.run("-q", status=3)
    assert str(lock) in result.err
    assert not site.backups.exists()
    assert not (site.folder / "elsewhere").exists()
