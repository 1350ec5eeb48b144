"""Entries: one dict each, checked together with its profile; every problem is a sentence that begins with its place."""

from pathlib import Path

import pytest

from pickup_core.streams import Compression
from tests.builders import config_text, loaded, problems_of


def generator_problems(folder: Path, *entries: str) -> tuple[str, ...]:
    return problems_of(folder, config_text(generators=f"[{', '.join(entries)}]"))


def target_problems(folder: Path, *entries: str) -> tuple[str, ...]:
    return problems_of(folder, config_text(targets=f"[{', '.join(entries)}]"))


@pytest.mark.parametrize(
    ("entry", "problems"),
    [
        ("7", ["GENERATORS[0]: expected dict(name=..., profile=..., config=...), got int"]),
        ("dict()", ["GENERATORS[0]: name: is missing", "GENERATORS[0]: profile: is missing"]),
        ("dict(name='a', profile=7)", ["GENERATORS[0] 'a': profile: should be a valid string, got 7"]),
        ("dict(name=['a'], profile='x')", ["GENERATORS[0] (x): name: should be a valid string"]),
    ],
)
def test_an_entry_that_is_none_is_reported_with_its_place(tmp_path: Path, entry: str, problems: list[str]) -> None:
    """F3."""
    found = generator_problems(tmp_path, entry)
    assert [problem for problem in found if "there is no generator profile" not in problem] == problems


TEXT_OR_SECRET = "should be a valid string or should be an instance of Secret"
METHOD = 'should be "zstd", "gzip" or "none", with a level after a colon where wanted: "zstd:9"'
LEVEL = "level of zstd should be between 1 and 19"


@pytest.mark.parametrize(
    ("rest", "problems"),
    [
        ("", ["config.command: is missing"]),
        ("config='true'", ["config: should be a valid dictionary, got 'true'"]),
        ("config=dict(command=''), ", ["config: command: should name a program"]),
        ("config=dict(command=7)", ["config.command: should be a valid list or should be a valid string, got 7"]),
        ("config=dict(command='x', stall=[])", ["config.stall: should be a valid number"]),
        ("config=dict(command='x', stall=-1)", ["config.stall: should be greater than 0, got -1"]),
        ("config=dict(command='x', env=dict(A=1))", [f"config.env.A: {TEXT_OR_SECRET}, got 1"]),
        ("config=dict(command=['x'], shell=True)", ["config: shell=True needs the command as one text"]),
        ("config=dict(command='x', success_codes=[0, None, {}])",
         ["config.success_codes.1: should be a valid integer, got None",
          "config.success_codes.2: should be a valid integer"]),
        ("config=dict(command='x'), compression=3", [f"compression: {METHOD}, got 3"]),
        ("config=dict(command='x'), compression='zstd:0'", [f"compression: {LEVEL}, got 'zstd:0'"]),
    ],
)  # fmt: skip
def test_a_wrong_value_is_reported_with_its_place(tmp_path: Path, rest: str, problems: list[str]) -> None:
    """F3, G35."""
    found = generator_problems(tmp_path, f"dict(name='a', profile='command', {rest})")
    assert found == tuple(f"GENERATORS[0] 'a' (command): {problem}" for problem in problems)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("config=dict(path='b'), retension={}", "retension: unknown key; did you mean 'retention'?"),
        (
            "config=dict(path='b'), colour=1",
            "colour: unknown key; there are: name, profile, config, retention, read_back, optional, retries, bandwidth, stall",
        ),
        ("config=dict(path='b', pth='c')", "config.pth: unknown key; did you mean 'path'?"),
        ("config=dict(path='b'), retention=dict(weakly=3)", "retention.weakly: unknown key; did you mean 'weekly'?"),
    ],
)
def test_an_unknown_key_is_reported_with_what_may_be_meant(tmp_path: Path, entry: str, problem: str) -> None:
    """F4."""
    problems = target_problems(tmp_path, f"dict(name='disk', profile='folder', {entry})")
    assert problems == (f"TARGETS[0] 'disk' (folder): {problem}",)


def test_an_unknown_key_within_an_option_is_not_explained_with_other_options(tmp_path: Path) -> None:
    """F4."""
    (tmp_path / "generator_profiles").mkdir()
    (tmp_path / "generator_profiles/nested.py").write_text(
        "from pickup_core.api import Options\nAPI_VERSION = (1, 0)\n"
        "class Login(Options):\n    user: str = ''\n"
        "class Config(Options):\n    login: Login = Login()\n"
        "def run(config, folder): pass\n"
    )
    problems = generator_problems(tmp_path, "dict(name='a', profile='nested', config=dict(login=dict(usr='me')))")
    assert problems == ("GENERATORS[0] 'a' (nested): config.login.usr: unknown key",)


def test_a_default_that_cannot_be_is_reported_with_its_place(tmp_path: Path) -> None:
    """F3."""
    (tmp_path / "generator_profiles").mkdir()
    (tmp_path / "generator_profiles/lost.py").write_text(
        "from pathlib import Path\nfrom pickup_core.api import Options\nAPI_VERSION = (1, 0)\n"
        "class Config(Options):\n    path: Path = Path('~no-such-user-here/x')\n"
        "def run(config, folder): pass\n"
    )
    (problem,) = generator_problems(tmp_path, "dict(name='a', profile='lost')")
    assert problem.startswith("GENERATORS[0] 'a' (lost): config.path: begins with ~, but there is no home folder")


def test_a_wrong_password_is_not_shown(tmp_path: Path) -> None:
    """I6: of a value that could be a secret only the type is told."""
    (problem,) = generator_problems(
        tmp_path, "dict(name='a', profile='command', config=dict(command='true', env=dict(API_TOKEN=43110)))"
    )
    assert problem.startswith("GENERATORS[0] 'a' (command): config.env.API_TOKEN: ")
    assert problem.endswith(", got int")
    assert "43110" not in problem


