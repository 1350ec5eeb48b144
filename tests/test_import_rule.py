"""The one-way rule of the design, read from the sources: who imports whom, and what some may not import at all."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pickup_core.commands import MODULES
from tests.builders import ROOT

CORE = {path.stem: path for path in sorted((ROOT / "pickup_core").glob("*.py")) if path.stem != "__init__"}
PROFILES = [path for kind in ("generator", "target") for path in sorted((ROOT / f"{kind}_profiles").glob("[!_]*.py"))]
BESIDE = [path for kind in ("generator", "target") for path in sorted((ROOT / f"{kind}_profiles").glob("_[!_]*.py"))]
SCRIPTS = [path for path in BESIDE if path.stem.endswith("_child")]
PARTS = [path for path in BESIDE if path not in SCRIPTS]
SHARED = [path for path in PARTS if not path.stem.startswith(tuple(f"_{profile.stem}_" for profile in PROFILES))]
SOURCES = [ROOT / "pickup.py", ROOT / "pickup_core/__init__.py", *CORE.values(), *PROFILES, *BESIDE]
OURS = ("pickup_core", "generator_profiles", "target_profiles")
API = ["archive", "artefact", "errors", "found", "options", "patterns", "process", "progress", "secret", "ssh", "store",
       "tls", "trust", "wording"]  # fmt: skip
IO = {"fcntl", "ftplib", "glob", "http", "io", "mmap", "os", "select", "shutil", "signal", "socket", "sqlite3", "ssl",
      "subprocess", "tempfile", "threading", "time", "urllib"}  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports_in(nodes: list[ast.stmt]) -> Iterator[str]:
    """Give the full name of everything that is imported there, at any depth; `from a import b` gives `a.b`."""
    for node in (below for statement in nodes for below in ast.walk(statement)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_by(path: Path) -> set[str]:
    return set(imports_in(tree_of(path).body))


def at_load(path: Path) -> set[str]:
    """Give what is imported when the module is loaded, and not only where a function is called."""
    code = [node for node in tree_of(path).body if not isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return set(imports_in(code))


def core_modules(names: set[str]) -> set[str]:
    """Give the modules of the core among what is imported."""
    parts = [name.split(".") for name in names if name.startswith("pickup_core.")]
    return {part[1] for part in parts if part[1] in CORE}


@pytest.mark.parametrize("path", [*PROFILES, *PARTS], ids=name_of)
def test_a_profile_imports_the_api_and_nothing_else_of_ours(path: Path) -> None:
    """A large one may have parts of its own in files beside it, `_NAME_PART.py`, and several may share one, `_PART.py`."""
    ours = {name for name in imported_by(path) if name.startswith(OURS)}
    assert ours, "every profile has an Artefact or a Store to import"
    own = f"{path.parent.name}._{path.stem.lstrip('_').partition('_')[0]}_"
    shared = [f"{each.parent.name}.{each.stem}." for each in SHARED if each.parent == path.parent]
    assert {name for name in ours if not name.startswith(("pickup_core.api.", own, *shared))} == set()


@pytest.mark.parametrize("path", SHARED, ids=name_of)
def test_a_part_that_profiles_share_knows_none_of_them(path: Path) -> None:
    assert not {name for name in imported_by(path) if name.startswith(OURS[1:])}
    users = [
        each
        for each in PROFILES
        if f"{path.parent.name}.{path.stem}" in {n.rpartition(".")[0] for n in imported_by(each)}
    ]
    assert len(users) > 1, "what one profile needs alone bears its name"


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_what_a_profile_gives_to_a_child_process_needs_the_standard_library_alone(path: Path) -> None:
    assert {name.partition(".")[0] for name in imported_by(path)} <= sys.stdlib_module_names


@pytest.mark.parametrize("path", [ROOT / "pickup.py", ROOT / "pickup_core/__init__.py", *CORE.values()], ids=name_of)
def test_the_core_names_no_profile(path: Path) -> None:
    assert not {name for name in imported_by(path) if name.startswith(OURS[1:])}
    texts = {node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant)}
    named = {text for text in texts if isinstance(text, str) and any(folder in text for folder in OURS[1:])}
    if path != CORE["profiles"]:
        assert named == set()
    else:
        assert {"generator_profiles", "target_profiles"} <= named


def test_the_core_has_no_cycle() -> None:
    below = {name: core_modules(imported_by(path)) for name, path in CORE.items()}
    below["commands"] |= set(MODULES.values())
    order: list[str] = []
    while below:
        free = sorted(name for name, needed in below.items() if needed <= set(order))
        assert free, f"a cycle among {sorted(below)}"
        order += free
        below = {name: needed for name, needed in below.items() if name not in free}
    assert order[-1] == "cli"


def test_the_api_stands_on_its_own_modules_alone() -> None:
    """What a profile sees does not depend on how a run goes."""
    reached, more = set(), {"api"}
    while more:
        reached |= more
        more = {below for name in more for below in core_modules(imported_by(CORE[name]))} - reached
    assert reached <= {"api", "child", "system_user", *API}
    assert core_modules(imported_by(CORE["errors"])) == set()


@pytest.mark.parametrize("name", ["retention", "manifest", "options"])
def test_what_decides_does_no_input_or_output(name: str) -> None:
    assert not {imported.partition(".")[0] for imported in imported_by(CORE[name])} & IO
    calls = [node for node in ast.walk(tree_of(CORE[name])) if isinstance(node, ast.Call)]
    called = [ast.unparse(call.func) for call in calls]
    assert not {"open", "print", "input", "exec", "eval", "__import__"} & set(called)
    touching = {"read_text", "read_bytes", "write_text", "write_bytes", "open", "stat", "exists", "is_file", "is_dir",
                "resolve", "mkdir", "unlink", "iterdir", "glob", "rglob", "now", "today", "utcnow"}  # fmt: skip
    assert not [call for call in called if call.rpartition(".")[2] in touching]


def test_options_ask_for_the_working_directory_only_where_there_is_no_config_file() -> None:
    tree = tree_of(CORE["options"])
    asking = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Path.cwd"]
    choices = [node for node in ast.walk(tree) if isinstance(node, ast.IfExp)]
    assert len(asking) == 1
    assert any(asking[0] in (choice.body, choice.orelse) for choice in choices)


def test_the_command_line_imports_little_before_it_knows_what_to_do() -> None:
    light = {"argparse", "collections", "contextlib", "datetime", "os", "pathlib", "re", "signal", "sys", "typing"}
    assert {name.partition(".")[0] for name in at_load(CORE["cli"])} == light | {"pickup_core"}
    assert core_modules(at_load(CORE["cli"])) == {"errors", "program"}
    assert core_modules(at_load(CORE["program"])) == set()
    assert {name.partition(".")[0] for name in at_load(CORE["program"])} == {"sys", "pathlib"}
    assert {name.partition(".")[0] for name in at_load(CORE["errors"])} <= {"collections", "enum", "signal", "typing"}
    assert {name.partition(".")[0] for name in imported_by(ROOT / "pickup_core/__init__.py")} == set()
    assert imported_by(ROOT / "pickup.py") <= {"os", "sys", "pickup_core.cli.main"}


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_module_is_imported_for_its_private_parts(path: Path) -> None:
    assert not [name for name in imported_by(path) if name.startswith(OURS) and name.rpartition(".")[2].startswith("_")
                and not name.endswith("__version__")]  # fmt: skip


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_child_is_started_through_a_shell(path: Path) -> None:
    """Injection: `shell=True` nowhere; nor `os.system` and its like."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            assert not [keyword for keyword in node.keywords if keyword.arg == "shell"], ast.unparse(node)
            assert ast.unparse(node.func) not in {"os.system", "os.popen", "subprocess.getoutput", "os.chdir"}


