"""Removal: delete a folder of ours, whatever lies in it, and have one that is deleted whatever happens.

That may come out of archives or from generators: folders that not even their owner may enter, and deeper ones than a
path can say or Python's own functions can go.
"""

import atexit
import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from pickup_core.merge import opened, rename


@contextlib.contextmanager
def temporary_folder(prefix: str, parent: Path, remove: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Give a new private folder that is removed when the `with` is left, unless it has been renamed by then.

    A signal may stop Pickup in the middle of making and of removing, as anywhere else. What it leaves of the folder is
    removed when the process ends.
    """
    folder = parent / f"{prefix}{secrets.token_hex(8)}"

    def remove_it() -> None:
        if folder.exists():
            (remove or remove_folder)(folder)

    atexit.register(remove_it)
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        try:
            remove_it()
        except Exception:
            atexit.unregister(remove_it)  # it cannot be removed then either
            raise
        atexit.unregister(remove_it)


def remove_folder(folder: Path) -> None:
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
