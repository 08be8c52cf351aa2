"""Every field of CircuitBreaker, from YAML to what the provider and the caller see."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import httpx
import pytest

from harness.space import Space, plain
from headgate.simulate.behaviours import Gate, respond, statuses
from headgate.simulate.server import FakeServer


def code(response: httpx.Response) -> str:
    """A status from the provider, a code from the gateway."""
    if response.headers.get("x-should-retry") == "false" and response.headers["content-type"] == "application/json":
        return str(response.json()["error"]["code"])
    return str(response.status_code)


def codes(space: Space, upstream: str, count: int, path: str = "/") -> list[str]:
    return [code(space.call(upstream, path)) for _ in range(count)]


def until(space: Space, upstream: str, wanted: str, within: float = 10.0) -> float:
    """Call until the answer is the wanted one; the seconds that took."""
    begun = time.monotonic()
    while (got := code(space.call(upstream))) != wanted:
        assert time.monotonic() - begun < within, f"still {got} after {within} s"
        time.sleep(0.02)
    return time.monotonic() - begun


def first_done(futures: list[Future[str]], count: int) -> list[str]:
    """The results of the first `count` of these to be done."""
    pending = set(futures)
    done: list[str] = []
    while len(done) < count:
        finished, pending = wait(pending, timeout=10, return_when=FIRST_COMPLETED)
        assert finished, f"only {len(done)} of {count} are done: {done}"
        done += [future.result() for future in finished]
    return done


def declare(space: Space, provider: FakeServer, name: str = "api") -> None:
    space.put("UpstreamService", name, plain(provider.port))


def test_breaker_consecutive_failures(space: Space, provider: FakeServer) -> None:
    declare(space, provider)
    space.put(
        "CircuitBreaker",
        "cut",
        "targetRefs: [{group: headgate.dev, kind: UpstreamService, name: api}]\nconsecutiveFailures: 3",
    )
    space.apply()
    provider.default(statuses("503,503,200,503"))
    assert codes(space, "api", 8) == ["503", "503", "200", "503", "503", "503", "CircuitOpen", "CircuitOpen"]
    assert len(provider.requests) == 6


def test_breaker_target_section(space: Space, provider: FakeServer) -> None:
    provider.default(respond(503))
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        sections: [{{name: reports, matches: [{{pathPrefix: /reports}}]}}]
        """,
    )
    space.put(
        "CircuitBreaker",
        "cut",
        "targetRefs: [{kind: UpstreamService, name: api, sectionName: reports}]\nconsecutiveFailures: 1",
    )
    space.apply()
    assert codes(space, "api", 2, "/reports") == ["503", "CircuitOpen"]
    assert codes(space, "api", 8, "/other") == ["503"] * 8


def test_breaker_target_selectors(space: Space, provider: FakeServer) -> None:
    provider.default(respond(503))
    space.put("UpstreamService", "ours", plain(provider.port), labels={"team": "payments"})
    space.put("UpstreamService", "theirs", plain(provider.port), labels={"team": "search"})
    space.put(
        "CircuitBreaker",
        "cut",
        """
        targetSelectors: [{group: headgate.dev, kind: UpstreamService, matchLabels: {team: payments}}]
        consecutiveFailures: 1
        """,
    )
    space.apply()
    assert codes(space, "ours", 2) == ["503", "CircuitOpen"]
    assert codes(space, "theirs", 2) == ["503", "503"]


def test_breaker_failure_rate(space: Space, provider: FakeServer) -> None:
    declare(space, provider)
    space.put(
        "CircuitBreaker",
        "cut",
        """
        targetRefs: [{kind: UpstreamService, name: api}]
        failureRate: {threshold: 60, minimumRequests: 5, samplingWindow: 30s}
        """,
    )
    space.apply()
    # Three of five is the share; three of three came before there were enough calls.
    provider.default(statuses("503,503,503,200,200,503"))
    assert codes(space, "api", 7) == ["503", "503", "503", "200", "200", "503", "CircuitOpen"]


@pytest.mark.serial
def test_breaker_sampling_window(space: Space, provider: FakeServer) -> None:
    provider.default(respond(503))
    declare(space, provider)
    space.put(
        "CircuitBreaker",
        "cut",
        """
        targetRefs: [{kind: UpstreamService, name: api}]
        failureRate: {threshold: 100, minimumRequests: 4, samplingWindow: 1s}
        """,
    )
    space.apply()
    begun = time.monotonic()
    assert codes(space, "api", 3) == ["503"] * 3
    assert time.monotonic() - begun < 1, "the machine is too slow for this test to tell anything"
    time.sleep(1.2)  # until the three are out of the window
    assert codes(space, "api", 3) == ["503"] * 3
    assert until(space, "api", "CircuitOpen") < 1


def test_breaker_http_error_codes(space: Space, provider: FakeServer) -> None:
    declare(space, provider)
    space.put(
        "CircuitBreaker",
        "cut",
        """
        targetRefs: [{kind: UpstreamService, name: api}]
        consecutiveFailures: 2
        httpErrorCodes: [429, 529]
        """,
    )
    space.apply()
    provider.default(statuses("500,503,500,429,529"))
    assert codes(space, "api", 6) == ["500", "503", "500", "429", "529", "CircuitOpen"]


