"""The command line: its options, its default command, and an exit code for everything that can happen."""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickup_core import __version__
from pickup_core.cli import _duration, _moment, _with_command, parser
from pickup_core.commands import MODULES, function_of
from pickup_core.errors import ExitCode
from tests.builders import ROOT, plain_locale, python

COMMANDS = ["run", "check", "list", "status", "find", "verify", "restore", "copy", "prune", "delete", "keep", "profiles",
            "init", "schedule", "keygen", "completion"]  # fmt: skip


def parsed(*arguments: str) -> argparse.Namespace:
    return parser().parse_args(_with_command(arguments))


def pickup(*arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, str(ROOT / "pickup.py"), *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, **options)


def misused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Give the message for wrong usage; E12: exit code 3, and nothing done."""
    with pytest.raises(SystemExit) as caught:
        parsed(*arguments)
    assert caught.value.code == ExitCode.CONFIG
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("ERROR: pickup.py")
    assert err.endswith("--help\n")
    return err.splitlines()[0]


# The default command


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "run"),
        ("-q", "-q run"),
        ("-n", "run -n"),
        ("--dry-run", "run --dry-run"),
        ("-q -n", "-q run -n"),
        ("-qd", "-qd run"),
        ("-c x.py", "-c x.py run"),
        ("-cx.py", "-cx.py run"),
        ("-qc x.py", "-qc x.py run"),
        ("-qcx.py -n", "-qcx.py run -n"),
        ("--config x.py", "--config x.py run"),
        ("--config=x.py --only a", "--config=x.py run --only a"),
        ("-c run", "-c run run"),
        ("--only list", "run --only list"),
        ("--keep list --target check", "run --keep list --target check"),
        ("-q list", "-q list"),
        ("-c x.py -d verify all", "-c x.py -d verify all"),
        ("--version", "--version"),
        ("-q --help", "-q --help"),
        ("-h", "-h"),
        ("-n -h", "run -n -h"),
        ("bogus", "bogus"),
        ("-c", "-c"),
        ("-q --config", "-q --config"),
    ],
)
def test_without_a_command_it_is_run(arguments: str, expected: str) -> None:
    assert _with_command(arguments.split()) == expected.split()


WORDS = ["-q", "-d", "-c", "x", "-n", "--only", "list", "run", "--config=y", "-qc", "--help", ""]


@given(st.lists(st.sampled_from(WORDS)))
def test_the_default_command_is_put_in_at_most_once_and_nothing_is_lost(arguments: list[str]) -> None:
    result = _with_command(arguments)
    if result != arguments:
        position = next(at for at in range(len(result)) if at == len(arguments) or result[at] != arguments[at])
        assert result[:position] + result[position + 1 :] == arguments
        assert result[position] == "run"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_taken_as_it_is(command: str) -> None:
    words = {"find": ["x"], "restore": ["--to", "x"], "copy": ["--to", "x"], "delete": ["x"], "keep": ["x", "why"], "keygen": ["x"],
             "completion": ["bash"]}  # fmt: skip
    required = words.get(command, [])
    assert parsed(command, *required).command == command
    assert parsed("-q", command, *required).quiet


# What each command takes


def test_run_takes_its_options() -> None:
    words = "-q -c x.py -n --only a --only b --target t --keep why --wait 2h"
    options = parsed(*words.split())
    assert (options.command, options.quiet, options.debug, options.config) == ("run", True, False, Path("x.py"))
    assert (options.dry_run, options.only, options.target) == (True, ["a", "b"], ["t"])
    assert (options.keep, options.wait) == ("why", 7200.0)


def test_run_has_defaults() -> None:
    options = parsed()
    assert (options.dry_run, options.only, options.target, options.keep, options.wait) == (False, [], [], None, 0.0)


def test_restore_takes_its_options() -> None:
    which = ["--only", "a/b", "--path", "*.txt", "--before", "2026-11-17 18:00"]
    how = ["--as-stored", "--overwrite", "--privileged"]
    where = ["--from", "/y", "--job", "web01", "--target", "t"]
    options = parsed("restore", "2026-11-17", "--to", "/x", *which, *how, *where)
    assert (options.backup, options.to, options.only, options.path) == ("2026-11-17", Path("/x"), ["a/b"], ["*.txt"])
    assert (options.as_stored, options.overwrite, options.privileged) == (True, True, True)
    assert (options.folder, options.job, options.target) == (Path("/y"), "web01", "t")
    assert parsed("restore", "--to", "/x").backup == parsed("verify").backup == "latest"


def test_the_others_take_their_options() -> None:
    assert parsed("list", "--all-jobs", "--json", "--from", "x").json
    options = parsed("status", "--all-jobs", "--json", "--max-age", "26h", "--html", "x", "--from", "y", "--job", "z")
    assert (options.all_jobs, options.json, options.max_age, options.html) == (True, True, 93_600.0, Path("x"))
    assert (parsed("status").max_age, parsed("status").html) == (None, None)
    assert parsed("find", "*.txt", "--json").pattern == "*.txt"
    assert parsed("prune", "--all-jobs").all_jobs
    options = parsed("delete", "x", "-n", "--even-kept", "--even-last", "--target", "a", "--target", "b", "--job", "z")
    assert (options.backup, options.dry_run, options.target, options.job) == ("x", True, ["a", "b"], "z")
    assert (options.even_kept, options.even_last) == (True, True)
    assert parsed("prune", "-n", "--prune-anyway", "--target", "a", "--target", "b").target == ["a", "b"]
    assert parsed("keep", "2026", "audit").reason == "audit"
    assert parsed("keep", "2026", "--release").release
    assert parsed("profiles", "folder", "--json").name == "folder"
    assert parsed("init").file is None


# E12: wrong usage


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ("bogus", "invalid choice: 'bogus'"),
        ("--bogus", "unrecognized arguments: --bogus"),
        ("run --bogus", "unrecognized arguments: --bogus"),
        ("run extra", "unrecognized arguments: extra"),
        ("--dry", "unrecognized arguments: --dry"),
        ("--conf x", "unrecognized arguments: --conf x"),
        ("-c", "argument -c/--config: expected one argument"),
        ("--only", "argument --only: expected one argument"),
        ("restore", "one of the arguments --to --into-server is required"),
        ("find", "the following arguments are required: PATTERN"),
        ("keep", "the following arguments are required: BACKUP"),
        ("--wait soon", "argument --wait: 'soon' is no duration such as 90s, 30m or 2h"),
        ("--wait -1", "argument --wait: '-1' is no duration such as 90s, 30m or 2h"),
        ("status --max-age never", "argument --max-age: 'never' is no duration such as 90s, 30m or 2h"),
        ("schedule --at 24:00", "argument --at: '24:00' is no time of the day such as 03:15"),
        ("schedule --at 3", "argument --at: '3' is no time of the day such as 03:15"),
        ("restore --to x --before soon", "argument --before: 'soon' is no time such as 2026-11-17"),
        ("list --dry-run", "unrecognized arguments: --dry-run"),
    ],
)
def test_wrong_usage_is_said(capsys: pytest.CaptureFixture[str], arguments: str, what: str) -> None:
    """E12."""
    assert what in misused(capsys, *arguments.split())


def test_wrong_usage_does_nothing(tmp_path: Path) -> None:
    """E12: not even the config is looked at."""
    config = tmp_path / "config.py"
    config.write_text("open('ran', 'w')\n")
    done = pickup("-c", str(config), "run", "--dry-runn", cwd=tmp_path)
    assert done.returncode == 3
    assert os.listdir(tmp_path) == ["config.py"]


# Durations and times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d", 86_400), ("1.5h", 5400), ("0", 0), ("0.5s", 0.5)],
)
def test_a_duration_is_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert _duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-1", "1 h", "1w", "1e3", "inf", "nan", "1h30m", "2H", ".5", "1."])
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no duration such as 90s, 30m or 2h"):
        _duration(text)


@given(st.text(max_size=6))
def test_no_text_for_a_duration_is_an_internal_error(text: str) -> None:
    with contextlib.suppress(argparse.ArgumentTypeError):
        assert _duration(text) >= 0


@pytest.mark.parametrize("text", ["2026-11-17", "2026-11-17 18:00", "2026-11-17T18:00:00"])
def test_a_time_is_local(text: str) -> None:
    moment = _moment(text)
    assert moment.utcoffset() == datetime.fromisoformat(text).astimezone().utcoffset()
    assert moment.replace(tzinfo=None) == datetime.fromisoformat(text)


def test_a_time_may_name_its_zone() -> None:
    assert _moment("2026-11-17 18:00+05:00").utcoffset() is not None
    assert _moment("2026-11-17 18:00+05:00") == datetime.fromisoformat("2026-11-17 18:00+05:00")


@pytest.mark.parametrize("text", ["", "yesterday", "17.11.2026", "2026-11", "18:00", "2026-02-30", "2026-11-17 25:00"])
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is no time such as 2026-11-17"):
        _moment(text)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
def test_a_time_at_the_edge_of_the_calendar_is_no_internal_error(monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        for text in ("0001-01-01", "9999-12-31 23:59:59", "1969-12-31"):
            with contextlib.suppress(argparse.ArgumentTypeError):
                assert _moment(text).tzinfo
    finally:
        monkeypatch.undo()
        time.tzset()


# How it ends


def test_the_version_is_told() -> None:
    done = pickup("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Pickup {__version__}\n", "")


def test_the_command_that_is_installed_is_the_same() -> None:
    installed = Path(sys.executable).with_name("pickup")
    for arguments, status in ((["--version"], ExitCode.OK), (["--bogus"], ExitCode.CONFIG)):
        done = subprocess.run([installed, *arguments], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status
        assert (done.stdout, done.stderr) == (pickup(*arguments).stdout, pickup(*arguments).stderr)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([command, "--help"] for command in COMMANDS)])
def test_help_is_told(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parsed(*arguments)
    assert caught.value.code == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: pickup.py")
    assert err == ""


def test_the_help_names_every_command_and_explains_every_option() -> None:
    root = parser()
    (commands,) = (action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    assert list(commands.choices) == COMMANDS
    assert [action.dest for action in commands._choices_actions if not action.help] == []
    for sub in (root, *commands.choices.values()):
        assert sub.description
        unexplained = [action.dest for action in sub._actions if not action.help and action is not commands]
        assert unexplained == []


@pytest.mark.parametrize("argument", ["--version", "--help", "--bogus"])
def test_a_quick_answer_imports_argparse_and_little_else(argument: str) -> None:
    code = """
