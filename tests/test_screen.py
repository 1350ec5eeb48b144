"""The screen: what a person sees who runs Pickup in a terminal, which is a real one, read by an emulator."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.builders import LOCAL, ROOT, config_text, write_config
from tests.terminals import ESCAPES, Terminal, ended, running

KIB = 1024
STEPS = (  # ends with its folder, too: a test may kill who started it
    "for step in 1 2 3; do head -c 102400 /dev/zero; "
    "until [ -e go$step ] || ! [ -e config.py ]; do sleep 0.05; done; done"
)
SLOW = f'[dict(name="slow", profile="command", config=dict(command="cd {{here}} && {STEPS}", shell=True))]'
QUICK = '[dict(name="quick", profile="command", config=dict(command="head -c 3145728 /dev/zero", shell=True))]'
DISK = '[dict(name="disk", profile="folder", config=dict(path="backups"))]'
BRAKED = '[dict(name="disk", profile="folder", config=dict(path="backups"), bandwidth=1000)]'
HEAD = f'{LOCAL}\nCOMPRESSION = "none"'
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder with a short path, which also narrow terminals have room for."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="p-", dir="/tmp") as folder:
        yield Path(folder)


def configured(home: Path, generators: str = SLOW, targets: str = DISK, head: str = "") -> None:
    write_config(home, config_text(f"{HEAD}\n{head}", generators.replace("{here}", str(home)), targets))


def pickup(
    home: Path, *words: str, **options: Any
) -> AbstractContextManager[tuple[Terminal, "subprocess.Popen[bytes]"]]:
    return running(sys.executable, ROOT / "pickup.py", "-c", home / "config.py", *words, **options)


def pickup_alone(home: Path, *words: str) -> None:
    arguments = [sys.executable, ROOT / "pickup.py", "-c", home / "config.py", *words]
    subprocess.run(arguments, check=True, capture_output=True, timeout=60)


def go_on(home: Path, *steps: int) -> None:
    for step in steps:
        (home / f"go{step}").touch()


def logged(home: Path) -> list[str]:
    """Give the lines that belong on the terminal, as the log has them."""
    text = (home / "log/pickup.log").read_text()
    found = re.findall(r"^\S+ \S+ \d+ (INFO|WARNING|ERROR) \S+: (.*(?:\nHint.*)?)", text, re.MULTILINE)
    return [line if level == "INFO" else f"{level}: {line}" for level, line in found]


def expected(lines: Sequence[str], columns: int) -> list[str]:
    """Give what a terminal shows to which these lines, and nothing else, were written."""
    plain = Terminal(columns)
    plain.feed("".join(f"{line}\r\n" for line in "\n".join(lines).split("\n")).encode())
    os.close(plain.master)
    os.close(plain.slave)
    return plain.lines


def assert_left_clean(terminal: Terminal, lines: Sequence[str], columns: int) -> None:
    assert terminal.lines == expected(lines, columns)
    row, column, is_seen = terminal.cursor
    assert (row, column, is_seen) == (len(terminal.lines), 0, True)


def drawn(terminal: Terminal, since: int = 0) -> list[str]:
    """Give each line that was drawn since so many bytes, and may have been drawn over, without its colours."""
    lines = [line for line in terminal.raw[since:].decode().split("\n") if line.endswith("\x1b[K\r")]
    return [ESCAPES.sub("", line).removesuffix("\r").rpartition("\r")[2] for line in lines]


@pytest.mark.parametrize("columns", [80, 40])
def test_bytes_grow_while_an_artefact_is_made_and_nothing_of_it_stays(home: Path, columns: int) -> None:
    configured(home)
    with pickup(home, columns=columns) as (terminal, process):
        for step in (1, 2, 3):
            terminal.read_until(lambda step=step: terminal.shows(rf"^command/slow/output +{step}00.0 KiB"))  # type: ignore[misc]
            assert terminal.lines[:-1] == expected(logged(home), columns), "log lines above, and one line below"
            go_on(home, step)
        assert ended(terminal, process) == 0
        assert_left_clean(terminal, logged(home), columns)
    assert drawn(terminal)
    assert max(map(len, drawn(terminal))) < columns
    assert b"\x1b[?" not in terminal.raw, "the cursor is never hidden"


def test_what_was_made_before_tells_how_much_will_come(home: Path) -> None:
    configured(home, SLOW.replace("102400", "1048576"), BRAKED)
    go_on(home, 1, 2, 3)
    pickup_alone(home)
    for step in (1, 2, 3):
        (home / f"go{step}").unlink()
    with pickup(home) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(r"slow/output +1.0 MiB of ~3.0 MiB  ~33 %"))
        go_on(home, 1, 2, 3)
        terminal.read_until(lambda: terminal.shows(r"^to folder/disk +\[#+\.+\] +[1-9].* of 3.0 MiB +\d+ %"))
        assert ended(terminal, process) == 0
    assert b"\x1b[32m" in terminal.raw


def test_streams_show_the_artefact_and_each_target(home: Path) -> None:
    targets = ", ".join(f'dict(name="{name}", profile="folder", config=dict(path="{name}"))' for name in ("a", "b"))
    large = SLOW.replace("102400", "2000000")
    configured(home, large, f"[{targets}]", head="STAGING_AREA = None")
    with pickup(home) as (terminal, process):
        for pattern in (r"^to folder/a +1.9 MiB", r"^to folder/b +1.9 MiB", r"^command/slow/output +1.9 MiB"):
            terminal.read_until(lambda pattern=pattern: terminal.shows(pattern))  # type: ignore[misc]
        go_on(home, 1, 2, 3)
        assert ended(terminal, process) == 0
        assert sorted(terminal.lines) == sorted(expected(logged(home), 80))


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (("verify",), r"^verifying .*[KM]iB of 3.0 MiB +\d+ %"),
        (("restore", "--to", "{home}/back"), r"^fetching command/quick/output +[1-9].*[KM]iB of 3.0 MiB +\d+ %"),
        (("copy", "--to", "other"), r"^copying .*[KM]iB of 3.0 MiB +\d+ %"),
    ],
)
def test_what_reads_backups_shows_it(home: Path, words: Sequence[str], pattern: str) -> None:
    other = ', dict(name="other", profile="folder", config=dict(path="other"))]'
    configured(home, QUICK, BRAKED.removesuffix("]") + other)
    pickup_alone(home, "--target", "disk")
    (home / "log/pickup.log").unlink()
    with pickup(home, *(word.replace("{home}", str(home)) for word in words)) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(pattern))
        ended(terminal, process)
        assert_left_clean(terminal, logged(home), 80)


# Where there is nothing to see


@pytest.mark.parametrize(("words", "env"), [((), {"TERM": "dumb"}), ((), {"TERM": ""}), (("-q",), {})])
def test_a_terminal_that_obeys_nothing_gets_plain_lines_and_who_wants_quiet_none(
    home: Path, words: Sequence[str], env: dict[str, str]
) -> None:
    configured(home, QUICK, BRAKED)
    with pickup(home, *words, env=env) as (terminal, process):
        assert ended(terminal, process) == 0
    assert b"\x1b" not in terminal.raw
    assert terminal.raw.decode().splitlines() == ([] if words else logged(home))


def test_no_escape_gets_into_a_file_or_a_pipe(home: Path) -> None:
    configured(home, QUICK, BRAKED)
    with pickup(home, script=f'exec "$@" > {home}/out') as (terminal, process):
        terminal.read_until(lambda: terminal.shows("^to folder/disk"))
        assert ended(terminal, process) == 0
        assert terminal.lines == [""]
    assert (home / "out").read_text().splitlines() == logged(home)
    with pickup(home, script=f'exec "$@" 2> {home}/err') as (terminal, process):
        assert ended(terminal, process) == 0
    assert b"\x1b" not in terminal.raw
    assert (home / "err").read_bytes() == b""


def test_a_command_in_the_background_leaves_the_terminal_alone(home: Path) -> None:
    configured(home, QUICK, BRAKED)
    with pickup(home, script='set -m; "$@" & wait $!') as (terminal, process):
        assert ended(terminal, process) == 0
    assert b"\x1b" not in terminal.raw
    assert logged(home)[-1] in terminal.raw.decode()


@pytest.mark.parametrize(("value", "has_colours"), [("1", False), ("", True)])
def test_no_color_takes_the_colours_away_and_nothing_else(home: Path, value: str, has_colours: bool) -> None:
    """https://no-color.org: any value but an empty one."""
    configured(home, '[dict(name="no", profile="command", config=dict(command="false")), ' + QUICK[1:], BRAKED)
    with pickup(home, env={"NO_COLOR": value}) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(r"^to folder/disk +\[#+"))
        assert ended(terminal, process) == 2
        assert terminal.shows(r"^ERROR: GENERATORS\[0\] 'no'")
    assert set(COLOUR.findall(terminal.raw.decode())) == ({"\x1b[31m", "\x1b[32m", "\x1b[0m"} if has_colours else set())