@pytest.mark.serial
def test_breaker_break_durations(space: Space, provider: FakeServer) -> None:
    """After a failed trial the break is twice as long, but not longer than the maximum."""
    provider.default(respond(503))
    for name in ("steady", "doubling"):
        declare(space, provider, name)
    space.put(
        "CircuitBreaker",
        "steady",
        """
        targetRefs: [{kind: UpstreamService, name: steady}]
        consecutiveFailures: 1
        breakDuration: 1s
        maxBreakDuration: 1s
        """,
    )
    space.put(
        "CircuitBreaker",
        "doubling",
        """
        targetRefs: [{kind: UpstreamService, name: doubling}]
        consecutiveFailures: 1
        breakDuration: 1s
        maxBreakDuration: 4s
        """,
    )
    space.apply()
    for name in ("steady", "doubling"):
        assert codes(space, name, 2) == ["503", "CircuitOpen"]
        assert space.call(name).headers["retry-after"] == "1"
    for name, next_break in (("steady", "1"), ("doubling", "2")):
        assert until(space, name, "503") < 1.6
        assert space.call(name).headers["retry-after"] == next_break


@pytest.mark.serial
def test_breaker_half_open_requests(space: Space, provider: FakeServer) -> None:
    provider.default(respond(503))
    declare(space, provider)
    space.put(
        "CircuitBreaker",
        "cut",
        """
        targetRefs: [{kind: UpstreamService, name: api}]
        consecutiveFailures: 1
        breakDuration: 300ms
        halfOpen: {requests: 2}
        """,
    )
    space.apply()
    assert codes(space, "api", 2) == ["503", "CircuitOpen"]
    gate = Gate(respond(200))
    provider.default(gate)
    with ThreadPoolExecutor(8) as pool:
        time.sleep(0.35)  # until the break is over
        calls = [pool.submit(lambda: code(space.call("api"))) for _ in range(5)]
        assert first_done(calls, 3) == ["CircuitOpen"] * 3
        gate.wait_held(2)
        gate.open()
        assert Counter(call.result() for call in calls) == {"200": 2, "CircuitOpen": 3}
    assert codes(space, "api", 3) == ["200"] * 3


def test_breaker_max_parallel_requests(space: Space, provider: FakeServer) -> None:
    gate = Gate()
    provider.default(gate)
    declare(space, provider)
    space.put("CircuitBreaker", "ceiling", "targetRefs: [{kind: UpstreamService, name: api}]\nmaxParallelRequests: 2")
    space.apply()
    with ThreadPoolExecutor(5) as pool:
        calls = [pool.submit(lambda: code(space.call("api"))) for _ in range(5)]
        assert first_done(calls, 3) == ["TooManyRequestsInFlight"] * 3
        gate.wait_held(2)
        gate.open()
        assert Counter(call.result() for call in calls) == {"200": 2, "TooManyRequestsInFlight": 3}


def test_breaker_max_pending_requests(space: Space, provider: FakeServer) -> None:
    gate = Gate()
    provider.default(gate)
    declare(space, provider)
    space.put(
        "CircuitBreaker",
        "ceiling",
        "targetRefs: [{kind: UpstreamService, name: api}]\nmaxConnections: 1\nmaxPendingRequests: 1",
    )
    space.apply()
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(lambda: code(space.call("api")))]
        gate.wait_held(1)
        calls += [pool.submit(lambda: code(space.call("api"))) for _ in range(3)]
        assert first_done(calls, 2) == ["TooManyRequestsInFlight"] * 2
        gate.open()
        assert Counter(call.result() for call in calls) == {"200": 2, "TooManyRequestsInFlight": 2}


def test_breaker_max_connections(space: Space, provider: FakeServer) -> None:
    gate = Gate()
    provider.default(gate)
    for name in ("two", "free"):
        declare(space, provider, name)
    space.put("CircuitBreaker", "ceiling", "targetRefs: [{kind: UpstreamService, name: two}]\nmaxConnections: 2")
    space.apply()
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(space.call, name, f"/{name}") for name in ("two", "free") for _ in range(6)]
        gate.wait_held(2 + 6)
        gate.open()
        assert {call.result().status_code for call in calls} == {200}
    peers = {name: {r.peer for r in provider.requests if r.raw_path == f"/{name}".encode()} for name in ("two", "free")}
    assert (len(peers["two"]), len(peers["free"])) == (2, 6)


def test_breaker_max_parallel_retries(space: Space, provider: FakeServer) -> None:
    declare(space, provider)
    space.put("CircuitBreaker", "ceiling", "targetRefs: [{kind: UpstreamService, name: api}]\nmaxParallelRetries: 1")
    space.put(
        "RetryPolicy",
        "again",
        "targetRefs: [{kind: UpstreamService, name: api}]\nattempts: 1\nperRetry: {backOff: {baseInterval: 1ms}}",
    )
    space.apply()
    gate = Gate()
    for number in range(3):
        provider.on(f"/{number}", respond(503), gate)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(lambda path: code(space.call("api", path)), f"/{number}") for number in range(3)]
        assert first_done(calls, 2) == ["503"] * 2
        gate.wait_held(1)
        gate.open()
        assert Counter(call.result() for call in calls) == {"200": 1, "503": 2}


@pytest.mark.parametrize("trouble", ["consecutiveFailures: 0", "breakDuration: 10ms", "failureRate: {threshold: 101}"])
def test_breaker_refused(space: Space, provider: FakeServer, trouble: str) -> None:
    """What the schema refuses is told, and there is no breaker."""
    provider.default(respond(503))
    declare(space, provider)
    space.put("CircuitBreaker", "cut", f"targetRefs: [{{kind: UpstreamService, name: api}}]\n{trouble}")
    space.write()
    space.wait("CircuitBreaker", "cut", "Accepted", "False", "InvalidSpec")
    space.wait("UpstreamService", "api", "Ready")
    assert codes(space, "api", 8) == ["503"] * 8
