"""Credentials: from SDS into header, query and cookie, instead of whatever the caller sent; rotated live."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from harness.dataplane import DataPlane
from harness.plans import endpoint, gateway, opaque, retry, section, upstream
from headgate.envoy.metadata import URL_HEADERS
from headgate.model.plan import Credential, CredentialPlace, Gateway
from headgate.simulate.behaviours import respond, statuses
from headgate.simulate.recording import RecordedRequest
from headgate.simulate.server import FakeServer

HEADER = Credential("token", "demo/keys#token", CredentialPlace.HEADER, "Authorization", "Bearer ")
BARE = Credential("bare", "demo/keys#token", CredentialPlace.HEADER, "x-api-key")
QUERY = Credential("query", "demo/keys#token", CredentialPlace.QUERY, "key")
COOKIE = Credential("cookie", "demo/keys#token", CredentialPlace.COOKIE, "session")
#: Bytes that would end a parameter, or be read as an escape, if they were not encoded.
AWKWARD = "a&b=c %41/+é"


def _gateway(provider: FakeServer, *credentials: Credential, value: str | None = "s3cret") -> Gateway:
    secrets = [] if value is None else [opaque("demo/keys#token", value)]
    tried_again = section(
        endpoint(provider.port), key="demo/again/default", credentials=credentials, retry=retry(503, attempts=3)
    )
    return gateway(
        upstream(section(endpoint(provider.port), credentials=credentials)), upstream(tried_again), secrets=secrets
    )


def test_a_header_credential_replaces_the_callers(provider: FakeServer) -> None:
    with DataPlane(_gateway(provider, HEADER, BARE)) as plane:
        plane.call("demo/api", headers=[("Authorization", "Bearer mine"), ("AUTHORIZATION", "x"), ("X-Api-Key", "y")])
    (seen,) = provider.requests
    assert seen.header_values("authorization") == ["Bearer s3cret"]
    assert seen.header_values("x-api-key") == ["s3cret"]
    assert not [name for name, _ in seen.headers if name.startswith(("x-hg-", "x-headgate-", "x-envoy-"))]


@pytest.mark.parametrize("upstream_key", ["demo/api", "demo/again"])
@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ("", b"key=s3cret"),
        ("?", b"key=s3cret"),
        ("?key=mine", b"key=s3cret"),
        ("?key=mine&key=again&a=1", b"a=1&key=s3cret"),
        ("?k%65y=hidden&a=1", b"a=1&key=s3cret"),
        ("?key", b"key=s3cret"),
        ("?keys=kept&monkey=kept", b"keys=kept&monkey=kept&key=s3cret"),
        ("?z=1&b&a=%2F%20+y&u=%C3%A9&&e=a=b&$x", b"z=1&b&a=%2F%20+y&u=%C3%A9&&e=a=b&$x&key=s3cret"),
        ("?a=%26admin%3d1&b=%0d%0aX:1", b"a=%26admin%3d1&b=%0d%0aX:1&key=s3cret"),
    ],
)
def test_a_query_credential_leaves_the_rest_of_the_query_as_it_was(
    query_plane: DataPlane, query_provider: FakeServer, upstream_key: str, sent: str, arrived: bytes
) -> None:
    before = len(query_provider.requests)
    response = query_plane.client.build_request("GET", f"/{upstream_key}/path")
    # httpx would tidy the query up: the target is set as bytes.
    response.extensions["target"] = f"/{upstream_key}/path{sent}".encode()
    assert query_plane.client.send(response).status_code == 200
    seen = query_provider.requests[before]
    assert (seen.raw_path, seen.query) == (b"/path", arrived)
    assert query_plane.lua_errors() == 0


@pytest.mark.parametrize("upstream_key", ["demo/api", "demo/again"])
@pytest.mark.parametrize("name", URL_HEADERS)
@pytest.mark.parametrize(
    ("given", "handed_on"),
    [
        ("https://elsewhere.example/new?a=1&key=s3cret&b=2#end", "https://elsewhere.example/new?a=1&b=2#end"),
        ("https://elsewhere.example/new?key=s3cret", "https://elsewhere.example/new"),
        ("next?k%65y=s3cre%74", "next"),
        ("?key=s3cret&key=another", "?key=another"),
        ("https://elsewhere.example/new?key=another&a=%2f", "https://elsewhere.example/new?key=another&a=%2f"),
        ("https://elsewhere.example/key=s3cret", "https://elsewhere.example/key=s3cret"),
    ],
)
def test_a_redirect_that_repeats_the_query_does_not_show_the_credential(
    query_plane: DataPlane, query_provider: FakeServer, upstream_key: str, name: str, given: str, handed_on: str
) -> None:
    query_provider.next(respond(307, "", {name: given}))
    assert query_plane.call(upstream_key, "/old?a=1").headers[name] == handed_on
    assert query_plane.lua_errors() == 0


@pytest.fixture(scope="module")
def query_provider() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="module")
def query_plane(query_provider: FakeServer) -> Iterator[DataPlane]:
    with DataPlane(_gateway(query_provider, QUERY)) as running:
        yield running


def test_values_are_encoded_for_a_query_and_put_as_they_are_elsewhere(provider: FakeServer) -> None:
    with DataPlane(_gateway(provider, BARE, QUERY, COOKIE, value=AWKWARD)) as plane:
        assert plane.call("demo/api").status_code == 200
    (seen,) = provider.requests
    assert seen.query == b"key=a%26b%3Dc%20%2541%2F%2B%C3%A9"
    as_sent = AWKWARD.encode().decode("latin-1")
    assert seen.header("x-api-key") == as_sent
    assert seen.header("cookie") == f"session={as_sent}"


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ([], "session=s3cret"),
        (["a=1; b=2"], "a=1; b=2; session=s3cret"),
        (["session=mine; a=1"], "a=1; session=s3cret"),
        (["a=1", "session=mine", "b=2"], "a=1; b=2; session=s3cret"),
        (["sessions=kept;session=mine; session = mine"], "sessions=kept; session=s3cret"),
    ],
)
def test_a_cookie_credential_is_the_only_one_of_its_name(provider: FakeServer, sent: list[str], arrived: str) -> None:
    with DataPlane(_gateway(provider, COOKIE)) as plane:
        plane.call("demo/api", headers=[("cookie", value) for value in sent])
        assert plane.lua_errors() == 0
    assert provider.requests[0].header_values("cookie") == [arrived]


STRIPPING = {"strip_query": ("key", "access_token"), "strip_cookies": ("session", "sid")}


@pytest.fixture(scope="module")
def strip_plane(query_provider: FakeServer) -> Iterator[DataPlane]:
    stripped = section(endpoint(query_provider.port), key="demo/strip/default", base_path="/base", **STRIPPING)
    with DataPlane(gateway(upstream(stripped))) as running:
        yield running


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        ("/p?key=mine", "/p"),
        ("/p?a=1&key=mine&b=%2F+%20&&c", "/p?a=1&b=%2F+%20&&c"),
        ("/p?k%65y=mine&%61ccess_token=mine&key", "/p"),
        ("/p?keys=1&Key=2&x=key=3", "/p?keys=1&Key=2&x=key=3"),
        ("/p?", "/p?"),
        ("/p", "/p"),
        ("/key=mine", "/key=mine"),
    ],
)
def test_a_callers_own_query_credentials_never_pass(
    strip_plane: DataPlane, query_provider: FakeServer, sent: str, arrived: str
) -> None:
    before = len(query_provider.requests)
    request = strip_plane.client.build_request("GET", "/")
    request.extensions["target"] = f"/demo/strip{sent}".encode()
    assert strip_plane.client.send(request).status_code == 200
    assert query_provider.requests[before].target.decode() == f"/base{arrived}".removesuffix("?")
    assert strip_plane.lua_errors() == 0


@pytest.mark.parametrize(
    ("sent", "arrived"),
    [
        (["session=mine"], []),
        (["a=1; session=mine;sid=2 ; b=2"], ["a=1; b=2"]),
        (["a=1", "sid=mine", "b=2"], ["a=1; b=2"]),
        (["sessions=1; SID=2"], ["sessions=1; SID=2"]),
    ],
)
def test_a_callers_own_cookie_credentials_never_pass(
    strip_plane: DataPlane, query_provider: FakeServer, sent: list[str], arrived: list[str]
) -> None:
    before = len(query_provider.requests)
    strip_plane.call("demo/strip", headers=[("cookie", value) for value in sent])
    assert query_provider.requests[before].header_values("cookie") == arrived


def test_every_attempt_carries_each_credential_once(provider: FakeServer) -> None:
    provider.default(statuses("503,503,503,200"))
    with DataPlane(_gateway(provider, HEADER, QUERY, COOKIE)) as plane:
        assert plane.call("demo/again", "/x?a=1", headers={"cookie": "b=2"}).status_code == 200
    assert len(provider.requests) == 4
    for seen in provider.requests:
        assert seen.query == b"a=1&key=s3cret"
        assert seen.header_values("cookie") == ["b=2; session=s3cret"]
        assert seen.header_values("authorization") == ["Bearer s3cret"]


def test_a_missing_secret_fails_closed_and_alone(provider: FakeServer) -> None:
    """Nobody's call leaves without its credential, or with the caller's; other upstreams don't notice."""
    lacking = section(
        endpoint(provider.port), key="demo/lacking/default", credentials=(replace(HEADER, secret="demo/absent"),)
    )
    whole = _gateway(provider, BARE)
    with DataPlane(gateway(*whole.upstreams.values(), upstream(lacking), secrets=whole.secrets.values())) as plane:
        response = plane.call("demo/lacking", headers={"authorization": "Bearer mine"})
        assert response.status_code in (401, 503)
        assert not provider.requests
        assert plane.call("demo/api").status_code == 200
        plane.update(
            gateway(
                *plane.gateway.upstreams.values(),
                secrets=[*plane.gateway.secrets.values(), opaque("demo/absent", "there")],
            )
        )
        plane.wait_until(lambda: plane.call("demo/lacking").status_code == 200, "the secret to be used")
    assert provider.requests[-1].header("authorization") == "Bearer there"


