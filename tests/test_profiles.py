"""Profiles: found by name, trusted like the config, checked for their shape, described from their source."""

import sys
from pathlib import Path

import pytest

from pickup_core import api
from pickup_core.errors import ConfigError, PickupError
from pickup_core.options import Options
from pickup_core.profiles import (
    KINDS,
    config_class,
    describe,
    find_profile,
    known_profiles,
    load_profile,
    manual_text,
    manuals_of,
)
from tests.builders import ROOT

SMALLEST = '''"""One file, written into the folder."""
API_VERSION = (1, 0)


def run(config, folder):
    (folder / "hello.txt").write_text("Hello World!\\n")
'''


def write(folder: Path, source: str, kind: str = "generator", name: str = "mine") -> Path:
    path = folder / KINDS[kind] / f"{name}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return path


def refused(folder: Path, source: str, kind: str = "generator") -> PickupError:
    write(folder, source, kind)
    with pytest.raises(ConfigError) as caught:
        load_profile(kind, "mine", folder)
    return caught.value


def test_a_file_beside_the_config_is_a_profile(tmp_path: Path) -> None:
    write(tmp_path, SMALLEST)
    module = load_profile("generator", "mine", tmp_path)
    (tmp_path / "out").mkdir()
    module.run(None, tmp_path / "out")
    assert (tmp_path / "out/hello.txt").read_text() == "Hello World!\n"
    assert config_class(module) is Options
    assert sys.modules[module.__name__] is module


