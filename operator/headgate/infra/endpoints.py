"""Where the Service of an upstream leads that has an address of its own (`serviceMode: ClusterIP`): to the gateway's pods.

The gateway may be in another namespace, where no selector reaches. So what the cluster says of the gateway's own Service is said
again for the upstream's: the same addresses, ports and conditions, `serving` and `terminating` among them, so that a pod that
drains is treated as it would be behind the gateway's Service. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from headgate.api.base import GROUP
from headgate.infra.manifest import (
    COMPONENT,
    GATEWAY_LABEL,
    GATEWAY_NAMESPACE_LABEL,
    MANAGED_BY,
    MANAGER,
    Document,
    Manifest,
    Owner,
    child_name,
    label_value,
    manifest,
)
from headgate.model.refs import ObjectRef

API_VERSION: Final = "discovery.k8s.io/v1"
SERVICE_NAME: Final = "kubernetes.io/service-name"
#: By which the cluster's own controllers know which slices are theirs. Ours are not.
SLICE_MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
CONTROLLER: Final = "endpointslice-controller.k8s.io"
#: What of an endpoint is said again. Not its pod, which is in another namespace, and no hints, which are for another Service.
_KEPT = ("addresses", "conditions", "nodeName", "zone")


@dataclass(frozen=True, slots=True)
class Slice:
    """An EndpointSlice of a gateway's Service. Endpoints are in the order of their addresses: the cluster's own order changes
    without a meaning."""

    ref: ObjectRef
    service: str
    family: str
    ports: tuple[Mapping[str, Any], ...] = field(hash=False)
    endpoints: tuple[Mapping[str, Any], ...] = field(hash=False)


def read_slice(document: Document) -> Slice:
    """An EndpointSlice as the API server has it."""
    meta = document["metadata"]
    endpoints = [{key: each[key] for key in _KEPT if key in each} for each in document.get("endpoints") or ()]
    return Slice(
        ObjectRef("EndpointSlice", meta["namespace"], meta["name"]),
        (meta.get("labels") or {}).get(SERVICE_NAME, ""),
        document["addressType"],
        tuple(document.get("ports") or ()),
        tuple(sorted(endpoints, key=lambda each: list(each["addresses"]))),
    )


def of_gateway(slices: Iterable[Slice], gateway: ObjectRef) -> tuple[Slice, ...]:
    """Those of this gateway's Service, sorted."""
    service = child_name(gateway.name)
    found = [each for each in slices if (each.ref.namespace, each.service) == (gateway.namespace, service)]
    return tuple(sorted(found, key=lambda each: each.ref))


def answered(slices: Iterable[Slice]) -> bool:
    """Whether calls to the Service find anybody: a pod that is ready or, where there is none, one that serves until it ends.
    Where nothing is said of that, the API has it that it is ready."""
    conditions = (each.get("conditions") or {} for every in slices for each in every.endpoints)
    return any(each.get("ready") is not False or bool(each.get("serving")) for each in conditions)


def upstream_endpoints(
    upstream: ObjectRef, uid: str, gateway: ObjectRef, slices: Iterable[Slice]
) -> tuple[Manifest, ...]:
    """One for each of the gateway's, in the upstream's namespace and owned by the upstream."""
    labels = {
        "app.kubernetes.io/name": "headgate",
        MANAGED_BY: MANAGER,
        COMPONENT: "upstream",
        GATEWAY_LABEL: label_value(gateway.name),
        GATEWAY_NAMESPACE_LABEL: gateway.namespace,
        SERVICE_NAME: upstream.name,
        SLICE_MANAGED_BY: GROUP,
    }
    return tuple(
        manifest(
            Owner(upstream, uid),
            API_VERSION,
            "EndpointSlice",
            f"{upstream.name}-{each.ref.name}",
            labels,
            addressType=each.family,
            ports=list(each.ports),
            endpoints=list(each.endpoints),
        )
        for each in slices
    )
