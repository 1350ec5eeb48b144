"""Child processes as streams: real programs that end well, badly, never, or not alone."""

import contextlib
import hashlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pickup_core import child
from pickup_core.artefact import Judgement
from pickup_core.errors import ProcessError, Stopped
from pickup_core.lock import job_lock
from pickup_core.process import Output, Terms, failure, feed, output_of, require_program, text_of
from pickup_core.secret import Secret, secret_env
from pickup_core.store import BLOCK
from tests.builders import as_ordinary_user, ordinary_folder
from tests.places import REPOSITORY

STALL = 0.7


def sh(body: str, *arguments: object) -> list[str]:
    return ["sh", "-c", textwrap.dedent(body), "sh", *map(str, arguments)]


def all_of(source: Output, size: int = BLOCK) -> bytes:
    with source as stream:
        return b"".join(iter(lambda: stream.read(size), b""))


def failure_of(*commands: Sequence[str], **options: Any) -> str:
    """Read a source to its end, and give the message with which it then fails."""
    source = output_of(*commands, **options)
    with pytest.raises(ProcessError) as caught:
        all_of(source)
    assert not source.succeeded
    return str(caught.value)


def processes_of(group: int) -> list[str]:
    """Give the processes of a group that still run, and those of our own children that nobody has waited for."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                state, parent, its_group = (folder / "stat").read_text().rpartition(") ")[2].split()[:3]
                if int(its_group) == group and (state != "Z" or int(parent) == os.getpid()):
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
    return found


def pid_in(file: Path) -> int:
    return int(file.read_text())


def is_gone(file: Path, may_be_absent: bool = False) -> bool:
    """Wait until nothing is left of the group whose leader wrote its number into a file."""
    group = file.read_text().strip() if file.exists() else ""
    assert group or may_be_absent, "the leader has never run"
    if group:
        wait_until(lambda: not processes_of(int(group)))
    return True


def wait_until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < limit, "it never came to that"
        time.sleep(0.01)


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a program that does not hear SIGTERM have half a second, not ten."""
    assert child._GRACE == 10
    monkeypatch.setattr(child, "_GRACE", 0.5)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """After each test: no descriptor, no thread and no child more than before."""
    before = _open_descriptors(), set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before[1])
    assert _open_descriptors() == before[0]
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit():
                state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
                assert (state, int(parent)) != ("Z", os.getpid()), "nobody has waited for a child"


def _open_descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


# What goes well


def test_the_output_of_a_command_comes_byte_for_byte() -> None:
    assert all_of(output_of(["printf", r"a\0b\377\r\n"])) == b"a\0b\xff\r\n"


@pytest.mark.parametrize("size", [1, 100, BLOCK, -1])
def test_a_read_gives_no_more_than_was_asked_for(size: int) -> None:
    with output_of(["seq", "300"]) as stream:
        pieces = list(iter(lambda: stream.read(size), b""))
        assert stream.read(size) == b""
    assert b"".join(pieces) == b"".join(b"%d\n" % number for number in range(1, 301))
    assert size < 0 or max(map(len, pieces)) <= size


def test_output_larger_than_any_pipe_is_whole() -> None:
    size = 24 * 2**20 + 13
    source = output_of(["head", "-c", str(size), "/dev/zero"])
    assert hashlib.sha256(all_of(source)).digest() == hashlib.sha256(bytes(size)).digest()
    assert source.succeeded


def test_nothing_starts_before_the_with_is_entered(tmp_path: Path) -> None:
    source = output_of(["touch", str(tmp_path / "started")], allow_empty=True)
    time.sleep(0.05)
    assert not (tmp_path / "started").exists()
    assert all_of(source) == b""
    assert (tmp_path / "started").exists()


def test_arguments_reach_the_program_as_they_are() -> None:
    """G18: there is no shell between."""
    words = ["a b", "$(id)", "; rm -rf /", "`id`", "new\nline", "'", '"', "*", "", "größer", "\udcff"]
    expected = b"".join(os.fsencode(word) + b"\0" for word in words)
    assert all_of(output_of(["printf", r"%s\0", *words])) == expected


