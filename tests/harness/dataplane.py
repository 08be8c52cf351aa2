"""The data plane as a whole: a Plan's Gateway, rendered, served by the real xDS server, run by a real Envoy.

`with DataPlane(gateway) as plane: plane.call("demo/api", "/v1/things")`. The xDS server runs on an event loop in a thread
of its own; everything public here is for the test's thread. `update` returns once Envoy has acknowledged everything: the
next call meets it (`tests/envoy/test_acknowledged.py`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from harness.envoy import Envoy, give_identity, short_directory
from harness.ports import free_port
from headgate.envoy.render import RenderMemo, render
from headgate.envoy.resource import Resources, TypeUrl
from headgate.model.plan import Gateway
from headgate.xds.bootstrap import NodeBootstrap, document
from headgate.xds.feedback import GatewayFeedback
from headgate.xds.pki import CertificateAuthority, ServerTls
from headgate.xds.server import XdsServer

T = TypeVar("T")


class RejectedError(AssertionError):
    """Envoy refused a resource."""


class DataPlane:
    """One gateway process and its xDS server.

    `dns` is the `host:port` that Envoy asks for names (`DnsServer.address`). `bootstrap` changes fields of the
    NodeBootstrap; `arguments` go to Envoy.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        dns: str | None = None,
        within: float = 20.0,
        arguments: tuple[str, ...] = (),
        **bootstrap: Any,
    ) -> None:
        self.port = gateway.listener.port or free_port()
        self.gateway = self._placed(gateway)
        self.memo = RenderMemo()
        self._within = within
        self._arguments = arguments
        self._bootstrap = ({"dns_resolvers": (dns,)} if dns else {}) | bootstrap
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="xds", daemon=True)
        self._cleanup = ExitStack()
        self._server: XdsServer
        self.envoy: Envoy
        self.client: httpx.Client

    # Life cycle

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _start(self, stack: ExitStack) -> None:
        directory = stack.enter_context(short_directory())
        authority = CertificateAuthority(directory / "authority")
        self._thread.start()
        stack.callback(self._stop_loop)
        self._server = self._on_loop(self._make(authority))
        (xds_port,) = self._on_loop(self._server.start(["127.0.0.1:0"]))
        stack.callback(lambda: self._on_loop(self._server.stop()))
        identity = directory / "identity"
        give_identity(authority, self.gateway.key, identity)
        node = NodeBootstrap(
            gateway=self.gateway.key,
            instance="one",
            xds_addresses=(f"127.0.0.1:{xds_port}",),
            identity_directory=identity,
        )
        node = replace(node, **self._bootstrap)
        self._publish()
        self.envoy = stack.enter_context(Envoy(self._document(node), directory, arguments=self._arguments))
        self.client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30.0, trust_env=False)
        )
        self.wait_acknowledged()
        self.wait_until(self.envoy.is_ready, "Envoy to be ready")

    async def _make(self, authority: CertificateAuthority) -> XdsServer:
        return XdsServer(ServerTls(authority, ["127.0.0.1"]))

    def _document(self, node: NodeBootstrap) -> dict[str, Any]:
        return document(node)

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()

    # What a test does

    def call(self, upstream: str, path: str = "/", method: str = "GET", **arguments: Any) -> httpx.Response:
        """Call `namespace/name` by way of its path; further arguments are httpx's."""
        return self.client.request(method, f"/{upstream}{path}", **arguments)

    def update(self, gateway: Gateway, *, wait: bool = True) -> None:
        """Render and serve this instead. Raises RejectedError if Envoy refuses any of it."""
        self.gateway = self._placed(gateway)
        self._publish()
        if wait:
            self.wait_acknowledged()

    def feedback(self) -> GatewayFeedback:
        """What Envoy made of it."""

        async def view() -> GatewayFeedback:
            return self._server.feedback(self.gateway.key)

        return self._on_loop(view())

    def wait_acknowledged(self) -> None:
        """Wait until Envoy has acknowledged everything. Raises RejectedError, or AssertionError when it takes too long."""

        def settled() -> bool:
            feedback = self.feedback()
            if feedback.rejected:
                message = "\n".join(f"{name}: {why.message}" for (_, name), why in feedback.rejected.items())
                raise RejectedError(message)
            return feedback.connected > 0 and not any(feedback.pending.values())

        self.wait_until(settled, lambda: f"acknowledgement; open: {dict(self.feedback().pending)}")

    def wait_until(self, condition: Callable[[], bool], what: str | Callable[[], str]) -> None:
        """Wait for `condition`; OSError counts as not yet. Fails with the end of Envoy's log."""
        deadline = time.monotonic() + self._within
        while not _holds(condition):
            if not self.envoy.running or time.monotonic() > deadline:
                said = what if isinstance(what, str) else what()
                state = "too long" if self.envoy.running else "Envoy ended"
                message = f"{state}: waiting for {said}\n{self.envoy.log()[-4000:]}"
                raise AssertionError(message)
            time.sleep(0.01)

    def stat(self, name: str) -> int:
        """A counter or gauge of Envoy by its full name (dots and all), 0 if there is none."""
        for line in self.envoy.admin("/stats").splitlines():
            key, _, value = line.rpartition(": ")
            if key == name:
                return int(value)
        return 0

    def cluster_stat(self, section: str, name: str) -> int:
        """A counter or gauge of a section's cluster."""
        return self.stat(f"cluster.{section}.{name}")

    def lua_errors(self) -> int:
        """Errors in Lua, wherever: a script that fails lets the call through, so only this counter shows it."""
        lines = self.envoy.admin("/stats?filter=lua.*errors").splitlines()
        return sum(int(line.rpartition(": ")[2]) for line in lines if ": " in line)

    # Inside

    def _placed(self, gateway: Gateway) -> Gateway:
        return replace(gateway, listener=replace(gateway.listener, port=self.port))

    def _rendered(self) -> Resources:
        return render(self.gateway, self.memo)

    def _publish(self) -> None:
        resources = self._rendered()
        assert TypeUrl.LISTENER in resources, "a gateway has a listener"

        async def publish() -> None:
            self._server.publish(self.gateway.key, resources)

        self._on_loop(publish())

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(timeout=30)


def _holds(condition: Callable[[], bool]) -> bool:
    try:
        return condition()
    except OSError:
        return False
