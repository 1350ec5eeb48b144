"""The command generator: the contract of all generators, and how a command is started, judged and stopped."""

import hashlib
import logging
import os
import shlex
import time
from pathlib import Path
from typing import Any

import pytest

from generator_profiles import command as profile
from pickup_core.errors import ExitCode, PickupError
from pickup_core.secret import Secret
from tests.builders import config_text, problems_of
from tests.generator_contract import GeneratorContract, Ran, Sample, children, options_of, produce, run_entry

CANARY = "canary-of-7b1f0a"


class TestContract(GeneratorContract):
    profile = "command"

    @pytest.fixture
    def good(self, sources: Path) -> Sample:
        (sources / "packages").write_text("bash install\n" * 100)
        config = dict(command=["cat", str(sources / "packages")], filename="packages.txt")
        return Sample(config, {"packages.txt": b"bash install\n" * 100})

    @pytest.fixture
    def bad(self, sources: Path) -> Sample:
        return Sample(
            dict(command=["sh", "-c", "echo half; echo broken >&2; exit 3"]),
            {},
            {"output": "sh ended with status 3: broken"},
        )


def run(folder: Path, **config: Any) -> Ran:
    return run_entry(folder, "command", config)


def printed(folder: Path, **config: Any) -> bytes:
    """Give what a command that works has printed."""
    ran = run(folder, **config)
    assert ran.messages == []
    assert ran.exit_code == ExitCode.OK
    (content,) = ran.contents.values()
    return content


# What is run


def test_a_text_is_split_into_words_as_a_shell_does_it(tmp_path: Path) -> None:
    text = r"""printf '%s\n' "two words" a\ b 'it'"'"'s' plain"""
    assert printed(tmp_path, command=text) == b"two words\na b\nit's\nplain\n"


def test_a_list_is_taken_as_it_is(tmp_path: Path) -> None:
    words = ["two words", "$HOME", "`id`", "a;b", "*", "-n", "", "\N{SNOWMAN}"]
    assert printed(tmp_path, command=["printf", "%s\\n", *words]).decode() == "".join(f"{word}\n" for word in words)


def test_no_shell_comes_between_unless_it_is_asked_for(tmp_path: Path) -> None:
    text = "echo one $HOME | cat; echo `id` > stolen && touch stolen"
    assert printed(tmp_path, command=text) == b"one $HOME | cat; echo `id` > stolen && touch stolen\n"
    assert not (tmp_path / "stolen").exists()
    assert printed(tmp_path, command="echo one | tr o 0; echo two", shell=True) == b"0ne\ntwo\n"


def test_the_artefact_has_the_name_that_is_given(tmp_path: Path) -> None:
    assert list(run(tmp_path, command="uname").contents) == ["output"]
    ran = run(tmp_path, command="uname", filename="a/../\N{SNOWMAN}.txt")
    (artefact,) = ran.record.artefacts
    assert artefact.name == "a/../\N{SNOWMAN}.txt"
    assert artefact.path == "command/it/a=2F..=2F=E2=98=83.txt.zst"


def test_it_runs_in_the_folder_of_the_config_or_in_the_one_that_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    (tmp_path / "below").mkdir()
    assert printed(tmp_path, command="pwd -P").decode() == f"{tmp_path}\n"
    assert printed(tmp_path, command="pwd -P", cwd="below").decode() == f"{tmp_path}/below\n"
    assert printed(tmp_path, command="pwd -P", cwd="/usr") == b"/usr\n"


def test_a_program_may_lie_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    script(tmp_path / "dump.sh", "echo dumped")
    assert printed(tmp_path, command="./dump.sh") == b"dumped\n"
    profile.check(options_of("command", dict(command="./dump.sh"), tmp_path))


def test_variables_are_added_for_this_command_alone(tmp_path: Path) -> None:
    config = dict(command="env", env=dict(COLOUR="blue = green\n", PATH=os.environ["PATH"]))
    assert b"COLOUR=blue = green\n\n" in printed(tmp_path, **config)
    assert "COLOUR" not in os.environ
    assert b"COLOUR" not in printed(tmp_path, command="env")


def test_it_cannot_ask_for_anything(tmp_path: Path) -> None:
    """G12"""
    start = time.monotonic()
    ran = run(tmp_path, command=["sh", "-c", "read answer; echo got $?; tty < /dev/tty || echo no terminal"])
    assert time.monotonic() - start < 10
    assert ran.contents["output"] == b"got 1\nno terminal\n"


