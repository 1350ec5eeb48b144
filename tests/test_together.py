"""`together`: calls at once, and what becomes of their failures and of a signal."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from pickup_core.together import at_most, at_work_on, together
from tests.builders import python


def test_calls_are_made_at_once_and_know_what_they_are_at_work_on() -> None:
    barrier, seen = threading.Barrier(3, timeout=10), set()

    def call() -> None:
        barrier.wait()  # breaks where the others are not there
        seen.add(at_work_on.get())

    together({"folder/a": call, "folder/b": call, "folder/c": call})
    assert seen == {"folder/a", "folder/b", "folder/c"}
    assert at_work_on.get() == ""


def test_a_single_call_is_made_here() -> None:
    seen = []
    together({"folder/a": lambda: seen.append(threading.current_thread())})
    assert seen == [threading.main_thread()]


def test_no_call_is_nothing() -> None:
    together({})


def test_the_first_failure_gets_out_when_all_have_ended() -> None:
    ended = []

    def fail(seconds: float, text: str) -> None:
        time.sleep(seconds)
        raise OSError(text)

    def last() -> None:
        time.sleep(0.3)
        ended.append(True)

    with pytest.raises(OSError, match="the first"):
        together({"a": lambda: fail(0.1, "the second"), "b": lambda: fail(0, "the first"), "c": last})
    assert ended == [True]


def test_a_signal_gets_out_when_all_have_ended(tmp_path: Path) -> None:
    script = """
        import os, signal, sys, threading, time
        from pickup_core.errors import Stopped, raise_if_stopped
        from pickup_core.together import together

        def stop(number, frame):
            Stopped.heard = Stopped(number)
            raise Stopped.heard

        def call(name):
            try:
                while True:
                    raise_if_stopped()
                    time.sleep(0.01)
            finally:
                time.sleep(0.2)
                print("ended", name, flush=True)

        signal.signal(signal.SIGTERM, stop)
        print("ready", flush=True)
        try:
            together({"a": lambda: call("a"), "b": lambda: call("b")})
        except Stopped:
            print("stopped", threading.active_count(), flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGTERM)
        lines = process.stdout.read().splitlines()
    assert sorted(lines[:2]) == ["ended a", "ended b"]
    assert lines[2:] == ["stopped 1"]


# With a limit


def test_what_ends_in_time_is_waited_for_and_what_goes_wrong_is_given_back() -> None:
    ended = []

    def slow() -> None:
        time.sleep(0.2)
        ended.append(True)

    def fail() -> None:
        raise OSError("gone")

    failures = at_most(20, {"slow": slow, "fails": fail, "leaves": lambda: sys.exit(3)})
    assert {name: repr(error) for name, error in failures.items()} == {
        "fails": "OSError('gone')",
        "leaves": "SystemExit(3)",
    }
    assert ended == [True]
    assert at_most(0, {}) == {}


def test_what_does_not_end_in_time_is_left_alone() -> None:
    """A hanging server costs no more than this: neither here, nor at the end of the process."""
    done = python(
        "import time\nfrom pickup_core.together import at_most\nbegan = time.monotonic()\n"
        "print(at_most(0.3, {'hangs': lambda: time.sleep(100), 'is quick': lambda: None}))\n"
        "print(0.3 <= time.monotonic() - began < 5)"
    )
    assert done.stdout == "{'hangs': TimeoutError('has not ended within 0.3 seconds')}\nTrue\n", done.stderr
    assert done.returncode == 0


def test_a_signal_is_heard_meanwhile() -> None:
    done = python(
        "import os, signal, threading, time\nfrom pickup_core.together import at_most\n"
        "def stop(number, frame): raise KeyError('heard')\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "began = time.monotonic()\n"
        "try: at_most(50, {'hangs': lambda: time.sleep(50)})\n"
        "except KeyError: print(time.monotonic() - began < 5)"
    )
    assert done.stdout == "True\n", done.stderr
