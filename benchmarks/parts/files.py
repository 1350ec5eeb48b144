"""A full backup of a folder, beside the pipeline that is its limit and the tools that people use for it."""

import shutil
from collections.abc import Generator
from pathlib import Path

from benchmarks.corpora import many, mixed
from benchmarks.measuring import Contest, Goal
from benchmarks.parts.tools import tools


def files(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give a contest for many small files, and one for files of all sizes."""
    for name, make in (("many", many), ("mixed", mixed)):
        there = folder / name
        yield Contest(
            f"full backup, {name}",
            {title: tool.first_night() for title, tool in tools(make(there / "source", scale), there).items()},
            [Goal("Pickup", 1.15, "tar | zstd, same options"), Goal("Pickup", 1.3, "tar | zstd"),
             *([Goal("Pickup", 1 / 5, "restic"), Goal("Pickup", 1 / 3, "borg, lz4")] if name == "many" else [])],
        )  # fmt: skip
        shutil.rmtree(there)
