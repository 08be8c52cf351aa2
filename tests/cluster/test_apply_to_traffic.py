"""From `kubectl apply` to a running fleet on a real cluster: what is made, who may have it, how it comes back and how it goes.

The operator runs in its pods as its chart puts it there. Callers and the origin that stands for a provider are pods in namespaces
of their own, where Pod Security "restricted" is enforced.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest

from cluster import Cluster, ClusterProblem, images
from cluster.installed import NAMESPACE as SYSTEM
from cluster.installed import install
from cluster.places import VENV_BIN

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]

EDGES, SHOP, PROVIDERS = "edges", "shop", "providers"
CHILDREN = ("deployment", "service", "serviceaccount", "secret", "networkpolicy", "poddisruptionbudget")
ORIGIN = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{self.path} {self.headers.get('x-api-key')}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
"""
CALL = """
import sys, urllib.request, urllib.error
try:
    answer = urllib.request.urlopen(sys.argv[1], timeout=5)
except urllib.error.HTTPError as error:
    answer = error
except OSError as error:
    print(0, error)
    sys.exit()
print(answer.status, answer.read().decode())
"""
LOAD = """
import sys, time, urllib.request
end, calls, failed = time.monotonic() + float(sys.argv[2]), 0, []
while time.monotonic() < end:
    calls += 1
    try:
        urllib.request.urlopen(sys.argv[1], timeout=10).read()
    except OSError as error:
        failed.append(str(error))
print(calls, failed)
"""


def gateway(name: str, **spec: Any) -> dict[str, Any]:
    whole = {"allowedNamespaces": {"from": "All"}, "egress": {"allowedCIDRs": ["10.0.0.0/8"]}, **spec}
    return ours("IntegrationGateway", EDGES, name, whole)


def upstream(name: str, on: str = "edge") -> dict[str, Any]:
    key = {"name": "key", "secretRef": {"name": "key", "key": "token"}, "location": {"header": {"name": "x-api-key"}}}
    spec = {
        "gatewayRef": {"name": on, "namespace": EDGES},
        "hostname": f"origin.{PROVIDERS}.svc.cluster.local",
        "port": 8080,
        "tls": {"mode": "None"},
        "credentials": [key],
    }
    return ours("UpstreamService", SHOP, name, spec)


def ours(kind: str, namespace: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "headgate.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def python_pod(namespace: str, name: str, program: str) -> dict[str, Any]:
    container = {
        "name": "python",
        "image": images.PYTHON,
        "imagePullPolicy": "Never",
        "command": ["/usr/local/bin/python3", "-c", program],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    meta = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def until(condition: Callable[[], bool], what: str, within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.1)


class World:
    """A cluster with Headgate, an origin and a caller in it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.kubectl = cluster, cluster.kubectl

    def apply(self, *documents: dict[str, Any]) -> None:
        whole = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        self.kubectl("apply", "--filename=-", given=json.dumps(whole))

    def get(self, kind: str, name: str, namespace: str = EDGES) -> dict[str, Any]:
        """Empty where there is none."""
        found = self.kubectl("get", kind, name, f"--namespace={namespace}", "--ignore-not-found", "--output=json")
        document: dict[str, Any] = json.loads(found) if found else {}
        return document

    def call(self, url: str) -> str:
        """Status and body, as a pod in another namespace than the gateway's gets them."""
        command = ("exec", "caller", f"--namespace={SHOP}", "--", "/usr/local/bin/python3", "-c", CALL, url)
        return self.kubectl(*command).strip()

    def answers(self, url: str) -> bool:
        """Whether the origin's answer comes, which says that it got the key."""
        return self.call(url) == "200 /v1/x hush"

    def gone(self, kind: str, name: str, namespace: str = EDGES) -> bool:
        """Whether there is none."""
        return not self.get(kind, name, namespace)

    def condition(self, name: str, of: str = "Ready") -> tuple[str, str]:
        """Status and reason of an upstream's condition."""
        for each in self.get("upstream", name, SHOP).get("status", {}).get("conditions", ()):
            if each["type"] == of:
                return each["status"], each["reason"]
        return "", ""

    def ready(self, name: str) -> None:
        self.kubectl("wait", "--for=condition=Ready", f"upstream/{name}", f"--namespace={SHOP}", "--timeout=120s")

    def pods(self) -> dict[str, int]:
        """The gateways' pods by name, and how often each was restarted."""
        found = self.kubectl("get", "pods", f"--namespace={EDGES}", "--output=json")
        return {
            each["metadata"]["name"]: sum(one["restartCount"] for one in each["status"].get("containerStatuses", ()))
            for each in json.loads(found)["items"]
            if "deletionTimestamp" not in each["metadata"]
        }

    def restart_operator(self) -> None:
        """All replicas, at once."""
        self.kubectl("delete", "pods", f"--namespace={SYSTEM}", "-l=app.kubernetes.io/component=operator", "--wait")
        self.kubectl("rollout", "status", "deployment/headgate-operator", f"--namespace={SYSTEM}", "--timeout=120s")


@pytest.fixture(scope="module")
def world(cluster: Cluster) -> Iterator[World]:
    # One proxy each: the machine is small. Another gateway would only take room.
    install(cluster, {"gateway": {"create": False}, "gateways": {"maxReplicas": 1}})
    found = World(cluster)
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    for name in (EDGES, SHOP, PROVIDERS):
        meta = {"name": name, "labels": enforced}
        found.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    port = {"selector": {"app": "origin"}, "ports": [{"port": 8080}]}
    found.apply(
        python_pod(PROVIDERS, "origin", ORIGIN),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "origin", "namespace": PROVIDERS}, "spec": port},
        python_pod(SHOP, "caller", "import time; time.sleep(36000)"),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "key", "namespace": SHOP},
            "stringData": {"token": "hush"},
        },
        gateway("edge"),
        upstream("billing"),
    )
    for namespace, pod in ((PROVIDERS, "origin"), (SHOP, "caller")):
        found.kubectl("wait", "--for=condition=Ready", f"pod/{pod}", f"--namespace={namespace}", "--timeout=60s")
    found.ready("billing")
    yield found
    # While a namespace waits for its pods to end, its gateways are still declared, and wrong to whoever looks at them all.
    for name in (SHOP, EDGES):
        cluster.kubectl("delete", "upstreams,integrationgateways", "--all", f"--namespace={name}")
    cluster.kubectl("wait", "--for=delete", "pods", "--all", f"--namespace={EDGES}", "--timeout=120s")
    for name in (EDGES, SHOP, PROVIDERS):
        cluster.kubectl("delete", "namespace", name, "--wait=false")