def test_a_command_may_hold_paths(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    assert all_of(output_of(["cat", tmp_path / "file"])) == b"1"


def test_a_command_runs_in_the_folder_that_is_named(tmp_path: Path) -> None:
    assert all_of(output_of(["pwd"], terms=Terms(cwd=tmp_path))) == os.fsencode(tmp_path.resolve()) + b"\n"


@pytest.mark.parametrize("size", [0, 1, 70_000, 8 * 2**20 + 1])
def test_a_command_reads_the_bytes_that_it_is_given(size: int) -> None:
    data = os.urandom(size)
    assert all_of(output_of(["cat"], allow_empty=True, terms=Terms(stdin=data))) == data


def test_bytes_that_a_command_does_not_read_stop_nothing() -> None:
    assert all_of(output_of(["echo", "done"], terms=Terms(stdin=bytes(2**22)))) == b"done\n"


def test_several_commands_are_a_pipe() -> None:
    data = os.urandom(3 * 2**20)
    source = output_of(["cat"], ["gzip", "-1"], ["gzip", "-dc"], ["cat"], terms=Terms(stdin=data))
    assert all_of(source) == data
    assert source.succeeded


# Programs that cannot be run


def test_a_program_that_is_not_there_is_named_with_the_path() -> None:
    """G1"""
    message = failure_of(["pg_dump-not-there", "-x"])
    assert "program pg_dump-not-there cannot be found in PATH" in message
    assert os.environ["PATH"] in message
    assert "Hint: install it" in message


def test_a_folder_of_the_path_that_is_closed_does_not_hide_what_is_the_matter() -> None:
    """G1: as an ordinary user, with root's PATH."""
    code = """
        import os, sys
        from pickup_core.errors import ProcessError
        from pickup_core.process import output_of
        os.environ["PATH"] = f"{sys.argv[1]}:/usr/bin:/bin"
        os.chmod(sys.argv[1], 0)
        for program in ("pg_dump-not-there", "echo"):
            try:
                with output_of([program, "found"]) as stream:
                    print(stream.read(), stream.read())
            except ProcessError as error:
                print(error.message)
    """
    with ordinary_folder() as folder:
        done = as_ordinary_user(textwrap.dedent(code), folder)
        folder.chmod(0o700)
    first, second = done.stdout.splitlines()
    assert first.startswith(f"program pg_dump-not-there cannot be found in PATH, which is {folder}:/usr/bin:/bin")
    assert second == "b'found\\n' b''"


def test_a_program_is_looked_for_on_the_path_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """G1"""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert str(tmp_path) in failure_of(["cat", "/etc/hostname"])
    with pytest.raises(ProcessError, match="program cat cannot be found in PATH"):
        require_program("cat")
    monkeypatch.delenv("PATH")
    assert Path(require_program("cat")).name == "cat"


@pytest.mark.parametrize("as_path", [True, False])
def test_a_program_that_may_not_be_executed_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, as_path: bool
) -> None:
    """G1: for root too."""
    shim = tmp_path / "pg_dump"
    shim.write_text("#!/bin/sh\necho dump\n")
    shim.chmod(0)
    monkeypatch.setenv("PATH", str(tmp_path))
    word = str(shim) if as_path else "pg_dump"
    message = failure_of([word])
    assert message.startswith(f"{word} cannot be executed: Permission denied" if as_path else "program pg_dump cannot")
    assert as_path or f"in PATH, which is {tmp_path}, or may not be executed" in message
    with pytest.raises(ProcessError, match="pg_dump cannot be found"):
        require_program(word)


@pytest.mark.parametrize("word", ["/nowhere/pg_dump", "script"])
def test_a_file_or_an_interpreter_that_is_not_there_is_said(tmp_path: Path, word: str) -> None:
    """G1"""
    (tmp_path / "script").write_text("#!/nowhere/python\n")
    (tmp_path / "script").chmod(0o755)
    word = str(tmp_path / word)
    assert f"{word} cannot be run: there is no such file, or not the interpreter" in failure_of([word])


def test_a_folder_to_run_in_that_is_not_there_is_named(tmp_path: Path) -> None:
    message = failure_of(["pwd"], terms=Terms(cwd=tmp_path / "absent"))
    assert message == f"folder {tmp_path}/absent, in which pwd should run, does not exist"


def test_where_the_second_program_is_not_there_the_first_is_ended(tmp_path: Path) -> None:
    """G11"""
    first = sh("echo $$ > $1; exec sleep 1000", tmp_path / "pid")
    message = failure_of(first, ["zstd-not-there"])
    assert "program zstd-not-there cannot be found" in message
    assert is_gone(tmp_path / "pid", may_be_absent=True)


