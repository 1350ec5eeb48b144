"""One child process: as whom it runs, what it is given, how it is ended, and what it leaves behind."""

import contextlib
import io
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from pickup_core.child import Child, Deadline, Terms, uninterrupted
from pickup_core.errors import Stopped
from pickup_core.process import feed, output_of
from pickup_core.secret import Secret
from tests.builders import NOBODY, as_ordinary_user, ordinary_folder
from tests.test_process import all_of, failure_of, is_gone, processes_of, sh, wait_until

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
UNKNOWN = 3_999_999_999


def said_by(code: str, terms: Terms) -> str:
    return all_of(output_of(sh(code), terms=terms)).decode().strip()


# As whom it runs


@needs_root
@pytest.mark.parametrize("user", ["nobody", NOBODY])
def test_a_command_runs_as_the_user_who_is_named(user: str | int) -> None:
    ids = "grep -E '^(Uid|Gid|Groups):' /proc/self/status | tr -s '\\t ' ' '"
    lines = said_by(ids, Terms(user=user)).splitlines()
    assert [line.strip() for line in lines] == [
        f"Uid: {NOBODY} {NOBODY} {NOBODY} {NOBODY}", f"Gid: {NOBODY} {NOBODY} {NOBODY} {NOBODY}", f"Groups: {NOBODY}"
    ]  # fmt: skip


@needs_root
def test_a_user_has_the_groups_that_the_system_gives() -> None:
    """Not ours: root's groups would open what the user may not read."""
    before = os.getgroups()
    os.setgroups([0, 4, 42])
    try:
        assert set(os.getgroups()) == {0, 4, 42}, "or nothing is shown"
        for user in ("nobody", "www-data", "backup"):
            expected = subprocess.run(["id", "-G", user], capture_output=True, text=True, check=True).stdout
            assert set(said_by("id -G", Terms(user=user)).split()) == set(expected.split())
        assert said_by("id -G", Terms(user=UNKNOWN)) == str(NOBODY)
    finally:
        os.setgroups(before)


@needs_root
def test_a_user_may_not_do_what_only_root_may(tmp_path: Path) -> None:
    assert "Permission denied" in failure_of(["cat", "/etc/shadow"], terms=Terms(user="nobody"))
    assert "Permission denied" in failure_of(sh('echo x > "$1"', tmp_path / "x"), terms=Terms(user="nobody"))
    assert os.geteuid() == os.getuid() == 0


