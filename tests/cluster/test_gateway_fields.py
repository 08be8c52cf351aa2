"""What a gateway's owner says of its fleet, and an upstream's of its Service, reaches the objects: `headgate operator` as a
process on a real API server, which checks and stores each of them. Nobody enforces a NetworkPolicy here, and no pod runs:
that the kubelet does what a pod says is tried in test_pods.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import ApiServer
from harness import operated
from harness.kube import until

pytestmark = pytest.mark.cluster

WORLD = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata:
  name: edge
  namespace: {namespace}
  labels: {{team: platform}}
spec:
  default: true
  allowedNamespaces: {{from: All}}
  callers: {{from: Selector, selector: {{matchLabels: {{tier: apps}}}}}}
  scaling:
    minReplicas: 3
    maxReplicas: 30
    targetCPU: 750m
    targetRequestsInFlight: 200
    scaleDown: {{stabilizationWindow: 10m}}
  drain: {{minDuration: 5s, timeout: 2m}}
  deployment:
    image: registry.example/envoy:1
    resources:
      requests: {{cpu: 250m, memory: 256Mi}}
      limits: {{cpu: 2, memory: 1Gi}}
    podTemplate:
      metadata:
        labels: {{cost-center: edge}}
        annotations: {{note: kept}}
      spec:
        nodeSelector: {{pool: edge}}
        tolerations:
          - {{key: dedicated, operator: Equal, value: edge, effect: NoSchedule}}
          - {{key: spot, operator: Exists, effect: PreferNoSchedule}}
          - {{operator: Exists, effect: NoExecute, tolerationSeconds: 60}}
        affinity:
          nodeAffinity:
            requiredDuringSchedulingIgnoredDuringExecution:
              nodeSelectorTerms:
                - matchExpressions:
                    - {{key: kubernetes.io/arch, operator: In, values: [amd64, arm64]}}
                    - {{key: disk, operator: NotIn, values: [slow]}}
                    - {{key: ready, operator: Exists}}
                    - {{key: cores, operator: Gt, values: ["3"]}}
                    - {{key: age, operator: Lt, values: ["9"]}}
                    - {{key: retired, operator: DoesNotExist}}
            preferredDuringSchedulingIgnoredDuringExecution:
              - weight: 10
                preference: {{matchExpressions: [{{key: spot, operator: DoesNotExist}}]}}
              - weight: 20
                preference:
                  matchExpressions:
                    - {{key: disk, operator: In, values: [ssd]}}
                    - {{key: pool, operator: NotIn, values: [batch]}}
                    - {{key: ready, operator: Exists}}
                    - {{key: cores, operator: Gt, values: ["7"]}}
                    - {{key: age, operator: Lt, values: ["3"]}}
        topologySpreadConstraints:
          - {{topologyKey: topology.kubernetes.io/zone, maxSkew: 2, whenUnsatisfiable: DoNotSchedule, minDomains: 2}}
          - {{topologyKey: kubernetes.io/hostname, maxSkew: 1, whenUnsatisfiable: ScheduleAnyway}}
        priorityClassName: gateways
        runtimeClassName: gvisor
        imagePullSecrets: [{{name: registry}}]
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: by-alias, namespace: {namespace}}}
spec: {{hostname: api.example, serviceMode: ExternalName}}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: by-address, namespace: {namespace}}}
spec: {{hostname: api.example, serviceMode: ClusterIP}}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: by-path, namespace: {namespace}}}
spec: {{hostname: api.example, serviceMode: None}}
"""
PLAIN = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {{name: edge, namespace: {namespace}}}
spec:
  default: true
  callers: {{from: {callers}}}
  scaling: {{minReplicas: 2, maxReplicas: 2}}
