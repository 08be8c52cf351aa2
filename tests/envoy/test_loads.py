"""What a proxy has to do, as load reports tell it: calls under way, how calls ended, and to which priority they go."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from harness.bench import Bench
from harness.dataplane import DataPlane
from harness.plans import endpoint, gateway
from headgate.infra.bootstrap import PodLife, in_pod
from headgate.infra.settings import Drain
from headgate.model.observations import ProxyLoad
from headgate.simulate.behaviours import Gate, respond
from headgate.simulate.server import FakeServer
from headgate.xds.bootstrap import NodeBootstrap
from headgate.xds.loads import Loads
from headgate.xds.pki import CertificateAuthority, ServerTls
from headgate.xds.server import XdsServer

SILENT = ProxyLoad("", datetime.now(UTC), -1)


class LoadPlane(DataPlane):
    """A data plane that reports its load each second, as a pod's does."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.calls = self.failures = self.reports = 0
        self.loads = Loads(self._count, interval=1)

    def _count(self, gateway: str) -> None:
        (load,) = self.loads.all()[gateway]
        self.calls += load.calls
        self.failures += load.failures
        self.reports += 1

    async def _make(self, authority: CertificateAuthority) -> XdsServer:
        return XdsServer(ServerTls(authority, ["127.0.0.1"]), add_services=[self.loads.add_to])

    def _document(self, node: NodeBootstrap) -> dict[str, Any]:
        whole = super()._document(node)
        pod = json.loads(in_pod(json.dumps(whole), PodLife(1, "/drain", Drain())))
        return whole | {"cluster_manager": pod["cluster_manager"]}

    def wait_report(self) -> None:
        """Wait for a report that was begun after now."""
        last = self.reports + 2
        self.wait_until(lambda: self.reports >= last, "two reports")

    def load(self) -> ProxyLoad:
        """The one proxy's; SILENT as long as it has not said anything."""

        async def found() -> tuple[ProxyLoad, ...]:
            return self.loads.all().get(self.gateway.key, ())

        loads = self._on_loop(found())
        assert len(loads) <= 1
        return loads[0] if loads else SILENT


@pytest.fixture(scope="module")
def plane() -> Iterator[LoadPlane]:
    with LoadPlane(gateway(), within=40.0) as running:
        yield running


@pytest.fixture(scope="module")
def bench(plane: LoadPlane) -> Bench:
    return Bench(plane)


def test_calls_under_way_are_counted_for_as_long_as_they_are(plane: LoadPlane, bench: Bench) -> None:
    gate = Gate()
    with FakeServer(default=gate) as provider, ThreadPoolExecutor(3) as pool:
        key = bench.serve(bench.section(endpoint(provider.port)))
        calls = [pool.submit(plane.call, key) for _ in range(3)]
        try:
            plane.wait_until(lambda: plane.load().in_flight == 3, "three calls under way")
        finally:
            gate.open()
        assert [call.result().status_code for call in calls] == [200] * 3
        plane.wait_until(lambda: plane.load().in_flight == 0, "none under way")
    assert plane.load().node == f"{plane.gateway.key}/one"


def test_calls_and_failures_are_counted_once(plane: LoadPlane, bench: Bench) -> None:
    """A refusal by the provider is an answer, a 503 and an address that nobody listens at are failures."""
    with FakeServer() as provider:
        key = bench.serve(bench.section(endpoint(provider.port)))

        def counted() -> bool:
            before = plane.calls
            bench.statuses(key, 1)
            plane.wait_report()
            return plane.calls > before

        # What is called in the first moments of a cluster is not.
        plane.wait_until(counted, "calls to be counted")
        plane.wait_report()
        calls, failures = plane.calls, plane.failures
        for status, count in ((200, 4), (404, 2), (503, 3)):
            provider.default(respond(status))
            assert bench.statuses(key, count) == [status] * count
        plane.wait_until(lambda: plane.calls >= calls + 9, lambda: f"nine calls, have {plane.calls - calls}")
        assert (plane.calls, plane.failures) == (calls + 9, failures + 3)


def test_a_section_whose_first_priority_is_down_is_said_to_have_moved_and_to_have_come_back(
    plane: LoadPlane, bench: Bench
) -> None:
    with FakeServer(default=respond(503)) as first, FakeServer(default=respond(200, "second")) as second:
        section = bench.section(endpoint(first.port, priority=5), endpoint(second.port, priority=7))
        key = bench.serve(section)

        def told(text: str, *moved: tuple[str, int]) -> bool:
            return plane.call(key).text == text and plane.load().moved == moved

        plane.wait_until(lambda: told("second", (section.id, 1)), "the second priority to take over, and it to be said")
        first.default(respond(200, "first"))
        plane.wait_until(lambda: told("first"), "the first priority to be given back, and it to be said")
