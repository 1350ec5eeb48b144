"""Merge: move what was restored into a folder that may hold things already.

It goes from folder to folder by descriptors, never by a path and never through a symbolic link: a folder of somebody
else's in the destination, who changes it meanwhile, leads nowhere but to where it is.
"""

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from pickup_core.errors import RefusedError
from pickup_core.wording import names_in_words, one_line

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a folder is opened, and nothing else is."""
_DEEPEST = 200  # two descriptors are open for each level, and a process may have 1024


def move_into_place(fresh: Path, destination: Path, overwrite: bool) -> None:
    """Move what lies in one folder into another. Raises `RefusedError` before anything is moved where a file is in
    the way, or where folders lie too deep in each other.
    """
    with opened(fresh) as here, opened(destination.resolve()) as there:
        conflicts = [one_line(str(destination / path)) for path in _conflicts(here, there, PurePath(), overwrite)]
        if conflicts:
            hint = "use another --to, or --overwrite to replace files"
            raise RefusedError(f"already there: {names_in_words(conflicts)}", hint=hint)
        _move(here, there, overwrite)


def replace(fresh: Path, folder: Path) -> None:
    """Move what lies in one folder into another, over the files that are there, and give that the first one's look."""
    _merge(fresh, None, folder, None, overwrite=True)


def put_back(folder: Path, name: str, place: Sequence[str]) -> None:
    """Move something in a folder to its place below it, whose parts are given. What is missing on the way is made, and
    the times of the folders stay.
    """
    with contextlib.ExitStack() as stack:
        top = there = stack.enter_context(opened(folder))
        for part in place[:-1]:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=there)
            there = stack.enter_context(opened(part, there))
        looks = {each: os.fstat(each) for each in (top, there)}
        rename(name, top, place[-1], there)
        for each, look in looks.items():
            os.utime(each, ns=(look.st_atime_ns, look.st_mtime_ns))


@contextlib.contextmanager
def opened(name: str | Path, above: int | None = None, asked_for: bool = True, leave: int = -1) -> Iterator[int]:
    """Give a descriptor of a folder, which may be told by that of the folder above it.

    An ordinary user may read and write a folder of their own meanwhile, whatever its mode, if that is `asked_for`.
    `leave` is the mode that it has afterwards, where that is another one than before.
    """
    mode = stat.S_IMODE(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
    is_closed = asked_for and os.geteuid() != 0 and mode & stat.S_IRWXU != stat.S_IRWXU
    if is_closed:
        os.chmod(name, stat.S_IRWXU, dir_fd=above)  # follows a link that took its place, and opens that to nobody else
    folder = os.open(name, FOLDER, dir_fd=above)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, folder)
        if is_closed or leave != -1:
            stack.callback(os.fchmod, folder, mode if leave == -1 else leave)
        yield folder


def rename(name: str, here: int, new: str, there: int) -> None:
    """Move an item from one folder into another; a folder too that we may not write, whose `..` has to change."""
    mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
    with opened(name, here) if stat.S_ISDIR(mode) and not mode & stat.S_IWUSR else contextlib.nullcontext():
        os.rename(name, new, src_dir_fd=here, dst_dir_fd=there)


def _conflicts(here: int, there: int, path: PurePath, overwrite: bool) -> Iterator[PurePath]:
    """Give what is in the way: anything but a folder for a folder; with `overwrite` only a folder for a file and the
    like.
    """
    _see_that_it_is_not_too_deep(len(path.parts))
    for name in os.listdir(here):
        try:
            is_folder, is_folder_there = _is_folder(name, here), _is_folder(name, there)
            if is_folder_there is None:
                continue
            if is_folder and is_folder_there:
                with opened(name, here) as fresh, opened(name, there, overwrite) as folder:
                    yield from _conflicts(fresh, folder, path / name, overwrite)
            elif is_folder or is_folder_there or not overwrite:
                yield path / name
        except PermissionError:
            yield path / name


def _move(here: int, there: int, overwrite: bool, depth: int = 0) -> None:
    """Move each item; a folder that is there already keeps its own attributes, but for `overwrite`."""
    _see_that_it_is_not_too_deep(depth)
    for name in os.listdir(here):
        if _is_folder(name, here) and _is_folder(name, there):
            _merge(name, here, name, there, overwrite, depth + 1)
        else:
            rename(name, here, name, there)


def _merge(
    fresh: str | Path, here: int | None, folder: str | Path, there: int | None, overwrite: bool, depth: int = 0
) -> None:
    look = os.stat(fresh, dir_fd=here, follow_symlinks=False)
    leave = stat.S_IMODE(look.st_mode) if overwrite else -1
    with opened(fresh, here) as source, opened(folder, there, overwrite, leave) as target:
        _move(source, target, overwrite, depth)
        if overwrite:
            _copy_look(source, look, target)


def _copy_look(source: int, look: os.stat_result, target: int) -> None:
    """Give a folder the owner, attributes and times that another had before things were moved out of it."""
    with contextlib.suppress(PermissionError):
        os.fchown(target, look.st_uid, look.st_gid)
    with contextlib.suppress(OSError):  # one of the two file systems may have none, or not all of them
        for name in os.listxattr(source):
            with contextlib.suppress(OSError):
                os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(look.st_atime_ns, look.st_mtime_ns))


def _is_folder(name: str, above: int) -> bool | None:
    """Tell whether a name is that of a folder itself, and not of a link to one; None where there is no such name."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return None


def _see_that_it_is_not_too_deep(depth: int) -> None:
    if depth > _DEEPEST:
        hint = "use a new folder for --to, where whole folders are moved"
        raise RefusedError(f"folders that lie more than {_DEEPEST} deep are not merged into others", hint=hint)
