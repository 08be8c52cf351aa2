"""How much each proxy has to do: a load reporting service (LRS) on the xDS port, kept as what each said last.

Envoy counts, for each cluster, calls in flight, and those that ended well and badly since its last report, for each priority
by itself; it does so anyway, and adds it up every `INTERVAL` seconds. Of all ways to hear of it this one costs a proxy least
(docs/benchmarks.md). Which gateway a proxy belongs to, its client certificate says; the node id must agree.

All of it belongs to the event loop's thread; `all` gives frozen values.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

import grpc
import grpc.aio
import structlog
from envoy.service.load_stats.v3 import lrs_pb2, lrs_pb2_grpc

from headgate.model.observations import ProxyLoad, ProxyLoads
from headgate.xds.server import peer_gateway

_log = structlog.stdlib.get_logger("headgate.xds.loads")
Context = grpc.aio.ServicerContext[lrs_pb2.LoadStatsRequest, lrs_pb2.LoadStatsResponse]
#: Seconds from one report of a proxy to its next.
INTERVAL: Final = 5
#: In the id of a section, which is its cluster's name.
_SLASHES: Final = 2
#: A proxy that says nothing for so many seconds after connecting is cut off.
_FIRST: Final = 30.0


class Loads:
    """The newest report per proxy. `on_report(gateway)` is called at each. `interval`: whole seconds between two."""

    def __init__(self, on_report: Callable[[str], None] = lambda _: None, interval: int = INTERVAL) -> None:
        self._on_report = on_report
        self.interval = interval
        self._streams: dict[str, dict[int, ProxyLoad]] = {}

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve it on this server (`XdsServer(add_services=[loads.add_to])`)."""
        lrs_pb2_grpc.add_LoadReportingServiceServicer_to_server(_Servicer(self), server)

    def all(self) -> ProxyLoads:
        """By gateway, what each connected proxy said last. A proxy that has connected anew has not two of them."""
        found: dict[str, tuple[ProxyLoad, ...]] = {}
        for gateway, streams in self._streams.items():
            newest: dict[str, ProxyLoad] = {}
            for load in sorted(streams.values(), key=lambda each: each.at):
                newest[load.node] = load
            found[gateway] = tuple(newest[node] for node in sorted(newest))
        return MappingProxyType(found)

    def take(self, gateway: str, stream: int, node: str, request: lrs_pb2.LoadStatsRequest) -> None:
        """One report of a proxy."""
        streams = self._streams.setdefault(gateway, {})
        before = streams.get(stream)
        streams[stream] = _load(node, datetime.now(UTC), request, dict(before.moved if before else ()))
        self._on_report(gateway)

    def forget(self, gateway: str, stream: int) -> None:
        """The proxy has gone: what it said is no longer so."""
        streams = self._streams.get(gateway, {})
        streams.pop(stream, None)
        if not streams:
            self._streams.pop(gateway, None)


def _load(node: str, at: datetime, request: lrs_pb2.LoadStatsRequest, moved: dict[str, int]) -> ProxyLoad:
    """`moved`: where calls were seen to go before; where there are none now, they are taken to go there still."""
    in_flight = calls = failures = 0
    for cluster in request.cluster_stats:
        # Most clusters of most reports have nothing to tell; and a proxy's streams to the operator are clusters' calls too.
        if not cluster.upstream_locality_stats or cluster.cluster_name.count("/") != _SLASHES:
            continue
        by_priority: dict[int, int] = {}
        for each in cluster.upstream_locality_stats:
            in_flight += each.total_requests_in_progress
            calls += each.total_successful_requests + each.total_error_requests
            failures += each.total_error_requests
            well = each.total_successful_requests
            if well:
                by_priority[each.priority] = by_priority.get(each.priority, 0) + well
        if by_priority:
            # Where both take calls, the endpoints of one are about to go or to come back.
            priority = max(by_priority, key=lambda each: (by_priority[each], -each))
            if priority:
                moved[cluster.cluster_name] = priority
            else:
                moved.pop(cluster.cluster_name, None)
    return ProxyLoad(node, at, in_flight, calls, failures, tuple(sorted(moved.items())))


class _Servicer(lrs_pb2_grpc.LoadReportingServiceServicer):
    def __init__(self, loads: Loads) -> None:
        self._loads = loads

    async def StreamLoadStats(  # noqa: N802
        self, requests: AsyncIterator[lrs_pb2.LoadStatsRequest], context: Context
    ) -> None:
        """Until the proxy goes."""
        gateway = await peer_gateway(context)
        try:
            async with asyncio.timeout(_FIRST):
                first = await anext(requests, None)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "no request came")
        if first is None:
            return
        node = first.node.id
        if not node.startswith(f"{gateway}/"):
            _log.warning("xds.load_refused", proxy=node, proven=gateway, peer=context.peer())
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"the client certificate is for gateway {gateway}")
        answer = lrs_pb2.LoadStatsResponse(send_all_clusters=True)
        answer.load_reporting_interval.seconds = self._loads.interval
        await context.write(answer)
        stream = id(context)
        try:
            async for request in requests:
                self._loads.take(gateway, stream, node, request)
        finally:
            self._loads.forget(gateway, stream)
