"""A file of an SFTP server as a stream: many requests on their way at a time, in bounded memory."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any

from pickup_core.api import StoreError

_REQUEST = 32 * 1024
_WINDOW = 64 * _REQUEST


class Reading:
    """Reads a file of a known size; `explained` gives the context in which the server is asked."""

    def __init__(self, file: Any, size: int, explained: Callable[[], AbstractContextManager[None]]) -> None:
        self._file = file
        self._size = size
        self._explained = explained
        self._asked = 0
        self._blocks: list[bytes] = []

    def __enter__(self) -> "Reading":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, size: int = -1) -> bytes:
        """Give up to so many bytes, all that is left for a negative size. Raises `StoreError` where the file has
        become shorter.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_WINDOW), b""))
        if not self._blocks and self._asked < self._size:
            self._ask()
        if not self._blocks:
            return b""
        block = self._blocks.pop()
        if len(block) > size:
            self._blocks.append(block[size:])
        return block[:size]

    def _ask(self) -> None:
        """Ask for the next 2 MiB at once, and wait for all of them."""
        end = min(self._asked + _WINDOW, self._size)
        parts = [(start, min(_REQUEST, end - start)) for start in range(self._asked, end, _REQUEST)]
        with self._explained():
            blocks = list(self._file.readv(parts))
        if [len(block) for block in blocks] != [length for _, length in parts]:
            raise StoreError("a file became shorter while it was read")
        self._blocks = blocks[::-1]
        self._asked = end
