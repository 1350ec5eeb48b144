"""The config module: found, checked for who could have written it, run, and turned into entries.

Every problem is collected and reported at once, each with its place: `GENERATORS[2] 'web' (folder): config.port ...`.
"""

import contextlib
import difflib
import os
import re
import shlex
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BeforeValidator, Field, ValidationError

from pickup_core.artefact import folder_name
from pickup_core.errors import ConfigError, PickupError, Stopped
from pickup_core.options import Options
from pickup_core.profiles import config_class, load_profile
from pickup_core.retention import Policy
from pickup_core.secret import masked_source, redact, speaks_of_secret
from pickup_core.store import Store
from pickup_core.streams import Compression
from pickup_core.trust import read_trusted

CONFIG_VERSION = (1, 0)
FILE_NAME = "config.py"
_LOAD_SECONDS = 30
_CHECKOUT = Path(__file__).resolve().parent.parent
_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True)
class Reserve:
    """How much of a file system stays free: the larger of a share of it and a number of bytes."""

    share: float
    size: int

    @classmethod
    def parse(cls, value: object) -> "Reserve":
        """Read `0`, a number of bytes, `"2 GiB"` or `"5%"`. Raises `ValueError`."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%|[KMGT]iB|B|)", str(value))
        if found is None or isinstance(value, bool) or (found[2] == "%" and float(found[1]) >= 100):
            raise ValueError('should be a number of bytes, a size like "2 GiB" or a share like "5%"')
        number = float(found[1])
        return cls(number / 100, 0) if found[2] == "%" else cls(0.0, int(number * _UNITS[found[2]]))

    def of(self, total: int) -> int:
        """Give the bytes that stay free on a file system of `total` bytes."""
        return max(int(total * self.share), self.size)


def _parsed(parse: Callable[[Any], Any], kind: type) -> BeforeValidator:
    return BeforeValidator(lambda value: value if isinstance(value, kind) else parse(value))


_Compression = Annotated[Compression, _parsed(Compression.parse, Compression)]
_Reserve = Annotated[Reserve, _parsed(Reserve.parse, Reserve)]
_Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\A[^\x00-\x1f\x7f]*\z")]


class _Settings(Options):
    """The names of the config module that are not entries. The text under each is its help."""

    JOB: Annotated[str, Field(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,99}\z")] | None = None
    COMPRESSION: _Compression = Compression("zstd", 3)
    STAGING_AREA: Path = Field(default_factory=lambda: Path(f"/var/tmp/pickup-{os.geteuid()}"))  # noqa: S108 - checked
    MIN_FREE: _Reserve = Reserve(0.05, 2**30)
    LOG_FOLDER: Path = Field(default_factory=lambda: default_log_folder())
    STATE_FOLDER: Path = Field(default_factory=lambda: default_state_folder())
    LOGGING: dict[str, Any] | None = None


class _GeneratorKeys(Options):
    name: _Name
    profile: _Name
    config: dict[str, Any] = {}
    compression: _Compression | None = None


class _TargetKeys(Options):
    name: _Name
    profile: _Name
    config: dict[str, Any] = {}
    retention: Policy | None = None
    read_back: bool = False


Keys = TypeVar("Keys", _GeneratorKeys, _TargetKeys)


@dataclass(frozen=True)
class Entry(Generic[Keys]):
    """One entry of `GENERATORS` or `TARGETS`: its keys, its profile's module, and its checked options."""

    index: int
    keys: Keys
    module: ModuleType
    options: Options

    @property
    def name(self) -> str:
        return self.keys.name

    @property
    def profile(self) -> str:
        return self.keys.profile

    @property
    def label(self) -> str:
        """The entry as it is written in reports and retention: `postgres/main`."""
        return f"{self.profile}/{self.name}"


class GeneratorEntry(Entry[_GeneratorKeys]):
    """An entry that produces artefacts."""

    @property
    def folder(self) -> str:
        """The folder that its artefacts lie in, below a backup's."""
        return f"{folder_name(self.profile)}/{folder_name(self.name)}"

    @property
    def where(self) -> str:
        """The entry as messages name it."""
        return f"GENERATORS[{self.index}] {self.name!r} ({self.profile})"


class TargetEntry(Entry[_TargetKeys]):
    """An entry that keeps backups."""

    def store(self) -> Store:
        """Give a new store for this target, not yet open."""
        store: Store = self.module.Target(self.options)
        return store

    @property
    def where(self) -> str:
        """The entry as messages name it."""
        return f"TARGETS[{self.index}] {self.name!r} ({self.profile})"


@dataclass(frozen=True)
class Config:
    """A config that was checked. `masked_text` is its source without secrets; `job` is None where none can be told."""

    path: Path
    masked_text: str
    version: tuple[int, int]
    job: str | None
    generators: tuple[GeneratorEntry, ...]
    targets: tuple[TargetEntry, ...]
    compression: Compression
    staging_area: Path
    min_free: Reserve
    log_folder: Path
    state_folder: Path
    logging: Mapping[str, Any] | None


