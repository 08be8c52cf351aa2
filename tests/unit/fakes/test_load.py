"""The load generator keeps its schedule, and counts what happened from the schedule."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fakes import rawserver
from fakes.rawserver import RawServer
from harness.load import Load, Request
from headgate.simulate.behaviours import Gate, echo, hang, respond, statuses
from headgate.simulate.server import FakeServer


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(default=respond(200, "ok")) as running:
        yield running


def at(server: FakeServer | RawServer, target: str = "/", **options: object) -> Request:
    return Request(("127.0.0.1", server.port), target, **options)  # type: ignore[arg-type]


def test_sends_at_its_rate_what_it_was_given(server: FakeServer) -> None:
    server.default(echo())
    requests = [
        at(server, "/a?x=1", name="a"),
        at(server, "/b", method="POST", body=b"hello", host="b.ns", headers={"x-b": "1"}),
    ]
    report = Load(requests, rate=200, count=60).start().wait()
    assert report.statuses() == {200: 60}
    assert report.statuses("a") == {200: 30}
    assert report.failures() == []
    assert [s.scheduled for s in sorted(report.samples, key=lambda s: s.scheduled)] == pytest.approx(
        [n / 200 for n in range(60)]
    )
    assert report.seconds >= 59 / 200
    b = next(r for r in server.requests if r.raw_path == b"/b")
    assert (b.method, b.body, b.header("host"), b.header("x-b")) == ("POST", b"hello", "b.ns", "1")
    assert "60 requests" in str(report)
    # Connections are kept: far fewer than requests.
    assert len({r.peer for r in server.requests}) < 60


def test_goes_on_sending_while_nothing_is_answered_and_counts_the_wait(server: FakeServer) -> None:
    gate = Gate(respond(200))
    server.default(gate)
    with Load([at(server)], rate=100, seconds=30) as load:
        gate.wait_held(30)
        gate.open()
    report = load.report()
    assert report.statuses() == {200: len(report.samples)}
    # The first waited for the 30th to arrive, about 290 ms; a closed loop would have sent and counted one.
    assert report.percentile(1) > 0.25
    assert report.percentile(0.0) < report.percentile(1)


def test_ends_by_time_and_by_stop(server: FakeServer) -> None:
    assert len(Load([at(server)], rate=50, seconds=0.2).start().wait().samples) == 10
    load = Load([at(server)], rate=50, seconds=600).start()
    began = time.monotonic()
    server.wait_for(15)
    report = load.stop()
    assert time.monotonic() - began < 5
    assert len(report.samples) >= 5
    assert not load.running
    assert report.unfinished == 0


def test_failures_are_counted_with_their_causes(server: FakeServer) -> None:
    server.on("/mixed", statuses("503,200,429,200"))
    report = Load([at(server, "/mixed")], rate=100, count=5).start().wait()
    assert report.statuses() == {503: 1, 200: 3, 429: 1}
    assert sorted(s.status or 0 for s in report.failures()) == [429, 503]
    server.on("/hang", hang())
    (timed_out,) = Load([at(server, "/hang")], rate=100, count=1, timeout=0.2).start().wait().samples
    assert (timed_out.status, timed_out.error) == (None, "TimeoutError: ")
    faults = [rawserver.reset_after_request(), rawserver.close_without_answer(), rawserver.content_length_too_long()]
    with RawServer(*faults) as raw:
        report = Load([at(raw)], rate=20, count=3).start().wait()
    assert report.statuses() == {None: 3}
    assert all(sample.error for sample in report.samples)
    refused = Load([at(raw)], rate=100, count=1).start().wait()
    assert "ConnectionRefusedError" in refused.samples[0].error


def test_a_stale_connection_is_replaced_and_told(server: FakeServer) -> None:
    with Load([at(server)], rate=100, seconds=30) as load:
        for count in (20, 40, 60):
            server.wait_for(count)
            server.drop_connections()
        server.wait_for(80)
    report = load.report()
    # A request whose answer was under way when its connection was cut may fail; those on idle connections must not.
    assert len(report.failures()) <= 6
    assert any(s.reconnected and s.status == 200 for s in report.samples)


def test_needs_bounds(server: FakeServer) -> None:
    with pytest.raises(ValueError, match="bound"):
        Load([at(server)], rate=1)
    with pytest.raises(ValueError, match="requests"):
        Load([], rate=1, count=1)
