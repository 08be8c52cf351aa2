"""Large bodies in both directions: streamed, whole, in bounded memory."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator

import httpx
import pytest

from harness.dataplane import DataPlane
from harness.pki import Authority
from harness.plans import endpoint, gateway, retry, roots, section, tls, upstream
from headgate.model.answers import BodyHint
from headgate.model.plan import Timeouts
from headgate.simulate.behaviours import Gate, large_body, pattern_sha256, respond
from headgate.simulate.server import FakeServer

SIZE = 50 << 20
CHUNK = b"0123456789abcdef" * 4096
POLICY = retry(429, 503, body_hint=BodyHint.GOOGLE_RETRY_INFO, methods=("GET", "POST", "PUT"))
TIMEOUTS = Timeouts(request=0, connect=2_000, stream_idle=10_000)
#: What a gateway may grow by while such a body passes: buffers, not the body.
GROWTH = 30 << 20


@pytest.fixture(params=["http1", "h2"])
def provider(request: pytest.FixtureRequest) -> Iterator[tuple[FakeServer, DataPlane]]:
    authority = Authority()
    secured = request.param == "h2"
    with FakeServer(tls=authority.server("127.0.0.1") if secured else None) as server:
        to_provider = section(endpoint(server.port), retry=POLICY, timeouts=TIMEOUTS, tls=tls() if secured else None)
        with DataPlane(gateway(upstream(to_provider), secrets=[roots(authority.pem)])) as plane:
            yield server, plane


def _chunks() -> Iterator[bytes]:
    for _ in range(SIZE // len(CHUNK)):
        yield CHUNK


def _digest() -> str:
    digest = hashlib.sha256()
    for chunk in _chunks():
        digest.update(chunk)
    return digest.hexdigest()


@pytest.mark.parametrize("length_known", [True, False])
def test_an_upload_of_50_mb_arrives_whole(provider: tuple[FakeServer, DataPlane], length_known: bool) -> None:
    server, plane = provider
    plane.call("demo/api", "/warm")
    before = plane.envoy.resident_bytes()
    headers = {"content-length": str(SIZE)} if length_known else {}
    response = plane.call("demo/api", "/upload", "POST", content=_chunks(), headers=headers)
    assert response.status_code == 200
    seen = server.requests[-1]
    assert (seen.body_length, seen.body_sha256) == (SIZE, _digest())
    assert plane.envoy.resident_bytes() - before < GROWTH
    assert plane.lua_errors() == 0


def test_a_download_of_50_mb_arrives_whole(provider: tuple[FakeServer, DataPlane]) -> None:
    server, plane = provider
    server.default(large_body(SIZE))
    before = plane.envoy.resident_bytes()
    digest = hashlib.sha256()
    with plane.client.stream("GET", "/demo/api/download") as response:
        for piece in response.iter_raw():
            digest.update(piece)
    assert digest.hexdigest() == pattern_sha256(SIZE)
    assert plane.envoy.resident_bytes() - before < GROWTH


def test_the_provider_reads_while_the_caller_still_sends(provider: tuple[FakeServer, DataPlane]) -> None:
    """The caller sends its second half only when the provider has the first."""
    server, plane = provider
    half = CHUNK * 40  # Beyond what is kept for another attempt.

    def body() -> Iterator[bytes]:
        yield half
        server.wait_for(1, where=lambda seen: seen.body_length >= len(half))
        yield half

    assert plane.call("demo/api", "/upload", "PUT", content=body()).status_code == 200
    assert server.requests[-1].body_length == 2 * len(half)


def test_an_answer_before_the_body_is_through_reaches_the_caller(provider: tuple[FakeServer, DataPlane]) -> None:
    server, plane = provider
    server.default(respond(413, "too much", read_body=False))
    response = plane.call("demo/api", "/upload", "POST", content=CHUNK * 4)
    assert (response.status_code, response.text) == (413, "too much")


def test_a_slow_reader_holds_up_only_itself(provider: tuple[FakeServer, DataPlane]) -> None:
    server, plane = provider
    server.on("/download", large_body(SIZE))
    before = plane.envoy.resident_bytes()
    with plane.client.stream("GET", "/demo/api/download") as response:
        pieces = response.iter_raw()
        next(pieces)
        assert {plane.call("demo/api", "/other").status_code for _ in range(50)} == {200}
        assert plane.envoy.resident_bytes() - before < GROWTH
        assert sum(len(piece) for piece in pieces) > SIZE // 2


def test_an_upload_that_the_caller_breaks_off_ends_at_the_provider(provider: tuple[FakeServer, DataPlane]) -> None:
    server, plane = provider
    gate, started = Gate(), threading.Event()
    server.default(gate)

    def body() -> Iterator[bytes]:
        yield CHUNK
        server.wait_for(1, where=lambda seen: seen.body_length >= len(CHUNK))
        started.set()
        raise ConnectionAbortedError

    with pytest.raises((ConnectionAbortedError, httpx.HTTPError)):
        plane.call("demo/api", "/upload", "POST", content=body())
    assert started.is_set()
    server.wait_for(1, where=lambda seen: seen.disconnected)
