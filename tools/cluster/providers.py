"""The providers of manifests/examples inside a cluster, under their own names: simulated, since there is no way out of it.

Each host is a Service in the namespace `providers`, and CoreDNS answers its name with that Service's address. Their
certificate is from an authority made here, which the upstreams are told to trust, as one would tell them of a company's own:
by `tls.validation.caCertificateRefs`. The keys are made-up ones.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster import images
from cluster.cluster import Cluster
from cluster.places import ROOT
from cluster.processes import wait_until

NAMESPACE = "providers"
#: Where the examples are.
TEAM = "shop"
EXAMPLES = ROOT / "manifests" / "examples"
AUTHORITY = "simulated-ca"
Document = dict[str, Any]
_RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
_SECURITY = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
_POD: Document = {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
}


@dataclass(frozen=True, slots=True)
class Host:
    """A provider's host, the Secret that an example takes its key from, and the key that is good there."""

    name: str
    upstream: str
    secret: str
    field: str
    key: str
    port: int

    @property
    def service(self) -> str:
        """In the namespace of the providers."""
        return self.upstream


def hosts() -> tuple[Host, ...]:
    """Those that the examples call."""
    from headgate.simulate.catalog import KEYS

    return (
        Host("generativelanguage.googleapis.com", "gemini", "gemini-key", "apiKey", KEYS["gemini"], 8441),
        Host("api.cloudflare.com", "cloudflare", "cloudflare-token", "token", KEYS["cloudflare"], 8442),
        Host("abcdefghijklmnopqrst.supabase.co", "supabase", "supabase-key", "apiKey", KEYS["supabase"], 8443),
        Host("api.billing.example", "billing", "billing-key", "token", "simulated-billing-key", 8444),
    )


def deploy(cluster: Cluster) -> str:
    """Have them answer under their names; returns their authority's certificate (PEM). Blocks until they do."""
    from headgate.simulate.certificates import Authority

    cluster.load(images.providers())
    authority = Authority("Headgate simulated providers")
    identity = authority.server(*(host.name for host in hosts()))
    listed = [{"host": host.name, "port": host.port, "key": host.key} for host in hosts()]
    files = {
        "tls.crt": identity.chain_pem,
        "tls.key": identity.key_pem,
        "hosts.json": json.dumps(listed).encode(),
        "provide.py": (Path(__file__).parent / "provide.py").read_bytes(),
    }
    apply(cluster, [namespace(NAMESPACE), *_objects(files)])
    cluster.kubectl("rollout", "status", f"--namespace={NAMESPACE}", "deployment/providers", "--timeout=120s")
    services = json.loads(cluster.kubectl("get", "services", f"--namespace={NAMESPACE}", "--output=json"))["items"]
    addresses = {each["metadata"]["name"]: each["spec"]["clusterIP"] for each in services}
    lines = "".join(f"{addresses[host.service]} {host.name}\n" for host in hosts())
    patch = json.dumps({"data": {"hosts": lines}})
    cluster.kubectl("patch", "configmap", "coredns", "--namespace=kube-system", "--patch", patch)
    wait_until(lambda: _answered(cluster), "the providers' names are answered", 120)
    return authority.pem.decode()


def examples(cluster: Cluster, authority: str) -> None:
    """manifests/examples as they are, with the keys that they refer to, and then what they need to trust `authority`."""
    keys = [secret(TEAM, host.secret, {host.field: host.key.encode()}) for host in hosts()]
    trusted = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": AUTHORITY, "namespace": TEAM},
        "data": {"ca.crt": authority},
    }
    apply(cluster, [namespace(TEAM), *keys, trusted, application("application", TEAM)])
    cluster.kubectl("apply", f"--filename={EXAMPLES}")
    patch = json.dumps(
        {"spec": {"tls": {"validation": {"caCertificateRefs": [{"kind": "ConfigMap", "name": AUTHORITY}]}}}}
    )
    for path in sorted(EXAMPLES.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            if document["kind"] == "UpstreamService":
                name = document["metadata"]["name"]
                cluster.kubectl("patch", f"upstream/{name}", f"--namespace={TEAM}", "--type=merge", "--patch", patch)


def application(name: str, namespace: str) -> Document:
    """A pod of a team's, to call from: it has Python, and Pod Security "restricted" lets it be."""
    container = {
        "name": "application",
        "image": images.PROVIDERS,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", "import time; time.sleep(10**9)"],
        "securityContext": _SECURITY,
    }
    spec = {**_POD, "terminationGracePeriodSeconds": 0, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def call(cluster: Cluster, where: str, url: str, *, pod: str = "application", **headers: str) -> tuple[int, str]:
    """Status and body of a call from that pod; status 0 where there was no answer."""
    code = (
        "import sys, json, urllib.request as r, urllib.error\n"
        f"q = r.Request({url!r}, headers={headers!r})\n"
        "try: a = r.urlopen(q, timeout=20); print(json.dumps([a.status, a.read().decode()]))\n"
        "except urllib.error.HTTPError as e: print(json.dumps([e.code, e.read().decode()]))\n"
        "except OSError as e: print(json.dumps([0, repr(e)]))\n"
    )
    status, body = json.loads(cluster.kubectl("exec", f"--namespace={where}", pod, "--", "python3", "-c", code))
    return int(status), str(body)


def _answered(cluster: Cluster) -> bool:
    """Whether a pod finds all names."""
    names = [host.name for host in hosts()]
    code = f"import socket; [socket.gethostbyname(name) for name in {names!r}]"
    command = ["exec", f"--namespace={NAMESPACE}", "deployment/providers", "--", "python3", "-c", code]
    return cluster.tries(*command)


def apply(cluster: Cluster, documents: Iterable[Document]) -> None:
    """Server-side, all at once."""
    listed = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=json.dumps(listed))


def namespace(name: str) -> Document:
    """One in which Pod Security "restricted" is enforced."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": _RESTRICTED}}


def secret(namespace: str, name: str, data: dict[str, bytes]) -> Document:
    """An opaque one."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}


def _objects(files: dict[str, bytes]) -> Iterator[Document]:
    labels = {"app": "providers"}
    metadata: Document = {"name": "providers", "namespace": NAMESPACE}
    yield secret(NAMESPACE, "providers", files)
    container = {
        "name": "providers",
        "image": images.PROVIDERS,
        "imagePullPolicy": "Never",
        "command": ["python3", "/etc/providers/provide.py", "/etc/providers"],
        "readinessProbe": {"tcpSocket": {"port": hosts()[-1].port}, "periodSeconds": 1},
        "securityContext": _SECURITY,
        "volumeMounts": [{"name": "files", "mountPath": "/etc/providers"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    pod = {
        **_POD,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "files", "secret": {"secretName": "providers"}}, {"name": "tmp", "emptyDir": {}}],
    }
    # Others are another pod: it reads them once.
    digest = hashlib.sha256(b"".join(files.values())).hexdigest()[:16]
    template = {"metadata": {"labels": labels, "annotations": {"files": digest}}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    yield {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    for host in hosts():
        meta: Document = {"name": host.service, "namespace": NAMESPACE}
        ports = [{"port": 443, "targetPort": host.port}]
        yield {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"selector": labels, "ports": ports}}
