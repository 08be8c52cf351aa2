"""The Service of an upstream's own name, by which applications in the cluster call it: `http://NAME.NAMESPACE`.

Usually an alias of the gateway's Service in DNS (ExternalName), so that nothing has to change here when the gateway's pods do.
The name that the application used stays in its call, and by it the proxy knows the upstream.
"""

from __future__ import annotations

from headgate.infra.manifest import (
    COMPONENT,
    GATEWAY_LABEL,
    GATEWAY_NAMESPACE_LABEL,
    MANAGED_BY,
    MANAGER,
    Document,
    Manifest,
    Owner,
    label_value,
    manifest,
)
from headgate.infra.network import host_names, service_ports
from headgate.infra.settings import InfraSettings
from headgate.model.fleet import ServiceMode
from headgate.model.plan import Gateway, Upstream


def upstream_service(upstream: Upstream, uid: str, gateway: Gateway, settings: InfraSettings) -> Manifest | None:
    """In the upstream's namespace and owned by it; the gateway may be in another, so labels say which one it is. None where
    the upstream is to have none.

    An API server may refuse the name (older ones want a letter first): then the upstream is to be called by its path.
    """
    labels = {
        "app.kubernetes.io/name": "headgate",
        MANAGED_BY: MANAGER,
        COMPONENT: "upstream",
        GATEWAY_LABEL: label_value(gateway.ref.name),
        GATEWAY_NAMESPACE_LABEL: gateway.ref.namespace,
    }
    spec: Document
    match upstream.service_mode:
        case ServiceMode.NONE:
            return None
        case ServiceMode.EXTERNAL_NAME:
            spec = {"type": "ExternalName", "externalName": host_names(gateway.ref, settings.cluster_domain)[-1]}
        case ServiceMode.CLUSTER_IP:
            # Without a selector, which would only find pods in its own namespace.
            spec = {"type": "ClusterIP", "ports": service_ports(gateway.listener)}
    return manifest(Owner(upstream.ref, uid), "v1", "Service", upstream.ref.name, labels, spec=spec)
