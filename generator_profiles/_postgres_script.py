"""The scripts that pg_dump and pg_dumpall write, read line by line, and changed for the profile `postgres`."""

import re
from collections.abc import Iterator

from generator_profiles._postgres_server import quoted_value
from pickup_core.api import BLOCK, Readable

_QUOTE = rb"""['"]|--|/\*|\*/|\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$"""
END = re.compile(
    rb"\n--\n-- PostgreSQL database dump complete\n--\n\s*(\\unrestrict \w+\s*)?\Z"
    rb"|\n--\n-- PostgreSQL database cluster dump complete\n--\n\s*\Z"
)
"""How a script ends that was written to its end."""


class Script:
    """Pieces of a script as a stream."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def read(self, size: int = -1) -> bytes:
        """Give about a block, none at the end."""
        taken, length = [], 0
        for piece in self._pieces:
            taken.append(piece)
            length += len(piece)
            if length >= BLOCK:
                break
        return b"".join(taken)


def without_role(script: Readable, role: str) -> Script:
    """Give a script of roles that leaves attributes and password of one role alone: of the one that loads it."""
    names = b"|".join(re.escape(_bytes(name)) for name in (role, _identifier(role)))
    own = re.compile(rb"ALTER ROLE (?:%b) WITH " % names)
    return Script(line for line in _lines(script) if not own.match(line))


def renamed(script: Readable, old: str, new: str) -> Script:
    """Give a script of one database that makes a database of another name.

    The name is changed in the statements about the database itself, and in each of psql's commands to connect to it.
    Data, and whatever stands in quotes, is left alone.
    """
    return Script(_renamed_lines(script, old, new))


def _renamed_lines(script: Readable, old: str, new: str) -> Iterator[bytes]:
    names = re.escape(_bytes(old)), re.escape(_bytes(_identifier(old)))
    token = re.compile(rb'DATABASE (?:%b(?![\w$])|%b(?!"))|%b' % (*names, _QUOTE))
    address = _identifier(f"dbname={quoted_value(new)}")
    connect = _bytes(f"\\encoding SQL_ASCII\n\\connect -reuse-previous=on {address}\n")
    quote, is_data, is_start = b"", False, True
    for line in _lines(script):
        if is_data:
            is_data = not (is_start and line == b"\\.\n")
            yield line
        elif is_start and not quote and line.startswith(b"\\connect "):
            yield connect
        else:
            changed, quote = _changed(line, quote, token, _bytes(_identifier(new)))
            is_data = not quote and line.endswith(b" FROM stdin;\n")
            yield changed
        is_start = line.endswith(b"\n")


def _changed(line: bytes, quote: bytes, token: re.Pattern[bytes], new: bytes) -> tuple[bytes, bytes]:
    """Give a line with the database's name changed outside of quotes, and the quote that is open at its end. `quote` is
    the one that is open at its beginning.
    """
    pieces, end = [], 0
    for found in token.finditer(line):
        text = found.group()
        if quote:
            quote = b"" if text == (b"*/" if quote == b"/*" else quote) else quote
        elif text == b"--":
            break
        elif text.startswith(b"DATABASE "):
            pieces += [line[end : found.start()], b"DATABASE ", new]
            end = found.end()
        else:
            quote = text
    return b"".join([*pieces, line[end:]]), quote


def _lines(stream: Readable) -> Iterator[bytes]:
    """Give a stream line by line; a line longer than a block comes in several pieces."""
    rest = b""
    while block := stream.read(BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        yield from (line + b"\n" for line in lines)
        if len(rest) >= BLOCK:
            yield rest
            rest = b""
    if rest:
        yield rest


def _identifier(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