def public_definitions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Give each public class and function of a module, and each public method that is not an inherited one."""
    tree = tree_of(path)
    yield path.stem, tree
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{path.stem}.{node.name}", node


@pytest.mark.parametrize("path", [ROOT / "pickup.py", ROOT / "pickup_core/__init__.py", *CORE.values()], ids=name_of)
def test_everything_public_is_documented(path: Path) -> None:
    for name, node in public_definitions(path):
        docstring = ast.get_docstring(node)  # type: ignore[arg-type]
        assert docstring, f"{name} has no docstring"
        assert docstring.split("\n\n")[0].rstrip().endswith((".", ":")), f"{name}: the first part is no sentence"


@pytest.mark.parametrize("path", [*PROFILES, *BESIDE], ids=name_of)
def test_a_profile_is_documented(path: Path) -> None:
    assert ast.get_docstring(tree_of(path))


def test_the_map_of_the_package_names_every_module() -> None:
    text = ast.get_docstring(tree_of(ROOT / "pickup_core/__init__.py")) or ""
    assert set(CORE) <= set(re.findall(r"\w+", text))


@pytest.mark.parametrize("path", CORE.values(), ids=name_of)
def test_no_module_is_a_drawer_for_odds_and_ends(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "common", "manager", "base", "misc"}
