"""An xDS server, its authority and Envoys of one gateway, for tests of the server with hand-made resources.

All on the test's own event loop. `async with Fleet() as fleet` starts the server; `fleet.envoy()` starts an Envoy.
"""

from __future__ import annotations

import asyncio
import http.client
import http.server
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2

from harness import handmade
from harness.envoy import Envoy, eventually, short_directory
from harness.ports import free_port
from headgate.envoy.resource import Resource, TypeUrl
from headgate.xds import identity
from headgate.xds.bootstrap import NodeBootstrap, render
from headgate.xds.feedback import Acked, GatewayFeedback, Rejected, Verdict
from headgate.xds.pki import CertificateAuthority, ServerTls
from headgate.xds.server import ServerOptions, XdsServer

GATEWAY = "test/gw"
Stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub
AdsCall = Any


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call through Envoy brought: `status` 0 stands for no connection."""

    status: int
    revision: str = ""
    body: str = ""


class Fleet:
    """A running XdsServer and what goes with it."""

    def __init__(self, options: ServerOptions | None = None, *, address: str | None = None) -> None:
        self._options = options
        self._stack = AsyncExitStack()
        self._address = address
        self._published: dict[tuple[TypeUrl, str], Resource] = {}
        self.port = free_port()

    async def __aenter__(self) -> Self:
        self.directory: Path = self._stack.enter_context(short_directory())
        self.authority = CertificateAuthority(self.directory / "ca")
        self.tls = ServerTls(self.authority, ["localhost"])
        self.origin = self._stack.enter_context(Origin())
        await self.start_server()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        await self.server.stop()

    async def start_server(self) -> None:
        """A new server (after `server.stop()`: on the same address), publishing what was published last."""
        self.server = XdsServer(self.tls, self._options)
        address = self._address or (f"unix:{self.directory}/xds.sock" if not self._options else "127.0.0.1:0")
        (port,) = await self.server.start([address])
        self._address = address if address.startswith("unix:") else f"127.0.0.1:{port}"
        if self._published:
            self.publish()

    @property
    def address(self) -> str:
        """Where the server listens."""
        assert self._address is not None
        return self._address

    def give_identity(self, gateway: str = GATEWAY) -> Path:
        """Client certificate files for this gateway, new or renewed; returns their directory."""
        directory = self.directory / f"id-{gateway.replace('/', '-')}"
        identity.write(directory, self.authority.client(gateway), self.authority.roots_pem)
        return directory

    def node(self, **changes: Any) -> NodeBootstrap:
        """The bootstrap of a proxy of the gateway."""
        node = NodeBootstrap(GATEWAY, "one", (self.address,), self.give_identity())
        return replace(node, **changes)

    def envoy(self, *, bootstrap: str | None = None, **changes: Any) -> Envoy:
        """Start an Envoy; it is ended with the fleet."""
        text = bootstrap or render(self.node(**changes))
        return self._stack.enter_context(Envoy(text, self.directory))

    # ------------------------------------------------------------------ publishing

    def publish(self, *changed: Resource, remove: Iterable[Resource] = ()) -> None:
        """Publish what was published before with these changes."""
        for item in remove:
            del self._published[(item.type_url, item.name)]
        for item in changed:
            self._published[(item.type_url, item.name)] = item
        self.server.publish(GATEWAY, handmade.bundle(self._published.values()))

    def view(self) -> GatewayFeedback:
        """The feedback now."""
        return self.server.feedback(GATEWAY)

    def verdict(self, item: Resource) -> Verdict:
        """What was made of this version."""
        return self.view().of(item.type_url, item.name, item.version)

    async def acked(self, *items: Resource, proxies: int = 1) -> None:
        """Wait until all of these (without any: all that is published) are acknowledged by so many proxies."""
        wanted = items or tuple(self._published.values())

        def done() -> bool:
            return self.view().connected == proxies and all(self.verdict(item) == Acked() for item in wanted)

        try:
            await eventually(done, "everything to be acknowledged")
        except AssertionError as error:
            error.add_note(repr({(item.type_url.name, item.name): self.verdict(item) for item in wanted}))
            raise

    async def rejected(self, item: Resource) -> Rejected:
        """Wait until this is refused."""
        await eventually(lambda: isinstance(self.verdict(item), Rejected), f"{item.name} to be refused")
        verdict = self.verdict(item)
        assert isinstance(verdict, Rejected)
        return verdict

    def upstream(self, name: str, revision: str = "1") -> list[Resource]:
        """An upstream at the origin."""
        return handmade.upstream(name, self.origin.port, revision)

    def sent(self) -> int:
        """Resources and removals sent so far, of all types."""
        return sum(stats.resources + stats.removals for stats in self.server.stats().types.values())

    # ------------------------------------------------------------------ a client without Envoy

    @asynccontextmanager
    async def call(
        self, gateway: str | None = GATEWAY, *, node: str = "raw", cluster: str = GATEWAY, silent: bool = False
    ) -> AsyncIterator[AdsCall]:
        """A raw delta ADS call that has asked for all clusters, or (`silent`) for nothing.

        `gateway` None: without a client certificate.
        """
        client = self.authority.client(gateway) if gateway else None
        credentials = grpc.ssl_channel_credentials(
            self.authority.roots_pem, client.key_pem if client else None, client.chain_pem if client else None
        )
        # gRPC's own client checks a DNS name.
        name = ("grpc.ssl_target_name_override", "localhost")
        async with grpc.aio.secure_channel(self.address, credentials, options=(name,)) as channel:
            call = Stub(channel).DeltaAggregatedResources()
            request = discovery_pb2.DeltaDiscoveryRequest(type_url=TypeUrl.CLUSTER)
            request.node.id, request.node.cluster = f"{cluster}/{node}", cluster
            if not silent:
                await call.write(request)
            try:
                yield call
            finally:
                call.cancel()


async def get(port: int, key: str) -> Reply:
    """One call through an Envoy's listener to the upstream with this scope key."""

    def call() -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/", headers={"x-key": key})
            response = connection.getresponse()
            return Reply(response.status, response.getheader("x-revision") or "", response.read().decode())
        except OSError:
            return Reply(0)
        finally:
            connection.close()

    return await asyncio.to_thread(call)


async def until_reply(port: int, key: str, condition: Callable[[Reply], bool], within: float = 15.0) -> Reply:
    """Call until the reply is as wanted."""
    deadline = asyncio.get_running_loop().time() + within
    while True:
        reply = await get(port, key)
        if condition(reply):
            return reply
        assert asyncio.get_running_loop().time() < deadline, f"still {reply}"
        await asyncio.sleep(0.01)


class Origin:
    """A web server that answers every GET with the `Authorization` it got, or `none`."""

    def __enter__(self) -> Self:
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = (self.headers.get("authorization") or "none").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass
