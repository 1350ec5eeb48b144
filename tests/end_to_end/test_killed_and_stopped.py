"""Ended in the middle: by a signal that can be heard, and by one that cannot. What was finished stays whole."""

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.aging import copied_to, moment_of, nights
from tests.end_to_end.command import (
    JOB,
    Code,
    Site,
    end,
    folder_entry,
    is_running,
    shell_entry,
    target_entry,
    wait_until,
)

RANDOM_SIGNALS = 12
SYSTEM_CALLS = ("mkdir", "openat", "write", "linkat", "fsync", "rename", "unlink", "unlinkat", "rmdir", "ftruncate")
"""The calls that change a disk."""
SAMPLE = 2
"""How many moments of some are tried in a quick run, spread over all; a slow one tries all of all."""
SITES = 3
"""How many sites take turns, so that none has to wait until the second in its last backup's name has passed."""

SLOW_TARGET = '''
"""A folder that holds up every upload once its files are there, until it is let go on."""

import time
from collections.abc import Iterator
from pathlib import Path

from target_profiles import folder

API_VERSION = (1, 0)


class Config(folder.Config):
    flag: Path


class Target(folder.Target):
    def put_folder(self, local, path, without=()):
        super().put_folder(local, path, without)
        self.config.flag.write_text("here")
        while self.config.flag.exists():
            time.sleep(0.01)
'''


@pytest.fixture
def two_by_two(site: Site) -> Site:
    """A site with two generators and two targets, one of them with a retention policy, and four backups at both."""
    return _prepared(site)


@pytest.fixture
def in_turns(tmp_path: Path) -> Iterator[list[Site]]:
    """Several of these, the last one without a staging area."""
    sites = [Site(tmp_path / f"site{number}") for number in range(SITES)]
    yield [_prepared(site) for site in sites[:-1]] + [_prepared(sites[-1], STAGING_AREA=None)]
    for site in sites:
        site.look_over()
        assert not site.processes()


def _prepared(site: Site, **settings: object) -> Site:
    site.fill({f"{number}.txt": f"{number}\n" * 100 for number in range(30)})
    site.private.append(site.folder / "second")
    site.configure(
        [folder_entry(), shell_entry("date; seq 1 20000")],
        [target_entry(retention={"last": 3}), target_entry("second", name="stick")],
        **settings,
    )
    name = site.backup()
    for moment in nights(3):
        for target in (site.backups, site.folder / "second"):
            copied_to(moment, target / JOB / name)
    return site


def _let_the_second_pass(site: Site) -> None:
    """Wait until a run need not wait itself: no two backups may have the name of the same second."""
    last = moment_of(site.names()[0]).timestamp()
    time.sleep(max(0.0, last + 1.01 - time.time()))


def _see_that_all_is_whole(site: Site, known: set[str], what: str) -> None:
    """See that what was finished is whole, that nothing else counts, and that the next run works and cleans up."""
    results = site.run("verify", "all", "--json", status=None)
    assert (results.status, results.err) == (0, ""), f"{what}\n{results}"
    states = {(each["target"], each["backup"]): each["status"] for each in results.json}
    assert set(states.values()) <= {"whole", "unfinished"}, f"{what}: {states}"
    lost = {name for name in known if states.get(("stick", name)) != "whole"}
    assert not lost, f"{what}: {lost} were finished and are not any more"
    known |= {name for (target, name), status in states.items() if target == "stick" and status == "whole"}
    listed = {(each["target"], each["backup"]): each["status"] for each in site.run("list", "--json").json}
    assert {place for place, status in listed.items() if status == "complete"} == {
        place for place, status in states.items() if status == "whole"
    }, what
    assert len([place for place, status in states.items() if place[0] == "disk" and status == "whole"]) >= 3, what
    after = site.run("-q", status=None)
    assert (after.status, after.err) == (0, ""), f"the next run after {what}\n{after}"
    left = [path for path in site.staging.glob("run-*") if any(path.iterdir())]
    assert not left, f"{what}: {left}"


