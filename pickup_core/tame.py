"""Tame: take out of an unpacked archive what could harm: setuid and setgid bits of files, and devices."""

import os
import stat
from pathlib import Path

from pickup_core.merge import FOLDER

_HARMFUL_BITS = stat.S_ISUID | stat.S_ISGID  # of a file; on a folder, setgid is part of its use


def tame(folder: Path) -> tuple[int, int]:
    """Remove all devices below a folder that nobody else can reach, and take those bits off its files; give how many
    there were of each. Modes and times of folders stay as they are.
    """
    counts, pending = [0, 0], ["."]
    closed: list[tuple[str, int]] = []
    top = os.open(folder, FOLDER)
    try:
        while pending:
            path = pending.pop()
            mode = stat.S_IMODE(os.stat(path, dir_fd=top, follow_symlinks=False).st_mode)
            if os.geteuid() != 0 and mode & stat.S_IRWXU != stat.S_IRWXU:
                closed.append((path, mode))
                os.chmod(path, stat.S_IRWXU, dir_fd=top)
            below = os.open(path, FOLDER, dir_fd=top)
            try:
                pending += [f"{path}/{name}" for name in _tame_one(below, counts)]
            finally:
                os.close(below)
    finally:
        for path, mode in reversed(closed):  # the deepest first, as long as there is a way to it
            os.chmod(path, mode, dir_fd=top)
        os.close(top)
    return counts[0], counts[1]


def _tame_one(folder: int, counts: list[int]) -> list[str]:
    """Tame what lies in one folder, and give the names of the folders in it."""
    folders, before = [], os.fstat(folder)
    for name in os.listdir(folder):
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            folders.append(name)
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            counts[0] += 1
            os.unlink(name, dir_fd=folder)
            os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
        elif stat.S_ISREG(mode) and mode & _HARMFUL_BITS:
            counts[1] += 1
            os.chmod(name, stat.S_IMODE(mode) & ~_HARMFUL_BITS, dir_fd=folder)
    return folders
