"""Every field of RetryPolicy, from YAML to what the provider and the caller see."""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.utils import format_datetime

import h2.config
import h2.connection
import h2.errors
import h2.events
import pytest

from fakes.rawserver import RawConnection, RawServer, answer, reset_after_request
from harness.pki import Authority
from harness.ports import free_port
from harness.space import Space, plain
from headgate.simulate.behaviours import hang, respond, statuses
from headgate.simulate.server import FakeServer


def attempts(provider: FakeServer, path: str = "/") -> int:
    """How many requests for a path the provider has had."""
    return sum(seen.raw_path == path.encode() for seen in provider.requests)


def test_retry_attempts(space: Space, provider: FakeServer) -> None:
    provider.default(respond(503, "native words"))
    for number in (0, 1, 3):
        space.put("UpstreamService", f"api-{number}", plain(provider.port))
        space.put(
            "RetryPolicy",
            f"again-{number}",
            f"""
            targetRefs: [{{group: headgate.dev, kind: UpstreamService, name: api-{number}}}]
            attempts: {number}
            """,
        )
    space.put("UpstreamService", "without", plain(provider.port))
    space.apply()
    for number in (0, 1, 3):
        response = space.call(f"api-{number}", f"/{number}")
        assert (response.status_code, response.text) == (503, "native words")
        assert attempts(provider, f"/{number}") == number + 1
    space.call("without", "/without")
    assert attempts(provider, "/without") == 1


