"""What section reports cost: the calls that an access log tells the operator of, one per section and some seconds.

A thousand upstreams are called in turn, open loop, so many a second; once all answers are well (each section then reports every
ten seconds) and once none is (at each call here, for they are more than a second apart); each with the log and without it, one
Envoy for each, all else the same. Without it the report is still made, and told to nobody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import grpc
import grpc.aio
import httpx
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as http_pb2
from envoy.service.accesslog.v3 import als_pb2

from bench.figures import Part, Table, cpu_seconds
from harness import plans
from harness.dataplane import DataPlane
from headgate.envoy.resource import Resource, Resources, TypeUrl, resource
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer
from headgate.xds.pki import CertificateAuthority, ServerTls
from headgate.xds.server import XdsServer

COUNT = 1_000
#: Calls a second, and for how many seconds.
RATE, SECONDS = 200.0, 30.0
_SERVICE, _METHOD = "envoy.service.accesslog.v3.AccessLogService", "StreamAccessLogs"


@dataclass(frozen=True, slots=True)
class Cost:
    """Per thousand calls: milliseconds of CPU in Envoy, entries and bytes that came here, milliseconds to parse them."""

    envoy_ms: float
    entries: float
    bytes: float
    parse_ms: float


@dataclass(slots=True)
class _Heard:
    """What came in; `parsing` in seconds of CPU."""

    entries: int = 0
    size: int = 0
    parsing: float = 0.0

    def take(self, content: bytes) -> None:
        began = time.thread_time()
        message = als_pb2.StreamAccessLogsMessage.FromString(content)
        self.parsing += time.thread_time() - began
        self.entries += len(message.http_logs.log_entry)
        self.size += len(content)


class _Plane(DataPlane):
    """`logged`: with the access log, which is what the product has."""

    def __init__(self, *arguments: Any, logged: bool, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._logged, self.heard = logged, _Heard()

    async def _make(self, authority: CertificateAuthority) -> XdsServer:
        return XdsServer(ServerTls(authority, ["127.0.0.1"]), add_services=[self._add])

    def _rendered(self) -> Resources:
        made = super()._rendered()
        if self._logged:
            return made
        listeners = {name: _unlogged(each) for name, each in made[TypeUrl.LISTENER].items()}
        return {**made, TypeUrl.LISTENER: listeners}

    def _add(self, server: grpc.aio.Server) -> None:
        async def stream(contents: AsyncIterator[bytes], _: Any) -> bytes:
            async for content in contents:
                self.heard.take(content)
            return als_pb2.StreamAccessLogsResponse().SerializeToString()

        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_unary_rpc_method_handler(stream)
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, {_METHOD: handler})])


def _unlogged(made: Resource) -> Resource:
    message = listener_pb2.Listener.FromString(made.body)
    for chain in message.filter_chains:
        for filtered in chain.filters:
            manager = http_pb2.HttpConnectionManager()
            if filtered.typed_config.Unpack(manager):
                manager.ClearField("access_log")
                filtered.typed_config.Pack(manager)
    return resource(made.type_url, made.name, message, made.owners)


async def _called(port: int, count: int, rate: float, seconds: float) -> int:
    """Call one section after another on schedule, whatever became of the calls before; how many there were."""
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, trust_env=False) as client:
        began, calls = time.monotonic(), int(rate * seconds)
        async with asyncio.TaskGroup() as group:
            for number in range(calls):
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                group.create_task(client.get(f"/demo/u{number % count}/", timeout=30.0))
    return calls


def _cost(status: int, count: int, rate: float, seconds: float, *, logged: bool) -> Cost:
    with FakeServer(default=respond(status)) as provider:
        endpoint = plans.endpoint(provider.port)
        upstreams = [plans.upstream(plans.section(endpoint, key=f"demo/u{number}/default")) for number in range(count)]
        with _Plane(plans.gateway(*upstreams), logged=logged, within=60.0) as plane:
            asyncio.run(_called(plane.port, count, rate, count / rate))
            before, cpu = replace(plane.heard), cpu_seconds(plane.envoy.pid)
            calls = asyncio.run(_called(plane.port, count, rate, seconds))
            spent, heard = cpu_seconds(plane.envoy.pid) - cpu, plane.heard
    thousands = calls / 1000
    return Cost(
        envoy_ms=spent * 1000 / thousands,
        entries=(heard.entries - before.entries) / thousands,
        bytes=(heard.size - before.size) / thousands,
        parse_ms=(heard.parsing - before.parsing) * 1000 / thousands,
    )


def measure(count: int = COUNT, rate: float = RATE, seconds: float = SECONDS) -> Part:
    """One Envoy after another."""
    found = {
        (name, logged): _cost(status, count, rate, seconds, logged=logged)
        for name, status in (("all well", 200), ("all fail", 503))
        for logged in (False, True)
    }
    rows = tuple(
        (
            f"{name}, {'reported' if logged else 'told to nobody'}",
            f"{each.envoy_ms:,.0f}",
            f"{each.entries:,.0f}",
            f"{each.bytes:,.0f}",
            f"{each.parse_ms:,.2f}",
        )
        for (name, logged), each in found.items()
    )
    title = f"Section reports of {count:,} upstreams at {rate:,.0f} calls/s, per 1,000 calls"
    columns = ("calls", "Envoy, ms of CPU", "reports", "bytes", "reading them, ms of CPU")
    figures = {f"{name}, {logged}": asdict(each) for (name, logged), each in found.items()}
    return Part((Table("reports", title, columns, rows),), {"count": count, "rate": rate, "costs": figures})
