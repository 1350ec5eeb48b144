"""Spool: a private folder inside the destination of a restore, where all is made ready before anything is moved.

What it holds comes out of archives: folders that not even their owner may enter, and deeper ones than a path can say.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pickup_core.errors import RefusedError
from pickup_core.removal import temporary_folder
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
        yield stack.enter_context(temporary_folder(".pickup-", destination))


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
