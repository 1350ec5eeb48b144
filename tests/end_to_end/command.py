"""The real `pickup.py`, started as cron starts it, and a site for it: a config and all folders that it uses.

After each command the site is looked over: nothing that Pickup made can be read by others (I7), no secret of the test
stands in anything that it wrote (I6), and a command that failed has said so (I11).
"""

import base64
import contextlib
import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
PICKUP = CHECKOUT / "pickup.py"
CRON = {"PATH": "/usr/bin:/bin"}
LONGEST = 60
JOB = "web"
CANARY = "Can't/be+seen=in the coal mine"


class Code(str):
    """Python source that stands in a config as it is."""

    __repr__ = str.__str__


@dataclass(frozen=True)
class Result:
    """What a command ended with."""

    arguments: tuple[str, ...]
    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"pickup {' '.join(self.arguments)}: status {self.status}\n--- out\n{self.out}--- err\n{self.err}---"

    @property
    def problems(self) -> str:
        """The errors and warnings on stderr, without what the message of a run with `-q` tells around them."""
        before, job, rest = self.err.partition("\n\njob ")
        return rest.split("\n\n")[1].rstrip("\n") + "\n" if job and "\n" not in before else self.err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def folder_entry(path: object = "source", name: str = "files", **options: object) -> dict[str, Any]:
    """Give a generator entry that archives a folder."""
    return {"name": name, "profile": "folder", "config": dict(path=str(path), **options)}


def command_entry(*words: str, name: str = "words", **options: object) -> dict[str, Any]:
    """Give a generator entry that keeps what a command prints."""
    return {"name": name, "profile": "command", "config": dict(command=list(words), **options)}


def shell_entry(text: str, name: str = "script", **options: object) -> dict[str, Any]:
    """Give a generator entry that keeps what a line of shell prints."""
    return {"name": name, "profile": "command", "config": dict(command=text, shell=True, **options)}


def target_entry(path: object = "backups", name: str = "disk", **keys: object) -> dict[str, Any]:
    """Give a target entry that keeps backups in a folder."""
    return dict(name=name, profile="folder", config={"path": str(path)}, **keys)