import sys
before = set(sys.modules)
from pickup_core.cli import main
try:
    main([sys.argv[1]])
except SystemExit:
    pass
print(*sorted(set(sys.modules) - before), file=open(sys.argv[2], "w"))
"""
    read, write = os.pipe()
    python(code, argument, f"/dev/fd/{write}", pass_fds=[write])
    os.close(write)
    with open(read) as stream:
        loaded = set(stream.read().split())
    assert "argparse" in loaded
    assert {name for name in loaded if name.startswith("pickup_core")} == {
        "pickup_core", "pickup_core.cli", "pickup_core.errors", "pickup_core.program",
    }  # fmt: skip
    heavy = {"pydantic", "humanize", "logging", "json", "subprocess", "hashlib", "tarfile", "sqlite3", "backports.zstd"}
    assert not heavy & loaded


def code_with(body: str) -> str:
    """Give Python code that runs the command line, where the command `check` does something else."""
    return f"""
import os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from pickup_core import cli, commands
from pickup_core.errors import *
def instead(session):
    {body}
commands.function_of = lambda command: instead
sys.exit(cli.main(["check"]))
"""


def main_with(body: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    return python(code_with(body), **options)


ENDS = [
    ("pass", 0, ""),
    ("raise PickupError('x', hint='y')", 2, "ERROR: x\nHint: y\n"),
    ("raise ConfigError('x', 'y')", 3, "ERROR: x\ny\n"),
    ("raise UsageError('x')", 3, "ERROR: x\n"),
    ("raise LockedError('x')", 4, "ERROR: x\n"),
    ("raise DamageError('x')", 6, "ERROR: x\n"),
    ("raise RefusedError('x')", 6, "ERROR: x\n"),
    ("raise Stopped(15)", 143, "ERROR: stopped by SIGTERM; what was not finished is removed\n"),
    (
        "exec('try: os.kill(os.getpid(), 15)\\nexcept Stopped as e: raise ConfigError(str(e))')",
        143,
        "ERROR: stopped by SIGTERM; what was not finished is removed\n",
    ),
    ("raise KeyboardInterrupt", 130, "ERROR: interrupted\n"),
    ("raise OSError(28, 'No space left on device', '/x')", 2, "ERROR: No space left on device: /x\n"),
    ("raise ValueError('odd')", 5, "ERROR: internal error, please report it: ValueError: odd\n"),
    ("raise KeyError('x')", 5, "ERROR: internal error, please report it: KeyError: 'x'\n"),
    ("Secret('c4n4ry-7'); raise PickupError('login c4n4ry-7')", 2, "ERROR: login ***\n"),
    ("raise PickupError('a\\x1b[2Jb')", 2, "ERROR: a\\x1b[2Jb\n"),
]


@pytest.fixture(scope="module")
def ends() -> dict[str, tuple[int, str]]:
    """Give code and standard error of each of these ends, all of them in one process."""
    code = f"""
