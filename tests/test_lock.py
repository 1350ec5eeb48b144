"""One run per job on a host at a time, whatever ends its holder."""

import fcntl
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pickup_core.errors import ConfigError, ExitCode, LockedError
from pickup_core.lock import job_lock
from pickup_core.process import output_of
from tests.builders import ROOT, moment, python

STARTED = moment("2026-11-23 03:15:02")

HOLDER = f"""
import sys, time
sys.path.insert(0, {str(ROOT)!r})
from datetime import datetime, timezone
from pathlib import Path
from pickup_core.lock import job_lock
with job_lock(Path(sys.argv[1]), "web01", datetime(2026, 11, 23, 3, 15, 2, tzinfo=timezone.utc)):
    print("held", flush=True)
    time.sleep(60)
"""


def holder_of(folder: Path) -> "subprocess.Popen[str]":
    """Start a process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def ended(process: "subprocess.Popen[str]", number: int) -> None:
    process.send_signal(number)
    process.communicate(timeout=20)


def test_a_second_holder_is_told_who_is_at_work_and_since_when(tmp_path: Path) -> None:
    """C1, C3."""
    process = holder_of(tmp_path)
    try:
        with pytest.raises(LockedError) as caught, job_lock(tmp_path, "web01", STARTED):
            pass
    finally:
        ended(process, signal.SIGTERM)
    assert caught.value.exit_code == ExitCode.LOCKED
    said = f"another run of job web01 is at work: process {process.pid}, started 2026-11-23T03:15:02+00:00"
    assert caught.value.message.startswith(said)
    assert caught.value.hint == "wait for its end, as pickup.py run --wait 2h does"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_holder_leaves_nothing_in_the_way(tmp_path: Path, number: int) -> None:
    """C2, I8, C8: the kernel lets go of the lock; what the file says of an old process id does not matter."""
    ended(holder_of(tmp_path), number)
    assert (tmp_path / "web01.lock").read_text().startswith("process ")
    with job_lock(tmp_path, "web01", STARTED):
        assert (tmp_path / "web01.lock").read_text().startswith(f"process {os.getpid()}, ")


RACER = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from datetime import datetime, timezone
from pathlib import Path
from pickup_core.errors import LockedError
from pickup_core.lock import job_lock
folder, won, lost = Path(sys.argv[1]), 0, 0
while won < 50:
    try:
        with job_lock(folder, "web01", datetime.now(timezone.utc)):
            os.close(os.open(folder / "inside", os.O_CREAT | os.O_EXCL))
            time.sleep(0.001)
            os.unlink(folder / "inside")
        won += 1
    except LockedError as error:
        lost += 1
        assert "process " in str(error) or "another process" in str(error), error
    time.sleep(0.0005)
print(lost)
"""


def test_two_at_once_never_hold_it_together(tmp_path: Path) -> None:
    """C1: fifty times each; who is inside makes a file that must not be there."""
    words = [sys.executable, "-c", RACER, str(tmp_path)]
    racers = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    results = [racer.communicate(timeout=60)[0] for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sum(map(int, results)) > 0, "they never met, so nothing was proved"


def test_jobs_do_not_lock_each_other(tmp_path: Path) -> None:
    """C7."""
    with job_lock(tmp_path, "web01", STARTED), job_lock(tmp_path, "web02", STARTED):
        assert {path.name for path in tmp_path.iterdir()} == {"web01.lock", "web02.lock"}


def test_waiting_ends_with_the_holder(tmp_path: Path) -> None:
    """C3."""
    process = holder_of(tmp_path)
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill {process.pid}"])
    start = time.monotonic()
    with job_lock(tmp_path, "web01", STARTED, wait=30):
        assert 0.2 < time.monotonic() - start < 10
    killer.wait()
    process.communicate()


def test_waiting_is_bounded(tmp_path: Path) -> None:
    """C3, I9."""
    process = holder_of(tmp_path)
    start = time.monotonic()
    try:
        with pytest.raises(LockedError), job_lock(tmp_path, "web01", STARTED, wait=0.3):
            pass
    finally:
        ended(process, signal.SIGKILL)
    assert 0.3 <= time.monotonic() - start < 10


def test_the_lock_is_free_again_after_an_error(tmp_path: Path) -> None:
    def fail() -> None:
        with job_lock(tmp_path, "web01", STARTED):
            raise ValueError("inside")

    for _ in range(2):
        with pytest.raises(ValueError, match="inside"):
            fail()


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    """C9, G39: the descriptor ends where another program begins."""
    with job_lock(tmp_path, "web01", STARTED):
        with output_of(["readlink", "-f", *(f"/proc/self/fd/{number}" for number in range(30))]) as stream:
            seen = b"".join(iter(stream.read, b""))
        orphan = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert b"web01.lock" not in seen
        with job_lock(tmp_path, "web01", STARTED):
            pass
    finally:
        orphan.kill()
        orphan.wait()


def test_the_lock_file_and_its_folder_are_private(tmp_path: Path) -> None:
    """I7."""
    before = os.umask(0)
    try:
        with job_lock(tmp_path / "state", "web01", STARTED):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "state/web01.lock").stat().st_mode) == 0o600


def cannot_lock(folder: Path) -> str:
    with pytest.raises(ConfigError) as caught, job_lock(folder, "web01", STARTED):
        pass
    return caught.value.message


def test_a_lock_file_is_never_a_link(tmp_path: Path) -> None:
    """C4: what it leads to would be overwritten."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "web01.lock").symlink_to("precious")
    assert cannot_lock(tmp_path) == f"lock file {tmp_path}/web01.lock cannot be used: Too many levels of symbolic links"
    assert (tmp_path / "precious").read_text() == "precious"


def test_a_folder_is_no_lock_file(tmp_path: Path) -> None:
    """C4."""
    (tmp_path / "web01.lock").mkdir()
    assert cannot_lock(tmp_path) == f"lock file {tmp_path}/web01.lock cannot be used: Is a directory"


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_a_state_folder_that_others_can_write_is_refused(tmp_path: Path, mode: int) -> None:
    """C4: anybody could hold the lock."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(mode)
    assert re.search("can be written by others|everybody shares", cannot_lock(tmp_path / "state"))


def test_a_lock_that_cannot_be_asked_for_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """C4: as on NFS without locks; no file system here has that, so the system call is made to say so."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(ConfigError) as caught, job_lock(tmp_path, "web01", STARTED):
        pass
    assert caught.value.message == f"lock file {tmp_path}/web01.lock cannot be locked: No locks available"
    assert caught.value.hint == "put STATE_FOLDER on a local disk"


def test_a_full_disk_does_not_keep_a_run_from_its_lock(tmp_path: Path) -> None:
    """S1, C1: who holds it cannot be told then, but one at a time it is."""
    code = f"""
import resource
from datetime import datetime, timezone
from pathlib import Path
from pickup_core.errors import LockedError
from pickup_core.lock import job_lock
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
folder, now = Path({str(tmp_path)!r}), datetime.now(timezone.utc)
with job_lock(folder, "web01", now):
    print(Path(folder / "web01.lock").stat().st_size)
    try:
        with job_lock(folder, "web01", now):
            print("twice")
    except LockedError as error:
        print(error.message)
"""
    done = python(code)
    assert done.stdout == "0\nanother run of job web01 is at work: another process\n", done.stderr
