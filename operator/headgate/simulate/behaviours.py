"""Answers for `headgate.simulate.server.FakeServer`, to be combined by the test.

A behaviour is an async function of a `Call`; it runs on the server's event loop. The classes here (`Gate`,
`Sse`) are also driven from the test's thread, and their public methods are safe there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.simulate.recording import SCOPE_KEY, RecordedRequest

Headers = Mapping[str, str] | Sequence[tuple[str, str]]
RawHeaders = list[tuple[bytes, bytes]]
"""As they are in ASGI messages: names in lower case."""
CHUNK = 64 * 1024


class Call:
    """One request being answered."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send

    @property
    def record(self) -> RecordedRequest:
        """What has arrived so far."""
        record: RecordedRequest = self.scope[SCOPE_KEY]()
        return record

    @property
    def is_websocket(self) -> bool:
        return bool(self.scope["type"] == "websocket")

    async def drain(self) -> bool:
        """Read the whole request body; False if the client went away first."""
        if self.is_websocket:
            return True
        while not self.record.body_complete:
            if (await self.receive())["type"] == "http.disconnect":
                return False
        return True

    async def start(self, status: int = 200, headers: Headers = ()) -> None:
        """Send status and headers."""
        await self.send({"type": "http.response.start", "status": status, "headers": _encode(headers)})

    async def write(self, data: bytes, *, last: bool = False) -> None:
        """Send a piece of the body, returning when the transport has taken it."""
        await self.send({"type": "http.response.body", "body": data, "more_body": not last})

    async def until_disconnected(self) -> None:
        """Wait until the client has gone."""
        while (await self.receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
            pass


Behaviour = Callable[[Call], Awaitable[None]]


def as_app(behaviour: Behaviour) -> ASGIApp:
    """The behaviour as an ASGI app."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await behaviour(Call(scope, receive, send))

    return app


def respond(status: int = 200, body: bytes | str = b"", headers: Headers = (), *, read_body: bool = True) -> Behaviour:
    """A fixed answer. `read_body=False` answers before the request's body has been read."""
    content = body.encode() if isinstance(body, str) else body
    fields = _pairs(headers)
    if status >= 200 and status not in (204, 304) and not any(k.lower() == "content-length" for k, _ in fields):
        fields = [*fields, ("content-length", str(len(content)))]

    async def behaviour(call: Call) -> None:
        if call.is_websocket:
            await call.send({"type": "websocket.http.response.start", "status": status, "headers": _encode(fields)})
            await call.send({"type": "websocket.http.response.body", "body": content, "more_body": False})
        elif not read_body or await call.drain():
            await call.start(status, fields)
            await call.write(content, last=True)

    return behaviour


def json_response(value: Any, status: int = 200, headers: Headers = ()) -> Behaviour:
    """A fixed JSON answer."""
    return respond(status, json.dumps(value), [("content-type", "application/json"), *_pairs(headers)])


def echo(status: int = 200, headers: Headers = ()) -> Behaviour:
    """Answer with what was received: method, raw_path, query, headers (list of pairs), body_sha256,
    body_length, http_version.

    A WebSocket is accepted and its messages are sent back.
    """

    async def behaviour(call: Call) -> None:
        if call.is_websocket:
            await websocket_echo()(call)
        elif await call.drain():
            record = call.record
            seen = {
                "method": record.method,
                "raw_path": record.raw_path.decode("latin-1"),
                "query": record.query.decode("latin-1"),
                "headers": record.headers,
                "body_sha256": record.body_sha256,
                "body_length": record.body_length,
                "http_version": record.http_version,
                "local": record.local[0],
            }
            await json_response(seen, status, headers)(call)

    return behaviour


def sequence(*behaviours: Behaviour) -> Behaviour:
    """One after the other, a request each; the last one repeats."""
    if not behaviours:
        raise ValueError("a sequence needs at least one behaviour")
    remaining = iter(behaviours[:-1])

    async def behaviour(call: Call) -> None:
        await next(remaining, behaviours[-1])(call)

    return behaviour


def statuses(codes: str, *, headers: Headers = ()) -> Behaviour:
    """`statuses("503,503,200")`: these statuses in turn, each with itself as the body; the last repeats."""
    return sequence(*(respond(int(code), code.strip(), headers) for code in codes.split(",")))


def delayed(seconds: float, then: Behaviour | None = None) -> Behaviour:
    """Answer only after so many seconds (as `then` says, else by echo)."""

    async def behaviour(call: Call) -> None:
        if await call.drain():
            await asyncio.sleep(seconds)
            await (then or echo())(call)

    return behaviour


def hang(*, headers_first: bool = False) -> Behaviour:
    """Never answer; with `headers_first` send a 200's headers and then nothing. Ends when the client goes."""

    async def behaviour(call: Call) -> None:
        if await call.drain():
            if headers_first:
                await call.start(200, [("content-type", "application/octet-stream")])
                await call.write(b"")
            await call.until_disconnected()

    return behaviour


def large_body(size: int, *, content_length: bool = True, headers: Headers = ()) -> Behaviour:
    """A body of `size` bytes, the same every time (`pattern_sha256(size)`), written as fast as the client
    reads.
    """

    async def behaviour(call: Call) -> None:
        if await call.drain():
            length = [("content-length", str(size))] if content_length else []
            await call.start(200, [("content-type", "application/octet-stream"), *length, *_pairs(headers)])
            for piece in _pattern(size):
                await call.write(piece)
            await call.write(b"", last=True)

    return behaviour


def pattern_sha256(size: int) -> str:
    """The hex digest of what `large_body(size)` sends."""
    digest = hashlib.sha256()
    for piece in _pattern(size):
        digest.update(piece)
    return digest.hexdigest()


def slow_body(chunks: Sequence[bytes], interval: float, *, status: int = 200, headers: Headers = ()) -> Behaviour:
    """Send `chunks` with `interval` seconds before each but the first."""

    async def behaviour(call: Call) -> None:
        if await call.drain():
            await call.start(status, headers)
            for index, piece in enumerate(chunks):
                if index:
                    await asyncio.sleep(interval)
                await call.write(piece)
            await call.write(b"", last=True)

    return behaviour


def cut_off(body: bytes = b"partial", *, headers: Headers = ()) -> Behaviour:
    """Send a 200 and some body, then break the response off (HTTP/1.1: close, HTTP/2: reset of the stream)."""

    async def behaviour(call: Call) -> None:
        if await call.drain():
            await call.start(200, headers)
            await call.write(body)
            raise ConnectionAbortedError("cut off on purpose")

    return behaviour


def websocket_echo(*, subprotocol: str | None = None) -> Behaviour:
    """Accept a WebSocket and send every message back. A plain request gets 426."""

    async def behaviour(call: Call) -> None:
        if not call.is_websocket:
            await respond(426, "websocket only")(call)
            return
        await call.receive()
        await call.send({"type": "websocket.accept", "subprotocol": subprotocol})
        while (message := await call.receive())["type"] == "websocket.receive":
            await call.send(_returned(message))

    return behaviour


class Gate:
    """Holds every call until the test opens it, so that a test knows that they are in flight at the same
    time.
    """

    def __init__(self, then: Behaviour | None = None) -> None:
        self._then = then or respond(200, "through the gate")
        self._lock = threading.Condition()
        self._open = False
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def __call__(self, call: Call) -> None:
        if not await call.drain():
            return
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        with self._lock:
            if not self._open:
                self._waiting.append(entry)
                self._lock.notify_all()
            else:
                event.set()
        try:
            await event.wait()
        finally:
            with self._lock:
                if entry in self._waiting:
                    self._waiting.remove(entry)
        await self._then(call)

    def wait_held(self, count: int, timeout: float = 10.0) -> None:
        """Wait until `count` calls are being held. Raises TimeoutError."""
        with self._lock:
            if not self._lock.wait_for(lambda: len(self._waiting) >= count, timeout):
                raise TimeoutError(f"{len(self._waiting)} of {count} calls held after {timeout} s")

    def open(self) -> None:
        """Let the held ones and all later ones through."""
        with self._lock:
            self._open = True
            self._release(len(self._waiting))

    def release(self, count: int = 1) -> None:
        """Let the `count` longest waiting through, and stay closed."""
        with self._lock:
            self._release(count)

    def _release(self, count: int) -> None:
        released, self._waiting[:] = self._waiting[:count], self._waiting[count:]
        for loop, event in released:
            loop.call_soon_threadsafe(event.set)


def adding(send: Send, headers: RawHeaders) -> Send:
    """`send` with headers added to the answer's head."""

    async def adding_send(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            message = {**message, "headers": [*message.get("headers", ()), *headers]}
        await send(message)

    return adding_send


def _returned(message: Message) -> Message:
    text = message.get("text")
    return (
        {"type": "websocket.send", "text": text}
        if text is not None
        else {"type": "websocket.send", "bytes": message["bytes"]}
    )


def _pattern(size: int) -> Iterable[bytes]:
    block = bytes(range(251)) * (CHUNK // 251 + 1)
    full, rest = divmod(size, CHUNK)
    return chain((block[:CHUNK] for _ in range(full)), [block[:rest]] if rest else [])


def _pairs(headers: Headers) -> list[tuple[str, str]]:
    return list(headers.items()) if isinstance(headers, Mapping) else list(headers)


def _encode(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in _pairs(headers)]
