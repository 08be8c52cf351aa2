"""A gateway's pods on a real kubelet: they wait for their first configuration however long, and go without losing a call.

The objects are those of `headgate.infra`, in a namespace where Pod Security "restricted" is enforced; what they connect to
is a control plane of the test's own (`harness.controlplane`).
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
import yaml

from cluster import Cluster, images
from cluster.installed import NAMESPACE
from golden.infra.cases import USUAL
from harness import controlplane
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.envoy.listener import READY_PATH
from headgate.files.folder import Folder
from headgate.files.snapshot import snapshot
from headgate.infra.gateway import gateway_objects
from headgate.infra.settings import (
    IDENTITY_DIRECTORY,
    Drain,
    GatewayInputs,
    Identity,
    OperatorPods,
    Resources,
    Scaling,
)
from headgate.infra.upstream import upstream_service
from headgate.model.plan import Gateway
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Settings
from headgate.xds.bootstrap import NodeBootstrap, render
from headgate.xds.identity import contents
from headgate.xds.pki import CertificateAuthority

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[2]
SPACE = "fleet"
FLEET = replace(
    USUAL,
    operator=OperatorPods(SPACE, {"app": "control"}, controlplane.XDS_PORT),
    scaling=Scaling(least=2, most=2),
    # More than the call that is in flight takes.
    drain=Drain(least=5, most=60),
    resources=Resources(cpu_millis=20, memory_bytes=256 << 20),
)
WORLD = f"""
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {{name: edge, namespace: {SPACE}}}
spec: {{default: true, egress: {{allowedCIDRs: [10.0.0.0/8]}}}}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: api, namespace: {SPACE}}}
spec:
  hostname: control.{SPACE}.svc.cluster.local
  port: {controlplane.PROVIDER_PORT}
  tls: {{mode: None}}
