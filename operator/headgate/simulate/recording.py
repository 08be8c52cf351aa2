"""What a server saw: one frozen record per request, kept in order of arrival.

The ASGI wrapper `RecordingApp` writes from the server's event loop; tests read from their own thread through
`Recorder`. A record appears when the request's head arrives (so that hung and half-sent requests count) and
is replaced, at the same place, as its body and answer come in.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEPT_BODY_BYTES = 1 << 20
"""Of each body only this much is kept; length and digest always cover all of it."""

SCOPE_KEY = "headgate.record"
"""Where `RecordingApp` leaves a function returning the current record, for the app that answers."""


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it reached the server. `at` is `time.monotonic()` when the head arrived."""

    method: str
    raw_path: bytes
    """The path exactly as sent, without the query."""
    query: bytes
    headers: tuple[tuple[str, str], ...]
    """In the order received, names in lower case; HTTP/2's `:authority` appears as `host`."""
    http_version: str
    scheme: str
    peer: tuple[str, int]
    local: tuple[str, int]
    """The server's own address that was reached."""
    at: float
    websocket: bool = False
    body: bytes = b""
    body_length: int = 0
    body_sha256: str = hashlib.sha256().hexdigest()
    body_complete: bool = False
    answered: int | None = None
    """The status that the server sent, once it has."""
    finished: bool = False
    """The server is done with it: answered in full, or the client has gone."""
    disconnected: bool = False
    """The client went away before the answer was complete."""

    @property
    def target(self) -> bytes:
        """Path and query as in a request line."""
        return self.raw_path + (b"?" + self.query if self.query else b"")

    def header(self, name: str) -> str | None:
        """The first header of that name, None without one."""
        return next(iter(self.header_values(name)), None)

    def header_values(self, name: str) -> list[str]:
        """All headers of that name, in order."""
        return [value for key, value in self.headers if key == name.lower()]

    def json(self) -> Any:
        """The body as JSON. Raises ValueError if it is none, or was larger than what is kept."""
        if self.body_length > len(self.body):
            raise ValueError(f"only {len(self.body)} of {self.body_length} bytes were kept")
        return json.loads(self.body)


class Recorder:
    """Thread-safe list of records. `keep`: how many of the latest; None for all."""

    def __init__(self) -> None:
        self.keep: int | None = None
        self._changed = threading.Condition()
        self._records: dict[int, RecordedRequest] = {}
        self._next = 0

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """All records so far, in order of arrival."""
        with self._changed:
            return tuple(self._records.values())

    def wait_for(
        self,
        count: int,
        *,
        where: Callable[[RecordedRequest], bool] = lambda record: True,
        timeout: float = 10.0,
    ) -> tuple[RecordedRequest, ...]:
        """Wait until at least `count` records satisfy `where` and return those. Raises TimeoutError after
        `timeout` seconds.
        """
        found: tuple[RecordedRequest, ...] = ()

        def enough() -> bool:
            nonlocal found
            found = tuple(record for record in self._records.values() if where(record))
            return len(found) >= count

        with self._changed:
            if not self._changed.wait_for(enough, timeout):
                raise TimeoutError(f"{len(found)} of {count} requests after {timeout} s: {self._summary()}")
        return found

    def clear(self) -> None:
        """Forget all records."""
        with self._changed:
            self._records.clear()

    def add(self, record: RecordedRequest) -> int:
        """Append a record and return its number (server side)."""
        with self._changed:
            number, self._next = self._next, self._next + 1
            self._records[number] = record
            if self.keep is not None and len(self._records) > self.keep:
                del self._records[next(iter(self._records))]
            self._changed.notify_all()
            return number

    def update(self, number: int, record: RecordedRequest) -> None:
        """Replace a record unless it is kept no more (server side)."""
        with self._changed:
            if number in self._records:
                self._records[number] = record
                self._changed.notify_all()

    def _summary(self) -> str:
        return (
            ", ".join(f"{r.method} {r.target.decode('latin-1')} -> {r.answered}" for r in self._records.values())
            or "none"
        )


class _Exchange:
    """One request being recorded; lives on the event loop."""

    def __init__(self, recorder: Recorder, scope: Scope) -> None:
        self._recorder = recorder
        self._digest = hashlib.sha256()
        self._kept = bytearray()
        self.record = _head(scope)
        self._number = recorder.add(self.record)

    def _set(self, **changes: Any) -> None:
        self.record = replace(self.record, **changes)
        self._recorder.update(self._number, self.record)

    def received(self, message: Message) -> None:
        match message["type"]:
            case "http.request":
                data: bytes = message.get("body", b"")
                self._digest.update(data)
                self._kept += data[: KEPT_BODY_BYTES - len(self._kept)]
                length = self.record.body_length + len(data)
                if message.get("more_body", False):
                    # Publishing each chunk of a large upload would cost a copy a chunk: only the length is
                    # kept current.
                    self._set(body_length=length)
                else:
                    self._set(
                        body_length=length,
                        body=bytes(self._kept),
                        body_sha256=self._digest.hexdigest(),
                        body_complete=True,
                    )
            case "http.disconnect" | "websocket.disconnect" if not self.record.finished:
                self._set(disconnected=True)

    def sent(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start" | "websocket.http.response.start":
                self._set(answered=int(message["status"]))
            case "websocket.accept":
                self._set(answered=101)
            case "http.response.body" if not message.get("more_body", False):
                self._set(finished=True)

    def ended(self) -> None:
        if not self.record.finished:
            self._set(finished=True)


class RecordingApp:
    """ASGI wrapper that records every request and WebSocket handshake before passing it on."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self._app = app
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(self._recorder, scope)
        scope[SCOPE_KEY] = lambda: exchange.record

        async def recorded_receive() -> Message:
            message = await receive()
            exchange.received(message)
            return message

        async def recorded_send(message: Message) -> None:
            await send(message)
            exchange.sent(message)

        try:
            await self._app(scope, recorded_receive, recorded_send)
        finally:
            exchange.ended()


def _head(scope: Scope) -> RecordedRequest:
    headers = tuple((k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in scope["headers"])
    return RecordedRequest(
        method=scope.get("method", "GET"),
        raw_path=bytes(scope["raw_path"]),
        query=bytes(scope["query_string"]),
        headers=headers,
        http_version=str(scope["http_version"]),
        scheme=str(scope["scheme"]),
        peer=tuple(scope["client"] or ("", 0))[:2],
        local=tuple(scope["server"] or ("", 0))[:2],
        at=time.monotonic(),
        websocket=scope["type"] == "websocket",
    )