"""
CALLERS = ("Attached", "Same", "All")


class Place:
    """A namespace with an operator of its own."""

    def __init__(self, server: ApiServer, namespace: str, log: Path) -> None:
        self.server, self.namespace, self.log = server, namespace, log

    def apply(self, text: str) -> None:
        self.server.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=text)

    def get(self, kind: str, name: str) -> Any:
        """The object, or None."""
        said = self.server.kubectl(
            "get", kind, name, f"--namespace={self.namespace}", "--output=json", "--ignore-not-found"
        )
        return json.loads(said) if said.strip() else None

    def condition(self, kind: str, name: str, wanted: str) -> dict[str, Any]:
        found = (self.get(kind, name) or {}).get("status", {}).get("conditions", ())
        return next((each for each in found if each["type"] == wanted), {})

    async def until(self, probe: Callable[[], object], what: str) -> None:
        try:
            await until(lambda: bool(probe()), what)
        except BaseException:
            print(self.log.read_text("utf-8")[-4000:])
            raise


@pytest.fixture
def place(api_server: ApiServer, tmp_path: Path) -> Iterator[Place]:
    namespace = operated.home(api_server).namespace
    with operated.Replica(api_server.kubeconfig, tmp_path, namespace, "--no-probes") as operator:
        yield Place(api_server, namespace, operator.log)
    api_server.kubectl("delete", "namespace", namespace, "--wait=false")


async def test_all_that_an_owner_says_of_the_fleet_is_in_its_objects(place: Place) -> None:
    place.apply(WORLD.format(namespace=place.namespace))
    await place.until(lambda: place.get("deployment", "edge-headgate"), "there is a Deployment")
    deployment = place.get("deployment", "edge-headgate")
    template = deployment["spec"]["template"]
    assert template["metadata"]["labels"]["cost-center"] == "edge"
    assert template["metadata"]["labels"]["headgate.dev/gateway"] == "edge"
    assert template["metadata"]["annotations"]["note"] == "kept"
    for each in (deployment["metadata"], template["metadata"]):
        assert "team" not in each["labels"], "an owner's label"
    pod = template["spec"]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "edge"}
    assert [(each.get("key"), each["operator"], each["effect"]) for each in pod["tolerations"]] == [
        ("dedicated", "Equal", "NoSchedule"),
        ("spot", "Exists", "PreferNoSchedule"),
        (None, "Exists", "NoExecute"),
    ]
    assert pod["tolerations"][2]["tolerationSeconds"] == 60
    nodes = pod["affinity"]["nodeAffinity"]
    (term,) = nodes["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [each["operator"] for each in term["matchExpressions"]] == [
        *("In", "NotIn", "Exists", "Gt", "Lt", "DoesNotExist")
    ]
    assert nodes["preferredDuringSchedulingIgnoredDuringExecution"][0]["weight"] == 10
    spread = pod["topologySpreadConstraints"]
    assert [(each["topologyKey"], each["maxSkew"], each["whenUnsatisfiable"]) for each in spread] == [
        ("topology.kubernetes.io/zone", 2, "DoNotSchedule"),
        ("kubernetes.io/hostname", 1, "ScheduleAnyway"),
    ]
    assert spread[0]["minDomains"] == 2
    assert all(each["labelSelector"]["matchLabels"]["headgate.dev/gateway"] == "edge" for each in spread)
    assert (pod["priorityClassName"], pod["runtimeClassName"]) == ("gateways", "gvisor")
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["terminationGracePeriodSeconds"] == 135
    (container,) = pod["containers"]
    assert container["image"] == "registry.example/envoy:1"
    assert container["resources"] == {
        "requests": {"cpu": "250m", "memory": "256Mi"},
        "limits": {"cpu": "2", "memory": "1Gi"},
    }
    bootstrap = next(each for each in container["args"] if each.startswith("{"))
    assert "local LEAST = 5" in bootstrap
    assert "local MOST = 120" in bootstrap
    assert str((1 << 30) * 85 // 100) in bootstrap, "by the memory's limit calls are refused before the kernel steps in"

    await place.until(lambda: place.get("hpa", "edge-headgate"), "there is an autoscaler")
    scaler = place.get("hpa", "edge-headgate")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 30)
    assert scaler["metrics"][0]["resource"]["target"]["averageValue"] == "750m"
    assert scaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 600
    policy = place.get("networkpolicy", "edge-headgate")["spec"]
    assert policy["ingress"][0]["from"] == [{"namespaceSelector": {"matchLabels": {"tier": "apps"}}}]


async def test_the_service_of_an_upstream_is_as_it_says(place: Place) -> None:
    place.apply(WORLD.format(namespace=place.namespace))
    await place.until(lambda: place.get("service", "by-address"), "there is a Service with an address")
    await place.until(lambda: place.get("service", "by-alias"), "there is an alias")
    alias, address = (place.get("service", name)["spec"] for name in ("by-alias", "by-address"))
    assert alias["type"] == "ExternalName"
    assert alias["externalName"] == f"edge-headgate.{place.namespace}.svc.cluster.local"
    assert address["type"] == "ClusterIP"
    assert address["clusterIP"]
    await place.until(lambda: place.condition("upstream", "by-path", "Accepted"), "it has a status")
    assert place.get("service", "by-path") is None
    # And one is taken away when it is not wanted any more.
    patch = '{"spec": {"serviceMode": "None"}}'
    place.server.kubectl(
        "patch", "upstream", "by-alias", f"--namespace={place.namespace}", "--type=merge", f"--patch={patch}"
    )
    await place.until(lambda: place.get("service", "by-alias") is None, "the alias is gone")


async def test_who_may_call_and_how_many_proxies_there_are_without_an_autoscaler(place: Place) -> None:
    expected: dict[str, object] = {
        "Attached": None,
        "Same": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place.namespace}}}],
        "All": [{"namespaceSelector": {}}],
    }
    for callers in CALLERS:
        place.apply(PLAIN.format(namespace=place.namespace, callers=callers))

        def allowed() -> object:
            policy = place.get("networkpolicy", "edge-headgate")
            return policy and (policy["spec"].get("ingress") or [{"from": None}])[0]["from"]

        def ruled(wanted: object = expected[callers]) -> bool:
            return place.get("networkpolicy", "edge-headgate") is not None and allowed() == wanted

        await place.until(ruled, f"callers {callers} are in the policy")
    await place.until(lambda: place.get("deployment", "edge-headgate"), "there is a Deployment")
    assert place.get("deployment", "edge-headgate")["spec"]["replicas"] == 2
    assert place.get("hpa", "edge-headgate") is None


async def test_a_service_name_that_is_taken_is_told_and_left_alone(place: Place) -> None:
    theirs = f"{{apiVersion: v1, kind: Service, metadata: {{name: by-alias, namespace: {place.namespace}}}, "
    place.apply(theirs + "spec: {type: ExternalName, externalName: elsewhere.example}}")
    place.apply(WORLD.format(namespace=place.namespace))

    def reason(name: str) -> str:
        return str(place.condition("upstream", name, "Programmed").get("reason"))

    await place.until(lambda: reason("by-alias") == "ServiceNameTaken", "it is told")
    message = place.condition("upstream", "by-alias", "Ready")["message"]
    assert f"Service {place.namespace}/by-alias" in message
    assert "serviceMode: None" in message
    assert place.get("service", "by-alias")["spec"]["externalName"] == "elsewhere.example"
    assert reason("by-address") == "NoProxyConnected"
    printed = place.server.kubectl("get", "upstreams", "by-alias", f"--namespace={place.namespace}")
    header, row = printed.splitlines()
    assert header.split()[:6] == ["NAME", "READY", "HEALTH", "CIRCUIT", "REASON", "SINCE"]
    assert row.split()[:4] == ["by-alias", "False", "Unknown", "ServiceNameTaken"]


async def test_what_is_wrong_is_in_the_columns_of_a_gateway(place: Place) -> None:
    place.apply(WORLD.format(namespace=place.namespace))
    await place.until(
        lambda: place.condition("igw", "edge", "Ready").get("reason") == "NoProxyConnected", "it has a status"
    )
    header, row = place.server.kubectl("get", "igw", f"--namespace={place.namespace}").splitlines()
    print(header, row, sep="\n")
    assert header.split() == ["NAME", "READY", "UPSTREAMS", "PROXIES", "REASON", "SINCE", "AGE"]
    assert row.split()[:5] == ["edge", "Unknown", "3", "0", "NoProxyConnected"]
