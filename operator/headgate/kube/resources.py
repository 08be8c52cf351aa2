"""Resources of the API server: their paths, and those that Headgate deals with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote

from headgate.api.base import GROUP, VERSION
from headgate.api.kinds import KINDS


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind of object as the API server serves it. The core group's name is empty."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """As `apiVersion` spells it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
        """Of all objects, those of a namespace, or one of them. A namespace is ignored where there are none."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(quote(part, safe="") for part in parts)

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural


#: Our kinds by name.
OURS: Mapping[str, Resource] = MappingProxyType(
    {name: Resource(GROUP, VERSION, kind.names.plural, name) for name, kind in KINDS.items()}
)

NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
SECRETS = Resource("", "v1", "secrets", "Secret")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ENDPOINT_SLICES = Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice")
PODS = Resource("", "v1", "pods", "Pod")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")

#: What upstreams and gateways take bytes from.
DATA: Mapping[str, Resource] = MappingProxyType({each.kind: each for each in (SECRETS, CONFIG_MAPS)})

#: What Headgate makes for gateways and upstreams.
CHILDREN: Mapping[str, Resource] = MappingProxyType(
    {
        each.kind: each
        for each in (
            Resource("", "v1", "services", "Service"),
            Resource("", "v1", "serviceaccounts", "ServiceAccount"),
            CONFIG_MAPS,
            SECRETS,
            Resource("apps", "v1", "deployments", "Deployment"),
            Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
            ENDPOINT_SLICES,
            Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy"),
            Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget"),
        )
    }
)