"""


@dataclass(frozen=True)
class Fleet:
    """A gateway in the cluster, and the way to it."""

    cluster: Cluster
    base: str

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("--namespace", SPACE, *arguments)

    def pods(self) -> list[dict[str, Any]]:
        """Those of the gateway that are not about to end."""
        found = json.loads(self.kubectl("get", "pods", "-l", "headgate.dev/gateway=edge", "-o", "json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self) -> int:
        """How many of them are."""
        return sum(
            condition["status"] == "True"
            for pod in self.pods()
            for condition in pod["status"].get("conditions", [])
            if condition["type"] == "Ready"
        )

    def gone(self, names: Iterable[str]) -> bool:
        """Whether none of these pods is there any more."""
        return self.kubectl("get", "pods", "--ignore-not-found", "--output=name", *names) == ""

    def control(self, replicas: int) -> None:
        """So many control planes, and none on its way."""
        self.kubectl("scale", "deployment/control", f"--replicas={replicas}")

        def there() -> bool:
            found = json.loads(self.kubectl("get", "pods", "-l", "app=control", "-o", "json"))["items"]
            return len(found) == replicas

        until(there, f"{replicas} control planes")
        self.kubectl("rollout", "status", "deployment/control", "--timeout=60s")

    def call(self, client: httpx.Client, path: str = "/") -> httpx.Response:
        return client.get(f"{self.base}{path}", headers={"host": f"api.{SPACE}"})


def until(condition: Callable[[], bool], what: str, within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def alone(cluster: Cluster) -> Iterator[Cluster]:
    """No operator is there, which would make the same objects: one that other tests have installed has a rest."""
    operator = ("deployment", "headgate-operator", f"--namespace={NAMESPACE}")
    count = cluster.kubectl("get", *operator, "--ignore-not-found", "--output=jsonpath={.spec.replicas}")
    if count:
        cluster.kubectl("scale", *operator, "--replicas=0")
        query = ("get", "pods", f"--namespace={NAMESPACE}", "-l=app.kubernetes.io/component=operator", "--output=name")
        until(lambda: not cluster.kubectl(*query).split(), "no operator")
    yield cluster
    if count:
        cluster.kubectl("scale", *operator, f"--replicas={count}")
        cluster.kubectl("rollout", "status", "/".join(operator[:2]), operator[2], "--timeout=120s")


@pytest.fixture(scope="module")
def fleet(alone: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    cluster = alone
    cluster.load(images.operator())
    cluster.kubectl("apply", "--server-side", f"--filename={ROOT / 'crds'}")
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"--filename={ROOT / 'crds'}")
    directory = tmp_path_factory.mktemp("authority")
    authority = CertificateAuthority(directory)
    apply(cluster, *control_plane((directory / "authority.pem").read_text()))
    world = tmp_path_factory.mktemp("world") / "world.yaml"
    world.write_text(WORLD)
    apply(cluster, *yaml.safe_load_all(WORLD))
    plan = compile_snapshot(snapshot(Folder(world).read(), Settings()), Memo())
    (gateway,) = plan.gateways.values()
    apply(cluster, *objects(cluster, gateway, authority))
    address = cluster.kubectl("get", "service", "edge-headgate", "-n", SPACE, "-o", "jsonpath={.spec.clusterIP}")
    yield Fleet(cluster, f"http://127.0.0.1:{cluster.publish(address, 80)}")
    cluster.kubectl("delete", "namespace", SPACE, "--timeout=180s")


def apply(cluster: Cluster, *documents: dict[str, Any]) -> None:
    for document in documents:
        cluster.kubectl("apply", "--server-side", "--filename=-", given=json.dumps(document))


def objects(cluster: Cluster, gateway: Gateway, authority: CertificateAuthority) -> Iterator[dict[str, Any]]:
    """Of the gateway and its upstream, owned by what is in the cluster."""

    def uid(kind: str, name: str) -> str:
        return cluster.kubectl("get", kind, name, "-n", SPACE, "-o", "jsonpath={.metadata.uid}")

    credential = authority.client(gateway.key)
    files = {name: SecretValue(value) for name, value in contents(credential, authority.roots_pem).items()}
    node = NodeBootstrap(
        gateway=gateway.key,
        instance="unnamed",
        xds_addresses=(f"control.{SPACE}.svc.cluster.local:{controlplane.XDS_PORT}",),
        identity_directory=Path(IDENTITY_DIRECTORY),
        max_heap_bytes=FLEET.resources.heap_bytes,
    )
    inputs = GatewayInputs(
        uid("integrationgateway", "edge"), render(node), READY_PATH, Identity(files, datetime.now(UTC), "r")
    )
    for each in gateway_objects(gateway, inputs, FLEET):
        yield each.document()
    for upstream in gateway.upstreams.values():
        service = upstream_service(upstream, uid("upstream", "api"), gateway, FLEET)
        assert service is not None
        yield service.document()


def control_plane(authority: str) -> Iterator[dict[str, Any]]:
    """In its pod; none of it runs to begin with."""
    meta, labels = {"name": "control", "namespace": SPACE}, {"app": "control"}
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE, "labels": enforced}}
    data = {"world.yaml": WORLD, "controlplane.py": Path(controlplane.__file__).read_text()}
    yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
    yield {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"authority.pem": authority}}
    ports = {"xds": controlplane.XDS_PORT, "provider": controlplane.PROVIDER_PORT}
    service = {"selector": labels, "ports": [{"name": name, "port": port} for name, port in ports.items()]}
    yield {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service}
    container = {
        "name": "control",
        "image": images.OPERATOR,
        "imagePullPolicy": "Never",
        "command": ["/usr/local/bin/python3", "/declared/controlplane.py"],
        "readinessProbe": {"tcpSocket": {"port": controlplane.XDS_PORT}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "declared", "mountPath": "/declared"},
            {"name": "authority", "mountPath": "/authority"},
        ],
    }
    pod = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [
            {"name": "declared", "configMap": {"name": "control"}},
            {"name": "authority", "secret": {"secretName": "control"}},
        ],
    }
    spec = {
        "replicas": 0,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    yield {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


class Load:
    """Steady calls from several callers that keep their connections; every one must be answered with 200."""

    def __init__(self, fleet: Fleet, callers: int = 4) -> None:
        self._fleet, self._callers = fleet, callers
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(callers)
        self.calls = 0
        self.failures: list[str] = []

    def _call(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._end.wait(0.02):
                try:
                    answer = self._fleet.call(client)
                except httpx.HTTPError as error:
                    self.failures.append(f"{datetime.now(UTC):%T} {error!r}")
                else:
                    self.calls += 1
                    if answer.status_code != 200:
                        self.failures.append(f"{datetime.now(UTC):%T} {answer.status_code} {answer.text[:300]}")

    def __enter__(self) -> Self:
        for _ in range(self._callers):
            self._pool.submit(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._pool.shutdown()


def test_without_a_control_plane_pods_run_unready_and_are_left_to_wait(fleet: Fleet) -> None:
    """Longer than a liveness probe's patience, which is half a minute; then they serve soon after it came back."""
    fleet.control(0)
    until(lambda: [pod["status"].get("phase") for pod in fleet.pods()] == ["Running"] * 2, "two pods to run")
    began = time.monotonic()
    while time.monotonic() < began + 40:
        assert fleet.ready() == 0
        time.sleep(1)
    fleet.control(1)
    began = time.monotonic()
    until(lambda: fleet.ready() == 2, "both to be ready", 20)
    took = time.monotonic() - began
    assert took < 10, f"{took:.1f} s"
    print(f"ready {took:.1f} s after the control plane")
    assert [pod["status"]["containerStatuses"][0]["restartCount"] for pod in fleet.pods()] == [0, 0]
    with httpx.Client(trust_env=False) as client:
        assert fleet.call(client).text == "whole"


