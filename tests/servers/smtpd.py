"""Mail servers: a real one in the process of the tests, with TLS and logins, and one that says what a test wants."""

import contextlib
import email
import email.policy
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.servers.running import free_port

USER, PASSWORD = "backup", "correct horse"


@dataclass
class Inbox:
    """What a server took: each message, and whom it was for."""

    port: int
    envelopes: list[Any] = field(default_factory=list)
    refuses: tuple[str, ...] = ()

    @property
    def messages(self) -> list[EmailMessage]:
        return [email.message_from_bytes(each.content, policy=email.policy.default) for each in self.envelopes]  # type: ignore[misc]

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if address in self.refuses:
            return "550 5.1.1 no such user here\x1b[2J"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.envelopes.append(envelope)
        return "250 OK"


@contextlib.contextmanager
def smtpd(
    certificate: Path | None = None, *, implicit: bool = False, login: bool = False, refuses: tuple[str, ...] = ()
) -> Iterator[Inbox]:
    """Run aiosmtpd: with STARTTLS where there is a certificate, or TLS from the beginning where that is `implicit`."""
    inbox = Inbox(free_port(), refuses=refuses)
    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        known = LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=data == known, handled=False)

    controller = Controller(
        inbox,
        hostname="127.0.0.1",
        port=inbox.port,
        ssl_context=context if implicit else None,
        tls_context=None if implicit else context,
        require_starttls=bool(context) and not implicit,
        authenticator=authenticate if login else None,
        auth_required=login,
        auth_require_tls=not implicit,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Requiring AUTH while not requiring TLS")  # there is TLS already
        controller.start()
        try:
            yield inbox
        finally:
            controller.stop()


@contextlib.contextmanager
def talking(talk: Callable[[socket.socket], object]) -> Iterator[int]:
    """Listen on a port, and let `talk` deal with each connection; it may hang until the other side has gone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        ended, threads = threading.Event(), list[threading.Thread]()

        def deal_with(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(60)
                talk(connection)

        def serve() -> None:
            while not ended.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = listener.accept()
                    threads.append(threading.Thread(target=deal_with, args=(connection,), daemon=True))
                    threads[-1].start()

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        try:
            yield listener.getsockname()[1]
        finally:
            ended.set()
            server.join(10)


def hanging(connection: socket.socket) -> None:
    """Say nothing at all."""
    while connection.recv(1000):
        pass


def saying(*lines: str) -> Callable[[socket.socket], None]:
    """Give a server's part of a conversation: one of these lines first, and one after each line that comes."""

    def talk(connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        for line in lines:
            connection.sendall(f"{line}\r\n".encode())
            if not reader.readline():
                return
        hanging(connection)

    return talk
