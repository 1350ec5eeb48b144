"""One connection of the profile `ftp`: it logs in, asks, sends and receives, and says in words what went wrong.

What the standard library lacks for that is here: TLS that is checked before anything secret is sent, data connections
that go on with the TLS session of the control connection, as many servers want it, and uploads that break off without
an end of file, which a server would take for the end of the content.

The protocol's lines are bytes. They are handed to `ftplib` as Latin-1, in which any byte is a character, and are UTF-8
here: a server that writes something else is understood too.
"""

import contextlib
import ftplib
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pickup_core.api import BLOCK, Readable, Secret, StoreError

_PIECE = 64 * 1024  # what a slow line takes within one timeout
_FAREWELL = 3.0  # seconds that a server has to end a connection that is given up
_PAUSES = (0.1, 0.5, 1, 2)  # seconds between attempts to connect to a server that says it is busy
_LONGEST_SHOWN = 300
_UNKNOWN = (500, 501, 502, 504)  # https://www.rfc-editor.org/rfc/rfc959#section-4.2.1
_GOING_DOWN = 421


class ReplyLostError(StoreError):
    """All `sent` bytes were sent, and then no answer came: what the server has of them is not known."""

    def __init__(self, message: str, sent: int) -> None:
        super().__init__(message)
        self.sent = sent


class TransferRefusedError(StoreError):
    """The server refused to send what was asked for; `reply` is its answer. The connection may be used further."""

    def __init__(self, message: str, reply: "Reply", hint: str) -> None:
        super().__init__(message, hint)
        self.reply = reply


@dataclass(frozen=True)
class Account:
    """Where to connect, and as whom. `timeout` is in seconds, and holds for each wait."""

    host: str
    port: int
    user: str
    password: Secret
    tls: bool
    ca_file: Path | None
    timeout: float

    @property
    def server(self) -> str:
        return f"{self.host}:{self.port}"


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
        return _shown(self.text)


class Connection:
    """A connection that has logged in. Whatever goes wrong is a `StoreError`; then only `drop` may follow."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._ftp = _begun(account)
        try:
            self._log_in()
        except BaseException:
            self.drop()
            raise

    def ask(self, command: str) -> Reply:
        """Send a command and give its answer, a refusal too."""
        with self._explaining(command):
            try:
                reply = _reply(self._ftp.sendcmd(_to_wire(command)))
            except (ftplib.error_temp, ftplib.error_perm) as error:
                reply = _reply(str(error))
        if reply.code == _GOING_DOWN:
            raise StoreError(f"{self._account.server} ends the connection: {reply}")
        return reply

    def send(self, command: str, stream: Readable) -> int:
        """Send what a stream gives, to its end; give how many bytes that were.

        What the stream raises gets out, and no end of file is sent. Raises `ReplyLostError` where all was sent and no
        answer came.
        """
        data, sent = self._transfer(command), 0
        try:
            while block := stream.read(_PIECE):
                self._push(data, block, command)
                sent += len(block)
        except BaseException:
            _reset(data)
            raise
        _finish(data)
        try:
            self._ftp.voidresp()
        except ftplib.Error as error:
            raise StoreError(f"{command}: {_shown(_from_wire(str(error)))}", hint=_quota_hint(error)) from error
        except (OSError, EOFError) as error:
            reason = error or "it hung up"
            raise ReplyLostError(f"{self._account.server} did not confirm {command}: {reason}", sent) from error
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
        finally:
            data.close()
        if not download.has_ended:
            self.drop()

    def block_of(self, data: socket.socket, size: int, command: str) -> bytes:
        """Give the next bytes of a data connection; none at its end, once the server has confirmed that."""
        with self._explaining(command):
            block = data.recv(size)
            if not block:
                _finish(data)
                self._ftp.voidresp()
        return block

    @property
    def is_open(self) -> bool:
        return self._ftp.sock is not None

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
                sock.settimeout(min(_FAREWELL, self._account.timeout))
                self._ftp.quit()
        self._ftp.close()

    def _log_in(self) -> None:
        account = self._account
        with self._explaining("login"):
            try:
                self._ftp.login(_to_wire(account.user), _to_wire(account.password.reveal()))
            except (ftplib.error_perm, ftplib.error_reply) as error:
                reason = _shown(_from_wire(str(error)).replace(account.password.reveal(), "***"))
                raise StoreError(
                    f"{account.server} refuses the login of {account.user}: {reason}",
                    hint="look at user and password; some servers want tls, and some do not take this address",
                ) from None  # the server may have repeated the password
            self._ftp.voidcmd("TYPE I")

    def _transfer(self, command: str) -> socket.socket:
        """Open a data connection for a command."""
        with self._explaining(command):
            try:
                return self._ftp.transfercmd(_to_wire(command))
            except (ftplib.error_temp, ftplib.error_perm) as error:
                reply = _reply(str(error))
                hint = _quota_hint(error)
                raise TransferRefusedError(f"{self._account.server}: {command}: {reply}", reply, hint) from error

    def _push(self, data: socket.socket, block: bytes, command: str) -> None:
        """Send a block. Where the server hangs up, its last words say why."""
        with self._explaining(command):
            try:
                data.sendall(block)
            except TimeoutError:
                raise
            except OSError as error:
                assert self._ftp.sock
                self._ftp.sock.settimeout(min(_FAREWELL, self._account.timeout))
                with contextlib.suppress(OSError, EOFError):
                    self._ftp.voidresp()
                raise error from None

    @contextlib.contextmanager
    def _explaining(self, command: str) -> Iterator[None]:
        with _explained(self._account, command):
            yield


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


class _Encrypted(ftplib.FTP_TLS):
    """FTP over TLS, whose data connections go on with the TLS session of the control connection."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        data, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 - it is wrapped in TLS below
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            return self.context.wrap_socket(data, server_hostname=self.host, session=self.sock.session), size
        except BaseException:
            data.close()
            raise


