"""`python -m benchmarks [PART ...]`: run the contests and print their figures; `--write` puts them into the docs.

All figures of one contest come from one run in which the contestants take turns. What counts is their ratio: seconds of
one machine mean nothing on another.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from pathlib import Path

import pytest

from benchmarks.measuring import LIMIT, Contest, Failed, Part, umask
from benchmarks.page import Result, goals_of, lines_of, page
from benchmarks.parts.counting import counting
from benchmarks.parts.databases import databases
from benchmarks.parts.far import far
from benchmarks.parts.files import files
from benchmarks.parts.guarantees import guarantees
from benchmarks.parts.night import night
from benchmarks.parts.reading import starting, verifying
from benchmarks.parts.ssh import ssh
from benchmarks.parts.targets import three, uploads
from benchmarks.plot import plot

PARTS: Mapping[str, Part] = {
    "files": files, "guarantees": guarantees, "night": night, "databases": databases, "ssh": ssh, "far": far,
    "uploads": uploads, "three": three, "verify": verifying, "counting": counting, "start": starting,
}  # fmt: skip
DOCS = Path(__file__).resolve().parent.parent / "docs/explanation"


def main() -> int:
    """Run the parts that are named, or all; 1 where a contest could not be held."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--runs", type=int, default=5, help="how many runs of each count")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 takes a tenth of the data")
    parser.add_argument(
        "--limit", type=float, default=LIMIT, metavar="SECONDS", help="what no command may take longer than"
    )
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where to work; needs 8 GB")
    parser.add_argument("--write", action="store_true", help="write tables and plot into docs/explanation")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # rclone is one of the test extra
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # else nohup
            signal.signal(number, lambda number, _: sys.exit(128 + number))  # not before everything is cleared away
    results, failures = list[Result](), list[str]()
    for name in options.parts or PARTS:
        start = time.monotonic()
        try:
            with tempfile.TemporaryDirectory(prefix=f"pickup-bench-{name}-", dir=options.folder) as folder:
                hold(PARTS[name](Path(folder), options.scale), options.runs, options.limit, results, failures)
        except (Exception, pytest.skip.Exception) as error:  # noqa: BLE001 - the other parts can still be measured
            failures.append(f"part {name}: {type(error).__name__}: {error}")
            print(f"FAILED: {failures[-1]}", file=sys.stderr, flush=True)
        print(f"\npart {name}: {time.monotonic() - start:.0f} s", flush=True)
        if options.write:  # after each part, so that nothing is lost where one does not come to its end
            (DOCS / "figures.rst").write_text(page(results, options.runs, options.scale), encoding="utf-8")
            (DOCS / "figures.svg").write_text(plot(results), encoding="utf-8")
    print("\n" + "\n".join(f"{work}: {goal}: {figure} {state}" for work, goal, figure, state in goals_of(results)))
    print("".join(f"\nFAILED: {failure}" for failure in failures), file=sys.stderr)
    return bool(failures)


def hold(
    contests: Generator[Contest, None, None], runs: int, limit: float, results: list[Result], failures: list[str]
) -> None:
    """Hold the contests of a part, and add to the results; one that fails costs itself, and none of the others."""
    with contextlib.closing(contests), umask(0o022):
        for contest in contests:
            found = {}
            try:
                found = contest.held(runs, limit)
                print("\n".join(lines_of(contest, found)), flush=True)
            except Failed as error:
                failures.append(str(error))
                print(f"FAILED: {error}", file=sys.stderr, flush=True)
            results.append((contest, found))


if __name__ == "__main__":
    sys.exit(main())
