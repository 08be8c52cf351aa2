"""Server-sent events whose pace the test sets: nothing is sent before the test sends it.

`Sse` is a behaviour for `FakeServer`; `StreamHandle`, its handle on one open stream, is also what
`headgate.simulate.gemini` gives out for paced streams. Public methods are for the test's thread.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from headgate.simulate.behaviours import Call, Headers

EVENT_STREAM: Headers = {"content-type": "text/event-stream", "cache-control": "no-cache"}


class _BreakOffError(ConnectionAbortedError):
    """Raised inside the server to break the response off."""


@dataclass(slots=True)
class StreamHandle:
    """One open stream, in the test's hand."""

    loop: asyncio.AbstractEventLoop
    _pieces: asyncio.Queue[bytes | _BreakOffError | None] = field(default_factory=asyncio.Queue)
    _client_gone: threading.Event = field(default_factory=threading.Event)

    def send(self, data: str, *, event: str | None = None) -> None:
        """Send one event (each line of `data` becomes a `data:` line)."""
        name = f"event: {event}\n" if event else ""
        self.send_bytes((name + "".join(f"data: {line}\n" for line in data.split("\n")) + "\n").encode())

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are, for events cut in the middle or other framings."""
        self._put(data)

    def close(self) -> None:
        """End the stream as a server does that is done."""
        self._put(None)

    def abort(self) -> None:
        """Break the stream off without its end."""
        self._put(_BreakOffError())

    def wait_client_gone(self, timeout: float = 10.0) -> None:
        """Wait until the client has gone away. Raises TimeoutError."""
        if not self._client_gone.wait(timeout):
            raise TimeoutError(f"the client was still there after {timeout} s")

    def _put(self, piece: bytes | _BreakOffError | None) -> None:
        self.loop.call_soon_threadsafe(self._pieces.put_nowait, piece)

    async def pump(self, write: Callable[[bytes], Awaitable[None]], client_gone: Awaitable[None]) -> bool:
        """Server side: write what the test sends until it closes (True) or the client goes (False). Raises on
        `abort()`.
        """
        gone = asyncio.ensure_future(client_gone)
        try:
            while True:
                piece = asyncio.ensure_future(self._pieces.get())
                await asyncio.wait({piece, gone}, return_when=asyncio.FIRST_COMPLETED)
                if not piece.done():
                    piece.cancel()
                    return False
                match piece.result():
                    case None:
                        return True
                    case _BreakOffError() as broken:
                        raise broken
                    case data:
                        await write(data)
        finally:
            if gone.done() and not gone.cancelled():
                self._client_gone.set()
            gone.cancel()


class Sse:
    """`sse = Sse(); server.on("/events", sse); ...; stream = sse.accept(); stream.send("one");
    stream.close()`.
    """

    def __init__(self, *, status: int = 200, headers: Headers = EVENT_STREAM) -> None:
        self._status = status
        self._headers = headers
        self._opened: queue.Queue[StreamHandle] = queue.Queue()

    async def __call__(self, call: Call) -> None:
        if not await call.drain():
            return
        await call.start(self._status, self._headers)
        await call.write(b"")
        handle = StreamHandle(asyncio.get_running_loop())
        self._opened.put(handle)
        if await handle.pump(call.write, call.until_disconnected()):
            await call.write(b"", last=True)

    def accept(self, timeout: float = 10.0) -> StreamHandle:
        """The next stream that a client opens, as soon as its headers are sent. Raises TimeoutError."""
        try:
            return self._opened.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no stream was opened within {timeout} s") from None
