"""Where an upstream's calls go: endpoints, base path, DNS, and the authorities whose URLs lead back to the gateway."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headgate.api.conditions import Reason
from headgate.api.upstream import Dns as DnsSpec
from headgate.compile import defaults
from headgate.compile.draft import Context, Draft
from headgate.compile.origins import Layer, nearest, settled
from headgate.compile.provider import own_host
from headgate.model import addresses
from headgate.model.plan import Dns, Endpoint, LookupFamily
from headgate.model.verdict import Path

# What some resolvers take for an IPv4 address though it is none in four parts: 127.1, 0x7f000001, 2130706433.
_NUMBERLIKE = re.compile(r"(?:^|\.)(?:[0-9]+|0[xX][0-9a-fA-F]*)$")
# Dot segments, plain or encoded: the base path must not be a way up.
_DOT_SEGMENT = re.compile(r"(?:^|/|%2f|%5c|\\)(?:\.|%2e){1,2}(?:$|/|%2f|%5c|\\)", re.IGNORECASE)


_NO_DNS = DnsSpec()
_OWN = (Layer.UPSTREAM,)
_OWN_OR_KNOWN = (Layer.UPSTREAM, Layer.KNOWN)
_PLAIN = (Layer.UPSTREAM, Layer.DEFAULT)
_LAYERS = (Layer.UPSTREAM, Layer.KNOWN, Layer.DEFAULT)


@dataclass(frozen=True, slots=True)
class _Declared:
    """An endpoint as declared, whether by `hostname`, in `endpoints`, or by the profile."""

    path: Path
    hostname: str
    port: int | None
    priority: int = 0
    weight: int = 1

    def __str__(self) -> str:
        return self.hostname


def fill(context: Context, draft: Draft) -> None:
    """Set endpoints, base path, DNS and authorities."""
    declared = _declared(context)
    if not declared:
        context.findings.reject(
            ("spec", "hostname"),
            f"the provider {context.profile.name} has no host of its own: give hostname or endpoints",
        )
    draft.endpoints = tuple(
        sorted(
            (_endpoint(context, each) for each in declared),
            key=lambda each: (each.priority, each.hostname, each.port, each.weight),
        )
    )
    _check_priorities(context, draft)
    _check_duplicates(context, declared, draft)
    draft.base_path = _base_path(context)
    draft.authorities = _authorities(context, draft)
    draft.dns = _dns(context)


def has_tls(context: Context) -> bool:
    """Whether calls go over TLS."""
    mode = context.spec.tls.mode if context.spec.tls else None
    own = None if mode is None else mode != "None"
    return settled(context.noting(), "tls", _OWN_OR_KNOWN, own, context.profile.tls)


def _dns(context: Context) -> Dns:
    spec, sink = context.spec.dns or _NO_DNS, context.noting()
    refresh = context.findings.given_duration(("spec", "dns", "refreshRate"), spec.refresh_rate, least=1_000)
    family = LookupFamily(spec.lookup_family) if spec.lookup_family else None
    return Dns(
        nearest(sink, "dns.refreshRate", _OWN, refresh),
        settled(sink, "dns.lookupFamily", _PLAIN, family, LookupFamily.AUTO),
    )


def _declared(context: Context) -> list[_Declared]:
    spec = context.spec
    own = [
        _Declared(
            ("spec", "endpoints", index, "hostname"), each.hostname, each.port, each.priority or 0, each.weight or 1
        )
        for index, each in enumerate(spec.endpoints)
    ] or _host(spec.hostname)
    known = _host(context.profile.host)
    return nearest(context.noting(), "endpoints", _OWN_OR_KNOWN, own or None, known or None) or []


def _host(host: str | None) -> list[_Declared]:
    return [_Declared(("spec", "hostname"), host, None)] if host else []


def _endpoint(context: Context, declared: _Declared) -> Endpoint:
    host = declared.hostname.lower()
    address = addresses.literal(host)
    if address is not None:
        host = str(address)
        _check_address(context, declared)
    else:
        _check_name(context, declared.path, host)
    port = settled(
        context.noting(),
        "port",
        _LAYERS,
        declared.port or context.spec.port,
        _known_port(context),
        _usual_port(context),
    )
    return Endpoint(host, port, declared.priority, declared.weight, literal=address is not None)


def _known_port(context: Context) -> int | None:
    if own_host(context.spec) and context.profile.port is not None and has_tls(context) == context.profile.tls:
        return context.profile.port
    return None


def _usual_port(context: Context) -> int:
    return defaults.PORT_TLS if has_tls(context) else defaults.PORT_PLAIN


def _check_address(context: Context, declared: _Declared) -> None:
    if context.gateway is not None and addresses.refuses(declared.hostname, context.gateway.allowed_cidrs):
        message = (
            f"{declared.hostname} is not a public address: use one that is, or let the owner of IntegrationGateway "
            f"{context.gateway.ref.key} add it to egress.allowedCIDRs"
        )
        context.findings.reject(declared.path, message, Reason.FORBIDDEN_ADDRESS)


def _check_name(context: Context, path: Path, host: str) -> None:
    if ":" in host or _NUMBERLIKE.search(host):
        context.findings.reject(path, f"{host} is neither a host name nor an IP address: mend it")
    elif any(len(label) > 63 for label in host.split(".")):
        context.findings.reject(path, f"{host} has a part of more than 63 letters, which DNS does not know: mend it")


def _check_priorities(context: Context, draft: Draft) -> None:
    used = sorted({endpoint.priority for endpoint in draft.endpoints})
    if used != list(range(len(used))):
        missing = next(number for number in range(16) if number not in used)
        context.findings.reject(
            ("spec", "endpoints"), f"no endpoint has priority {missing}: number the priorities from 0 without a gap"
        )


def _check_duplicates(context: Context, declared: list[_Declared], draft: Draft) -> None:
    if len({(endpoint.hostname, endpoint.port) for endpoint in draft.endpoints}) == len(declared):
        return
    seen = set()
    for each in declared:
        key = (each.hostname.lower(), each.port)
        if key in seen:
            context.findings.reject(each.path, f"{each.hostname} with this port is there already: take one out")
            return
        seen.add(key)
    context.findings.reject(("spec", "endpoints"), "the same host and port come twice: take one out")


def _base_path(context: Context) -> str:
    path = settled(context.noting(), "basePath", _OWN_OR_KNOWN, context.spec.base_path, context.profile.base_path)
    if _DOT_SEGMENT.search(path) or "//" in path or "\\" in path:
        context.findings.reject(
            ("spec", "basePath"),
            "empty parts, backslashes, `.` and `..` would lead elsewhere: write the path without them",
        )
    return path.rstrip("/")


def _authorities(context: Context, draft: Draft) -> tuple[str, ...]:
    """Without the port where it is the usual one."""
    usual = _usual_port(context)
    found = set(context.profile.authorities)
    for endpoint in draft.endpoints:
        found.add(endpoint.authority if endpoint.port == usual else f"{endpoint.authority}:{endpoint.port}")
    return tuple(sorted(found))