# Programs that fail


def test_a_program_that_dies_half_way_fails_with_its_last_words() -> None:
    """G2: the bytes came, and leaving the source raises; 20 lines of standard error at most."""
    source = output_of(sh("echo half; for n in $(seq 30); do echo line $n >&2; done; exit 3"))
    read: list[bytes] = []
    with pytest.raises(ProcessError) as caught, source as stream:
        read += iter(lambda: stream.read(BLOCK), b"")
    assert read == [b"half\n"]
    assert str(caught.value) == "\n  ".join(["sh ended with status 3:", *(f"line {n}" for n in range(11, 31))])
    assert not source.succeeded


def test_one_line_of_standard_error_stands_beside_the_status() -> None:
    assert failure_of(sh("echo 'no such table' >&2; exit 1")) == "sh ended with status 1: no such table"
    assert failure_of(sh("exit 4")) == "sh ended with status 4"


def test_standard_error_that_is_no_text_is_shown_escaped() -> None:
    assert failure_of(sh(r"printf 'caf\351 \377\n' >&2; exit 1")) == r"sh ended with status 1: caf\xe9 \xff"


def test_a_program_that_is_killed_names_the_signal() -> None:
    """G3"""
    message = failure_of(sh("echo some; echo words >&2; kill -9 $$"))
    assert message == "sh was killed by signal 9 (out of memory?): words"
    assert failure_of(sh("kill -15 $$")) == "sh was killed by signal 15"


def test_a_program_that_writes_nothing_fails_unless_that_is_allowed() -> None:
    """G6"""
    assert failure_of(["true"]) == "true ended without an error, but wrote nothing"
    assert all_of(output_of(["true"], allow_empty=True)) == b""
    assert failure_of(["false"], allow_empty=True) == "false ended with status 1"


@pytest.mark.parametrize("size", [1, 4000, 4096, BLOCK - 9, BLOCK - 8, BLOCK, 3 * BLOCK])
def test_a_dump_without_its_last_lines_fails_though_its_program_is_content(size: int) -> None:
    """G4"""
    end = re.compile(rb"\n-- done\n\Z")
    whole = f"(head -c {size} /dev/zero; echo; echo '-- done')"
    assert len(all_of(output_of(sh(whole), end=end))) == size + 9
    missing = "sh ended without an error, but its last lines are missing"
    assert failure_of(sh(f"{whole} | head -c {size + 8}"), end=end) == missing
    assert failure_of(sh(f"{whole}; echo more"), end=end) == missing
    assert failure_of(["true"], end=end) == "true ended without an error, but wrote nothing"
    assert failure_of(sh(f"{whole}; exit 3"), end=end) == "sh ended with status 3"


def test_all_that_a_command_prints_comes_as_text() -> None:
    assert text_of(["printf", r"tea\n\377"]) == "tea\n\ufffd"
    assert text_of(["true"]) == ""
    assert text_of(["cat"], Terms(stdin=b"x" * BLOCK * 2)) == "x" * BLOCK * 2
    with pytest.raises(ProcessError, match="false ended with status 1"):
        text_of(["false"])


def test_a_failure_may_say_what_to_do() -> None:
    for lines in ([], ["one"], ["one", "two"]):
        assert failure("/bin/x", 1, lines, "drink tea").hint == "drink tea"
        assert failure("/bin/x", 1, lines).hint == ""


def test_a_status_counts_as_success_where_it_is_listed() -> None:
    """G35"""
    command = sh("echo some; exit 3")
    assert all_of(output_of(command, success_codes=(0, 3))) == b"some\n"
    assert failure_of(command, success_codes=[0, 2]) == "sh ended with status 3"
    assert failure_of(["echo"], success_codes=(3,)) == "echo ended with status 0"


@pytest.mark.parametrize(("position", "name"), [(0, "first"), (1, "second"), (2, "third")])
def test_in_a_pipe_the_status_of_each_command_counts(tmp_path: Path, position: int, name: str) -> None:
    """G11"""
    commands = []
    for number, each in enumerate(("first", "second", "third")):
        script = tmp_path / each
        script.write_text(f"#!/bin/sh\ncat\necho {each} >&2\nexit {7 if number == position else 0}\n")
        script.chmod(0o755)
        commands.append([str(script)])
    assert failure_of(*commands, terms=Terms(stdin=b"data")) == f"{name} ended with status 7: {name}"


