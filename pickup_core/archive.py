"""Tar archives: what GNU tar can do here, which members an archive has, and unpacking it without harm.

Members are checked before anything is unpacked, by a second reader of the format (tarfile), and GNU tar then unpacks
into a fresh folder, where its own protections hold too: neither of the two is trusted alone.
"""

import contextlib
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

from pickup_core.artefact import Readable
from pickup_core.errors import DamageError, ProcessError
from pickup_core.process import Terms, feed, output_of
from pickup_core.store import BLOCK

TAR = ("tar",)
TAR_ENVIRONMENT: Mapping[str, str | None] = {
    **dict.fromkeys(("LC_ALL", "LANG", "LANGUAGE", "TAR_OPTIONS", "POSIXLY_CORRECT", "TAPE")),
    "LC_MESSAGES": "C",
    "LC_COLLATE": "C",
    "LC_CTYPE": "C.UTF-8",
}
"""For tar: messages that a program can read, names that people can, a `?` that is a character; no options from outside.
"""
_LONGEST_HEADER = 16 * 1024 * 1024
_CAPABILITY = "SCHILY.xattr.security.capability"
_ESCAPE = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)
_SHORT_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_LISTED = re.compile(
    r"(\S)(\S{9})[+.*]? +(\S.*?) +(\d+|\d+,\d+) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) (.*)", re.DOTALL
)


@dataclass(frozen=True)
class Listed:
    """A line of a list of contents: type as `ls -l` writes it, size in bytes, time of the last change, member name."""

    type: str
    size: int
    modified: datetime
    name: str


@dataclass
class Members:
    """What a check found in the archives of one entry, and what their unpacking needs to know."""

    symlinks: set[str] = field(default_factory=set)
    devices: list[str] = field(default_factory=list)
    setuid_files: list[str] = field(default_factory=list)
    capabilities: int = 0
    foreign_owners: int = 0
    selected: dict[str, None] | None = None
    """The names that were asked for, in their order, or None for all."""


def label_options(program: Sequence[str] = TAR) -> list[str]:
    """Give the options for ACLs and SELinux labels that this tar has. Raises `ProcessError` where it is not GNU tar."""
    with output_of([*program, "--help"], terms=Terms(stall=60, env=TAR_ENVIRONMENT)) as stream:
        text = b"".join(iter(stream.read, b""))
    if b"GNU" not in text:
        raise ProcessError(f"{' '.join(program)} is not GNU tar", hint="install GNU tar, and name it in `program`")
    return [option for option in ("--acls", "--selinux") if option.encode() in text]


def check_members(stream: Readable, members: Members, wanted: Sequence[re.Pattern[str]] = ()) -> None:
    """Read an archive's headers and note in `members` what they say; `wanted` fills `members.selected`.

    Raises `DamageError` where the archive cannot be read to its end, or where a member could land outside of the folder
    that it is unpacked into: an absolute name, a `..`, a way through a link, a hard link to such a place.
    """
    members.selected = {} if wanted else None
    file = _Forward(stream)
    try:
        with tarfile.open(fileobj=cast(Any, file), mode="r:", errors="surrogateescape") as archive:
            for member in archive:
                cast(Any, archive).members.clear()  # tarfile remembers every member, which would cost memory
                is_selected = any(pattern.match(member.name) for pattern in wanted)
                if members.selected is not None and is_selected:
                    members.selected |= dict.fromkeys([member.linkname] * member.islnk() + [member.name])
                _check_member(member, members, is_selected or not wanted)
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise DamageError(f"the archive cannot be read: {error}") from error
    if any(file.last):  # tarfile takes a wrong header for the end, and tar would read on
        raise DamageError("the archive has a header that cannot be read")
    if members.selected is not None:
        selected = {_plain(name) for name in members.selected}
        members.setuid_files = [name for name in members.setuid_files if name in selected]