def test_a_program_may_come_from_a_path_that_the_entry_gives(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "a-program-of-ours", "echo here")
    config = dict(command="a-program-of-ours", env=dict(PATH=f"{tmp_path}/bin:/usr/bin:/bin"))
    assert printed(tmp_path, **config) == b"here\n"
    profile.check(options_of("command", config, tmp_path))


# How it ends


def script(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(["#!/bin/sh", *lines]) + "\n")
    path.chmod(0o755)
    return path


def test_an_output_of_nothing_fails_unless_it_may_be_empty(tmp_path: Path) -> None:
    """G6"""
    ran = run(tmp_path, command="true")
    assert ran.exit_code == ExitCode.FAILED
    assert ran.record.status == "failed"
    assert ran.contents == {}
    assert ran.messages[0].startswith(
        "GENERATORS[0] 'it' (command): output: true ended without an error, but wrote nothing"
    )
    assert printed(tmp_path, command="true", allow_empty=True) == b""


def test_a_status_that_is_allowed_is_no_failure(tmp_path: Path) -> None:
    """G35"""
    command = ["sh", "-c", "echo found a difference; exit 1"]
    ran = run(tmp_path, command=command)
    assert ran.exit_code == ExitCode.FAILED
    assert ran.messages == ["GENERATORS[0] 'it' (command): output: sh ended with status 1"]
    assert ran.contents == {}
    assert printed(tmp_path, command=command, success_codes=[0, 1]) == b"found a difference\n"
    ran = run(tmp_path, command="true", success_codes=[1], allow_empty=True)
    assert ran.exit_code == ExitCode.FAILED
    assert ran.messages == ["GENERATORS[0] 'it' (command): output: true ended with status 0"]


def test_a_command_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    """G2"""
    ran = run(
        tmp_path,
        command=["sh", "-c", "head -c 3000000 /dev/zero; for n in $(seq 30); do echo line $n >&2; done; exit 9"],
    )
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    lines = ran.messages[0].split("\n")
    assert lines[0] == "GENERATORS[0] 'it' (command): output: sh ended with status 9:"
    assert [line.strip() for line in lines[1:]] == [f"line {number}" for number in range(11, 31)]


def test_a_command_that_is_killed_says_by_which_signal(tmp_path: Path) -> None:
    """G3"""
    ran = run(tmp_path, command=["sh", "-c", "echo half; kill -9 $$"])
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert ran.messages[0].endswith("sh was killed by signal 9 (out of memory?)")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (dict(stall=0.5), "wrote nothing for 0.5 seconds and was stopped"),
        (dict(timeout=0.5), "was stopped after 0.5 seconds, its time limit"),
    ],
)
def test_a_command_that_hangs_is_stopped_with_all_that_it_started(
    tmp_path: Path, limits: dict[str, float], message: str
) -> None:
    """G8, G9"""
    running, start = children(), time.monotonic()
    ran = run(tmp_path, command=["sh", "-c", "echo begun; sleep 4711 & sleep 4712; echo never"], **limits)
    assert time.monotonic() - start < 9
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert message in ran.messages[0]
    assert children() == running
    assert not any(sleeps(number) for number in Path("/proc").glob("[0-9]*"))


def sleeps(process: Path) -> bool:
    try:
        return (process / "cmdline").read_bytes() in (b"sleep\x004711\x00", b"sleep\x004712\x00")
    except OSError:
        return False


def test_a_time_limit_holds_for_a_command_that_goes_on_writing(tmp_path: Path) -> None:
    """G8"""
    start = time.monotonic()
    ran = run(tmp_path, command="yes", timeout=0.5)
    assert time.monotonic() - start < 9
    assert ran.contents == {}
    assert "was stopped after 0.5 seconds, its time limit" in ran.messages[0]


def test_a_program_that_is_not_there_is_named_with_the_path(tmp_path: Path) -> None:
    """G1"""
    config = dict(command="a-program-that-is-not-there --now")
    ran = run_entry(tmp_path, "command", config)
    assert ran.exit_code == ExitCode.FAILED
    assert ran.contents == {}
    assert f"a-program-that-is-not-there cannot be found in PATH, which is {os.environ['PATH']}" in ran.messages[0]
    with pytest.raises(PickupError, match="a-program-that-is-not-there cannot be found in PATH"):
        profile.check(options_of("command", config, tmp_path))


