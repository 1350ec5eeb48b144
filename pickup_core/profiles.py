"""Finding and loading profiles: the modules that entries name.

A bare name is looked up in `generator_profiles/` or `target_profiles/` beside the config file, then among Pickup's own.
A dotted name is imported from the Python path.
"""

import ast
import difflib
import importlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pickup_core import api
from pickup_core.errors import ConfigError
from pickup_core.options import Options
from pickup_core.python2 import is_old
from pickup_core.store import Store
from pickup_core.trust import read_trusted

KINDS = {"generator": "generator_profiles", "target": "target_profiles"}
"""The two kinds of profile, and the name of the folder that each lies in."""

_OWN = Path(__file__).resolve().parent.parent
_CONTRACTS = {
    "generator": "it needs run(config, folder), and no init; docs/how-to/write-a-generator.rst says how",
    "target": "it needs a class Target(Store) with put, get, listdir, delete; docs/how-to/write-a-target.rst says how",
}


@dataclass(frozen=True)
class OptionManual:
    """What a profile's source says of one option."""

    name: str
    type: str
    default: str
    required: bool
    help: str


@dataclass(frozen=True)
class ProfileManual:
    """What a profile's source says of it: its docstring, and its options in their order."""

    name: str
    docstring: str
    options: tuple[OptionManual, ...]


def load_profile(kind: str, name: str, beside: Path) -> ModuleType:
    """Give the module of a profile; `beside` is the config file's folder.

    Raises `ConfigError` where there is none, where it cannot be imported, where it was written for another API version,
    or where it lacks what a profile of this kind has.
    """
    if _is_dotted(name):
        module = _imported(kind, name)
    else:
        path = find_profile(kind, name, beside)
        module = _imported(kind, f"{KINDS[kind]}.{name}") if path.parent.parent == _OWN else _executed(kind, name, path)
    _check_contract(kind, name, module)
    _check_version(name, getattr(module, "API_VERSION", None))
    _check_shape(kind, name, module)
    return module


def find_profile(kind: str, name: str, beside: Path) -> Path:
    """Give the file of a profile with a bare name. Raises `ConfigError` that suggests names where there is none."""
    for folder in (beside, _OWN):
        path = folder / KINDS[kind] / f"{name}.py"
        if name.isidentifier() and path.is_file():
            return path
    known = known_profiles(kind, beside)
    close = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
    raise ConfigError(f"there is no {kind} profile {name!r}", hint=hint)


def known_profiles(kind: str, beside: Path) -> list[str]:
    """List the bare names of all profiles of a kind."""
    files = (file for folder in {beside, _OWN} for file in (folder / KINDS[kind]).glob("*.py"))
    return sorted({file.stem for file in files if not file.name.startswith("_")})


def is_foreign(kind: str, name: Any, beside: Path) -> bool:
    """Tell whether the profile of this name is not Pickup's own: it lies beside the config, or on the Python path."""
    if not isinstance(name, str) or not name.isidentifier():
        return isinstance(name, str) and _is_dotted(name)
    return (beside / KINDS[kind] / f"{name}.py").is_file()


def config_class(module: ModuleType) -> type[Options]:
    """Give the profile's `Config`; one that takes no options where it has none."""
    return getattr(module, "Config", Options)


