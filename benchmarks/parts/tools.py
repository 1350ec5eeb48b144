"""The tools that back up a folder: the pipeline that is their limit, Pickup, and those that people use for it."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measuring import LIMIT, PICKUP, Contestant, Failed, private, shell, size_of

TAR = (
    "tar --create --file=- --format=posix --pax-option=delete=atime,delete=ctime --sparse --xattrs --xattrs-include='*' "
    "--acls --selinux --quoting-style=escape"
)
"""GNU tar with the options that Pickup gives it."""
_CONFIG = """
CONFIG_VERSION = (1, 0)
JOB = "bench"
GENERATORS = [dict(name="it", profile="folder", config=dict(path={source!r}))]
TARGETS = [dict(name="disk", profile="folder", config=dict(path="kept"))]
STAGING_AREA, LOG_FOLDER, STATE_FOLDER, MIN_FREE = "staging", "state", "state", 0
"""
_SNAPSHOTS = """config_version\t1.2
snapshot_root\t{kept}/
cmd_rsync\t/usr/bin/rsync
retain\tnight\t2
backup\t{source}/\there/
"""
_BORGMATIC = """
source_directories: [{source}]
repositories: [{{path: {kept}/repository}}]
compression: lz4
"""
_OLD_BORGMATIC = """
location: {{source_directories: [{source}], repositories: [{kept}/repository]}}
storage: {{compression: lz4}}
"""  # before 1.8


@dataclass(frozen=True)
class Tool:
    """Something that backs a folder up, in a place of its own: what it keeps lies in `kept` there, its caches in `home`.

    `files` are written into the place first, and `init` makes a repository. `again` is the command of the second night
    where it is not that of the first.
    """

    place: Path
    backup: Sequence[str | Path]
    init: Sequence[str | Path] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    again: Sequence[str | Path] = ()

    @property
    def kept(self) -> Path:
        return self.place / "kept"

    @property
    def env(self) -> dict[str, str]:
        return {"HOME": f"{self.place}/home", "RESTIC_PASSWORD": "x", "BORG_PASSPHRASE": "x"}

    def make_place(self) -> None:
        """Have a place in which nothing was ever backed up."""
        shutil.rmtree(self.place, ignore_errors=True)
        for folder in (self.kept, self.place / "home"):
            folder.mkdir(parents=True)
        for name, text in self.files.items():
            private(self.place / name, text)
        if self.init:
            self.carry_out(self.init)

    def carry_out(self, command: Sequence[str | Path]) -> None:
        """Let it do something that is not measured. Raises `Failed` where it cannot."""
        env = {**os.environ, **self.env}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=LIMIT, check=False)
        if done.returncode != 0:
            raise Failed(f"{' '.join(map(str, command))} ended with status {done.returncode}: {done.stderr[-500:]}")

    def first_night(self) -> Contestant:
        """Give the work of backing up for the first time."""
        return Contestant(self.backup, before=self.make_place, stored=lambda: size_of(self.kept), env=self.env)

    def second_night(self) -> Contestant:
        """Give the work of backing up once more. The first time is now: what changes from here on is new. Each run finds
        the place as that has left it.
        """
        self.make_place()
        self.carry_out(self.backup)
        first = self.place.rename(self.place.with_name(f"{self.place.name}-first"))
        there = size_of(first / "kept")

        def be_after_the_first() -> None:
            shutil.rmtree(self.place, ignore_errors=True)
            self.carry_out(["cp", "--archive", first, self.place])

        return Contestant(
            self.again or self.backup,
            before=be_after_the_first,
            stored=lambda: size_of(self.kept) - there,
            env=self.env,
        )


def tools(source: Path, folder: Path) -> dict[str, Tool]:
    """Give those that are installed, with their places below a folder."""
    to = {name: folder / name for name in ("same", "plain", "pickup", "restic", "lz4", "zstd", "borgmatic", "duplicity",
                                           "rsync", "rsnapshot")}  # fmt: skip
    there = {name: {"source": str(source), "kept": str(place / "kept")} for name, place in to.items()}
    made = {
        "tar | zstd, same options": _piped(to["same"], source, TAR),
        "tar | zstd": _piped(to["plain"], source, "tar -cf -"),
        "Pickup": Tool(
            to["pickup"], [*PICKUP, "-c", to["pickup"] / "config.py", "-q"],
            files={"config.py": _CONFIG.format(**there["pickup"])},
        ),
        "restic": _restic(to["restic"], source),
        "borg, lz4": _borg(to["lz4"], source, "lz4"),
        "borg, zstd": _borg(to["zstd"], source, "zstd,3"),
        "borgmatic, lz4": Tool(
            to["borgmatic"], ["borgmatic", "-c", to["borgmatic"] / "borgmatic.yaml", "create"],
            _borg_init(to["borgmatic"]), {"borgmatic.yaml": _borgmatic_config().format(**there["borgmatic"])},
        ),
        "duplicity": Tool(
            to["duplicity"],
            ["duplicity", "--no-encryption", "--archive-dir", to["duplicity"] / "home", source,
             f"file://{to['duplicity']}/kept"],
        ),
        "rsync -a": Tool(
            to["rsync"], ["rsync", "-a", f"{source}/", to["rsync"] / "kept/first"],
            again=["rsync", "-a", "--link-dest=../first", f"{source}/", to["rsync"] / "kept/second"],
        ),
        "rsnapshot": Tool(
            to["rsnapshot"], ["rsnapshot", "-c", to["rsnapshot"] / "rsnapshot.conf", "night"],
            files={"rsnapshot.conf": _SNAPSHOTS.format(**there["rsnapshot"])},
        ),
    }  # fmt: skip
    return {name: tool for name, tool in made.items() if shutil.which(tool.backup[0])}


def incremental_tar(source: Path, place: Path) -> Tool:
    """Give GNU tar with the list of what it has seen before."""
    return _piped(place, source, f"tar -cf - --listed-incremental={place}/home/seen")


def _piped(place: Path, source: Path, tar: str) -> Tool:
    pipeline = f"cd {source.parent}; {tar} {source.name} | zstd -q -3 -T2 > {place}/kept/"
    return Tool(place, shell(f"{pipeline}first"), again=shell(f"{pipeline}second"))


def _restic(place: Path, source: Path) -> Tool:
    call: list[str | Path] = ["restic", "-q", "-r", place / "kept/repository"]
    return Tool(place, [*call, "backup", source], [*call, "init"])


def _borg_init(place: Path) -> list[str | Path]:
    return ["borg", "init", "-e", "repokey-blake2", place / "kept/repository"]


def _borg(place: Path, source: Path, compression: str) -> Tool:
    archive = f"{place}/kept/repository::{{utcnow}}"
    return Tool(place, ["borg", "create", "-C", compression, archive, source], _borg_init(place))


def _borgmatic_config() -> str:
    """Give its config as the version that is installed, if any, wants it."""
    if not shutil.which("borgmatic"):
        return ""
    said = subprocess.run(["borgmatic", "--version"], capture_output=True, text=True, check=True).stdout
    return _OLD_BORGMATIC if [int(number) for number in re.findall(r"\d+", said)[:2]] < [1, 8] else _BORGMATIC
