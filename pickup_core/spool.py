"""Spool: a private folder inside the destination of a restore, where all is made ready before anything is moved.

What it holds comes out of archives: folders that not even their owner may enter, and deeper ones than a path can say.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pickup_core.errors import RefusedError
from pickup_core.merge import opened, rename
from pickup_core.trust import see_that_nobody_else_leads


@contextlib.contextmanager
def spool_in(destination: Path) -> Iterator[Path]:
    """Give a private folder inside the destination, which is made where it is absent and removed if it stays empty.

    Raises `RefusedError` where the destination is no folder, or one that another user could turn root's restore away
    from, also while it is made.
    """
    with contextlib.ExitStack() as stack:
        absent = [folder for folder in (destination, *destination.parents) if not folder.exists()]
        for folder in reversed(absent):
            _make(folder)
            stack.callback(_remove_if_empty, folder)
        see_that_nobody_else_leads(destination)  # only now there is nothing left that somebody else could make
        if not destination.is_dir():
            raise RefusedError(f"{destination} is not a folder", hint="use another --to")
        spool = Path(tempfile.mkdtemp(prefix=".pickup-", dir=destination))
        stack.callback(remove, spool)
        yield spool


def _make(folder: Path) -> None:
    see_that_nobody_else_leads(folder)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        what = f"{folder} was made by somebody else meanwhile, or is a link to nothing"
        raise RefusedError(what, hint="look at it, or use another --to") from None


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):  # it holds something
        folder.rmdir()


def made_below(folder: Path, below: PurePosixPath) -> Path:
    """Give a folder below another one, made where it is absent, and private as all between."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for part in below.parts:
        folder /= part
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def remove(folder: Path) -> None:
    """Delete a folder of ours and all in it, however deep: folders in folders are moved up until there are none."""
    number = 0
    with opened(folder) as top:
        while names := _emptied(top):
            for name in names:
                with opened(name, top) as below:
                    for deeper in _emptied(below):
                        number += 1
                        rename(deeper, below, f"deeper-{number}", top)
                os.rmdir(name, dir_fd=top)
    folder.rmdir()


def _emptied(folder: int) -> list[str]:
    """Delete what lies in a folder, but for folders, and give their names."""
    with os.scandir(folder) as items:
        found = [(item.name, item.is_dir(follow_symlinks=False)) for item in items]
    for name, is_folder in found:
        if not is_folder:
            os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]