def test_retry_target_section(space: Space, provider: FakeServer) -> None:
    provider.default(respond(503))
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        sections:
        - name: reports
          matches: [{{pathPrefix: /reports}}]
        """,
    )
    space.put(
        "RetryPolicy",
        "again",
        "targetRefs: [{kind: UpstreamService, name: api, sectionName: reports}]\nattempts: 1",
    )
    space.apply()
    for path, wanted in (("/reports/1", 2), ("/other", 1)):
        space.call("api", path)
        assert attempts(provider, path) == wanted


def test_retry_target_selectors(space: Space, provider: FakeServer) -> None:
    provider.default(respond(503))
    space.put("UpstreamService", "ours", plain(provider.port), labels={"team": "payments", "tier": "gold"})
    space.put("UpstreamService", "half", plain(provider.port), labels={"team": "payments"})
    space.put("UpstreamService", "theirs", plain(provider.port))
    space.put(
        "RetryPolicy",
        "again",
        """
        targetSelectors:
        - group: headgate.dev
          kind: UpstreamService
          matchLabels: {team: payments, tier: gold}
        attempts: 2
        """,
    )
    space.apply()
    for name, wanted in (("ours", 3), ("half", 1), ("theirs", 1)):
        space.call(name, f"/{name}")
        assert attempts(provider, f"/{name}") == wanted
    space.put("UpstreamService", "theirs", plain(provider.port), labels={"team": "payments", "tier": "gold"})
    space.apply()
    provider.recorder.clear()
    space.call("theirs", "/theirs")
    assert attempts(provider, "/theirs") == 3


@pytest.mark.parametrize(
    ("trigger", "reached"),
    [("connect-failure", True), ("reset-before-request", True), ("refused-stream", False)],
)
def test_retry_triggers_without_a_connection(space: Space, provider: FakeServer, trigger: str, reached: bool) -> None:
    """The first endpoint does not listen: only a second try gets to the other one."""
    space.put(
        "UpstreamService",
        "api",
        f"""
        endpoints:
        - {{hostname: 127.0.0.1, port: {free_port()}, priority: 0}}
        - {{hostname: 127.0.0.1, port: {provider.port}, priority: 1}}
        tls: {{mode: None}}
        """,
    )
    space.put(
        "RetryPolicy",
        "again",
        f"targetRefs: [{{kind: UpstreamService, name: api}}]\nattempts: 1\nretryOn: {{triggers: [{trigger}]}}",
    )
    space.apply()
    assert space.call("api", method="POST").status_code == (200 if reached else 503)


def refuse_streams(connection: RawConnection) -> None:
    """An HTTP/2 server that refuses its first stream and answers the next."""
    server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
    server.initiate_connection()
    refused = False
    with contextlib.suppress(OSError):
        connection.send(server.data_to_send())
        while data := connection.receive():
            for event in server.receive_data(data):
                if isinstance(event, h2.events.StreamEnded):
                    if refused:
                        server.send_headers(event.stream_id, [(":status", "200")], end_stream=True)
                    else:
                        server.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
                    refused = True
            connection.send(server.data_to_send())


@pytest.mark.parametrize(("trigger", "reached"), [("refused-stream", True), ("connect-failure", False)])
def test_retry_trigger_refused_stream(space: Space, trigger: str, reached: bool) -> None:
    authority = Authority()
    with RawServer(refuse_streams, tls=authority.server("127.0.0.1"), alpn=["h2"]) as refusing:
        space.config_map("ca", {"ca.crt": authority.pem})
        space.put(
            "UpstreamService",
            "api",
            f"""
            hostname: 127.0.0.1
            port: {refusing.port}
            tls: {{validation: {{caCertificateRefs: [{{kind: ConfigMap, name: ca}}]}}}}
            """,
        )
        space.put(
            "RetryPolicy",
            "again",
            f"targetRefs: [{{kind: UpstreamService, name: api}}]\nattempts: 1\nretryOn: {{triggers: [{trigger}]}}",
        )
        space.apply()
        assert space.call("api", method="POST").status_code == (200 if reached else 503)


@pytest.mark.parametrize(
    ("trigger", "method", "reached"),
    [("reset", "GET", True), ("reset", "POST", False), ("connect-failure", "GET", False)],
)
def test_retry_trigger_reset(space: Space, trigger: str, method: str, reached: bool) -> None:
    with RawServer(reset_after_request(), answer()) as resetting:
        space.put("UpstreamService", "api", plain(resetting.port))
        space.put(
            "RetryPolicy",
            "again",
            f"targetRefs: [{{kind: UpstreamService, name: api}}]\nattempts: 1\nretryOn: {{triggers: [{trigger}]}}",
        )
        space.apply()
        assert space.call("api", method=method).status_code == (200 if reached else 503)


def test_retry_http_status_codes(space: Space, provider: FakeServer) -> None:
    space.put("UpstreamService", "api", plain(provider.port))
    space.put(
        "RetryPolicy",
        "again",
        "targetRefs: [{kind: UpstreamService, name: api}]\nattempts: 1\nretryOn: {httpStatusCodes: [418, 500]}",
    )
    space.apply()
    for status, wanted in ((418, 2), (500, 2), (503, 1), (429, 1)):
        provider.on(f"/{status}", respond(status))
        space.call("api", f"/{status}")
        assert attempts(provider, f"/{status}") == wanted


def test_retry_methods(space: Space, provider: FakeServer) -> None:
    provider.default(respond(503))
    space.put("UpstreamService", "api", plain(provider.port))
    space.put(
        "RetryPolicy",
        "again",
        "targetRefs: [{kind: UpstreamService, name: api}]\nattempts: 1\nmethods: [POST, GET]",
    )
    space.apply()
    for method, wanted in (("POST", 2), ("GET", 2), ("PUT", 1), ("PATCH", 1)):
        space.call("api", f"/{method}", method=method)
        assert attempts(provider, f"/{method}") == wanted


def test_retry_per_retry_timeout(space: Space, provider: FakeServer) -> None:
    provider.on("/slow", hang(), respond(200, "second try"))
    space.put("UpstreamService", "api", plain(provider.port))
    space.put(
        "RetryPolicy",
        "again",
        """
        targetRefs: [{kind: UpstreamService, name: api}]
        attempts: 1
        perRetry: {timeout: 300ms}
        """,
    )
    space.apply()
    started = time.monotonic()
    response = space.call("api", "/slow")
    assert (response.status_code, response.text) == (200, "second try")
    _, second = provider.requests
    # From the caller's start: when a busy provider notes its first request says little.
    assert second.at - started >= 0.29
    provider.on("/slow", hang())
    timed_out = space.call("api", "/slow", method="POST")
    assert (timed_out.status_code, timed_out.json()["error"]["code"]) == (504, "PerTryTimeout")


def test_retry_back_off(space: Space, provider: FakeServer) -> None:
    """Waits are random from zero up to a bound that doubles: told apart by how long many calls take in all."""
    provider.default(respond(503))
    for name in ("short", "growing", "long"):
        space.put("UpstreamService", name, plain(provider.port))
    space.put(
        "RetryPolicy",
        "short",
        """
        targetRefs: [{kind: UpstreamService, name: short}]
        attempts: 6
        perRetry: {backOff: {baseInterval: 50ms, maxInterval: 50ms}}
        """,
    )
    space.put(
        "RetryPolicy",
        "growing",
        """
        targetRefs: [{kind: UpstreamService, name: growing}]
        attempts: 6
        perRetry: {backOff: {baseInterval: 50ms, maxInterval: 5s}}
        """,
    )
    space.put(
        "RetryPolicy",
        "long",
        """
        targetRefs: [{kind: UpstreamService, name: long}]
        attempts: 1
        perRetry: {backOff: {baseInterval: 2s}}
        """,
    )
    space.apply()

    def took(name: str) -> float:
        begun = time.monotonic()
        assert space.call(name, f"/{name}").status_code == 503
        return time.monotonic() - begun

    with ThreadPoolExecutor(14) as pool:
        growing = pool.map(took, ["growing"] * 4)
        long = list(pool.map(took, ["long"] * 10))
        mean = sum(growing) / 4
    # A slow machine only adds to these: 1.6 s are expected of six waits that double, and one of ten of up to 2 s.
    assert mean > 0.4
    assert max(long) > 0.5
    # Six waits that do not double take 0.15 s.
    assert min(took("short") for _ in range(5)) < mean / 2
    assert [attempts(provider, f"/{name}") for name in ("short", "growing", "long")] == [5 * 7, 4 * 7, 10 * 2]


def moments() -> Iterator[tuple[str, str, float]]:
    """Formats of a reset header, a value that asks for at least a second, and the time before which no retry may come."""
    now = time.time()
    moment = int(now) + 3
    date = format_datetime(dt.datetime.fromtimestamp(moment, dt.UTC), usegmt=True)
    yield "Seconds", "1", now + 1
    yield "Milliseconds", "1000", now + 1
    yield "UnixTimestamp", str(moment), moment
    yield "HTTPDate", date, moment
    yield "RetryAfter", date, moment


def test_retry_reset_headers(space: Space, provider: FakeServer) -> None:
    formats = ("Seconds", "Milliseconds", "UnixTimestamp", "HTTPDate", "RetryAfter")
    for name in formats:
        space.put("UpstreamService", name.lower(), plain(provider.port))
        space.put(
            "RetryPolicy",
            name.lower(),
            f"""
            targetRefs: [{{kind: UpstreamService, name: {name.lower()}}}]
            attempts: 1
            rateLimitedBackOff:
              resetHeaders: [{{name: x-reset, format: {name}}}]
              maxInterval: 10s
            """,
        )
    space.apply()
    wanted = list(moments())
    for name, value, _ in wanted:
        provider.on(f"/{name}", respond(429, "wait", {"x-reset": value}), respond(200))

    def ended(name: str) -> tuple[int, float]:
        return space.call(name.lower(), f"/{name}").status_code, time.time()

    with ThreadPoolExecutor(len(wanted)) as pool:
        answers = list(pool.map(ended, [name for name, _, _ in wanted]))
    for (name, _, earliest), (status, at) in zip(wanted, answers, strict=True):
        assert status == 200, name
        assert at >= earliest, name


@pytest.mark.serial
def test_retry_rate_limited_max_interval_and_on_exceed(space: Space, provider: FakeServer) -> None:
    for name in ("fail-fast", "back-off"):
        space.put("UpstreamService", name, plain(provider.port))
        provider.on(f"/{name}", respond(429, "native", {"retry-after": "2"}), respond(200, "later"))
    space.put(
        "RetryPolicy",
        "fail-fast",
        """
        targetRefs: [{kind: UpstreamService, name: fail-fast}]
        rateLimitedBackOff: {maxInterval: 1s}
        onExceed: FailFast
        """,
    )
    space.put(
        "RetryPolicy",
        "back-off",
        """
        targetRefs: [{kind: UpstreamService, name: back-off}]
        rateLimitedBackOff: {maxInterval: 1s}
        onExceed: BackOff
        """,
    )
    space.apply()
    begun = time.monotonic()
    fast = space.call("fail-fast", "/fail-fast")
    later = space.call("back-off", "/back-off")
    assert time.monotonic() - begun < 2
    assert (fast.status_code, fast.text, fast.headers["retry-after"]) == (429, "native", "2")
    assert (later.status_code, later.text) == (200, "later")
    # Within the maximum it is waited for.
    provider.on("/fail-fast", statuses("429,200", headers={"retry-after": "1"}))
    provider.recorder.clear()
    assert space.call("fail-fast", "/fail-fast").status_code == 200
    first, second = provider.requests
    assert second.at - first.at >= 0.99
