"""One running data plane shared by the tests of a module: each test adds upstreams of its own, under names of its own.

`Bench` keeps what is served so far, so that adding an upstream is also an edit beside all the others. `ReportLog` is the
receiving end of the section reports.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import httpx
from envoy.service.accesslog.v3 import als_pb2, als_pb2_grpc

from harness import plans
from harness.dataplane import DataPlane
from headgate.envoy.listener import REPORT_LOG
from headgate.envoy.metadata import FILTER, SectionReport
from headgate.model.plan import Endpoint, SecretMaterial, Section, Upstream
from headgate.xds.pki import CertificateAuthority, ServerTls
from headgate.xds.server import XdsServer


class ReportLog(als_pb2_grpc.AccessLogServiceServicer):
    """Takes access log streams and keeps the reports; `entries` counts all log entries, with and without one."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._reports: list[SectionReport] = []
        self.entries = 0

    async def StreamAccessLogs(  # noqa: N802
        self, request_iterator: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> Any:
        """Called by grpc."""
        async for message in request_iterator:
            if message.HasField("identifier"):
                assert message.identifier.log_name == REPORT_LOG
            with self._changed:
                for entry in message.http_logs.log_entry:
                    self.entries += 1
                    metadata = entry.common_properties.metadata.filter_metadata
                    if FILTER in metadata:
                        self._reports.append(SectionReport.of(metadata[FILTER]))
                self._changed.notify_all()
        return als_pb2.StreamAccessLogsResponse()

    def of(self, section: str) -> tuple[SectionReport, ...]:
        """The reports of a section so far."""
        with self._changed:
            return tuple(report for report in self._reports if report.section == section)

    def wait_for(self, section: str, count: int, timeout: float = 10.0) -> tuple[SectionReport, ...]:
        """Wait for so many reports of a section. Raises TimeoutError."""
        with self._changed:
            found: tuple[SectionReport, ...] = ()

            def enough() -> bool:
                nonlocal found
                found = tuple(report for report in self._reports if report.section == section)
                return len(found) >= count

            if not self._changed.wait_for(enough, timeout):
                raise TimeoutError(f"{len(found)} of {count} reports of {section} after {timeout} s: {found}")
            return found


class ReportingPlane(DataPlane):
    """A data plane whose xDS server also takes section reports."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.reports = ReportLog()

    async def _make(self, authority: CertificateAuthority) -> XdsServer:
        def add(server: grpc.aio.Server) -> None:
            als_pb2_grpc.add_AccessLogServiceServicer_to_server(self.reports, server)

        return XdsServer(ServerTls(authority, ["127.0.0.1"]), add_services=[add])


class Bench:
    """What a module's tests share. Sections made by `section` belong to a fresh upstream each."""

    _numbers = itertools.count()

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self.upstreams: dict[str, Upstream] = {}
        self.secrets: dict[str, SecretMaterial] = {}

    def section(
        self, *endpoints: Endpoint, name: str = "default", upstream: str | None = None, **changes: Any
    ) -> Section:
        """A section, by default of an upstream that no other test has."""
        upstream = upstream or f"demo/u{next(self._numbers)}"
        return plans.section(*endpoints, key=f"{upstream}/{name}", **changes)

    def serve(self, *served: Upstream | Section, secrets: Iterable[SecretMaterial] = ()) -> str:
        """Serve these beside (or, by the same name, instead of) what is served; the key of the last one."""
        key = ""
        for each in served:
            upstream = plans.upstream(each) if isinstance(each, Section) else each
            key = upstream.key
            self.upstreams[key] = upstream
        self.secrets.update((secret.name, secret) for secret in secrets)
        self.publish()
        return key

    def withdraw(self, key: str) -> None:
        """Serve this upstream no longer."""
        del self.upstreams[key]
        self.publish()

    def publish(self) -> None:
        """Render, serve, wait for the acknowledgement."""
        listener = self.plane.gateway.listener
        served = plans.gateway(*self.upstreams.values(), secrets=self.secrets.values(), listener=listener)
        self.plane.update(served)

    def statuses(self, upstream: str, count: int, path: str = "/") -> list[int]:
        """The statuses of so many calls, one after another."""
        return [self.plane.call(upstream, path).status_code for _ in range(count)]


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The `error` object of one of the gateway's own answers."""
    assert response.headers["content-type"] == "application/json"
    error: dict[str, Any] = response.json()["error"]
    assert error["status"] == response.status_code
    return error