def test_the_status_list_is_for_the_first_of_a_pipe_alone() -> None:
    """G35"""
    assert all_of(output_of(sh("echo some; exit 3"), ["cat"], success_codes=(3,))) == b"some\n"
    assert failure_of(sh("echo some; exit 3"), sh("cat; exit 3"), success_codes=(3,)) == "sh ended with status 3"


def test_where_the_compressor_dies_the_dump_ends_and_the_compressor_is_named(tmp_path: Path) -> None:
    """G11: the dump gets SIGPIPE, both statuses are seen, and the cause is what is said."""
    dump = sh("echo $$ > $1; exec yes", tmp_path / "pid")
    message = failure_of(dump, sh("head -c 100000 > /dev/null; echo 'no room' >&2; exit 28"))
    assert message == "sh ended with status 28: no room"
    assert is_gone(tmp_path / "pid")


def test_a_compressor_that_stops_reading_without_an_error_is_no_success() -> None:
    """G11"""
    assert failure_of(["yes"], ["head", "-c", "100000"]) == f"yes was killed by signal {signal.SIGPIPE:d}"


def test_a_source_that_is_not_read_to_its_end_has_failed() -> None:
    source = output_of(["yes"])
    with pytest.raises(ProcessError, match="the output of yes was not read to its end"), source as stream:
        assert stream.read(10) == b"y\n" * 5
    assert not source.succeeded


def test_an_exception_within_the_with_gets_out_and_ends_the_command(tmp_path: Path) -> None:
    error = RuntimeError("ours")
    source = output_of(sh("echo $$ > $1; echo x; exec sleep 1000", tmp_path / "pid"))
    start = time.monotonic()
    with pytest.raises(RuntimeError) as caught, source as stream:
        raise _after(stream.read(), error)
    assert caught.value is error
    assert time.monotonic() - start < 5
    assert is_gone(tmp_path / "pid")


# A judge


def test_a_judge_decides_in_place_of_the_status() -> None:
    seen = []

    def judge(status: int, lines: Sequence[str]) -> Judgement:
        seen.append((status, list(lines)))
        return Judgement(warnings=tuple(lines))

    source = output_of(sh("echo some; echo 'file changed' >&2; exit 1"), judge=judge, success_codes=(0,))
    assert all_of(source) == b"some\n"
    assert seen == [(1, ["file changed"])]
    assert source.judgement == Judgement(warnings=("file changed",))
    assert source.succeeded


def test_a_judge_may_tell_of_losses_or_raise() -> None:
    lossy = output_of(["echo"], judge=lambda status, lines: Judgement(losses=("one file",)))
    assert all_of(lossy) == b"\n"
    assert lossy.judgement.losses == ("one file",)

    def strict(status: int, lines: Sequence[str]) -> Judgement:
        raise ProcessError("of no use")

    assert failure_of(["echo"], judge=strict) == "of no use"


def test_a_judge_has_no_say_on_the_other_commands_nor_on_an_empty_output() -> None:
    lenient: Any = lambda status, lines: Judgement()  # noqa: E731
    assert failure_of(["echo"], sh("cat; exit 5"), judge=lenient) == "sh ended with status 5"
    assert failure_of(["false"], judge=lenient) == "false ended without an error, but wrote nothing"


# Programs that do not end


def test_a_program_that_writes_nothing_for_too_long_is_stopped(tmp_path: Path) -> None:
    """G8, I9: with all of its group."""
    command = sh("echo $$ > $1; sleep 1000 & sleep 1000", tmp_path / "pid")
    start = time.monotonic()
    assert failure_of(command, terms=Terms(stall=STALL)) == f"sh wrote nothing for {STALL} seconds and was stopped"
    assert STALL <= time.monotonic() - start < 5
    assert is_gone(tmp_path / "pid")


def test_a_program_that_stalls_after_some_output_is_stopped() -> None:
    """G8"""
    source = output_of(sh("echo some; exec sleep 1000"), terms=Terms(stall=STALL))
    with pytest.raises(ProcessError, match=f"wrote nothing for {STALL} seconds"), source as stream:
        raise AssertionError(stream.read(BLOCK), stream.read(BLOCK))