def test_from_apply_to_traffic(world: World) -> None:
    assert world.get("upstream", "billing", SHOP)["status"]["address"] == f"http://billing.{SHOP}"
    for host in (f"billing.{SHOP}", f"billing.{SHOP}.svc.cluster.local", f"edge-headgate.{EDGES}/{SHOP}/billing"):
        until(partial(world.answers, f"http://{host}/v1/x"), f"an answer by {host}", 20)
    for kind in CHILDREN:
        assert world.get(kind, "edge-headgate")["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "headgate"
    print(world.kubectl("get", "upstreams", "--all-namespaces"))


def test_a_name_that_somebody_else_has_is_left_to_them(world: World) -> None:
    spec = {"selector": {"app": "legacy"}, "ports": [{"port": 80}]}
    meta = {"name": "legacy", "namespace": SHOP}
    world.apply({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}, upstream("legacy"))
    until(lambda: world.condition("legacy", "Programmed") == ("False", "ServiceNameTaken"), "the condition")
    there = world.get("service", "legacy", SHOP)
    assert there["spec"]["selector"] == {"app": "legacy"}
    assert "app.kubernetes.io/managed-by" not in there["metadata"].get("labels", {})
    address = world.get("upstream", "legacy", SHOP)["status"]["address"]
    assert address == f"http://edge-headgate.{EDGES}/{SHOP}/legacy"
    until(lambda: world.call(f"{address}/v1/x") == "200 /v1/x hush", "an answer by path", 20)
    world.kubectl("delete", "service", "legacy", f"--namespace={SHOP}")
    world.ready("legacy")
    assert world.get("service", "legacy", SHOP)["spec"]["type"] == "ExternalName"
    until(lambda: world.call(f"http://legacy.{SHOP}/v1/x") == "200 /v1/x hush", "an answer by name", 40)


def test_somebody_elses_child_is_not_taken_over(world: World) -> None:
    """It looks like ours, and belongs to another owner."""
    owner = world.get("configmap", "kube-root-ca.crt", SHOP)["metadata"]
    reference = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": owner["name"],
        "uid": owner["uid"],
        "controller": True,
    }
    labels = {"app.kubernetes.io/managed-by": "headgate"}
    meta = {"name": "foreign", "namespace": SHOP, "labels": labels, "ownerReferences": [reference]}
    spec = {"type": "ExternalName", "externalName": "elsewhere.example"}
    document = json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
    world.kubectl("apply", "--server-side", "--field-manager=headgate", "--filename=-", given=document)
    world.apply(upstream("foreign"))
    until(lambda: world.condition("foreign", "Programmed") == ("False", "ServiceNameTaken"), "the condition")
    assert world.get("service", "foreign", SHOP)["spec"]["externalName"] == "elsewhere.example"
    world.kubectl("delete", "upstream/foreign", "service/foreign", f"--namespace={SHOP}")


