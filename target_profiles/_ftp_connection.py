"""One connection of the profile `ftp`: it asks, sends and receives, and says in words what went wrong.

An upload that breaks off ends without an end of file: a server would take that for the end of the content.
"""

import contextlib
import ftplib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass

from pickup_core.api import BLOCK, Readable, StoreError, UnreachableError, short_line
from target_profiles._ftp_login import Account, explained, from_wire, log_in, to_wire

_PIECE = 64 * 1024  # what a slow line takes within one timeout
_FAREWELL = 3.0  # seconds that a server has to end a connection that is given up
_RESTED = 1.0  # seconds after which a server may have ended a connection
_UNKNOWN = (500, 501, 502, 504)  # https://www.rfc-editor.org/rfc/rfc959#section-4.2.1
_GOING_DOWN = 421


class ReplyLostError(StoreError):
    """All `sent` bytes were sent, and then no answer came: what the server has of them is not known."""

    def __init__(self, message: str, sent: int) -> None:
        super().__init__(message)
        self.sent = sent


class TransferRefusedError(StoreError):
    """The server refused to send or take something; `reply` is its answer. The connection may be used further."""

    def __init__(self, message: str, reply: "Reply") -> None:
        super().__init__(message)
        self.reply = reply


@dataclass(frozen=True)
class Reply:
    """What a server answers: a number of three digits, and a text that means nothing."""

    code: int
    text: str

    @property
    def is_good(self) -> bool:
        return 200 <= self.code < 300

    @property
    def is_refusal(self) -> bool:
        return self.code >= 500

    @property
    def is_unknown(self) -> bool:
        """Tell whether the server does not know the command, or not with this argument."""
        return self.code in _UNKNOWN

    def __str__(self) -> str:
        return short_line(self.text)


class Connection:
    """A connection that has logged in. Whatever goes wrong is a `StoreError`; then only `drop` may follow."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._ftp = log_in(account)
        self._heard = time.monotonic()

    def is_alive(self) -> bool:
        """Tell whether the connection can be used. One that rested is tried: servers end those that are silent."""
        if self._ftp.sock is None:
            return False
        if time.monotonic() < self._heard + _RESTED:
            return True
        try:
            return self.ask("NOOP").is_good
        except StoreError:
            return False

    def ask(self, command: str) -> Reply:
        """Send a command and give its answer, a refusal too."""
        with explained(self._account, command):
            try:
                reply = _reply(self._ftp.sendcmd(to_wire(command)))
            except (ftplib.error_temp, ftplib.error_perm) as error:
                reply = _reply(str(error))
        if reply.code == _GOING_DOWN:
            raise UnreachableError(f"{self._account.server} ends the connection: {reply}")
        self._heard = time.monotonic()
        return reply

    def can_restart(self) -> bool:
        """Tell whether a transfer can begin within a file (REST STREAM, RFC 3659, section 5)."""
        return "rest stream" in self.ask("FEAT").text.lower()

    def send(self, command: str, stream: Readable, start: int = 0) -> int:
        """Send what a stream gives, to its end, for the place in the file at which that many bytes have gone before;
        give how many bytes that were.

        What the stream raises gets out, and no end of file is sent. Raises `ReplyLostError` where all was sent and no
        answer came.
        """
        data, sent = self._transfer(command, start), 0
        try:
            while block := stream.read(BLOCK):
                self._push(data, block, command)
                sent += len(block)
        except BaseException:
            _reset(data)
            raise
        _finish(data)
        with explained(self._account, command):
            try:
                self._ftp.voidresp()
            except (OSError, EOFError, ftplib.error_temp) as error:
                if isinstance(error, ftplib.error_temp) and _reply(str(error)).code != _GOING_DOWN:
                    raise
                raise ReplyLostError(f"{self._account.server} did not confirm {command}", sent) from error
        return sent

    @contextlib.contextmanager
    def receive(self, command: str) -> Iterator["Download"]:
        """Give what a command sends as a stream; where that is left before its end, the connection is dropped.

        Raises `TransferRefusedError` where the server refuses to send anything.
        """
        data = self._transfer(command)
        try:
            download = Download(self, data, command)
            yield download
            is_over = download.has_ended or not download.read()  # who reads a small file may not ask for its end
        finally:
            data.close()
        if not is_over:
            self.drop()

    def block_of(self, data: socket.socket, size: int, command: str) -> bytes:
        """Give the next bytes of a data connection; none at its end, once the server has confirmed that."""
        with explained(self._account, command):
            block = data.recv(size)
            if not block:
                _finish(data)
                self._ftp.voidresp()
        return block

    def drop(self) -> None:
        """End the connection whatever its state, and wait a little for the server to let go of it: it may allow one
        connection only, and may still be writing.
        """
        if sock := self._ftp.sock:
            limit = time.monotonic() + _FAREWELL
            with contextlib.suppress(OSError):
                sock.settimeout(_FAREWELL)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(BLOCK) and time.monotonic() < limit:
                    pass
        self._ftp.close()

    def close(self) -> None:
        """Say goodbye."""
        if sock := self._ftp.sock:
            with contextlib.suppress(OSError, EOFError, ftplib.Error):
                sock.settimeout(_FAREWELL)
                self._ftp.quit()
        self._ftp.close()

    def _transfer(self, command: str, start: int = 0) -> socket.socket:
        """Open a data connection for a command."""
        with explained(self._account, command):
            try:
                return self._ftp.transfercmd(to_wire(command), start or None)
            except (ftplib.error_temp, ftplib.error_perm) as error:
                reply = _reply(str(error))
                raise TransferRefusedError(f"{self._account.server}: {command}: {reply}", reply) from error

    def _push(self, data: socket.socket, block: bytes, command: str) -> None:
        """Send a block. Where the server hangs up, its last words say why."""
        view = memoryview(block)
        with explained(self._account, command):
            try:
                for start in range(0, len(view), _PIECE):
                    data.sendall(view[start : start + _PIECE])
            except TimeoutError:
                raise
            except OSError as error:
                assert self._ftp.sock
                self._ftp.sock.settimeout(_FAREWELL)
                with contextlib.suppress(OSError, EOFError):
                    self._ftp.voidresp()
                raise error from None


class Download:
    """A stream of what a server sends. Its end is believed when the server confirms it."""

    def __init__(self, connection: Connection, data: socket.socket, command: str) -> None:
        self._connection = connection
        self._data = data
        self._command = command
        self.has_ended = False

    def read(self, size: int = BLOCK) -> bytes:
        """Give some bytes, at most `size`; none at the end."""
        if self.has_ended or size == 0:
            return b""
        block = self._connection.block_of(self._data, min(size, BLOCK) if size > 0 else BLOCK, self._command)
        self.has_ended = not block
        return block


def _reset(data: socket.socket) -> None:
    """Break a data connection off so that its other end sees an error, and no end of file."""
    with contextlib.suppress(OSError):
        data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    data.close()


def _finish(data: socket.socket) -> None:
    """End a data connection as its protocol wants it. Whether all has arrived, the server's answer says."""
    with data, contextlib.suppress(OSError):
        if isinstance(data, ssl.SSLSocket):
            data.unwrap()


def _reply(line: str) -> Reply:
    text = from_wire(line)
    return Reply(int(text[:3]) if text[:3].isascii() and text[:3].isdigit() else 0, text)
