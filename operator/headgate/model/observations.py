"""What proxies and probes say back, in the middle's own words: acknowledgements of what the proxies were sent, how the
sections do, and what providers answered.

Adapters make these; the status compile reads them. Frozen values, and a Protocol that must answer from a
state that does not change while one compile of statuses reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol

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
    failed. `node`: the proxy's node id, empty where it is not known; `heard`: when this came in. Neither makes a report
    another one: statuses tell nothing of them.
    """

    circuit: Circuit
    since: datetime
    failure: str = ""
    calls: int = 0
    failures: int = 0
    failing: bool = False
    node: str = field(default="", compare=False)
    heard: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ProxyLoad:
    """How much one proxy has to do. `node`: its node id (`namespace/name/instance`); `at`: when it said so, by the clock of the
    replica that heard it; `in_flight`: calls to providers under way at that moment; `calls` and `failures` (answers of 500
    and above, and none at all): that ended since it last said so, a few seconds ago. `moved`: the ids of sections whose calls
    go to another than their first priority, in this order, each with the priority that they go to.
    """

    node: str
    at: datetime
    in_flight: int
    calls: int = 0
    failures: int = 0
    moved: tuple[tuple[str, int], ...] = ()


#: By gateway (`namespace/name`): what each proxy that says so said last, in the order of their node ids.
ProxyLoads = Mapping[str, tuple[ProxyLoad, ...]]


@dataclass(frozen=True, slots=True)
class ProxyStates:
    """Of one gateway: node ids of the proxies that are connected to some replica, and of those among them that have not
    answered for all that is published.
    """

    connected: frozenset[str] = frozenset()
    behind: frozenset[str] = frozenset()


#: By gateway (`namespace/name`).
Fleets = Mapping[str, ProxyStates]


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
    """What became of an object that Headgate wants in the cluster, and that calls can't do with as it is."""

    #: Somebody else's object has its name.
    TAKEN = "Taken"
    #: The API server does not take it: a quota, an admission policy, a missing right.
    REFUSED = "Refused"
    #: It is on its way, and nobody knows of anything that is wrong with it.
    PENDING = "Pending"
    #: Of a gateway's pods: none has been ready yet, so that nobody would answer.
    STARTING = "Starting"
    #: It is there, or of a gateway's pods one is ready: nodes are about to hear where that is.
    SETTLING = "Settling"
    #: Of a gateway's pods: none is ready any more.
    UNREADY = "Unready"

    @property
    def missing(self) -> bool:
        """Whether the object is not there, and does not come by waiting."""
        return self in _MISSING


_MISSING = frozenset({ObjectResult.TAKEN, ObjectResult.REFUSED})
#: The kind of a report on a gateway's pods, whose name is the gateway's (`namespace/name`).
PODS = "Pod"


@dataclass(frozen=True, slots=True)
class ObjectReport:
    """An object that is missing in the cluster, or not of use yet; `message` says why, and what to do, where the result does not
    say it all."""

    kind: str
    name: str
    result: ObjectResult
    message: str = ""


#: By owner (a gateway or an upstream): what could not be made for it, and what it waits for. Nothing of those for which all is
#: there.
ObjectReports = Mapping[ObjectRef, tuple[ObjectReport, ...]]


def _nothing() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Observed:
    """All that is observed at one moment and that statuses say something of. What a replica does not know it leaves out.

    `unreadable`: why a Secret or ConfigMap that something refers to may not be read, as a sentence's end.
    """

    acks: Acknowledgements
    reports: SectionReports = field(default_factory=_nothing)
    probes: ProbeReports = field(default_factory=_nothing)
    objects: ObjectReports = field(default_factory=_nothing)
    unreadable: Mapping[ObjectRef, str] = field(default_factory=_nothing)
