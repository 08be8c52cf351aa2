"""What the proxies say of their sections: an access log service on the xDS port, kept as the newest report of each.

Envoy streams one entry per call that carries a report (`envoy.metadata.SectionReport`). Who a proxy is, its client
certificate says. All of it belongs to the event loop's thread; `all` gives frozen values.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import grpc.aio
import structlog
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

from headgate.envoy.metadata import FILTER, SectionReport
from headgate.model import observations
from headgate.model.overlay import replaced, same_keys, without
from headgate.xds.acknowledgements import section_report
from headgate.xds.server import peer_gateway

_log = structlog.stdlib.get_logger("headgate.xds.reports")
Context = grpc.aio.ServicerContext[als_pb2.StreamAccessLogsMessage, als_pb2.StreamAccessLogsResponse]


class Reports:
    """The newest report per proxy stream and section. `on_change(gateway)` is called when one says something new,
    `on_section(gateway, section)` with the section that it is about, `on_success(section)`, with its id, whenever one says
    that calls succeed."""

    def __init__(
        self,
        on_change: Callable[[str], None] = lambda _: None,
        on_success: Callable[[str], None] = lambda _: None,
        on_section: Callable[[str, str], None] = lambda *_: None,
    ) -> None:
        self._on_change, self._on_success, self._on_section = on_change, on_success, on_section
        #: By gateway, stream and section: the report, and when it came in.
        self._streams: dict[str, dict[int, dict[str, tuple[SectionReport, datetime]]]] = {}
        self._nodes: dict[int, str] = {}
        self._served: Mapping[str, Mapping[str, object]] = {}
        #: What `all` gave last, and the sections of which something else is to be told since.
        self._told: observations.SectionReports = MappingProxyType({})
        self._stale: set[tuple[str, str]] = set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve it on this server (`XdsServer(add_services=[reports.add_to])`)."""
        als_pb2_grpc.add_AccessLogServiceServicer_to_server(_Servicer(self), server)

    def all(self) -> observations.SectionReports:
        """By gateway and section id, what each connected proxy said last. What nobody said anything new of is the same object as
        before."""
        stale, self._stale = self._stale, set()
        found = {key: self.of(*key) for key in stale}
        told = without(self._told, {key for key, reports in found.items() if not reports})
        self._told = replaced(told, {key: each for key, each in found.items() if each})
        return self._told

    def of(self, gateway: str, section: str) -> tuple[observations.SectionReport, ...]:
        """What each connected proxy of a gateway said last of a section."""
        return tuple(
            section_report(reports[section][0], self._nodes.get(stream, ""), reports[section][1])
            for stream, reports in self._streams.get(gateway, {}).items()
            if section in reports
        )

    def sections(self) -> tuple[tuple[str, str], ...]:
        """The gateways and sections of which something was said."""
        return tuple(
            {
                (gateway, section)
                for gateway, streams in self._streams.items()
                for reports in streams.values()
                for section in reports
            }
        )

    def take(self, gateway: str, stream: int, report: SectionReport) -> None:
        """One report; an older one than what is known is dropped."""
        known = self._streams.setdefault(gateway, {}).setdefault(stream, {})
        before, _ = known.get(report.section, (None, None))
        if before is not None and before.at > report.at:
            return
        known[report.section] = (report, datetime.now(UTC))
        self._stale.add((gateway, report.section))
        if report.failures < report.calls and not report.in_a_row:
            self._on_success(report.section)
        # The moment of a report is told in no status: without another difference it is no news there. Whether it is a late one
        # counts where proxies are held against each other, on whichever replica that is.
        if before is None or replace(before, at=report.at) != report:
            self._on_change(gateway)
        self._on_section(gateway, report.section)

    def serve(self, upstreams: Mapping[str, Mapping[str, object]]) -> None:
        """These are served from now on, by gateway and `namespace/name`. What was said of others is forgotten, or a proxy that
        runs for long would leave a trace of every upstream that there ever was."""
        before, self._served = self._served, upstreams
        for gateway, streams in self._streams.items():
            one, other = before.get(gateway, {}), upstreams.get(gateway, {})
            gone = set() if same_keys(one, other) else one.keys() - other.keys()
            for reports in streams.values() if gone else ():
                for section in [each for each in reports if each.rpartition("/")[0] in gone]:
                    del reports[section]
                    self._stale.add((gateway, section))
                    self._on_section(gateway, section)

    def know(self, stream: int, node: str) -> None:
        """By which node id the proxy of a stream is known."""
        self._nodes[stream] = node
        for gateway, streams in self._streams.items():
            self._stale.update((gateway, section) for section in streams.get(stream, ()))

    def forget(self, gateway: str, stream: int) -> None:
        """The proxy has gone: what it said is no longer so."""
        self._nodes.pop(stream, None)
        streams = self._streams.get(gateway, {})
        if gone := streams.pop(stream, None):
            self._stale.update((gateway, section) for section in gone)
            self._on_change(gateway)
            for section in gone:
                self._on_section(gateway, section)
        if not streams:
            self._streams.pop(gateway, None)


class _Servicer(als_pb2_grpc.AccessLogServiceServicer):
    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    async def StreamAccessLogs(  # noqa: N802
        self, requests: AsyncIterator[als_pb2.StreamAccessLogsMessage], context: Context
    ) -> als_pb2.StreamAccessLogsResponse:
        """Until the proxy goes."""
        gateway = await peer_gateway(context)
        stream = id(context)
        try:
            async for message in requests:
                # Once, at the beginning. A name that its certificate doesn't prove is no name.
                if message.identifier.node.id.startswith(f"{gateway}/"):
                    self._reports.know(stream, message.identifier.node.id)
                for entry in message.http_logs.log_entry:
                    metadata = entry.common_properties.metadata.filter_metadata
                    if FILTER not in metadata:
                        continue
                    try:
                        self._reports.take(gateway, stream, SectionReport.of(metadata[FILTER]))
                    except ValueError as error:
                        _log.warning("xds.report_unreadable", gateway=gateway, error=str(error))
        finally:
            self._reports.forget(gateway, stream)
        return als_pb2.StreamAccessLogsResponse()