class Site:
    """A config, the folders that it names, and the command that is run with it.

    `canaries` are secrets of the test, which must not be seen anywhere; one stands in every config. `private` are the folders in which nothing may
    be open to group or others. `pickup` and `prefix` say what is run; `env` is its environment.
    """

    def __init__(self, folder: Path, pickup: Path = PICKUP) -> None:
        folder.mkdir(mode=0o700, parents=True)
        self.folder = folder
        self.config = folder / "config.py"
        self.source = folder / "source"
        self.backups = folder / "backups"
        self.staging = folder / "staging"
        self.state = folder / "state"
        self.log = folder / "log"
        self.private = [self.backups, self.staging, self.state, self.log]
        self.pickup = pickup
        self.prefix: Sequence[str] = ()
        self.env: Mapping[str, str] = CRON
        self.canaries = [CANARY]

    def configure(
        self,
        generators: Sequence[Mapping[str, Any]] | Code | None = None,
        targets: Sequence[Mapping[str, Any]] | Code | None = None,
        head: str = "",
        **settings: object,
    ) -> None:
        """Write the config: by default one that keeps the folder `source` in the folder `backups`."""
        names = {
            "CONFIG_VERSION": (1, 0),
            "JOB": JOB,
            "STAGING_AREA": "staging",
            "STATE_FOLDER": "state",
            "LOG_FOLDER": "log",
        }
        names |= {"MIN_FREE": 0, "CANARY_PASSWORD": CANARY} | settings
        names |= {"GENERATORS": [folder_entry()] if generators is None else generators}
        names |= {"TARGETS": [target_entry()] if targets is None else targets}
        self.write_config(head + "\n" + "".join(f"{name} = {value!r}\n" for name, value in names.items()))

    def write_config(self, text: str, mode: int = 0o600) -> None:
        self.config.write_text(text, encoding="utf-8")
        self.config.chmod(mode)

    def fill(self, files: Mapping[str, str | bytes] | None = None, below: str = "source") -> Path:
        """Write files below `source`, by default two small ones, and give the folder."""
        for name, content in (files or {"a.txt": "first\n", "deep/b.txt": "second\n"}).items():
            path = self.folder / below / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return self.folder / below

    def command(self, *arguments: object, config: bool = True) -> list[str]:
        """Give the words of a command line."""
        named = ["-c", str(self.config)] if config else []
        return [*self.prefix, sys.executable, str(self.pickup), *named, *map(str, arguments)]

    def start(self, *arguments: object, config: bool = True, **others: Any) -> "subprocess.Popen[bytes]":
        """Start the command, with its output to be read from it."""
        options: dict[str, Any] = {"env": self.env, "cwd": "/", "stdin": subprocess.DEVNULL}
        options |= {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | others
        return subprocess.Popen(self.command(*arguments, config=config), **options)

    def finish(self, process: "subprocess.Popen[bytes]", *arguments: object) -> Result:
        """Wait until a command ends, look the site over, and give its result."""
        try:
            out, err = process.communicate(timeout=LONGEST)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"still at work after {LONGEST} s\n{out!r}\n{err!r}") from None
        decoded = (text.decode("utf-8", "surrogateescape") for text in (out or b"", err or b""))
        result = Result(tuple(map(str, arguments)), process.returncode, *decoded)
        self.look_over(result)
        return result

    def run(self, *arguments: object, status: int | None = 0, **others: Any) -> Result:
        """Run the command, and see that it ends with the status."""
        result = self.finish(self.start(*arguments, **others), *arguments)
        assert status in (None, result.status), result
        return result

    def backup(self, *arguments: object, status: int = 0) -> str:
        """Run a backup and give its name."""
        before = set(self.names())
        result = self.run("-q", "run", *arguments, status=status)
        new = set(self.names()) - before
        assert len(new) == 1, result
        return new.pop()

    def names(self, target: Path | None = None) -> list[str]:
        """List the names of the backups that lie in a target's folder, finished or not, the newest first."""
        folder = (target or self.backups) / JOB
        return (
            sorted((path.name for path in folder.iterdir() if path.is_dir()), reverse=True) if folder.is_dir() else []
        )

    def listed(self, *arguments: object, status: int = 0) -> list[tuple[str, str]]:
        """Give name and status of each backup, as `list` tells them."""
        return [(each["backup"], each["status"]) for each in self.run("list", "--json", *arguments, status=status).json]

    def restored(self, *arguments: object, status: int = 0) -> Path:
        """Restore into a new folder and give it."""
        to = self.folder / f"restored-{time.monotonic_ns()}"
        self.run("restore", *arguments, "--to", to, status=status)
        return to

    def log_text(self) -> str:
        return (self.log / "pickup.log").read_text(encoding="utf-8")

    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.state / f"{JOB}.history.jsonl").read_text().splitlines()]

    def processes(self) -> list[int]:
        """List the processes that work in the site's folder, as commands that were left behind do."""
        found = []
        for path in [Path("/proc", name, "cwd") for name in os.listdir("/proc") if name.isdigit()]:
            with contextlib.suppress(OSError):
                if path.readlink().is_relative_to(self.folder) and is_running(int(path.parent.name)):
                    found.append(int(path.parent.name))
        return found

    def look_over(self, result: Result | None = None) -> None:
        """See that what must hold after every command does hold."""
        open_paths = [f"{path} {mode:o}" for path, mode in self._open_paths()]
        assert not open_paths, f"open to others (I7): {open_paths}\n{result}"
        for canary in self.canaries:
            seen = [place for place, content in self._written(result) for form in spellings(canary) if form in content]
            assert not seen, f"a secret stands in {seen} (I6)\n{result}"
        if result is not None:
            spoke = result.err.strip() or result.status == 128 + signal.SIGPIPE  # nobody reads any more
            assert result.status == 0 or spoke, f"failed without a word (I11)\n{result}"
            assert result.status != 0 or not result.err, f"went well, but wrote to stderr\n{result}"
            assert "Traceback" not in result.err, result

    def _open_paths(self) -> Iterator[tuple[str, int]]:
        for top in self.private:
            for path in (top, *all_below(top)):
                with contextlib.suppress(FileNotFoundError):
                    mode = path.lstat().st_mode
                    if not stat.S_ISLNK(mode) and mode & 0o077:
                        yield str(path), stat.S_IMODE(mode)

    def _written(self, result: Result | None) -> Iterator[tuple[str, bytes]]:
        if result is not None:
            yield "stdout", result.out.encode("utf-8", "surrogateescape")
            yield "stderr", result.err.encode("utf-8", "surrogateescape")
        for top in self.private:
            for path in all_below(top):
                yield str(path), os.fsencode(path.name)
                with contextlib.suppress(FileNotFoundError):
                    if path.is_file():
                        yield str(path), path.read_bytes()


def all_below(top: Path) -> Iterator[Path]:
    """Give all files and folders below a folder, in which another run may be at work."""
    for parent, folders, files in os.walk(top):
        yield from (Path(parent, name) for name in (*folders, *files))


def spellings(secret: str) -> set[bytes]:
    """Give the forms in which a secret could be seen."""
    encoded = base64.b64encode(secret.encode()).decode()
    forms = {secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret), urllib.parse.quote(secret)}
    forms |= {encoded, encoded.rstrip("="), shlex.quote(secret), repr(secret)[1:-1], json.dumps(secret)[1:-1]}
    return {form.encode() for form in forms}


def copied_tree(to: Path) -> Path:
    """Copy what a checkout needs to run into a new folder, without bytecode, and give the folder."""
    to.mkdir(mode=0o700)
    for name in ("pickup_core", "generator_profiles", "target_profiles"):
        shutil.copytree(CHECKOUT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(PICKUP, to)
    return to


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Wait until something is so; fail the test where it does not come to be."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"waited in vain: {what}"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Tell whether a process is there and not merely waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def end(pid: int) -> None:
    """End a process that a test has left behind on purpose, and its group where it leads one, as our children do."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL) if os.getpgid(pid) == pid else os.kill(pid, signal.SIGKILL)