def test_a_group_that_does_not_hear_sigterm_is_killed(tmp_path: Path, short_grace: None) -> None:
    """G9: the program, its children and grandchildren all trap TERM, and none of them is left."""
    body = """
        trap '' TERM
        echo $$ > $1/leader
        sh -c 'trap "" TERM; sh -c "trap \\"\\" TERM; echo \\$\\$ > $0/grandchild; while :; do sleep 0.1; done" $0 &
               echo $$ > $0/child; while :; do sleep 0.1; done' $1 &
        while :; do sleep 0.1; done
    """
    source, seen = output_of(sh(body, tmp_path), terms=Terms(stall=1)), []

    def all_at_work() -> int:
        names = ("leader", "child", "grandchild")
        wait_until(lambda: all((tmp_path / name).exists() and (tmp_path / name).read_text() for name in names))
        return len(processes_of(pid_in(tmp_path / "leader")))

    with pytest.raises(ProcessError, match="wrote nothing for 1 seconds"), source as stream:
        raise AssertionError(seen.append(all_at_work()), stream.read())
    assert seen[0] >= 3
    assert is_gone(tmp_path / "leader")


def test_a_program_may_tidy_up_when_it_is_stopped(tmp_path: Path) -> None:
    """G8: SIGTERM comes first."""
    body = 'trap "echo tidy > $1; exit" TERM; echo ready; while :; do sleep 0.02; done'
    source = output_of(sh(body, tmp_path / "said"), terms=Terms(stall=STALL))
    with pytest.raises(ProcessError, match="wrote nothing"), source as stream:
        raise AssertionError(stream.read(), stream.read())
    assert (tmp_path / "said").read_text() == "tidy\n"


def test_all_of_a_pipe_is_ended_where_one_stalls(tmp_path: Path) -> None:
    """G8"""
    first = sh("echo $$ > $1/first; exec sleep 1000", tmp_path)
    second = sh("echo $$ > $1/second; exec cat", tmp_path)
    assert (
        failure_of(first, second, terms=Terms(stall=STALL)) == f"sh wrote nothing for {STALL} seconds and was stopped"
    )
    for name in ("first", "second"):
        assert is_gone(tmp_path / name)


def test_a_grandchild_that_holds_the_output_open_is_ended_too(tmp_path: Path) -> None:
    """G9: the program has ended, but not what it has started."""
    command = sh("echo $$ > $1; sleep 1000 & echo some", tmp_path / "pid")
    assert failure_of(command, terms=Terms(stall=STALL)) == f"sh wrote nothing for {STALL} seconds and was stopped"
    assert is_gone(tmp_path / "pid")


def test_a_program_that_closes_its_output_and_goes_on_is_stopped(tmp_path: Path) -> None:
    """I9"""
    command = sh("echo $$ > $1; echo some; exec sleep 1000 > /dev/null", tmp_path / "pid")
    assert failure_of(command, terms=Terms(stall=STALL)) == f"sh did not end within {STALL} seconds after its last byte"
    assert is_gone(tmp_path / "pid")


def test_a_time_limit_stops_a_program_that_writes_on() -> None:
    """I9"""
    start = time.monotonic()
    assert failure_of(["yes"], terms=Terms(timeout=0.4)) == "yes was stopped after 0.4 seconds, its time limit"
    assert failure_of(["yes"], ["cat"], terms=Terms(timeout=0.1)).startswith("yes | cat was stopped after 0.1 seconds")
    assert failure_of(["sleep", "1000"], terms=Terms(timeout=0.1)).startswith("sleep was stopped after 0.1 seconds")
    closed = sh("exec sleep 1000 > /dev/null")
    assert failure_of(closed, terms=Terms(timeout=0.1)).startswith("sh was stopped after 0.1 seconds")
    assert time.monotonic() - start < 10


def test_a_slow_program_is_not_a_stalled_one() -> None:
    command = sh("for n in 1 2 3 4 5 6; do sleep 0.3; echo $n; done")
    assert all_of(output_of(command, terms=Terms(stall=1.5))) == b"1\n2\n3\n4\n5\n6\n"


def test_the_stall_limit_counts_only_while_somebody_reads() -> None:
    """G8: a slow target is not the program's fault."""
    with output_of(["seq", "300000"], terms=Terms(stall=0.2)) as stream:
        read = stream.read(1000)
        time.sleep(0.6)
        read += b"".join(iter(lambda: stream.read(BLOCK), b""))
    assert read.endswith(b"\n300000\n")


