"""What proxies and probes say back, in the middle's own words: acknowledgements of what the proxies were sent, how the
sections do, and what providers answered.

Adapters make these; the status compile reads them. Frozen values, and a Protocol that must answer from a
state that does not change while one compile of statuses reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from headgate.model.refs import ObjectRef


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """How the proxies of one gateway took what one object owns there, in the versions that are published now.

    `pending`: how many connected proxies have not answered for all of it. `rejected`: the proxies' own words for each
    resource that one of them refused, sorted, without repetition; empty if none was. `failed`: our words for each part of
    it that they were never sent, because it could not be rendered.
    """

    pending: int = 0
    rejected: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


#: Every connected proxy has taken everything.
ACKNOWLEDGED = Acknowledgement()


class Acknowledgements(Protocol):
    """All gateways' proxies at one moment."""

    def connected(self, gateway: str) -> int:
        """How many proxies of this gateway (`namespace/name`) are connected."""
        ...

    def of(self, gateway: str, owner: ObjectRef) -> Acknowledgement:
        """How they took what `owner` owns."""
        ...

    def told(self, gateway: str) -> Iterable[ObjectRef]:
        """The owners of which there is something to tell: `of` is ACKNOWLEDGED for all others."""
        ...

    def unheard(self) -> tuple[str, ...]:
        """Names of the operator's replicas that can't be asked, sorted: what their proxies made of it is not known."""
        ...


class Circuit(StrEnum):
    """The state of a section's breaker in one proxy."""

    NONE = "None"
    CLOSED = "Closed"
    HALF_OPEN = "HalfOpen"
    OPEN = "Open"


@dataclass(frozen=True, slots=True)
class SectionReport:
    """How one section does in one proxy.

    `since`: when the circuit came to this state. `failure`: the last failure in one word (`Status503`,
    `ConnectTimeout`), empty if there was none. `calls` and `failures` in the proxy's window. `failing`: the last call
    failed.
    """

    circuit: Circuit
    since: datetime
    failure: str = ""
    calls: int = 0
    failures: int = 0
    failing: bool = False


#: By gateway (`namespace/name`) and section id (`namespace/upstream/section`): what each connected proxy of that gateway
#: said last. It counts only while that gateway serves the section.
SectionReports = Mapping[tuple[str, str], tuple[SectionReport, ...]]


class ProbeVerdict(StrEnum):
    """What one answer to a probe says of the provider."""

    HEALTHY = "Healthy"
    #: It answers, and well, but not with this credential.
    CREDENTIAL_REJECTED = "CredentialRejected"
    #: The account or project is switched off.
    PAUSED = "Paused"
    #: It asks to be called less often; that says nothing of its health.
    RATE_LIMITED = "RateLimited"
    UNHEALTHY = "Unhealthy"


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What probes say of an upstream's provider, since when. `verdict` is never RATE_LIMITED; UNHEALTHY, no call has
    succeeded either as long as one would have been looked for. `failure`: what went wrong in one word (`Status503`,
    `ConnectTimeout`); `detail`: more of it where one word is not enough, in words of ours or of a library, never the
    provider's."""

    verdict: ProbeVerdict
    since: datetime
    failure: str = ""
    detail: str = ""


#: By upstream (`namespace/name`): what probes have to say; nothing of those that nobody has asked yet.
ProbeReports = Mapping[str, ProbeReport]


class ObjectResult(StrEnum):
    """What became of an object that Headgate wants in the cluster and that is not there."""

    #: Somebody else's object has its name.
    TAKEN = "Taken"
    #: The API server does not take it: a quota, an admission policy, a missing right.
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """An object that is missing in the cluster; `message` says why, and what to do."""

    kind: str
    name: str
    result: ObjectResult
    message: str


#: By owner (a gateway or an upstream): what could not be made for it. Nothing of those for which all is there.
ObjectReports = Mapping[ObjectRef, tuple[ObjectReport, ...]]
