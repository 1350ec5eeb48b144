"""Commands that are carried out in the process of the tests, whose logging is put back afterwards, and a home for them."""

import contextlib
import io
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pickup_core.catalogue import Catalogue
from pickup_core.cli import parser
from pickup_core.commands import carry_out
from pickup_core.manifest import encode
from target_profiles.folder import Config as FolderConfig
from target_profiles.folder import Target
from tests.builders import LOCAL, config_text, write_config
from tests.places import JOB, Made, make_backup, store_backup, store_nights

LONG_AGO = datetime(2025, 3, 1, 2, 15, tzinfo=timezone.utc)
LABEL = "command/system"

DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped": lambda path: path.write_bytes(path.read_bytes().replace(b'"ok"', b'"no"')),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "without its files": lambda path: shutil.rmtree(path.with_suffix("")),
}
"""What can become of a backup at a target, by its manifest."""


@dataclass(frozen=True)
class Done:
    """What a command ended with."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@contextlib.contextmanager
def own_logging() -> Iterator[None]:
    """Let what is done in the `with` set up the logging as it likes."""
    loggers = [logging.getLogger(), logging.getLogger("pickup")]
    before = [(logger, logger.level, logger.handlers) for logger in loggers]
    raises = logging.raiseExceptions
    for logger in loggers:
        logger.handlers = []
    try:
        yield
    finally:
        for logger, level, handlers in before:
            for handler in logger.handlers:
                handler.close()
            logger.handlers = handlers
            logger.setLevel(level)
        logging.raiseExceptions = raises


def carried_out(folder: Path, *words: object, needs_config: bool = True) -> Done:
    """Carry out a command with the config that lies in a folder, and give what came of it. What it raises passes."""
    config = ["-c", str(folder / "config.py")] if needs_config else []
    options = parser().parse_args([*config, *map(str, words)])
    out, err = io.StringIO(), io.StringIO()
    with own_logging(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = carry_out(options)
    return Done(status, out.getvalue(), err.getvalue())


def configure(home: Path, *names: str, retention: str = "None") -> None:
    """Write a config with a target for each name."""
    entry = 'dict(name="{0}", profile="folder", config=dict(path="{0}"), retention={1})'
    write_config(home, config_text(LOCAL, targets=f"[{', '.join(entry.format(name, retention) for name in names)}]"))


def stored(home: Path, target: str, count: int = 1, first: datetime = LONG_AGO, **facts: Any) -> list[str]:
    """Store a backup a night in a target's folder; give their names, the oldest first."""
    with Target(FolderConfig(path=home / target)) as store:
        store.create_root()
        nights = store_nights(store, home / f"nights-{target}-{first:%m%d}", count, first, **facts)
    return [night.manifest.id for night in nights]


def there(home: Path, target: str, job: str = JOB) -> list[str]:
    """Give the finished backups at a target, the oldest first."""
    backups = Catalogue(target, Target(FolderConfig(path=home / target))).backups(job)
    return sorted(backup.id for backup in backups if backup.is_finished)


def home_with_two_targets(tmp_path: Path) -> Path:
    """Give a folder with a config that has two targets, `one` and `two`."""
    targets = ", ".join(f'dict(name="{name}", profile="folder", config=dict(path="{name}"))' for name in ("one", "two"))
    write_config(tmp_path, config_text(LOCAL, "[]", f"[{targets}]"))
    return tmp_path


def keep(home: Path, night: int, *names: str, content: str = "", job: str = JOB) -> Made:
    """Store the backup of a night at the targets of these names."""
    data = (content or f"night {night}").encode()
    made = make_backup(home / f"made-{job}-{night}-{content}", LONG_AGO + timedelta(days=night), {LABEL: data}, job=job)
    for name in names:
        with Target(FolderConfig(path=home / name)) as store:
            store.create_root()
            store_backup(store, made)
    return made


def manifest_at(home: Path, target: str, made: Made) -> Path:
    return home / target / JOB / f"{made.manifest.id}.json"


def make_later(path: Path, made: Made) -> None:
    """Let a later version of Pickup have written a manifest."""
    path.write_bytes(encode(replace(made.manifest, format=(2, 0))))
