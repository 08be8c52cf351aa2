"""One simulated host as the control API sees it: it counts calls, remembers the last of them, and works fault scripts off
before the provider gets to answer.

An ASGI layer, run on the server's loop; everything public may be called from any thread.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from headgate.simulate.behaviours import Call, as_app, respond
from headgate.simulate.keys import Keys, found
from headgate.simulate.pace import paced
from headgate.simulate.provider import Failing
from headgate.simulate.redirect import Slot
from headgate.simulate.script import CallRecord, HostRecord, Script

#: So many calls of a host are remembered.
KEPT_CALLS = 200

#: How the user agent of a probe begins.
PROBES = b"headgate-probe/"

#: Makes the answer in which the provider fails, for a path.
Fails = Callable[[Failing, str], ASGIApp]
#: Cuts the connection that a client has open.
Cut = Callable[[tuple[str, int]], None]


@dataclass(slots=True)
class _Pending:
    script: Script
    left: int | None  # None: until cleared

    def matches(self, method: str, path: str) -> bool:
        return path.startswith(self.script.path) and self.script.method in (None, method)


@dataclass(slots=True)
class Stage:
    """`provider`: the name of what is simulated here. `keys` are good; `slots`: where callers were told to put them."""

    host: str
    provider: str
    keys: Keys = field(default_factory=Keys)
    slots: frozenset[Slot] = frozenset()
    _count: int = 0
    _probes: int = 0
    _calls: deque[CallRecord] = field(default_factory=lambda: deque(maxlen=KEPT_CALLS))
    _pending: list[_Pending] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # What the control API asks

    def record(self) -> HostRecord:
        """How often it was called, and how much mischief is still to come."""
        with self._lock:
            return HostRecord(
                host=self.host,
                provider=self.provider,
                calls=self._count,
                probes=self._probes,
                faults=len(self._pending),
            )

    def calls(self) -> tuple[int, tuple[CallRecord, ...]]:
        """How many calls there were, and the last of them, oldest first."""
        with self._lock:
            return self._count, tuple(self._calls)

    def add(self, script: Script) -> None:
        """Work this off after what is there already."""
        with self._lock:
            self._pending.append(_Pending(script, None if script.until else script.times or 1))

    def clear(self) -> None:
        """Behave from now on. Calls that hang go on hanging."""
        with self._lock:
            self._pending.clear()

    # What the server calls

    async def answer(self, app: ASGIApp, fails: Fails, cut: Cut, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call: as a script says, else as `app` does. A probe of Headgate's own gets what a call would get, and
        leaves everything as it was: it uses no fault up, and calls are counted without it."""
        path, method = scope["path"], scope.get("method", "GET")
        probe = _is_probe(scope)
        script = self._take(method, path, use_up=not probe)
        number = self._probed() if probe else self._noted(scope, method, path, script)

        async def noting(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                self._answered(number, int(message["status"]))
            elif message["type"] == "websocket.accept":
                self._answered(number, 101)
            await send(message)

        if script is None:
            await app(scope, receive, paced(noting))
            return
        if script.delay:
            await asyncio.sleep(script.delay)
        if script.reset:
            cut(tuple(scope["client"])[:2])
            await Call(scope, receive, noting).until_disconnected()
        elif script.hang:
            await Call(scope, receive, noting).until_disconnected()
        elif script.status is not None:
            await _failure(script, script.status, fails, path)(scope, receive, _with(script.headers, noting))
        else:
            await app(scope, receive, paced(noting))

    def _take(self, method: str, path: str, *, use_up: bool) -> Script | None:
        with self._lock:
            chosen = next((each for each in self._pending if each.matches(method, path)), None)
            if chosen is None:
                return None
            if chosen.left is not None and use_up:
                chosen.left -= 1
                if chosen.left == 0:
                    self._pending.remove(chosen)
            return chosen.script

    def _probed(self) -> int:
        """The number of no call."""
        with self._lock:
            self._probes += 1
        return 0

    def _noted(self, scope: Scope, method: str, path: str, script: Script | None) -> int:
        credentials = tuple(dict.fromkeys(each.label for each in found(scope, self.slots)))
        with self._lock:
            self._count += 1
            record = CallRecord(
                number=self._count,
                at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                method=method,
                path=path,
                credentials=credentials,
                fault=script.words if script else None,
            )
            self._calls.append(record)
            return record.number

    def _answered(self, number: int, status: int) -> None:
        with self._lock:
            if not self._calls:
                return
            index = number - self._calls[0].number
            if 0 <= index < len(self._calls):
                self._calls[index] = self._calls[index].model_copy(update={"status": status})


def _is_probe(scope: Scope) -> bool:
    return any(name == b"user-agent" and value.startswith(PROBES) for name, value in scope["headers"])


def _failure(script: Script, status: int, fails: Fails, path: str) -> ASGIApp:
    if script.body is None:
        return fails(Failing(status, script.code, script.wait), path)
    text = script.body if isinstance(script.body, str) else json.dumps(script.body)
    kind = "text/plain; charset=utf-8" if isinstance(script.body, str) else "application/json"
    headers = [] if any(name.lower() == "content-type" for name in script.headers) else [("content-type", kind)]
    return as_app(respond(status, text, [*headers, *Failing(status, wait=script.wait).retry_after]))


def _with(more: dict[str, str], send: Send) -> Send:
    """Put further headers on the answer, in place of those of the same name."""

    async def sending(message: Message) -> None:
        if more and message["type"] == "http.response.start":
            given = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in more.items()]
            names = {name for name, _ in given}
            kept: list[Any] = [each for each in message.get("headers", ()) if each[0].lower() not in names]
            message = {**message, "headers": [*kept, *given]}
        await send(message)

    return sending
