"""Detours: how what lies very deep comes out of an archive, though no program may name it.

The kernel takes no path of more than 4096 bytes at once, and tar asks it with a member's whole name. So a folder on the
way is unpacked under a short name at the top, and moved to its place when tar is done.
"""

import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from pickup_core.errors import PickupError
from pickup_core.merge import put_back

_LONGEST_NAME = 4000  # bytes
_CUT_AT = 1000  # each folder on the way there is held open, and a process may have 1024 open files
_LONGEST_PART = 255
_MOST = 100


@dataclass
class Detours:
    """The folders of an archive that are unpacked under another name: that name, by the one that they have."""

    names: dict[bytes, str] = field(default_factory=dict)

    def note(self, member: str) -> None:
        """See that a member's name will be short enough. Raises `PickupError` where that takes too many detours."""
        if len(member) < _LONGEST_NAME // 4:  # a character has four bytes at most
            return
        name = os.fsencode(member)
        for folder, other in self.names.items():
            if name.startswith(folder + b"/"):
                name = other.encode() + name[len(folder) :]
        while len(name) > _LONGEST_NAME:
            end = name.rfind(b"/", 0, _CUT_AT)
            if end < _CUT_AT - _LONGEST_PART - 1:  # a part that no file system takes: tar will say so
                return
            if len(self.names) == _MOST:
                raise PickupError(f"the archive has more than {_MOST} folders that lie too deep to be unpacked")
            other = self.names[name[:end]] = f".pickup-{secrets.token_hex(8)}"
            name = other.encode() + name[end:]

    def options(self) -> list[str]:
        """Give tar's options for them: hard links are changed with their files, what symbolic links say is not."""
        escaped = {os.fsdecode(re.sub(rb"([\\.\[*^$,])", rb"\\\1", name)): other for name, other in self.names.items()}
        return [rf"--transform=s,^{name}\(/\|$\),{other}\1,S" for name, other in escaped.items()]

    def put_back(self, folder: Path) -> None:
        """Move what tar has unpacked into `folder` under another name to its place."""
        for name, other in reversed(self.names.items()):  # one of them may lie in one that came before
            if os.path.lexists(folder / other):
                put_back(folder, other, [part for part in os.fsdecode(name).split("/") if part not in ("", ".")])
