"""A web server in the process of the tests, which notes what it is asked for and answers as a test wants."""

import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]


@dataclass
class Web:
    """The server: its port, what it was asked for, and the statuses and bodies that it answers with, the last of them
    for ever.
    """

    port: int
    answers: list[tuple[int, bytes]]
    asked: list[Asked] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [each.path for each in self.asked]


@contextlib.contextmanager
def web(*answers: tuple[int, bytes], certificate: Path | None = None, location: str = "") -> Iterator[Web]:
    """Run the server; by default it answers 200 and OK."""
    site = Web(0, list(answers) or [(200, b"OK")])

    class Handler(BaseHTTPRequestHandler):
        def deal(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            site.asked.append(Asked(self.command, self.path, body, dict(self.headers)))
            status, said = site.answers.pop(0) if len(site.answers) > 1 else site.answers[0]
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = deal  # noqa: N815

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda request, address: None  # type: ignore[method-assign]  # a client that went away
        site.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join(10)