import contextlib, io, json, os
from pickup_core import cli, commands
from pickup_core.errors import *
from pickup_core.secret import Secret
def instead(session):
    exec(body)
commands.function_of, ends = lambda command: instead, {{}}
for body in {[body for body, _, _ in ENDS]!r}:
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        ends[body] = (cli.main(["check"]), stderr.getvalue())
print(json.dumps(ends))
"""
    done = python(code)
    return {body: (code, said) for body, (code, said) in json.loads(done.stdout).items()}


@pytest.mark.parametrize(("body", "code", "said"), ENDS)
def test_whatever_happens_ends_with_a_code_and_a_sentence(
    ends: dict[str, tuple[int, str]], body: str, code: int, said: str
) -> None:
    """I11, I6, L4."""
    assert ends[body] == (code, said)


def test_an_import_that_fails_is_a_broken_installation() -> None:
    """E11."""
    done = main_with("import no_such_module")
    assert done.returncode == 5
    assert done.stderr.startswith("ERROR: this installation is broken: No module named 'no_such_module'")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_what_is_done_and_gives_its_code(number: int) -> None:
    """K1: the `with` blocks have their turn."""
    body = f"""
    try:
        os.kill(os.getpid(), {int(number)})
        time.sleep(20)
    finally:
        print("cleaned up", flush=True)
