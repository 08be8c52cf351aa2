"""One version of one upstream, compiled: the features in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain

from headgate.api.conditions import Reason
from headgate.api.upstream import UpstreamService, UpstreamServiceSpec
from headgate.compile import (
    breaker,
    credentials,
    endpoints,
    headers,
    health,
    limits,
    probe,
    provider,
    retry,
    sections,
    sizes,
    timeouts,
    tls,
)
from headgate.compile.attached import Attached
from headgate.compile.draft import Compiled, Context, Draft
from headgate.compile.findings import Findings
from headgate.compile.gateways import GatewayFacts
from headgate.compile.origins import Notes
from headgate.model.fleet import ServiceMode
from headgate.model.plan import Upstream
from headgate.model.refs import ObjectRef
from headgate.model.sentences import meant
from headgate.model.shared import shared
from headgate.model.snapshot import DataEntry, Settings
from headgate.model.verdict import Finding, PolicyUse
from headgate.providers.generic import GENERIC
from headgate.providers.registry import Profiles

#: The order: each may read what those before it have filled.
STEPS: tuple[Callable[[Context, Draft], None], ...] = (
    sections.fill,  # first: the others fill sections
    endpoints.fill,
    tls.fill,
    credentials.fill,
    timeouts.fill,
    retry.fill,  # waits have to fit into timeouts
    breaker.fill,
    limits.fill,
    sizes.fill,
    headers.fill,
    health.fill,  # may not check every endpoint
    probe.fill,  # is a call of some section
)


#: An empty set is as large as one with a few items, and most are empty.
_NONE: frozenset[ObjectRef] = frozenset()


def references(spec: UpstreamServiceSpec, namespace: str) -> tuple[ObjectRef, ...]:
    """Every Secret and ConfigMap that the declaration refers to, sorted."""
    return tuple(sorted({ObjectRef(kind, namespace, name) for kind, name in _references(spec)}))


def _references(spec: UpstreamServiceSpec) -> Iterator[tuple[str, str]]:
    for credential in chain(spec.credentials, *(section.credentials for section in spec.sections)):
        yield "Secret", credential.secret_ref.name
    if spec.tls is not None:
        if spec.tls.client_certificate_ref is not None:
            yield "Secret", spec.tls.client_certificate_ref.name
        for ref in spec.tls.validation.ca_certificate_refs if spec.tls.validation else ():
            yield ref.kind, ref.name


def compile_upstream(
    ref: ObjectRef,
    version: UpstreamService,
    gateway: GatewayFacts | Finding,
    attached: Attached,
    data: Mapping[ObjectRef, DataEntry],
    profiles: Profiles,
    settings: Settings,
    notes: Notes | None = None,
) -> Compiled:
    """Compile one version. Never raises for anything that the models accept; what is wrong comes back as findings.
    `notes` are filled with where the values came from."""
    findings = Findings()
    name = version.spec.provider or GENERIC.name
    profile = profiles.get(name)
    if profile is None:
        known = ", ".join(sorted(profiles))
        message = f"there is no provider {name}{meant(name, profiles, f'use one of {known}')}"
        findings.reject(("spec", "provider"), message, Reason.UNKNOWN_PROVIDER)
    else:
        profile = provider.of_upstream(profile, version.spec, findings)
    facts = _gateway(gateway, findings)
    context = Context(ref, version.spec, profile or GENERIC, facts, attached, data, settings, findings, notes)
    draft = Draft()
    # Without the profile the rest would be guesswork; what can be said of it then would mislead.
    for step in STEPS if profile is not None else ():
        step(context, draft)
    if notes is not None:
        notes.sections = tuple(draft.freeze(context, section) for _, section in sorted(draft.sections.items()))
        notes.routes = draft.routes
    return _result(context, draft, name)


def _gateway(gateway: GatewayFacts | Finding, findings: Findings) -> GatewayFacts | None:
    if isinstance(gateway, GatewayFacts):
        return gateway
    if gateway.reason is Reason.NOT_ALLOWED_BY_GATEWAY:
        findings.invalid.append(gateway)
    else:
        findings.unresolved.append(gateway)
    return None


def _result(context: Context, draft: Draft, provider: str) -> Compiled:
    findings = context.findings
    return Compiled(
        upstream=_upstream(context, draft) if _servable(context, draft) else None,
        materials=tuple(each for _, each in sorted(draft.materials.items())),
        invalid=tuple(findings.invalid),
        unresolved=tuple(findings.unresolved),
        misfits=tuple(draft.misfits),
        policies=_uses(context, draft),
        credentials=tuple(each for _, each in sorted(draft.credentials.items(), key=lambda item: item[0])),
        used=tuple(sorted(draft.used)),
        outdated=frozenset(draft.outdated) if draft.outdated else _NONE,
        sections=shared(tuple(sorted(draft.sections))),
        provider=provider,
        host=draft.endpoints[0].hostname if draft.endpoints else "",
    )


def _servable(context: Context, draft: Draft) -> bool:
    """Whether it can be put in force: nothing wrong with it, and every secret is there, if only in an older version."""
    if context.gateway is None or context.findings.invalid or not draft.sections:
        return False
    needed = {credential.secret for section in draft.sections.values() for credential in section.credentials}
    if draft.tls is not None:
        needed.add(draft.tls.roots)
    certificate = context.spec.tls.client_certificate_ref if context.spec.tls else None
    if certificate is not None and (draft.tls is None or draft.tls.client_certificate is None):
        return False
    return needed <= draft.materials.keys() and not draft.unusable


def _upstream(context: Context, draft: Draft) -> Upstream:
    return Upstream(
        ref=context.ref,
        sections=tuple(draft.freeze(context, section) for _, section in sorted(draft.sections.items())),
        routes=shared(draft.routes),
        authorities=draft.authorities,
        probe=draft.probe,
        service_mode=ServiceMode(context.spec.service_mode or ServiceMode.EXTERNAL_NAME),
    )


def _uses(context: Context, draft: Draft) -> tuple[PolicyUse, ...]:
    """The policies in force: once for the whole upstream where they shape every section."""
    by_policy: dict[ObjectRef, list[str]] = {}
    for name, section in sorted(draft.sections.items()):
        for policy in section.owners - {context.ref}:
            by_policy.setdefault(policy, []).append(name)
    uses = []
    for policy, names in sorted(by_policy.items()):
        if len(names) == len(draft.sections):
            uses.append(PolicyUse(policy))
        else:
            uses.extend(PolicyUse(policy, name) for name in names)
    return shared(tuple(uses))
