"""Calls that are too large for the provider: refused by the gateway, at once, in words, and counted nowhere."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from harness.bench import Bench, ReportingPlane, error_of
from harness.http import Pairs, RawResponse, raw_request
from harness.plans import endpoint, retry
from headgate.model.answers import StatusRange
from headgate.model.plan import Breaker, Credential, CredentialPlace, Limit
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer

BODY, HEAD = 1_000_000, 16_384


@pytest.fixture
def provider() -> Iterator[FakeServer]:
    with FakeServer(default=respond(200, "fine")) as server:
        yield server


def _bounded(bench: Bench, provider: FakeServer, **changes: Any) -> str:
    values: dict[str, Any] = {"max_request_body": BODY, "max_request_head": HEAD}
    return bench.serve(bench.section(endpoint(provider.port), **(values | changes)))


def _raw(
    plane: ReportingPlane, key: str, target: str, headers: Pairs = (), *, host_form: bool = False, **arguments: Any
) -> RawResponse:
    namespace, name = key.split("/")
    host, path = (f"{name}.{namespace}", target) if host_form else ("localhost", f"/{key}{target}")
    return raw_request(("127.0.0.1", plane.port), path.encode(), host=host, headers=headers, **arguments)


def _error(response: RawResponse) -> dict[str, Any]:
    assert response.header("x-should-retry") == "false"
    assert response.header("retry-after") is None
    error: dict[str, Any] = json.loads(response.body)["error"]
    return error


# Bodies


@pytest.mark.parametrize("size", [BODY + 1, 30 << 20])
def test_a_body_that_is_declared_too_long_is_refused(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, size: int
) -> None:
    """A client that only reads when all is sent gets the answer all the same."""
    key = _bounded(bench, provider)
    response = plane.call(key, "/x", "POST", content=b"x" * size)
    error = error_of(response)
    assert (response.status_code, error["code"]) == (413, "BodyTooLarge")
    assert (error["bytes"], error["limit"], error["section"]) == (size, BODY, f"{key}/default")
    assert str(size) in error["message"]
    assert str(BODY) in error["message"]
    assert response.headers["x-should-retry"] == "false"
    assert not provider.requests


def test_a_refusal_waits_for_no_byte_of_the_body(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = _bounded(bench, provider)
    head = f"PUT /{key}/x HTTP/1.1\r\nhost: localhost\r\ncontent-length: {BODY + 1}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", plane.port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert not provider.requests


def test_a_body_as_long_as_allowed_passes(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    assert plane.call(_bounded(bench, provider), "/x", "POST", content=b"x" * BODY).status_code == 200
    assert provider.requests[0].body_length == BODY


def test_a_body_of_undeclared_length_passes(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    pieces = (b"x" * 100_000 for _ in range(30))
    assert plane.call(_bounded(bench, provider), "/x", "POST", content=pieces).status_code == 200
    assert provider.requests[0].body_length == 3_000_000


def test_without_a_bound_there_is_none(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = _bounded(bench, provider, max_request_body=None, max_request_head=None)
    assert plane.call(key, "/x", "POST", content=b"x" * (3 * BODY)).status_code == 200
    assert _raw(plane, key, f"/{'x' * 20_000}").status == 200


def test_no_body_at_all_passes_a_bound_of_nothing(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = _bounded(bench, provider, max_request_body=0)
    assert plane.call(key, "/x").status_code == 200
    assert plane.call(key, "/x", "POST", content=b"1").status_code == 413


# Heads


def _written(target: str, headers: Pairs) -> int:
    """As the bound counts it: the target, and each header with four bytes more than its name and value."""
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers)


@pytest.mark.parametrize("host_form", [False, True], ids=["path", "host"])
@pytest.mark.parametrize("more", [0, 1])
def test_the_bound_of_a_head_is_exact(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, more: int, *, host_form: bool
) -> None:
    key = _bounded(bench, provider)
    namespace, name = key.split("/")
    target = "/rest/v1/t?select=" + "a" * 5_000
    written, host = (target, f"{name}.{namespace}") if host_form else (f"/{key}{target}", "localhost")
    headers = [("x-a", "b" * 1_000), ("x-a", "c" * 10), ("X-Long", "")]
    # `connection` is between the caller and the gateway, and not counted.
    missing = HEAD + more - _written(written, [("host", host), *headers])
    headers[-1] = ("X-Long", "d" * missing)
    response = _raw(plane, key, target, headers, host_form=host_form)
    if not more:
        assert response.status == 200
        return
    error = _error(response)
    assert (response.status, error["code"]) == (431, "HeadTooLarge")
    assert (error["bytes"], error["limit"]) == (HEAD + 1, HEAD)
    assert not provider.requests


def test_a_target_that_is_too_long_by_itself_is_told_apart(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    key = _bounded(bench, provider)
    filler = HEAD - len(f"/{key}/?in=")
    assert _raw(plane, key, "/?in=" + "1" * filler).status == 431
    response = _raw(plane, key, "/?in=" + "1" * (filler + 1))
    error = _error(response)
    assert (response.status, error["code"], error["bytes"]) == (414, "UriTooLong", HEAD + 1)
    assert not provider.requests


def test_what_is_taken_away_counts_too(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """The bound is of what the caller wrote, and so the same whatever the section removes or puts in."""
    key = _bounded(bench, provider, strip_query=("key",), strip_request_headers=("x-key",))
    assert _raw(plane, key, "/?key=" + "1" * HEAD).status == 414
    assert _raw(plane, key, "/", [("x-key", "1" * HEAD)]).status == 431
    assert _raw(plane, key, "/").status == 200


def test_over_http2_too(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = _bounded(bench, provider, max_request_body=10)
    with httpx.Client(http1=False, http2=True, trust_env=False, timeout=10) as client:
        url = f"http://127.0.0.1:{plane.port}/{key}/x"
        assert client.get(url, headers={"x-long": "1" * HEAD}).status_code == 431
        assert client.post(url, content=b"x" * 11).status_code == 413
        assert client.get(url).status_code == 200
    assert len(provider.requests) == 1


# Neither counts


def test_refusals_for_size_cost_no_limit_and_open_no_breaker(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    broken = Breaker(2, None, (StatusRange(400, 599),), 60_000, 60_000, 1)
    section = bench.section(endpoint(provider.port), max_request_body=10, max_request_head=1_000, breaker=broken)
    key = bench.serve(
        bench.section(
            endpoint(provider.port), upstream=section.id.rpartition("/")[0], breaker=broken, retry=retry(503),
            max_request_body=10, max_request_head=1_000, limits=(Limit(f"one@{section.id}", 1, 600_000, 1),),
        )
    )  # fmt: skip
    for _ in range(5):
        assert plane.call(key, "/x", "POST", content=b"x" * 11).status_code == 413
        assert plane.call(key, "/" + "x" * 1_000).status_code == 414
        assert plane.call(key, "/x", headers={"x-long": "x" * 1_000}).status_code == 431
    assert plane.call(key, "/x").status_code == 200
    assert plane.call(key, "/x").status_code == 429
    assert len(provider.requests) == 1


def test_an_edit_of_a_bound_is_in_force_at_once(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    section = bench.section(endpoint(provider.port), max_request_body=10)
    key = bench.serve(section)
    assert plane.call(key, "/x", "POST", content=b"x" * 11).status_code == 413
    bench.serve(bench.section(endpoint(provider.port), upstream=key, max_request_body=11))
    assert plane.call(key, "/x", "POST", content=b"x" * 11).status_code == 200


def test_a_caller_too_large_gets_no_credential_to_the_provider(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    """Where the secret is missing the size is still what is said: nothing of the call goes further."""
    token = Credential("token", "demo/absent", CredentialPlace.HEADER, "authorization", "Bearer ")
    key = _bounded(bench, provider, credentials=(token,))
    assert plane.call(key, "/x", "POST", content=b"x" * (BODY + 1)).status_code == 413
