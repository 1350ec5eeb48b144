"""A full backup of a folder, beside the pipeline that is its limit and the tools that people use for it."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.corpora import many, mixed
from benchmarks.measuring import PICKUP, Contest, Contestant, Goal, size_of

_TAR = (
    "tar --create --file=- --format=posix --pax-option=delete=atime,delete=ctime --sparse --xattrs --xattrs-include='*' "
    "--acls --selinux --quoting-style=escape"
)
_CONFIG = """
CONFIG_VERSION = (1, 0)
JOB = "bench"
GENERATORS = [dict(name="it", profile="folder", config=dict(path="{source}"))]
TARGETS = [dict(name="disk", profile="folder", config=dict(path="pickup"))]
STAGING_AREA, LOG_FOLDER, STATE_FOLDER, MIN_FREE = "staging", "state", "state", 0
"""
_SECRET = {"RESTIC_PASSWORD": "x", "BORG_PASSPHRASE": "x", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
_SNAPSHOTS = """config_version\t1.2
snapshot_root\t{folder}/rsnapshot/
cmd_rsync\t/usr/bin/rsync
retain\tnight\t2
backup\t{folder}/source/\there/
"""


def files(folder: Path, scale: float) -> Iterator[Contest]:
    """Give a contest for many small files, and one for files of all sizes."""
    for name, make in (("many", many), ("mixed", mixed)):
        there = folder / name
        make(there / "source", scale)
        yield Contest(
            f"full backup, {name}",
            _contestants(there),
            [Goal("Pickup", "tar | zstd, same options", 1.15), Goal("Pickup", "tar | zstd", 1.3),
             *([Goal("Pickup", "restic", 1 / 5), Goal("Pickup", "borg, lz4", 1 / 3)] if name == "many" else [])],
        )  # fmt: skip
        shutil.rmtree(there)


def _contestants(folder: Path) -> dict[str, Contestant]:
    (folder / "config.py").write_text(_CONFIG.format(source=folder / "source"))
    (folder / "config.py").chmod(0o600)
    (folder / "rsnapshot.conf").write_text(_SNAPSHOTS.format(folder=folder))
    zstd = f"zstd -q -3 -T2 > {folder}/limit"

    def kept(name: str) -> Callable[[], int]:
        return lambda: size_of(folder / name) if (folder / name).is_dir() else (folder / name).stat().st_size

    def gone(name: str) -> Callable[[], object]:
        return lambda: shutil.rmtree(folder / name, ignore_errors=True)

    def shell(text: str) -> list[str]:
        return ["sh", "-ec", text]

    def prepared(name: str, text: str) -> Callable[[], object]:
        def prepare() -> None:
            gone(name)()
            subprocess.run(shell(text), check=True, capture_output=True, env={**os.environ, **_SECRET})

        return prepare

    tools = {
        "tar | zstd, same options": Contestant(shell(f"cd {folder}; {_TAR} source | {zstd}"), stored=kept("limit")),
        "tar | zstd": Contestant(shell(f"cd {folder}; tar -cf - source | {zstd}"), stored=kept("limit")),
        "Pickup": Contestant([*PICKUP, "-c", folder / "config.py", "-q"], stored=kept("pickup"), after=gone("pickup/bench")),
        "restic": Contestant(
            ["restic", "-q", "-r", folder / "restic", "backup", folder / "source"], stored=kept("restic"), env=_SECRET,
            before=prepared("restic", f"restic -q init -r {folder}/restic"),
        ),
        "borg, lz4": Contestant(
            ["borg", "create", "-C", "lz4", f"{folder}/borg::a", folder / "source"], stored=kept("borg"), env=_SECRET,
            before=prepared("borg", f"borg init -e repokey-blake2 {folder}/borg"),
        ),
        "borg, zstd": Contestant(
            ["borg", "create", "-C", "zstd,3", f"{folder}/borg::a", folder / "source"], stored=kept("borg"), env=_SECRET,
            before=prepared("borg", f"borg init -e repokey-blake2 {folder}/borg"),
        ),
        "duplicity": Contestant(
            ["duplicity", "full", "--no-encryption", "--archive-dir", folder / "cache", folder / "source",
             f"file://{folder}/duplicity"], stored=kept("duplicity"),
            before=lambda: (gone("duplicity")(), gone("cache")()),
        ),
        "rsync -a": Contestant(
            ["rsync", "-a", f"{folder}/source/", f"{folder}/rsync"], stored=kept("rsync"), before=gone("rsync")
        ),
        "rsnapshot": Contestant(
            ["rsnapshot", "-c", folder / "rsnapshot.conf", "night"], stored=kept("rsnapshot"), before=gone("rsnapshot")
        ),
    }  # fmt: skip
    return {name: tool for name, tool in tools.items() if shutil.which(tool.command[0])}
