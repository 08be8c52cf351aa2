"""The nouns between: what they print, and the one list of addresses that are not public."""

from __future__ import annotations

import ipaddress

import pytest

from harness.declare import World, secret, upstream
from headgate.model import addresses, dump
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.verdict import spell


@pytest.mark.parametrize("cidr", addresses.DENIED)
def test_both_ends_of_every_denied_range_are_refused(cidr: str) -> None:
    network = ipaddress.ip_network(cidr)
    assert addresses.refuses(str(network[0]))
    assert addresses.refuses(str(network[-1]))


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "11.0.0.1", "172.32.0.1", "223.255.255.255", "2606:4700::1111", "64:ff9b::8.8.8.8"],
)
def test_public_addresses_are_not(address: str) -> None:
    assert not addresses.refuses(address)


def test_nothing_that_python_calls_private_passes() -> None:
    """Two lists made apart: every range that ipaddress knows as private is in ours."""
    constants = [ipaddress._IPv4Constants, ipaddress._IPv6Constants]  # type: ignore[attr-defined]
    for network in (each for constant in constants for each in constant._private_networks):
        assert addresses.refuses(str(network[0])), network
        assert addresses.refuses(str(network[-1])), network


def test_an_owner_can_allow_more() -> None:
    assert not addresses.refuses("10.1.2.3", ["10.0.0.0/8"])
    assert addresses.refuses("10.1.2.3", ["11.0.0.0/8", "::/0"])
    assert not addresses.refuses("::1", ["::1/128"])


def test_no_dump_shows_a_secret() -> None:
    spec = "{hostname: a.example, credentials: [{name: key, secretRef: {name: keys, key: token}}]}"
    plan = World(upstream(spec=spec) + secret(token="s3cret")).compile()
    for text in (repr(plan), str(plan), repr(dump.plan(plan)), f"{plan.gateways}"):
        assert "s3cret" not in text
        assert SecretValue(b"s3cret").fingerprint not in text
    secrets = dump.plan(plan)["gateways"]["default/default"]["secrets"]
    assert secrets["secret/shop/keys/token"]["value"] == "[redacted]"


def test_references_are_spelled_as_people_write_them() -> None:
    assert str(ObjectRef("Secret", "shop", "keys")) == "Secret shop/keys"
    assert spell(("spec", "sections", 1, "name")) == "spec.sections[1].name"
    assert spell(()) == ""
