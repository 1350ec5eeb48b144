"""What reads backups: verify, list and prune; and how long it takes to start."""

import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from benchmarks.corpora import large
from benchmarks.measuring import PICKUP, Contest, Contestant, Goal
from pickup_core.catalogue import MARK_FILE
from pickup_core.manifest import backup_id
from pickup_core.publish import mark_text
from pickup_core.run import machine_digest
from tests.places import make_backup

_CONFIG = """
CONFIG_VERSION = (1, 0)
JOB = "bench"
COMPRESSION = "none"
GENERATORS = [dict(name="it", profile="command", config=dict(command="cat {folder}/large"))]
TARGETS = [dict(name="disk", profile="folder", config=dict(path="place"), retention=dict({policy}))]
STAGING_AREA, LOG_FOLDER, STATE_FOLDER, MIN_FREE = "staging", "state", "state", 0
"""
_BACKUPS = 10_000


def verifying(folder: Path, scale: float) -> Iterator[Contest]:
    """Give the contest of `verify` and `sha256sum -c` on a backup of a large file."""
    config = _config(folder, "last=3")
    large(folder / "large", scale)
    Contestant([*PICKUP, "-c", config, "-q"]).run()
    sums = f"cd {folder}/place/bench/*Z; sha256sum --quiet -c SHA256SUMS"
    yield Contest(
        "verify a backup",
        {"sha256sum -c": Contestant(["sh", "-ec", sums]),
         "Pickup": Contestant([*PICKUP, "-c", config, "-q", "verify"])},
        [Goal("Pickup", "sha256sum -c", 0.3)],
    )  # fmt: skip


def counting(folder: Path, scale: float) -> Iterator[Contest]:
    """Give the contests of `list` and `prune` where there are 10,000 backups, beside `find`, which looks at each name."""
    config, count = _config(folder, f"last={int(_BACKUPS * scale)}"), int(_BACKUPS * scale)
    for number in range(count):
        _make_backup(folder / "place/bench", datetime(2000, 1, 1, tzinfo=timezone.utc) + timedelta(hours=number))
    for command in ("list", "prune"):
        yield Contest(
            f"{command}, {count} backups",
            {"find": Contestant(["find", folder / "place", "-size", "+1000000k"]),
             "Pickup": Contestant([*PICKUP, "-c", config, "-q", command])},
        )  # fmt: skip


def starting(folder: Path, scale: float) -> Iterator[Contest]:
    """Give the contest of starting: the interpreter alone, the version, and a dry run of the example."""
    example = folder / "config.py"
    example.write_text((Path(PICKUP[1]).parent / "config.py.example").read_text())
    example.chmod(0o600)
    yield Contest(
        "start",
        {"python -c pass": Contestant([sys.executable, "-c", "pass"]),
         "Pickup --version": Contestant([*PICKUP, "--version"]),
         "Pickup, dry run of the example": Contestant([*PICKUP, "-c", example, "-q", "run", "--dry-run"])},
        [Goal("Pickup --version", "python -c pass", 2.5), Goal("Pickup, dry run of the example", "python -c pass", 10)],
    )  # fmt: skip


def _config(folder: Path, policy: str) -> Path:
    path = folder / "config.py"
    path.write_text(_CONFIG.format(folder=folder, policy=policy))
    path.chmod(0o600)
    return path


def _make_backup(job: Path, started: datetime) -> None:
    """Write a small finished backup as a run leaves it."""
    made = make_backup(
        job / backup_id(started), started, {"command/it": b"1\n"}, job=job.name, machine=machine_digest()
    )
    (made.folder / MARK_FILE).write_bytes(mark_text(job.name, made.manifest.id))
    (job / f"{made.manifest.id}.json").write_bytes(made.encoded)