def _with_token(value: str) -> Callable[[RecordedRequest], bool]:
    return lambda seen: seen.header("authorization") == value


@contextmanager
def _steady_calls(plane: DataPlane) -> Iterator[list[int]]:
    """Calls without pause from four threads meanwhile; the statuses."""
    answers: list[int] = []
    stopping = threading.Event()

    def run() -> None:
        while not stopping.is_set():
            answers.append(plane.call("demo/api", "/steady").status_code)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stopping.set()
        for thread in threads:
            thread.join()


def test_rotation_reaches_every_place_without_a_failed_call(provider: FakeServer) -> None:
    with DataPlane(_gateway(provider, HEADER, QUERY, COOKIE)) as plane:
        with _steady_calls(plane) as answers:
            for revision in range(5):
                plane.update(_gateway(provider, HEADER, QUERY, COOKIE, value=f"r{revision}"))
                wanted = f"Bearer r{revision}"
                provider.wait_for(1, where=_with_token(wanted))
        assert set(answers) == {200}
        assert plane.stat("cluster_manager.cluster_modified") == 0
        assert plane.memo.rendered == 2
    for seen in provider.requests:
        value = (seen.header("authorization") or "").removeprefix("Bearer ")
        assert value.startswith(("s3cret", "r"))
    last = provider.requests[-1]
    assert last.header("authorization") == "Bearer r4"
    assert last.query == b"key=r4"
    assert last.header("cookie") == "session=r4"
