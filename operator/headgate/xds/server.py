"""The ADS server: gRPC with mTLS on one side, `publish` and `feedback` on the other.

Desired state flows in by `publish(gateway, resources)`, out to every proxy of that gateway; their answers flow into
`feedback`. One event loop runs all of it: call every method on its thread. Each proxy has a task that writes and one that
reads; between a publication and a socket there is no queue, only a per-stream set of names that are owed (`stream.py`), so a
proxy that reads slowly costs nobody but itself, and one that does not read at all is cut off after `write_timeout`.

Who a proxy is, its client certificate says (`pki.gateway_of`); a node that claims another gateway is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import grpc
import grpc.aio
import structlog
from envoy.service.discovery.v3 import ads_pb2_grpc

from headgate.envoy.resource import Resources, TypeUrl
from headgate.model.overlay import differing
from headgate.xds.feedback import Feedback, GatewayFeedback
from headgate.xds.messages import Order
from headgate.xds.pki import ServerTls, gateway_of
from headgate.xds.references import References
from headgate.xds.session import Context, Session, XdsStats, XdsTraffic, read

_log = structlog.stdlib.get_logger("headgate.xds")
_NO_RESOURCES: Mapping[TypeUrl, frozenset[str]] = {}

#: Adds another gRPC service to the same port; see `peer_gateway` for who is calling it.
AddService = Callable[[grpc.aio.Server], None]


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Times are in seconds."""

    order: Order = field(default_factory=Order)
    #: A proxy that takes no byte for so long is cut off.
    write_timeout: float = 30.0
    #: A proxy that says nothing for so long after connecting is cut off.
    first_request_timeout: float = 30.0
    #: Connections end at this age (jittered by a tenth) and after that grace, so that proxies spread over new replicas.
    max_connection_age: float | None = None
    max_connection_age_grace: float = 10.0
    keepalive_interval: float = 20.0
    keepalive_timeout: float = 10.0
    max_receive_bytes: int = 64 << 20

    def channel_arguments(self) -> list[tuple[str, int]]:
        """As gRPC's own options."""
        arguments = [
            # A second server on the same port must be an error, not a silent half of the proxies.
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_time_ms", int(self.keepalive_interval * 1000)),
            ("grpc.keepalive_timeout_ms", int(self.keepalive_timeout * 1000)),
            # gRPC's own pings (of its bandwidth probe) put the keepalive off, and would wait a minute for their answer.
            ("grpc.http2.ping_timeout_ms", int(self.keepalive_timeout * 1000)),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.http2.min_ping_interval_without_data_ms", 5000),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
            ("grpc.max_receive_message_length", self.max_receive_bytes),
            ("grpc.max_send_message_length", -1),
        ]
        if self.max_connection_age is not None:
            arguments += [
                ("grpc.max_connection_age_ms", int(self.max_connection_age * 1000)),
                ("grpc.max_connection_age_grace_ms", int(self.max_connection_age_grace * 1000)),
            ]
        return arguments


class _Gateway:
    """One gateway's newest resources and its open streams."""

    def __init__(self) -> None:
        self.resources: Resources | None = None
        self.references = References()
        self.sessions: set[Session] = set()


