"""The Plan of a simulated run: every provider's host is dialled at an address of this machine, and what listens there is
believed. Pure.

`wanted` says what has to be simulated, `redirect` makes the Plan that leads there. Names, ports, paths and credentials stay
as they were: only the connection goes elsewhere. A section whose endpoints are all literal loopback addresses stays as it
is; the address guard is in front of it as ever.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from headgate.model.plan import (
    CredentialPlace,
    Endpoint,
    Gateway,
    SecretKind,
    SecretMaterial,
    Section,
    Upstream,
)
from headgate.model.secret import SecretValue
from headgate.model.verdict import Plan

#: Name of the trust bundle that takes the place of every other one.
ROOTS = "roots/simulation"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a simulated provider listens: under this host name (or address), with or without TLS."""

    host: str
    tls: bool


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a credential of a host goes: `key` names the header, query parameter or cookie. `yields`: a caller may have put
    one of its own there."""

    place: CredentialPlace
    key: str
    prefix: str = ""
    yields: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """What is declared about one host, all upstreams taken together."""

    tls: frozenset[bool]
    keys: frozenset[SecretValue]
    slots: frozenset[Slot]


@dataclass(frozen=True, slots=True)
class Names:
    """What a certificate has to carry."""

    dns: frozenset[str]
    uris: frozenset[str]

    def __or__(self, other: Names) -> Names:
        return Names(self.dns | other.dns, self.uris | other.uris)


@dataclass(frozen=True, slots=True)
class Wanted:
    """`hosts` by host; `certificates` by the name that a client asks for, "" for none."""

    hosts: Mapping[str, Host]
    certificates: Mapping[str, Names]


def wanted(plan: Plan) -> Wanted:
    """All that has to be there for this Plan."""
    hosts: dict[str, Host] = {}
    certificates: dict[str, Names] = {}
    for gateway in plan.gateways.values():
        for section in _redirected(gateway):
            keys, slots = _keys(gateway, section), frozenset(_slots(section))
            for endpoint in section.endpoints:
                host = Host(frozenset({section.tls is not None}), keys, slots)
                before = hosts.get(endpoint.hostname)
                hosts[endpoint.hostname] = host if before is None else _joined(before, host)
                for asked, names in _names(section, endpoint):
                    certificates[asked] = certificates[asked] | names if asked in certificates else names
    return Wanted(hosts, certificates)


def redirect(
    plan: Plan,
    dials: Mapping[Place, tuple[str, int]],
    roots: SecretValue,
    memo: dict[str, tuple[Upstream, Upstream]],
) -> Plan:
    """The Plan with every place of it dialled as `dials` says, and `roots` trusted. What did not change since the last time
    is the same object, as `memo` knows it; `dials` of a place never change within one memo. KeyError for a place without."""
    gateways = {key: _gateway(gateway, dials, roots, memo) for key, gateway in plan.gateways.items()}
    live = {key for gateway in gateways.values() for key in gateway.upstreams}
    for key in memo.keys() - live:
        del memo[key]
    return replace(plan, gateways=MappingProxyType(gateways))


def _gateway(
    gateway: Gateway,
    dials: Mapping[Place, tuple[str, int]],
    roots: SecretValue,
    memo: dict[str, tuple[Upstream, Upstream]],
) -> Gateway:
    upstreams = {}
    for key, upstream in gateway.upstreams.items():
        known = memo.get(key)
        if known is None or known[0] is not upstream:
            sections = tuple(_section(each, dials) for each in upstream.sections)
            known = memo[key] = (upstream, replace(upstream, sections=sections))
        upstreams[key] = known[1]
    trusted = {section.tls.roots for each in upstreams.values() for section in each.sections if section.tls}
    secrets = {
        name: material
        for name, material in gateway.secrets.items()
        if material.kind is not SecretKind.TRUST_BUNDLE or name in trusted
    }
    if ROOTS in trusted:
        secrets[ROOTS] = SecretMaterial(ROOTS, SecretKind.TRUST_BUNDLE, roots, owners=(gateway.ref,))
    return replace(gateway, upstreams=MappingProxyType(upstreams), secrets=MappingProxyType(secrets))


def _section(section: Section, dials: Mapping[Place, tuple[str, int]]) -> Section:
    if stays(section):
        return section
    endpoints = tuple(
        replace(each, dial=dials[Place(each.hostname, section.tls is not None)]) for each in section.endpoints
    )
    return replace(section, endpoints=endpoints, tls=replace(section.tls, roots=ROOTS) if section.tls else None)


def stays(section: Section) -> bool:
    """Whether a section's calls stay on this machine by themselves."""
    return all(each.literal and ipaddress.ip_address(each.hostname).is_loopback for each in section.endpoints)


def _redirected(gateway: Gateway) -> Iterator[Section]:
    for upstream in gateway.upstreams.values():
        yield from (section for section in upstream.sections if not stays(section))


def _keys(gateway: Gateway, section: Section) -> frozenset[SecretValue]:
    materials = (gateway.secrets.get(each.secret) for each in section.credentials)
    return frozenset(each.value for each in materials if each is not None)


def _slots(section: Section) -> Iterator[Slot]:
    for each in section.credentials:
        yield Slot(each.place, each.key, each.prefix, each.yields)


def _names(section: Section, endpoint: Endpoint) -> Iterator[tuple[str, Names]]:
    """The name that is asked for at this endpoint (`envoy.tls` says the same), and what is looked for in the answer."""
    if section.tls is None:
        return
    asked = section.tls.server_name or ("" if endpoint.literal else endpoint.hostname)
    declared = section.tls.subject_alt_names
    dns = {asked or endpoint.hostname, endpoint.hostname, *(each.dns for each in declared if each.dns)}
    yield asked, Names(frozenset(dns), frozenset(each.uri for each in declared if each.uri))


def _joined(one: Host, other: Host) -> Host:
    return Host(one.tls | other.tls, one.keys | other.keys, one.slots | other.slots)
