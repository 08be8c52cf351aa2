"""Plan values written by hand, for tests of what is below the compile. Every function fills in what a test leaves out."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import (
    Ceilings,
    Dns,
    Endpoint,
    Gateway,
    HeaderRules,
    Listener,
    Retry,
    RetryTrigger,
    Route,
    SecretKind,
    SecretMaterial,
    Section,
    Timeouts,
    Tls,
    Upstream,
)
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.simulate.certificates import Identity

#: What lets test traffic through the address guard.
LOOPBACK = ("127.0.0.0/8", "::1/128")
ROOTS = "test/roots"


def endpoint(port: int, host: str = "127.0.0.1", **changes: Any) -> Endpoint:
    """One address of a provider; `literal` follows from the host."""
    literal = ":" in host or host.replace(".", "").isdigit()
    return Endpoint(hostname=host, port=port, literal=literal, **changes)


def section(*endpoints: Endpoint, key: str = "demo/api/default", **changes: Any) -> Section:
    """A section without policies that may reach loopback; `key` is its id."""
    values: dict[str, Any] = {
        "id": key,
        "name": key.rpartition("/")[2],
        "endpoints": endpoints,
        "base_path": "",
        "dns": Dns(),
        "tls": None,
        "credentials": (),
        "strip_request_headers": (),
        "strip_query": (),
        "strip_cookies": (),
        "timeouts": Timeouts(request=15_000, connect=2_000, stream_idle=60_000),
        "retry": None,
        "breaker": None,
        "ceilings": Ceilings(),
        "limits": (),
        "request_headers": HeaderRules(),
        "response_headers": HeaderRules(),
        "upgrades": (),
        "health_check": None,
        "allowed_cidrs": LOOPBACK,
    }
    return Section(**(values | changes))


def upstream(*sections: Section, routes: Iterable[Route] = (), authorities: tuple[str, ...] = ()) -> Upstream:
    """An upstream of these sections; its name is in their ids. `routes` go before the one that matches everything and
    leads to `default` (or to the only section).
    """
    namespace, name, _ = sections[0].id.split("/")
    rest = "default" if len(sections) > 1 else sections[0].name
    return Upstream(
        ref=ObjectRef("UpstreamService", namespace, name),
        sections=tuple(sorted(sections, key=lambda each: each.name)),
        routes=(*routes, Route(RequestMatch(), rest)),
        authorities=authorities,
    )


def to(section: str, path: str | None = None, *, regex: str | None = None, **changes: Any) -> Route:
    """A route to the named section, by path prefix or regex."""
    match = PathMatch(PathKind.PREFIX, path) if path is not None else None
    if regex is not None:
        match = PathMatch(PathKind.REGEX, regex)
    return Route(RequestMatch(path=match, **changes), section)


def gateway(*upstreams: Upstream, secrets: Iterable[SecretMaterial] = (), listener: Listener | None = None) -> Gateway:
    """A gateway of these upstreams; a listener port of 0 is filled in by `DataPlane`."""
    return Gateway(
        ref=ObjectRef("IntegrationGateway", "demo", "gateway"),
        listener=listener or Listener(address="127.0.0.1", port=0, hosts=("localhost",)),
        upstreams=MappingProxyType({each.key: each for each in upstreams}),
        secrets=MappingProxyType({each.name: each for each in secrets}),
    )


def opaque(name: str, value: str) -> SecretMaterial:
    """A credential."""
    return SecretMaterial(name, SecretKind.OPAQUE, SecretValue(value.encode()))


def roots(pem: bytes, name: str = ROOTS) -> SecretMaterial:
    """CA certificates to trust."""
    return SecretMaterial(name, SecretKind.TRUST_BUNDLE, SecretValue(pem))


def certificate(identity: Identity, name: str = "test/certificate") -> SecretMaterial:
    """A certificate with its key."""
    return SecretMaterial(name, SecretKind.TLS, SecretValue(identity.chain_pem), SecretValue(identity.key_pem))


def tls(**changes: Any) -> Tls:
    """TLS that trusts `ROOTS`."""
    return Tls(**({"roots": ROOTS} | changes))


def retry(*statuses: int, attempts: int = 3, **changes: Any) -> Retry:
    """Quick retries of GET on these statuses, and of anything on connect failures."""
    values: dict[str, Any] = {
        "attempts": attempts,
        "triggers": (RetryTrigger.CONNECT_FAILURE, RetryTrigger.REFUSED_STREAM),
        "statuses": statuses,
        "methods": ("GET", "HEAD"),
        "per_try_timeout": None,
        "back_off_base": 10,
        "back_off_max": 50,
    }
    return Retry(**(values | changes))
