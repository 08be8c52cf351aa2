"""What the features work on: the context that they read, and the draft of an upstream that they fill.

Both live for one compile of one version of one upstream and are never shared; what comes out (`Compiled`) is frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from headgate.api.section import Section as SectionSpec
from headgate.api.upstream import UpstreamServiceSpec
from headgate.compile.attached import Attached, Nearest, S
from headgate.compile.findings import Findings
from headgate.compile.gateways import GatewayFacts
from headgate.compile.origins import Contest, Layer, Notes, Sink, nearest, union
from headgate.model.plan import (
    Breaker,
    Ceilings,
    Credential,
    Dns,
    Endpoint,
    HeaderRules,
    HealthCheck,
    Limit,
    Probe,
    Retry,
    Route,
    SecretMaterial,
    Section,
    Timeouts,
    Tls,
    Upstream,
)
from headgate.model.refs import ObjectRef
from headgate.model.shared import shared
from headgate.model.snapshot import DataEntry, Settings
from headgate.model.verdict import CredentialUse, Finding, Path, PolicyUse
from headgate.providers.profile import Profile, SectionProfile

_GATEWAY = (Layer.GATEWAY,)
_KNOWN = (Layer.KNOWN,)
_UPGRADES = (Layer.UPSTREAM, Layer.KNOWN_SECTION)
_UNKNOWN = SectionProfile("", ())


@dataclass(frozen=True, slots=True)
class Misfit:
    """A policy that can't do what it says on one section; it is left out there."""

    policy: ObjectRef
    target: ObjectRef
    target_section: str | None
    finding: Finding


@dataclass(frozen=True, slots=True)
class Compiled:
    """One version of an upstream, compiled. `upstream` None: it can't be served. `used` and `outdated` are the Secrets
    and ConfigMaps that it took something from; from the outdated ones it took an older version's."""

    upstream: Upstream | None
    materials: tuple[SecretMaterial, ...] = ()
    invalid: tuple[Finding, ...] = ()
    unresolved: tuple[Finding, ...] = ()
    misfits: tuple[Misfit, ...] = ()
    policies: tuple[PolicyUse, ...] = ()
    credentials: tuple[CredentialUse, ...] = ()
    #: Sorted: a set of one takes four times as much.
    used: tuple[ObjectRef, ...] = ()
    outdated: frozenset[ObjectRef] = frozenset()
    sections: tuple[str, ...] = ()
    provider: str = ""
    host: str = ""


@dataclass(frozen=True, slots=True)
class Context:
    """All that compiling one version of an upstream may read. `gateway` None: there is none, so nothing comes of it but
    findings. `notes`: for what decides to leave word of why; None unless somebody wants to know."""

    ref: ObjectRef
    spec: UpstreamServiceSpec
    profile: Profile
    gateway: GatewayFacts | None
    attached: Attached
    data: Mapping[ObjectRef, DataEntry]
    settings: Settings
    findings: Findings
    notes: Notes | None = None

    def noting(self, section: str = "", policy: ObjectRef | None = None) -> Sink | None:
        """Where to note the origin of a section's values ("": of those of all sections), if anybody wants to know."""
        if self.notes is None:
            return None
        gateway = self.gateway.ref if self.gateway else None
        return Sink(self.notes, section, self.ref, gateway, self.profile.name, policy)

    def policy(self, spec: type[S], section: str) -> Nearest[S] | None:
        """The policy of an exclusive kind that counts for a section."""
        ranked = self.attached.of(spec).ranked(section)
        found = next(ranked, None)
        if found is not None and self.notes is not None:
            self.notes.contests[section, found.policy.ref.kind] = Contest(found, tuple(ranked))
        return found


@dataclass(slots=True)
class SectionDraft:
    """One section being filled; `spec` and `profile` are what the user and the provider's profile say of it."""

    name: str
    spec: SectionSpec | None
    path: Path
    profile: SectionProfile | None
    credentials: tuple[Credential, ...] = ()
    timeouts: Timeouts = field(default_factory=lambda: Timeouts(0, 0, 0))
    stream_timeouts: Timeouts | None = None
    retry: Retry | None = None
    breaker: Breaker | None = None
    ceilings: Ceilings = field(default_factory=Ceilings)
    limits: tuple[Limit, ...] = ()
    max_request_body: int | None = None
    owners: set[ObjectRef] = field(default_factory=set)


@dataclass(slots=True)
class Draft:
    """An upstream being filled."""

    sections: dict[str, SectionDraft] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    endpoints: tuple[Endpoint, ...] = ()
    authorities: tuple[str, ...] = ()
    base_path: str = ""
    dns: Dns = field(default_factory=Dns)
    tls: Tls | None = None
    health_check: HealthCheck | None = None
    probe: Probe | None = None
    request_headers: HeaderRules = field(default_factory=HeaderRules)
    response_headers: HeaderRules = field(default_factory=HeaderRules)
    strip_headers: tuple[str, ...] = ()
    strip_query: tuple[str, ...] = ()
    strip_cookies: tuple[str, ...] = ()
    materials: dict[str, SecretMaterial] = field(default_factory=dict)
    used: set[ObjectRef] = field(default_factory=set)
    outdated: set[ObjectRef] = field(default_factory=set)
    misfits: list[Misfit] = field(default_factory=list)
    #: By section ("" for all) and name.
    credentials: dict[tuple[str, str], CredentialUse] = field(default_factory=dict)
    #: Something that was found can't be used where it is to go.
    unusable: bool = False

    def freeze(self, context: Context, draft: SectionDraft) -> Section:
        """The finished section."""
        sink, known = context.noting(draft.name), draft.profile or _UNKNOWN
        cidrs = context.gateway.allowed_cidrs if context.gateway else None
        return Section(
            id=f"{context.ref.key}/{draft.name}",
            name=draft.name,
            endpoints=self.endpoints,
            base_path=self.base_path,
            dns=shared(self.dns),
            tls=self.tls,
            credentials=draft.credentials,
            # What a caller may fill here, it may though another section's credential goes there.
            strip_request_headers=tuple(
                each for each in self.strip_headers if each not in {own.key for own in draft.credentials if own.yields}
            ),
            strip_query=self.strip_query,
            strip_cookies=self.strip_cookies,
            timeouts=shared(draft.timeouts),
            retry=shared(draft.retry),
            breaker=shared(draft.breaker),
            ceilings=shared(draft.ceilings),
            limits=draft.limits,
            request_headers=shared(self.request_headers),
            response_headers=shared(self.response_headers),
            upgrades=tuple(sorted(union(sink, "upgrades", _UPGRADES, context.spec.upgrades, known.upgrades))),
            health_check=self.health_check,
            allowed_cidrs=nearest(sink, "allowedCIDRs", _GATEWAY, cidrs) or (),
            owners=tuple(sorted({context.ref, *draft.owners})),
            max_request_body=draft.max_request_body,
            max_request_head=nearest(sink, "maxRequestHead", _KNOWN, context.profile.max_request_head),
            stream_timeouts=shared(draft.stream_timeouts),
        )