@pytest.mark.parametrize("stall", [10.0**12, float("inf")])
def test_a_stall_limit_may_be_as_long_as_one_likes(stall: float) -> None:
    assert all_of(output_of(sh("sleep 0.1; echo 1"), terms=Terms(stall=stall))) == b"1\n"


def test_a_signal_is_heard_while_a_program_is_waited_for(tmp_path: Path) -> None:
    """K1: the handler raises, and the program ends."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    before = signal.signal(signal.SIGUSR1, stop)
    source = output_of(sh("echo $$ > $1; exec sleep 1000", tmp_path / "pid"))
    timer = threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        with pytest.raises(Stopped), source as stream:
            raise AssertionError(timer.start(), stream.read())
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert is_gone(tmp_path / "pid")


# Standard error, standard input, the terminal


@pytest.mark.parametrize("line", ["x" * 99, ""])
def test_a_megabyte_of_standard_error_is_drained_and_capped(line: str) -> None:
    """G10: before, between and after the output; with and without line ends."""
    end = "\\n" if line else ""
    noise = f"head -c 3000000 /dev/zero | tr '\\0' x | sed 's/.\\{{99\\}}/&{end}/g' >&2"
    source = output_of(sh(f"{noise}; echo some; {noise}; echo more; exit 1"), success_codes=(1,), terms=Terms(stall=20))
    assert all_of(source) == b"some\nmore\n"
    [kept] = [each.lines for each in source._children]
    assert 0 < len(kept) <= 10_000
    assert max(map(len, kept)) <= 16_384


def test_a_flood_of_lines_keeps_the_last_ones() -> None:
    """G10"""
    message = failure_of(sh("echo some; seq 200000 >&2; exit 1"), terms=Terms(stall=20))
    assert message.splitlines()[1:] == [f"  {number}" for number in range(199_981, 200_001)]


def test_a_program_that_asks_gets_no_answer() -> None:
    """G12"""
    assert failure_of(sh('read x || { echo "no input" >&2; exit 1; }; echo "$x"')) == "sh ended with status 1: no input"
    assert all_of(output_of(sh("readlink /proc/$$/fd/0"))) == b"/dev/null\n"


def test_a_program_has_no_terminal_to_ask_at() -> None:
    """G12: not even where Pickup has one. `script` gives Pickup a terminal of its own."""
    code = """
        import os
        from pickup_core.process import output_of
        os.close(os.open("/dev/tty", os.O_RDWR))
        print("Pickup has a terminal")
        with output_of(["sh", "-c", "echo secret? > /dev/tty || echo none"]) as stream:
            print("the program has", stream.read().decode())
            stream.read()
    """
    python = f"exec {sys.executable} -c '{textwrap.dedent(code)}'"
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", python, "/dev/null"],
        cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "Pickup has a terminal" in done.stdout
    assert "the program has none" in done.stdout
    assert "secret?" not in done.stdout


def test_a_program_leads_a_group_and_a_session_of_its_own() -> None:
    pid, group, session = map(int, all_of(output_of(sh("cut -d' ' -f1,5,6 /proc/$$/stat"))).split())
    assert pid == group == session != os.getpgrp()


# What a child inherits


def test_a_program_inherits_no_descriptor_of_ours(tmp_path: Path) -> None:
    """G39: not the lock, not a socket, and not one that would be inherited."""
    listing = [sys.executable, "-c", "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"]
    with (
        job_lock(tmp_path / "state", "web01", datetime.now(timezone.utc)),
        socket.create_server(("127.0.0.1", 0)) as it,
    ):
        os.set_inheritable(it.fileno(), True)
        with (tmp_path / "file").open("w") as file:
            os.set_inheritable(file.fileno(), True)
            own = all_of(output_of(listing))
            piped = all_of(output_of(["echo"], listing))
            given = all_of(output_of(listing, terms=Terms(stdin=b"some")))
    assert {own, piped, given} == {b"[0, 1, 2, 3]\n"}, "0, 1, 2 and the listing itself"


def test_an_orphan_does_not_hold_the_lock(tmp_path: Path) -> None:
    """C9, C2: the next run can start, though what the killed one had started still runs."""
    code = """
        import sys
        from datetime import datetime, timezone
        from pathlib import Path
        from pickup_core.lock import job_lock
        from pickup_core.process import output_of
        with job_lock(Path(sys.argv[1]), "web01", datetime.now(timezone.utc)):
            with output_of(["sh", "-c", "echo $$; trap '' TERM; exec sleep 1000"]) as stream:
                print(stream.read().decode(), flush=True)
                stream.read()
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        orphan = int(parent.stdout.readline())
        parent.kill()
    try:
        assert processes_of(orphan)
        with job_lock(tmp_path, "web01", datetime.now(timezone.utc)):
            assert processes_of(orphan)
    finally:
        os.killpg(orphan, signal.SIGKILL)


