"""TLS towards the provider: roots, names, client certificates, HTTP/2; all of it over SDS, changed live."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness.dataplane import DataPlane
from harness.dns import DnsServer
from harness.pki import Authority
from harness.plans import certificate, endpoint, gateway, roots, section, tls, upstream
from headgate.model.plan import Gateway, SecretMaterial, SubjectAltName, Tls
from headgate.simulate.certificates import Identity
from headgate.simulate.server import FakeServer

NAME = "api.provider.test"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        for name in (NAME, "second.provider.test"):
            server.set(name, "127.0.0.1")
        yield server


def _gateway(
    port: int, authority: Authority, settings: Tls | None = None, *secrets: SecretMaterial, **changes: Any
) -> Gateway:
    to_provider = section(endpoint(port, changes.pop("host", NAME)), tls=settings or tls(), **changes)
    return gateway(upstream(to_provider), secrets=[roots(authority.pem), *secrets])


def test_the_name_is_asked_for_and_http2_is_spoken(authority: Authority, dns: DnsServer) -> None:
    with (
        FakeServer(tls=authority.server(NAME)) as provider,
        DataPlane(_gateway(provider.port, authority), dns=dns.address) as plane,
    ):
        assert plane.call("demo/api", "/x?y=1").status_code == 200
        (seen,) = provider.requests
        assert (seen.http_version, seen.scheme) == ("2", "https")
        assert seen.header("host") == f"{NAME}:{provider.port}"
        assert (provider.handshakes[0].sni, provider.handshakes[0].alpn) == (NAME, "h2")


def test_http1_is_spoken_where_the_provider_has_nothing_else(authority: Authority, dns: DnsServer) -> None:
    with (
        FakeServer(tls=authority.server(NAME), alpn=["http/1.1"]) as provider,
        DataPlane(_gateway(provider.port, authority), dns=dns.address) as plane,
    ):
        assert plane.call("demo/api").status_code == 200
        assert provider.requests[0].http_version == "1.1"


def test_http1_is_spoken_where_upgrades_are_allowed(authority: Authority, dns: DnsServer) -> None:
    with (
        FakeServer(tls=authority.server(NAME)) as provider,
        DataPlane(_gateway(provider.port, authority, upgrades=("websocket",)), dns=dns.address) as plane,
    ):
        assert plane.call("demo/api").status_code == 200
        assert provider.requests[0].http_version == "1.1"


@pytest.mark.parametrize(
    "served",
    [
        lambda authority: authority.wrong_name(),
        lambda authority: authority.expired(NAME),
        lambda authority: authority.not_yet_valid(NAME),
        lambda _: Authority("someone else").server(NAME),
        lambda authority: authority.server(f"sub.{NAME}"),
        lambda authority: authority.server("127.0.0.1"),
    ],
    ids=["wrong-name", "expired", "not-yet-valid", "other-authority", "sub-name", "address"],
)
def test_a_certificate_that_does_not_fit_is_refused(
    authority: Authority, dns: DnsServer, served: Callable[[Authority], Identity]
) -> None:
    with (
        FakeServer(tls=served(authority)) as provider,
        DataPlane(_gateway(provider.port, authority), dns=dns.address) as plane,
    ):
        assert plane.call("demo/api").status_code == 503
        assert not provider.requests
        assert sum(plane.cluster_stat("demo/api/default", f"ssl.fail_verify_{why}") for why in ("san", "error"))


@pytest.mark.parametrize(
    ("served", "settings"),
    [
        (["other.test"], Tls(roots="test/roots", server_name="other.test")),
        (["other.test"], tls(subject_alt_names=(SubjectAltName(dns="x.test"), SubjectAltName(dns="other.test")))),
        (["*.provider.test"], None),
    ],
    ids=["server-name", "one-of-several", "wildcard"],
)
def test_declared_names_are_accepted(
    authority: Authority, dns: DnsServer, served: list[str], settings: Tls | None
) -> None:
    with (
        FakeServer(tls=authority.server(*served)) as provider,
        DataPlane(_gateway(provider.port, authority, settings), dns=dns.address) as plane,
    ):
        assert plane.call("demo/api").status_code == 200
        expected = settings.server_name if settings is not None and settings.server_name else NAME
        assert provider.handshakes[0].sni == expected


def test_a_declared_uri_must_be_in_the_certificate(authority: Authority, dns: DnsServer) -> None:
    settings = tls(subject_alt_names=(SubjectAltName(uri="spiffe://provider/api"),))
    with (
        FakeServer(tls=authority.server(NAME)) as provider,
        DataPlane(_gateway(provider.port, authority, settings), dns=dns.address) as plane,
    ):
        assert plane.call("demo/api").status_code == 503
        assert plane.cluster_stat("demo/api/default", "ssl.fail_verify_san") > 0


def test_an_address_is_checked_as_an_address(authority: Authority) -> None:
    with (
        FakeServer(tls=authority.server("127.0.0.1")) as provider,
        DataPlane(_gateway(provider.port, authority, host="127.0.0.1")) as plane,
    ):
        assert plane.call("demo/api").status_code == 200
        assert provider.handshakes[0].sni is None


def test_endpoints_of_several_names_are_each_checked_under_their_own(authority: Authority, dns: DnsServer) -> None:
    with (
        FakeServer(tls=authority.server(NAME)) as first,
        FakeServer(tls=authority.server("second.provider.test"), port=0) as second,
    ):
        both = section(endpoint(first.port, NAME), endpoint(second.port, "second.provider.test"), tls=tls())
        with DataPlane(gateway(upstream(both), secrets=[roots(authority.pem)]), dns=dns.address) as plane:
            assert {plane.call("demo/api").status_code for _ in range(20)} == {200}
        assert {shake.sni for shake in first.handshakes} == {NAME}
        assert {shake.sni for shake in second.handshakes} == {"second.provider.test"}
        assert {seen.header("host") for seen in first.requests} == {f"{NAME}:{first.port}"}
        assert {seen.header("host") for seen in second.requests} == {f"second.provider.test:{second.port}"}


def test_a_client_certificate_is_presented_and_rotated(authority: Authority, dns: DnsServer) -> None:
    callers = Authority("callers")
    first, second = callers.client("first"), callers.client("second")
    settings = tls(client_certificate="test/certificate")
    with FakeServer(tls=authority.server(NAME), client_ca=callers.pem) as provider:
        plan = _gateway(provider.port, authority, settings, certificate(first))
        with DataPlane(plan, dns=dns.address) as plane:
            assert plane.call("demo/api").status_code == 200
            assert provider.handshakes[-1].client_certificate == first.der
            plane.update(_gateway(provider.port, authority, settings, certificate(second)))
            provider.drop_connections()
            plane.wait_until(lambda: plane.call("demo/api").status_code == 200, "a new connection")
            assert provider.handshakes[-1].client_certificate == second.der
            assert plane.stat("cluster_manager.cluster_modified") == 0


def test_without_the_client_certificate_that_is_asked_for_nothing_gets_through(
    authority: Authority, dns: DnsServer
) -> None:
    with (
        FakeServer(tls=authority.server(NAME), client_ca=Authority("callers").pem) as provider,
        DataPlane(_gateway(provider.port, authority), dns=dns.address) as plane,
    ):
        assert plane.call("demo/api").status_code == 503
        assert not provider.requests


def test_roots_change_live(authority: Authority, dns: DnsServer) -> None:
    renewed = Authority("renewed")
    with FakeServer(tls=renewed.server(NAME)) as provider:
        before = _gateway(provider.port, authority)
        with DataPlane(before, dns=dns.address) as plane:
            assert plane.call("demo/api").status_code == 503
            plane.update(replace(before, secrets={"test/roots": roots(authority.pem + renewed.pem)}))
            plane.wait_until(lambda: plane.call("demo/api").status_code == 200, "the new roots")
