"""The figures as text: for the terminal, and as the part of the docs that shows them."""

import os
import platform
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone

from benchmarks.measuring import Contest, Figures
from pickup_core import __version__

MOST_MEBIBYTES = 120
REACHED, MISSED = "reached", "not reached"
_VERSIONS = ("tar --version", "zstd --version", "restic version", "borg --version", "borgmatic --version",
             "duplicity --version", "rsync --version", "rsnapshot version", "ssh -V", "curl --version", "rclone version",
             "pg_dump --version", "mariadb-dump --version")  # fmt: skip

Result = tuple[Contest, Mapping[str, Figures]]
"""A contest and its figures; none where it failed."""


def lines_of(contest: Contest, found: Mapping[str, Figures]) -> list[str]:
    """Give the figures of a contest as lines of text."""
    columns = _columns(contest, found)
    width = max(map(len, found))
    lines = ["", contest.name]
    for name, figures in found.items():
        cells = [f"{title} {cell(figures):>7}" for title, cell in columns.items()]
        lines.append(f"  {name:<{width}}  {'   '.join(cells)}   {figures.wall:.2f} s")
    return lines


def goals_of(results: Sequence[Result]) -> list[tuple[str, str, str, str]]:
    """Give each goal: the work, what is to be reached, the figure, and whether it was."""
    rows = []
    for contest, found in results:
        for goal in contest.goals:
            figure = goal.figure(found)
            rows.append((contest.name, str(goal), *_judged(figure, goal.most, "d" if goal.listings else ".2f")))
    peaks = [figures.peak for _, found in results for name, figures in found.items() if name.startswith("Pickup")]
    most = f"Pickup: at most {MOST_MEBIBYTES} MiB for its largest process"
    rows.append(("all of them", most, *_judged(max(peaks, default=None), MOST_MEBIBYTES, ".0f")))
    return rows


def page(results: Sequence[Result], runs: int, scale: float) -> str:
    """Give the part of the docs that shows the figures: all goals in one table, then a table for each contest."""
    parts = [
        f"Medians of {runs} run{'s' * (runs != 1)} with Pickup {__version__} on {datetime.now(timezone.utc):%Y-%m-%d}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        + ("." if scale == 1 else f", with {scale:g} times the usual data: that much more do fixed costs weigh here, such as the "
           "third of a second that Pickup takes to start."),
        _table(["work", "goal for Pickup", "figure", "reached"], _shown(goals_of(results)), [36, 44, 10, 10]),
        ".. image:: figures.svg\n   :alt: Bars of the wall times below, each contest for itself.",
    ]  # fmt: skip
    for contest, found in results:
        if found:
            columns = _columns(contest, found)
            rows = [[name, *(cell(figures) for cell in columns.values())] for name, figures in found.items()]
            first = next(iter(found.values()))
            rows[0][1] += f" ({first.wall:.2f} s)"
            parts.append(_table([contest.name, *columns], rows, [40, *[60 // len(columns)] * len(columns)]))
    parts.append("Versions: " + "; ".join(versions()) + ".")
    return "\n\n".join(parts) + "\n"


def versions() -> list[str]:
    """Give the first line of what each program that is there says of its version."""
    found = []
    for words in _VERSIONS:
        name = words.split()[0]
        if shutil.which(name):
            done = subprocess.run(words.split(), capture_output=True, text=True, check=False)
            said = (done.stdout or done.stderr).strip().splitlines()[0].strip(" *")
            found.append(textwrap.shorten(said if said[0].isalpha() else f"{name} {said}", 60, placeholder=""))
    return found


def _columns(contest: Contest, found: Mapping[str, Figures]) -> dict[str, Callable[[Figures], str]]:
    """Give the columns of a contest's table that have something to say, each with what stands there."""
    first = next(iter(found.values()))
    columns: dict[str, Callable[[Figures], str]] = {
        "wall time": lambda figures: f"{figures.wall / first.wall:.2f}",
        "CPU": lambda figures: f"{figures.cpu / max(first.cpu, 0.001):.2f}",
        "peak, MiB": lambda figures: f"{figures.peak:.0f}",
    }
    if any(figures.stored for figures in found.values()):
        columns[f"{contest.stored}, MB"] = lambda figures: f"{figures.stored / 1e6:.1f}" if figures.stored else ""
    if any(figures.listings is not None for figures in found.values()):
        columns["listings"] = lambda figures: "" if figures.listings is None else str(figures.listings)
    return columns


def _shown(rows: Sequence[tuple[str, str, str, str]]) -> list[tuple[str, str, str, str]]:
    """Give the goals in fewer words, so that each takes a line or two; what was not reached stands out."""
    short = {REACHED: "yes", MISSED: "**no**"}
    return [
        (work, goal.replace("Pickup: at", "at"), figure, short.get(state, state)) for work, goal, figure, state in rows
    ]


def _judged(figure: float | None, most: float, form: str) -> tuple[str, str]:
    if figure is None:
        return "", "not measured"
    return f"{figure:{form}}", REACHED if figure <= most else MISSED


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in (head, *rows):
        lines += [f"   {'  ' if number else '* '}- {cell}".rstrip() for number, cell in enumerate(row)]
    return "\n".join(lines)
