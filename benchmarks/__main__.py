"""`python -m benchmarks [PART ...]`: run the contests and print their figures; `--write` puts them into the docs.

All figures of one contest come from one run in which the contestants take turns. What counts is their ratio: seconds of
one machine mean nothing on another.
"""

import argparse
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.measuring import Contest, Figures, Part, umask
from benchmarks.parts.databases import databases
from benchmarks.parts.files import files
from benchmarks.parts.reading import counting, starting, verifying
from benchmarks.parts.targets import ssh, three, uploads
from pickup_core import __version__

PARTS: Mapping[str, Part] = {
    "files": files, "databases": databases, "ssh": ssh, "uploads": uploads, "three": three, "verify": verifying,
    "counting": counting, "start": starting,
}  # fmt: skip
DOCS = Path(__file__).resolve().parent.parent / "docs/explanation"
_VERSIONS = ("tar --version", "zstd --version", "restic version", "borg --version", "duplicity --version",
             "rsync --version", "rsnapshot version", "ssh -V", "curl --version", "rclone version",
             "pg_dump --version", "mariadb-dump --version")  # fmt: skip
_MOST_MEBIBYTES = 120
_BAR, _LINE, _LABEL, _WIDEST = 14, 20, 260, 460

Result = tuple[Contest, dict[str, Figures]]


def main() -> None:
    """Run the parts that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--runs", type=int, default=5, help="how many runs of each count")
    parser.add_argument("--scale", type=float, default=1.0, help="0.1 takes a tenth of the data")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where to work; needs 8 GB")
    parser.add_argument("--write", action="store_true", help="write table and plot into docs/explanation")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    results: list[Result] = []
    with umask(0o022):
        for name in options.parts or PARTS:
            with tempfile.TemporaryDirectory(prefix=f"pickup-bench-{name}-", dir=options.folder) as folder:
                for contest in PARTS[name](Path(folder), options.scale):
                    results.append((contest, contest.held(options.runs)))
                    print("\n".join(lines_of(*results[-1])), flush=True)
    print(f"\ngoal: {memory_goal(results)}")
    if options.write:
        (DOCS / "figures.rst").write_text(page(results, options.runs, options.scale), encoding="utf-8")
        (DOCS / "figures.svg").write_text(plot(results), encoding="utf-8")


def lines_of(contest: Contest, found: Mapping[str, Figures]) -> list[str]:
    """Give the figures of a contest as lines of text."""
    first = next(iter(found.values()))
    lines = ["", f"{contest.name} (compared with {next(iter(found))}: {first.wall:.2f} s)"]
    lines += [
        f"  {name:<32} wall {figures.wall / first.wall:6.2f}   cpu {figures.cpu / max(first.cpu, 0.001):6.2f}   "
        f"peak {figures.peak:5.0f} MiB" + (f"   stored {figures.stored / 1e6:.1f} MB" if figures.stored else "")
        for name, figures in found.items()
    ]
    return lines + [f"  goal: {sentence}" for sentence in goals_of(contest, found)]


def goals_of(contest: Contest, found: Mapping[str, Figures]) -> list[str]:
    """Say of each goal of a contest whether it was reached."""
    said = []
    for goal in contest.goals:
        if goal.ours in found and goal.than in found:
            ratio = found[goal.ours].wall / found[goal.than].wall
            state = "reached" if ratio <= goal.most else "not reached"
            said.append(f"{goal.ours} / {goal.than} at most {goal.most:.2f}: {ratio:.2f}, {state}")
    return said


def memory_goal(results: Sequence[Result]) -> str:
    """Say whether the goal for the memory of all works together was reached."""
    most = max(figures.peak for _, found in results for name, figures in found.items() if name.startswith("Pickup"))
    state = "reached" if most <= _MOST_MEBIBYTES else "not reached"
    return f"peak memory of Pickup at most {_MOST_MEBIBYTES} MiB: {most:.0f}, {state}"


def page(results: Sequence[Result], runs: int, scale: float) -> str:
    """Give the part of the docs that shows the figures."""
    parts = [f"Medians of {runs} runs with Pickup {__version__} on {datetime.now(timezone.utc):%Y-%m-%d}, {os.cpu_count()} cores, "
             f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
             + ("." if scale == 1 else f", with {scale:g} times the usual data.")]  # fmt: skip
    for contest, found in results:
        first = next(iter(found.values()))
        rows = [".. list-table::", "   :header-rows: 1", "   :widths: 34 12 12 14 14", "",
                "   * - " + contest.name, "     - wall time", "     - CPU", "     - peak, MiB", "     - stored, MB"]  # fmt: skip
        for name, figures in found.items():
            stored = f"{figures.stored / 1e6:.1f}" if figures.stored else ""
            rows += [f"   * - {name}", f"     - {figures.wall / first.wall:.2f}",
                     f"     - {figures.cpu / max(first.cpu, 0.001):.2f}", f"     - {figures.peak:.0f}", f"     - {stored}"]  # fmt: skip
        parts += ["\n".join(rows), *(f"Goal: {sentence}." for sentence in goals_of(contest, found))]
    parts.append(f"Goal: {memory_goal(results)}.")
    parts.append("Versions: " + "; ".join(versions()) + ".")
    return "\n\n".join(parts) + "\n"


def versions() -> list[str]:
    """Give the first line of what each program that is there says of its version."""
    found = []
    for words in _VERSIONS:
        if shutil.which(words.split()[0]):
            done = subprocess.run(words.split(), capture_output=True, text=True, check=False)
            found.append((done.stdout or done.stderr).strip().splitlines()[0].strip())
    return found


def plot(results: Sequence[Result]) -> str:
    """Draw the ratios of wall time as bars, a group for each contest; a longer one than the paper is cut."""
    shapes, y = list[str](), 10
    for contest, found in results:
        first = next(iter(found.values()))
        longest = min(max(figures.wall / first.wall for figures in found.values()), 12)
        shapes.append(f'<text x="8" y="{y + 12}" font-weight="bold">{contest.name}</text>')
        y += _LINE
        for name, figures in found.items():
            ratio = figures.wall / first.wall
            width = min(ratio, longest) / longest * _WIDEST
            colour = "#2a6f97" if name.startswith("Pickup") else "#b0b7bd"
            shapes.append(f'<text x="{_LABEL - 8}" y="{y + 11}" text-anchor="end">{name}</text>')
            shapes.append(f'<rect x="{_LABEL}" y="{y}" width="{width:.0f}" height="{_BAR}" fill="{colour}"/>')
            shapes.append(f'<text x="{_LABEL + width + 6:.0f}" y="{y + 11}">{ratio:.2f}</text>')
            y += _LINE
        y += 10
    width = _LABEL + _WIDEST + 60
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}" '
        f'font-family="sans-serif" font-size="12"><rect width="{width}" height="{y}" fill="white"/>{"".join(shapes)}</svg>\n'
    )


if __name__ == "__main__":
    main()