def test_a_service_with_an_address_leads_to_the_gateways_pods(world: World) -> None:
    direct = upstream("direct")
    direct["spec"]["serviceMode"] = "ClusterIP"
    world.apply(direct)
    world.ready("direct")
    url = f"http://direct.{SHOP}/v1/x"
    until(partial(world.answers, url), "an answer by address", 20)
    spec = world.get("service", "direct", SHOP)["spec"]
    assert (spec["type"], "selector" in spec) == ("ClusterIP", False)
    until(partial(world.answers, f"http://{spec['clusterIP']}/{SHOP}/direct/v1/x"), "an answer by number", 20)

    # Each call has a connection of its own, while the pod that all of them go to is replaced.
    load = ("exec", "caller", f"--namespace={SHOP}", "--", "/usr/local/bin/python3", "-c", LOAD, url, "40")
    with ThreadPoolExecutor() as pool:
        said = pool.submit(world.kubectl, *load)
        before = set(world.pods())
        world.kubectl("delete", "pods", f"--namespace={EDGES}", "-l=headgate.dev/gateway=edge", "--wait=false")
        until(lambda: bool(set(world.pods()) - before), "another pod")
        calls, _, failed = said.result().strip().partition(" ")
    assert failed == "[]"
    assert int(calls) > 100

    direct["spec"]["serviceMode"] = "ExternalName"
    world.apply(direct)
    until(lambda: world.get("service", "direct", SHOP)["spec"]["type"] == "ExternalName", "an alias")
    until(partial(world.answers, url), "an answer by alias", 40)
    slices = ("get", "endpointslices", f"--namespace={SHOP}", "-l=kubernetes.io/service-name=direct", "--output=name")
    until(lambda: not world.kubectl(*slices).strip(), "no slices are left")
    world.kubectl("delete", "upstream/direct", f"--namespace={SHOP}")


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_that_is_deleted_comes_back(world: World, kind: str) -> None:
    before = world.get(kind, "edge-headgate")["metadata"]["uid"]
    world.kubectl("delete", kind, "edge-headgate", f"--namespace={EDGES}", "--wait=false")

    def back() -> bool:
        found = world.get(kind, "edge-headgate")
        return bool(found) and found["metadata"]["uid"] != before

    until(back, f"another {kind}", 30)


def test_a_child_that_is_changed_is_put_right(world: World) -> None:
    where = f"--namespace={EDGES}"
    labels = world.get("service", "edge-headgate")["spec"]["selector"]
    world.kubectl(
        "patch", "service", "edge-headgate", where, '--patch={"spec":{"selector":{"headgate.dev/gateway":"x"}}}'
    )
    until(lambda: world.get("service", "edge-headgate")["spec"]["selector"] == labels, "the selector")
    # A label that is ours, and by which we find it.
    world.kubectl("label", "service", "edge-headgate", where, "app.kubernetes.io/managed-by-")
    key = "app.kubernetes.io/managed-by"
    until(lambda: world.get("service", "edge-headgate")["metadata"]["labels"].get(key) == "headgate", "the label")
    good = world.get("secret", "edge-headgate")["data"]
    world.kubectl("patch", "secret", "edge-headgate", where, '--patch={"data":{"client.json":"bm9uc2Vuc2U="}}')
    until(lambda: world.get("secret", "edge-headgate")["data"]["client.json"] != "bm9uc2Vuc2U=", "an identity")
    assert world.get("secret", "edge-headgate")["data"]["roots.json"] == good["roots.json"]
    world.kubectl(
        "patch", "secret", "edge-headgate", where, "--type=json", '--patch=[{"op":"remove","path":"/data/roots.json"}]'
    )
    until(lambda: world.get("secret", "edge-headgate")["data"].get("roots.json") == good["roots.json"], "the roots")
    until(lambda: world.call(f"http://billing.{SHOP}/v1/x") == "200 /v1/x hush", "an answer")


