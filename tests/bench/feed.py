"""What it costs to hear from a proxy of a thousand upstreams how much it does: each way that Envoy has, by itself.

One Envoy for each, with one section per upstream, every section called once, so that all of its stats are there. Then nothing
happens but what the way itself does, for some time: Envoy's CPU time, the bytes that it sends, and what it takes to read them
here (parsed, and nothing made of them).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from envoy.service.load_stats.v3 import lrs_pb2
from google.protobuf import duration_pb2, empty_pb2
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as otlp

from bench.figures import Part, Table, cpu_seconds
from harness import plans
from harness.dataplane import DataPlane
from headgate.envoy.listener import CONTROL_PLANE_CLUSTER
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer
from headgate.xds.bootstrap import NodeBootstrap
from headgate.xds.pki import CertificateAuthority, ServerTls
from headgate.xds.server import XdsServer

COUNT = 1_000
#: Seconds between two messages, and for which each way is looked at.
INTERVAL, SECONDS = 5, 30.0
_SINK = "type.googleapis.com/envoy."
_SERVICE = {"envoy_grpc": {"cluster_name": CONTROL_PLANE_CLUSTER}}


@dataclass(slots=True)
class Heard:
    """What came in."""

    messages: int = 0
    size: int = 0
    #: Seconds of CPU that parsing took.
    parsing: float = 0.0

    def take(self, kind: type[Message] | None, content: bytes) -> None:
        began = time.thread_time()
        if kind is not None:
            kind.FromString(content)
        self.parsing += time.thread_time() - began
        self.messages += 1
        self.size += len(content)


@dataclass(frozen=True, slots=True)
class Way:
    """`bootstrap`: what it needs there. `service` and `method`: what Envoy calls; `kind`: what it sends, None where we have
    no schema; `answer`: what it is told first, where it waits to be told."""

    name: str
    bootstrap: dict[str, Any] = field(default_factory=dict)
    service: str = ""
    method: str = ""
    kind: type[Message] | None = None
    answer: Message | None = None
    unary: bool = False


def _sink(name: str, kind: str, **config: Any) -> dict[str, Any]:
    typed = {"@type": f"{_SINK}{kind}", "grpc_service": _SERVICE, **config}
    sink = {"name": f"envoy.stat_sinks.{name}", "typed_config": typed}
    return {"stats_sinks": [sink], "stats_flush_interval": f"{INTERVAL}s"}


def _otel(**config: Any) -> dict[str, Any]:
    return _sink("open_telemetry", "extensions.stat_sinks.open_telemetry.v3.SinkConfig", **config)


def _three() -> dict[str, Any]:
    """A matcher that lets three stats of the listener through."""

    def action(name: str, **config: Any) -> dict[str, Any]:
        kind = f"{_SINK}extensions.stat_sinks.open_telemetry.v3.SinkConfig.{name}"
        return {"action": {"name": name, "typed_config": {"@type": kind, **config}}}

    def kept(name: str) -> dict[str, Any]:
        kind = f"{_SINK}extensions.matching.common_inputs.stats.v3.StatFullNameMatchInput"
        full = {"name": "full", "typed_config": {"@type": kind}}
        predicate = {"single_predicate": {"input": full, "value_match": {"exact": f"http.headgate.{name}"}}}
        return {"predicate": predicate, "on_match": action("ConversionAction", metric_name=name)}

    stats = ("downstream_rq_active", "downstream_rq_completed", "downstream_rq_5xx")
    return {"matcher_list": {"matchers": [kept(each) for each in stats]}, "on_no_match": action("DropAction")}


def _ways() -> Iterable[Way]:
    otel: dict[str, Any] = {
        "service": "opentelemetry.proto.collector.metrics.v1.MetricsService",
        "method": "Export",
        "kind": otlp.ExportMetricsServiceRequest,
        "unary": True,
    }
    loads = lrs_pb2.LoadStatsResponse(
        send_all_clusters=True, load_reporting_interval=duration_pb2.Duration(seconds=INTERVAL)
    )
    some = lrs_pb2.LoadStatsResponse(
        clusters=["demo/u0/default"], load_reporting_interval=duration_pb2.Duration(seconds=INTERVAL)
    )
    stats = {"load_stats_config": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [_SERVICE]}}
    lrs: dict[str, Any] = {
        "bootstrap": {"cluster_manager": stats},
        "service": "envoy.service.load_stats.v3.LoadReportingService",
        "method": "StreamLoadStats",
        "kind": lrs_pb2.LoadStatsRequest,
    }
    yield Way("nothing")
    yield Way("OpenTelemetry sink, all but three stats dropped", _otel(custom_metric_conversions=_three()), **otel)
    yield Way("OpenTelemetry sink, everything", _otel(), **otel)
    yield Way(
        "metrics service sink",
        _sink("metrics_service", "config.metrics.v3.MetricsServiceConfig", transport_api_version="V3"),
        "envoy.service.metrics.v3.MetricsService",
        "StreamMetrics",
    )
    yield Way("load reports, all clusters", answer=loads, **lrs)
    yield Way("load reports, one cluster", answer=some, **lrs)


class _Plane(DataPlane):
    def __init__(self, way: Way, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.way, self.heard = way, Heard()

    def _document(self, node: NodeBootstrap) -> dict[str, Any]:
        return super()._document(node) | self.way.bootstrap

    async def _make(self, authority: CertificateAuthority) -> XdsServer:
        return XdsServer(ServerTls(authority, ["127.0.0.1"]), add_services=[self._add] if self.way.service else ())

    def _add(self, server: grpc.aio.Server) -> None:
        way, heard = self.way, self.heard

        async def unary(content: bytes, _: Any) -> bytes:
            heard.take(way.kind, content)
            return empty_pb2.Empty().SerializeToString()

        async def stream(contents: AsyncIterator[bytes], context: Any) -> None:
            async for content in contents:
                if way.answer is not None and not heard.messages:
                    await context.write(way.answer.SerializeToString())
                heard.take(way.kind, content)

        handler: grpc.RpcMethodHandler[bytes, bytes] = (
            grpc.unary_unary_rpc_method_handler(unary) if way.unary else grpc.stream_stream_rpc_method_handler(stream)
        )
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(way.service, {way.method: handler})])


def measure(count: int = COUNT, seconds: float = SECONDS) -> Part:
    """One way after another."""
    with FakeServer(default=respond(200)) as provider:
        figures = {way.name: _cost(way, count, provider.port, seconds) for way in _ways()}
    idle = figures["nothing"]["envoy_ms"]
    rows = tuple(
        (
            name,
            f"{each['envoy_ms'] - idle:,.1f}",
            f"{each['parse_ms']:,.2f}",
            f"{each['bytes']:,.0f}",
        )
        for name, each in figures.items()
        if name != "nothing"
    )
    title = f"One proxy of {count:,} upstreams that says every {INTERVAL} s how it does, per message"
    columns = ("way", "Envoy, ms of CPU beyond idling", "reading it, ms of CPU", "bytes")
    return Part((Table("feed", title, columns, rows),), {"count": count, "interval": INTERVAL, "ways": figures})


def _cost(way: Way, count: int, port: int, seconds: float) -> dict[str, float]:
    upstreams = [plans.upstream(plans.section(plans.endpoint(port), key=f"demo/u{n}/default")) for n in range(count)]
    with _Plane(way, plans.gateway(*upstreams), within=60.0) as plane:
        for number in range(count):
            assert plane.call(f"demo/u{number}").status_code == 200
        if way.service:
            plane.wait_until(lambda: plane.heard.messages >= 2, way.name)
        before = Heard(plane.heard.messages, plane.heard.size, plane.heard.parsing)
        cpu, began = cpu_seconds(plane.envoy.pid), time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        spent, heard = cpu_seconds(plane.envoy.pid) - cpu, plane.heard
        flushes = took / INTERVAL
        return {
            "messages": (heard.messages - before.messages) / flushes,
            "bytes": (heard.size - before.size) / flushes,
            "parse_ms": (heard.parsing - before.parsing) * 1000 / flushes,
            "envoy_ms": spent * 1000 / flushes,
        }
