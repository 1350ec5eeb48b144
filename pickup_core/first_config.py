"""The first config: the example, with an entry for all that was found on this host in place of its own.

What is to be found, a generator profile knows: it may have a function `discover(root, without)`, which looks below the
folder `root`, and nowhere else, for what it could back up with the rights of this user. It runs no program, connects to
nothing, and gives a `Found` for each thing. `without` are Pickup's own folders, which are not to be backed up.
"""

import json
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pickup_core.config import default_log_folder, default_staging_area, default_state_folder, host_job
from pickup_core.errors import ConfigError
from pickup_core.found import Found
from pickup_core.profiles import known_profiles, load_profile
from pickup_core.program import PROGRAM

_EXAMPLE = Path(__file__).with_name("config.py.example")
_LONGEST_LINE = 110
_HEAD = "# This is what init found on this machine, of what its user may read. Add what is missing.\n"

log = logging.getLogger("pickup.first_config")


@dataclass(frozen=True)
class FirstConfig:
    """The text of a config, and what was found for it: the label of each entry, and the sentence about it."""

    text: str
    found: Mapping[str, str]


def first_config(root: Path, beside: Path) -> FirstConfig:
    """Give a config for the host whose files lie below `root`; `beside` is the folder that it will lie in.

    It loads, and keeps the backups in a folder that is in none of them. Where nothing is found that this user may read,
    it backs up what the example does.
    """
    backups = _backups(root)
    without = [backups, *(folder.expanduser() for folder in (default_state_folder(), default_log_folder()))]
    entries = _entries(root, beside, list(dict.fromkeys(without)))
    text = _EXAMPLE.read_text(encoding="utf-8")
    if job := host_job():
        text = _replaced(text, r"(?m)^# JOB = .*$", f"JOB = {_written(job)}")
    text = _replaced(text, r"(?<=config=dict\(path=)\"backups\"", _written(str(backups)))
    defaults = {"LOG_FOLDER": default_log_folder(), "STATE_FOLDER": default_state_folder()}
    for name, folder in (defaults | {"STAGING_AREA": default_staging_area()}).items():
        text = _replaced(text, rf"(?m)(?<=^# {name} = )\".*\"$", _written(str(folder)))
    text = text.replace("pickup.py", PROGRAM)
    if entries:
        body = "".join(_entry(profile, found) for profile, found in entries)
        text = _replaced(text, r"(?ms)^GENERATORS = \[\n.*?^\]$", f"{_HEAD}GENERATORS = [\n{body}]")
    return FirstConfig(text, {f"{profile}/{found.name}": found.why for profile, found in entries})


def _backups(root: Path) -> Path:
    """Give the folder that backups are kept in: where Debian has its own, or in the user's home."""
    return root / "var/backups/pickup" if os.geteuid() == 0 else Path("~/backups/pickup").expanduser()


def _entries(root: Path, beside: Path, without: Sequence[Path]) -> list[tuple[str, Found]]:
    """Give what each profile finds; one that cannot be loaded, as its library is missing, finds nothing."""
    entries: list[tuple[str, Found]] = []
    for profile in known_profiles("generator", beside):
        try:
            module = load_profile("generator", profile, beside)
        except ConfigError as error:
            log.info("note: %s", error)
            continue
        discover: Callable[[Path, Sequence[Path]], Iterable[Found]] | None = getattr(module, "discover", None)
        entries += [(profile, found) for found in (discover(root, without) if discover else ())]
    return entries


def _replaced(text: str, pattern: str, new: str) -> str:
    """Put something in the one place of a text that a pattern matches."""
    [found] = re.finditer(pattern, text)
    return text[: found.start()] + new + text[found.end() :]


def _entry(profile: str, found: Found) -> str:
    """Give an entry as it is written in a config."""
    lines = [f"    # {' '.join(found.why.split())}", "    dict(", f"        name={_written(found.name)},"]
    lines.append(f"        profile={_written(profile)},")
    if found.config:
        items = [f"{key}={_written(value)}" for key, value in found.config.items()]
        line = f"        config=dict({', '.join(items)}),"
        long = ["        config=dict(", *(f"            {item}," for item in items), "        ),"]
        lines += [line] if len(line) <= _LONGEST_LINE else long
    return "\n".join([*lines, "    ),", ""])


def _written(value: Any) -> str:
    """Give a value as Python, with texts in double quotes and ASCII alone."""
    if isinstance(value, str):
        return json.dumps(value)
    return f"[{', '.join(map(_written, value))}]" if isinstance(value, list) else repr(value)