def test_a_rollout_loses_no_call(fleet: Fleet) -> None:
    fleet.control(1)
    until(lambda: fleet.ready() == 2, "both to be ready")
    before = {pod["metadata"]["name"] for pod in fleet.pods()}
    with Load(fleet) as load:
        until(lambda: load.calls > 100, "load")
        fleet.kubectl("rollout", "restart", "deployment/edge-headgate")
        fleet.kubectl("rollout", "status", "deployment/edge-headgate", "--timeout=120s")
        until(lambda: fleet.gone(before), "the old pods to be gone", 90)
        calls = load.calls
        until(lambda: load.calls > calls + 100, "more load")
    print(f"{load.calls} calls")
    assert load.failures == []
    assert before.isdisjoint(pod["metadata"]["name"] for pod in fleet.pods())


def test_all_pods_that_are_deleted_at_once_finish_what_they_have_and_serve_until_others_do(fleet: Fleet) -> None:
    """20 s of one call, on both of two pods: longer than the least drain, and no drain lasts its longest. Other calls go on:
    Kubernetes sends them to pods that are about to end, and still ready, as long as there are no others."""
    fleet.control(1)
    until(lambda: fleet.ready() == 2, "both to be ready")
    names = [pod["metadata"]["name"] for pod in fleet.pods()]
    with Load(fleet, callers=2) as load, ThreadPoolExecutor(8) as pool:

        def slow() -> httpx.Response:
            with httpx.Client(trust_env=False, timeout=60) as client:
                return fleet.call(client, "/slow")

        began = time.monotonic()
        calls = [pool.submit(slow) for _ in range(8)]
        until(lambda: load.calls > 20, "load")
        fleet.kubectl("delete", "pods", *names, "--wait=false")
        until(lambda: fleet.ready() == 2, "new pods")
        answers = [call.result() for call in calls]
        until(lambda: fleet.gone(names), "the pods to be gone", 60)
        took = time.monotonic() - began
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "whole")] * 8
    assert load.failures == []
    assert controlplane.SLOW < took < FLEET.drain.most, "as long as it takes, and no longer"
    print(f"{load.calls} calls, gone after {took:.1f} s")
    events = fleet.kubectl("get", "events", "-o", "custom-columns=REASON:.reason")
    assert "FailedPreStopHook" not in events