# Whatever happens


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_stopped_leaves_a_clean_terminal(home: Path, number: signal.Signals) -> None:
    configured(home)
    with pickup(home) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(r"^command/slow/output +100.0 KiB"))
        if number == signal.SIGINT:
            terminal.type(b"\x03")
        else:
            process.send_signal(number)
        assert ended(terminal, process) == 128 + number
        ending = f"ERROR: stopped by {number.name}; what was not finished is removed"
        assert_left_clean(terminal, [*logged(home), ending], 80)
    assert b"\x1b[31mERROR\x1b[0m: stopped" in terminal.raw


def test_a_command_that_is_killed_leaves_the_cursor_in_its_place(home: Path) -> None:
    configured(home)
    with pickup(home) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(r"^command/slow/output +100.0 KiB"))
        process.kill()
        process.wait()
        go_on(home, 1, 2, 3)
        ended(terminal, process)
        assert terminal.cursor == (len(terminal.lines), 0, True)


def test_a_command_that_is_suspended_leaves_the_terminal_to_the_shell(home: Path) -> None:
    configured(home)
    script = f'set -m; "$@"; echo "the shell: $?"; touch {home}/go1 {home}/go2; fg'
    with pickup(home, script=script) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(r"^command/slow/output +100.0 KiB"))
        terminal.type(b"\x1a")
        terminal.read_until(lambda: terminal.shows(r"^the shell: \d+"))
        assert not terminal.shows("^command/slow/output")
        terminal.read_until(lambda: terminal.shows(r"^command/slow/output +300.0 KiB"))
        go_on(home, 3)
        assert ended(terminal, process) == 0
        assert [line for line in terminal.lines if line in logged(home)] == logged(home)
        assert not terminal.shows("^command/slow/output")


