"""How long it takes to verify a backup, and to start."""

import sys
from collections.abc import Generator
from pathlib import Path

from benchmarks.corpora import large
from benchmarks.measuring import PICKUP, Contest, Contestant, Goal, private, shell

_CONFIG = """
CONFIG_VERSION = (1, 0)
JOB = "bench"
COMPRESSION = "none"
GENERATORS = [dict(name="it", profile="command", config=dict(command="cat {folder}/large"))]
TARGETS = [dict(name="disk", profile="folder", config=dict(path="place"))]
STAGING_AREA, LOG_FOLDER, STATE_FOLDER, MIN_FREE = "staging", "state", "state", 0
"""


def verifying(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give the contest of `verify` and `sha256sum -c` on a backup of a large file."""
    config = private(folder / "config.py", _CONFIG.format(folder=folder))
    large(folder / "large", scale)
    Contestant([*PICKUP, "-c", config, "-q"]).run()
    sums = f"cd {folder}/place/bench/*Z; sha256sum --quiet -c SHA256SUMS"
    yield Contest(
        "verify a backup",
        {"sha256sum -c": Contestant(shell(sums)),
         "Pickup": Contestant([*PICKUP, "-c", config, "-q", "verify"])},
        [Goal("Pickup", 0.3, "sha256sum -c")],
    )  # fmt: skip


def starting(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give the contest of starting: the interpreter alone, the version, and a dry run of the example."""
    example = private(folder / "config.py", (Path(PICKUP[1]).parent / "config.py.example").read_text())
    yield Contest(
        "start",
        {"python -c pass": Contestant([sys.executable, "-c", "pass"]),
         "Pickup --version": Contestant([*PICKUP, "--version"]),
         "Pickup, dry run of the example": Contestant([*PICKUP, "-c", example, "-q", "run", "--dry-run"])},
        [Goal("Pickup --version", 2.5, "python -c pass"), Goal("Pickup, dry run of the example", 10, "python -c pass")],
    )  # fmt: skip
