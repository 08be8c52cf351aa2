"""What of a Plan is led to the simulation, and what stays as it was."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from harness.plans import endpoint, gateway, opaque, roots, section, tls, upstream
from headgate.model.plan import Credential, CredentialPlace, Endpoint, Gateway, SubjectAltName, Upstream
from headgate.model.secret import SecretValue
from headgate.model.verdict import Plan
from headgate.simulate.redirect import ROOTS, Names, Place, Slot, redirect, wanted

CA = SecretValue(b"the simulation's CA")
TOKEN = Credential("key", "secret/demo/key/token", CredentialPlace.HEADER, "authorization", "Bearer ")


def plan(*upstreams: Upstream) -> Plan:
    secrets = [opaque("secret/demo/key/token", "k"), roots(b"real"), roots(b"own", "roots/own")]
    only = gateway(*upstreams, secrets=secrets)
    return Plan(gateways=MappingProxyType({only.key: only}))


def only(plan: Plan) -> Gateway:
    (found,) = plan.gateways.values()
    return found


def test_a_place_that_yields_is_told_from_one_that_is_the_gateways_alone() -> None:
    part = section(endpoint(443, "a.example"), tls=tls(), credentials=(replace(TOKEN, yields=True),))
    found = wanted(plan(upstream(part))).hosts["a.example"]
    assert found.slots == {Slot(CredentialPlace.HEADER, "authorization", "Bearer ", yields=True)}


def test_what_has_to_be_there() -> None:
    named = section(endpoint(443, "a.example"), endpoint(443, "b.example"), tls=tls(), credentials=(TOKEN,))
    plain = section(endpoint(80, "a.example"), key="demo/plain/default")
    found = wanted(plan(upstream(named), upstream(plain)))
    assert found.hosts.keys() == {"a.example", "b.example"}
    assert found.hosts["a.example"].tls == {True, False}
    assert found.hosts["b.example"].keys == {SecretValue(b"k")}
    assert found.hosts["b.example"].slots == {Slot(CredentialPlace.HEADER, "authorization", "Bearer ")}
    assert found.certificates == {name: Names(frozenset({name}), frozenset()) for name in ("a.example", "b.example")}


@pytest.mark.parametrize(
    ("host", "settings", "asked", "names"),
    [
        ("a.example", {}, "a.example", Names(frozenset({"a.example"}), frozenset())),
        ("8.8.8.8", {}, "", Names(frozenset({"8.8.8.8"}), frozenset())),
        (
            "8.8.8.8",
            {"server_name": "b.example"},
            "b.example",
            Names(frozenset({"b.example", "8.8.8.8"}), frozenset()),
        ),
        (
            "a.example",
            {"subject_alt_names": (SubjectAltName(uri="spiffe://x"), SubjectAltName(dns="c.example"))},
            "a.example",
            Names(frozenset({"a.example", "c.example"}), frozenset({"spiffe://x"})),
        ),
    ],
)
def test_what_certificates_carry(host: str, settings: dict[str, object], asked: str, names: Names) -> None:
    found = wanted(plan(upstream(section(endpoint(443, host), tls=tls(**settings)))))
    assert found.certificates == {asked: names}


def test_only_the_connection_goes_elsewhere() -> None:
    before = section(Endpoint("a.example", 8443, 1, 2), tls=tls(server_name="b.example"), credentials=(TOKEN,))
    after = redirect(plan(upstream(before)), {Place("a.example", tls=True): ("127.0.0.1", 7)}, CA, {})
    (found,) = only(after).upstreams["demo/api"].sections
    dialled = Endpoint("a.example", 8443, 1, 2, dial=("127.0.0.1", 7))
    assert found == replace(before, endpoints=(dialled,), tls=tls(server_name="b.example", roots=ROOTS))


def test_no_ca_but_the_simulations_is_trusted() -> None:
    after = redirect(
        plan(upstream(section(endpoint(443, "a.example"), tls=tls()))),
        {Place("a.example", tls=True): ("127.0.0.1", 7)},
        CA,
        {},
    )
    assert only(after).secrets.keys() == {"secret/demo/key/token", ROOTS}
    assert only(after).secrets[ROOTS].value == CA


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1"])
def test_what_stays_on_this_machine_by_itself_stays_as_it_is(host: str) -> None:
    before = plan(upstream(section(endpoint(443, host), tls=tls())))
    assert not wanted(before).hosts
    after = redirect(before, {}, CA, {})
    assert only(after).upstreams == only(before).upstreams
    assert only(after).secrets.keys() == {"secret/demo/key/token", "test/roots"}


@pytest.mark.parametrize("host", ["8.8.8.8", "10.0.0.1", "2606:4700:4700::1111", "a.example"])
def test_a_section_with_one_endpoint_elsewhere_goes_whole(host: str) -> None:
    """Otherwise a loopback server of the user's would have to have a certificate of the simulation's CA."""
    both = section(endpoint(443, "127.0.0.1"), endpoint(443, host, priority=1), tls=tls())
    places = {Place("127.0.0.1", tls=True): ("127.0.0.1", 7), Place(host, tls=True): ("127.0.0.1", 8)}
    assert wanted(plan(upstream(both))).hosts.keys() == {"127.0.0.1", host}
    (found,) = only(redirect(plan(upstream(both)), places, CA, {})).upstreams["demo/api"].sections
    assert [each.dial for each in found.endpoints] == [("127.0.0.1", 7), ("127.0.0.1", 8)]


def test_what_did_not_change_is_the_same_object() -> None:
    dials = {Place(f"{name}.example", tls=False): ("127.0.0.1", 7) for name in "ab"}
    one, two = (upstream(section(endpoint(80, f"{name}.example"), key=f"demo/{name}/default")) for name in "ab")
    memo: dict[str, tuple[Upstream, Upstream]] = {}
    first = only(redirect(plan(one, two), dials, CA, memo))
    changed = replace(two, authorities=("b.example",))
    second = only(redirect(plan(one, changed), dials, CA, memo))
    assert second.upstreams["demo/a"] is first.upstreams["demo/a"]
    assert second.upstreams["demo/b"].authorities == ("b.example",)
    redirect(plan(one), dials, CA, memo)
    assert memo.keys() == {"demo/a"}