def environment_of(terms: Terms | None = None) -> dict[str, str]:
    lines = all_of(output_of(["env", "-0"], terms=terms)).decode().split("\0")
    return dict(line.split("=", 1) for line in lines if line)


def test_the_environment_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    """E8: nothing that changes what a child loads, and no secret of the config's."""
    for name in ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONHOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT"):
        monkeypatch.setenv(name, "/nowhere/hostile.so" if name == "LD_PRELOAD" else "/nowhere")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/pickup")
    monkeypatch.setenv("DB_PASSWORD_FOR_TEST", "canary-4711")
    monkeypatch.setenv("HARMLESS", "stays")
    assert secret_env("DB_PASSWORD_FOR_TEST").reveal() == "canary-4711"
    environment = environment_of()
    assert not [name for name in environment if name.startswith(("PYTHON", "LD_"))]
    assert "CREDENTIALS_DIRECTORY" not in environment
    assert "DB_PASSWORD_FOR_TEST" not in environment
    assert environment["HARMLESS"] == "stays"
    assert environment["PATH"] == os.environ["PATH"]


def test_an_extra_variable_is_for_its_own_command_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """I6"""
    monkeypatch.setenv("GONE", "1")
    extra = {"PGPASSWORD": Secret("canary-4712"), "LC_ALL": "C", "LD_LIBRARY_PATH": "/opt/db/lib", "GONE": None}
    environment = environment_of(Terms(env=extra))
    assert environment["PGPASSWORD"] == "canary-4712"
    assert environment["LC_ALL"] == "C"
    assert environment["LD_LIBRARY_PATH"] == "/opt/db/lib"
    assert "GONE" not in environment
    assert "PGPASSWORD" not in os.environ
    assert "PGPASSWORD" not in environment_of()
    assert environment_of()["GONE"] == "1"


def test_a_secret_is_neither_in_the_arguments_nor_in_a_message() -> None:
    """I6, L5"""
    password = Secret("canary/4713 'x'")
    body = "tr '\\0' ' ' < /proc/$$/cmdline; echo \"login with $PGPASSWORD failed\" >&2; exit 1"
    source = output_of(sh(body), terms=Terms(env={"PGPASSWORD": password}))
    shown: list[bytes] = []
    with pytest.raises(ProcessError) as caught, source as stream:
        shown += iter(stream.read, b"")
    assert b"cmdline" in shown[0]
    assert b"canary" not in b"".join(shown)
    assert str(caught.value) == "sh ended with status 1: login with *** failed"
    assert "canary" not in repr(Terms(env={"PGPASSWORD": password}))


# feed


