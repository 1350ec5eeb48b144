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
import stat
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from pickup_core import program
from pickup_core.encryption import Recipient, parse_recipients, recipients_in
from pickup_core.entries import GeneratorEntry, TargetEntry, generator_entries, target_entries, validated
from pickup_core.errors import ConfigError, PickupError, Stopped
from pickup_core.heartbeat import Heartbeat, heartbeat_of
from pickup_core.hooks import Hook
from pickup_core.masking import masked_source
from pickup_core.old_spellings import PAGE, modern_names
from pickup_core.options import Options, parsed
from pickup_core.program import PROGRAM, command_words, in_checkout
from pickup_core.python2 import name_of_now, old_lines
from pickup_core.room import Reserve
from pickup_core.secret import redact
from pickup_core.services import Service, services_of
from pickup_core.siblings import Siblings
from pickup_core.streams import Compression
from pickup_core.trust import read_trusted
from pickup_core.wording import names_in_words

CONFIG_VERSION = (1, 0)
FILE_NAME = "config.py"
_LOAD_SECONDS = 30


def command_line(config: "Config", *words: str) -> str:
    """Give a command for a shell that does something with this Pickup and this config."""
    return shlex.join([*command_words(), "-c", str(config.path), *words])


def default_state_folder() -> Path:
    """Give the folder for the lock and the history where the config names none; `~` is for `Options` to resolve."""
    if in_checkout():
        return program.CHECKOUT / "logs"
    return Path("/var/lib/pickup" if os.geteuid() == 0 else "~/.local/state/pickup")


def default_log_folder() -> Path:
    """Give the folder for the log where the config names none."""
    return Path("/var/log/pickup") if os.geteuid() == 0 and not in_checkout() else default_state_folder()


def default_staging_area() -> Path:
    """Give the staging area where the config names none: not below /tmp, which may be memory, and where somebody else
    has taken that name, a folder beside the history.
    """
    area = Path(f"/var/tmp/pickup-{os.geteuid()}")  # noqa: S108 - it is checked that it is ours
    if os.path.lexists(area) and area.lstat().st_uid != os.geteuid():
        return default_state_folder().expanduser() / "staging"
    return area


