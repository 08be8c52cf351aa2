"""Retries: what is repeated, what the provider's hints do, what a caller gets when the budget is spent."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import random
import time
import zlib
from collections.abc import Iterator
from email.utils import format_datetime

import pytest

from fakes.rawserver import RawServer, answer, raw_bytes, reset_after_request
from harness.dataplane import DataPlane
from harness.plans import endpoint, gateway, retry, section, to, upstream
from harness.ports import free_port
from headgate.model.answers import BodyHint, ResetFormat, ResetHeader
from headgate.model.plan import Gateway, OnExceed, Retry, RetryTrigger, Timeouts
from headgate.simulate.behaviours import Behaviour, json_response, respond, sequence, slow_body, statuses
from headgate.simulate.server import FakeServer

RETRY_AFTER = ResetHeader("Retry-After", ResetFormat.RETRY_AFTER)
HINTED = retry(429, 503, attempts=2, reset_headers=(RETRY_AFTER,), hint_max=3_000)


@pytest.fixture
def provider() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


def _gateway(provider: FakeServer, policy: Retry, *, request: int = 15_000) -> Gateway:
    timeouts = Timeouts(request=request, connect=2_000, stream_idle=60_000)
    return gateway(upstream(section(endpoint(provider.port), retry=policy, timeouts=timeouts)))


def _refusal(seconds: str | None, *, status: int = 429) -> Behaviour:
    """A Gemini-like refusal whose body asks for a wait."""
    details: list[dict[str, object]] = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": []}]
    if seconds is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": seconds})
    error = {"code": status, "message": "slow down", "status": "RESOURCE_EXHAUSTED", "details": details}
    return json_response({"error": error}, status)


def _gap(provider: FakeServer) -> float:
    """Seconds between the first two attempts."""
    first, second = provider.requests[:2]
    return second.at - first.at


# Which answers are repeated


def test_listed_statuses_are_repeated_until_one_is_not(provider: FakeServer) -> None:
    provider.default(statuses("503,429,200"))
    with DataPlane(_gateway(provider, retry(429, 503, attempts=3))) as plane:
        response = plane.call("demo/api")
    assert (response.status_code, response.text) == (200, "200")
    assert len(provider.requests) == 3
    assert "x-should-retry" not in response.headers


def test_a_spent_budget_gives_the_providers_last_answer_and_says_so(provider: FakeServer) -> None:
    provider.default(respond(503, "native words", {"x-native": "yes"}))
    with DataPlane(_gateway(provider, retry(503, attempts=2))) as plane:
        response = plane.call("demo/api")
        assert plane.lua_errors() == 0
    assert len(provider.requests) == 3
    assert (response.status_code, response.text) == (503, "native words")
    assert response.headers["x-native"] == "yes"
    assert response.headers["x-should-retry"] == "false"
    assert not [name for name in response.headers if name.startswith("x-hg-")]


@pytest.mark.parametrize("status", [400, 500, 540])
def test_other_statuses_are_not_repeated(provider: FakeServer, status: int) -> None:
    provider.default(respond(status, "once"))
    with DataPlane(_gateway(provider, retry(429, 503))) as plane:
        response = plane.call("demo/api")
    assert (response.status_code, len(provider.requests)) == (status, 1)
    assert "x-should-retry" not in response.headers


@pytest.mark.parametrize(("method", "attempts"), [("GET", 3), ("PUT", 3), ("POST", 1), ("PATCH", 1), ("DELETE", 1)])
def test_only_allowed_methods_are_repeated_on_a_status(provider: FakeServer, method: str, attempts: int) -> None:
    provider.default(respond(503))
    with DataPlane(_gateway(provider, retry(503, attempts=2, methods=("GET", "PUT")))) as plane:
        response = plane.call("demo/api", method=method)
    assert len(provider.requests) == attempts
    # Whoever repeats by status alone, as SDKs do, is told that this is not to be repeated.
    assert response.headers["x-should-retry"] == "false"


def test_a_providers_own_internal_headers_have_no_effect(provider: FakeServer) -> None:
    headers = {"x-hg-retry": "1", "x-hg-wait": "1", "x-envoy-ratelimited": "1", "x-headgate-scope": "a/b"}
    provider.default(respond(200, "fine", headers))
    with DataPlane(_gateway(provider, retry(503))) as plane:
        response = plane.call("demo/api")
    assert (response.status_code, len(provider.requests)) == (200, 1)
    assert not [name for name in response.headers if name.startswith(("x-hg-", "x-envoy-", "x-headgate-"))]


def test_a_caller_cannot_ask_for_retries(provider: FakeServer) -> None:
    provider.default(respond(500))
    asked = {
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "9",
        "x-hg-started": "1",
        "x-envoy-hedge-on-per-try-timeout": "1",
    }
    with DataPlane(_gateway(provider, retry(503))) as plane:
        assert plane.call("demo/api", headers=asked).status_code == 500
    assert len(provider.requests) == 1


COUNTED = ("x-retry-count", "x-own-count")


@pytest.mark.parametrize(
    ("name", "value", "calls"),
    [
        ("X-Retry-Count", "1", 1),
        ("x-own-count", "3", 1),
        ("x-retry-count", "0", 3),
        ("x-retry-count", "", 3),
        ("x-retry-count", "soon", 3),
        ("x-retry-count", "-1", 3),
        ("x-other-count", "1", 3),
    ],
)
def test_what_a_client_repeats_by_itself_is_not_repeated_again(
    provider: FakeServer, name: str, value: str, calls: int
) -> None:
    provider.default(respond(503, "native"))
    with DataPlane(_gateway(provider, retry(503, attempts=2, client_count_headers=COUNTED))) as plane:
        response = plane.call("demo/api", headers={name: value})
        assert plane.lua_errors() == 0
    assert (response.status_code, response.text, len(provider.requests)) == (503, "native", calls)
    assert response.headers["x-should-retry"] == "false"
    assert {seen.header(name) for seen in provider.requests} == {value}


def test_without_that_fact_a_clients_count_means_nothing(provider: FakeServer) -> None:
    provider.default(statuses("503,200"))
    with DataPlane(_gateway(provider, retry(503))) as plane:
        assert plane.call("demo/api", headers={"x-retry-count": "1"}).status_code == 200


def test_a_clients_own_repetition_waits_for_nothing(provider: FakeServer) -> None:
    """Its caller hears how long the provider wants it to wait; the body is read for that all the same."""
    provider.default(_refusal("1s"))
    policy = retry(429, body_hint=BodyHint.GOOGLE_RETRY_INFO, client_count_headers=COUNTED)
    with DataPlane(_gateway(provider, policy)) as plane:
        response = plane.call("demo/api", headers={"x-retry-count": "2"})
        assert plane.lua_errors() == 0
    assert (response.status_code, response.headers["retry-after"], len(provider.requests)) == (429, "1", 1)
    assert response.headers["x-should-retry"] == "false"


def test_where_nothing_was_sent_a_clients_repetition_is_as_good_as_a_first_call() -> None:
    policy = retry(503, attempts=2, client_count_headers=COUNTED)
    with DataPlane(gateway(upstream(section(endpoint(free_port()), retry=policy)))) as plane:
        assert plane.call("demo/api", headers={"x-retry-count": "1"}).status_code == 503
        assert plane.cluster_stat("demo/api/default", "upstream_rq_retry") == 2


# Hints


def _date(seconds: float) -> str:
    return format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("header", "value", "format_"),
    [
        ("Retry-After", "1", ResetFormat.RETRY_AFTER),
        ("Retry-After", "1", ResetFormat.SECONDS),
        ("x-reset-ms", "900", ResetFormat.MILLISECONDS),
        ("x-reset", "0.7", ResetFormat.SECONDS),
    ],
)
def test_a_hint_in_a_header_is_waited_for(provider: FakeServer, header: str, value: str, format_: ResetFormat) -> None:
    provider.default(sequence(respond(429, "wait", {header: value}), respond(200)))
    policy = retry(429, reset_headers=(ResetHeader(header, format_),), hint_max=3_000)
    with DataPlane(_gateway(provider, policy)) as plane:
        assert plane.call("demo/api").status_code == 200
        assert plane.lua_errors() == 0
    wanted = float(value) / (1000 if format_ is ResetFormat.MILLISECONDS else 1)
    assert _gap(provider) >= wanted


@pytest.mark.parametrize("format_", [ResetFormat.RETRY_AFTER, ResetFormat.HTTP_DATE, ResetFormat.UNIX_TIMESTAMP])
def test_a_moment_is_waited_for(provider: FakeServer, format_: ResetFormat) -> None:
    """A moment has whole seconds: two of them are at least one and a bit away."""
    moment = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=3)
    unix = format_ is ResetFormat.UNIX_TIMESTAMP
    value = str(int(moment.timestamp())) if unix else format_datetime(moment, usegmt=True)
    provider.default(sequence(respond(429, "wait", {"x-reset": value}), respond(200)))
    policy = retry(429, reset_headers=(ResetHeader("x-reset", format_),), hint_max=10_000)
    with DataPlane(_gateway(provider, policy)) as plane:
        assert plane.call("demo/api").status_code == 200
        assert plane.lua_errors() == 0
    assert time.time() >= moment.timestamp()
    assert len(provider.requests) == 2


@pytest.mark.parametrize("status", [403, 429, 503])
def test_a_window_that_is_told_with_every_answer_is_no_hint_of_a_failure(provider: FakeServer, status: int) -> None:
    """With a refusal for the rate it is waited for, here longer than is allowed; a failure is tried again at once."""
    provider.default(sequence(respond(status, "wait", {"x-ratelimit-reset": "55"}), respond(200)))
    policy = retry(403, 429, 503, reset_headers=(ResetHeader("x-ratelimit-reset", ResetFormat.SECONDS),))
    with DataPlane(_gateway(provider, policy)) as plane:
        assert plane.call("demo/api").status_code == (200 if status == 503 else status)
        assert plane.lua_errors() == 0
    assert len(provider.requests) == (2 if status == 503 else 1)


def test_a_moment_is_read_by_the_providers_clock() -> None:
    """A provider whose clock is an hour ahead asks for a second, not for an hour."""
    head = f"HTTP/1.1 503 Wait\r\ndate: {_date(3600)}\r\nretry-after: {_date(3601)}\r\ncontent-length: 0\r\n"
    with (
        RawServer(raw_bytes(f"{head}connection: close\r\n\r\n".encode()), answer()) as ahead,
        DataPlane(gateway(upstream(section(endpoint(ahead.port), retry=HINTED)))) as plane,
    ):
        started = time.monotonic()
        assert plane.call("demo/api").status_code == 200
        assert time.monotonic() - started >= 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_info_in_a_body_is_waited_for(provider: FakeServer, status: int) -> None:
    provider.default(sequence(_refusal("1.2s", status=status), json_response({"ok": True})))
    policy = retry(429, 503, body_hint=BodyHint.GOOGLE_RETRY_INFO, methods=("GET", "POST"))
    with DataPlane(_gateway(provider, policy)) as plane:
        response = plane.call("demo/api", "/v1beta/models/x:generateContent", "POST", json={"contents": []})
        assert response.json() == {"ok": True}
        assert plane.lua_errors() == 0
    assert _gap(provider) >= 1.2


def test_retry_info_in_a_body_of_unknown_length_is_waited_for(provider: FakeServer) -> None:
    body = json.dumps({"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "1s"}]}}).encode()
    chunked = slow_body([body[:40], body[40:]], 0.05, status=429, headers={"content-type": "application/json"})
    provider.default(sequence(chunked, respond(200)))
    with DataPlane(_gateway(provider, retry(429, body_hint=BodyHint.GOOGLE_RETRY_INFO))) as plane:
        assert plane.call("demo/api").status_code == 200
    assert _gap(provider) >= 1


def _compressed(body: dict[str, object], encoding: str) -> Behaviour:
    data = json.dumps(body).encode()
    packed = gzip.compress(data) if encoding == "gzip" else zlib.compress(data)
    return respond(429, packed, {"content-type": "application/json; charset=UTF-8", "content-encoding": encoding})


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("padding", [0, 20_000])
def test_retry_info_in_a_compressed_body_is_waited_for(provider: FakeServer, encoding: str, padding: int) -> None:
    noise = [random.Random(7).randbytes(30).hex() for _ in range(padding // 60)]
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1s"}
    body: dict[str, object] = {"error": {"code": 429, "message": noise, "details": [info]}}
    provider.default(sequence(_compressed(body, encoding), respond(200)))
    policy = retry(429, body_hint=BodyHint.GOOGLE_RETRY_INFO)
    with DataPlane(_gateway(provider, policy)) as plane:
        assert (
            plane.call("demo/api", headers={"accept-encoding": "zstd, br;q=1.0, GZIP;q=0.8,deflate"}).status_code == 200
        )
        assert plane.lua_errors() == 0
    assert _gap(provider) >= 1
    assert {seen.header("accept-encoding") for seen in provider.requests} == {"GZIP;q=0.8, deflate"}


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
@pytest.mark.parametrize(
    "body", [b"", b"\x1f\x8b", b"\x1f\x8b\x08\x00garbage garbage", gzip.compress(b"0" * 9_000_000)]
)
def test_a_compressed_body_that_cannot_be_read_passes_and_is_repeated(
    provider: FakeServer, encoding: str, body: bytes
) -> None:
    provider.default(respond(429, body, {"content-type": "application/json", "content-encoding": encoding}))
    policy = retry(429, attempts=1, body_hint=BodyHint.GOOGLE_RETRY_INFO)
    with DataPlane(_gateway(provider, policy)) as plane, plane.client.stream("GET", "/demo/api/") as response:
        assert (response.status_code, b"".join(response.iter_raw())) == (429, body)
        assert plane.lua_errors() == 0
    assert len(provider.requests) == 2


@pytest.mark.parametrize("seconds", ["60s", "3.5s"])
def test_a_longer_wait_than_allowed_gives_the_native_answer_at_once(provider: FakeServer, seconds: str) -> None:
    provider.default(_refusal(seconds))
    policy = retry(429, body_hint=BodyHint.GOOGLE_RETRY_INFO, hint_max=3_000)
    with DataPlane(_gateway(provider, policy)) as plane:
        response = plane.call("demo/api")
    assert response.status_code == 429
    assert response.json()["error"]["details"][1]["retryDelay"] == seconds
    assert len(provider.requests) == 1


def test_a_wait_beyond_the_callers_time_gives_the_native_answer_at_once(provider: FakeServer) -> None:
    provider.default(respond(429, "native", {"Retry-After": "2"}))
    with DataPlane(_gateway(provider, HINTED, request=2_500)) as plane:
        response = plane.call("demo/api")
    assert (response.status_code, response.text, response.headers["retry-after"]) == (429, "native", "2")
    assert len(provider.requests) == 1


def test_the_callers_time_counts_from_the_first_attempt(provider: FakeServer) -> None:
    """One wait of a second (up to 1.5) fits into four; after it a second one of two (up to 3) does not."""
    provider.default(
        sequence(respond(429, "", {"Retry-After": "1"}), respond(429, "second", {"Retry-After": "2"}), respond(200))
    )
    with DataPlane(_gateway(provider, HINTED, request=4_000)) as plane:
        response = plane.call("demo/api")
    assert (response.status_code, response.text, len(provider.requests)) == (429, "second", 2)


def test_with_back_off_a_longer_wait_is_not_honoured_but_repeated(provider: FakeServer) -> None:
    provider.default(sequence(respond(429, "", {"Retry-After": "60"}), respond(200)))
    policy = retry(429, reset_headers=(RETRY_AFTER,), hint_max=3_000, on_exceed=OnExceed.BACK_OFF)
    with DataPlane(_gateway(provider, policy)) as plane:
        assert plane.call("demo/api").status_code == 200
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    "value", ["soon", "-1", "0", "", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT"]
)
def test_without_a_hint_that_means_anything_there_is_ordinary_back_off(provider: FakeServer, value: str) -> None:
    provider.default(sequence(respond(429, "", {"Retry-After": value}), respond(200)))
    with DataPlane(_gateway(provider, HINTED)) as plane:
        assert plane.call("demo/api").status_code == 200
        assert plane.lua_errors() == 0
        assert plane.cluster_stat("demo/api/default", "upstream_rq_retry_backoff_exponential") == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"error": {"details": []}}',
        b'{"error": {"details": [{"@type": "google.rpc.RetryInfo", "retryDelay": "-3s"}]}}',
        b'{"error": "google.rpc.RetryInfo"',
    ],
)
def test_a_body_without_a_hint_passes_and_is_repeated(provider: FakeServer, body: bytes) -> None:
    provider.default(respond(429, body, {"content-type": "application/json"}))
    policy = retry(429, attempts=1, body_hint=BodyHint.GOOGLE_RETRY_INFO)
    with DataPlane(_gateway(provider, policy)) as plane:
        response = plane.call("demo/api")
        assert plane.lua_errors() == 0
    assert (response.status_code, response.content, len(provider.requests)) == (429, body, 2)


def test_a_large_refusal_passes_unread_and_whole(provider: FakeServer) -> None:
    body = json.dumps({"error": {"message": "x" * 3_000_000}}).encode()
    provider.default(respond(429, body, {"content-type": "application/json"}))
    policy = retry(429, attempts=1, body_hint=BodyHint.GOOGLE_RETRY_INFO)
    with DataPlane(_gateway(provider, policy)) as plane:
        response = plane.call("demo/api")
        assert plane.lua_errors() == 0
    assert (response.status_code, response.content) == (429, body)
    assert len(provider.requests) == 2


# Failures without an answer


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_connect_failures_are_repeated_for_every_method(method: str) -> None:
    dead = endpoint(free_port())
    policy = retry(503, attempts=2)
    with DataPlane(gateway(upstream(section(dead, retry=policy)))) as plane:
        assert plane.call("demo/api", method=method).status_code == 503
        assert plane.cluster_stat("demo/api/default", "upstream_rq_retry") == 2


@pytest.mark.parametrize(("method", "attempts"), [("GET", 3), ("POST", 1)])
def test_a_reset_is_repeated_for_allowed_methods_only(method: str, attempts: int) -> None:
    triggers = (RetryTrigger.CONNECT_FAILURE, RetryTrigger.RESET)
    policy = retry(503, attempts=2, triggers=triggers)
    with (
        RawServer(reset_after_request()) as broken,
        DataPlane(gateway(upstream(section(endpoint(broken.port), retry=policy)))) as plane,
    ):
        assert plane.call("demo/api", method=method).status_code == 503
        assert plane.cluster_stat("demo/api/default", "upstream_rq_total") == attempts


# Bodies


def test_a_request_body_is_sent_again(provider: FakeServer) -> None:
    provider.default(statuses("503,503,200"))
    body = b"x" * 500_000
    with DataPlane(_gateway(provider, retry(503, methods=("PUT",)))) as plane:
        assert plane.call("demo/api", method="PUT", content=body).status_code == 200
    assert [seen.body_length for seen in provider.requests] == [len(body)] * 3


@pytest.mark.parametrize("status", [200, 503])
def test_a_body_too_large_to_be_kept_is_sent_once_and_arrives(provider: FakeServer, status: int) -> None:
    provider.default(respond(status, "native"))
    body = b"x" * (4 << 20)
    with DataPlane(_gateway(provider, retry(503, methods=("PUT",)))) as plane:
        response = plane.call("demo/api", method="PUT", content=body)
        assert plane.lua_errors() == 0
    assert (response.status_code, response.text) == (status, "native")
    assert [seen.body_length for seen in provider.requests] == [len(body)]


# Bounds


def test_the_route_timeout_bounds_all_attempts(provider: FakeServer) -> None:
    provider.default(respond(503))
    policy = retry(503, attempts=50, back_off_base=200, back_off_max=200)
    with DataPlane(_gateway(provider, policy, request=1_000)) as plane:
        response = plane.call("demo/api")
    assert response.status_code in (503, 504)
    assert len(provider.requests) < 50


def test_a_changed_policy_leaves_the_cluster_alone(provider: FakeServer) -> None:
    provider.default(respond(503))
    with DataPlane(_gateway(provider, retry(503, attempts=1))) as plane:
        plane.call("demo/api")
        plane.update(_gateway(provider, retry(503, attempts=4)))
        plane.call("demo/api")
        assert plane.stat("cluster_manager.cluster_modified") == 0
    assert len(provider.requests) == 2 + 5


def test_sections_of_one_upstream_retry_each_by_their_own_policy(provider: FakeServer) -> None:
    provider.default(respond(503))
    eager = section(endpoint(provider.port), key="demo/api/eager", retry=retry(503, attempts=3))
    plain = section(endpoint(provider.port), key="demo/api/default")
    with DataPlane(gateway(upstream(eager, plain, routes=[to("eager", "/v1")]))) as plane:
        responses = {path: plane.call("demo/api", path) for path in ("/v1/x", "/v2/x")}
    paths = [seen.raw_path for seen in provider.requests]
    assert (paths.count(b"/v1/x"), paths.count(b"/v2/x")) == (4, 1)
    assert "x-should-retry" not in responses["/v2/x"].headers
    for seen in provider.requests:
        assert not [name for name, _ in seen.headers if name.startswith(("x-hg-", "x-envoy-"))]
