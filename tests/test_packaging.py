"""What is installed beside the modules: man pages, which Sphinx builds from the pages of the reference, and examples."""

import runpy
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pickup_core import __version__, cli
from tests.builders import ROOT
from tests.servers.running import not_for_this_user, required

OURS = ("pickup_core", "generator_profiles", "target_profiles")


def packaged(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Give what setup.py says."""
    said: dict[str, Any] = {}
    tool = types.ModuleType("setuptools")
    tool.setup = said.update  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "setuptools", tool)
    runpy.run_path(str(ROOT / "setup.py"))
    return said


def test_the_examples_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    files = dict(packaged(monkeypatch)["data_files"])
    assert {ROOT / name for name in files["share/doc/pickup/examples"]} == set((ROOT / "docs/examples").iterdir())


def test_the_how_to_pages_that_messages_name_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    files = dict(packaged(monkeypatch)["data_files"])
    assert {ROOT / name for name in files["share/doc/pickup/how-to"]} == set((ROOT / "docs/how-to").glob("*.*"))


def test_the_version_stands_in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packaged(monkeypatch)["version"] == __version__
    places = [ROOT / "setup.py", ROOT / "pyproject.toml", ROOT / "docs/conf.py", ROOT / "Makefile", ROOT / "README.rst"]
    code = [path for folder in OURS for path in (ROOT / folder).glob("*.py")]
    found = [path for path in (*places, *code) if __version__ in path.read_text(encoding="utf-8")]
    assert found == [ROOT / "pickup_core/__init__.py"]


def test_man_pages_are_installed_where_they_were_built(monkeypatch: pytest.MonkeyPatch) -> None:
    files = dict(packaged(monkeypatch)["data_files"])
    for folder, name in {"share/man/man1": "pickup.1", "share/man/man5": "pickup-config.5"}.items():
        there = (ROOT / "docs/_build/man" / name).exists()
        assert files[folder] == [f"docs/_build/man/{name}"] * there


@pytest.fixture(scope="module")
def man(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder of man pages that were built anew."""
    if find_spec("sphinx") is None:
        not_for_this_user("Sphinx is not installed; make docs installs it")
    folder = tmp_path_factory.mktemp("man")
    words = ["sphinx", "-W", "-q", "-b", "man", "-d", folder / "doctrees", ROOT / "docs", folder / "pages"]
    subprocess.run([sys.executable, "-m", *words], check=True, timeout=300)
    return folder / "pages"


def shown(page: Path) -> str:
    """Give what man shows of a page."""
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "100", "MANROFFOPT": "-c"}
    words = [required("man"), "--local-file", "--no-hyphenation", page]
    text = subprocess.run(words, capture_output=True, text=True, env=env, timeout=60, check=True).stdout
    return subprocess.run(["col", "-bx"], input=text, capture_output=True, text=True, env=env, check=True).stdout


@pytest.mark.timeout(400)
def test_a_man_page_tells_of_every_command(man: Path) -> None:
    text = shown(man / "pickup.1")
    assert "NAME\n       pickup - a modular backup script for cron\n\nDESCRIPTION\n" in text
    [commands] = [action for action in cli.parser()._actions if action.dest == "command"]
    for name in commands.choices or ():
        assert f"\n   {name}\n" in text
    assert "<>" not in text, "a link to a page that is none"


@pytest.mark.timeout(400)
def test_a_man_page_tells_of_every_setting(man: Path) -> None:
    text = shown(man / "pickup-config.5")
    for name in ("GENERATORS", "TARGETS", "JOB", "STAGING_AREA", "retention", "read_back"):
        assert name in text
    assert "NAME\n       pickup-config - the config of Pickup" in text