def job_name(name: str) -> str:
    """Give the name back where it can be that of a job, and so of a folder. Raises `ValueError` where it cannot."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError("should be made of letters, digits, dots, dashes and underscores, at most 100")
    return name


class _Settings(Options):
    """The names of the config module that are not entries."""

    JOB: Annotated[str, AfterValidator(job_name)] | None = None
    COMPRESSION: Annotated[Compression, parsed(Compression.parse, Compression)] = Compression("zstd", 3)
    ENCRYPTION: dict[str, Any] | None = None
    STAGING_AREA: Path | None = Field(default_factory=default_staging_area)
    MIN_FREE: Annotated[Reserve, parsed(Reserve.parse, Reserve)] = Reserve(0.05, 2**30)
    LOG_FOLDER: Path = Field(default_factory=default_log_folder)
    STATE_FOLDER: Path = Field(default_factory=default_state_folder)
    LOGGING: dict[str, Any] | None = None
    BEFORE: Hook | None = None
    AFTER: Hook | None = None
    NOTIFY: Any = ()
    HEARTBEAT_URL: Any = None
    METRICS_FILE: Path | None = None


@dataclass(frozen=True)
class Config:
    """A config that was checked. `masked_text` is its source without secrets, and `masked_modules` that of each module
    beside it that it imports, by its path from there; `job` is None where none can be told.

    `recipients` are those who can open what is backed up; nothing is encrypted where there are none.
    With `streams` no file of a backup goes through the staging area, which then is where generators have their folders.
    `raw_generators` are the dicts of `GENERATORS` as they stand there, checked or not. `named` are the settings that it
    names, and that are not left to their defaults.
    """

    path: Path
    named: frozenset[str]
    masked_text: str
    masked_modules: Mapping[str, str]
    at_hand: Callable[[], AbstractContextManager[None]]
    version: tuple[int, int]
    job: str | None
    generators: tuple[GeneratorEntry, ...]
    raw_generators: tuple[Mapping[str, Any], ...]
    targets: tuple[TargetEntry, ...]
    compression: Compression
    recipients: tuple[Recipient, ...]
    staging_area: Path
    streams: bool
    min_free: Reserve
    log_folder: Path
    state_folder: Path
    logging: Mapping[str, Any] | None
    before: Hook | None
    after: Hook | None
    services: tuple[Service, ...]
    heartbeat: Heartbeat | None
    metrics_file: Path | None


def find_config(given: Path | None) -> Path:
    """Give the config file: the given one, else beside `pickup.py`, in the user's or in the system's folder.

    Raises `ConfigError` that lists the places where there is none. It is never looked for in the working directory.
    """
    if given is not None:
        return given.absolute()
    places, closed = _config_places(), None
    for place in places:
        try:
            if stat.S_ISREG(place.stat().st_mode):
                return place
        except PermissionError:
            closed = closed or place
        except OSError:
            pass
    what = "there is no config; looked for " + ", ".join(map(str, places))
    if closed:
        hint = "run this as a user who may, or name a config: -c FILE"
        raise ConfigError(f"{what}; this user may not look into {closed.parent}", hint=hint)
    raise ConfigError(what, hint=f"make one: {PROGRAM} init")


def default_config_path() -> Path:
    """Give the place where a new config is made: beside `pickup.py`, or for the system or the user."""
    places = _config_places()
    return places[0] if in_checkout() or os.geteuid() != 0 else places[-1]


def _config_places() -> list[Path]:
    folders = [program.CHECKOUT] if in_checkout() else []
    with contextlib.suppress(RuntimeError):  # cron without HOME, as a user without an entry in the password file
        folders.append(Path("~/.config/pickup").expanduser())
    return [folder / FILE_NAME for folder in (*folders, Path("/etc/pickup"))]


def load_config(path: Path, generators: bool | None = True) -> Config:
    """Load and check a config file. Raises `ConfigError` with every problem that was found.

    With `generators=False` only what reading backups needs is checked: `GENERATORS` may be absent or wrong, and the
    host name need not tell the job. With None that is so where there are none.
    """
    source, status = read_trusted(path)
    with contextlib.suppress(SyntaxError, ValueError):  # which are told when it is run; the latter is for a NUL
        masked_source(source)  # so that no message of what goes wrong meanwhile shows a secret
    siblings = Siblings(path.parent)
    differences: list[str] = []
    given = _executed(path, source, siblings)
    generators = bool(given.get("GENERATORS")) if generators is None else generators
    lists = ("GENERATORS", "TARGETS") if generators else ("TARGETS",)
    names = modern_names(given, lists, path.parent, differences)
    problems: list[str] = []
    version = _version(names, problems, is_old=bool(differences))
    problems += differences
    _check_spelling(names, problems)
    named = {name: names[name] for name in _Settings.model_fields if name in names}
    settings = validated(_Settings, named, "", path.parent, problems)
    targets = target_entries(names, path.parent, problems)
    produced = generator_entries(names, path.parent, problems) if generators else []
    told: list[str] = problems if generators else []  # what is not told needs no address, but has to be masked
    services = services_of(settings.NOTIFY, path.parent, told) if settings else ()
    heartbeat = heartbeat_of(settings.HEARTBEAT_URL, told) if settings else None
    masked = _masked(path, source, bool(status.st_mode & 0o004), problems)
    modules = {
        str(file.path.relative_to(path.parent)): _masked(file.path, file.source, file.is_public, problems)
        for file in siblings.files
    }
    recipients: tuple[Recipient, ...] = ()
    if settings and generators and settings.STAGING_AREA is None:
        what = "needs the whole backup in a folder, and STAGING_AREA = None makes none. Hint: name a STAGING_AREA"
        problems += [f"{target.where}: {what}" for target in targets if not target.module.Target.takes_streams]
    if settings and generators and settings.ENCRYPTION is not None:
        recipients = _recipients(settings.ENCRYPTION, path.parent, problems)
    job = settings.JOB or host_job() if settings else None
    if settings and generators and job is None:
        problems.append(f"JOB is missing, and the host name {socket.gethostname()!r} is no name to file backups under")
    if problems or settings is None:
        more = f"; {PAGE} shows how a config of the script of 2010 is written now" if differences else ""
        more += f", or what it imports: {names_in_words(list(modules))}" if modules else ""
        raise ConfigError(*(f"{path.name}: {problem}" for problem in problems), hint=f"mend {path}{more}")
    return Config(
        path=path,
        named=frozenset(named),
        masked_text=masked,
        masked_modules=modules,
        at_hand=siblings.at_hand,
        version=version,
        job=job,
        generators=tuple(produced),
        raw_generators=_raw_generators(names),
        targets=tuple(targets),
        compression=settings.COMPRESSION,
        recipients=recipients,
        staging_area=settings.STAGING_AREA or default_staging_area(),
        streams=settings.STAGING_AREA is None,
        min_free=settings.MIN_FREE,
        log_folder=settings.LOG_FOLDER,
        state_folder=settings.STATE_FOLDER,
        logging=settings.LOGGING,
        before=settings.BEFORE,
        after=settings.AFTER,
        services=services,
        heartbeat=heartbeat,
        metrics_file=settings.METRICS_FILE,
    )


def _recipients(given: Mapping[str, Any], folder: Path, problems: list[str]) -> tuple[Recipient, ...]:
    """Give the recipients that ENCRYPTION names."""
    ways = {"recipients", "recipients_file"}
    try:
        if len(given) != 1 or not given.keys() <= ways:
            raise ValueError(f"should have one of the keys {' and '.join(sorted(ways))}, and no other")
        if "recipients" in given:
            return parse_recipients(given["recipients"])
        file = given["recipients_file"]
        if not isinstance(file, str | Path) or not str(file):
            raise ValueError("recipients_file should be the path of a file")
        return recipients_in(folder / Path(file).expanduser())
    except (ConfigError, ValueError) as error:
        problems.append(f"ENCRYPTION: {error}")
    return ()


def _masked(path: Path, source: str, is_public: bool, problems: list[str]) -> str:
    """Give the source of a file without its secrets; one that everybody may read must have none."""
    masked = masked_source(source)
    if is_public and masked != source:
        problems.append(f"{path} holds a secret and can be read by everybody. Hint: chmod 600 {shlex.quote(str(path))}")
    return masked


def _executed(path: Path, source: str, siblings: Siblings) -> dict[str, Any]:
    """Run the config under a private module name, for at most 30 seconds, and give its names."""
    module = ModuleType("pickup_config")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        with _time_limit(_LOAD_SECONDS):
            siblings.run(path, source, module)
    except (KeyboardInterrupt, Stopped):
        raise
    except PickupError as error:
        raise ConfigError(f"{_place_of(error, path, siblings)[0]}: {error.message}", hint=error.hint) from error
    except SyntaxError as error:
        if error.filename not in (None, str(path)):
            what = f"{error.filename}, line {error.lineno}: {error.msg}"
            place, _ = _place_of(error, path, siblings)
            raise ConfigError(f"{place}: {what}", hint=f"mend {error.filename}") from error
        if old := old_lines(source):
            told = [f"{path.name}, line {names_in_words(list(map(str, at)))}: {what}" for what, at in old.items()]
            what = f"{path.name} is written in Python 2, and this is Python 3, which reads no more of it"
            raise ConfigError(what, *told, hint=f"mend {path}; {PAGE} shows more") from error
        line = f", line {error.lineno}" if error.lineno else ""
        raise ConfigError(f"{path.name}{line}: {error.msg}", hint=f"mend {path}") from error
    except BaseException as error:  # SystemExit too: a config that ends the process would end the backup silently
        what = redact(f"{type(error).__name__}: {error}")
        what += f", which is Python 2; Python 3 has {now}" if (now := name_of_now(error)) else ""
        place, file = _place_of(error, path, siblings)
        raise ConfigError(f"{place}: {what}", hint=f"mend {file}") from error
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


def _place_of(error: BaseException, path: Path, siblings: Siblings) -> tuple[str, Path]:
    """Give the file that an error comes from, the config or one beside it: its name with the line, and its path."""
    known = {str(path), *(str(file.path) for file in siblings.files)}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in known]
    if not frames:
        return path.name, path
    file = Path(frames[-1].filename)
    return f"{os.path.relpath(file, path.parent)}, line {frames[-1].lineno}", file


def _raw_generators(names: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    entries = names.get("GENERATORS")
    return tuple(each for each in entries if isinstance(each, Mapping)) if isinstance(entries, list | tuple) else ()


def _version(names: Mapping[str, Any], problems: list[str], is_old: bool) -> tuple[int, int]:
    version = names.get("CONFIG_VERSION")
    if not (isinstance(version, tuple) and len(version) == 2 and all(type(part) is int for part in version)):
        state = f"is {version!r}" if "CONFIG_VERSION" in names else "is missing"
        problems.append(f"CONFIG_VERSION {state}, expected {CONFIG_VERSION}")
    elif version[0] != CONFIG_VERSION[0] or version > CONFIG_VERSION:
        major, minor = CONFIG_VERSION
        known = f"{major}.0 to {major}.{minor}" if minor else f"{major}.0"
        what = f"CONFIG_VERSION is {version}, but this Pickup reads {known}"
        why = f"the script of 2010 counted for itself; write {CONFIG_VERSION}" if is_old else ""
        problems.append(f"{what}; {why or 'see the changelog for what has changed'}")
    else:
        return version
    return CONFIG_VERSION


def _check_spelling(names: Mapping[str, Any], problems: list[str]) -> None:
    """Report a name that is nearly one of Pickup's. Other names are the config's own business."""
    known = {"CONFIG_VERSION", "GENERATORS", "TARGETS", *_Settings.model_fields}
    for name in sorted(name for name in names if not name.islower() and name not in known):
        close = difflib.get_close_matches(name.upper(), known - set(names), 1, cutoff=0.8 if name.isupper() else 1)
        if close:
            problems.append(f"unknown name {name}; did you mean {close[0]}?")


def host_job() -> str | None:
    """Give the host name up to the first dot, or None where it would not tell this host from others."""
    name = socket.gethostname().split(".")[0]
    is_container = re.fullmatch(r"[0-9a-f]{12}", name)
    try:
        return None if name == "localhost" or is_container else job_name(name)
    except ValueError:
        return None
