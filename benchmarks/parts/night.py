"""The night after: what a second backup takes, and what it adds, where one file of a hundred has changed."""

from collections.abc import Generator
from pathlib import Path

from benchmarks.corpora import change, many
from benchmarks.measuring import Contest
from benchmarks.parts.tools import incremental_tar, tools


def night(folder: Path, scale: float) -> Generator[Contest, None, None]:
    """Give the contest of all tools on many small files. Pickup makes a full backup again, as `tar | zstd` does."""
    source = many(folder / "source", scale)
    found = tools(source, folder)
    del found["tar | zstd, same options"]
    found.pop("rsnapshot", None)  # it is rsync --link-dest
    if "rsync -a" in found:
        found["rsync --link-dest"] = found.pop("rsync -a")
    found["tar --listed-incremental | zstd"] = incremental_tar(source, folder / "incremental")
    contestants = {name: tool.second_night() for name, tool in found.items()}
    change(source, 100)
    yield Contest("the night after, many", contestants, stored="added")
