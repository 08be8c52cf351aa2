"""Headgate in a cluster, by its own chart and with the image that is made here."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cluster import images
from cluster.apiserver import SERVICES
from cluster.build import helm
from cluster.cluster import Cluster
from cluster.places import ROOT, ClusterProblem, Lines, Progress

CHART = ROOT / "charts" / "headgate"
NAMESPACE = "headgate-system"
RELEASE = "headgate"
#: For a machine: small, and allowed to call the providers in the cluster, whose addresses are no public ones.
VALUES: Mapping[str, Any] = {
    "image": {"repository": images.OPERATOR.rpartition(":")[0], "tag": images.OPERATOR.rpartition(":")[2]},
    "resources": {"requests": {"cpu": "20m", "memory": "128Mi"}},
    "gateways": {"cpu": "20m", "memory": "256Mi", "minReplicas": 1, "maxReplicas": 3},
    "gateway": {"spec": {"egress": {"allowedCIDRs": [SERVICES]}}},
}


def run_helm(cluster: Cluster, *arguments: str, given: str | None = None) -> str:
    """What helm printed, as the administrator. Raises ClusterProblem with what it said."""
    command: list[str | Path] = [helm(Lines()), "--kubeconfig", cluster.kubeconfig, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, input=given, check=False)
    if done.returncode != 0:
        raise ClusterProblem(f"helm {' '.join(arguments[:2])} failed:\n{done.stderr.strip()[-4000:]}")
    return str(done.stdout)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Values over values, as Helm lays them."""
    both = dict(one)
    for key, value in other.items():
        before = both.get(key)
        both[key] = merged(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return both


def install(
    cluster: Cluster, values: Mapping[str, Any] | None = None, *more: str, progress: Progress | None = None
) -> str:
    """Install or upgrade, in a namespace where Pod Security "restricted" is enforced; what helm printed. Blocks until the
    operator is ready."""
    progress = progress or Lines()
    helm(progress)
    with progress.step("installing Headgate", 20):
        image = images.operator()
        cluster.load(image)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}
        cluster.kubectl("apply", "--server-side", "--filename=-", given=json.dumps(namespace))
        # Another image of the same name is no change to Kubernetes; this is.
        made = hashlib.sha256("".join(layer.fingerprint() for layer in image.layers).encode()).hexdigest()[:16]
        mark = {"podAnnotations": {"headgate.local/image": made}}
        given = json.dumps(merged(merged(VALUES, mark), values or {}))
        where = (f"--namespace={NAMESPACE}", "--wait", "--timeout=3m", "--values=-")
        return run_helm(cluster, "upgrade", "--install", RELEASE, str(CHART), *where, *more, given=given)