def find_config(given: Path | None) -> Path:
    """Give the config file: the given one, else beside `pickup.py`, in the user's or in the system's folder.

    Raises `ConfigError` that lists the places where there is none. It is never looked for in the working directory.
    """
    if given is not None:
        return given.absolute()
    places = _config_places()
    for place in places:
        if place.is_file():
            return place
    raise ConfigError("there is no config; looked for " + ", ".join(map(str, places)), hint="make one: pickup.py init")


def default_config_path() -> Path:
    """Give the place where a new config is made: beside `pickup.py`, or for the system or the user."""
    places = _config_places()
    return places[0] if in_checkout() or os.geteuid() != 0 else places[-1]


def _config_places() -> list[Path]:
    folders = [_CHECKOUT] if in_checkout() else []
    with contextlib.suppress(RuntimeError):  # cron without HOME, as a user without an entry in the password file
        folders.append(Path("~/.config/pickup").expanduser())
    return [folder / FILE_NAME for folder in (*folders, Path("/etc/pickup"))]


def in_checkout() -> bool:
    """Tell whether Pickup runs from a checkout or an unpacked source, and not from where a package was installed."""
    return (_CHECKOUT / "pickup.py").is_file()


def default_state_folder() -> Path:
    """Give the folder for the lock and the history where the config names none."""
    if in_checkout():
        return _CHECKOUT / "logs"
    return Path("/var/lib/pickup") if os.geteuid() == 0 else Path("~/.local/state/pickup").expanduser()


def default_log_folder() -> Path:
    """Give the folder for the log where the config names none."""
    return Path("/var/log/pickup") if os.geteuid() == 0 and not in_checkout() else default_state_folder()


def load_config(path: Path, generators: bool = True) -> Config:
    """Load and check a config file. Raises `ConfigError` with every problem that was found.

    With `generators=False` only what reading backups needs is checked: `GENERATORS` may be absent or wrong, and the host
    name need not tell the job.
    """
    source, status = read_trusted(path)
    names = _executed(path, source)
    problems: list[str] = []
    version = _version(names, problems)
    _check_spelling(names, problems)
    given = {name: names[name] for name in _Settings.model_fields if name in names}
    settings = _validated(_Settings, given, "", path.parent, problems)
    targets = [
        TargetEntry(*parts) for parts in _entries(names, "TARGETS", "target", _TargetKeys, path.parent, problems)
    ]
    produced = [
        GeneratorEntry(*parts)
        for parts in (
            _entries(names, "GENERATORS", "generator", _GeneratorKeys, path.parent, problems) if generators else ()
        )
    ]
    _check_places(targets, problems)
    masked = masked_source(source)
    if status.st_mode & 0o004 and masked != source:
        problems.append(f"{path} holds a secret and can be read by everybody. Hint: chmod 600 {shlex.quote(str(path))}")
    job = settings.JOB or _host_job() if settings else None
    if settings and generators and job is None:
        problems.append(f"JOB is missing, and the host name {socket.gethostname()!r} is no name to file backups under")
    if problems or settings is None:
        raise ConfigError(*(f"{path.name}: {problem}" for problem in problems), hint=f"mend {path}")
    return Config(
        path=path,
        masked_text=masked,
        version=version,
        job=job,
        generators=tuple(produced),
        targets=tuple(targets),
        compression=settings.COMPRESSION,
        staging_area=settings.STAGING_AREA,
        min_free=settings.MIN_FREE,
        log_folder=settings.LOG_FOLDER,
        state_folder=settings.STATE_FOLDER,
        logging=settings.LOGGING,
    )


def _executed(path: Path, source: str) -> dict[str, Any]:
    """Run the config under a private module name, for at most 30 seconds, and give its names."""
    module = ModuleType("pickup_config")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        with _time_limit(_LOAD_SECONDS):
            exec(compile(source, str(path), "exec"), vars(module))  # noqa: S102 - the config is code; its file was checked
    except (KeyboardInterrupt, Stopped):
        raise
    except PickupError as error:
        raise ConfigError(f"{path.name}{_line_in(path, error)}: {error.message}", hint=error.hint) from error
    except SyntaxError as error:
        raise ConfigError(f"{path.name}, line {error.lineno}: {error.msg}", hint=f"mend {path}") from error
    except BaseException as error:  # SystemExit too: a config that ends the process would end the backup silently
        what = redact(f"{type(error).__name__}: {error}")
        raise ConfigError(f"{path.name}{_line_in(path, error)}: {what}", hint=f"mend {path}") from error
    return vars(module)


