"""`Artefact`: one file of a backup, as a generator hands it over; and the names under which artefacts are stored."""

import contextlib
import hashlib
import re
from collections.abc import Callable, Container, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

ARCHIVE_SUFFIX = ".tar"
CONTENTS_SUFFIX = ".contents"
"""An archive `NAME.tar` may have a list of its contents beside it, `NAME.contents`."""
STAGING_MARK = "PICKUP-STAGING"
"""A folder with a file of this name belongs to a run of Pickup, and nothing of it belongs into a backup."""

_LONGEST_NAME = 180
_KEPT_OF_LONGER = 150


class Readable(Protocol):
    """A binary stream as Pickup reads it: `read(n)` gives up to n bytes, and no bytes at its end."""

    def read(self, size: int = -1, /) -> bytes: ...


class Writable(Protocol):
    """A binary stream as Pickup writes it: `write` takes all of the bytes and gives their number."""

    def write(self, data: bytes, /) -> int: ...


@dataclass(frozen=True)
class Judgement:
    """What a profile says of a source that has ended: nothing, warnings, or losses.

    With warnings the artefact is whole. With losses it is kept, but its entry has failed. An artefact that is of no
    use is not judged; leaving its source raises.
    """

    warnings: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Artefact:
    """One file of a backup: its name, and the source that its bytes come from.

    `source` stands in a `with` and gives a binary stream; nothing starts before the core enters it. Leaving the
    `with` raises where the source turned out to be broken. A source may have an attribute `judgement`, read after
    that.
    """

    name: str
    source: AbstractContextManager[Readable]

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("an artefact needs a name")


@contextlib.contextmanager
def broken(error: Exception) -> Iterator[Readable]:
    """Give a source that raises this error where its `with` is entered: of something that is known not to be there, so
    that it costs its own artefact and no other.
    """
    raise error
    yield  # makes this a generator, as a context manager has to be


@dataclass(frozen=True)
class Stored:
    """An artefact of a backup, given back to its profile to be loaded: the name that its generator gave it, its
    uncompressed size in bytes, and its content.

    `open` gives the uncompressed content to be used in a `with`, each time from its beginning. That it is what was
    stored was checked before.
    """

    name: str
    size: int
    open: Callable[[], AbstractContextManager[Readable]]


def stored_name(name: str, taken: Container[str] = ()) -> str:
    """Give the file name under which an artefact of this name is stored, without the suffix of its compression.

    Any text may come in, for names come from servers and file systems. Out comes a name of `A-Za-z0-9._-` where every
    other byte is written `=HH`, as a leading dot or dash is. Two different names give two different file names. A name
    of more than 180 bytes, one that when case-folded is in `taken`, and one whose bytes are those of another text too,
    gets a digest of the whole name before its suffix: `=~` and 16 hex digits.
    """
    escaped = "".join(
        chr(byte) if re.fullmatch(rb"[A-Za-z0-9._-]", bytes([byte])) else f"={byte:02X}" for byte in _bytes_of(name)
    )
    if escaped[0] in ".-":
        escaped = f"={ord(escaped[0]):02X}{escaped[1:]}"
    is_alone = _bytes_of(name).decode("utf-8", "surrogateescape") == name
    if is_alone and len(escaped) <= _LONGEST_NAME and escaped.casefold() not in taken:
        return escaped
    found = re.search(r"(?<=.)\.[A-Za-z0-9]{1,8}\Z", escaped)
    suffix = found.group() if found else ""
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{escaped.removesuffix(suffix)[:_KEPT_OF_LONGER]}=~{digest}{suffix}"


def _bytes_of(name: str) -> bytes:
    """Give the bytes of a name, whatever the locale is, and whatever a server has put in it."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a pair, which comes from no file system
        return name.encode("utf-8", "surrogatepass")


def folder_name(name: str) -> str:
    """Give the folder that an entry's artefacts lie in: its name, every character outside `A-Za-z0-9._-` made `_`."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    return re.sub(r"\A[.-]", "_", plain)
