"""How many pods a gateway has, and how many of them may be away at a time."""

from __future__ import annotations

from headgate.infra.manifest import Document, Manifest, Owner, child_name, gateway_labels, manifest, selector
from headgate.infra.quantity import cpu
from headgate.infra.settings import Scaling


def disruption_budget(owner: Owner) -> Manifest:
    """One at a time may be evicted. Never fewer than none: a node with a gateway's only pod can still be drained; and a pod
    that is not ready may always go."""
    spec: Document = {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector(owner.ref)},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    name = child_name(owner.ref.name)
    return manifest(owner, "policy/v1", "PodDisruptionBudget", name, gateway_labels(owner.ref), spec=spec)


def autoscaler(owner: Owner, scaling: Scaling, asked: int | None = None) -> Manifest:
    """By CPU, in absolute numbers: a share of what is requested would change its meaning with the request. `asked`: so many
    proxies are wanted for another reason, as far as the bounds allow."""
    name = child_name(owner.ref.name)
    used = {"name": "cpu", "target": {"type": "AverageValue", "averageValue": cpu(scaling.cpu_millis)}}
    spec: Document = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": min(max(scaling.least, asked or 0), scaling.most),
        "maxReplicas": scaling.most,
        "metrics": [{"type": "Resource", "resource": used}],
        "behavior": {
            # Up at once, to the double or by four, whichever is more; down one a minute: each takes its counts of limits
            # and breakers along.
            "scaleUp": {
                "stabilizationWindowSeconds": 0,
                "selectPolicy": "Max",
                "policies": [
                    {"type": "Percent", "value": 100, "periodSeconds": 15},
                    {"type": "Pods", "value": 4, "periodSeconds": 15},
                ],
            },
            "scaleDown": {
                "stabilizationWindowSeconds": scaling.calm,
                "selectPolicy": "Max",
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}],
            },
        },
    }
    return manifest(owner, "autoscaling/v2", "HorizontalPodAutoscaler", name, gateway_labels(owner.ref), spec=spec)