def test_a_known_secret_is_not_shown_under_any_name(tmp_path: Path) -> None:
    """L5."""
    head = "from pickup_core.api import Secret\nvalue = Secret('c4n4ry-3').reveal()"
    generators = "[dict(name='a', profile='command', config=dict(command='true', stall=value))]"
    (problem,) = problems_of(tmp_path, config_text(head, generators))
    assert problem.endswith(", got '***'")


def test_a_long_value_is_cut_off(tmp_path: Path) -> None:
    (problem,) = generator_problems(
        tmp_path, "dict(name='a', profile='command', config=dict(command='true', stall='x' * 5000))"
    )
    assert len(problem) < 250


@pytest.mark.parametrize(
    "names", [("main", "main"), ("main", "MAIN"), ("a/b", "a_b"), ("a b", "a?b"), ("ä", "ö"), (".x", "_x")]
)
def test_two_entries_do_not_share_a_name_or_a_folder(tmp_path: Path, names: tuple[str, str]) -> None:
    """F5, G34."""
    first, second = (f"dict(name={name!r}, profile='command', config=dict(command='true'))" for name in names)
    (problem,) = generator_problems(tmp_path, first, second)
    where = f"GENERATORS[1] {names[1]!r} (command)"
    assert problem == f"{where}: has the same name as GENERATORS[0], or one that would share its folder"


def test_a_target_may_be_named_like_a_generator(tmp_path: Path) -> None:
    """F5: names are unique in their own list."""
    generators = "[dict(name='main', profile='command', config=dict(command='true'))]"
    targets = "[dict(name='main', profile='folder', config=dict(path='backups'))]"
    assert problems_of(tmp_path, config_text(generators=generators, targets=targets)) == ()


@pytest.mark.parametrize("name", ["", "a\nb", "a\0b", "\x1b[2J", "\x7f", "x" * 101])
def test_a_name_is_short_and_can_be_printed(tmp_path: Path, name: str) -> None:
    """F14, L4."""
    (problem,) = generator_problems(tmp_path, f"dict(name={name!r}, profile='command', config=dict(command='true'))")
    said = "name: should be a text of at most 100 characters, without control characters"
    assert problem.startswith(f"GENERATORS[0] {name!r} (command): {said}")


@pytest.mark.parametrize("path", ["a\\nb", "a\\0b", "a\\x1b", "x" * 70_000])
def test_a_path_is_no_rubbish(tmp_path: Path, path: str) -> None:
    """F14."""
    problems = target_problems(tmp_path, f"dict(name='disk', profile='folder', config=dict(path='{path}'))")
    assert any(problem.startswith("TARGETS[0] 'disk' (folder): config.path: ") for problem in problems)
    assert all(len(problem) < 250 and "\0" not in problem for problem in problems)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("generator", "fodler", "there is no generator profile 'fodler'. Hint: did you mean 'folder'?"),
        ("generator", "xyz", "there is no generator profile 'xyz'. Hint: there are: command, "),
        ("generator", "../folder", "there is no generator profile '../folder'. Hint: did you mean 'folder'?"),
        ("target", "sqlite", "there is no target profile 'sqlite'. Hint: there are: "),
        (
            "generator",
            "acme.redis",
            "profile 'acme.redis' cannot be imported: ModuleNotFoundError: No module named 'acme'",
        ),
    ],
)
def test_an_unknown_profile_is_reported(tmp_path: Path, kind: str, name: str, said: str) -> None:
    """F6."""
    report = generator_problems if kind == "generator" else target_problems
    (problem,) = report(tmp_path, f"dict(name='a', profile='{name}')")
    assert problem.startswith(f"{kind.upper()}S[0] 'a' ({name}): {said}")


def test_an_entry_without_config_is_enough_where_the_profile_needs_none(tmp_path: Path) -> None:
    (tmp_path / "generator_profiles").mkdir()
    (tmp_path / "generator_profiles/hello.py").write_text("API_VERSION = (1, 0)\ndef run(config, folder): pass\n")
    config = loaded(tmp_path, config_text(generators="[dict(name='a', profile='hello')]"))
    assert config.generators[0].folder == "hello/a"


def test_an_entry_has_its_own_compression_and_folder(tmp_path: Path) -> None:
    entry = "dict(name='Web /x', profile='command', config=dict(command='true'), compression='gzip:1')"
    (found,) = loaded(tmp_path, config_text(generators=f"({entry},)")).generators
    assert found.keys.compression == Compression("gzip", 1)
    assert found.folder == "command/Web__x"
    assert found.label == "command/Web /x"


def test_a_secret_is_not_part_of_the_place_of_a_target(tmp_path: Path) -> None:
    """I6, T28: the place is logged, and two passwords do not make two places."""
    (tmp_path / "target_profiles").mkdir()
    (tmp_path / "target_profiles/vault.py").write_text(
        "from pickup_core.api import Options, Secret, Store\nAPI_VERSION = (1, 0)\n"
        "class Config(Options):\n    host: str\n    password: Secret\n"
        "class Target(Store):\n    def put(self, path, stream): ...\n    def get(self, path): ...\n"
        "    def listdir(self, folder=''): ...\n    def delete(self, path): ...\n"
    )
    entries = [f"dict(name='{n}', profile='vault', config=dict(host='h', password='c4n4ry-{n}'))" for n in "ab"]
    problems = target_problems(tmp_path, *entries)
    assert problems == ("TARGETS[1] 'b' (vault): is the same place as TARGETS[0] 'a' (vault)",)
