"""Who a gateway's pods are: to Kubernetes nobody, to the operator the gateway's own, by a certificate in a Secret.

The operator issues one client certificate per gateway (`spiffe://headgate/gateway/NAMESPACE/NAME`, the same for all its
pods: they serve the same and may see the same) and renews it long before it runs out; the kubelet brings it into running
pods, where Envoy reads it again by itself. So no pod restarts for a certificate, and a pod starts without the operator.

Whoever reads this Secret may act as a proxy of this gateway, and so get the credentials of its upstreams: no more than
whoever may run commands in its pods, which are in the same namespace.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from headgate.api.base import GROUP
from headgate.infra.manifest import Manifest, Owner, child_name, gateway_labels, manifest
from headgate.infra.settings import Identity

#: When another certificate is due, as RFC 3339, and the roots that the present one goes with: what a new leader has to know
#: of a certificate that another replica issued.
RENEW_AT: Final = f"{GROUP}/renew-at"
ROOTS: Final = f"{GROUP}/roots"


def identity_secret(owner: Owner, identity: Identity) -> Manifest:
    """The Secret with the certificate, its key and the roots."""
    files = {name: base64.b64encode(value.reveal()).decode() for name, value in identity.files.items()}
    noted = {RENEW_AT: identity.renew_at.astimezone(UTC).isoformat(timespec="seconds"), ROOTS: identity.roots}
    return manifest(
        owner,
        "v1",
        "Secret",
        child_name(owner.ref.name),
        gateway_labels(owner.ref),
        noted,
        type="Opaque",
        data=files,
    )


def identity_due(annotations: Mapping[str, str], roots: str, now: datetime) -> bool:
    """Whether a Secret with these annotations is to be replaced: it is time, the roots are others, or somebody changed it."""
    try:
        renew_at = datetime.fromisoformat(annotations.get(RENEW_AT, ""))
    except ValueError:
        return True
    return renew_at.tzinfo is None or now >= renew_at or annotations.get(ROOTS) != roots


def service_account(owner: Owner) -> Manifest:
    """The pods' own, so that nothing that others allow to `default` is theirs; without a token."""
    return manifest(
        owner,
        "v1",
        "ServiceAccount",
        child_name(owner.ref.name),
        gateway_labels(owner.ref),
        automountServiceAccountToken=False,
    )