@pytest.mark.parametrize("size", [0, 1, BLOCK + 1, 9 * 2**20 + 5])
def test_feed_gives_a_command_all_of_a_stream(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    assert feed(sh('cat > "$1"', tmp_path / "out"), io.BytesIO(data)) == Judgement()
    assert (tmp_path / "out").read_bytes() == data


def test_what_a_fed_command_prints_is_thrown_away(capfd: pytest.CaptureFixture[str]) -> None:
    feed(sh("cat; seq 100000; seq 100000 >&2"), io.BytesIO(b"x" * 2**21))
    assert capfd.readouterr() == ("", "")


def test_a_fed_command_that_fails_is_named_with_its_status() -> None:
    with pytest.raises(ProcessError, match="sh ended with status 2: bad archive"):
        feed(sh("cat > /dev/null; echo 'bad archive' >&2; exit 2"), io.BytesIO(b"x" * 2**21))


def test_a_fed_command_that_dies_early_fails_with_its_own_words() -> None:
    """G2: not with a broken pipe."""
    stream = io.BytesIO(bytes(2**24))
    with pytest.raises(ProcessError, match="sh ended with status 1: no room"):
        feed(sh("head -c 1000 > /dev/null; echo 'no room' >&2; exit 1"), stream)
    assert stream.tell() < 2**24
    with pytest.raises(ProcessError, match=r"sh was killed by signal 9 \(out of memory\?\)"):
        feed(sh("head -c 1000 > /dev/null; kill -9 $$"), io.BytesIO(bytes(2**24)))


def test_a_fed_command_that_does_not_read_all_has_failed_whatever_it_says() -> None:
    """I11"""
    with pytest.raises(ProcessError, match="true ended without an error, but did not read all that it was given"):
        feed(["true"], io.BytesIO(bytes(2**24)))


def test_a_fed_command_that_reads_nothing_is_stopped(tmp_path: Path) -> None:
    """G8, I9"""
    with pytest.raises(ProcessError, match=f"sh read nothing for {STALL} seconds and was stopped"):
        feed(sh("echo $$ > $1; exec sleep 1000", tmp_path / "pid"), io.BytesIO(bytes(2**23)), terms=Terms(stall=STALL))
    assert is_gone(tmp_path / "pid")


def test_a_fed_command_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    """I9"""
    command = sh("echo $$ > $1; cat > /dev/null; exec sleep 1000", tmp_path / "pid")
    with pytest.raises(ProcessError, match=f"sh did not end within {STALL} seconds after its last byte"):
        feed(command, io.BytesIO(b"some"), terms=Terms(stall=STALL))
    assert is_gone(tmp_path / "pid")
    with pytest.raises(ProcessError, match=r"sh was stopped after 0\.3 seconds, its time limit"):
        feed(command, io.BytesIO(b"some"), terms=Terms(timeout=0.3))


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), BrokenPipeError(32, "theirs"), Stopped(15)])
def test_a_stream_that_raises_ends_the_fed_command(tmp_path: Path, error: BaseException) -> None:
    """I11: a broken pipe on the side of the stream is not one on the side of the command."""

    class Broken:
        left = 3

        def read(self, size: int = -1) -> bytes:
            self.left -= 1
            if self.left:
                return bytes(100_000)
            raise error

    stream = Broken()
    with pytest.raises(type(error)) as caught:
        feed(sh("echo $$ > $1; exec cat > /dev/null", tmp_path / "pid"), stream)
    assert caught.value is error
    assert stream.left == 0
    assert is_gone(tmp_path / "pid")


def test_a_judge_judges_a_fed_command() -> None:
    judgement = feed(
        sh("cat > /dev/null; echo hm >&2; exit 1"),
        io.BytesIO(b"1"),
        lambda status, lines: Judgement((f"{status} {lines[0]}",)),
    )
    assert judgement.warnings == ("1 hm",)


def test_a_fed_command_gets_the_environment_and_the_folder_of_its_terms(tmp_path: Path) -> None:
    terms = Terms(env={"PGPASSWORD": Secret("canary-4714")}, cwd=tmp_path)
    feed(sh('cat > /dev/null; printf %s "$PGPASSWORD" > out'), io.BytesIO(b"1"), terms=terms)
    assert (tmp_path / "out").read_text() == "canary-4714"


def test_a_fed_program_that_is_not_there_is_named() -> None:
    """G1"""
    with pytest.raises(ProcessError, match="program psql-not-there cannot be found in PATH"):
        feed(["psql-not-there"], io.BytesIO(b"1"))


def _after(done: bytes, error: Exception) -> Exception:
    """Give an error to raise once something was read."""
    return error


def test_who_reads_little_at_a_time_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe is let fill only where it gives less than what was asked for."""
    naps, nap, real = list[float](), 0.00123, time.sleep  # which others call too

    def sleep(seconds: float) -> None:
        if seconds == nap:
            naps.append(seconds)
        real(seconds)

    monkeypatch.setattr("pickup_core.process._LET_FILL", nap)
    monkeypatch.setattr(time, "sleep", sleep)
    with output_of(["head", "-c", "200000", "/dev/zero"]) as stream:
        while stream.read(1000):
            pass
    assert naps == []
    with output_of(["sh", "-c", "for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14; do echo $n; sleep 0.05; done"]) as stream:
        while stream.read():
            pass
    assert naps
