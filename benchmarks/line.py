"""A long line: a TCP proxy before a server of this machine that holds all bytes back for a while, both ways.

It has no limit of its own but what lies in memory: the delay is that of a line, the width that of this machine. What a
real line has besides, a slow start and lost packets, it has not.
"""

import asyncio
import contextlib
import selectors
import threading
from collections import deque
from collections.abc import Iterator

_MOST_BYTES = 64 * 2**20  # that wait for a peer who does not read


class _End(asyncio.Protocol):
    """One end of a connection: what comes in leaves by the `other` end, later."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delay: float, ends: set[asyncio.Transport]) -> None:
        self.loop = loop
        self.ends = ends  # of all connections that are open
        self.delay = delay
        self.other: _End
        self.transport: asyncio.Transport
        self.under_way: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(_MOST_BYTES)
        self.transport = transport
        self.ends.add(transport)

    def data_received(self, data: bytes) -> None:
        self.under_way.append(data)
        self.loop.call_later(self.delay, self._arrive)

    def eof_received(self) -> bool:
        self.loop.call_later(self.delay, self._arrive_at_the_end)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.ends.discard(self.transport)
        self.loop.call_later(self.delay, self._end_the_other)

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()

    def _arrive(self) -> None:
        data = self.under_way.popleft()
        if not self.other.transport.is_closing():
            self.other.transport.write(data)

    def _arrive_at_the_end(self) -> None:
        if not self.other.transport.is_closing():
            self.other.transport.write_eof()

    def _end_the_other(self) -> None:
        self.other.transport.close()


class _Near(_End):
    """The end at the client, which makes the one at the server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, delay: float, ends: set[asyncio.Transport], port: int) -> None:
        super().__init__(loop, delay, ends)
        self.port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()
        self.connecting = self.loop.create_task(self._connect())

    async def _connect(self) -> None:
        far = _End(self.loop, self.delay, self.ends)
        far.other, self.other = self, far
        try:
            await self.loop.create_connection(lambda: far, "127.0.0.1", self.port)
        except OSError:
            far.transport = self.transport  # there is none
            self.transport.abort()
        else:
            self.transport.resume_reading()


@contextlib.contextmanager
def long_line(port: int, round_trip: float) -> Iterator[int]:
    """Give a port of 127.0.0.1 from which it takes so many seconds to the server at `port` and back."""
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())  # epoll would wait for whole milliseconds
    ends = set[asyncio.Transport]()
    made = loop.create_server(lambda: _Near(loop, round_trip / 2, ends, port), "127.0.0.1", 0)
    server = loop.run_until_complete(made)
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        for end in ends:
            end.abort()
        loop.run_until_complete(asyncio.sleep(0.1))  # until they are
        loop.close()
