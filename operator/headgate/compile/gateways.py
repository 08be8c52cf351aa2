"""Gateways: what each is, which one an upstream belongs to, and whether its owner lets the upstream in."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from headgate.api.conditions import Reason
from headgate.api.gateway import AllowedNamespaces, IntegrationGateway
from headgate.api.upstream import GatewayRef
from headgate.compile import data, defaults
from headgate.compile.findings import Findings
from headgate.compile.fleet import fleet as fleet_
from headgate.infra.network import host_names
from headgate.model.fleet import Fleet
from headgate.model.plan import Listener, SecretMaterial
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken, DataEntry, Declared, Settings, Snapshot
from headgate.model.verdict import Finding, Path

KIND = "IntegrationGateway"
#: The gateway that stands in where none is declared (`Settings.implied_gateway`).
IMPLIED = ObjectRef(KIND, "default", "default")
_LATE = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class GatewayFacts:
    """A gateway as the upstreams on it see it. `allowed` None: only its own namespace; `everyone`: all of them."""

    ref: ObjectRef
    listener: Listener
    allowed_cidrs: tuple[str, ...] = ()
    allowed: AllowedNamespaces | None = None
    everyone: bool = False
    certificate: SecretMaterial | None = None


@dataclass(frozen=True, slots=True)
class GatewayOutcome:
    """What came of one declared gateway. `facts` None: it can't serve. `older`: they are the last good version's. `fleet` is no
    part of them: no upstream has to be compiled anew for it."""

    facts: GatewayFacts | None
    findings: Findings
    older: bool = False
    used: frozenset[ObjectRef] = frozenset()
    outdated: frozenset[ObjectRef] = frozenset()
    references: frozenset[ObjectRef] = frozenset()
    fleet: Fleet = field(default_factory=Fleet)


@dataclass(frozen=True, slots=True)
class Gateways:
    """All gateways by `namespace/name`; `default` is the key of the one for upstreams that name none."""

    outcomes: Mapping[str, GatewayOutcome]
    facts: Mapping[str, GatewayFacts]
    default: str | None


def resolve(snapshot: Snapshot) -> Gateways:
    """Judge every gateway."""
    default = _default(snapshot)
    outcomes = {
        key: _outcome(snapshot, declared, is_default=key == default)
        for key, declared in sorted(snapshot.gateways.items())
    }
    facts = {key: each.facts for key, each in outcomes.items() if each.facts is not None}
    if not snapshot.gateways and snapshot.settings.implied_gateway:
        default = IMPLIED.key
        facts[default] = GatewayFacts(IMPLIED, _listener(snapshot.settings, IMPLIED, None, default=True), everyone=True)
    return Gateways(MappingProxyType(outcomes), MappingProxyType(facts), default)


def _default(snapshot: Snapshot) -> str | None:
    marked = []
    for key, declared in snapshot.gateways.items():
        version = declared.last_good if isinstance(declared.current, Broken) else declared.current
        if version is not None and version.spec.default:
            marked.append((version.metadata.creation_timestamp or _LATE, key))
    return min(marked)[1] if marked else None


def _outcome(snapshot: Snapshot, declared: Declared[IntegrationGateway], *, is_default: bool) -> GatewayOutcome:
    if isinstance(declared.current, Broken):
        first = GatewayOutcome(None, Findings())
    else:
        first = _version(snapshot, declared.ref, declared.current, is_default=is_default)
    if first.facts is not None or declared.last_good is None or declared.last_good_revision == declared.revision:
        return first
    second = _version(snapshot, declared.ref, declared.last_good, is_default=is_default)
    return GatewayOutcome(
        second.facts,
        first.findings,
        older=second.facts is not None,
        used=second.used,
        outdated=second.outdated,
        references=first.references | second.references,
        fleet=second.fleet,
    )


def _version(snapshot: Snapshot, ref: ObjectRef, gateway: IntegrationGateway, *, is_default: bool) -> GatewayOutcome:
    findings = Findings()
    cidrs, fleet = _cidrs(gateway, findings), fleet_(gateway.spec, findings)
    secret, taken = _certificate(snapshot.data, ref, gateway)
    if taken is not None and taken.trouble is not None:
        path: Path = ("spec", "listener", "tls", "certificateRef")
        findings.miss(path, taken.trouble.message, taken.trouble.reason, secret)
    references = frozenset({secret} if secret else ())
    certificate = taken.material if taken else None
    if findings.invalid or (secret is not None and certificate is None):
        return GatewayOutcome(None, findings, references=references)
    listener = _listener(snapshot.settings, ref, gateway, default=is_default, certificate=certificate)
    facts = GatewayFacts(ref, listener, cidrs, gateway.spec.allowed_namespaces, certificate=certificate)
    outdated = references if taken is not None and taken.outdated else frozenset()
    return GatewayOutcome(facts, findings, used=references, outdated=outdated, references=references, fleet=fleet)


def _certificate(
    entries: Mapping[ObjectRef, DataEntry], ref: ObjectRef, gateway: IntegrationGateway
) -> tuple[ObjectRef, data.Taken] | tuple[None, None]:
    listener = gateway.spec.listener
    if listener is None or listener.tls is None:
        return None, None
    secret = ObjectRef("Secret", ref.namespace, listener.tls.certificate_ref.name)
    return secret, data.take(entries, secret, data.certificate(secret))


def _cidrs(gateway: IntegrationGateway, findings: Findings) -> tuple[str, ...]:
    cidrs = set()
    for index, text in enumerate(gateway.spec.egress.allowed_cidrs if gateway.spec.egress else ()):
        path: Path = ("spec", "egress", "allowedCIDRs", index)
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            findings.reject(path, f"{text} is no network: write it like 10.0.0.0/8 or fd00::/8")
            continue
        address = text.partition("/")[0]
        if ipaddress.ip_address(address) != network.network_address:
            findings.reject(path, f"{text} has bits beyond its length: write {network}")
            continue
        cidrs.add(str(network))
    return tuple(sorted(cidrs))


def _listener(
    settings: Settings,
    ref: ObjectRef,
    gateway: IntegrationGateway | None,
    *,
    default: bool,
    certificate: SecretMaterial | None = None,
) -> Listener:
    declared = gateway.spec.listener if gateway is not None else None
    address = settings.listen_address
    port = defaults.LISTENER_PORT if declared is None or declared.port is None else declared.port
    if default and settings.listen is not None:
        address, port = settings.listen
    suffixes = dict.fromkeys(("svc", f"svc.{settings.cluster_domain}", *settings.extra_suffixes))
    own = host_names(ref, settings.cluster_domain) if settings.services else ()
    hosts = dict.fromkeys(("localhost", *own, *settings.extra_hosts))
    return Listener(address, port, certificate.name if certificate else None, tuple(hosts), tuple(suffixes))


def gateway_of(
    gateways: Gateways, namespaces: Mapping[str, Mapping[str, str]], namespace: str, ref: GatewayRef | None
) -> GatewayFacts | Finding:
    """The gateway for an upstream in `namespace`, or why there is none."""
    path: Path = ("spec", "gatewayRef")
    if ref is None and gateways.default is None:
        message = "no IntegrationGateway is the default one: name one in gatewayRef, or set default: true on one"
        return Finding(path, Reason.GATEWAY_NOT_FOUND, message)
    key = gateways.default if ref is None else f"{ref.namespace or namespace}/{ref.name}"
    facts = gateways.facts.get(key or "")
    if facts is None:
        if key in gateways.outcomes:
            message = f"IntegrationGateway {key} can't serve: see its own conditions"
            return Finding(path, Reason.GATEWAY_NOT_ACCEPTED, message)
        message = f"there is no IntegrationGateway {key}: create it, or mend the name"
        return Finding(path, Reason.GATEWAY_NOT_FOUND, message)
    if not _lets_in(facts, namespace, namespaces.get(namespace, {})):
        message = (
            f"IntegrationGateway {key} takes no upstreams from namespace {namespace}: "
            "its owner can let them in with allowedNamespaces"
        )
        return Finding(path, Reason.NOT_ALLOWED_BY_GATEWAY, message)
    return facts


def _lets_in(facts: GatewayFacts, namespace: str, labels: Mapping[str, str]) -> bool:
    if facts.everyone or namespace == facts.ref.namespace:
        return True
    if facts.allowed is None:
        return False
    match facts.allowed.from_:
        case "Same":
            return False
        case "All":
            return True
        case "Selector":
            wanted = facts.allowed.selector.match_labels if facts.allowed.selector else {}
            has = {**labels, "kubernetes.io/metadata.name": namespace}
            return all(has.get(label) == value for label, value in wanted.items())