def test_a_file_beside_the_config_leaves_no_bytecode(tmp_path: Path) -> None:
    write(tmp_path, SMALLEST)
    load_profile("generator", "mine", tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["mine.py"]


def test_a_file_beside_the_config_comes_before_one_of_pickup(tmp_path: Path) -> None:
    write(tmp_path, SMALLEST, name="folder")
    assert find_profile("generator", "folder", tmp_path).parent.parent == tmp_path
    assert not hasattr(load_profile("generator", "folder", tmp_path), "Config")
    assert hasattr(load_profile("target", "folder", tmp_path), "Config")


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    """F8: it is executed."""
    path = write(tmp_path, SMALLEST)
    path.chmod(0o666)
    with pytest.raises(ConfigError, match="can be written by others, who could change what it says"):
        load_profile("generator", "mine", tmp_path)


def test_a_dotted_name_is_imported_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_backup").mkdir()
    (tmp_path / "acme_backup/redis.py").write_text(SMALLEST)
    monkeypatch.syspath_prepend(tmp_path)
    assert load_profile("generator", "acme_backup.redis", Path("/nonexistent")).__name__ == "acme_backup.redis"
    (manual,) = manuals_of("generator", tmp_path, "acme_backup.redis")
    assert manual.docstring == "One file, written into the folder."
    assert manuals_of("target", tmp_path, "acme_backup.redis") == []


@pytest.mark.parametrize("name", ["acme.redis", "os.path.nothing"])
def test_a_dotted_name_that_leads_nowhere_is_no_profile(tmp_path: Path, name: str) -> None:
    """F6: and none that the manual could show."""
    with pytest.raises(ConfigError, match="cannot be imported"):
        load_profile("generator", name, tmp_path)
    assert manuals_of("generator", tmp_path, name) == []


@pytest.mark.parametrize(
    "name", ["../mine", "./mine.py", "..", ".mine", "a..b", "/etc/passwd", "mine/", "", "-x", "MINE"]
)
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    """F6: though there is a file where it leads."""
    write(tmp_path, SMALLEST)
    (tmp_path / "mine.py").write_text(SMALLEST)
    with pytest.raises(ConfigError) as caught:
        load_profile("generator", name, tmp_path)
    assert caught.value.message == f"there is no generator profile {name!r}"
    assert manuals_of("generator", tmp_path, name) == []


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("x = = 1", "SyntaxError: invalid syntax"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import no_such_driver", "ModuleNotFoundError: No module named 'no_such_driver'"),
    ],
)
def test_a_profile_that_cannot_be_loaded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, what: str
) -> None:
    """F6: also one that would end the process, and so the backup, without a word."""
    error = refused(tmp_path, source)
    assert error.message.startswith(f"profile {tmp_path}/generator_profiles/mine.py cannot be loaded: {what}")
    assert error.hint == ("install the Python package that has the module 'no_such_driver'" if "driver" in what else "")
    (tmp_path / "acme_broken").mkdir()
    (tmp_path / "acme_broken/part.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"profile 'acme_broken\.part' cannot be imported"):
        load_profile("generator", "acme_broken.part", tmp_path)


@pytest.mark.parametrize("version", ["(1, 0)"])
def test_a_profile_of_this_version_is_taken(tmp_path: Path, version: str) -> None:
    """F6."""
    write(tmp_path, SMALLEST.replace("(1, 0)", version))
    assert load_profile("generator", "mine", tmp_path)


@pytest.mark.parametrize("version", ["(1, 1)", "(2, 0)", "(0, 0)"])
def test_a_profile_of_another_version_is_refused(tmp_path: Path, version: str) -> None:
    """F6."""
    error = refused(tmp_path, SMALLEST.replace("(1, 0)", version))
    assert error.message == f"profile 'mine' is written for API_VERSION {version}"
    assert error.hint.startswith(f"this Pickup has {api.API_VERSION}")


def test_a_profile_of_an_older_minor_version_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F6: what the API has keeps its meaning."""
    monkeypatch.setattr(api, "API_VERSION", (1, 3))
    write(tmp_path, SMALLEST)
    assert load_profile("generator", "mine", tmp_path)


@pytest.mark.parametrize("version", ["None", "1", "'1.0'", "(1,)", "[1, 0]", "('1', '0')"])
def test_a_version_is_two_numbers(tmp_path: Path, version: str) -> None:
    """F6."""
    error = refused(tmp_path, SMALLEST.replace("(1, 0)", version))
    assert error.message == "profile 'mine' has no API_VERSION of two numbers"
    assert "API_VERSION = (1, 0)" in error.hint


@pytest.mark.parametrize(
    ("kind", "source", "message"),
    [
        ("generator", "", "generator profile 'mine' has no function run(config, folder)"),
        ("generator", "run = 5", "generator profile 'mine' has no function run(config, folder)"),
        ("target", "", "target profile 'mine' has no class Target(Store)"),
        ("target", "class Target: pass", "target profile 'mine' has no class Target(Store)"),
        (
            "generator",
            "run = id\nclass Config: pass",
            "profile 'mine' has a Config that is no class Config(Options)",
        ),
        ("generator", "def run(): pass\nConfig = {}", "profile 'mine' has a Config that is no class Config(Options)"),
    ],
)
def test_a_profile_has_a_shape(tmp_path: Path, kind: str, source: str, message: str) -> None:
    """F6."""
    assert refused(tmp_path, f"API_VERSION = (1, 0)\n{source}\n", kind).message == message


OF_2010 = """CONFIG = {}
API_VERSION = (%s)

def init(source):
    CONFIG.update(source["config"])

def run(staging_area):
    open(staging_area + "/helloworld.txt", "w").write("Hello World!")
"""


@pytest.mark.parametrize("version", ["1, 0", "2, 0"])
@pytest.mark.parametrize(
    ("kind", "page"), [("generator", "docs/how-to/write-a-generator.rst"), ("target", "docs/how-to/write-a-target.rst")]
)
def test_a_profile_of_the_script_of_2010_is_told_the_contract_of_now(
    tmp_path: Path, kind: str, page: str, version: str
) -> None:
    """F6: it has a function run, which would fail at night."""
    error = refused(tmp_path, OF_2010 % version, kind)
    what = "is written for the script of 2010: it has init and run(staging_area)"
    assert error.message == f"{kind} profile 'mine' {what}"
    wanted = "run(config, folder), and no init" if kind == "generator" else "a class Target(Store) with put, get"
    assert error.hint.startswith(f"it needs {wanted}")
    assert f"; {page} says how" in error.hint
    assert (ROOT / page).is_file()


def test_a_target_may_have_helpers_that_are_called_so(tmp_path: Path) -> None:
    head = "from pickup_core.api import Store\nAPI_VERSION = (1, 0)\n"
    write(tmp_path, f"{head}class Target(Store): pass\ndef init(repository): pass\ndef run(command): pass\n", "target")
    assert load_profile("target", "mine", tmp_path).Target


@pytest.mark.parametrize("name", ["mine", "acme_old.part"])
@pytest.mark.parametrize("body", ["    print staging_area", "    try: pass\n    except OSError, e: pass"])
def test_a_profile_in_python_2_is_told_the_contract_of_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, body: str
) -> None:
    """F6."""
    source = f"def run(staging_area):\n{body}\n"
    write(tmp_path, source)
    (tmp_path / "acme_old").mkdir()
    (tmp_path / "acme_old/part.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_profile("generator", name, tmp_path)
    hint = "it is written in Python 2. For Python 3 it needs run(config, folder), and no init; "
    assert caught.value.hint == f"{hint}docs/how-to/write-a-generator.rst says how"


def test_a_profile_of_now_may_have_a_function_init(tmp_path: Path) -> None:
    write(tmp_path, SMALLEST + "\n\ndef init(source): pass\n")
    assert load_profile("generator", "mine", tmp_path)


def test_all_profiles_are_known_by_name(tmp_path: Path) -> None:
    write(tmp_path, SMALLEST)
    write(tmp_path, SMALLEST, name="_private")
    assert {"command", "folder", "sqlite", "mine"} <= set(known_profiles("generator", tmp_path))
    assert "_private" not in known_profiles("generator", tmp_path)
    assert "__init__" not in known_profiles("target", tmp_path)


DESCRIBED = '''"""Does something. More of it.

Example entry::

    dict(name="x", profile="mine")
"""
from pydantic import Field
from pickup_core.api import Options
raise RuntimeError("a manual is read, not run")

class Config(Options):
    path: str
    """Where
    it is."""
    level: int = Field(3, ge=0)
    """How much."""
    names: list[str] = Field(min_length=1)
    """Which ones."""
    folders: list[str] = Field(default_factory=list)
    """Where else."""
    silent: bool = False
    other = 5

    def method(self):
        """No option."""
'''


def test_a_manual_is_read_from_the_source(tmp_path: Path) -> None:
    manual = describe(write(tmp_path, DESCRIBED))
    assert manual.name == "mine"
    assert manual.docstring.startswith("Does something. More of it.\n\nExample entry::")
    assert [(o.name, o.type, o.default, o.required, o.help) for o in manual.options] == [
        ("path", "str", "", True, "Where it is."),
        ("level", "int", "3", False, "How much."),
        ("names", "list[str]", "", True, "Which ones."),
        ("folders", "list[str]", "list", False, "Where else."),
        ("silent", "bool", "False", False, ""),
    ]


def test_a_manual_as_text_shows_every_option(tmp_path: Path) -> None:
    text = manual_text("generator", describe(write(tmp_path, DESCRIBED)))
    assert text.startswith("mine (generator profile)\n\nDoes something. More of it.\n")
    assert "\n  path: str (required)\n      Where it is.\n" in text
    assert "\n  level: int (default 3)\n      How much.\n" in text
    assert text.endswith("\n")


def test_the_manual_of_one_profile_is_found_in_each_kind(tmp_path: Path) -> None:
    assert [manual.name for manual in manuals_of("generator", tmp_path, "folder")] == ["folder"]
    assert [manual.name for manual in manuals_of("target", tmp_path, "folder")] == ["folder"]
    assert manuals_of("target", tmp_path, "sqlite") == []
    assert [manual.name for manual in manuals_of("generator", tmp_path, None)] == known_profiles("generator", tmp_path)


OWN = [(kind, name) for kind in KINDS for name in known_profiles(kind, ROOT)]


@pytest.mark.parametrize(("kind", "name"), OWN)
def test_every_option_of_every_profile_has_a_help_text(kind: str, name: str) -> None:
    manual = describe(find_profile(kind, name, ROOT))
    assert [option.name for option in manual.options if not option.help] == []
    declared = config_class(load_profile(kind, name, ROOT)).model_fields
    assert [option.name for option in manual.options] == list(declared)
    assert [option.required for option in manual.options] == [field.is_required() for field in declared.values()]


@pytest.mark.parametrize(("kind", "name"), OWN)
def test_the_manual_of_every_profile_begins_with_a_sentence_and_has_an_example(kind: str, name: str) -> None:
    docstring = describe(find_profile(kind, name, ROOT)).docstring
    assert docstring.split("\n\n")[0].endswith(".")
    assert "Example entry::" in docstring
    assert f'profile="{name}"' in docstring