"""
    done = main_with(body)
    assert done.returncode == 128 + number
    assert done.stdout == "cleaned up\n"
    said = f"ERROR: stopped by {signal.Signals(number).name}; what was not finished is removed\n"
    assert done.stderr == said


def test_a_second_signal_ends_it_at_once() -> None:
    """K2."""
    body = """
    try:
        os.kill(os.getpid(), 15)
        time.sleep(20)
    finally:
        os.kill(os.getpid(), 2)
        time.sleep(20)
"""
    assert main_with(body).returncode == 130


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """K1: nohup."""
    body = "os.kill(os.getpid(), 1); print('went on')"
    words = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", sys.executable, "-c", code_with(body)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "went on\n"), done.stderr


def test_every_file_is_private_from_the_start() -> None:
    """I7, E5: whatever the umask was."""
    done = main_with("print(oct(os.umask(0)))", umask=0)
    assert done.stdout == "0o77\n"


def test_whoever_reads_may_stop_reading() -> None:
    code = code_with("print('x' * 1_000_000)")
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    assert process.wait(20) in (0, 128 + signal.SIGPIPE)
    process.stderr.close()


def test_names_that_are_no_text_can_be_printed_in_any_locale() -> None:
    """E2."""
    body = "print('\\u20ac\\udcff'); raise PickupError('\\u20ac\\udcff')"
    done = main_with(body, env=plain_locale())
    assert (done.returncode, done.stdout, done.stderr) == (2, "\\u20ac\\udcff\n", "ERROR: \\u20ac\\udcff\n")


def test_a_misspelt_command_is_answered_with_the_one_that_is_like_it(capsys: pytest.CaptureFixture[str]) -> None:
    for word, hint in (("chek", "did you mean 'check'? pickup.py --help tells more"), ("xyz", "pickup.py --help")):
        with pytest.raises(SystemExit):
            parser().parse_args([word])
        assert capsys.readouterr().err.endswith(f"\nHint: {hint}\n")


def test_the_commands_of_the_parser_are_those_that_can_be_carried_out() -> None:
    assert list(MODULES) == COMMANDS
    assert all(function_of(command).__doc__ for command in COMMANDS)
