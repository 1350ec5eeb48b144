"""What may be relied on: code read only from files that nobody else can change, folders that nobody else can write."""

import contextlib
import errno
import grp
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from pickup_core.errors import ConfigError, RefusedError

_MOST_LINKS = 40  # as many as the kernel follows


def read_trusted(path: Path) -> tuple[str, os.stat_result]:
    """Give the text of a file, and its status, read through the one descriptor that was checked.

    The file belongs to us or root and nobody else can write it; for root the same holds for each folder above it (one
    with the sticky bit will do). Raises `ConfigError` where that is not so, with the line to run, or where it cannot be
    read.
    """
    try:
        if os.geteuid() == 0:
            check_way_to(path)
        with open(path, encoding="utf-8", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path} is not a regular file")
            _check(path, status)
            return file.read(), status
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {_reason(error)}") from None


def check_way_to(path: Path) -> None:
    """Raise `ConfigError` where somebody else could rename or replace a folder or a link on the way to a path. A folder
    with the sticky bit will do: there nobody can move what is not theirs.
    """
    for hop, status in way_to(path):
        if status and (stat.S_ISLNK(status.st_mode) or stat.S_ISDIR(status.st_mode)):
            _check(hop, status, may_be_sticky=True)


def way_to(path: Path) -> Iterator[tuple[Path, os.stat_result | None]]:
    """Give all that leads to a path, and at last what it leads to, with its status, None for an end where nothing lies:
    folder by folder and link by link, as the kernel goes. What is found to be ours stays where it is while the next one
    is looked at. Raises `OSError` where the way does not lead to its end.
    """
    here, links, pending = Path("/"), 0, [*reversed(path.absolute().parts)]
    while pending:
        part = pending.pop()
        hop = here.parent if part == ".." else here / part  # the first part is the root
        try:
            status = hop.lstat()
        except FileNotFoundError:
            if pending:
                raise
            yield hop, None
            return
        yield hop, status
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            pending += reversed(Path(os.readlink(hop)).parts)
        else:
            here = hop


def others_may_write(path: Path, status: os.stat_result) -> bool:
    """Tell whether others than its owner may write to a file, or in a folder. A link, whose mode says nothing, is
    nobody's to write to.
    """
    by_others, by_group = status.st_mode & stat.S_IWOTH, status.st_mode & stat.S_IWGRP
    if stat.S_ISLNK(status.st_mode):
        return False
    return bool(by_others or (by_group and not _is_private_group(path, status)))


def private_folder(path: Path) -> Path:
    """Make a folder (0700), and its parents, where it is absent, and give its path.

    Raises `ConfigError` where it cannot be made, where it is no folder of ours or root's that only we can write, or
    where somebody else could put another one in its place.
    """
    try:
        make_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
        status = path.stat()
        if path.is_symlink():
            raise ConfigError(f"{path} is a symbolic link", hint="name the folder that it leads to")
    except OSError as error:
        what = f": {error.filename}" if str(error.filename) != str(path) else ""
        raise ConfigError(f"folder {path} cannot be made: {_reason(error)}{what}") from None
    if not stat.S_ISDIR(status.st_mode):
        raise ConfigError(f"{path} is not a folder")
    whom = "that user"
    with contextlib.suppress(KeyError):  # one without a name
        whom = pwd.getpwuid(status.st_uid).pw_name
    _check(path, status, hint_for_owner=f"run it as {whom}, or name another folder in the config")
    check_way_to(path)
    return path


def see_that_nobody_else_leads(path: Path) -> None:
    """See that for root a folder, which need not be there yet, is root's own, and that nobody else can put another one,
    or a link, in its place or in that of a folder above it. Raises `RefusedError`.
    """
    if os.geteuid() != 0:
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            check_way_to(path)
            _check(path, path.stat())
    except ConfigError as error:
        raise RefusedError(error.message, hint="name a folder of root's, or a new one: /root/restored") from None


def _open_at_once(path: str, flags: int) -> int:
    """Open a file for reading; a FIFO too, which would else be waited for."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check(path: Path, status: os.stat_result, may_be_sticky: bool = False, hint_for_owner: str = "") -> None:
    word = shlex.quote(str(path))
    if stat.S_ISLNK(status.st_mode):
        if status.st_uid in (0, os.geteuid()):
            return
        raise ConfigError(f"{path} is a symbolic link of user {status.st_uid}", hint=f"chown -h {os.geteuid()} {word}")
    power = "replace what lies there" if stat.S_ISDIR(status.st_mode) else "change what it says"
    if status.st_uid not in (0, os.geteuid()):
        hint = hint_for_owner or f"chown {os.geteuid()} {word}"
        raise ConfigError(f"{path} belongs to user {status.st_uid}, who could {power}", hint=hint)
    if status.st_mode & stat.S_IWOTH and stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX:
        if may_be_sticky:
            return
        raise ConfigError(f"{path} is a folder that everybody shares", hint="name one of our own")
    if others_may_write(path, status):
        raise ConfigError(f"{path} can be written by others, who could {power}", hint=f"chmod go-w {word}")


def _is_private_group(path: Path, status: os.stat_result) -> bool:
    """Tell whether the group has the owner's name and no other member: the user private groups of Debian and RHEL.

    With an ACL the group's bits are a mask for others that the ACL names (acl(5)), so then it is none.
    """
    with contextlib.suppress(OSError):
        if "system.posix_acl_access" in os.listxattr(path):
            return False
    try:
        group, owner = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid)
    except KeyError:
        return False
    return group.gr_name == owner.pw_name and set(group.gr_mem) <= {owner.pw_name}


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def make_folder(folder: Path) -> None:
    """Make a folder and the absent ones above it, each for us alone."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def make_file(path: Path) -> int:
    """Make a new file for us alone, and give its descriptor, to be written to. Follows no link.

    Raises `FileExistsError` where there is something, and any other `OSError` of open(2).
    """
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Give a new file, private, that takes the place of the one at a path when the `with` is left without an error. Who
    reads that meanwhile sees the old content or the new one, and never a part.

    What a process that was killed has left is removed by the next one. Of two at once, one fails. Raises `OSError`.
    """
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    try:
        with open(make_file(new), "wb") as file:
            yield file
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one step: who reads it meanwhile sees the old content or the new one, and never a part.

    It is for us alone. Where one lies there that is ours or root's, the new one has its group, and its group and others
    may read it if they could read that. For root nobody else may lead the way there.

    Raises `ConfigError` where something else than a file lies there, and `OSError` where it cannot be written; then
    what lay there is as it was.
    """
    if os.geteuid() == 0:
        check_way_to(path.parent)
    with replacing(path) as file:
        with contextlib.suppress(FileNotFoundError):
            _let_read(file.fileno(), path, path.lstat())
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _let_read(descriptor: int, path: Path, before: os.stat_result) -> None:
    """Let those read a new file who could read the one before."""
    if not stat.S_ISREG(before.st_mode):
        raise ConfigError(f"{path} is no regular file, so it is not replaced", hint="name another file")
    if before.st_uid in (0, os.geteuid()):
        if before.st_gid != os.fstat(descriptor).st_gid:
            os.chown(descriptor, -1, before.st_gid)
        os.chmod(descriptor, 0o600 | before.st_mode & 0o044)