@needs_root
def test_a_user_gets_names_of_their_own_and_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """I6: the user may read the environment of a process that is theirs."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary-4720")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/root/agent")
    monkeypatch.setenv("TMPDIR", "/root/tmp")
    monkeypatch.setenv("LC_TIME", "C")
    monkeypatch.setenv("TZ", "UTC")
    terms = Terms(user="nobody", env={"PGAPPNAME": "pickup"})
    found = dict(
        line.split("=", 1) for line in all_of(output_of(["env", "-0"], terms=terms)).decode().split("\0") if line
    )
    home = Path("~nobody").expanduser()
    assert found.pop("LANG", "") == os.environ.get("LANG", "")
    assert {name: value for name, value in found.items() if not name.startswith("LC_")} == {
        "HOME": str(home), "USER": "nobody", "LOGNAME": "nobody", "TZ": "UTC", "PATH": os.environ["PATH"],
        "PGAPPNAME": "pickup",
    }  # fmt: skip
    assert found["LC_TIME"] == "C"
    assert "canary-4720" in said_by("env", Terms()), "we had it"


@needs_root
def test_a_number_that_has_no_name_is_a_user_too() -> None:
    assert said_by('echo $(id -u) $(id -g) "$HOME" "$USER"', Terms(user=UNKNOWN)) == f"{UNKNOWN} {NOBODY} / {UNKNOWN}"


@needs_root
def test_another_user_starts_at_the_root_or_where_the_terms_say() -> None:
    assert said_by("pwd", Terms(user="nobody")) == "/"
    with ordinary_folder() as folder:
        assert said_by("pwd", Terms(user="nobody", cwd=folder)) == str(folder)
    assert said_by("pwd", Terms(user="root")) == os.getcwd(), "who we are already"


@needs_root
def test_another_user_reads_what_is_handed_over() -> None:
    assert all_of(output_of(["cat"], terms=Terms(user="nobody", stdin=b"given"))) == b"given"
    with ordinary_folder() as folder:
        feed(sh('cat > "$1"', folder / "fed"), io.BytesIO(b"fed"), terms=Terms(user="nobody"))
        assert (folder / "fed").read_bytes() == b"fed"
        assert (folder / "fed").stat().st_uid == NOBODY


@needs_root
def test_another_user_inherits_no_descriptor_of_ours(tmp_path: Path) -> None:
    """G39: a file that root has open is not theirs to read."""
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        assert said_by("ls /proc/self/fd", Terms(user="nobody")).split() == ["0", "1", "2", "3"]


@needs_root
def test_what_runs_as_another_user_is_ended_with_its_group() -> None:
    """G8, G9"""
    with ordinary_folder() as folder:
        command = sh("echo $$ > $1/pid; sleep 1000 & exec sleep 1000", folder)
        assert "wrote nothing for 0.5 seconds" in failure_of(command, terms=Terms(user="nobody", stall=0.5))
        assert is_gone(folder / "pid")


@needs_root
def test_a_program_that_the_user_may_not_run_is_named_with_the_user(tmp_path: Path) -> None:
    """G1"""
    shim = tmp_path / "dump"
    shim.write_text("#!/bin/sh\necho dump\n")
    shim.chmod(0o700)
    assert all_of(output_of([shim])) == b"dump\n"
    message = failure_of([str(shim)], terms=Terms(user="nobody"))
    assert message == f"{shim} cannot be executed as user nobody: Permission denied"


def test_a_user_that_is_not_there_is_named() -> None:
    message = failure_of(["id"], terms=Terms(user="no-such-user"))
    assert message == "there is no system user 'no-such-user'\nHint: getent passwd lists them"


def test_only_root_can_name_another_user() -> None:
    done = as_ordinary_user(
        "import os\n"
        "from pickup_core.api import ProcessError, Terms, output_of, acting_as\n"
        "for user in ('root', os.getuid()):\n"
        "    try:\n"
        "        with output_of(['id', '-u'], terms=Terms(user=user)) as stream: print(stream.read(), stream.read())\n"
        "    except ProcessError as error: print(error)\n"
        "    try:\n"
        "        with acting_as(user): print('we are', os.geteuid() == os.getuid())\n"
        "    except ProcessError as error: print(error.message)\n"
    )
    uid = NOBODY if os.geteuid() == 0 else os.getuid()
    assert done.stdout.splitlines() == [
        "id cannot be run as user root: only root can change the user",
        "only root can act as user root",
        f"b'{uid}\\n' b''",
        "we are True",
    ], done.stderr


# How it is ended


def test_what_a_command_leaves_behind_costs_no_time_and_no_descriptor() -> None:
    """A daemon keeps standard error open; it may run on, for the command has ended well."""
    before = sorted(os.listdir("/proc/self/fd"))
    start = time.monotonic()
    left = int(all_of(output_of(sh("sleep 1000 > /dev/null < /dev/null & echo $!; echo last words >&2"))))
    try:
        assert time.monotonic() - start < 1
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("stderr of")]
        os.kill(left, 0)
        failed = failure_of(sh("sleep 1000 > /dev/null < /dev/null & echo $! >&2; echo words >&2; exit 3"))
        first, second = failed.splitlines()[1:]
        assert second == "  words", "all that was written before the end is kept"
    finally:
        os.kill(left, signal.SIGKILL)
    os.kill(int(first), signal.SIGKILL)


def test_who_is_left_behind_and_chats_on_is_not_listened_to() -> None:
    """I9"""
    chatter = "(while :; do echo chat >&2; done) > /dev/null < /dev/null & echo $!"
    start = time.monotonic()
    left = int(all_of(output_of(sh(chatter), terms=Terms(stall=5))))
    try:
        assert time.monotonic() - start < 3
        wait_until(
            lambda: not Path(f"/proc/{left}").exists() or "Z" in Path(f"/proc/{left}/stat").read_text().split()[2]
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)


@needs_root
@pytest.mark.parametrize(("program", "ends"), [("exec yes", True), ("echo $$; exec sleep 1000", False)])
def test_a_program_that_has_become_root_is_ended_or_it_is_said(program: str, ends: bool) -> None:
    """G41: as sudo does it, by a program with the setuid bit. It ends when its pipe closes; who never writes is named."""
    with ordinary_folder() as folder:
        sudo = folder / "sudo"
        shutil.copy(shutil.which("setpriv") or "", sudo)
        sudo.chmod(0o4755)
        assert sudo.stat().st_uid == 0
        done = as_ordinary_user(
            "import sys, logging\n"
            "from pickup_core import child\n"
            "from pickup_core.api import ProcessError, Terms, output_of\n"
            "logging.basicConfig(format='%(message)s')\n"
            "child._GRACE = 0.3\n"
            "source = output_of([sys.argv[1], '--reuid=0', '--', 'sh', '-c', 'id -u; ' + sys.argv[2]],"
            " terms=Terms(stall=0.5))\n"
            "try:\n"
            "    with source as stream:\n"
            "        first = stream.read(2)\n"
            "        print(first, source._children[0]._popen.pid, flush=True)\n"
            "        assert 'yes' in sys.argv[2] or [stream.read(), stream.read()]\n"
            "except ProcessError as error: print(error.message)\n",
            sudo,
            program,
        )
    first, outcome = done.stdout.splitlines()
    pid = int(first.split()[1])
    assert first.startswith("b'0\\n'"), f"it never became root: {done.stderr}"
    try:
        if ends:
            wait_until(lambda: not processes_of(pid))
            assert done.stderr == ""
            assert "was not read to its end" in outcome
        else:
            assert processes_of(pid)
            assert f"sudo (process {pid}) could not be ended and may still run" in done.stderr
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    """G1"""
    (tmp_path / "dump").write_bytes(b"\x7fELF, but not really")
    (tmp_path / "dump").chmod(0o755)
    assert failure_of([str(tmp_path / "dump")]) == f"{tmp_path}/dump cannot be executed: Exec format error"


def test_arguments_that_are_too_long_are_said() -> None:
    assert failure_of(["echo", "x" * 2**18]) == "echo cannot be executed: Argument list too long"


def test_to_end_a_child_twice_or_one_that_has_ended_does_nothing() -> None:
    terms = Terms()
    child = Child(["true"], subprocess.DEVNULL, subprocess.PIPE, terms)
    assert child.wait(Deadline(terms, "true")) == 0
    child.end()
    child.end()
    assert child.stdout.closed


def test_a_signal_while_a_child_starts_is_heard_once_it_is_known() -> None:
    """K1"""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGTERM, stop)
    steps = []

    def interrupted() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        return "went on"

    try:
        with pytest.raises(Stopped), uninterrupted():
            steps.append(interrupted())
        assert signal.getsignal(signal.SIGTERM) is stop
    finally:
        signal.signal(signal.SIGTERM, before)
    assert steps == ["went on"]


def test_terms_are_compared_and_shown_without_their_secrets() -> None:
    terms = Terms(env={"PGPASSWORD": Secret("canary-4721")}, user="postgres")
    assert "canary" not in repr(terms)
    assert terms == Terms(env={"PGPASSWORD": Secret("canary-4721")}, user="postgres")
