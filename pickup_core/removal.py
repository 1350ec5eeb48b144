"""Removal: delete a folder of ours, whatever lies in it.

That may come out of archives or from generators: folders that not even their owner may enter, and deeper ones than a
path can say or Python's own functions can go.
"""

import os
from pathlib import Path

from pickup_core.merge import opened, rename


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
