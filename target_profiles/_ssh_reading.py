"""A file of an SFTP server as a stream: many requests on their way at a time, in bounded memory.

paramiko's own `prefetch` reads in a thread, which stays where a reader leaves early, and prints what it dies of.
"""

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from types import TracebackType
from typing import Any

from pickup_core.api import StoreError
from target_profiles._ssh_login import library

_REQUEST = 32 * 1024
_AT_A_TIME = 64
_READ, _STATUS = 5, 101  # SSH_FXP_READ and SSH_FXP_STATUS of the SFTP protocol


class Reading:
    """Reads a file of a known size; `asking` gives the context in which the server is spoken to."""

    def __init__(self, sftp: Any, file: Any, size: int, asking: Callable[[], AbstractContextManager[object]]) -> None:
        self._sftp = sftp
        self._file = file
        self._size = size
        self._asking = asking
        self._asked = 0
        self._waiting: deque[tuple[int, int, int]] = deque()  # number of the request, offset, length
        self._answers: dict[int, bytes] = {}
        self._rest = b""

    def __enter__(self) -> "Reading":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(StoreError, OSError), self._asking():  # what was read is whole, and what failed was told
            self._file.close()

    def read(self, size: int = -1) -> bytes:
        """Give up to so many bytes, all that is left for a negative size. Raises `StoreError` where the file has
        become shorter.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_REQUEST), b""))
        if not self._rest:
            with self._asking():
                self._rest = self._next()
        block, self._rest = self._rest[:size], self._rest[size:]
        return block

    def _next(self) -> bytes:
        while self._asked < self._size and len(self._waiting) < _AT_A_TIME:
            self._ask(min(_REQUEST, self._size - self._asked))
        if not self._waiting:
            return b""
        number, offset, length = self._waiting.popleft()
        while number not in self._answers:
            self._sftp._read_response()  # noqa: SLF001 - see above
        block = self._answers.pop(number)
        while len(block) < length:  # a server may give less than it was asked for
            self._file.seek(offset + len(block))
            more = self._file.read(length - len(block))
            if not more:
                raise StoreError("the file has become shorter while it was read")
            block += more
        return block

    def _ask(self, length: int) -> None:
        offset = library().sftp.int64(self._asked)
        number = self._sftp._async_request(self, _READ, self._file.handle, offset, length)  # noqa: SLF001
        self._waiting.append((number, self._asked, length))
        self._asked += length

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        """Take an answer, as paramiko hands it over."""
        self._answers[number] = b""
        if kind == _STATUS:
            with suppress(EOFError):
                self._sftp._convert_status(message)  # noqa: SLF001
        else:
            self._answers[number] = message.get_string()
