"""A relay before a real server that speaks HTTP: it notes each request, and can answer one itself, cut it, or keep
silent.
"""

import contextlib
import http.client
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

CUT, CUT_AFTER, CUT_WITHIN, SILENT = "cut", "cut after", "cut within", "silent"
"""What a relay can do with a request: drop it, do it and drop the answer, drop half of the answer, never answer."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Any


Answer = tuple[int, str]
"""A status and a body."""
Instead = Callable[[Request], "str | Answer | None"]


class Relay:
    """What passes between clients and a server at 127.0.0.1. `instead` tells what is done with a request other than to
    hand it on; what it was told about is in `seen`.
    """

    def __init__(self, server_port: int, instead: Instead | None = None) -> None:
        self.seen: list[Request] = []
        self.instead = instead
        self.over = threading.Event()
        relay = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def _relay(self) -> None:
                request = Request(self.command, self.path, self.headers)
                relay.seen.append(request)
                wish = relay.instead(request) if relay.instead else None
                if wish == SILENT:
                    relay.over.wait(60)
                if wish in (CUT, SILENT):
                    self._cut()
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if isinstance(wish, tuple):
                    status, data, headers = wish[0], wish[1].encode(), {}
                else:
                    status, data, headers = _answer(server_port, request, body)
                if wish == CUT_AFTER:
                    self._cut()
                    return
                self.send_response_only(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[: len(data) // 2] if wish == CUT_WITHIN else data)
                if wish == CUT_WITHIN:
                    self._cut()

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _relay  # noqa: N815 - as http.server calls them

            def _cut(self) -> None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def count(self, method: str, text: str = "") -> int:
        """Tell how many requests of a method there were, with this text in their path."""
        return sum(request.method == method and text in request.path for request in self.seen)

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)


def _answer(port: int, request: Request, body: bytes) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
    dropped = ("transfer-encoding", "connection")
    headers = {name: value for name, value in answer.getheaders() if name.lower() not in dropped}
    return answer.status, data, headers


@contextlib.contextmanager
def relay(server_port: int, instead: Instead | None = None) -> Iterator[Relay]:
    """Give a relay on a port of its own."""
    made = Relay(server_port, instead)
    try:
        yield made
    finally:
        made.close()
