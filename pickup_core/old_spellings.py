"""What the script of 2010 called otherwise: its settings, the profiles and options of its entries.

Its configs are refused, and each difference is named in its new spelling. What it says under an old name is checked as
if it stood under the new one, so that one look tells everything that is wrong. That script does not change any more,
and neither do these tables, but for the new names in them.
"""

import shlex
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from pickup_core.entries import KINDS_OF_LISTS, place_of
from pickup_core.profiles import is_foreign
from pickup_core.program import PROGRAM

PAGE = "docs/how-to/come-from-2010.rst"
"""The page of the documentation that shows each difference."""


def _as_it_is(value: Any) -> Any:
    return value


def _as_words(value: Any) -> Any:
    try:
        return shlex.split(value) if isinstance(value, str) else value
    except ValueError:  # a quotation without its end
        return [value]


def _as_folders(value: Any) -> Any:
    return [word for word in _as_words(value) if word.startswith("/")] if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int) else value


def _as_one(value: Any) -> Any:
    return value[0] if isinstance(value, list | tuple) and len(value) == 1 else value


@dataclass(frozen=True)
class Renamed:
    """An option that is called otherwise now; `how` says what else is different, `convert` gives its value of now."""

    now: str
    how: str = ""
    convert: Callable[[Any], Any] = _as_it_is

    @property
    def sentence(self) -> str:
        return f"is now called {self.now}" + (f"; {self.how}" if self.how else "")


@dataclass(frozen=True)
class Gone:
    """A setting or option that there is no more; `instead` says what takes its place."""

    instead: str

    @property
    def sentence(self) -> str:
        return f"is gone: {self.instead}"


SETTINGS: Mapping[str, Renamed | Gone] = {
    "SOURCES": Renamed("GENERATORS"),
    "FIRST_TARGET_IS_STAGING": Gone(
        "leave it out; with STAGING_AREA on the disk of a target that is a folder, its files are linked, not copied"
    ),
}
"""The settings, by their old name."""

PROFILES = {("target", "dailyfolder"): "folder"}
"""The profiles that are called otherwise now."""

_ONE_OPTION_A_TEXT = "a list, each option with its value a text of its own"

OPTIONS: Mapping[tuple[str, str], Mapping[str, Renamed | Gone]] = {
    ("generator", "command"): {
        "returncodes_ok": Renamed("success_codes", "a list", _as_list),
        "popen_params": Gone("its cwd and env are the options cwd and env"),
    },
    ("generator", "postgres"): {
        "ignore_dbs": Renamed("exclude"),
        "compress_command": Gone('all artefacts are compressed; compression="gzip" beside config says how'),
        "pg_dump_params": Renamed(
            "pg_dump_options", f'{_ONE_OPTION_A_TEXT}; format="custom" takes the place of -F', _as_words
        ),
        "pg_dumpall_params": Renamed("pg_dumpall_options", _ONE_OPTION_A_TEXT, _as_words),
    },
    ("generator", "mysql"): {
        "mysqldump_params": Renamed("mysqldump_options", _ONE_OPTION_A_TEXT, _as_words),
        "connection_params": Gone("say host, port, socket, user, password, tls or defaults_file"),
    },
    ("generator", "remote_tar"): {
        "username": Renamed("user"),
        "hostname": Renamed("host"),
        "password": Gone("a key is used; key_file names it"),
        "key_filename": Renamed("key_file", "one file", _as_one),
        "tar_params": Renamed("path", "the folder or a list of them, without options of tar", _as_folders),
        "target_filename": Gone("the archive is called after its folder"),
        "tmpfolder": Gone("the archive is stored nowhere on that host"),
    },
    ("target", "ftp"): {
        "username": Renamed("user", "TLS is used too, unless tls=False"),
        "remote_folder": Renamed("path"),
        "dry_run": Gone(f"{PROGRAM} --dry-run does it"),
    },
    ("target", "rsync"): {
        "ssh_key": Renamed("key_file"),
    },
}
"""The options of each profile, by its kind, its name of now, and their old name."""


def modern_names(
    names: Mapping[str, Any], lists: Collection[str], beside: Path, differences: list[str]
) -> dict[str, Any]:
    """Give the names of a config as they are spelt now, with the entries of these lists; each difference adds a
    sentence, with its place, to `differences`.

    `beside` is the folder of the config. What a profile that is not Pickup's own calls its options is its own business.
    """
    modern = dict(names)
    for old, change in SETTINGS.items():
        if old in modern and (isinstance(change, Gone) or change.now in lists):
            differences.append(f"{old} {change.sentence}")
            value = modern.pop(old)
            if isinstance(change, Renamed):
                modern.setdefault(change.now, value)
    for list_name in lists:
        if isinstance(entries := modern.get(list_name), list | tuple):
            kind = KINDS_OF_LISTS[list_name]
            modern[list_name] = [
                _modern_entry(kind, entry, place_of(list_name, index, entry), differences)
                if isinstance(entry, Mapping) and not is_foreign(kind, entry.get("profile"), beside)
                else entry
                for index, entry in enumerate(entries)
            ]
    return modern


def _modern_entry(kind: str, entry: Mapping[str, Any], where: str, differences: list[str]) -> dict[str, Any]:
    modern, profile = dict(entry), entry.get("profile")
    if isinstance(profile, str) and (kind, profile) in PROFILES:
        modern["profile"] = PROFILES[kind, profile]
        differences.append(f"{where}: profile {profile!r} is now called {modern['profile']!r}")
    if not isinstance(modern.get("profile"), str) or not isinstance(modern.get("config"), Mapping):
        return modern
    options = dict(modern["config"])
    if kind == "target" and "retention" in options:
        policy = _policy(options.pop("retention"))
        modern.setdefault("retention", policy)
        said = _written(policy) if isinstance(policy, Mapping) else ""
        differences.append(f"{where}: config.retention: now stands beside config, not in it{said}")
    for old, change in OPTIONS.get((kind, modern["profile"]), {}).items():
        if old in options:
            value = options.pop(old)
            differences.append(f"{where}: config.{old}: {change.sentence}")
            if isinstance(change, Renamed):
                options.setdefault(change.now, change.convert(value))
    return {**modern, "config": options}


def _policy(value: Any) -> Any:
    """Give the retention of now for that of then: the arguments of a `timedelta`, or one."""
    if isinstance(value, timedelta):
        return {unit: getattr(value, unit) for unit in ("days", "seconds") if getattr(value, unit)}
    return value or None


def _written(policy: Mapping[str, Any]) -> str:
    return f": retention=dict({', '.join(f'{unit}={number!r}' for unit, number in policy.items())})"