def describe(path: Path) -> ProfileManual:
    """Read a profile's manual from its source, which is not run."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    options: list[OptionManual] = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Config":
            for field, text in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    options.append(_option(field, field.target.id, text))
    return ProfileManual(path.stem, ast.get_docstring(tree) or "", tuple(options))


def manuals_of(kind: str, beside: Path, name: str | None) -> list[ProfileManual]:
    """Give the manuals of all profiles of a kind, or of the one of this name, if it is of that kind."""
    if name is not None and _is_dotted(name):
        path = _source_of(name)
        is_target = path is not None and "class Target" in path.read_text(encoding="utf-8")
        return [describe(path)] if path and is_target == (kind == "target") else []
    known = known_profiles(kind, beside)
    return [describe(find_profile(kind, each, beside)) for each in known if name in (None, each)]


def manual_text(kind: str, manual: ProfileManual) -> str:
    """Give a manual as text for a terminal."""
    lines = [f"{manual.name} ({kind} profile)", "", manual.docstring, ""]
    for option in manual.options:
        state = "required" if option.required else f"default {option.default}"
        lines += [f"  {option.name}: {option.type} ({state})", f"      {option.help}"]
    return "\n".join(lines).rstrip() + "\n"


def _is_dotted(name: str) -> bool:
    """Tell whether a name is that of a module in a package."""
    return "." in name and all(part.isidentifier() for part in name.split("."))


def _source_of(name: str) -> Path | None:
    """Give the source file of a module on the Python path, or None where there is none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _option(field: ast.AnnAssign, name: str, text: ast.stmt | None) -> OptionManual:
    is_help = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    raw = text.value.value if is_help else ""  # type: ignore[union-attr]
    default = _default(field.value)
    return OptionManual(
        name=name,
        type=ast.unparse(field.annotation),
        default=ast.unparse(default) if default is not None else "",
        required=default is None,
        help=" ".join(str(raw).split()),
    )


def _default(value: ast.expr | None) -> ast.expr | None:
    """Give the default of an option, where it has one: of `Field(60, gt=0)` it is the first argument."""
    if isinstance(value, ast.Call) and ast.unparse(value.func) == "Field":
        named = [keyword.value for keyword in value.keywords if keyword.arg in ("default", "default_factory")]
        return next(iter([*value.args, *named]), None)
    return value


def _imported(kind: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"profile {name!r} cannot be imported: {_sentence(error)}", hint=_hint(kind, error)
        ) from error


def _executed(kind: str, name: str, path: Path) -> ModuleType:
    """Run a profile that lies beside the config, from the text that was checked; no bytecode is written."""
    source, _ = read_trusted(path)
    module = ModuleType(f"pickup_{kind}_{name}", None)
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 - a profile is code, and its file was checked
    except (Exception, SystemExit) as error:
        raise ConfigError(f"profile {path} cannot be loaded: {_sentence(error)}", hint=_hint(kind, error)) from error
    return module


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _hint(kind: str, error: BaseException) -> str:
    if is_old(error):
        return f"it is written in Python 2. For Python 3 {_CONTRACTS[kind]}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"install the Python package that has the module {error.name!r}"
    return ""


def _check_contract(kind: str, name: str, module: ModuleType) -> None:
    """Refuse a profile of the script of 2010: `init(entry)` told it its entry, `run(staging_area)` did all the work."""
    if kind == "target" and hasattr(module, "Target"):
        return
    init, run = getattr(module, "init", None), getattr(module, "run", None)
    if inspect.isfunction(init) and inspect.isfunction(run) and len(inspect.signature(run).parameters) == 1:
        what = f"{kind} profile {name!r} is written for the script of 2010: it has init and run({{}})"
        raise ConfigError(what.format(*inspect.signature(run).parameters), hint=_CONTRACTS[kind])


def _check_version(name: str, version: Any) -> None:
    ours = api.API_VERSION
    hint = f"this Pickup has {ours}; a profile says for which it was written: API_VERSION = {ours}"
    if not (isinstance(version, tuple) and len(version) == 2 and all(isinstance(part, int) for part in version)):
        raise ConfigError(f"profile {name!r} has no API_VERSION of two numbers", hint=hint)
    if version[0] != ours[0] or version[1] > ours[1]:
        raise ConfigError(f"profile {name!r} is written for API_VERSION {version}", hint=hint)


def _check_shape(kind: str, name: str, module: ModuleType) -> None:
    if kind == "generator" and not callable(getattr(module, "run", None)):
        raise ConfigError(f"generator profile {name!r} has no function run(config, folder)")
    target = getattr(module, "Target", None)
    if kind == "target" and not (isinstance(target, type) and issubclass(target, Store)):
        raise ConfigError(f"target profile {name!r} has no class Target(Store)")
    config = getattr(module, "Config", Options)
    if not (isinstance(config, type) and issubclass(config, Options)):
        raise ConfigError(f"profile {name!r} has a Config that is no class Config(Options)")
