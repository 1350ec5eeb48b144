"""Tar archives: what GNU tar can do here, which members an archive has, and unpacking it without harm.

Members are checked before anything is unpacked, by a second reader of the format (tarfile), and GNU tar then unpacks
into a fresh folder, where its own protections hold too: neither of the two is trusted alone.
"""

import contextlib
import os
import re
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

from pickup_core.artefact import Readable
from pickup_core.errors import DamageError, ProcessError
from pickup_core.process import Terms, feed, require_program

TAR = ("tar",)
TAR_ENVIRONMENT: Mapping[str, str | None] = {"LC_ALL": "C", "TAR_OPTIONS": None, "POSIXLY_CORRECT": None, "TAPE": None}
"""For tar: messages that a program can read, and no options from outside."""
_CAPABILITY = "SCHILY.xattr.security.capability"
_ESCAPE = re.compile(r"\\([0-7]{3}|.)", re.DOTALL)
_SHORT_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
_LISTED = re.compile(
    r"(\S)(\S{9})[+.]? +(\S+) +(\d+|\d+,\d+) (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)?) (.*)", re.DOTALL
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
    selected: list[str] | None = None
    """The names that were asked for, or None for all."""


def label_options(program: Sequence[str] = TAR) -> list[str]:
    """Give the options for ACLs and SELinux labels that this tar has. Raises `ProcessError` where it is not GNU tar."""
    require_program(program[0])
    done = subprocess.run([*program, "--help"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    if b"GNU" not in done.stdout:
        raise ProcessError(f"{' '.join(program)} is not GNU tar", hint="install GNU tar, and name it in `program`")
    return [option for option in ("--acls", "--selinux") if option.encode() in done.stdout]


def check_members(stream: Readable, members: Members, wanted: Sequence[re.Pattern[str]] = ()) -> None:
    """Read an archive's headers and note in `members` what they say; `wanted` fills `members.selected`.

    Raises `DamageError` where the archive cannot be read to its end, or where a member could land outside of the folder
    that it is unpacked into: an absolute name, a `..`, a way through a link, a hard link to such a place.
    """
    members.selected = [] if wanted else None
    try:
        with tarfile.open(fileobj=cast(Any, stream), mode="r|", errors="surrogateescape") as archive:
            while (member := archive.next()) is not None:
                cast(Any, archive).members.clear()  # tarfile remembers every member, which would cost memory
                _check_member(member, members)
                if members.selected is not None and any(pattern.match(member.name) for pattern in wanted):
                    members.selected += [member.linkname, member.name] if member.islnk() else [member.name]
    except tarfile.TarError as error:
        raise DamageError(f"the archive cannot be read: {error}") from error


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
    if not (privileged and is_root):
        options += ["--xattrs-exclude=security.capability", *(f"--exclude={name}" for name in members.devices)]
    with contextlib.ExitStack() as stack:
        if members.selected is not None:
            names = stack.enter_context(_names_file(members.selected, folder.parent))
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

    if "\\" not in name:
        return name
    raw = _ESCAPE.sub(byte, os.fsencode(name).decode("latin-1")).encode("latin-1")
    return os.fsdecode(raw)


def _check_member(member: tarfile.TarInfo, members: Members) -> None:
    name = _safe(member.name, members.symlinks, "name")
    if member.islnk():
        target = _safe(member.linkname, members.symlinks, "hard link target")
        if target in members.symlinks:
            members.symlinks.add(name)
    if member.issym():
        members.symlinks.add(name)
    if member.ischr() or member.isblk():
        members.devices.append(member.name)
    if member.isreg() and member.mode & (stat.S_ISUID | stat.S_ISGID):
        members.setuid_files.append(name)
    members.capabilities += _CAPABILITY in member.pax_headers
    members.foreign_owners += member.uid != os.geteuid()


def _safe(name: str, symlinks: Collection[str], what: str) -> str:
    """Give a member's name without empty parts and dots. Raises `DamageError` where it leads out of the folder."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise DamageError(f"the archive has a member with the {what} {name!r}, which leads out of the folder")
    if symlinks:
        for end in range(1, len(parts)):
            if "/".join(parts[:end]) in symlinks:
                raise DamageError(f"the archive has a member {name!r} that lies behind a symbolic link")
    return "/".join(parts)


@contextlib.contextmanager
def _names_file(names: Sequence[str], folder: Path) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"".join(os.fsencode(name) + b"\0" for name in names))
        file.flush()
        yield file.name


def _take_setuid_away(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fchmod(descriptor, stat.S_IMODE(os.fstat(descriptor).st_mode) & ~(stat.S_ISUID | stat.S_ISGID))
        finally:
            os.close(descriptor)
