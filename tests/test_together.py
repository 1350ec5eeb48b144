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

from pickup_core.together import at_work_on, together


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
