"""Merge: move what was restored into a folder that may hold things already."""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from pickup_core.errors import RefusedError


def move_into_place(fresh: Path, destination: Path, overwrite: bool) -> None:
    """Move what lies in one folder into another. Raises `RefusedError` before anything is moved where a file is in
    the way.
    """
    conflicts = list(_conflicts(fresh, destination, overwrite))
    if conflicts:
        names = ", ".join(str(path) for path in conflicts[:5]) + (
            f" and {len(conflicts) - 5} more" if len(conflicts) > 5 else ""
        )
        raise RefusedError(f"already there: {names}", hint="use another --to, or --overwrite to replace files")
    merge(fresh, destination, overwrite)


def _conflicts(fresh: Path, destination: Path, overwrite: bool) -> Iterator[Path]:
    """Give what is in the way: anything but a folder for a folder; with `overwrite` only a folder for a file and the
    like.
    """
    with _opened_up(fresh), _opened_up(destination, overwrite), os.scandir(fresh) as items:
        for item in items:
            there = destination / item.name
            try:
                is_folder_there = stat.S_ISDIR(there.lstat().st_mode)
            except FileNotFoundError:
                continue
            except PermissionError:
                yield there
                continue
            is_folder = item.is_dir(follow_symlinks=False)
            if is_folder and is_folder_there:
                yield from _conflicts(Path(item.path), there, overwrite)
            elif is_folder or is_folder_there or not overwrite:
                yield there


def merge(fresh: Path, destination: Path, overwrite: bool) -> None:
    """Move each item; a folder that is there already keeps its own attributes, but for `overwrite`."""
    with os.scandir(fresh) as items:
        for item in list(items):
            path, there = Path(item.path), destination / item.name
            if item.is_dir(follow_symlinks=False) and there.is_dir() and not there.is_symlink():
                before = path.lstat()
                with _opened_up(path), _opened_up(there, overwrite):
                    merge(path, there, overwrite)
                if overwrite:
                    copy_look(path, before, there)
            else:
                _rename(path, there)


def copy_look(folder: Path, before: os.stat_result, there: Path) -> None:
    """Give a folder the owner, mode, attributes and times that another had before things were moved out of it."""
    with contextlib.suppress(PermissionError):
        os.chown(there, before.st_uid, before.st_gid)
    shutil.copystat(folder, there)
    os.utime(there, ns=(before.st_atime_ns, before.st_mtime_ns))


@contextlib.contextmanager
def _opened_up(folder: Path, asked_for: bool = True) -> Iterator[None]:
    """Let an ordinary user read and write a folder of their own for a while, whatever its mode."""
    mode = stat.S_IMODE(folder.lstat().st_mode)
    if not asked_for or os.geteuid() == 0 or mode & stat.S_IRWXU == stat.S_IRWXU:
        yield
        return
    folder.chmod(mode | stat.S_IRWXU)
    try:
        yield
    finally:
        folder.chmod(mode)


def _rename(path: Path, there: Path) -> None:
    """Rename, also a folder that we may not write, whose `..` has to change."""
    mode = stat.S_IMODE(path.lstat().st_mode)
    is_sealed = path.is_dir() and not path.is_symlink() and not mode & stat.S_IWUSR
    if is_sealed:
        path.chmod(mode | stat.S_IWUSR)
    os.rename(path, there)
    if is_sealed:
        there.chmod(mode)
