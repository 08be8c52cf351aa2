"""What was read of a cluster, as it was read: the only input of the checks. Frozen; no Secret's value is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Document = Mapping[str, Any]
#: When nothing is known of a time.
NEVER = datetime(1970, 1, 1, tzinfo=UTC)
NOT_FOUND, FORBIDDEN = 404, 403


@dataclass(frozen=True, slots=True)
class Look:
    """What one question found. `status` and `why`: the answer where it was none, 0 for not asked."""

    items: tuple[Document, ...] = ()
    status: int = 200
    why: str = ""

    @property
    def read(self) -> bool:
        """Whether this is how things are: also that there is nothing."""
        return self.status in (200, NOT_FOUND)

    def one(self) -> Document | None:
        """The only object of a question by name."""
        return self.items[0] if self.items else None


UNASKED = Look(status=0, why="not asked")


@dataclass(frozen=True, slots=True)
class Right:
    """One verb on one resource, and whether it is allowed; `namespace` empty: in all."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}{where}"


@dataclass(frozen=True, slots=True)
class Rights:
    """Those that were asked for. `why`: why nothing could be said, where that is so."""

    allowed: Mapping[Right, bool] = field(default_factory=dict)
    why: str = ""

    def missing(self) -> list[Right]:
        """Those that are not there."""
        return [right for right, allowed in self.allowed.items() if not allowed]


@dataclass(frozen=True, slots=True)
class Evidence:
    """One look at one cluster. `namespace` is the operator's. `unreachable`: why the API server can't be asked at all; all
    else is empty then. `clock` is the API server's, `own_clock` this machine's, at the same moment give or take the call.
    `authorities`: until when each root in the CA Secret is valid, by its file. `slices`: of the Services of operator and
    gateways, in all their namespaces."""

    server: str
    context: str
    namespace: str
    unreachable: str = ""
    user: str = ""
    version: Document = field(default_factory=dict)
    clock: datetime = NEVER
    own_clock: datetime = NEVER
    definitions: Mapping[str, Look] = field(default_factory=dict)
    home: Look = UNASKED
    operator: Look = UNASKED
    operator_pods: Look = UNASKED
    operator_service: Look = UNASKED
    lease: Look = UNASKED
    authority: Look = UNASKED
    authorities: Mapping[str, datetime] = field(default_factory=dict)
    slices: Look = UNASKED
    gateways: Look = UNASKED
    upstreams: Look = UNASKED
    policies: Mapping[str, Look] = field(default_factory=dict)
    deployments: Look = UNASKED
    services: Look = UNASKED
    strangers: Mapping[str, Document] = field(default_factory=dict)
    network_policies: Look = UNASKED
    autoscalers: Look = UNASKED
    identities: Look = UNASKED
    pods: Look = UNASKED
    metrics: Look = UNASKED
    rights: Rights = Rights()
    installing: Rights = Rights()

    def argument(self, name: str) -> list[str]:
        """The values that the operator's container is given for an option."""
        found = self.operator.one()
        containers = dig(found, "spec", "template", "spec", "containers") or ()
        arguments = [str(each) for container in containers for each in container.get("args") or ()]
        return [each.partition("=")[2] for each in arguments if each.partition("=")[0] == name]


def dig(document: Any, *path: str) -> Any:
    """What is at a path of keys; None where it ends before."""
    for key in path:
        document = document.get(key) if isinstance(document, Mapping) else None
    return document


def key_of(document: Document) -> str:
    """`namespace/name`."""
    meta = document["metadata"]
    return f"{meta.get('namespace', '')}/{meta['name']}"


def condition(document: Document | None, kind: str) -> Document:
    """A condition of an object; empty if there is none."""
    found = dig(document, "status", "conditions") or ()
    return next((each for each in found if each.get("type") == kind), {})


def moment(text: Any) -> datetime | None:
    """A time as the API server writes it."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found if found.tzinfo else None
