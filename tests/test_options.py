"""`Options`: what an entry's `config` may say, and what becomes of its paths."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pickup_core.options import HOST, Options, parsed, remote_path
from tests.builders import python

BESIDE = Path("/etc/pickup")


class Inner(Options):
    path: Path = Path("inner")


class Sample(Options):
    path: Path = Path("default")
    paths: list[Path] = []  # noqa: RUF012 - Options copies its defaults
    by_name: dict[str, Path] = {}  # noqa: RUF012
    unique: frozenset[Path] = frozenset()
    pair: tuple[Path, int] = (Path("first"), 1)
    text: str = "plain"
    env: dict[str, str] = {}  # noqa: RUF012
    inner: Inner = Inner()


def made(**values: Any) -> Sample:
    return Sample.model_validate(values, context={"folder": BESIDE})


def message_of(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        made(**values)
    (error,) = caught.value.errors()
    return str(error["msg"])


def test_a_key_that_was_not_declared_is_refused() -> None:
    """F4."""
    assert message_of(pathh="x") == "Extra inputs are not permitted"


def test_options_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        made().text = "other"


def test_a_relative_path_is_relative_to_the_config_file() -> None:
    sample = made(
        path="data", paths=["a", "../b"], by_name={"x": "c"}, unique=["d"], pair=["e", 2], inner={"path": "f"}
    )
    assert sample.path == BESIDE / "data"
    assert sample.paths == [BESIDE / "a", BESIDE / "../b"]
    assert sample.by_name == {"x": BESIDE / "c"}
    assert sample.unique == {BESIDE / "d"}
    assert sample.pair == (BESIDE / "e", 2)
    assert sample.inner.path == BESIDE / "f"


def test_a_default_is_relative_to_the_config_file_too() -> None:
    assert made().path == BESIDE / "default"
    assert made().pair == (BESIDE / "first", 1)


def test_an_absolute_path_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert made(path="/srv/data").path == Path("/srv/data")
    assert made(path="~/data").path == Path("/home/somebody/data")


def test_a_text_is_not_taken_for_a_path() -> None:
    assert made(text="~/data").text == "~/data"


def test_a_home_that_there_is_not_is_said() -> None:
    """E1."""
    message = "Value error, begins with ~, but there is no home folder; write the whole path"
    assert message_of(path="~no-such-user-here/data") == message


@pytest.mark.parametrize("values", [{"text": "a\0b"}, {"path": "a\0b"}, {"env": {"A": "\0"}}, {"env": {"\0": "A"}}])
def test_no_value_holds_a_nul(values: dict[str, Any]) -> None:
    """F14: no program and no file system takes it."""
    assert message_of(**values) == "Value error, holds a NUL character"


@pytest.mark.parametrize("values", [{"text": "x" * 65_537}, {"paths": ["x" * 65_537]}])
def test_no_value_is_huge(values: dict[str, Any]) -> None:
    """F14."""
    assert message_of(**values) == "Value error, is longer than 65536 characters"


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x1b", "\x7f"])
def test_no_path_holds_a_control_character(character: str) -> None:
    """F14."""
    assert message_of(path=f"a{character}b") == "Value error, is a path with a control character in it"
    assert made(text=f"a{character}b").text == f"a{character}b"


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).filter(lambda text: text[0] not in "~/"))
def test_any_other_text_is_a_path_below_the_config_file(text: str) -> None:
    assert made(path=text).path == BESIDE / text


def test_without_a_config_file_paths_are_relative_to_the_working_directory() -> None:
    assert Sample().path == Path.cwd() / "default"


def test_a_working_directory_that_is_gone_does_not_matter(tmp_path: Path) -> None:
    """E1: cron may start anywhere."""
    code = """
import os, pathlib
from pickup_core.options import Options
class Sample(Options):
    path: pathlib.Path = pathlib.Path("default")
os.rmdir(os.getcwd())
print(Sample.model_validate({}, context={"folder": pathlib.Path("/etc")}).path)
"""
    (tmp_path / "gone").mkdir()
    done = python(code, cwd=tmp_path / "gone")
    assert (done.stdout, done.stderr) == ("/etc/default\n", "")


def test_each_options_has_defaults_of_its_own() -> None:
    made().paths.append(Path("/x"))
    assert made().paths == []


class Size(int):
    """A type that is written as a text."""

    @classmethod
    def parse(cls, text: str) -> "Size":
        if not text.endswith("k"):
            raise ValueError("should end with k")
        return cls(int(text[:-1]) * 1000)


def test_an_option_can_be_written_as_a_text_and_have_a_type_of_its_own() -> None:
    validate = parsed(Size.parse, Size).func
    assert validate("3k") == 3000
    assert validate(Size(5)) == 5
    with pytest.raises(ValueError, match="should end with k"):
        validate("3")


def test_options_read_nothing_but_the_home_folder(tmp_path: Path) -> None:
    """What a path leads to is for later: making options works where nothing is there."""
    assert made(path=tmp_path / "nothing").path == tmp_path / "nothing"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "meant"),
    [("a", "a"), (".", "."), ("/srv//backup/", "/srv/backup"), ("./a/./b", "a/b"), ("a b'ü", "a b'ü")],
)
def test_a_path_on_another_machine_is_as_short_as_can_be(path: str, meant: str) -> None:
    assert remote_path(path) == meant


@pytest.mark.parametrize(
    ("path", "message"),
    [("", "is empty"), ("a\nb", "control character"), ("~/a", "begins with ~"), ("a/../b", r"has \.\. in it")],
)
def test_a_path_that_means_something_else_to_each_server_is_refused(path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        remote_path(path)


@pytest.mark.parametrize("host", ["-oProxyCommand=x", "-oX", "-F", "a b", "a;b", "a\n", "", "a/b", "u@a"])
def test_a_host_is_a_name_or_an_address_and_no_option(host: str) -> None:
    """T22"""
    assert not re.search(HOST, host.replace("\n", " "))
    assert all(re.search(HOST, name) for name in ("nas", "nas.example.org", "192.0.2.1", "::1", "2001:db8::1", "a_b"))