@contextlib.contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"was still being loaded after {seconds} seconds")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _line_in(path: Path, error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return f", line {frames[-1].lineno}" if frames else ""


def _version(names: Mapping[str, Any], problems: list[str]) -> tuple[int, int]:
    version = names.get("CONFIG_VERSION")
    if not (isinstance(version, tuple) and len(version) == 2 and all(type(part) is int for part in version)):
        problems.append(f"CONFIG_VERSION is {version!r}, expected {CONFIG_VERSION}")
    elif version[0] != CONFIG_VERSION[0] or version > CONFIG_VERSION:
        problems.append(f"CONFIG_VERSION is {version}, but this Pickup reads {CONFIG_VERSION[0]}.0 to "
                        f"{CONFIG_VERSION[0]}.{CONFIG_VERSION[1]}; see the changelog for what has changed")  # fmt: skip
    else:
        return version
    return CONFIG_VERSION


def _check_spelling(names: Mapping[str, Any], problems: list[str]) -> None:
    """Report a name that is nearly one of Pickup's. Other names in capitals are the config's own business."""
    known = {"CONFIG_VERSION", "GENERATORS", "TARGETS", *_Settings.model_fields}
    for name in sorted(name for name in names if name.isupper() and name not in known):
        close = difflib.get_close_matches(name, known - set(names), 1, cutoff=0.8)
        if close:
            problems.append(f"unknown name {name}; did you mean {close[0]}?")


def _entries(
    names: Mapping[str, Any], list_name: str, kind: str, keys_class: type[Keys], folder: Path, problems: list[str]
) -> Iterator[tuple[int, Keys, ModuleType, Any]]:
    """Give index, keys, module and options of each entry of a list that is without a problem."""
    entries = names.get(list_name)
    if not isinstance(entries, list | tuple) or not entries:
        what = "is missing" if list_name not in names else "is empty" if entries in ([], ()) else "is not a list"
        problems.append(
            f"{list_name} {what}; expected a list of entries such as [dict(name=..., profile=..., config=...)]"
        )
        return
    seen: dict[str, int] = {}
    for index, raw in enumerate(entries):
        where = f"{list_name}[{index}]"
        if not isinstance(raw, Mapping):
            problems.append(f"{where}: expected dict(name=..., profile=..., config=...), got {type(raw).__name__}")
            continue
        where += f" {raw['name']!r}" if isinstance(raw.get("name"), str) else ""
        where += f" ({raw['profile']})" if isinstance(raw.get("profile"), str) else ""
        keys = _validated(keys_class, raw, f"{where}: ", folder, problems)
        module, options = _profile(kind, raw, where, folder, problems)
        if keys is None:
            continue
        other = seen.setdefault(folder_name(keys.name).casefold(), index)
        if other != index:
            problems.append(f"{where}: has the same name as {list_name}[{other}], or one that would share its folder")
        elif module is not None and options is not None:
            yield index, keys, module, options


def _profile(
    kind: str, raw: Mapping[str, Any], where: str, folder: Path, problems: list[str]
) -> tuple[ModuleType | None, Options | None]:
    if not isinstance(raw.get("profile"), str) or not isinstance(raw.get("config", {}), Mapping):
        return None, None  # reported with the keys
    try:
        module = load_profile(kind, raw["profile"], folder)
    except ConfigError as error:
        problems.append(f"{where}: {error.message}" + (f". Hint: {error.hint}" if error.hint else ""))
        return None, None
    return module, _validated(config_class(module), raw.get("config", {}), f"{where}: config.", folder, problems)


Model = TypeVar("Model", bound=Options)


def _validated(
    model: type[Model], values: Mapping[str, Any], prefix: str, folder: Path, problems: list[str]
) -> Model | None:
    """Give the model made of the values, or None and a line in `problems` for everything that is wrong with them."""
    try:
        return model.model_validate(dict(values), context={"folder": folder})
    except ValidationError as error:
        problems += [_sentence(prefix, one, model) for one in error.errors(include_url=False)]
        return None


def _sentence(prefix: str, error: Mapping[str, Any], model: type[Options]) -> str:
    place = prefix + ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        key = str(error["loc"][-1])
        known = list(model.model_fields if len(error["loc"]) == 1 else Policy.model_fields)
        close = difflib.get_close_matches(key, known, 1)
        return f"{place}: unknown key" + (
            f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(known)}"
        )
    if error["type"] == "missing":
        return f"{place}: is missing"
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"{place.removesuffix('.')}: {message}, got {_shown(error)}"


def _shown(error: Mapping[str, Any]) -> str:
    """Give a wrong value as a message may show it: not where it could be a secret, and not more than a line of it."""
    value, key = error["input"], str(error["loc"][-1]) if error["loc"] else ""
    if isinstance(value, str | int | float | None) and not speaks_of_secret(key):
        return redact(repr(value))[:80]
    return type(value).__name__


def _check_places(targets: Sequence[TargetEntry], problems: list[str]) -> None:
    seen: dict[str, TargetEntry] = {}
    for target in targets:
        other = seen.setdefault(target.store().place, target)
        if other is not target:
            problems.append(f"{target.where}: is the same place as {other.where}")


def _host_job() -> str | None:
    """Give the host name up to the first dot, or None where it would not tell this host from others."""
    name = socket.gethostname().split(".")[0]
    usable = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name) and not re.fullmatch(r"[0-9a-f]{12}", name)
    return name if usable and name != "localhost" else None
