"""What a probe asks, from the Plan. Pure.

A Question is all that decides what is sent and how the answer is read, secrets included, and nothing else: upstreams with
equal ones share one probe, since what the provider allows is counted by key and not by upstream.
"""

from __future__ import annotations

from dataclasses import dataclass

from headgate.model.answers import AnswerMark, BodyHint, ResetHeader, StatusRange
from headgate.model.plan import (
    CredentialPlace,
    Endpoint,
    Gateway,
    HeaderRules,
    LookupFamily,
    Millis,
    Probe,
    Section,
    SubjectAltName,
    Tls,
    Upstream,
)
from headgate.model.secret import SecretValue


@dataclass(frozen=True, slots=True)
class Key:
    """A credential and where it goes."""

    place: CredentialPlace
    name: str
    prefix: str
    value: SecretValue


@dataclass(frozen=True, slots=True)
class Trust:
    """TLS with all that it needs. `server_name` None: the endpoint's own name. `certificate`: chain and private key."""

    roots: SecretValue
    server_name: str | None = None
    subject_alt_names: tuple[SubjectAltName, ...] = ()
    certificate: tuple[SecretValue, SecretValue] | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """One call. `path` is whole, with the query but without credentials. `allowed_cidrs`: what may be called besides the
    public internet. See `plan.Probe` for how its answer is read."""

    endpoints: tuple[Endpoint, ...]
    family: LookupFamily
    connect_timeout: Millis
    allowed_cidrs: tuple[str, ...]
    trust: Trust | None
    method: str
    path: str
    headers: HeaderRules
    keys: tuple[Key, ...]
    expected: tuple[StatusRange, ...]
    field: str
    text: str
    marks: tuple[AnswerMark, ...]
    reset_headers: tuple[ResetHeader, ...]
    body_hint: BodyHint | None


def question(gateway: Gateway, upstream: Upstream) -> Question | None:
    """What is asked about an upstream of this gateway; None if nothing is, or a secret is not there."""
    probe = upstream.probe
    if probe is None:
        return None
    section = upstream.section(probe.section)
    needed = [each.secret for each in section.credentials]
    if section.tls is not None:
        needed += [section.tls.roots, *filter(None, [section.tls.client_certificate])]
    if not gateway.secrets.keys() >= set(needed):
        return None
    return _question(gateway, section, probe)


def _question(gateway: Gateway, section: Section, probe: Probe) -> Question:
    return Question(
        endpoints=section.endpoints,
        family=section.dns.family,
        connect_timeout=section.timeouts.connect,
        allowed_cidrs=section.allowed_cidrs,
        trust=_trust(gateway, section.tls) if section.tls is not None else None,
        method=probe.method,
        path=probe.path,
        headers=section.request_headers,
        # What yields to a caller's own goes in: a probe has no user.
        keys=tuple(
            Key(each.place, each.key, each.prefix, gateway.secrets[each.secret].value) for each in section.credentials
        ),
        expected=probe.expected,
        field=probe.field,
        text=probe.text,
        marks=probe.marks,
        reset_headers=probe.reset_headers,
        body_hint=probe.body_hint,
    )


def _trust(gateway: Gateway, tls: Tls) -> Trust:
    material = gateway.secrets[tls.client_certificate] if tls.client_certificate else None
    pair = (material.value, material.private_key) if material is not None and material.private_key is not None else None
    return Trust(gateway.secrets[tls.roots].value, tls.server_name, tls.subject_alt_names, pair)