class XdsServer:
    """Serves what was last published. Make it on the event loop, `start` it, keep it, `stop` it.

    `on_feedback(gateway)`: see `feedback`. `on_published(gateway, before, after)` is called at each `publish` and `withdraw`.
    """

    def __init__(
        self,
        tls: ServerTls,
        options: ServerOptions | None = None,
        *,
        on_feedback: Callable[[str], None] = lambda _: None,
        on_published: Callable[[str, Resources | None, Resources | None], None] = lambda *_: None,
        add_services: Iterable[AddService] = (),
    ) -> None:
        self._tls = tls
        self._options = options or ServerOptions()
        self._feedback = Feedback(on_feedback)
        self._on_published = on_published
        self._add_services = tuple(add_services)
        self._gateways: dict[str, _Gateway] = {}
        self._traffic = XdsTraffic()
        # Referenced for as long as this lives: a grpc.aio server that is collected stops serving.
        self._server: grpc.aio.Server | None = None

    async def start(self, addresses: Iterable[str]) -> tuple[int, ...]:
        """Listen on `host:port` (port 0 takes a free one) or `unix:/path`; returns the ports, 1 for a socket.

        Raises OSError for an address that cannot be had; then nothing listens.
        """
        server = grpc.aio.server(options=self._options.channel_arguments())
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(_Servicer(self), server)
        for add in self._add_services:
            add(server)
        credentials = self._credentials()
        ports = []
        for address in addresses:
            try:
                port = server.add_secure_port(address, credentials)
            except RuntimeError as error:
                raise OSError(str(error)) from error
            ports.append(port)
        await server.start()
        self._server = server
        _log.info("xds.listening", addresses=list(addresses), ports=ports)
        return tuple(ports)

    async def stop(self, grace: float = 0.5) -> None:
        """End all streams; proxies go on with what they have and come back to whoever listens next."""
        server, self._server = self._server, None
        if server is not None:
            for gateway in self._gateways.values():
                for session in gateway.sessions:
                    session.end()
            await server.stop(grace)

    def publish(self, gateway: str, resources: Resources) -> None:
        """New desired state of a gateway. Returns at once; an equal state costs a comparison and sends nothing.

        `resources` must never be changed afterwards. Until the first publication a gateway's proxies wait unanswered.
        """
        state = self._gateways.setdefault(gateway, _Gateway())
        before, state.resources = state.resources, resources
        self._on_published(gateway, before, resources)
        changed = difference(before or {}, resources)
        if before is not None and not changed:
            # Same versions; owners may differ, and whoever reads the feedback must find what is published now.
            self._feedback.publish(gateway, resources)
            return
        for type_url, names in changed.items():
            wanted = resources.get(type_url, {})
            state.references.forget(type_url, [name for name in names if name not in wanted])
        self._feedback.publish(gateway, resources)
        for session in state.sessions:
            session.publish(resources, changed)

    def withdraw(self, gateway: str) -> None:
        """Stop serving a gateway: its streams end, and its proxies keep what they have and wait."""
        state = self._gateways.pop(gateway, None)
        self._on_published(gateway, state.resources if state else None, None)
        self._feedback.publish(gateway, None)
        for session in state.sessions if state else ():
            session.end()

    def feedback(self, gateway: str) -> GatewayFeedback:
        """What the proxies of a gateway made of it. Read it again when `on_feedback(gateway)` was called."""
        return self._feedback.view(gateway)

    def gateways(self) -> tuple[str, ...]:
        """Keys of all gateways that are published, or have a proxy connected, sorted."""
        return self._feedback.gateways()

    def stats(self) -> XdsStats:
        """Counters since the start, and streams now. May be asked from any thread."""
        return self._traffic.freeze(sum(len(gateway.sessions) for gateway in tuple(self._gateways.values())))

    def _credentials(self) -> grpc.ServerCredentials:
        # gRPC asks at every handshake, from a thread of its own.
        served = self._tls.current

        def configuration() -> grpc.ServerCertificateConfiguration:
            nonlocal served
            served = self._tls.current
            pair = (served.credential.key_pem, served.credential.chain_pem)
            return grpc.ssl_server_certificate_configuration([pair], root_certificates=served.roots_pem)

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            return configuration() if self._tls.current is not served else None

        # None means "as before", which the stubs do not know.
        fetcher = cast("Callable[[], grpc.ServerCertificateConfiguration]", fetch)
        return grpc.dynamic_ssl_server_credentials(configuration(), fetcher, require_client_authentication=True)

    async def serve(self, context: Context) -> None:
        """One stream, from its first request to its end."""
        gateway = await peer_gateway(context)
        try:
            async with asyncio.timeout(self._options.first_request_timeout):
                first = await read(context)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no request came")
        if first is None:
            return
        node = first.node
        if node.cluster != gateway or not node.id.startswith(f"{gateway}/"):
            _log.warning("xds.refused", proxy=node.id, claimed=node.cluster, proven=gateway, peer=context.peer())
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"the client certificate is for gateway {gateway}; node {node.id!r} claims {node.cluster!r}",
            )
        state = self._gateways.setdefault(gateway, _Gateway())
        ledger = self._feedback.connect(gateway, node.id)
        session = Session(
            context,
            node_id=node.id,
            gateway=gateway,
            ledger=ledger,
            references=state.references.of,
            order=self._options.order,
            write_timeout=self._options.write_timeout,
            traffic=self._traffic,
        )
        if state.resources is not None:
            session.publish(state.resources, _NO_RESOURCES)
        state.sessions.add(session)
        try:
            await session.run(first)
        finally:
            state.sessions.discard(session)
            self._feedback.disconnect(gateway, ledger)


class _Servicer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """What gRPC calls. State-of-the-world ADS is left unimplemented, and gRPC says so."""

    def __init__(self, server: XdsServer) -> None:
        self._server = server

    async def DeltaAggregatedResources(self, _requests: object, context: Context) -> None:  # noqa: N802
        """Reads and writes by way of the context, so that writing waits for the proxy's flow control."""
        await self._server.serve(context)


async def peer_gateway(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The gateway that the caller's certificate proves; ends the call with PERMISSION_DENIED if it proves none."""
    identities = [identity.decode("utf-8", "replace") for identity in context.peer_identities() or ()]
    gateway = gateway_of(identities)
    if gateway is None:
        _log.warning("xds.refused", proven=None, identities=identities, peer=context.peer())
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "the client certificate names no gateway")
        raise AssertionError  # abort raises
    return gateway


def difference(before: Resources, after: Resources) -> dict[TypeUrl, list[str]]:
    """Names whose version differs, by type; sorted, so that what is sent does not depend on how the map was made."""
    changed: dict[TypeUrl, list[str]] = {}
    for type_url in TypeUrl:
        old, new = before.get(type_url, {}), after.get(type_url, {})
        names = []
        for name in differing(old, new):
            known, item = old.get(name), new.get(name)
            if known is None or item is None or known.version != item.version:
                names.append(name)
        if names:
            changed[type_url] = sorted(names)
    return changed
