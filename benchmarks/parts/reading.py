"""What reads backups: verify, list and prune; and how long it takes to start."""

import hashlib
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

from benchmarks.corpora import large
from benchmarks.measuring import PICKUP, Contest, Contestant, Goal
from pickup_core.artefact import folder_name
from pickup_core.instructions import checksums
from pickup_core.manifest import EntryRecord, Manifest, StoredArtefact, StoredFile, backup_id, encode
from pickup_core.publish import mark_text
from pickup_core.run import machine_digest

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
    name, data = backup_id(started), b"1\n"
    folder = job / name
    path = f"command/{folder_name('it')}/output"
    (folder / path).parent.mkdir(parents=True)
    artefact = StoredArtefact(path, len(data), hashlib.sha256(data).hexdigest(), "output", len(data), "none")
    entry = EntryRecord("it", "command", "ok", (artefact,))
    mark = mark_text("bench", name)
    others = [StoredFile("PICKUP.txt", len(mark), hashlib.sha256(mark).hexdigest())]
    sums = checksums([artefact, *others]).encode()
    others.append(StoredFile("SHA256SUMS", len(sums), hashlib.sha256(sums).hexdigest()))
    manifest = encode(
        Manifest("1.0.0", "bench", "host", machine_digest(), name, started, started, (), (entry,), tuple(others))
    )
    contents = {path: data, "PICKUP.txt": mark, "SHA256SUMS": sums, "manifest.json": manifest}
    for each, content in contents.items():
        (folder / each).write_bytes(content)
    (job / f"{name}.json").write_bytes(manifest)
