"""`/livez`, `/readyz` and `/metrics` on a port of their own, answered in threads.

They answer though the event loop hangs, which is what `/livez` is to find out: `Health.run`, a task on the loop, ticks, and a
loop that has not ticked for `patience` seconds is dead to the kubelet. `/readyz` names what is missing. `Health` may be read
from any thread; it is written on the event loop alone. Who may reach the port is for NetworkPolicy to say: nothing that is
told here is secret.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

#: Seconds between ticks.
TICK = 0.1
#: Seconds without a tick after which the loop counts as dead. The longest that anything keeps it busy in earnest is well
#: below a second.
PATIENCE = 20.0
#: Seconds that a caller may take to send its request.
_CALLER = 10.0


class Health:
    """Whether the process lives, and what it still lacks to be ready."""

    def __init__(
        self, lacks: Iterable[str], patience: float = PATIENCE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lacks = tuple(lacks)
        self._patience, self._clock = patience, clock
        self._ticked = clock()
        #: Seconds for which the event loop did nothing else but one thing, at most since it was ready; short of a TICK.
        self.longest_pause = 0.0

    async def run(self) -> None:
        """Tick, until cancelled."""
        while True:
            self._ticked = self._clock()
            await asyncio.sleep(TICK)
            self.longest_pause = max(self.longest_pause, self._clock() - self._ticked - TICK)

    def done(self, what: str) -> None:
        """One thing less that is lacking."""
        self._lacks = tuple(each for each in self._lacks if each != what)
        if not self._lacks:
            self.longest_pause = 0.0

    def lack(self, what: str) -> None:
        """Not ready any more."""
        self._lacks = (*(each for each in self._lacks if each != what), what)

    def lacking(self) -> tuple[str, ...]:
        """What it takes to be ready."""
        return self._lacks

    def silent(self) -> float:
        """Seconds since the last tick, if that is too long; else 0."""
        silent = self._clock() - self._ticked
        return silent if silent > self._patience else 0.0


def application(health: Health, registry: CollectorRegistry) -> WSGIApplication:
    """The three paths."""
    metrics: WSGIApplication = make_wsgi_app(registry)

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                return metrics(environ, start)
            case "/livez":
                silent = health.silent()
                words = f"the event loop has been silent for {silent:.0f} s" if silent else ""
            case "/readyz":
                words = "".join(f"{each}\n" for each in health.lacking()).rstrip()
            case _:
                start("404 Not Found", [("Content-Type", "text/plain")])
                return [b"there is /livez, /readyz and /metrics\n"]
        start("503 Service Unavailable" if words else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{words or 'ok'}\n".encode()]

    return answer


@contextmanager
def serving(host: str, port: int, health: Health, registry: CollectorRegistry) -> Iterator[int]:
    """Answer while this lasts; gives the port (0 takes a free one). Raises OSError for an address that can't be had."""
    try:
        server = make_server(host, port, application(health, registry), _server(host), _Handler)
    except OSError as error:
        raise OSError(error.errno, f"can't tell health and metrics at {host}:{port}: {error.strerror}") from error
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _server(host: str) -> type[WSGIServer]:
    class Server(ThreadingWSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        allow_reuse_address = True
        # Who has not sent its request when the process ends is not waited for.
        block_on_close = False

        def server_bind(self) -> None:
            """Without asking name servers how this host is called."""
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()
            self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
            self.setup_environ()

    return Server


class _Handler(WSGIRequestHandler):
    timeout = _CALLER

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
        """Nothing: they are asked every few seconds."""

    def address_string(self) -> str:
        """Without asking name servers who calls."""
        return str(self.client_address[0])