def _begun(account: Account) -> ftplib.FTP:
    """Connect; with `tls`, nothing but the wish for TLS is sent before the server has proved who it is."""
    ftp: ftplib.FTP
    if account.tls:
        ftp = _Encrypted(context=_trust(account), timeout=account.timeout, encoding="latin-1")
    else:
        ftp = ftplib.FTP(timeout=account.timeout, encoding="latin-1")  # noqa: S321 - the config asks for it
    try:
        with _explained(account, "connect"):
            _be_greeted(ftp, account)
            assert ftp.sock
            _keep_alive(ftp.sock)
        if isinstance(ftp, _Encrypted):
            _encrypt(ftp, account)
    except BaseException:
        ftp.close()
        raise
    return ftp


def _be_greeted(ftp: ftplib.FTP, account: Account) -> None:
    """Connect, patiently: where a server allows few connections, the one that was just ended may still count."""
    for pause in _PAUSES:
        try:
            ftp.connect(account.host, account.port)
            return
        except ftplib.error_temp:
            ftp.close()
            time.sleep(pause)
    ftp.connect(account.host, account.port)


def _trust(account: Account) -> ssl.SSLContext:
    """Give the rules by which a server is believed: a valid certificate for its name, and TLS 1.2 at least."""
    try:
        context = ssl.create_default_context(cafile=account.ca_file)
    except OSError as error:
        raise StoreError(f"ca_file {account.ca_file} cannot be used: {error}", hint="it has to be PEM") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _encrypt(ftp: _Encrypted, account: Account) -> None:
    hint = "tls=False would send the password and all data for everyone to read"
    with _explained(account, "AUTH TLS"):
        try:
            ftp.auth()
        except (ftplib.error_perm, ftplib.error_temp, ftplib.error_reply) as error:
            reason = _shown(_from_wire(str(error)))
            raise StoreError(f"{account.server} refuses to encrypt (AUTH TLS): {reason}", hint) from error
        except ssl.SSLCertVerificationError as error:
            raise StoreError(
                f"the certificate of {account.server} is not valid: {error.verify_message}",
                hint="host has to be a name in the certificate; ca_file names an authority of your own",
            ) from error
        except ssl.SSLError as error:
            raise StoreError(
                f"{account.server} does not agree on TLS: {error}", hint="Pickup speaks TLS 1.2 and later"
            ) from error
        try:
            ftp.prot_p()
        except (ftplib.error_perm, ftplib.error_temp, ftplib.error_reply) as error:
            reason = _shown(_from_wire(str(error)))
            raise StoreError(f"{account.server} refuses to encrypt the data (PROT P): {reason}", hint) from error


@contextlib.contextmanager
def _explained(account: Account, command: str) -> Iterator[None]:
    """Let a failure of the connection say which server and what was asked of it."""
    try:
        yield
    except TimeoutError as error:
        raise StoreError(
            f"{account.server} did not answer for {account.timeout:g} seconds: {command}",
            hint="is the server up, and does a firewall let its passive ports through?",
        ) from error
    except ftplib.Error as error:
        raise StoreError(
            f"{account.server}: {command}: {_shown(_from_wire(str(error)))}", _quota_hint(error)
        ) from error
    except EOFError as error:
        raise StoreError(f"{account.server} closed the connection: {command}") from error
    except OSError as error:
        raise StoreError(f"{account.server}: {command}: {error}") from error


def _quota_hint(error: ftplib.Error) -> str:
    return "the account's room is used up; a shorter retention needs less" if str(error).startswith("552") else ""


def _keep_alive(sock: socket.socket) -> None:
    """Let a router between us and the server not forget the control connection while data flows beside it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 60)


def _reset(data: socket.socket) -> None:
    """Break a data connection off so that its other end sees an error, and no end of file."""
    with contextlib.suppress(OSError):
        data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    data.close()


def _finish(data: socket.socket) -> None:
    """End a data connection as its protocol wants it. Whether all has arrived, the server's answer says."""
    if isinstance(data, ssl.SSLSocket):
        with contextlib.suppress(OSError):
            data.unwrap()
    data.close()


def _reply(wire: str) -> Reply:
    text = _from_wire(wire)
    return Reply(int(text[:3]) if text[:3].isascii() and text[:3].isdigit() else 0, text)


def _to_wire(text: str) -> str:
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _from_wire(wire: str) -> str:
    return wire.encode("latin-1").decode("utf-8", "surrogateescape")


def _shown(text: str) -> str:
    """Give a server's text as one short line that does no harm to a terminal."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line[:_LONGEST_SHOWN]
