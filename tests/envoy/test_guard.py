"""The address guard: what a name resolves to decides, in the proxy, before any connection is made."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from harness.dataplane import DataPlane
from harness.dns import DnsServer, Order
from harness.plans import endpoint, gateway, retry, section, upstream
from headgate.model.plan import Dns, Endpoint, LookupFamily, Upstream
from headgate.simulate.server import FakeServer

#: What a name may resolve to, and under which name it is tried.
REFUSED = {
    "loopback": "127.0.0.1",
    "loopback-elsewhere": "127.9.9.9",
    "loopback6": "::1",
    "private": "10.1.2.3",
    "private172": "172.16.0.1",
    "private192": "192.168.1.1",
    "metadata": "169.254.169.254",
    "carrier": "100.64.0.1",
    "wireserver": "168.63.129.16",
    "this-host": "0.0.0.0",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified6": "::",
    "unique-local": "fd00:ec2::254",
    "link-local6": "fe80::1",
    "nat64-loopback": "64:ff9b::7f00:1",
    "nat64-metadata": "64:ff9b::a9fe:a9fe",
    "six-to-four": "2002:7f00:1::1",
    "teredo": "2001:0:7f00:1::1",
}
#: Literal endpoints in forms that a resolver does not give.
LITERALS = {"mapped": "::ffff:127.0.0.1", "translated": "::ffff:0:127.0.0.1", "plain": "127.0.0.1", "six": "::1"}
ALL = Dns(family=LookupFamily.ALL)


def _named(name: str, *endpoints: Endpoint, allowed: tuple[str, ...] = ()) -> Upstream:
    return upstream(section(*endpoints, key=f"demo/{name}/default", dns=ALL, allowed_cidrs=allowed))


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer() as server:
        for name, address in REFUSED.items():
            server.set(f"{name}.test", address)
        yield server


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeServer]:
    with FakeServer(addresses=("127.0.0.1", "::1")) as server:
        yield server


@pytest.fixture(scope="module")
def plane(dns: DnsServer, provider: FakeServer) -> Iterator[DataPlane]:
    upstreams = [_named(name, endpoint(provider.port, f"{name}.test")) for name in REFUSED]
    upstreams += [_named(f"two-{name}", *_twice(provider.port, f"{name}.test")) for name in REFUSED]
    upstreams += [_named(f"literal-{name}", endpoint(provider.port, host)) for name, host in LITERALS.items()]
    upstreams += [
        _named("allowed", endpoint(provider.port, "loopback.test"), allowed=("127.0.0.0/8",)),
        _named("allowed6", endpoint(provider.port, "loopback6.test"), allowed=("10.0.0.0/8", "::1/128")),
        _named("one-too-many", endpoint(provider.port, "loopback-elsewhere.test"), allowed=("127.0.0.0/24",)),
        _named("host-bits", endpoint(provider.port, "loopback.test"), allowed=("127.0.0.9/8",)),
    ]
    with DataPlane(gateway(*upstreams), dns=dns.address) as running:
        yield running


def _twice(port: int, host: str) -> tuple[Endpoint, Endpoint]:
    return endpoint(port, host), endpoint(port, host, priority=1)


@pytest.mark.parametrize(
    "name",
    [*REFUSED, *(f"two-{name}" for name in REFUSED), *(f"literal-{name}" for name in LITERALS), "one-too-many"],
)
def test_an_address_that_is_not_public_is_refused_before_any_connection(
    plane: DataPlane, provider: FakeServer, name: str
) -> None:
    response = plane.call(f"demo/{name}", "/secret")
    assert response.status_code == 403, response.text
    assert plane.cluster_stat(f"demo/{name}/default", "upstream_cx_total") == 0
    assert not [seen for seen in provider.requests if seen.raw_path == b"/secret"]


@pytest.mark.parametrize("name", ["allowed", "allowed6", "host-bits"])
def test_the_gateways_owner_can_let_ranges_through(plane: DataPlane, name: str) -> None:
    assert plane.call(f"demo/{name}", "/open").status_code == 200


@pytest.mark.parametrize("order", list(Order))
def test_a_refused_address_among_several_of_a_name_is_never_reached(provider: FakeServer, order: Order) -> None:
    """The allowed address is closed, so whoever falls back to the next one of the name ends at the refused one."""
    with DnsServer() as dns:
        dns.set("mixed.test", "127.0.0.7", "127.0.0.1", order=order)
        mixed = section(
            endpoint(provider.port, "mixed.test"), dns=ALL, retry=retry(503), allowed_cidrs=("127.0.0.7/32",)
        )
        with DataPlane(gateway(upstream(mixed)), dns=dns.address) as plane:
            answers = [plane.call("demo/api", f"/mixed-{order}").status_code for _ in range(20)]
    assert set(answers) <= {403, 503}
    assert not [seen for seen in provider.requests if seen.raw_path.startswith(b"/mixed")]


def test_a_name_that_changes_to_a_refused_address_is_refused_from_then_on(provider: FakeServer) -> None:
    with DnsServer() as dns, FakeServer(addresses=("127.0.0.7",)) as public:
        dns.set("rebind.test", "127.0.0.7", ttl=1)
        bound = section(endpoint(public.port, "rebind.test"), dns=Dns(refresh=200), allowed_cidrs=("127.0.0.7/32",))
        with DataPlane(gateway(upstream(bound)), dns=dns.address) as plane:
            assert plane.call("demo/api").status_code == 200
            dns.set("rebind.test", "127.0.0.1", ttl=1)
            plane.wait_until(lambda: plane.call("demo/api").status_code == 403, "the new address to be refused")
            assert {plane.call("demo/api").status_code for _ in itertools.repeat(None, 10)} == {403}