def test_a_program_that_may_not_be_run_is_named(tmp_path: Path) -> None:
    """G1"""
    (tmp_path / "dump").write_text("#!/bin/sh\necho hello\n")
    ran = run_entry(tmp_path, "command", dict(command="./dump"))
    assert ran.exit_code == ExitCode.FAILED
    assert "./dump cannot be executed: Permission denied" in ran.messages[0]
    with pytest.raises(PickupError, match="may not be executed"):
        profile.check(options_of("command", dict(command="./dump"), tmp_path))


def test_a_folder_to_run_in_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = dict(command="uname", cwd="nowhere")
    ran = run_entry(tmp_path, "command", config)
    assert ran.exit_code == ExitCode.FAILED
    assert f"folder {tmp_path / 'nowhere'}, in which uname should run, does not exist" in ran.messages[0]
    with pytest.raises(PickupError, match="nowhere, in which uname should run, does not exist"):
        profile.check(options_of("command", config, tmp_path))


# What is seen of it


def test_standard_error_goes_to_the_log_and_not_into_the_artefact(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "pickup")
    assert printed(tmp_path, command=["sh", "-c", "echo out; echo a word on the side >&2"]) == b"out\n"
    assert "sh: a word on the side" in caplog.text


def test_a_secret_is_seen_by_the_command_and_by_nobody_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    config = dict(
        command=["sh", "-c", 'printf %s "$KEY" | sha256sum; tr "\\0" " " < /proc/$$/cmdline; echo'],
        env=dict(KEY=Secret(CANARY)),
    )
    content = produce("command", config, tmp_path).contents["output"].decode()
    assert content.startswith(hashlib.sha256(CANARY.encode()).hexdigest())
    assert CANARY not in content
    assert CANARY not in caplog.text
    assert CANARY not in repr(options_of("command", config, tmp_path))


def test_a_secret_that_the_command_cries_out_is_masked(tmp_path: Path) -> None:
    config = dict(command=["sh", "-c", 'echo "wrong key $KEY" >&2; exit 1'], env=dict(KEY=Secret(CANARY)))
    assert produce("command", config, tmp_path).failures == {"output": "sh ended with status 1: wrong key ***"}


# What cannot be meant


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "command: is missing"),
        (dict(comand="uname"), "comand: unknown key; did you mean 'command'?"),
        (dict(command=""), "command: should name a program"),
        (dict(command="   "), "command: should name a program"),
        (dict(command=[]), "command: should name a program"),
        (dict(command=["", "x"]), "command: should name a program"),
        (dict(command="echo 'open"), "command: No closing quotation"),
        (dict(command=["sleep", 5]), "command.1: should be a valid string"),
        (dict(command=dict(a=1)), "command: should be a valid list or should be a valid string"),
        (dict(command="a\0b"), "command: holds a NUL character"),
        (dict(command=["echo", "x"], shell=True), "shell=True needs the command as one text"),
        (dict(command="uname", filename=""), "filename: should have at least 1 character"),
        (dict(command="uname", success_codes=0), "success_codes: should be a valid list"),
        (dict(command="uname", success_codes=[]), "success_codes: should have at least 1 item"),
        (dict(command="uname", success_codes=["ok"]), "success_codes.0: should be a valid integer"),
        (dict(command="uname", timeout=0), "timeout: should be greater than 0"),
        (dict(command="uname", stall=-1), "stall: should be greater than 0"),
        (dict(command="uname", env=dict(PORT=5432)), "env.PORT: "),
        (dict(command="uname", env={"A=B": "c"}), "env: 'A=B' is no name that a variable can have"),
        (dict(command="uname", env={"": "c"}), "env: '' is no name that a variable can have"),
        (dict(command="uname", cwd="a\nb"), "cwd: is a path with a control character in it"),
    ],
)
def test_what_cannot_be_meant_is_a_config_error(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    """G35"""
    entry = dict(name="it", profile="command", config={"command": "uname", **config} if config else config)
    if "comand" in config:
        del entry["config"]["command"]  # type: ignore[attr-defined]
    problems = problems_of(tmp_path, config_text(generators=repr([entry])))
    assert any(message in problem for problem in problems), problems
    assert all(problem.startswith("GENERATORS[0] 'it' (command): config") for problem in problems)


def test_the_words_of_a_text_are_those_that_a_shell_makes() -> None:
    for text in ("a b", "a 'b c' d", 'a "b\\"c"', "a\\ b", "a  b\tc\nd", "a '' b"):
        assert options_of("command", dict(command=text), Path("/")).words == shlex.split(text)
