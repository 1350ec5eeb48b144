"""Small things that many tests need: a moment, a manifest, a holding, a config, a store in memory, another user."""

import base64
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pickup_core.artefact import Readable
from pickup_core.config import Config, load_config
from pickup_core.errors import ConfigError, ExitCode, NoRootError
from pickup_core.manifest import EntryRecord, Manifest, StoredArtefact, StoredFile, backup_id
from pickup_core.progress import Board, looking_on, showing
from pickup_core.retention import Holding
from pickup_core.store import BLOCK, Item, Store

ROOT = Path(__file__).resolve().parent.parent
NOBODY = 65534


def moment(text: str) -> datetime:
    """Give an aware moment in UTC, from `2026-11-23` or `2026-11-23 03:15:02`."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def artefact(path: str = "command/system/uname.txt", content: bytes = b"Linux\n", **changes: Any) -> StoredArtefact:
    """Give the record of an artefact that is stored as it is."""
    name = path.rpartition("/")[2]
    record = StoredArtefact(path, len(content), hashlib.sha256(content).hexdigest(), name, len(content), "none")
    return replace(record, **changes)


def entry(name: str = "system", profile: str = "command", status: str = "ok", **changes: Any) -> EntryRecord:
    """Give the record of an entry with one artefact, or with those in `artefacts=`."""
    artefacts = (artefact(f"{profile}/{name}/out.txt"),) if status == "ok" else ()
    return replace(EntryRecord(name, profile, status, artefacts), **changes)


def manifest(started: str = "2026-11-23 03:15:02", **changes: Any) -> Manifest:
    """Give the manifest of a small complete backup."""
    start = moment(started)
    small = Manifest(
        pickup="1.0.0",
        job="web01",
        host="web01.example.org",
        machine="0123456789abcdef",
        id=backup_id(start),
        started=start,
        finished=start,
        only=(),
        entries=(entry(),),
        others=(StoredFile("PICKUP.txt", 4, hashlib.sha256(b"mark").hexdigest()),),
    )
    return replace(small, **changes)


def holding(started: datetime | str, good: str = "", lossy: str = "", kept_because: str | None = None) -> Holding:
    """Give what a backup holds; the entries are words in a text."""
    start = moment(started) if isinstance(started, str) else started
    return Holding(backup_id(start), start, frozenset(good.split()), frozenset(lossy.split()), kept_because)


class MemoryStore(Store):
    """A store in memory that keeps the contract of `Store`: what it is given, and no more, it has."""

    def __init__(self) -> None:
        super().__init__(())
        self.files: dict[str, bytes] = {}
        self.has_root = True

    @property
    def place(self) -> str:
        return f"memory {id(self)}"

    def create_root(self) -> None:
        self.has_root = True

    def put(self, path: str, stream: Readable) -> None:
        self._check(path)
        if path in self.files:
            raise FileExistsError(f"{path} exists already")
        data = b""
        while block := stream.read(BLOCK):
            data += block
        self.files[path] = data

    def get(self, path: str) -> AbstractContextManager[Readable]:
        self._check(path)
        if path not in self.files:
            raise FileNotFoundError(f"{path} does not exist")
        return io.BytesIO(self.files[path])

    def listdir(self, folder: str = "") -> list[Item]:
        self._check(folder)
        start = f"{folder}/" if folder else ""
        below = {path.removeprefix(start): len(data) for path, data in self.files.items() if path.startswith(start)}
        folders = {path.partition("/")[0] for path in below if "/" in path}
        files = [Item(path, size) for path, size in below.items() if "/" not in path]
        return [*(Item(name, None) for name in folders), *files]

    def delete(self, path: str) -> None:
        self._check(path)
        self.files = {name: data for name, data in self.files.items() if not f"{name}/".startswith(f"{path}/")}

    def _check(self, path: str) -> None:
        if not self.has_root:
            raise NoRootError("the root is gone")
        for part in path.split("/") if path else ():
            if not re.fullmatch(r"[A-Za-z0-9._=~-]+", part) or part in (".", ".."):
                raise ValueError(f"{path!r} is no path that a store is given")


def config_text(head: str = "", generators: str | None = None, targets: str | None = None) -> str:
    """Give the source of a config that works; `head` stands before the entries."""
    generators = generators or '[dict(name="system", profile="command", config=dict(command="uname"))]'
    targets = targets or '[dict(name="disk", profile="folder", config=dict(path="backups"))]'
    return f'CONFIG_VERSION = (1, 0)\nJOB = "web01"\n{head}\nGENERATORS = {generators}\nTARGETS = {targets}\n'


LOCAL = 'STAGING_AREA = "area"\nSTATE_FOLDER = "state"\nLOG_FOLDER = "log"\nMIN_FREE = 0'
"""The head of a config whose folders all lie beside it."""


def write_config(folder: Path, text: str, mode: int = 0o600) -> Path:
    """Write `config.py` into a folder and give its path."""
    path = folder / "config.py"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path


def refusal(folder: Path, head: str) -> ConfigError:
    """Give why a config is refused that begins so."""
    with pytest.raises(ConfigError) as caught:
        load_config(write_config(folder, config_text(head)))
    assert caught.value.exit_code == ExitCode.CONFIG
    return caught.value


def loaded(folder: Path, text: str, generators: bool = True) -> Config:
    """Load a config of this text."""
    return load_config(write_config(folder, text), generators)


def problems_of(folder: Path, text: str, generators: bool = True) -> tuple[str, ...]:
    """Give what is wrong with a config of this text, each without the name of the file."""
    try:
        loaded(folder, text, generators)
    except ConfigError as error:
        return tuple(problem.removeprefix("config.py: ") for problem in error.problems)
    return ()


@contextmanager
def ordinary_folder() -> Iterator[Path]:
    """Give a folder that belongs to an ordinary user: to `nobody` where the tests run as root, else to us."""
    folder = Path(tempfile.mkdtemp(prefix="pickup-test-", dir="/tmp"))
    try:
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
        yield folder
    finally:
        for parent, folders, _ in os.walk(folder):
            for name in folders:
                os.chmod(os.path.join(parent, name), 0o700)
        shutil.rmtree(folder)


_AS_ORDINARY_USER = f"""
import importlib, os, pkgutil, _strptime, pickup_core
for module in pkgutil.iter_modules(pickup_core.__path__):
    importlib.import_module("pickup_core." + module.name)
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""


def python(code: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, with the checkout on its path."""
    words = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, **options)


def as_ordinary_user(code: str, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code as `nobody` where the tests run as root, else as we are."""
    return python(_AS_ORDINARY_USER + code, *arguments, **options)


@contextmanager
def seen_bytes() -> Iterator[Callable[[], int]]:
    """Look on, and give what tells how many bytes are shown to have gone."""
    board = Board()
    with looking_on(board), showing("here"):
        yield lambda: board.tasks[0].done


def tells(text: str, secret: str) -> bool:
    """Tell whether a text has a secret in it, as it is or as Python, JSON, a URL, a shell or base64 writes it."""
    forms = {secret, repr(secret)[1:-1], json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1],
             urllib.parse.quote(secret), urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret),
             base64.b64encode(secret.encode()).decode().rstrip("="), shlex.quote(secret)}  # fmt: skip
    return any(form in text for form in forms)


def plain_locale(**settings: str) -> dict[str, str]:
    """Give this environment without a locale, and with these settings: `LC_ALL="C"`, by default."""
    names = ("LC_", "LANG", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONCOERCECLOCALE")
    rest = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    return {**rest, **(settings or {"LC_ALL": "C", "PYTHONUTF8": "0"})}
