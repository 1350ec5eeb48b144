"""The byte path: readers on the left, writers on the right, one transfer between them.

with sink:                              # commits on a clean exit, else discards
    digest = Digest(sink)
    with artefact.source as stream:     # raises where the source turns out to be broken
        transfer(Compressed(stream, method), digest)
"""

import functools
import gzip
import hashlib
import os
import re
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from pickup_core.artefact import Readable, Writable
from pickup_core.errors import DamageError, PickupError
from pickup_core.store import BLOCK

_WORKERS = 2
_FAST_LEVELS = 9
_JOB_SIZE = (
    2 * 1024 * 1024
)  # bytes a worker takes at a time: zstd's own choice of 8 MiB takes 80 MB more and is no faster


@dataclass(frozen=True)
class Compression:
    """How artefacts are compressed: a method, and a level that means what the method's own program means by it."""

    method: str
    level: int

    @classmethod
    def parse(cls, text: str) -> "Compression":
        """Read `zstd`, `gzip` or `none`, with a level after a colon where wanted: `zstd:9`. Raises `ValueError`."""
        found = re.fullmatch(r"([a-z]+)(?::(\d+))?", text) if isinstance(text, str) else None
        known = _METHODS.get(found[1]) if found else None
        if found is None or known is None:
            raise ValueError('should be "zstd", "gzip" or "none", with a level after a colon where wanted: "zstd:9"')
        level = int(found[2]) if found[2] else known.default_level
        if not known.lowest <= level <= known.highest:
            raise ValueError(f"level of {found[1]} should be between {known.lowest} and {known.highest}")
        return cls(found[1], level)


class Compressed:
    """The compressed form of a stream, as a stream. `size` counts the bytes that were read from the stream within."""

    def __init__(self, stream: Readable, compression: Compression) -> None:
        self._stream = stream
        self._compressor = _METHODS[compression.method].compressor(compression.level)
        self._at_end = False
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        """Give the next compressed bytes, which may be more or fewer than `size`; none at the end."""
        data = b""
        while not data and not self._at_end:
            block = self._stream.read(BLOCK)
            self.size += len(block)
            self._at_end = not block
            data = self._compressor.compress(block) if block else self._compressor.flush()
        return data


class Digest:
    """A writer that passes everything on and knows the size and the SHA-256 of what went through."""

    def __init__(self, writer: Writable) -> None:
        self._writer = writer
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._writer.write(data)
        self._digest.update(data)
        self.size += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


class Bounded:
    """A stream of as many bytes as the manifest says. Raises `DamageError` where it has more, or ends before."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size if size > 0 else BLOCK)
        self._left -= len(data)
        if self._left < 0:
            raise DamageError("is larger than its manifest says")
        if not data and self._left > 0:
            raise DamageError("is smaller than its manifest says")
        return data


class Checked:
    """A stream that raises `DamageError` at its end, with its name, where it does not have this size and SHA-256."""

    def __init__(self, stream: Readable, name: str, size: int, sha256: str) -> None:
        self._stream = stream
        self._name = name
        self._digest = hashlib.sha256()
        self._left = size
        self._sha256 = sha256

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size if size > 0 else BLOCK)
        self._digest.update(data)
        self._left -= len(data)
        is_wrong = not data and (self._left or self._digest.hexdigest() != self._sha256)
        if self._left < 0 or is_wrong:
            raise DamageError(f"{self._name} has changed since it was stored")
        return data


def transfer(reader: Readable, writer: Writable) -> None:
    """Move everything from a reader to a writer, in blocks of 256 KiB."""
    while block := reader.read(BLOCK):
        writer.write(block)


def decompressed(stream: Readable, method: str) -> Readable:
    """Give the original bytes of a stream that was compressed by this method. Reading raises one of
    `decompression_errors` where the stream is damaged; a method that this version does not know is a `PickupError`.
    """
    return _known(method).decompressor(stream)


def decompression_errors() -> tuple[type[Exception], ...]:
    """Give what reading a damaged compressed stream raises."""
    return EOFError, gzip.BadGzipFile, zlib.error, zstd().ZstdError


def compression_suffix(method: str) -> str:
    """Give the file name suffix of what this method compressed, with its dot. Raises `PickupError` for an unknown
    one.
    """
    return _known(method).suffix


def _known(method: str) -> "_Method":
    if method not in _METHODS:
        raise PickupError(
            f"compression {method!r} is not known here", hint="use the Pickup version that wrote this backup"
        )
    return _METHODS[method]


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    """The compressor that does not compress."""

    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


@functools.cache
def zstd() -> Any:
    """Give the zstd module: the standard library's, or before Python 3.14 the package of the same interface."""
    if sys.version_info >= (3, 14):
        from compression import zstd as module
    else:
        from backports import zstd as module
    return module


def _zstd_compressor(level: int) -> _Compressor:
    parameter = zstd().CompressionParameter
    options = {
        parameter.compression_level: level,
        parameter.checksum_flag: 1,
        parameter.nb_workers: max(1, min(_WORKERS, len(_usable_cores()))),
    }
    if level <= _FAST_LEVELS:
        options[parameter.job_size] = _JOB_SIZE
    return cast(_Compressor, zstd().ZstdCompressor(options=options))


def _gzip_compressor(level: int) -> _Compressor:
    """Give the fast implementation where it is installed (extra `fast`); its levels are 0 to 3."""
    wbits = 16 + zlib.MAX_WBITS
    try:
        from isal import isal_zlib
    except ImportError:
        return zlib.compressobj(level, zlib.DEFLATED, wbits)
    return cast(_Compressor, isal_zlib.compressobj(min(level, 3), isal_zlib.DEFLATED, wbits))


def _usable_cores() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


@dataclass(frozen=True)
class _Method:
    suffix: str
    default_level: int
    lowest: int
    highest: int
    compressor: Callable[[int], _Compressor]
    decompressor: Callable[[Readable], Readable]


_METHODS = {
    "zstd": _Method(".zst", 3, 1, 19, _zstd_compressor, lambda stream: cast(Readable, zstd().ZstdFile(stream))),
    "gzip": _Method(".gz", 6, 1, 9, _gzip_compressor, lambda stream: gzip.GzipFile(fileobj=cast(Any, stream))),
    "none": _Method("", 0, 0, 0, lambda level: _Plain(), lambda stream: stream),
}
