"""The byte path: compressed streams that the standard programs read, digests, and the way of an error."""

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pickup_core.errors import PickupError
from pickup_core.store import BLOCK
from pickup_core.streams import Compressed, Compression, Digest, compression_suffix, decompressed, transfer, zstd

METHODS = ["zstd", "gzip", "none"]
NOISE = os.urandom(3 * BLOCK + 17)


class Pieces:
    """A stream that gives these pieces, one at each call, and counts the calls."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self.pieces = [piece for piece in pieces if piece]
        self.sizes: list[int] = []

    def read(self, size: int = -1) -> bytes:
        self.sizes.append(size)
        return self.pieces.pop(0) if self.pieces else b""


class Broken(Pieces):
    """A stream that fails after its pieces."""

    def read(self, size: int = -1) -> bytes:
        if not self.pieces:
            raise OSError(5, "Input/output error")
        return super().read(size)


def compressed(content: bytes, method: str) -> bytes:
    done = io.BytesIO()
    transfer(Compressed(io.BytesIO(content), Compression.parse(method)), done)
    return done.getvalue()


def all_of(stream: object) -> bytes:
    return b"".join(iter(lambda: stream.read(1000), b""))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "method", "level"),
    [("zstd", "zstd", 3), ("zstd:1", "zstd", 1), ("zstd:19", "zstd", 19), ("gzip", "gzip", 6), ("gzip:9", "gzip", 9),
     ("none", "none", 0)],
)  # fmt: skip
def test_a_compression_is_a_method_and_a_level(text: str, method: str, level: int) -> None:
    assert Compression.parse(text) == Compression(method, level)


@pytest.mark.parametrize("text", ["zstd:0", "zstd:20", "gzip:0", "gzip:10", "none:1", "zstd:99999999999999999999"])
def test_a_level_that_there_is_not_is_refused(text: str) -> None:
    method = text.partition(":")[0]
    with pytest.raises(ValueError, match=rf"level of {method} should be between \d+ and \d+"):
        Compression.parse(text)


@pytest.mark.parametrize("text", ["", "xz", "zstd:", "zstd:-1", "zstd:1.5", "ZSTD", " zstd", "zstd\n", None, 3, True])
def test_a_compression_that_there_is_not_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match='should be "zstd", "gzip" or "none"'):
        Compression.parse(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
@given(pieces=st.lists(st.binary(max_size=300) | st.integers(0, 200_000).map(bytes), max_size=6))
def test_what_is_compressed_comes_out_again(method: str, pieces: list[bytes]) -> None:
    """I4: however it comes in."""
    done = io.BytesIO()
    source = Compressed(Pieces(pieces), Compression.parse(method))
    transfer(source, done)
    assert all_of(decompressed(io.BytesIO(done.getvalue()), method)) == b"".join(pieces)
    assert source.size == sum(map(len, pieces))
    assert source.read() == b""


@pytest.mark.parametrize(
    ("method", "program"), [("zstd", ["zstd", "-dc"]), ("gzip", ["gzip", "-dc"]), ("none", ["cat"])]
)
@pytest.mark.parametrize("content", [b"", b"x", NOISE, bytes(BLOCK)], ids=["empty", "one byte", "noise", "zeros"])
def test_the_standard_program_reads_it(method: str, program: list[str], content: bytes) -> None:
    """V16: with a checksum inside, where the format has one."""
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    done = subprocess.run(program, input=compressed(content, method), capture_output=True, check=True)
    assert done.stdout == content


@pytest.mark.parametrize("method", ["zstd", "gzip"])
def test_a_stream_that_is_cut_off_raises(method: str) -> None:
    """V2: at every length; the manifest's digests find it before."""
    whole = compressed(b"some text, " * 20 + NOISE[:50], method)
    for length in range(1, len(whole)):
        with pytest.raises((OSError, EOFError, zlib.error, zstd().ZstdError)):
            all_of(decompressed(io.BytesIO(whole[:length]), method))


@pytest.mark.parametrize("method", ["zstd", "gzip"])
def test_a_stream_with_another_content_raises(method: str) -> None:
    whole = bytearray(compressed(NOISE[:1000], method))
    whole[500] ^= 1
    with pytest.raises((OSError, EOFError, zlib.error, zstd().ZstdError)):
        all_of(decompressed(io.BytesIO(bytes(whole)), method))


def test_gzip_keeps_the_level_and_says_no_time() -> None:
    content = b" ".join(NOISE[at : at + 3] for at in range(3000)) * 3
    assert len(compressed(content, "gzip:9")) < len(compressed(content, "gzip:1"))
    assert len(compressed(content, "zstd:19")) < len(compressed(content, "zstd:1"))
    assert compressed(content, "gzip") == compressed(content, "gzip")
    assert gzip.decompress(compressed(content, "gzip")) == content


def test_each_method_has_a_suffix() -> None:
    assert [compression_suffix(method) for method in METHODS] == [".zst", ".gz", ""]


def test_a_method_of_a_later_version_is_named() -> None:
    for use in (compression_suffix, lambda method: decompressed(io.BytesIO(), method)):
        with pytest.raises(PickupError) as caught:
            use("brotli")
        assert caught.value.message == "compression 'brotli' is not known here"
        assert caught.value.hint == "use the Pickup version that wrote this backup"


def test_a_digest_knows_what_went_through() -> None:
    done = io.BytesIO()
    digest = Digest(done)
    transfer(io.BytesIO(NOISE), digest)
    assert (digest.size, digest.sha256) == (len(NOISE), hashlib.sha256(NOISE).hexdigest())
    assert done.getvalue() == NOISE
    assert digest.write(b"more") == 4


def test_a_digest_counts_nothing_that_was_not_written() -> None:
    """S1."""
    with open("/dev/full", "wb", buffering=0) as full:
        digest = Digest(full)
        with pytest.raises(OSError, match="No space left"):
            digest.write(b"lost")
    assert digest.size == 0


@pytest.mark.parametrize("method", METHODS)
def test_the_source_is_read_in_blocks_of_bounded_size(method: str) -> None:
    source = Pieces([bytes(BLOCK)] * 5)
    transfer(Compressed(source, Compression.parse(method)), io.BytesIO())
    assert set(source.sizes) == {BLOCK}
    assert len(source.sizes) == 6  # and the end is asked for once


@pytest.mark.parametrize("method", METHODS)
def test_an_error_of_the_source_comes_out_as_it_is(method: str) -> None:
    with pytest.raises(OSError, match="Input/output error") as caught:
        transfer(Compressed(Broken([NOISE]), Compression.parse(method)), Digest(io.BytesIO()))
    assert caught.value.errno == 5


def test_nothing_is_written_after_an_error_of_the_source() -> None:
    """The end of a compressed stream would make the beginning of one look whole."""
    done = io.BytesIO()
    with pytest.raises(OSError, match="Input/output error"):
        transfer(Compressed(Broken([b"x" * 100]), Compression.parse("gzip")), done)
    with pytest.raises(EOFError):
        gzip.GzipFile(fileobj=io.BytesIO(done.getvalue() or b"\x1f")).read()
