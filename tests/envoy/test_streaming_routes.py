"""Streaming routes: calls of a section that have time limits of their own, and everything else in common with the rest."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest

from harness.bench import Bench, ReportingPlane, error_of
from harness.plans import endpoint, retry, to, upstream
from headgate.model.answers import ResetFormat, ResetHeader, StatusRange
from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import Breaker, Ceilings, Limit, Route, Section, Timeouts
from headgate.simulate.behaviours import Gate, hang, respond, sequence
from headgate.simulate.server import FakeServer
from headgate.simulate.sse import Sse

SHORT = Timeouts(request=400, connect=2_000, stream_idle=60_000)
ENDLESS = Timeouts(request=0, connect=2_000, stream_idle=60_000)
STREAMS = RequestMatch(path=PathMatch(PathKind.REGEX, "/.*:stream"))


def _section(bench: Bench, provider: FakeServer, **changes: Any) -> Section:
    return bench.section(endpoint(provider.port), **({"timeouts": SHORT, "stream_timeouts": ENDLESS} | changes))


def _serve(bench: Bench, section: Section) -> str:
    """The section, with a route for streams before the one for the rest."""
    return bench.serve(upstream(section, routes=[Route(STREAMS, "default", streaming=True)]))


def test_a_stream_outlives_the_sections_request_time(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    sse = Sse()
    provider.on("/v1/x:stream", sse)
    provider.on("/v1/x", hang())
    key = _serve(bench, _section(bench, provider))
    with plane.client.stream("GET", f"/{key}/v1/x:stream") as response:
        stream, pieces = sse.accept(), response.iter_raw()
        stream.send("one")
        assert next(pieces) == b"data: one\n\n"
        assert plane.call(key, "/v1/x").status_code == 504, "the same section, by its own time"
        stream.send("two")
        assert next(pieces) == b"data: two\n\n"
        stream.close()
        assert list(pieces) == []


def test_a_stream_has_an_idle_time_of_its_own(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    sse, gate = Sse(), Gate()
    provider.on("/x:stream", sse)
    provider.on("/x", gate)
    key = _serve(bench, _section(bench, provider, timeouts=ENDLESS, stream_timeouts=replace(ENDLESS, stream_idle=400)))
    answers: list[int] = []
    other = threading.Thread(target=lambda: answers.append(plane.call(key, "/x").status_code))
    other.start()
    gate.wait_held(1)
    with plane.client.stream("GET", f"/{key}/x:stream") as response:
        stream, pieces = sse.accept(), response.iter_raw()
        stream.send("one")
        next(pieces)
        with pytest.raises(httpx.RemoteProtocolError):
            next(pieces)
        stream.wait_client_gone()
    gate.open()
    other.join(timeout=10)
    assert answers == [200], "silent for longer, on a route that may be"


def test_a_stream_may_be_shorter_than_the_rest(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(hang())
    key = _serve(bench, _section(bench, provider, timeouts=ENDLESS, stream_timeouts=SHORT))
    assert plane.call(key, "/x:stream").status_code == 504


def test_without_stream_timeouts_the_sections_count(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(hang())
    key = _serve(bench, _section(bench, provider, stream_timeouts=None))
    assert plane.call(key, "/x:stream").status_code == 504


def test_stream_timeouts_are_for_streaming_routes_only(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    provider.default(hang())
    key = bench.serve(upstream(_section(bench, provider), routes=[to("default", "/other")]))
    assert plane.call(key, "/other").status_code == 504
    assert plane.call(key, "/x:stream").status_code == 504


@pytest.mark.parametrize(("path", "status", "calls"), [("/x", 429, 1), ("/x:stream", 200, 2)])
def test_a_wait_is_weighed_against_the_time_of_the_route(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, path: str, status: int, calls: int
) -> None:
    """A second fits into no bound, and not into 400 ms."""
    provider.default(sequence(respond(429, "wait", {"retry-after": "1"}), respond(200)))
    policy = retry(429, reset_headers=(ResetHeader("retry-after", ResetFormat.RETRY_AFTER),))
    key = _serve(bench, _section(bench, provider, retry=policy))
    assert plane.call(key, path).status_code == status
    assert len(provider.requests) == calls
    for seen in provider.requests:
        assert not [name for name, _ in seen.headers if name.startswith("x-hg-")]


def test_they_share_the_breaker(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(respond(503))
    breaker = Breaker(3, None, (StatusRange(500, 599),), 60_000, 60_000, 1)
    key = _serve(bench, _section(bench, provider, breaker=breaker))
    assert [plane.call(key, path).status_code for path in ("/x:stream", "/x", "/x:stream")] == [503] * 3
    for path in ("/x", "/x:stream"):
        assert error_of(plane.call(key, path))["code"] == "CircuitOpen"
    assert len(provider.requests) == 3


def test_they_share_limits_and_ceilings(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    gate = Gate()
    provider.default(gate)
    section = _section(bench, provider, ceilings=Ceilings(requests=1))
    key = _serve(bench, replace(section, limits=(Limit(f"three@{section.id}", 3, 600_000, 3),)))
    answers: list[int] = []
    stream = threading.Thread(target=lambda: answers.append(plane.call(key, "/x:stream").status_code))
    stream.start()
    gate.wait_held(1)
    assert plane.call(key, "/x").status_code == 503, "one at a time"
    gate.open()
    stream.join(timeout=10)
    assert answers == [200]
    assert plane.call(key, "/x:stream").status_code == 200
    assert [plane.call(key, path).status_code for path in ("/x", "/x:stream")] == [429, 429]


@pytest.mark.serial
@pytest.mark.parametrize(("path", "frees"), [("/x", True), ("/x:stream", False)])
def test_a_lost_trial_keeps_its_place_for_the_time_of_its_route(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, path: str, *, frees: bool
) -> None:
    provider.default(respond(503))
    breaker = Breaker(1, None, (StatusRange(500, 599),), 300, 300, 1)
    key = _serve(bench, _section(bench, provider, breaker=breaker, stream_timeouts=replace(SHORT, request=30_000)))
    assert [plane.call(key, "/x").status_code for _ in range(2)] == [503, 503]
    provider.default(hang())
    time.sleep(0.35)  # the break
    with socket.create_connection(("127.0.0.1", plane.port)) as caller:
        caller.sendall(f"GET /{key}{path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        provider.wait_for(2)
    provider.default(respond(200, "well"))
    deadline = time.monotonic() + 1.5
    answers = set()
    while time.monotonic() < deadline and 200 not in answers:
        answers.add(plane.call(key, "/x").status_code)
        time.sleep(0.02)
    assert (200 in answers) is frees


def test_streams_and_the_rest_in_turn_read_one_configuration(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    """What the gateway keeps of a section is not made anew for every change of route: a row of failures goes on."""
    provider.default(respond(503))
    breaker = Breaker(20, None, (StatusRange(500, 599),), 60_000, 60_000, 1)
    section = _section(bench, provider, breaker=breaker)
    key = _serve(bench, section)
    for number in range(20):
        assert plane.call(key, "/x:stream" if number % 2 else "/x").status_code == 503
    assert error_of(plane.call(key, "/x"))["code"] == "CircuitOpen"
    assert plane.reports.wait_for(section.id, 1)
