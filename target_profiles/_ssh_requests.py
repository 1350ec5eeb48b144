"""Requests of SFTP that are on their way at the same time.

paramiko's public calls wait for each answer; what they are made of does not, and is used here alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from target_profiles._ssh_login import library

_EXTENDED, _FSYNC = 200, "fsync@openssh.com"  # SSH_FXP_EXTENDED of the SFTP protocol, and an extension of OpenSSH


class Requests:
    """Requests to a server, whose answers may be asked for in any order. Each method gives the number of a request."""

    def __init__(self, sftp: Any) -> None:
        self._sftp = sftp
        self._answers: dict[int, tuple[int, Any]] = {}
        self._waiting = bytearray()

    def new_file(self, path: str) -> int:
        """Ask for a file that is not there yet, private and open for writing; the answer holds its handle."""
        sftp, private = library().sftp, library().SFTPAttributes()
        private.st_mode = 0o600
        return self._ask(
            sftp.CMD_OPEN, path, sftp.SFTP_FLAG_WRITE | sftp.SFTP_FLAG_CREATE | sftp.SFTP_FLAG_EXCL, private
        )

    def known_file(self, path: str) -> int:
        """Ask for a file that is there, open for writing; the answer holds its handle."""
        return self._ask(library().sftp.CMD_OPEN, path, library().sftp.SFTP_FLAG_WRITE, library().SFTPAttributes())

    def write(self, handle: bytes, start: int, data: bytes | memoryview) -> int:
        return self._ask(library().sftp.CMD_WRITE, handle, library().sftp.int64(start), bytes(data))

    def sync(self, handle: bytes) -> int:
        return self._ask(_EXTENDED, _FSYNC, handle)

    def close(self, handle: bytes) -> int:
        return self._ask(library().sftp.CMD_CLOSE, handle)

    def answer(self, number: int) -> Any:
        """Wait for the answer to a request, and give it. Raises `OSError` where that is a failure."""
        while number not in self._answers:
            self._sftp._read_response()  # noqa: SLF001
        kind, message = self._answers.pop(number)
        if kind == library().sftp.CMD_STATUS:
            self._sftp._convert_status(message)  # noqa: SLF001
        return message

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Let what is asked meanwhile go out together: every packet of SSH has its price."""
        channel, self._sftp.sock = self._sftp.sock, self
        try:
            yield
        finally:
            self._sftp.sock = channel
            waiting, self._waiting = self._waiting, bytearray()
        channel.sendall(memoryview(waiting))

    def send(self, data: bytes) -> int:
        """Take what paramiko would send to its channel."""
        self._waiting += data
        return len(data)

    def _ask(self, kind: int, *words: Any) -> int:
        number: int = self._sftp._async_request(self, kind, *words)  # noqa: SLF001
        return number

    def _async_response(self, kind: int, message: Any, number: int) -> None:
        """Take an answer; the name is paramiko's."""
        self._answers[number] = (kind, message)
