"""How the profile `ftp` connects and logs in: nothing secret is sent before the server has proved who it is.

Data connections go on with the TLS session of the control connection, as many servers want it; the standard library
lacks that.

The protocol's lines are bytes. They are handed to `ftplib` as Latin-1, in which any byte is a character, and are UTF-8
here: a server that writes something else is understood too.
"""

import contextlib
import ftplib
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pickup_core.api import Secret, StoreError, UnreachableError, short_line, tls_context

_PAUSES = (0.1, 0.5, 1, 2)  # seconds between attempts to connect to a server that says it is busy
_REFUSALS = (ftplib.error_perm, ftplib.error_temp, ftplib.error_reply)


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


class _Encrypted(ftplib.FTP_TLS):
    """FTP over TLS, whose data connections go on with the TLS session of the control connection."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        data, size = ftplib.FTP.ntransfercmd(self, cmd, rest)  # noqa: S321 - it is wrapped in TLS below
        assert isinstance(self.sock, ssl.SSLSocket)
        try:
            data.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else the end of TLS waits 40 ms for an answer
            return self.context.wrap_socket(data, server_hostname=self.host, session=self.sock.session), size
        except BaseException:
            data.close()
            raise


def log_in(account: Account) -> ftplib.FTP:
    """Connect and log in. Raises `StoreError` for whatever goes wrong, and `PickupError` where `ca_file` is no good."""
    ftp: ftplib.FTP
    if account.tls:
        ftp = _Encrypted(context=tls_context(account.ca_file), timeout=account.timeout, encoding="latin-1")
    else:
        ftp = ftplib.FTP(timeout=account.timeout, encoding="latin-1")  # noqa: S321 - the config asks for it
    try:
        with explained(account, "connect"):
            _be_greeted(ftp, account)
        if isinstance(ftp, _Encrypted):
            _encrypt(ftp, account)
        _identify(ftp, account)
    except BaseException:
        ftp.close()
        raise
    return ftp


def _be_greeted(ftp: ftplib.FTP, account: Account) -> None:
    """Connect, patiently: where a server allows few connections, the one that was just ended may still count."""
    for pause in _PAUSES:
        try:
            ftp.connect(account.host, account.port)
            break
        except ftplib.error_temp:
            ftp.close()
            time.sleep(pause)
    else:
        ftp.connect(account.host, account.port)
    assert ftp.sock
    # A router in between must not forget this connection while data flows beside it.
    ftp.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    ftp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
    ftp.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 60)


def _encrypt(ftp: _Encrypted, account: Account) -> None:
    """Go over to TLS, for the data too."""
    hint = "tls=False would send the password and all data for everyone to read"
    with explained(account, "AUTH TLS"):
        try:
            ftp.auth()
        except _REFUSALS as error:
            raise StoreError(f"{account.server} refuses to encrypt (AUTH TLS): {said(error)}", hint) from error
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
        except _REFUSALS as error:
            raise StoreError(f"{account.server} refuses to encrypt the data (PROT P): {said(error)}", hint) from error


def _identify(ftp: ftplib.FTP, account: Account) -> None:
    with explained(account, "login"):
        try:
            ftp.login(to_wire(account.user), to_wire(account.password.reveal()))
        except ftplib.Error as error:
            raise StoreError(
                f"{account.server} refuses the login of {account.user}: {said(error, account.password)}",
                hint="look at user and password; some servers want tls, and some do not take this address",
            ) from None  # the server may have repeated the password
        ftp.voidcmd("TYPE I")


@contextlib.contextmanager
def explained(account: Account, command: str) -> Iterator[None]:
    """Let a failure of the connection say which server and what was asked of it, as a `StoreError`."""
    try:
        yield
    except TimeoutError as error:
        raise UnreachableError(
            f"{account.server} did not answer for {account.timeout:g} seconds: {command}",
            hint="is the server up, and does a firewall let its passive ports through?",
        ) from error
    except ftplib.Error as error:
        hint = "the account's room is used up; a shorter retention needs less" if str(error).startswith("552") else ""
        raise StoreError(f"{account.server}: {command}: {said(error)}", hint) from error
    except EOFError as error:
        raise UnreachableError(f"{account.server} closed the connection: {command}") from error
    except ssl.SSLError as error:
        raise StoreError(f"{account.server}: {command}: {error}") from error
    except OSError as error:
        raise UnreachableError(f"{account.server}: {command}: {error}") from error


def to_wire(text: str) -> str:
    """Give a text as `ftplib` has to be told it."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def from_wire(line: str) -> str:
    """Give the text that `ftplib` has heard."""
    return line.encode("latin-1").decode("utf-8", "surrogateescape")


def said(error: Exception, secret: Secret | None = None) -> str:
    """Give what a server answered in one short line that does no harm to a terminal, and without the secret."""
    text = from_wire(str(error))
    return short_line(text.replace(secret.reveal(), "***") if secret and secret.reveal() else text)