def test_a_terminal_that_becomes_narrow_is_not_overfilled(home: Path) -> None:
    configured(home)
    with pickup(home) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(r"^command/slow/output +100.0 KiB +\S+ \S+/s"))
        terminal.resize(25)
        before = len(terminal.raw)
        terminal.read_until(lambda: terminal.raw.count(b"\x1b[K", before) > 2)
        narrow = drawn(terminal, before)[1:]  # the first may have been on its way
        assert narrow == ["comma...utput  100.0 KiB"] * len(narrow)
        go_on(home, 1, 2, 3)
        ended(terminal, process)


def test_more_targets_than_lines_are_counted(home: Path) -> None:
    targets = [
        f'dict(name="t{number}", profile="folder", config=dict(path="t{number}"), bandwidth=1000)'
        for number in range(9)
    ]
    configured(home, QUICK, f"[{', '.join(targets)}]")
    with pickup(home, rows=8) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(r"^and 4 more$"))
        assert len([line for line in terminal.lines if line.startswith("to folder/t")]) == 5
        assert ended(terminal, process) == 0
        assert not terminal.shows("^to folder|^and")


# What others print

PRINTS = """
import subprocess, sys, time
from pickup_core.api import Artefact, output_of
API_VERSION = (1, 0)
def run(config, folder):
    yield Artefact("one", output_of(["echo", "1"]))
    time.sleep(0.8)
    print("a whole line")
    print("half of a line,", end="", flush=True)
    time.sleep(0.8)
    print(" and the rest")
    print("to stderr", file=sys.stderr)
    time.sleep(0.8)
"""


def test_what_a_profile_prints_stands_above_and_is_not_torn(home: Path) -> None:
    (home / "generator_profiles").mkdir(mode=0o700)
    (home / "generator_profiles/prints.py").write_text(PRINTS)
    (home / "generator_profiles/prints.py").chmod(0o600)
    configured(home, '[dict(name="it", profile="prints")]')
    with pickup(home) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(r"^prints/it  \d+s$"))
        assert ended(terminal, process) == 0
        printed = ["a whole line", "half of a line, and the rest", "to stderr"]
        lines = logged(home)
        assert_left_clean(terminal, [*lines[:2], *printed, *lines[2:]], 80)
    text = terminal.raw.decode()
    assert "half of a line, and the rest\r\n" in text, "nothing is drawn while a line is not at its end"


def test_a_hook_has_the_terminal_for_itself(home: Path) -> None:
    hook = "def after():\n    subprocess.run(\"printf half; sleep 0.8; echo ' and half'\", shell=True)\n"
    slow = SLOW.replace('name="slow",', 'name="slow", after=after,').replace("102400", "2000000")
    configured(home, slow, head=f"STAGING_AREA = None\nimport subprocess\n{hook}")
    with pickup(home) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(r"^to folder/disk +1.9 MiB"))
        go_on(home, 1, 2, 3)
        assert ended(terminal, process) == 0
        assert terminal.shows("^half and half$")
    assert "half and half\r\n" in terminal.raw.decode()


def test_logging_of_ones_own_is_kept_whole(home: Path) -> None:
    settings = """LOGGING = dict(version=1, formatters=dict(mine=dict(format="<%(message)s>")),
        handlers=dict(out={"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "mine"},
                      file={"class": "logging.FileHandler", "filename": "{here}/mine.log", "formatter": "mine"}),
        root=dict(level="INFO", handlers=["out", "file"]))""".replace("{here}", str(home))
    configured(home, head=settings)
    with pickup(home) as (terminal, process):
        terminal.read_until(lambda: terminal.shows(r"^command/slow/output +100.0 KiB"))
        go_on(home, 1, 2, 3)
        assert ended(terminal, process) == 0
        assert_left_clean(terminal, (home / "mine.log").read_text().splitlines(), 80)
