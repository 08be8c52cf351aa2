"""Section reports: what the operator is told by way of the access log, when, and how it is read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import struct_pb2

from harness.bench import Bench, ReportingPlane
from harness.plans import endpoint, gateway
from headgate.envoy import listener
from headgate.envoy.metadata import REPORT_KEY, CircuitState, SectionReport
from headgate.model.answers import StatusRange
from headgate.model.plan import Breaker
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer


@pytest.fixture(scope="module")
def plane() -> Iterator[ReportingPlane]:
    with ReportingPlane(gateway()) as running:
        yield running


@pytest.fixture(scope="module")
def bench(plane: ReportingPlane) -> Iterator[Bench]:
    yield Bench(plane)
    assert plane.lua_errors() == 0, plane.envoy.log()


def test_the_way_through_the_states(plane: ReportingPlane, bench: Bench) -> None:
    """closed, open, half-open, closed: each with its cause, its time and its counts."""
    with FakeServer(default=respond(502)) as provider:
        section = bench.section(
            endpoint(provider.port), breaker=Breaker(2, None, (StatusRange(500, 599),), 1_500, 1_500, 1)
        )
        key = bench.serve(section)
        before = time.time() * 1000
        assert bench.statuses(key, 3) == [502, 502, 503]
        provider.default(respond(200))
        plane.wait_until(lambda: plane.call(key).status_code == 200, "the breaker to close")

    def told() -> list[SectionReport]:
        reports: dict[tuple[CircuitState, str], SectionReport] = {}
        for report in plane.reports.of(section.id):
            reports.setdefault((report.state, report.event), report)
        return list(reports.values())

    plane.wait_until(lambda: len(told()) >= 3, lambda: f"reports, have {told()}")
    closed, opened, *rest = told()
    # The first report comes at the end of the first call.
    assert (closed.state, closed.event, closed.until, closed.calls) == (CircuitState.CLOSED, "", 0, 1)
    assert (opened.state, opened.event, opened.failure) == (CircuitState.OPEN, "failures_in_a_row", "Status502")
    assert (opened.calls, opened.failures, opened.in_a_row, opened.opened) == (2, 2, 2, 1)
    assert opened.until - opened.since == pytest.approx(1_500, abs=2)
    assert before - 1 <= opened.since <= opened.at <= time.time() * 1000
    last = rest[-1]
    assert (last.state, last.event, last.in_a_row) == (CircuitState.CLOSED, "trials_succeeded", 0)
    assert last.since >= opened.until - 1


def test_ordinary_calls_are_reported_seldom_and_nothing_else_is_logged(plane: ReportingPlane, bench: Bench) -> None:
    with FakeServer(default=respond(200)) as provider:
        section = bench.section(endpoint(provider.port))
        key = bench.serve(section)
        entries = plane.reports.entries
        assert bench.statuses(key, 100) == [200] * 100
        marker = bench.section(endpoint(provider.port))
        bench.statuses(bench.serve(marker), 1)
        plane.reports.wait_for(marker.id, 1)
    (report,) = plane.reports.of(section.id)
    assert (report.state, report.failure) == (CircuitState.NONE, "")
    assert plane.reports.entries == entries + 2


def test_failures_are_counted_without_a_breaker_too(plane: ReportingPlane, bench: Bench) -> None:
    with FakeServer(default=respond(503)) as provider:
        section = bench.section(endpoint(provider.port))
        key = bench.serve(section)
        assert bench.statuses(key, 3) == [503] * 3
        # While calls fail there is a report a second; an edit to one with a breaker reports at its transition at once.
        bench.serve(
            bench.section(
                endpoint(provider.port),
                upstream=key,
                breaker=Breaker(4, None, (StatusRange(500, 599),), 9_000, 9_000, 1),
            )
        )
        assert bench.statuses(key, 1) == [503]
        plane.wait_until(
            lambda: any(report.state is CircuitState.OPEN for report in plane.reports.of(section.id)), "the transition"
        )
        first, *_ = reports = plane.reports.of(section.id)
    opened = next(report for report in reports if report.state is CircuitState.OPEN)
    assert (first.state, first.calls, first.failures, first.in_a_row) == (CircuitState.NONE, 1, 1, 1)
    assert (opened.calls, opened.failures, opened.in_a_row) == (4, 4, 4)


def test_a_call_after_a_quiet_time_is_in_its_report() -> None:
    """Told at its start there would be no calls, and a provider that answers well would pass for one never called."""
    code = listener._lua_parts()
    for constant, quick in (
        ("SELDOM, OFTEN = 10000, 1000", "SELDOM, OFTEN = 200, 100"),
        ("WINDOW = 10000", "WINDOW = 200"),
    ):
        assert code.count(constant) == 1
        code = code.replace(constant, quick)
    with (
        FakeServer(default=respond(200)) as provider,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(listener, "_lua_parts", lambda: code)
        with ReportingPlane(gateway()) as plane:
            bench = Bench(plane)
            section = bench.section(endpoint(provider.port))
            key = bench.serve(section)
            for count in (1, 2, 3):
                assert bench.statuses(key, 1) == [200]
                plane.reports.wait_for(section.id, count)
                time.sleep(0.5)  # longer than the window: what is tested is the passing of time
            assert [report.calls for report in plane.reports.of(section.id)] == [1, 1, 1]


def test_refusals_are_counted(plane: ReportingPlane, bench: Bench) -> None:
    name = "http.headgate.lua.headgate.refused.UnknownUpstream"
    before = plane.stat(name)
    for _ in range(3):
        assert plane.client.get("/no/where").status_code == 404
    assert plane.stat(name) == before + 3


# ---------------------------------------------------------------------- reading

GOOD: dict[str, Any] = {
    "section": "a/b/c",
    "state": "open",
    "at": 5.0,
    "since": 3.0,
    "until_time": 9.0,
    "event": "failure_rate",
    "failure": "Reset",
    "calls": 10.0,
    "failures": 6.0,
    "window": 1000.0,
    "in_a_row": 2.0,
    "opened": 1.0,
}


def _metadata(report: dict[str, Any] | None) -> struct_pb2.Struct:
    metadata = struct_pb2.Struct()
    metadata.update({REPORT_KEY: report})
    return metadata


def test_reading() -> None:
    report = SectionReport.of(_metadata(GOOD))
    assert report == SectionReport("a/b/c", CircuitState.OPEN, 5, 3, 9, "failure_rate", "Reset", 10, 6, 1_000, 2, 1)


@pytest.mark.parametrize("missing", GOOD)
def test_a_report_without_a_field_is_refused(missing: str) -> None:
    partial = {name: value for name, value in GOOD.items() if name != missing}
    with pytest.raises(ValueError, match=missing):
        SectionReport.of(_metadata(partial))


@pytest.mark.parametrize(
    "wrong",
    [
        struct_pb2.Struct(),
        _metadata(None),
        _metadata(GOOD | {"state": "ajar"}),
        _metadata(GOOD | {"at": "now"}),
        _metadata(GOOD | {"section": "c"}),
    ],
)
def test_what_is_no_report_is_refused(wrong: struct_pb2.Struct) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        SectionReport.of(wrong)
