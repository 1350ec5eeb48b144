"""Folders that lie deeper in each other than a path can say, and Python's own functions can go."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path


def removed_by_rm(tmp_path: Path) -> Iterator[None]:
    """Remove what a test leaves, which pytest itself could not; to be made a fixture where it is needed."""
    yield
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


def chain(top: Path, levels: int) -> None:
    """Make folders in folders, each with the name `d`."""
    top.mkdir()
    folder = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=folder)
        folder, above = os.open("d", os.O_RDONLY, dir_fd=folder), folder
        os.close(above)
    os.close(folder)