def test_another_start_of_the_operator_changes_nothing(world: World) -> None:
    """Nor does one that finds a gateway broken."""
    before, pods = world.get("deployment", "edge-headgate"), world.pods()
    identity = world.get("secret", "edge-headgate")["data"]
    world.restart_operator()
    world.ready("billing")
    world.apply(gateway("edge", egress={"allowedCIDRs": ["10.0.0.1/8"]}))
    accepted = ("wait", "--for=condition=Accepted=false", "igw/edge", f"--namespace={EDGES}", "--timeout=60s")
    world.kubectl(*accepted)
    world.restart_operator()
    # It leads, and has looked at everything: an upstream that is new has its Service.
    world.apply(upstream("later"))
    until(lambda: bool(world.get("service", "later", SHOP)), "the Service of a new upstream")
    assert world.call(f"http://billing.{SHOP}/v1/x") == "200 /v1/x hush"
    world.apply(gateway("edge"))
    world.kubectl("wait", "--for=condition=Accepted", "igw/edge", f"--namespace={EDGES}", "--timeout=60s")
    after = world.get("deployment", "edge-headgate")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert world.pods() == pods
    assert world.get("secret", "edge-headgate")["data"] == identity


class Watched:
    """Every number of replicas that a Deployment was ever told, in their order."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        path = "jsonpath={.spec.replicas}{'\\n'}"
        kubectl = VENV_BIN / "kubectl"
        command: list[str | Path] = [
            kubectl,
            f"--kubeconfig={cluster.kubeconfig}",
            f"--namespace={EDGES}",
            "get",
            "deployment",
            name,
        ]
        self._process = subprocess.Popen([*command, "--watch", f"--output={path}"], stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self.numbers: list[int] = []

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if not self.numbers or int(line) != self.numbers[-1]:
                self.numbers.append(int(line))

    def __enter__(self) -> Self:
        self._reader.start()
        until(lambda: bool(self.numbers), "the number as it is")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._reader.join(10)


def test_the_number_of_replicas_changes_hands_without_a_jump(world: World) -> None:
    def managers() -> set[str]:
        found = world.kubectl(
            "get", "deployment", "wide-headgate", f"--namespace={EDGES}", "--output=json", "--show-managed-fields"
        )
        return {
            each["manager"]
            for each in json.loads(found)["metadata"]["managedFields"]
            if "f:replicas" in each["fieldsV1"].get("f:spec", {})
        }

    def replicas() -> int:
        return int(world.get("deployment", "wide-headgate").get("spec", {}).get("replicas", 0))

    world.apply(gateway("wide", scaling={"minReplicas": 3, "maxReplicas": 3}))
    until(lambda: replicas() == 3, "three")
    with Watched(world.cluster, "wide-headgate") as watched:
        world.apply(gateway("wide", scaling={"minReplicas": 2, "maxReplicas": 5}))
        until(lambda: bool(world.get("hpa", "wide-headgate")), "an autoscaler")
        until(lambda: "headgate" not in managers(), "it is left to the autoscaler")
        assert replicas() == 3
        # The autoscaler has it now: its floor counts.
        world.apply(gateway("wide", scaling={"minReplicas": 4, "maxReplicas": 5}))
        until(lambda: replicas() == 4, "its floor", 90)
        world.apply(gateway("wide", scaling={"minReplicas": 2, "maxReplicas": 2}))
        until(lambda: replicas() == 2 and not world.get("hpa", "wide-headgate"), "two, and no autoscaler")
        assert "headgate" in managers()
        world.apply(gateway("wide", scaling={"minReplicas": 2, "maxReplicas": 3}))
        until(lambda: bool(world.get("hpa", "wide-headgate")) and "headgate" not in managers(), "an autoscaler again")
    assert watched.numbers == [3, 4, 2]


def test_a_new_fleet_begins_with_the_autoscalers_least(world: World) -> None:
    world.apply(gateway("fresh", scaling={"minReplicas": 3, "maxReplicas": 5}))
    until(lambda: bool(world.get("deployment", "fresh-headgate")), "a Deployment")
    assert world.get("deployment", "fresh-headgate")["spec"]["replicas"] == 3
    world.kubectl("delete", "igw/fresh", f"--namespace={EDGES}")


def test_all_goes_with_its_owner(world: World) -> None:
    world.kubectl("delete", "upstream/later", f"--namespace={SHOP}", "--ignore-not-found")
    until(lambda: not world.get("service", "later", SHOP), "its Service to be gone")
    world.kubectl("delete", "igw/wide", f"--namespace={EDGES}")
    for kind in (*CHILDREN, "hpa"):
        until(partial(world.gone, kind, "wide-headgate"), f"the {kind} to be gone")
    with pytest.raises(ClusterProblem, match="NotFound"):
        world.kubectl("get", "igw", "wide", f"--namespace={EDGES}")
