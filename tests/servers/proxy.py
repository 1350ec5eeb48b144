"""A TCP proxy before a real server, which cuts a connection in the middle."""

import contextlib
import socket
import threading
from collections.abc import Iterator

_BLOCK = 65_536
_SECONDS = 60


class Proxy:
    """What passes between clients and a server at 127.0.0.1. A connection is cut once the server, or the client where
    it counts `upwards`, has sent more than `cut_after` bytes through it; the first ones are `spared`, and at most
    `times` connections are cut.
    """

    def __init__(self, server_port: int, cut_after: int, upwards: bool, times: int | None, spared: int) -> None:
        self.cuts = 0
        """How many connections were cut: a test asserts that it is not 0."""
        self._server_port = server_port
        self._cut_after = cut_after
        self._upwards = upwards
        self._times = times
        self._spared = spared
        self.passed_up = 0
        """How many bytes the clients have sent."""
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._start(self._accept)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(_SECONDS)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._spared -= 1
                self._start(self._serve, client, self._spared < 0)

    def _serve(self, client: socket.socket, may_cut: bool) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server_port), _SECONDS) as server:
            client.settimeout(_SECONDS)
            up = threading.Thread(target=self._pass_on, args=(client, server, True, may_cut), daemon=True)
            up.start()
            self._pass_on(server, client, False, may_cut)
            up.join(_SECONDS)

    def _pass_on(self, source: socket.socket, sink: socket.socket, upwards: bool, may_cut: bool) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(_BLOCK):
                passed += len(data)
                self.passed_up += len(data) * upwards
                is_due = may_cut and upwards == self._upwards and passed > self._cut_after
                if is_due and self.cuts != self._times:
                    self.cuts += 1
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def cutting_proxy(
    server_port: int, cut_after: int, upwards: bool = False, times: int | None = None, spared: int = 0
) -> Iterator[Proxy]:
    """Give a proxy on a port of its own that cuts each connection through which more than so many bytes come back, or
    go there where it counts `upwards`.
    """
    proxy = Proxy(server_port, cut_after, upwards, times, spared)
    try:
        yield proxy
    finally:
        proxy.close()