class _Forward:
    """A stream as a file that tarfile reads from its beginning on. `last` are the bytes that were read last.

    Raises `DamageError` where the stream ends, for an archive tells itself where its end is and is not read beyond it;
    where it should go back; and where more is read at once than a header ever has.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self._block = b""
        self._at = 0
        self._position = 0
        self.last = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        left = position - self._position
        if left < 0:
            raise DamageError("the archive has a member of less than no bytes")
        while left > len(self._block) - self._at:
            left -= len(self._block) - self._at
            self._block, self._at = self._more(), 0
        self._at += left
        self._position = position

    def read(self, size: int) -> bytes:
        if size > _LONGEST_HEADER:
            raise DamageError(f"the archive has a header of {size} bytes")
        while size > len(self._block) - self._at:
            self._block, self._at = self._block[self._at :] + self._more(), 0
        self.last = self._block[self._at : self._at + size]
        self._at += size
        self._position += size
        return self.last

    def _more(self) -> bytes:
        block = self._stream.read(BLOCK)
        if not block:
            raise DamageError("the archive is cut off")
        return block


def unpack(stream: Readable, folder: Path, members: Members, privileged: bool) -> None:
    """Unpack a checked archive into a folder that nobody else can write, with modes, and for root with owners, back.

    Setuid bits of files, devices and capabilities come back only where `privileged`. Raises `ProcessError` where tar
    fails.
    """
    is_root = os.geteuid() == 0
    options = [
        "--extract",
        "--file=-",
        f"--directory={folder}",
        "--preserve-permissions",
        "--no-wildcards",
        "--anchored",
    ]
    options += ["--same-owner"] if is_root else ["--no-same-owner"]
    options += ["--xattrs", "--xattrs-include=*"] if is_root else ["--xattrs", "--xattrs-include=user.*"]
    options += [option for option in label_options() if is_root or option == "--acls"]
    with contextlib.ExitStack() as stack:
        if not (privileged and is_root):
            options += ["--xattrs-exclude=security.capability"]
            options += stack.enter_context(_left_out(members.devices, folder.parent))
        if members.selected is not None:
            names = stack.enter_context(_names_file(members.selected, b"\0", folder.parent))
            options += ["--no-recursion", "--null", "--verbatim-files-from", f"--files-from={names}"]
        feed([*TAR, *options], stream, terms=Terms(env=TAR_ENVIRONMENT))
    if not privileged:
        for name in members.setuid_files:
            _take_setuid_away(folder / name)


def read_listing(lines: Iterator[bytes]) -> Iterator[Listed]:
    """Give what a list of contents says, line by line. Lines that are none are passed over."""
    width = 0  # tar makes each time as wide as the widest one before it
    for line in lines:
        found = _LISTED.match(os.fsdecode(line.rstrip(b"\n")))
        if found is None:
            continue
        kind, _, _, size, moment, name = found.groups()
        width = max(width, len(moment))
        name = name[width - len(moment) :]
        separator = {"l": " -> ", "h": " link to "}.get(kind)
        yield Listed(
            type=kind,
            size=0 if "," in size else int(size),
            modified=datetime.fromisoformat(moment[:19]).replace(tzinfo=timezone.utc),
            name=unescaped(name.split(separator)[0] if separator else name).rstrip("/"),
        )


def unescaped(name: str) -> str:
    r"""Give the name that GNU tar wrote with `--quoting-style=escape`, which makes a newline `\n` and a byte `\377`."""

    def byte(found: re.Match[str]) -> str:
        code = found[1]
        if len(code) == 3:
            return chr(int(code, 8))
        return chr(_SHORT_ESCAPES.get(code, ord(code)))

    if name.isascii() and "\\" not in name:
        return name
    raw = name.encode("utf-8", "surrogateescape").decode("latin-1")
    return os.fsdecode(_ESCAPE.sub(byte, raw).encode("latin-1"))


def _check_member(member: tarfile.TarInfo, members: Members, is_wanted: bool) -> None:
    name = _safe(member.name, members.symlinks, "name")
    if not name and not member.isdir():
        raise DamageError(f"the archive has a member with the name {member.name!r}, which is that of the folder")
    if member.islnk():
        target = _safe(member.linkname, members.symlinks, "hard link target")
        if target in members.symlinks:
            members.symlinks.add(name)
    if member.issym():
        members.symlinks.add(name)
    if member.isreg() and member.mode & (stat.S_ISUID | stat.S_ISGID):
        members.setuid_files.append(name)
    if is_wanted:
        if member.ischr() or member.isblk():
            members.devices.append(member.name)
        members.capabilities += _CAPABILITY in member.pax_headers
        members.foreign_owners += member.uid != os.geteuid()


def _safe(name: str, symlinks: Collection[str], what: str) -> str:
    """Give a member's plain name. Raises `DamageError` where it leads out of the folder."""
    plain = _plain(name)
    parts = plain.split("/")
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise DamageError(f"the archive has a member with the {what} {name!r}, which leads out of the folder")
    if symlinks:
        for end in range(1, len(parts)):
            if "/".join(parts[:end]) in symlinks:
                raise DamageError(f"the archive has a member {name!r} that lies behind a symbolic link")
    return plain


def _plain(name: str) -> str:
    """Give a member's name without empty parts and dots."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


@contextlib.contextmanager
def _left_out(names: Collection[str], folder: Path) -> Iterator[list[str]]:
    """Give tar's options to leave members out; most stand in a file, as there may be more than a command line takes."""
    lines = [name for name in names if _is_line(name)]
    with _names_file(lines, b"\n", folder) as file:
        yield [f"--exclude-from={file}", *(f"--exclude={name}" for name in names if not _is_line(name))]


def _is_line(name: str) -> bool:
    """Tell whether tar reads this name from a file as it is: it takes away white space at the end of a line."""
    return "\n" not in name and name == name.rstrip()


@contextlib.contextmanager
def _names_file(names: Collection[str], end: bytes, folder: Path) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"".join(os.fsencode(name) + end for name in names))
        file.flush()
        yield file.name


def _take_setuid_away(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            path.chmod(stat.S_IMODE(mode) & ~(stat.S_ISUID | stat.S_ISGID))
