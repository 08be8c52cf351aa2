"""Names: how often they are asked for, which family is used, what happens when they don't resolve."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.dataplane import DataPlane
from harness.dns import DnsServer, Failure, Order
from harness.plans import endpoint, gateway, section, upstream
from headgate.model.plan import Dns, LookupFamily
from headgate.simulate.server import FOUR_ADDRESSES, FakeServer

NAME = "api.provider.test"


@pytest.fixture
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture
def provider() -> Iterator[FakeServer]:
    with FakeServer(addresses=(*FOUR_ADDRESSES, "::1")) as server:
        yield server


def _plane(provider: FakeServer, dns: DnsServer, settings: Dns | None = None) -> DataPlane:
    named = section(endpoint(provider.port, NAME), dns=settings or Dns())
    return DataPlane(gateway(upstream(named)), dns=dns.address, within=30.0)


def test_calls_go_to_all_addresses_of_a_name(provider: FakeServer, dns: DnsServer) -> None:
    dns.set(NAME, *FOUR_ADDRESSES, ttl=60)
    with _plane(provider, dns) as plane:
        assert {plane.call("demo/api").status_code for _ in range(20)} == {200}
    assert {seen.local[0] for seen in provider.requests} == set(FOUR_ADDRESSES)
    assert {seen.header("host") for seen in provider.requests} == {f"{NAME}:{provider.port}"}


def test_a_new_address_is_used_once_the_answer_has_run_out(provider: FakeServer, dns: DnsServer) -> None:
    dns.set(NAME, "127.0.0.1", ttl=1)
    with _plane(provider, dns) as plane:
        plane.call("demo/api")
        dns.set(NAME, "127.0.0.2", ttl=1)
        plane.wait_until(
            lambda: plane.call("demo/api").json()["local"] == "127.0.0.2", "the address that the name has now"
        )
        assert {plane.call("demo/api").json()["local"] for _ in range(5)} == {"127.0.0.2"}


def test_a_long_lived_answer_is_not_asked_for_again(provider: FakeServer, dns: DnsServer) -> None:
    """Envoy's own default would ask every five seconds; another name with a short life serves as the clock."""
    dns.set(NAME, "127.0.0.1", ttl=3600)
    dns.set("clock.test", "127.0.0.1", ttl=1)
    named = section(endpoint(provider.port, NAME))
    clock = section(endpoint(provider.port, "clock.test"), key="demo/clock/default", dns=Dns(refresh=1_000))
    with DataPlane(gateway(upstream(named), upstream(clock)), dns=dns.address):
        asked = dns.count(NAME)
        dns.wait_for("clock.test", dns.count("clock.test") + 7, timeout=20.0)
        assert dns.count(NAME) == asked


def test_a_declared_refresh_goes_before_the_answers_life(provider: FakeServer, dns: DnsServer) -> None:
    dns.set(NAME, "127.0.0.1", ttl=3600)
    with _plane(provider, dns, Dns(refresh=200)):
        dns.wait_for(NAME, dns.count(NAME) + 3)


@pytest.mark.parametrize(
    ("family", "used"),
    [
        (LookupFamily.AUTO, {"127.0.0.1"}),
        (LookupFamily.V4_PREFERRED, {"127.0.0.1"}),
        (LookupFamily.V4_ONLY, {"127.0.0.1"}),
        (LookupFamily.V6_ONLY, {"::1"}),
        (LookupFamily.ALL, {"127.0.0.1", "::1"}),
    ],
)
def test_the_family_decides_which_addresses_are_used(
    provider: FakeServer, dns: DnsServer, family: LookupFamily, used: set[str]
) -> None:
    dns.set(NAME, "127.0.0.1", "::1", ttl=60)
    with _plane(provider, dns, Dns(family=family)) as plane:
        assert {plane.call("demo/api").json()["local"] for _ in range(12)} == used


@pytest.mark.parametrize("family", [LookupFamily.AUTO, LookupFamily.V6_ONLY])
def test_a_name_with_ipv6_only_is_reached(provider: FakeServer, dns: DnsServer, family: LookupFamily) -> None:
    dns.set(NAME, "::1", ttl=60)
    with _plane(provider, dns, Dns(family=family)) as plane:
        assert plane.call("demo/api").json()["local"] == "::1"


@pytest.mark.parametrize("failure", [Failure.NXDOMAIN, Failure.SERVFAIL, Failure.REFUSED])
def test_a_name_that_does_not_resolve_costs_its_own_upstream_only(
    provider: FakeServer, dns: DnsServer, failure: Failure
) -> None:
    dns.fail(NAME, failure)
    lost = section(endpoint(provider.port, NAME))
    well = section(endpoint(provider.port), key="demo/well/default")
    with DataPlane(gateway(upstream(lost), upstream(well)), dns=dns.address, within=30.0) as plane:
        assert plane.call("demo/api").status_code == 503
        assert plane.call("demo/well").status_code == 200
        dns.set(NAME, "127.0.0.1")
        plane.wait_until(lambda: plane.call("demo/api").status_code == 200, "the name to resolve")


def test_a_name_whose_servers_are_silent_does_not_keep_a_gateway_from_starting(
    provider: FakeServer, dns: DnsServer
) -> None:
    """By the resolver's own defaults it would, for more than two minutes."""
    dns.fail(NAME, Failure.SILENT)
    lost = section(endpoint(provider.port, NAME))
    well = section(endpoint(provider.port), key="demo/well/default")
    with DataPlane(gateway(upstream(lost), upstream(well)), dns=dns.address, within=30.0) as plane:
        assert plane.call("demo/well").status_code == 200
        assert plane.call("demo/api").status_code == 503


@pytest.mark.parametrize("failure", [Failure.SERVFAIL, Failure.SILENT])
def test_addresses_outlive_a_resolver_that_fails(provider: FakeServer, dns: DnsServer, failure: Failure) -> None:
    dns.set(NAME, "127.0.0.1", ttl=1)
    with _plane(provider, dns, Dns(refresh=200)) as plane:
        assert plane.call("demo/api").status_code == 200
        dns.fail(NAME, failure)
        dns.wait_for(NAME, dns.count(NAME) + 3, timeout=30.0)
        assert plane.call("demo/api").status_code == 200


def test_one_address_at_a_time_serves_every_call(provider: FakeServer, dns: DnsServer) -> None:
    dns.set(NAME, *FOUR_ADDRESSES, ttl=1, order=Order.ONE)
    with _plane(provider, dns, Dns(refresh=100)) as plane:
        answers = []
        for _ in range(20):
            dns.wait_for(NAME, dns.count(NAME) + 1)
            answers.append(plane.call("demo/api").status_code)
        assert set(answers) == {200}
    assert len({seen.local[0] for seen in provider.requests}) >= 3
