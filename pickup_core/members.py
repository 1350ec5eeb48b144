"""Members of a tar archive: which there are, and how they are unpacked without harm.

They are checked before anything is unpacked, by a second reader of the format (tarfile), and GNU tar then unpacks
into a fresh private folder, where its own protections hold too: neither of the two is trusted alone. Setuid bits and
devices are looked for in what came out, not in what the archive says.
"""

import contextlib
import hashlib
import os
import re
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pickup_core.archive import LONGEST_NAME, TAR, TAR_ENVIRONMENT, label_options
from pickup_core.artefact import Judgement, Readable
from pickup_core.detours import Detours
from pickup_core.errors import DamageError
from pickup_core.process import Terms, failure, feed
from pickup_core.store import BLOCK
from pickup_core.tame import tame

_LONGEST_HEADER = 16 * 1024 * 1024
_MOST_LINES = 9_000  # of tar's messages; the last 10,000 are kept, so these are all
_NO_DEVICE = ": Cannot mknod: Operation not permitted"
_LAST_LINE = "Exiting with failure status due to previous errors"
_CAPABILITY = "SCHILY.xattr.security.capability"


@dataclass
class Members:
    """What a check found in an archive, what its unpacking needs to know, and what that took away."""

    symlinks: set[bytes] = field(default_factory=set)
    """What `_safe` gives for the names of the symbolic links, those of the entry's earlier archives among them."""
    detours: Detours = field(default_factory=Detours)
    capabilities: int = 0
    foreign_owners: int = 0
    devices: int = 0
    setuid_files: int = 0
    selected: dict[str, None] | None = None
    """The names that were asked for, in their order, or None for all."""


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
                if max(len(member.name), len(member.linkname)) > LONGEST_NAME:
                    raise DamageError(f"the archive has a member with a name of more than {LONGEST_NAME} characters")
                is_selected = any(pattern.match(member.name) for pattern in wanted)
                if members.selected is not None and is_selected:
                    members.selected |= dict.fromkeys([member.linkname] * member.islnk() + [member.name])
                _check_member(member, members, is_selected or not wanted)
                members.detours.note(member.name)
    except (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
        raise DamageError(f"the archive cannot be read: {error}") from error
    if any(file.last):  # tarfile takes a wrong header for the end, and tar would read on
        raise DamageError("the archive has a header that cannot be read")


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
    """Unpack a checked archive into a folder that nobody else can reach, with modes, and for root with owners, back.

    Setuid bits of files, devices and capabilities come back only for root, where `privileged`; `members` counts what
    was taken away. Raises `ProcessError` where tar fails.
    """
    if members.selected == {}:
        return  # tar takes a list without names for none, and would unpack everything
    is_root = os.geteuid() == 0
    is_tame = not (privileged and is_root)
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
    options += ["--xattrs-exclude=security.capability"] if is_tame else []
    options += [option for option in label_options() if is_root or option == "--acls"]
    options += members.detours.options()
    with contextlib.ExitStack() as stack:
        if members.selected is not None:
            names = stack.enter_context(_names_file(members.selected, folder.parent))
            options += ["--no-recursion", "--null", "--verbatim-files-from", f"--files-from={names}"]
        terms = Terms(env=TAR_ENVIRONMENT)
        judgement = feed([*TAR, *options], stream, judge=_without_devices if is_tame else None, terms=terms)
    if is_tame:
        devices, members.setuid_files = tame(folder)
        members.devices = devices + len(judgement.warnings)
    members.detours.put_back(folder)


def _without_devices(status: int, lines: Sequence[str]) -> Judgement:
    """Accept that a device could not be made, as only root may, and give a warning for each; they are unwanted."""
    devices = [line for line in lines if line.endswith(_NO_DEVICE)]
    others = [line for line in lines if not line.endswith((_NO_DEVICE, _LAST_LINE))]
    if status != 0 and (status != 2 or others or not devices or len(lines) > _MOST_LINES):
        raise failure(*TAR, status, others or lines)
    return Judgement(warnings=tuple(devices))


def _check_member(member: tarfile.TarInfo, members: Members, is_wanted: bool) -> None:
    name = _safe(member.name, members.symlinks, "name")
    if not name and not member.isdir():
        raise DamageError(f"the archive has a member with the name {member.name!r}, which is that of the folder")
    if member.islnk() and _safe(member.linkname, members.symlinks, "hard link target") in members.symlinks:
        members.symlinks.add(name)
    if member.issym():
        members.symlinks.add(name)
    if is_wanted:
        members.capabilities += _CAPABILITY in member.pax_headers
        members.foreign_owners += member.uid != os.geteuid()


def _safe(name: str, symlinks: Collection[bytes], what: str) -> bytes:
    """Give what stands for a member's name, however it is written: a digest, for names may be long and many; no bytes
    for the folder itself. Takes time as the name is long. Raises `DamageError` where it leads out of the folder.
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise DamageError(f"the archive has a member with the {what} {name!r}, which leads out of the folder")
    digest, known = hashlib.blake2b(digest_size=16), b""
    for part in parts:
        if known in symlinks:
            raise DamageError(f"the archive has a member {name!r} that lies behind a symbolic link")
        digest.update(part.encode("utf-8", "surrogatepass") + b"/")
        known = digest.digest()
    return known


@contextlib.contextmanager
def _names_file(names: Collection[str], folder: Path) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.write(b"".join(os.fsencode(name) + b"\0" for name in names))
        file.flush()
        yield file.name