@pytest.mark.parametrize("kills", [40, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.timeout(1200)
def test_killed_at_random_moments_nothing_is_lost_and_nothing_half_counts(
    in_turns: list[Site], seed: int, kills: int
) -> None:
    """K4, C2, I1, I2, I8."""
    dice, killed = random.Random(seed), 0
    known = [set(site.names()) for site in in_turns]
    duration = _duration_of_a_run(in_turns[0])
    for turn in range(kills):
        site, wait = in_turns[turn % SITES], dice.uniform(0.2, 1.0) * duration
        _let_the_second_pass(site)
        process = site.start("-q")
        time.sleep(wait)
        process.kill()
        out, err = process.communicate(timeout=20)
        killed += process.returncode == -9
        duration *= 0.8 if process.returncode == 0 else 1  # the machine has become faster
        assert process.returncode in (0, -9), (out, err)
        if turn % 8 == 0 or turn >= kills - SITES:
            what = f"kill {turn} after {wait:.3f} s, PICKUP_SEED={seed}"
            _see_that_all_is_whole(site, known[turn % SITES], what)
    assert killed > kills / 2


def _duration_of_a_run(site: Site) -> float:
    _let_the_second_pass(site)
    before = time.monotonic()
    site.run("-q")
    return time.monotonic() - before


@pytest.mark.parametrize("call", ["mkdir", "write", "linkat", "fsync", "rename", "unlinkat"])
def test_killed_before_a_system_call_nothing_is_lost_and_nothing_half_counts(two_by_two: Site, call: str) -> None:
    """K4, I1, I2, I8: a sample of all calls that change the disk; each kill is seen to have come."""
    _kill_at(two_by_two, call, SAMPLE)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("call", SYSTEM_CALLS)
def test_killed_before_every_system_call_nothing_is_lost_and_nothing_half_counts(two_by_two: Site, call: str) -> None:
    """K4, I1, I2, I8: all of them."""
    _kill_at(two_by_two, call, None)


def _kill_at(site: Site, call: str, sample: int | None) -> None:
    """One target is served in the main thread, so that each run makes the same calls in the same order."""
    known, killed, trace = set(site.names()), 0, site.folder / "trace"
    site.run("-q")  # from now on the manifests are in the cache, and each run makes the same calls
    site.prefix = ["strace", "-qq", "-o", str(trace), "-e", "trace=openat," + call]
    _let_the_second_pass(site)
    site.run("-q", "--target", "disk")
    moments = _moments_of_the_run(trace, call)
    assert moments, f"a run makes no call of {call}"
    if sample is not None:
        moments = sorted({moments[len(moments) * number // sample] for number in range(sample)})
    for when in moments:
        inject = f"inject={call}:signal=KILL:when={when}"
        site.prefix = ["strace", "-qq", "-o", "/dev/null", "-e", inject]
        _let_the_second_pass(site)
        process = site.start("-q", "--target", "disk")
        out, err = process.communicate(timeout=30)
        site.prefix = ()
        assert process.returncode in (0, -9), (inject, out, err)
        killed += process.returncode == -9  # the last ones do not come where a run has one file less to delete
        site.look_over()
        _see_that_all_is_whole(site, known, inject)
    assert killed >= len(moments) - len(moments) // 3


def _moments_of_the_run(trace: Path, call: str) -> list[int]:
    """Give the numbers of the calls that come after the lock was opened; before it nothing of ours is written."""
    seen, moments, has_begun = 0, [], False
    for line in trace.read_text().splitlines():
        seen += line.startswith(f"{call}(")
        has_begun = has_begun or f"{JOB}.lock" in line
        if has_begun and line.startswith(f"{call}(") and (call != "openat" or "O_CREAT" in line):
            moments.append(seen)
    return moments


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_stopped_while_it_generates_leaves_nothing_behind(site: Site, number: signal.Signals) -> None:
    """K1, G9: the child and its child are gone, the staging area is empty, the earlier backup is whole."""
    site.fill()
    good = site.backup()
    pids = site.folder / "pids"
    site.configure([folder_entry(), shell_entry(f"sleep 1000 & echo $$ $! > {pids}; wait")])
    process = site.start("-q")
    wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"), "the children are at work")
    process.send_signal(number)
    result = site.finish(process)
    assert result.status == 128 + number
    assert result.problems == f"ERROR: stopped by {number.name}\n"
    wait_until(lambda: not any(is_running(int(pid)) for pid in pids.read_text().split()), "the children are gone", 5)
    assert not list(site.staging.iterdir())
    assert site.listed() == [(good, "complete")]
    site.run("verify", "all")
    site.configure()
    site.run("-q")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_stopped_while_it_publishes_takes_back_what_it_brought(
    site: Site, number: signal.Signals
) -> None:
    """K1: no unfinished backup stays, the staging area is empty, the earlier backup is whole."""
    site.fill()
    good = site.backup()
    flag = site.folder / "flag"
    _write_profile(site, "slow", SLOW_TARGET)
    slow = {"name": "disk", "profile": "slow", "config": {"path": "backups", "flag": str(flag)}}
    site.configure(targets=[slow])
    process = site.start("-q")
    wait_until(flag.exists, "the files are there")
    assert len(site.names()) == 2
    process.send_signal(number)
    result = site.finish(process)
    flag.unlink()
    assert result.status == 128 + number
    assert site.names() == [good]
    assert not list(site.staging.iterdir())
    site.configure()
    assert site.listed() == [(good, "complete")]
    site.run("verify", "all")
    site.run("-q")


def test_a_run_that_is_stopped_while_it_serves_several_targets_stops_all_of_them(site: Site) -> None:
    """K1: no unfinished backup stays at any of them."""
    site.fill()
    site.private.append(site.folder / "second")
    site.configure(targets=[target_entry(), target_entry("second", name="stick")])
    good = site.backup()
    (site.source / "large").write_bytes(os.urandom(10_000_000))
    slow = {"bandwidth": 500}  # it would take 20 s
    site.configure(targets=[target_entry(**slow), target_entry("second", name="stick", **slow)])
    process, start = site.start("-q"), time.monotonic()
    for place in (site.backups, site.folder / "second"):
        wait_until(lambda place=place: len(list(place.glob(f"{JOB}/*/folder"))) == 2, "the upload has begun")
    process.send_signal(signal.SIGTERM)
    result = site.finish(process)
    assert time.monotonic() - start < 15
    assert result.status == 128 + signal.SIGTERM
    assert result.problems == "ERROR: stopped by SIGTERM\n"
    assert not list(site.staging.iterdir())
    for place in (site.backups, site.folder / "second"):
        assert sorted(path.name for path in (place / JOB).iterdir()) == [good, f"{good}.json"]
    site.run("verify", "all")


CLEARS_UP = """
from pathlib import Path
from pickup_core.api import text_of
HERE = Path(__file__).parent
def clear_up():
    text_of(["touch", str(HERE / "cleared")])
    text_of(["sh", "-c", "exit 3"])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_calls_what_clears_up(site: Site, number: signal.Signals) -> None:
    """K1: and what goes wrong there is told too."""
    flag = site.folder / "flag"
    entry = {**shell_entry(f"touch {flag}; sleep 1000"), "after": Code("clear_up")}
    site.configure([entry], head=CLEARS_UP)
    process = site.start("-q")
    wait_until(flag.exists, "the child is at work")
    process.send_signal(number)
    result = site.finish(process)
    assert result.status == 128 + number
    assert (site.folder / "cleared").exists()
    assert "(command): after failed: sh ended with status 3" in result.err
    assert result.err.startswith(f"web: backup failed: stopped by {number.name}\n")
    assert not list(site.staging.iterdir())


@pytest.mark.timeout(600)
def test_a_run_that_is_stopped_at_random_moments_says_so_and_cleans_up(in_turns: list[Site], seed: int) -> None:
    """K1, in each phase: 128+N or done, a line on stderr, no child, an empty staging area, no unfinished backup."""
    dice, stopped = random.Random(seed), 0
    known = [set(site.names()) for site in in_turns]
    duration = _duration_of_a_run(in_turns[0])
    for turn in range(RANDOM_SIGNALS):
        site, wait = in_turns[turn % SITES], dice.uniform(0.3, 1.0) * duration
        number = dice.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        what = f"{number.name} {turn} after {wait:.3f} s, PICKUP_SEED={seed}"
        _let_the_second_pass(site)
        before = set(site.names())
        process = site.start("-q")
        time.sleep(wait)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
        if process.returncode in (-number, 1):  # before Python, or before Pickup listened
            continue
        assert process.returncode in (0, 128 + number), (what, out, err)
        stopped += process.returncode != 0
        assert bool(err) == bool(process.returncode), (what, out, err)
        assert not list(site.staging.glob("run-*/PICKUP-STAGING")), what
        unfinished = {name for name, status in site.listed() if status != "complete"}
        assert unfinished <= before, f"{what}: {unfinished}"  # what was being pruned may be gone half-way
    assert stopped, "no signal came in time"
    for site, names in zip(in_turns, known, strict=True):
        _see_that_all_is_whole(site, names, f"all signals, PICKUP_SEED={seed}")


def test_a_child_that_is_just_being_started_is_ended_too(site: Site) -> None:
    """K1: the signal comes when the child runs and Pickup has not yet been told its number."""
    pid = site.folder / "pid"
    site.configure([shell_entry(f"echo $$ > {pid}; exec sleep 1000")])
    site.prefix = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=clone,clone3:delay_exit=1500000:when=1"]
    process = site.start("-q")
    wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the child is at work")
    (tracee,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    threads = list(Path(f"/proc/{tracee}/task").iterdir())
    os.kill(int(tracee), signal.SIGTERM)
    result = site.finish(process)
    assert len(threads) <= 2, "the child was started long before"
    assert result.status == 128 + signal.SIGTERM
    try:
        wait_until(lambda: not is_running(int(pid.read_text())), "the child is gone", 5)
    finally:
        end(int(pid.read_text()))


def test_a_second_signal_ends_a_run_at_once(site: Site) -> None:
    """K2: while it waits for a child that does not want to end; the state is consistent."""
    site.fill()
    good = site.backup()
    pid = site.folder / "pid"
    site.configure([folder_entry(), shell_entry(f"trap '' TERM; echo $$ > {pid}; while :; do sleep 1; done")])
    process = site.start("-q")
    wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the child is at work")
    try:
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        before = time.monotonic()
        process.communicate(timeout=20)
        assert process.returncode == 128 + signal.SIGINT
        assert time.monotonic() - before < 2
    finally:
        end(int(pid.read_text()))
    site.configure()
    assert site.listed() == [(good, "complete")]
    site.run("-q")
    assert not list(site.staging.iterdir())


@pytest.mark.slow
def test_a_child_that_does_not_want_to_end_is_killed(site: Site) -> None:
    """G9: SIGTERM to the group, and SIGKILL after ten seconds; also where its child ignores it too."""
    pids = site.folder / "pids"
    stubborn = f"trap '' TERM; (trap '' TERM; exec sleep 1000) & echo $$ $! > {pids}; echo x; while :; do sleep 1; done"
    site.fill()
    site.configure([shell_entry(stubborn, stall=1), folder_entry()])
    before = time.monotonic()
    result = site.run("-q", status=2)
    assert "sh wrote nothing for 1 seconds and was stopped" in result.err
    assert 10 < time.monotonic() - before < 30
    assert not any(is_running(int(pid)) for pid in pids.read_text().split())
    assert [status for _, status in site.listed()] == ["partial"]


def test_a_restore_that_is_stopped_leaves_the_destination_as_it_was(site: Site) -> None:
    """K1: while it unpacks; nothing is left of it, not even the folder."""
    site.fill({"noise": os.urandom(30_000_000)})
    site.configure(COMPRESSION="none")
    site.backup()
    to = site.folder / "to"
    process = site.start("restore", "--to", to)
    wait_until(lambda: list(to.glob(".pickup-*/*")), "it is at work")
    process.send_signal(signal.SIGTERM)
    result = site.finish(process)
    assert result.status == 128 + signal.SIGTERM, result
    assert not to.exists()


def test_a_user_target_beside_the_config_that_goes_on_publishes_as_ever(site: Site) -> None:
    """The profile of the tests above does finish when it is let go on: it is the signal that stops it."""
    site.fill()
    flag = site.folder / "flag"
    _write_profile(site, "slow", SLOW_TARGET)
    site.configure(targets=[{"name": "disk", "profile": "slow", "config": {"path": "backups", "flag": str(flag)}}])
    process = site.start("-q")
    wait_until(flag.exists, "the files are there")
    flag.unlink()
    assert site.finish(process).status == 0
    assert [status for _, status in site.listed()] == ["complete"]


def _write_profile(site: Site, name: str, text: str) -> None:
    folder = site.folder / "target_profiles"
    folder.mkdir(mode=0o700)
    (folder / f"{name}.py").write_text(text)
    (folder / f"{name}.py").chmod(0o600)


def test_a_frozen_run_goes_on_where_it_was(site: Site) -> None:
    """K5: SIGSTOP in the middle and SIGCONT, here for two seconds."""
    site.fill({"noise": os.urandom(3_000_000)})
    site.configure([folder_entry(), shell_entry("sleep 0.5; date")])
    process = site.start("-q")
    wait_until(lambda: list(site.staging.glob("run-*/backup/folder")), "it is at work")
    process.send_signal(signal.SIGSTOP)
    time.sleep(2)
    process.send_signal(signal.SIGCONT)
    assert site.finish(process).status == 0
    site.run("verify")


def test_what_a_killed_run_left_at_a_target_is_not_listed_as_finished_and_goes_after_a_day(two_by_two: Site) -> None:
    """T31, T15: killed right before the manifest gets its name; the leftover's date is turned back by hand."""
    names = set(two_by_two.names())
    two_by_two.run("list")  # so that the manifests are in the cache, and the first rename is that of a new one
    two_by_two.prefix = [
        "strace",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "inject=rename,renameat,renameat2:signal=KILL:when=1",
    ]
    process = two_by_two.start("-q", "run", "--target", "disk")
    process.communicate(timeout=30)
    two_by_two.prefix = ()
    assert process.returncode == -9
    (left,) = set(two_by_two.names()) - names
    (temporary,) = (two_by_two.backups / JOB).glob(".*")
    assert dict(two_by_two.listed("--target", "disk"))[left] == "unfinished"
    old = "2020" + left[4:]
    folder = (two_by_two.backups / JOB / left).rename(two_by_two.backups / JOB / old)
    (folder / "PICKUP.txt").write_text((folder / "PICKUP.txt").read_text().replace(left, old))
    temporary.rename(temporary.with_name(temporary.name.replace(left, old)))
    result = two_by_two.run("run", "--target", "disk")
    assert f"removed {JOB}/{old}, left by an upload that broke off" in result.out
    assert not (two_by_two.backups / JOB / old).exists()
    assert not list((two_by_two.backups / JOB).glob(".*"))


def test_strace_and_the_tools_of_these_tests_are_here() -> None:
    missing = [tool for tool in ("strace", "setfacl", "flock", "sqlite3", "zstd") if shutil.which(tool) is None]
    assert not missing
    version = subprocess.run(["strace", "--version"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"version (\d+)", version)
