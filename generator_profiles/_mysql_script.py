"""The scripts that mariadb-dump and mysqldump write: how one begins and ends, and how it gets another name.

A script says itself which database it fills, so the profile `mysql` looks before it loads one. For another database the
few lines that say so are changed on the way, and nothing else.
"""

import re

from generator_profiles._mysql_server import quoted
from pickup_core.api import BLOCK, Readable

END = re.compile(rb"\n-- Dump completed[^\n]*\n*\Z")
"""How a dump ends that was written to its end."""

_HEAD = 65_536
_LONGEST_MATCH = 4096  # of a line, as far as the database's name


def is_dump_of(database: str, stream: Readable) -> bool:
    """Tell whether a stream begins as a dump of this database does: it creates it, and makes it the current one."""
    name = re.escape(quoted(database).encode())
    start = rb"\nCREATE DATABASE [^\n`]*" + name + rb"[^;]*;\s*USE " + name + rb";"
    return re.search(start, _head_of(stream)) is not None


def _head_of(stream: Readable) -> bytes:
    """Read on until the beginning of a dump is there, with its CREATE DATABASE in it."""
    head = b""
    while len(head) < _HEAD and (block := stream.read(BLOCK)):
        head += block
    return head


class Renamed:
    """A dump as a stream, in which the lines that name its database name another one.

    They create it, make it the current one, change its character set, or take a default from one of its sequences.
    Rows are never touched: in them a line end is written as an escape. Nor is what a routine names by itself.
    """

    def __init__(self, stream: Readable, old: str, new: str, keeps_first_line: bool) -> None:
        self._new = quoted(new).encode()
        self._lines = re.compile(
            rb"\n(CREATE DATABASE (?:/\*!\d+ IF NOT EXISTS\*/ )?|USE |ALTER DATABASE |  `[^\n]* DEFAULT nextval\()"
            + re.escape(quoted(old).encode())
        )
        self._stream = stream
        self._rest = b"" if keeps_first_line else self._without_sandbox()

    def _without_sandbox(self) -> bytes:
        """Read the first line, which an older program does not understand, and leave it out."""
        return re.sub(rb"\A/\*M?!999999\\- [^\n]*", b"", _head_of(self._stream))

    def read(self, size: int = -1, /) -> bytes:
        """Give up to two blocks. A line that may go on in the next block is held back."""
        while block := self._stream.read(BLOCK):
            data = self._rest + block
            cut = data.rfind(b"\n", max(0, len(data) - _LONGEST_MATCH))
            cut = len(data) if cut < 0 else cut
            self._rest = data[cut:]
            if cut:
                return self._changed(data[:cut])
        rest, self._rest = self._rest, b""
        return self._changed(rest)

    def _changed(self, data: bytes) -> bytes:
        return self._lines.sub(lambda found: b"\n" + found[1] + self._new, data)
