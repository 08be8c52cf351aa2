"""The Service of an upstream's own name, by which applications in the cluster call it: `http://NAME.NAMESPACE`.

An alias of the gateway's Service in DNS (ExternalName), so that nothing has to change here when the gateway's pods do. The
name that the application used stays in its call, and by it the proxy knows the upstream.
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
from headgate.infra.network import host_names
from headgate.infra.settings import InfraSettings
from headgate.model.refs import ObjectRef


def upstream_service(upstream: ObjectRef, uid: str, gateway: ObjectRef, settings: InfraSettings) -> Manifest:
    """In the upstream's namespace and owned by it; the gateway may be in another, so labels say which one it is.

    An API server may refuse the name (older ones want a letter first): then the upstream is to be called by its path.
    """
    labels = {
        "app.kubernetes.io/name": "headgate",
        MANAGED_BY: MANAGER,
        COMPONENT: "upstream",
        GATEWAY_LABEL: label_value(gateway.name),
        GATEWAY_NAMESPACE_LABEL: gateway.namespace,
    }
    spec: Document = {
        "type": "ExternalName",
        "externalName": host_names(gateway, settings.cluster_domain)[-1],
    }
    return manifest(Owner(upstream, uid), "v1", "Service", upstream.name, labels, spec=spec)
