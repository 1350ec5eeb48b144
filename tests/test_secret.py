"""Secrets: they come from where they should, and are never seen."""

import base64
import json
import os
import shlex
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from pickup_core import secret
from pickup_core.errors import ConfigError
from pickup_core.options import Options
from pickup_core.process import Terms, output_of
from pickup_core.secret import (
    Secret,
    clean_environment,
    redact,
    secret_command,
    secret_credential,
    secret_env,
    secret_file,
    speaks_of_secret,
)
from tests.builders import NOBODY, config_text, loaded

CANARY = "c4n4ry-&'\"\\ ü=/+%"

SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda value: value,
    "url": lambda value: urllib.parse.quote(value, safe=""),
    "form": urllib.parse.quote_plus,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "base64 without padding": lambda value: base64.b64encode(value.encode()).decode().rstrip("="),
    "shell": shlex.quote,
    "repr": repr,
    "json": json.dumps,
    "json in UTF-8": lambda value: json.dumps(value, ensure_ascii=False),
}


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin without secrets, and leave none."""
    monkeypatch.setattr(secret, "_spellings", {})
    monkeypatch.setattr(secret, "_environment_names", set())


def private_file(folder: Path, content: bytes) -> Path:
    path = folder / "the.secret"
    path.touch(mode=0o600)
    path.write_bytes(content)
    return path


def test_a_secret_shows_three_stars_however_it_is_formatted() -> None:
    value = Secret(CANARY)
    assert {str(value), repr(value), f"{value}", "%s" % value, f"{value!r:}"} == {"***"}  # noqa: UP031
    assert repr([value]) == "[***]"
    assert value.reveal() == CANARY


def test_secrets_compare_by_value() -> None:
    assert Secret("same") == Secret("same")
    assert Secret("same") != Secret("other")
    assert Secret("same") != "same"
    assert len({Secret("same"), Secret("same")}) == 1


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_message_loses_every_spelling_of_a_secret(spelling: str) -> None:
    """L5: plain, quoted for an URL or a shell, in base64, as Python or JSON would write it."""
    Secret(CANARY)
    spelled = SPELLINGS[spelling](CANARY)
    shown = redact(f"before {spelled} after")
    assert spelled.strip("'\"") not in shown
    assert "c4n4ry" not in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")


@given(st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), min_size=4), st.data())
def test_no_text_is_a_secret_that_stays_visible(value: str, data: st.DataObject) -> None:
    """L5."""
    spelled = SPELLINGS[data.draw(st.sampled_from(sorted(SPELLINGS)))](value)
    around = data.draw(st.text(st.characters(exclude_categories=["Cs"])))
    assume(value not in around)
    Secret(value)
    assert value not in redact(f"{around} {spelled} {around}")


def test_the_longer_of_two_secrets_is_masked_as_a_whole() -> None:
    Secret("abcd")
    Secret("abcd-efgh")
    assert redact("abcd-efgh abcd") == "*** ***"


def test_a_secret_of_three_characters_does_not_spoil_messages() -> None:
    Secret("the")
    Secret("")
    assert redact("the disk is there") == "the disk is there"


def test_a_secret_file_gives_its_content_without_the_line_end(tmp_path: Path) -> None:
    assert secret_file(private_file(tmp_path, b" two words \r\n")).reveal() == " two words "
    assert secret_file(str(tmp_path / "the.secret")).reveal() == " two words "


def test_a_secret_file_is_relative_to_the_config(tmp_path: Path) -> None:
    private_file(tmp_path, b"from beside the config\n")
    head = (
        'from pickup_core.api import secret_file\nVALUE = secret_file("the.secret").reveal()\nassert "beside" in VALUE'
    )
    assert loaded(tmp_path, config_text(head)).job == "web01"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_secret_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = private_file(tmp_path, b"c4n4ry")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=r"can be read by others\nHint: chmod 600 /.*/the\.secret"):
        secret_file(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_secret_file_of_another_user_is_refused(tmp_path: Path) -> None:
    path = private_file(tmp_path, b"c4n4ry")
    os.chown(path, NOBODY, NOBODY)
    with pytest.raises(ConfigError, match="can be read by others"):
        secret_file(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file or directory"), (b"c4n4ry\xff", "is no text in UTF-8")],
)
def test_a_secret_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    """F13: the file is named, and nothing of its content shown."""
    path = tmp_path / "the.secret"
    if content is not None:
        private_file(tmp_path, content)
    with pytest.raises(ConfigError) as caught:
        secret_file(path)
    assert str(caught.value) == f"secret file {path} {message}"


def test_a_folder_is_no_secret_file(tmp_path: Path) -> None:
    """F13."""
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        secret_file(tmp_path)


def test_a_secret_from_the_environment_is_hidden_from_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """I6: neither the programs of generators nor other secret commands inherit it."""
    monkeypatch.setenv("PICKUP_TEST_SECRET", "c4n4ry")
    assert "PICKUP_TEST_SECRET" in clean_environment()
    assert secret_env("PICKUP_TEST_SECRET").reveal() == "c4n4ry"
    with output_of(["env"]) as stream:
        seen = b"".join(iter(stream.read, b""))
    assert b"PATH=" in seen
    assert b"PICKUP_TEST_SECRET" not in seen
    assert "PICKUP_TEST_SECRET" not in secret_command(["env"]).reveal()


def test_a_variable_that_a_config_has_set_to_a_secret_is_hidden_from_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """I6"""
    monkeypatch.setenv("PICKUP_TEST_SECRET", "c4n4ry for children")
    assert "PICKUP_TEST_SECRET" in clean_environment()
    value = secret.Secret("c4n4ry for children")
    assert "PICKUP_TEST_SECRET" not in clean_environment()
    with output_of(["env"]) as stream:
        assert b"c4n4ry" not in b"".join(iter(stream.read, b""))
    with output_of(["env"], terms=Terms(env={"PICKUP_TEST_SECRET": value})) as stream:
        assert b"c4n4ry" in b"".join(iter(stream.read, b"")), "the command that it is meant for has it"


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """F13."""
    monkeypatch.delenv("PICKUP_TEST_SECRET", raising=False)
    with pytest.raises(ConfigError, match="environment variable PICKUP_TEST_SECRET is not set"):
        secret_env("PICKUP_TEST_SECRET")


def test_children_get_nothing_that_changes_what_they_load(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYTHONPATH", "LD_PRELOAD", "CREDENTIALS_DIRECTORY"):
        monkeypatch.setenv(name, "/nonexistent")
    assert not {"PYTHONPATH", "LD_PRELOAD", "CREDENTIALS_DIRECTORY"} & clean_environment().keys()


@pytest.mark.parametrize("command", [["printf", "%s\\n", "two words"], "printf '%s\\n' 'two words'"])
def test_a_secret_command_gives_what_it_prints(command: str | list[str]) -> None:
    assert secret_command(command).reveal() == "two words"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["/nonexistent/pass"], "secret command '/nonexistent/pass' cannot be started: No such file or directory"),
        (["sh", "-c", "echo c4n4ry; exit 3"], "secret command 'sh' ended with status 3 and no secret"),
        (["sh", "-c", "echo c4n4ry >&2; kill -9 $$"], "secret command 'sh' ended with status -9 and no secret"),
        (["true"], "secret command 'true' ended with status 0 and no secret"),
        (["echo"], "secret command 'echo' ended with status 0 and no secret"),
        (["printf", "c4n4ry\\377"], "secret command 'printf' printed no text in UTF-8"),
        (["sh", "-c", "echo c4n4ry; exec sleep 60"], "secret command 'sh' took longer than 0.2 seconds"),
        ([], "secret_command names no program"),
        ("", "secret_command names no program"),
    ],
)
def test_a_secret_command_that_fails_is_named_and_not_quoted(command: str | list[str], message: str) -> None:
    """F13."""
    with pytest.raises(ConfigError) as caught:
        secret_command(command, timeout=0.2 if "sleep" in str(command) else 20)
    assert str(caught.value) == message


def test_a_credential_of_systemd_is_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    private_file(tmp_path, b"from systemd\n")
    assert secret_credential("the.secret").reveal() == "from systemd"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "systemd credential 'absent' cannot be read: No such file or directory"),
        ("../the.secret", "no systemd credential '../the.secret'"),
        ("the.secret", "systemd credential 'the.secret' is no text in UTF-8"),
    ],
)
def test_a_credential_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, message: str
) -> None:
    """F13."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    private_file(tmp_path, b"c4n4ry\xff")
    with pytest.raises(ConfigError) as caught:
        secret_credential(name)
    assert caught.value.message == message


def test_without_systemd_there_is_no_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    """F13."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match=r"no systemd credential 'db'\nHint: add LoadCredential=db:FILE to"):
        secret_credential("db")


class Login(Options):
    password: Secret


def test_an_option_takes_a_text_for_a_secret() -> None:
    assert Login(password="c4n4ry").password.reveal() == "c4n4ry"
    assert Login(password=Secret("c4n4ry")).password.reveal() == "c4n4ry"
    assert "c4n4ry" not in repr(Login(password=Secret("c4n4ry")))
    with pytest.raises(ValidationError):
        Login(password=1234)


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWORD", "api_key", "apikey", "auth_token", "MYSQL_PWD", "secret_key", "smtp_pass", "DUMP_KEY"],
)
def test_a_name_can_speak_of_a_secret(name: str) -> None:
    assert speaks_of_secret(name)


@pytest.mark.parametrize(
    "name", ["path", "password_file", "bypass", "key", "sort_key", "tokens_per_hour", "keyboard", ""]
)
def test_a_name_can_be_harmless(name: str) -> None:
    assert not speaks_of_secret(name)
