"""What comes back through the gateway: URLs rewritten, internal headers gone, Envoy's own errors in one shape, and the
provider's answers otherwise as they were written.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from fakes import rawserver
from fakes.rawserver import RawServer
from harness.bench import Bench, ReportingPlane, error_of
from harness.pki import Authority
from harness.plans import ROOTS, endpoint, gateway, roots, tls, upstream
from harness.ports import free_port
from headgate.envoy.metadata import URL_HEADERS
from headgate.model.plan import Ceilings, Credential, CredentialPlace, Timeouts
from headgate.simulate.behaviours import Gate, echo, hang, respond
from headgate.simulate.server import FakeServer


@pytest.fixture(scope="module")
def plane() -> Iterator[ReportingPlane]:
    with ReportingPlane(gateway()) as running:
        yield running


@pytest.fixture(scope="module")
def bench(plane: ReportingPlane) -> Iterator[Bench]:
    yield Bench(plane)
    assert plane.lua_errors() == 0, plane.envoy.log()


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


# ---------------------------------------------------------------------- URLs

AUTHORITIES = ("api.example.com", "uploads.example.com:8443")


def _same(url: str) -> tuple[str, str, str]:
    return url, url, url


#: The provider's URL, then what the caller reads in path form (P stands for `/namespace/name`) and in host form.
URLS: dict[str, tuple[str, str, str]] = {
    "own": ("https://api.example.com/base/v1/x?y=1#z", "http://GP/v1/x?y=1#z", "http://H/v1/x?y=1#z"),
    "own-http": ("http://api.example.com/base/x", "http://GP/x", "http://H/x"),
    "own-upper-case": ("HTTPS://API.Example.com/base/x", "http://GP/x", "http://H/x"),
    "own-default-port": ("http://api.example.com:80/base/x", "http://GP/x", "http://H/x"),
    "own-other-authority": ("https://uploads.example.com:8443/base/u", "http://GP/u", "http://H/u"),
    "own-base-only": ("https://api.example.com/base", "http://GP/", "http://H/"),
    "own-base-and-query": ("https://api.example.com/base?a=1", "http://GP/?a=1", "http://H/?a=1"),
    "own-without-scheme": ("//api.example.com/base/x", "http://GP/x", "http://H/x"),
    "own-beside-the-base": _same("https://api.example.com/basement/x"),
    "own-elsewhere": _same("https://api.example.com/other"),
    "own-other-port": _same("https://api.example.com:444/base/x"),
    "other-host": _same("https://evil.example.net/base/x"),
    "own-name-as-userinfo": _same("https://api.example.com@evil.net/base/"),
    "own-name-as-prefix": _same("https://api.example.com.evil.net/base/"),
    "path": ("/base/v1/x?y", "P/v1/x?y", "/v1/x?y"),
    "path-beside-the-base": ("/other/x", "http://api.example.com/other/x", "http://api.example.com/other/x"),
    "relative": ("x/y?z", "x/y?z", "x/y?z"),
    "another-scheme": _same("mailto:a@api.example.com"),
}


@pytest.fixture(scope="module")
def rewriting(bench: Bench, provider: FakeServer) -> str:
    return bench.serve(upstream(bench.section(endpoint(provider.port), base_path="/base"), authorities=AUTHORITIES))


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("name", ["location", "x-goog-upload-url"])
def test_urls_of_the_provider_become_the_gateways(
    plane: ReportingPlane, provider: FakeServer, rewriting: str, url: str, name: str
) -> None:
    given, by_path, by_host = URLS[url]
    provider.default(respond(201, "made", {name: given}))
    own = f"127.0.0.1:{plane.port}"
    answer = plane.call(rewriting, "/x")
    assert answer.headers[name] == by_path.replace("G", own).replace("P", f"/{rewriting}")
    namespace, upstream_name = rewriting.split("/")
    host = f"{upstream_name}.{namespace}.svc:8080"
    answer = plane.client.get("/x", headers={"host": host})
    assert answer.headers[name] == by_host.replace("H", host)


def test_every_listed_header_is_rewritten_and_no_other(
    plane: ReportingPlane, provider: FakeServer, rewriting: str
) -> None:
    given = "https://api.example.com/base/x"
    provider.default(respond(200, given, dict.fromkeys((*URL_HEADERS, "link", "x-other"), given)))
    answer = plane.call(rewriting)
    for name in URL_HEADERS:
        assert answer.headers[name] == f"http://127.0.0.1:{plane.port}/{rewriting}/x"
    assert (answer.headers["link"], answer.headers["x-other"], answer.text) == (given, given, given)


def test_a_redirect_leads_back_through_the_gateway(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """A client that follows redirects never leaves it."""
    key = bench.serve(upstream(bench.section(endpoint(provider.port)), authorities=(f"127.0.0.1:{provider.port}",)))
    provider.on("/old", respond(307, "", {"location": f"http://127.0.0.1:{provider.port}/new?a=1"}))
    provider.on("/new", echo())
    answer = plane.call(key, "/old", follow_redirects=True)
    assert answer.json()["raw_path"] == "/new"
    assert str(answer.url) == f"http://127.0.0.1:{plane.port}/{key}/new?a=1"


# ---------------------------------------------------------------------- headers


def test_internal_headers_of_a_provider_never_reach_a_caller(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    internal = {
        "x-envoy-upstream-service-time": "1",
        "x-envoy-overloaded": "true",
        "x-headgate-scope": "a/b",
        "x-hg-local": "UF|connection_timeout|",
        "x-hg-retry": "1",
    }
    own = {"server": "theirs", "x-own": "1", "set-cookie": "a=b", "retry-after": "5", "via": "1.1 cdn"}
    provider.default(respond(503, "native", internal | own))
    key = bench.serve(bench.section(endpoint(provider.port)))
    answer = plane.call(key)
    assert (answer.status_code, answer.text) == (503, "native")
    assert not internal.keys() & answer.headers.keys()
    assert "x-should-retry" not in answer.headers
    for name, value in own.items():
        if name != "server":  # hypercorn writes its own
            assert answer.headers[name] == value


def test_our_answers_are_told_apart(plane: ReportingPlane) -> None:
    answer = plane.client.get("/no/such/thing")
    assert answer.headers["server"] == "headgate"
    assert answer.headers["x-should-retry"] == "false"
    assert not [name for name in answer.headers if name.startswith(("x-envoy", "x-hg", "x-headgate"))]


# ---------------------------------------------------------------------- Envoy's own errors


def test_no_endpoint(plane: ReportingPlane, bench: Bench) -> None:
    key = bench.serve(bench.section(endpoint(443, "no-such-name.invalid")))
    answer = plane.call(key)
    assert (answer.status_code, error_of(answer)["code"]) == (503, "NoHealthyEndpoint")
    assert "does not resolve" in error_of(answer)["message"]


def test_a_refused_address(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = bench.serve(bench.section(endpoint(provider.port), allowed_cidrs=()))
    answer = plane.call(key)
    assert (answer.status_code, error_of(answer)["code"]) == (403, "AddressRefused")


def test_a_missing_credential(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    credential = Credential("key", "test/never-there", CredentialPlace.HEADER, "x-api-key")
    section = bench.section(endpoint(provider.port), credentials=(credential,))
    bench.upstreams[section.id.rpartition("/")[0]] = upstream(section)
    try:
        served = gateway(*bench.upstreams.values())
        plane.update(served, wait=False)
        key = section.id.rpartition("/")[0]
        plane.wait_until(lambda: plane.call(key).status_code != 404, "the route")
        answer = plane.call(key)
        assert (answer.status_code, error_of(answer)["code"]) == (401, "CredentialMissing")
    finally:
        bench.withdraw(key)


def test_a_timeout(plane: ReportingPlane, bench: Bench) -> None:
    with FakeServer(default=hang()) as silent:
        timeouts = Timeouts(request=200, connect=1_000, stream_idle=60_000)
        section = bench.section(endpoint(silent.port), timeouts=timeouts)
        key = bench.serve(section)
        answer = plane.call(key)
        assert (answer.status_code, error_of(answer)["code"]) == (504, "RequestTimeout")
        assert error_of(answer)["section"] == section.id


def test_a_silent_stream(plane: ReportingPlane, bench: Bench) -> None:
    with FakeServer(default=hang()) as silent:
        timeouts = Timeouts(request=0, connect=1_000, stream_idle=200)
        key = bench.serve(bench.section(endpoint(silent.port), timeouts=timeouts))
        answer = plane.call(key)
        assert (answer.status_code, error_of(answer)["code"]) == (504, "StreamIdle")


def test_a_tls_failure(plane: ReportingPlane, bench: Bench) -> None:
    ours, theirs = Authority("ours"), Authority("theirs")
    with FakeServer(tls=theirs.server("127.0.0.1")) as server:
        section = bench.section(endpoint(server.port), tls=tls())
        key = bench.serve(section, secrets=[roots(ours.pem, ROOTS)])
        answer = plane.call(key)
        assert (answer.status_code, error_of(answer)["code"]) == (503, "TLSFailure")
        assert "theirs" not in answer.text
        bench.withdraw(key)


def test_a_ceiling(plane: ReportingPlane, bench: Bench) -> None:
    gate = Gate(respond(200))
    with FakeServer(default=gate) as busy, ExitStack() as stack:
        section = bench.section(endpoint(busy.port), ceilings=Ceilings(connections=1, pending=1))
        key = bench.serve(section)
        callers = [threading.Thread(target=plane.call, args=(key,)) for _ in range(2)]
        for caller in callers:
            caller.start()
            stack.callback(caller.join)
        stack.callback(gate.open)
        plane.wait_until(
            lambda: plane.cluster_stat(section.id, "upstream_rq_pending_active") == 1, "one call out and one waiting"
        )
        answer = plane.call(key)
        assert (answer.status_code, error_of(answer)["code"]) == (503, "TooManyRequestsInFlight")


def test_head_has_no_body(plane: ReportingPlane, bench: Bench) -> None:
    key = bench.serve(bench.section(endpoint(free_port())))
    answer = plane.call(key, method="HEAD")
    assert (answer.status_code, answer.content) == (503, b"")
    assert plane.call(key).status_code == 503


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"x_bad": "1"}, 400, "BadHeader"),
        ({"x-large": "a" * 40_000}, 431, "HeadersTooLarge"),
        ({f"x-{n}": "1" for n in range(120)}, 431, "HeadersTooLarge"),
    ],
)
def test_errors_before_the_filters_say_why_too(
    plane: ReportingPlane, headers: dict[str, str], status: int, code: str
) -> None:
    answer = plane.client.get("/demo/x", headers=headers)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert "x-hg-local" not in answer.headers


def test_a_broken_answer_is_not_repaired(plane: ReportingPlane, bench: Bench) -> None:
    """Once the provider's headers have passed, nothing of ours is mixed in."""
    with RawServer(rawserver.half_response_then_reset()) as server:
        key = bench.serve(bench.section(endpoint(server.port)))
        with pytest.raises(httpx.RemoteProtocolError):
            plane.call(key)
