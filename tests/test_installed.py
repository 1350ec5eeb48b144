"""What `make dist` makes, installed as an administrator does it, on every Python that is here, and used from elsewhere.

`make test-dist` runs these. They see nothing of the checkout but the two packages in `dist`; the registry gives the rest.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pickup_core import __version__
from pickup_core.profiles import KINDS, known_profiles
from tests.builders import LOCAL, ROOT, config_text, write_config

pytestmark = [pytest.mark.dist, pytest.mark.timeout(600)]

OLDEST, NEWEST = 10, 13
MODULES = {"fast": "isal.igzip", "notify": "apprise", "objectstore": "obstore", "docs": "sphinx, furo", "dist": "build"}
"""What one can import when an extra is installed. The extra `test` is what `make test-pythons` has installed."""


def built(ending: str) -> Path:
    path = ROOT / "dist" / f"pickup-{__version__}{ending}"
    assert path.is_file(), f"{path.name} is not there; make dist makes it"
    return path


def wheel() -> Path:
    return built("-py3-none-any.whl")


@functools.cache
def python(minor: int) -> str | None:
    """Give a Python of this version that can make virtual environments, or None where there is none."""
    found = [shutil.which(f"python3.{minor}"), *map(str, Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python"))]
    for candidate in [sys.executable] * (sys.version_info[1] == minor) + [path for path in found if path]:
        code = f"import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, {minor}))"
        if subprocess.run([candidate, "-c", code], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def some_python(minors: range | reversed) -> str:  # type: ignore[type-arg]
    """Give the first of these Pythons that is here."""
    return next(found for minor in minors if (found := python(minor)))


def output(command: list[str | Path], status: int = 0, **places: str | Path) -> str:
    """Run a command and give all that it prints; `cwd` is where, any other place is a variable."""
    cwd = places.pop("cwd", "/")
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        command, cwd=cwd, env={**env, **{name: str(place) for name, place in places.items()}}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Give a folder that goes with the test: virtual environments are large."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@dataclass(frozen=True)
class Machine:
    """A virtual environment that has Pickup, and a folder that is HOME and working folder."""

    prefix: Path
    folder: Path
    command: Path

    def pip(self, *words: str | Path) -> str:
        return output([self.prefix / "bin/python", "-m", "pip", *words])

    def install(self, what: str | Path) -> None:
        self.pip("install", "--quiet", "--no-compile", what)  # what is used is compiled then

    def pickup(self, *words: str | Path, status: int = 0) -> str:
        return output([self.command, *words], status, cwd=self.folder, HOME=self.folder)

    def config(self, **lists: str) -> Path:
        return write_config(self.folder, config_text(LOCAL + "\n" + lists.pop("head", ""), **lists))


def new_machine(folder: Path, base: str, package: Path | None = None) -> Machine:
    """Make a clean virtual environment with this Python, and install the package into it."""
    output([base, "-m", "venv", folder / "venv"])
    (folder / "home").mkdir(mode=0o700)
    machine = Machine(folder / "venv", folder / "home", folder / "venv/bin/pickup")
    if package:
        machine.install(package)
    return machine


def see_that_it_works(machine: Machine) -> None:
    """Use every part of an installation: command, profiles, example config, a backup and its way back, files beside."""
    assert machine.pickup("--version") == f"Pickup {__version__}\n"
    profiles = {(each["kind"], each["name"]) for each in json.loads(machine.pickup("profiles", "--json"))}
    assert profiles == {(kind, name) for kind in KINDS for name in known_profiles(kind, ROOT)}
    machine.pickup("init", "config.py")
    assert "CONFIG_VERSION = (1, 0)" in (machine.folder / "config.py").read_text()
    (machine.folder / "notes").mkdir()
    (machine.folder / "notes/today.txt").write_text("Buy bread.\n")
    machine.config(generators='[dict(name="notes", profile="folder", config=dict(path="notes"))]')
    assert "folder/notes: ok" in machine.pickup("-c", "config.py", "check")
    assert machine.pickup("-c", "config.py", "-q") == ""
    [backup] = json.loads(machine.pickup("-c", "config.py", "list", "--json"))
    assert (backup["job"], backup["status"]) == ("web01", "complete")
    assert "is whole" in machine.pickup("-c", "config.py", "verify")
    machine.pickup("-c", "config.py", "restore", "--to", "restored")
    assert (machine.folder / "restored/folder/notes/notes/today.txt").read_text() == "Buy bread.\n"
    assert re.search(r"(?m)^complete .* pickup$", machine.pickup("completion", "bash"))
    said = machine.pickup("-c", "config.py", "find", "nothing", status=3)
    assert said.endswith("; pickup list shows the backups\n"), "what is installed has another name than a checkout"
    shared = {path.relative_to(machine.prefix / "share").as_posix() for path in (machine.prefix / "share").rglob("*.*")}
    pages = {f"doc/pickup/how-to/{page.name}" for page in (ROOT / "docs/how-to").iterdir()}
    examples = {f"doc/pickup/examples/{example.name}" for example in (ROOT / "docs/examples").iterdir()}
    assert shared >= {"man/man1/pickup.1", "man/man5/pickup-config.5", *pages, *examples}


@pytest.mark.parametrize("minor", range(OLDEST, NEWEST + 1))
def test_a_wheel_works_on_each_python(folder: Path, minor: int) -> None:
    base = python(minor) or pytest.skip(f"there is no Python 3.{minor} here")
    machine = new_machine(folder, base, wheel())
    see_that_it_works(machine)
    assert machine.pip("check") == "No broken requirements found.\n"
    where = output([machine.prefix / "bin/python", "-c", "import pickup_core; print(pickup_core.__file__)"])
    assert where.startswith(f"{machine.prefix}/lib/python3.{minor}/site-packages/")


LACKING = {
    "notify": ({"head": 'NOTIFY = ["json://localhost/a"]'}, "-m pip install apprise"),
    "objectstore": (
        {
            "targets": '[dict(name="s3", profile="object_store", config=dict(url="s3://a", endpoint="http://localhost:9"))]'
        },
        "-m pip install obstore",
    ),
}


def lacks(machine: Machine, extra: str) -> bool:
    """Tell whether a config that needs an extra is told to install it."""
    lists, hint = LACKING[extra]
    machine.config(**lists)
    words = [machine.command, "-c", "config.py", "check"]
    done = subprocess.run(words, cwd=machine.folder, env={"HOME": str(machine.folder), "PATH": "/usr/bin:/bin"},
                          text=True, capture_output=True, timeout=300, check=False)  # fmt: skip
    return hint in done.stderr


@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_the_source_package_works_and_each_extra_installs_what_it_names(folder: Path, end: str) -> None:
    minors = range(OLDEST, NEWEST + 1)
    base = some_python(minors if end == "oldest" else reversed(minors))
    machine = new_machine(folder, base, built(".tar.gz"))
    see_that_it_works(machine)
    with zipfile.ZipFile(wheel()) as archive:
        metadata = archive.read(f"pickup-{__version__}.dist-info/METADATA").decode()
    assert set(re.findall("(?m)^Provides-Extra: (.+)$", metadata)) == {*MODULES, "test"}
    assert all(lacks(machine, extra) for extra in LACKING)
    for extra, modules in MODULES.items():
        output([machine.prefix / "bin/python", "-c", f"import {modules}"], status=1)
        machine.install(f"pickup[{extra}]")
        output([machine.prefix / "bin/python", "-c", f"import {modules}"])
    assert not any(lacks(machine, extra) for extra in LACKING)
    assert machine.pip("check") == "No broken requirements found.\n"


def test_pipx_installs_it_and_puts_an_extra_beside_it(folder: Path) -> None:
    (folder / "tool").mkdir()
    tool = new_machine(folder / "tool", some_python(reversed(range(OLDEST, NEWEST + 1))))
    tool.install("pipx")
    home, commands, pages = folder / "pipx", folder / "bin", folder / "man"
    places = {"HOME": tool.folder, "PIPX_HOME": home, "PIPX_BIN_DIR": commands, "PIPX_MAN_DIR": pages,
              "PIP_CACHE_DIR": tool.pip("cache", "dir").strip()}  # fmt: skip
    output([tool.prefix / "bin/pipx", "install", wheel()], **places)
    machine = Machine(home / "venvs/pickup", tool.folder, commands / "pickup")
    see_that_it_works(machine)
    assert (pages / "man1/pickup.1").read_text() == (machine.prefix / "share/man/man1/pickup.1").read_text()
    assert lacks(machine, "notify")
    output([tool.prefix / "bin/pipx", "inject", "pickup", "apprise"], **places)
    assert not lacks(machine, "notify")


# What the packages hold


def test_the_source_package_holds_what_a_checkout_holds() -> None:
    tracked = output(["git", "ls-files"], cwd=ROOT).splitlines()
    with tarfile.open(built(".tar.gz")) as archive:
        names = {member.name.partition("/")[2] for member in archive if not member.isdir()}
    made = {name for name in names if re.match(r"PKG-INFO|setup\.cfg|pickup\.egg-info/", name)}
    pages = {"docs/_build/man/pickup.1", "docs/_build/man/pickup-config.5"}
    assert names - made == {name for name in tracked if not name.startswith(".")} | pages


def contents(path: Path) -> dict[str, str]:
    """Give each file of a wheel with its digest."""
    with zipfile.ZipFile(path) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def test_the_wheel_of_the_source_package_is_that_of_the_tree(folder: Path) -> None:
    ours = {"pickup_core", "generator_profiles", "target_profiles", "docs"}
    names = set(output(["git", "ls-files"], cwd=ROOT).splitlines())
    for name in (*sorted(names), *(f"docs/_build/man/{page}" for page in ("pickup.1", "pickup-config.5"))):
        if "/" not in name or name.partition("/")[0] in ours:
            (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "tree" / name)
    words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder / "dist", folder / "tree"]
    output([sys.executable, *words])
    [of_tree] = (folder / "dist").iterdir()
    assert of_tree.name == wheel().name
    assert contents(of_tree) == contents(wheel())
