"""What a gateway's owner says of its fleet: how many proxies, of what size, where they run, who may call them, how they end.

Part of the Plan. Everything is optional: None means what the installation says for all gateways (`infra.settings`).
Durations are whole milliseconds, memory is bytes, CPU thousandths of a core.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

#: Keys and values of a mapping, sorted by key: hashable, and the same for the same content.
Pairs = tuple[tuple[str, str], ...]


class ServiceMode(StrEnum):
    """How the Service of an upstream's name leads to its gateway."""

    #: An alias in DNS for the gateway's own Service.
    EXTERNAL_NAME = "ExternalName"
    #: An address of its own, for clients that don't follow aliases.
    CLUSTER_IP = "ClusterIP"
    #: There is none: the upstream is called by its path at the gateway.
    NONE = "None"


class CallersFrom(StrEnum):
    """Whose pods may call a gateway."""

    #: Those of namespaces that have upstreams attached to it.
    ATTACHED = "Attached"
    #: Those of its own namespace.
    SAME = "Same"
    ALL = "All"
    #: Those of namespaces with certain labels.
    SELECTOR = "Selector"


@dataclass(frozen=True, slots=True)
class Callers:
    """Who may call. `labels`: that a namespace must have, for SELECTOR."""

    from_: CallersFrom = CallersFrom.ATTACHED
    labels: Pairs = ()


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """What the owner adds to the pods. It is put in such a way that the proxy's own container and labels stay as they are.

    `tolerations`, `affinity` and `topology_spread` are JSON as in a pod's spec, keys sorted; empty where there is none.
    """

    labels: Pairs = ()
    annotations: Pairs = ()
    node_selector: Pairs = ()
    tolerations: tuple[str, ...] = ()
    affinity: str = ""
    topology_spread: tuple[str, ...] = ()
    priority_class: str | None = None
    runtime_class: str | None = None
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fleet:
    """One gateway's. `target_cpu` and `target_in_flight` are averages over its proxies that the number of these is to bring
    about; `calm`: how long a lull lasts before a proxy goes. `drain_least`, `drain_most`: how long a proxy that ends goes on
    taking calls, and how long calls in flight are waited for."""

    callers: Callers | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    target_cpu: int | None = None
    target_in_flight: int | None = None
    calm: int | None = None
    image: str | None = None
    cpu_request: int | None = None
    cpu_limit: int | None = None
    memory_request: int | None = None
    memory_limit: int | None = None
    pod: PodTemplate = field(default_factory=PodTemplate)
    drain_least: int | None = None
    drain_most: int | None = None
