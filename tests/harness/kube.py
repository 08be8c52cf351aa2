"""What tests of the Kubernetes side share: objects to put there, and waiting for what is to come."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable
from typing import Any

from headgate.infra.endpoints import API_VERSION, CONTROLLER, SERVICE_NAME, SLICE_MANAGED_BY
from headgate.infra.manifest import COMPONENT, child_name
from headgate.kube.client import Api, Document
from headgate.kube.resources import NAMESPACES, OURS, SECRETS
from headgate.xds.pki import CertificateAuthority
from headgate.xds.storage import Memory

#: Seconds that anything may take before a test gives up.
PATIENCE = 30.0


async def until(condition: Callable[[], object], what: str, patience: float = PATIENCE) -> float:
    """Wait for a condition; how many seconds it took."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > patience:
            raise AssertionError(f"not within {patience} s: {what}")
        await asyncio.sleep(0.01)
    return time.monotonic() - began


def upstream(namespace: str, name: str, **spec: Any) -> Document:
    """An UpstreamService."""
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "UpstreamService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"hostname": "api.example.com", **spec},
    }


def secret(namespace: str, name: str, **values: str) -> Document:
    """A Secret."""
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": values}


async def make_namespace(api: Api, name: str, **labels: str) -> None:
    """A namespace, there when this returns."""
    meta = {"name": name, "labels": labels}
    await api.apply(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})


async def put(api: Api, document: Document) -> Document:
    """Create or change an object as its user would."""
    resource = SECRETS if document["kind"] == "Secret" else OURS[document["kind"]]
    return await api.apply(resource, document)


def ready_pods(kubectl: Callable[..., str], gateway: str, pods: int = 1) -> None:
    """Where nothing but an API server runs: say of the Service of a gateway (`namespace/name`) what a whole cluster says when so
    many pods are ready. Without that the gateway waits for ever: nobody would answer calls by its name."""
    namespace, _, name = gateway.partition("/")
    service = child_name(name)
    labels = {COMPONENT: "gateway", SLICE_MANAGED_BY: CONTROLLER, SERVICE_NAME: service}
    ready = {"ready": True, "serving": True, "terminating": False}
    slices = {
        "apiVersion": API_VERSION,
        "kind": "EndpointSlice",
        "metadata": {"name": f"{service}-made", "namespace": namespace, "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [f"10.0.0.{each}"], "conditions": ready} for each in range(1, pods + 1)],
        "ports": [{"name": "http", "port": 10080, "protocol": "TCP"}],
    }
    kubectl("apply", "--server-side", "--filename=-", given=json.dumps(slices))


def shared_authority(kubectl: Callable[..., str], namespace: str) -> CertificateAuthority:
    """The authority of an operator that is ready in this namespace."""
    found = kubectl("get", "secret", "headgate-ca", f"--namespace={namespace}", "--output=json")
    return CertificateAuthority(
        Memory({name: base64.b64decode(text) for name, text in json.loads(found)["data"].items()})
    )
