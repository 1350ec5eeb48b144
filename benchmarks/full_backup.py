"""A full backup of many small files, beside the pipeline that is its limit: `tar | zstd`, with the same tar options.

    python benchmarks/full_backup.py [--files 100000] [--runs 5] [--folder /var/tmp]

Both are run in turn on the same files, after one run each that does not count. The figure to quote is the ratio of the
medians; seconds of one machine mean nothing on another. Pickup does more than the pipeline: it takes a digest, makes a
list of contents, syncs to the disk, and writes a manifest.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PICKUP = Path(__file__).resolve().parent.parent / "pickup.py"
TAR = [
    "tar", "--create", "--file=-", "--format=posix", "--pax-option=delete=atime,delete=ctime", "--sparse", "--xattrs",
    "--xattrs-include=*", "--acls", "--selinux", "--quoting-style=escape", "many",
]  # fmt: skip
CONFIG = """
CONFIG_VERSION = (1, 0)
JOB = "bench"
GENERATORS = [dict(name="many", profile="folder", config=dict(path="many"))]
TARGETS = [dict(name="disk", profile="folder", config=dict(path="target"))]
STAGING_AREA, LOG_FOLDER, STATE_FOLDER, MIN_FREE = "staging", "state", "state", 0
"""


def main() -> None:
    """Run the benchmark and print one line per figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=100_000, help="how many files of 1 to 8 KiB")
    parser.add_argument("--runs", type=int, default=5, help="how many runs of each count")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where to work; needs 6 KiB a file")
    options = parser.parse_args()
    os.umask(0o077)
    with tempfile.TemporaryDirectory(prefix="pickup-bench-", dir=options.folder) as name:
        folder = Path(name)
        make_many(folder / "many", options.files)
        (folder / "config.py").write_text(CONFIG)
        figures = in_turn([lambda: pickup(folder), lambda: pipeline(folder)], options.runs)
    (pickup_seconds, pickup_peak), (pipeline_seconds, pipeline_peak) = figures
    print(f"wall time, Pickup / tar | zstd -3 -T2: {pickup_seconds / pipeline_seconds:.2f}")
    print(f"peak memory of the largest process: Pickup {pickup_peak} MiB, tar | zstd {pipeline_peak} MiB")


def make_many(folder: Path, count: int) -> None:
    """Make text-like files of 1 to 8 KiB, 250 in a folder; the same ones at each call."""
    chance = random.Random(1)  # noqa: S311 - the same files every time are the point
    words = [bytes(chance.choices(b"abcdefghijklmnopqrstuvwxyz", k=chance.randint(2, 9))) for _ in range(3000)]
    for number in range(count):
        parent = folder / f"{number // 250:04d}"
        parent.mkdir(parents=True, exist_ok=True)
        size = chance.randint(1024, 8192)
        (parent / f"{number:06d}.txt").write_bytes(b" ".join(chance.choices(words, k=size // 6))[:size])


def pickup(folder: Path) -> tuple[float, int]:
    """Run Pickup, and clear its target afterwards."""
    figures = measured([sys.executable, str(PICKUP), "-c", str(folder / "config.py"), "-q"], folder)
    shutil.rmtree(folder / "target" / "bench")
    return figures


def pipeline(folder: Path) -> tuple[float, int]:
    """Run tar and zstd in a pipe."""
    words = " ".join(f"'{word}'" for word in TAR)
    return measured(["sh", "-c", f"{words} | zstd -q -3 -T2 > limit.tar.zst"], folder)


def measured(command: Sequence[str], folder: Path) -> tuple[float, int]:
    """Give the wall time in seconds, and the peak memory in MiB of the largest process, of a command."""
    start = time.monotonic()
    process = subprocess.Popen(command, cwd=folder)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with status {process.returncode}")
    return time.monotonic() - start, usage.ru_maxrss // 1024


def in_turn(works: Sequence[Callable[[], tuple[float, int]]], runs: int) -> list[tuple[float, int]]:
    """Run each work in turn, once to warm up and then `runs` times; give median time and highest peak of each."""
    results: list[list[tuple[float, int]]] = [[] for _ in works]
    for _ in range(runs + 1):
        for work, found in zip(works, results, strict=True):
            found.append(work())
    counted = [found[1:] for found in results]
    return [(statistics.median(time for time, _ in found), max(peak for _, peak in found)) for found in counted]


if __name__ == "__main__":
    main()
