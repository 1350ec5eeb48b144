"""Trees of files that are hard to keep, and what they look like, to be compared."""

import contextlib
import hashlib
import os
import socket
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

HOSTILE_NAMES = [
    b"line\nbreak",
    b"tab\tbell\a",
    b"not utf-8 \xff\xfe\x80",
    b"-rf",
    b"--checkpoint-action=exec=touch pwned",
    b"trailing space ",
    b" ",
    "\N{GRINNING FACE} \N{LATIN SMALL LETTER U WITH DIAERESIS}u\N{COMBINING DIAERESIS}".encode(),
    b"back\\slash \\n \\377",
    b"* ? [a] {b}",
    b"..almost",
    b"'quotes' \"and\" $(dollars) `ticks`",
    b"\x1b[31mred",
    b"L" * 255,
    "\N{GRINNING FACE}".encode() * 63,
]
"""Names that a program may trip over, each valid on Linux."""


@dataclass(frozen=True)
class Look:
    """How a path looks: what may be compared between an original and a restored one."""

    kind: str
    mode: int
    owner: tuple[int, int]
    modified: int
    content: str
    attributes: tuple[tuple[str, bytes], ...]
    links: tuple[bytes, ...]
    """The names of all hard links to it, where there are several."""


def looks_of(folder: Path, owners: bool = True) -> dict[bytes, Look]:
    """Describe everything below a folder, and the folder itself as `.`; sockets are left out, as a backup does."""
    inodes: dict[tuple[int, int], list[bytes]] = {}
    found: dict[bytes, os.stat_result] = {}
    for path in _paths(os.fsencode(folder)):
        status = os.lstat(path)
        if not stat.S_ISSOCK(status.st_mode):
            name = os.path.relpath(path, os.fsencode(folder))
            found[name] = status
            if not stat.S_ISDIR(status.st_mode):
                inodes.setdefault((status.st_dev, status.st_ino), []).append(name)
    looks = {}
    for name, status in found.items():
        path = os.path.join(os.fsencode(folder), name)
        links = sorted(inodes.get((status.st_dev, status.st_ino), []))
        looks[name] = Look(
            kind=chr(stat.S_IFMT(status.st_mode)),
            mode=stat.S_IMODE(status.st_mode),
            owner=(status.st_uid, status.st_gid) if owners else (0, 0),
            modified=status.st_mtime_ns,
            content=_content(path, status),
            attributes=tuple((each, os.getxattr(path, each, follow_symlinks=False)) for each in _attributes(path)),
            links=tuple(links) if len(links) > 1 else (),
        )
    return looks


def everything_about(*folders: Path) -> dict[str, tuple[object, ...]]:
    """Describe folders so closely that any write to them shows: inodes, change times, and what `looks_of` compares."""
    about: dict[str, tuple[object, ...]] = {}
    for folder in folders:
        for path in _paths(os.fsencode(folder)) if os.path.lexists(folder) else ():
            status = os.lstat(path)
            about[os.fsdecode(path)] = (
                status.st_ino, status.st_mode, status.st_nlink, status.st_uid, status.st_gid, status.st_size,
                status.st_mtime_ns, status.st_ctime_ns, _content(path, status),
            )  # fmt: skip
    return about


def fill_with_everything(folder: Path) -> None:
    """Make a tree with all that a file system can hold, but for devices and setuid bits; the owner may be anyone."""
    folder.mkdir(parents=True)
    top = os.fsencode(folder)
    for number, name in enumerate(HOSTILE_NAMES):
        _write(os.path.join(top, name), b"content %d\n" % number)
        os.mkdir(os.path.join(top, b"d" + name[:250]))
        _write(os.path.join(top, b"d" + name[:250], name), b"deeper %d\n" % number)
    _write(os.path.join(top, b"empty"), b"")
    os.mkdir(os.path.join(top, b"empty folder"))
    _write(os.path.join(top, b"linked"), b"one inode, three names\n")
    for name in (b"again", b"empty folder/and again"):
        os.link(os.path.join(top, b"linked"), os.path.join(top, name))
    _make_links(top)
    _make_sparse(os.path.join(top, b"sparse"))
    os.mkfifo(os.path.join(top, b"fifo"), 0o640)
    _make_socket(folder / "socket")
    _make_attributes(top)
    _make_modes(top)
    _make_times(top)


