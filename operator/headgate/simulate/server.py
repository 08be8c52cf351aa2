"""Runs an ASGI app on hypercorn in a thread of its own, on one port of one or more loopback addresses.

HTTP/1.1 and HTTP/2 are both served: by ALPN under TLS, by prior knowledge (h2c) or upgrade without.
`FakeServer` is the scriptable kind; `headgate.simulate.gemini` runs its own app on `AsgiServer`. All public methods may
be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, cast

import hypercorn.asyncio
from hypercorn.config import Config, Sockets
from hypercorn.typing import ASGIFramework
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.simulate.behaviours import Behaviour, Call, echo, sequence
from headgate.simulate.certificates import Identity, server_context
from headgate.simulate.recording import RecordedRequest, Recorder, RecordingApp

FOUR_ADDRESSES = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
"""For a name with four addresses behind which the same server listens."""


@dataclass(frozen=True, slots=True)
class Handshake:
    """A completed TLS handshake, seen from the server."""

    sni: str | None
    alpn: str | None
    client_certificate: bytes | None
    """DER; None if the client presented none."""


class AsgiServer:
    """An ASGI app on real sockets. Use as a context manager, or `start()` and `stop()`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        addresses: Sequence[str] = ("127.0.0.1",),
        port: int = 0,
        tls: Identity | None = None,
        client_ca: bytes | None = None,
        alpn: Sequence[str] = ("h2", "http/1.1"),
        server_header: bool = True,
    ) -> None:
        """`port` 0 picks a free one, the same on all addresses. `client_ca` (PEM) requires a client
        certificate.
        """
        for address in addresses:
            if not ipaddress.ip_address(address).is_loopback:
                raise ValueError(f"{address} is not a loopback address")
        self.addresses = tuple(addresses)
        self.recorder = Recorder()
        self.handshakes: list[Handshake] = []
        #: Which TLS context answers a client that asks for this name (None: for none); None from it, or without it: the
        #: one of `tls`. Set before the start; called on the server's loop.
        self.choose_context: Callable[[str | None], ssl.SSLContext | None] | None = None
        self._app: ASGIApp = app
        self._tls = tls is not None
        self._context = self._noting(server_context(tls, client_ca=client_ca, alpn=alpn)) if tls else None
        self._server_header = server_header
        self._sockets = _listen(self.addresses, port)
        self._plain: list[_Listener] = []
        self.port: int = self._sockets[0].getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._calls: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._run, name=f"simulated-{self.port}", daemon=True)

    # What the test reads

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """Everything received so far, in order of arrival."""
        return self.recorder.requests

    def wait_for(
        self,
        count: int,
        *,
        where: Callable[[RecordedRequest], bool] = lambda record: True,
        timeout: float = 10.0,
    ) -> tuple[RecordedRequest, ...]:
        """Wait for `count` requests that satisfy `where`. Raises TimeoutError."""
        return self.recorder.wait_for(count, where=where, timeout=timeout)

    def url(self, path: str = "", *, host: str | None = None) -> str:
        """The base URL (at the first address unless `host` is given) plus `path`."""
        name = host or self.addresses[0]
        return f"{'https' if self._tls else 'http'}://{f'[{name}]' if ':' in name else name}:{self.port}{path}"

    # What is put around it before the start

    def wrap(self, wrapper: Callable[[ASGIApp], ASGIApp]) -> None:
        """Let every call pass through another app first."""
        self._app = wrapper(self._app)

    def listen_plain(self) -> int:
        """Serve without TLS as well, at the first address; returns the port."""
        self._plain = _listen(self.addresses[:1], 0)
        return int(self._plain[0].getsockname()[1])

    # Life cycle

    def start(self) -> Self:
        """Start serving. The sockets listen since construction, so nothing has to be waited for."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop, cutting off calls still being answered. Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._begin_stop)
            self._thread.join(timeout=20)
            if self._thread.is_alive():
                raise TimeoutError(f"the server on port {self.port} did not stop")
        for sock in (*self._sockets, *self._plain):
            sock.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def drop_connections(self) -> None:
        """Cut every open connection at once, as a provider's front end that restarts would. New ones are accepted."""
        for sock in (*self._sockets, *self._plain):
            sock.drop_connections()

    def drop_connection(self, peer: tuple[str, int]) -> None:
        """Cut the connection that this client has open, without a word."""
        for sock in (*self._sockets, *self._plain):
            sock.drop_connections(peer)

    def _begin_stop(self) -> None:
        self._stopping.set()
        # Hypercorn waits for calls in flight, and under TLS for the peer's good-bye: neither may hold a test up.
        self.drop_connections()
        for task in self._calls:
            task.cancel()

    def _noting(self, context: ssl.SSLContext) -> ssl.SSLContext:
        """Make `context` note each completed handshake (hypercorn passes none of it on to the app), and give way to
        another one."""
        names: dict[int, str | None] = {}
        handshakes = self.handshakes

        def named(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            names[id(connection)] = name
            other = self.choose_context(name) if self.choose_context else None
            if other is not None:
                connection.context = other

        class Noting(ssl.SSLObject):
            def do_handshake(self) -> None:
                super().do_handshake()
                sni = names.pop(id(self), None)
                handshakes.append(Handshake(sni, self.selected_alpn_protocol(), self.getpeercert(binary_form=True)))

        context.sni_callback = named
        context.sslobject_class = Noting
        return context

    async def _tracked_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        if scope["type"] != "lifespan":
            self._calls.add(task)
        try:
            await self._app(scope, receive, send)
        except ConnectionAbortedError:
            # Hypercorn closes an HTTP/1.1 connection then, but an HTTP/2 stream it would leave open for good.
            if scope.get("http_version") == "2" and scope["client"]:
                self.drop_connection(tuple(scope["client"][:2]))
            raise
        finally:
            self._calls.discard(task)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        config = _Config(self._sockets, self._plain, self._context)
        config.include_server_header = self._server_header
        self._app = RecordingApp(self._app, self.recorder)
        app = cast("ASGIFramework", self._tracked_app)
        try:
            self._loop.run_until_complete(
                hypercorn.asyncio.serve(app, config, shutdown_trigger=self._stopping.wait, mode="asgi")
            )
        finally:
            pending = asyncio.all_tasks(self._loop)
            for task in pending:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()


@dataclass(slots=True)
class _Rule:
    path: bytes
    method: str | None
    behaviour: Behaviour

    def matches(self, call: Call) -> bool:
        if self.method is not None and self.method != call.record.method:
            return False
        path = call.record.raw_path
        return path.startswith(self.path[:-1]) if self.path.endswith(b"*") else path == self.path


@dataclass(slots=True)
class _Script:
    """What to answer; edited by the test, read by the event loop, under `lock`."""

    default: Behaviour
    upcoming: list[Behaviour] = field(default_factory=list)
    rules: list[_Rule] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def choose(self, call: Call) -> Behaviour:
        with self.lock:
            if self.upcoming:
                return self.upcoming.pop(0)
            return next((rule.behaviour for rule in self.rules if rule.matches(call)), self.default)


class FakeServer(AsgiServer):
    """A server that does what it is told, and echoes until told otherwise. The answers are in
    `headgate.simulate.behaviours`.
    """

    def __init__(
        self,
        *,
        addresses: Sequence[str] = ("127.0.0.1",),
        port: int = 0,
        tls: Identity | None = None,
        client_ca: bytes | None = None,
        alpn: Sequence[str] = ("h2", "http/1.1"),
        default: Behaviour | None = None,
    ) -> None:
        self._script = _Script(default or echo())
        super().__init__(self._answer, addresses=addresses, port=port, tls=tls, client_ca=client_ca, alpn=alpn)

    def on(self, path: str, *behaviours: Behaviour, method: str | None = None) -> None:
        """Answer `path` (exact as sent, or a prefix ending in `*`) so; several answers go in turn and the
        last repeats.

        A later rule goes before an earlier one.
        """
        rule = _Rule(path.encode(), method, _one(behaviours))
        with self._script.lock:
            self._script.rules.insert(0, rule)

    def next(self, *behaviours: Behaviour) -> None:
        """Answer the next requests so, one each, whatever their path; goes before `on`."""
        with self._script.lock:
            self._script.upcoming.extend(behaviours)

    def default(self, *behaviours: Behaviour) -> None:
        """Answer so whatever nothing else matches; several answers go in turn and the last repeats."""
        behaviour = _one(behaviours)
        with self._script.lock:
            self._script.default = behaviour

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            call = Call(scope, receive, send)
            await self._script.choose(call)(call)


def _one(behaviours: Sequence[Behaviour]) -> Behaviour:
    return behaviours[0] if len(behaviours) == 1 else sequence(*behaviours)


class _Config(Config):
    """Hypercorn's configuration with our own sockets and TLS context, and nothing that closes or refuses by
    itself.
    """

    def __init__(
        self, sockets: Sequence[socket.socket], plain: Sequence[socket.socket], context: ssl.SSLContext | None
    ) -> None:
        self._ready_sockets, self._plain = list(sockets), list(plain)
        self._ready_context = context
        self.errorlog = None
        self.backlog = 1024
        # A connection that the server closes on its own is a race with the client's next request: a test that
        # wants one scripts it.
        self.keep_alive_timeout = 600
        self.keep_alive_max_requests = 1_000_000_000
        self.graceful_timeout = 1
        self.h11_max_incomplete_size = 1 << 20
        self.h2_max_header_list_size = 1 << 20
        self.h2_max_concurrent_streams = 1000

    @property
    def ssl_enabled(self) -> bool:
        return self._ready_context is not None

    def create_ssl_context(self) -> ssl.SSLContext | None:
        return self._ready_context

    def create_sockets(self) -> Sockets:
        secure, insecure = (self._ready_sockets, []) if self.ssl_enabled else ([], self._ready_sockets)
        return Sockets(secure, [*insecure, *self._plain], [])


class _Listener(socket.socket):
    """A listening socket that knows the connections it has accepted."""

    def __init__(self, family: int) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._accepted: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    def accept(self) -> tuple[socket.socket, Any]:
        connection, peer = super().accept()
        self._accepted.add(connection)
        return connection, peer

    def drop_connections(self, peer: tuple[str, int] | None = None) -> None:
        for connection in list(self._accepted):
            with contextlib.suppress(OSError):
                if peer is None or connection.getpeername()[:2] == peer:
                    connection.shutdown(socket.SHUT_RDWR)


def _listen(addresses: Sequence[str], port: int) -> list[_Listener]:
    """Listen on the same port of every address; with port 0 tries until one is free on all."""
    for attempt in range(50):
        sockets: list[_Listener] = []
        chosen = port
        try:
            for address in addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                sock = _Listener(family)
                sockets.append(sock)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.bind((address, chosen))
                sock.listen(1024)
                sock.setblocking(False)
                chosen = sock.getsockname()[1]
        except OSError:
            for sock in sockets:
                sock.close()
            if port != 0 or attempt == 49:
                raise
        else:
            return sockets
    raise AssertionError("unreachable")