def _make_links(top: bytes) -> None:
    os.symlink(b"linked", os.path.join(top, b"to a file"))
    os.symlink(b"nowhere\nat all", os.path.join(top, b"dangling"))
    os.symlink(b"/etc/passwd", os.path.join(top, b"absolute"))
    os.symlink(b"..", os.path.join(top, b"empty folder", b"to the parent"))
    os.symlink(b"loop b", os.path.join(top, b"loop a"))
    os.symlink(b"loop a", os.path.join(top, b"loop b"))
    os.symlink(b"fifo", os.path.join(top, b"to the fifo"))


def _make_sparse(path: bytes) -> None:
    with open(path, "wb") as file:
        file.truncate(64 * 1024 * 1024)
        file.seek(40 * 1024 * 1024)
        file.write(b"an island")


def _make_socket(path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as one:
        here = os.getcwd()
        os.chdir(path.parent)  # a socket's path is short
        try:
            one.bind(path.name)
        finally:
            os.chdir(here)


def _make_attributes(top: bytes) -> None:
    _write(os.path.join(top, b"with attributes"), b"attributes\n")
    os.setxattr(os.path.join(top, b"with attributes"), "user.colour", b"bl\0ue\xff")
    os.setxattr(os.path.join(top, b"empty folder"), "user.empty", b"")
    for acl in ("u:nobody:r--,g:daemon:rw-,m::rw-",):
        subprocess.run(["setfacl", "-m", acl, os.path.join(top, b"with attributes")], check=True)
    subprocess.run(["setfacl", "-d", "-m", "u:daemon:r-x", os.path.join(top, b"empty folder")], check=True)


def _make_modes(top: bytes) -> None:
    for mode in (0o000, 0o400, 0o444, 0o644, 0o664, 0o700, 0o755, 0o777):
        _write(os.path.join(top, b"mode %o" % mode), b"%o\n" % mode)
        os.chmod(os.path.join(top, b"mode %o" % mode), mode)
    for mode in (0o500, 0o2775, 0o1777, 0o3770, 0o700):
        path = os.path.join(top, b"folder mode %o" % mode)
        os.mkdir(path)
        _write(os.path.join(path, b"inside"), b"%o\n" % mode)
        os.chmod(path, mode)


def _make_times(top: bytes) -> None:
    """Give each path a time with nanoseconds; some are of the last century, one is before 1970."""
    for number, path in enumerate(sorted(_paths(top), reverse=True)):
        moment = 1_000_000_000 * (900_000_000 + 40_000_000 * (number % 20)) + 123_456_789 + number
        if path.endswith(b"/empty"):
            moment = -1_000_000_000 * 86_400 + 5
        os.utime(path, ns=(moment, moment), follow_symlinks=False)


def _paths(top: bytes) -> list[bytes]:
    if not os.path.isdir(top) or os.path.islink(top):
        return [top]
    found = [top]
    for folder, folders, files in os.walk(top):
        found += [os.path.join(folder, name) for name in (*folders, *files)]
    return found


def _content(path: bytes, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return os.fsdecode(os.readlink(path))
    if not stat.S_ISREG(status.st_mode):
        return str(status.st_rdev)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: "object") -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):  # type: ignore[attr-defined]
        digest.update(block)
    return digest.hexdigest()


def _attributes(path: bytes) -> list[str]:
    return sorted(os.listxattr(path, follow_symlinks=False))


def _write(path: bytes, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
