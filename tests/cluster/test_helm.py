"""Headgate by its chart, with the real helm, from nothing to nothing: install, the first call, upgrade, rollback, uninstall.

Nothing of Headgate is in the cluster before and after. Tests go on from each other, in the order in which they stand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import Cluster, ClusterProblem, installed, providers

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
NAMESPACE, TEAM = installed.NAMESPACE, providers.TEAM
ELSEWHERE = "elsewhere"


def until(condition: Callable[[], bool], what: str, timeout: float = 60) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not so after {timeout} s: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def machine(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster without Headgate: what other tests have installed goes, with all that is of it."""
    release = (installed.RELEASE, f"--namespace={NAMESPACE}")
    installed.run_helm(cluster, "uninstall", *release, "--ignore-not-found", "--wait", "--timeout=2m")
    # Its gateway's pods go before the kinds do: Kubernetes learns of new kinds every half a minute, and of a kind that is gone by
    # then it never learns that an owner is.
    left = ("get", "pods", f"--namespace={NAMESPACE}", "--output=name")
    until(lambda: not cluster.kubectl(*left).strip(), "no pod is left", 150)
    cluster.kubectl("delete", f"--filename={ROOT / 'crds'}", "--ignore-not-found", "--timeout=60s")
    cluster.kubectl("delete", "namespace", NAMESPACE, TEAM, "--ignore-not-found", "--timeout=120s")
    yield cluster
    cluster.kubectl("delete", "namespace", ELSEWHERE, providers.NAMESPACE, "--ignore-not-found", "--wait=false")


@pytest.fixture(scope="module")
def authority(machine: Cluster) -> str:
    """The providers' own."""
    return providers.deploy(machine)


@pytest.fixture(scope="module")
def headgate(machine: Cluster, authority: str) -> Cluster:
    """Installed, with the examples in it."""
    said = installed.install(machine)
    assert "curl http://gemini.shop/v1beta/models" in said
    providers.examples(machine, authority)
    providers.apply(machine, [providers.namespace(ELSEWHERE), providers.application("application", ELSEWHERE)])
    machine.kubectl("wait", "--for=condition=Ready", f"--namespace={ELSEWHERE}", "pod/application", "--timeout=60s")
    return machine


def get(cluster: Cluster, *what: str, namespace: str = NAMESPACE) -> Any:
    return json.loads(cluster.kubectl("get", *what, f"--namespace={namespace}", "--output=json"))


def holder(cluster: Cluster) -> tuple[str, int]:
    """Who holds the Lease, and how often it changed hands."""
    spec = get(cluster, "lease", "headgate-operator").get("spec", {})
    return spec.get("holderIdentity", ""), spec.get("leaseTransitions", 0)


def pods(cluster: Cluster, component: str) -> dict[str, str]:
    """Names of pods that are not about to end, with the generation of their template."""
    found = get(cluster, "pods", f"--selector=app.kubernetes.io/component={component}")["items"]
    return {
        each["metadata"]["name"]: each["metadata"]["labels"]["pod-template-hash"]
        for each in found
        if "deletionTimestamp" not in each["metadata"]
    }


def models(cluster: Cluster, where: str = ELSEWHERE) -> tuple[int, str]:
    return providers.call(cluster, where, f"http://gemini.{TEAM}/v1beta/models")


def test_the_api_server_takes_every_object_of_chart_and_overlays(headgate: Cluster) -> None:
    """As it would with all optional parts that it knows the kinds of."""
    import manifests

    for values in ((), ('namespaces=["shop"]', 'secretNamespaces=["shop"]')):
        listed = {"apiVersion": "v1", "kind": "List", "items": manifests.template(*values)}
        headgate.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "--filename=-",
            given=json.dumps(listed),
        )
    for overlay in ("cluster-wide", "namespaced", "local"):
        headgate.kubectl(
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            f"--kustomize={ROOT / 'manifests/overlays' / overlay}",
        )


def test_examples_become_ready_and_answer_a_pod_of_another_namespace(headgate: Cluster) -> None:
    """With the key put in: the simulated provider takes no other, and the caller has none."""
    headgate.kubectl("wait", "--for=condition=Ready", "--all", f"--namespace={TEAM}", "upstreams", "--timeout=120s")
    status, body = models(headgate)
    assert status == 200, body
    assert "models/gemini" in body
    again = providers.call(headgate, TEAM, f"http://gemini.{TEAM}/v1beta/models", **{"x-goog-api-key": "callers-own"})
    assert again[0] == 200
    without = providers.call(headgate, TEAM, "https://generativelanguage.googleapis.com/v1beta/models")
    assert without[0] != 200


def test_policies_are_in_force_too(headgate: Cluster) -> None:
    kinds = ("retrypolicies", "circuitbreakers", "ratelimits")
    for kind in kinds:
        headgate.kubectl("wait", "--for=condition=Ready", "--all", f"--namespace={TEAM}", kind, "--timeout=60s")


def test_operator_and_gateway_run_restricted_and_without_more_rights_than_told(headgate: Cluster) -> None:
    labels = get(headgate, "namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert len(pods(headgate, "operator")) == 2
    assert len(pods(headgate, "gateway")) >= 1
    logs = "".join(
        headgate.kubectl("logs", f"--namespace={NAMESPACE}", f"pod/{name}") for name in pods(headgate, "operator")
    )
    assert "Forbidden" not in logs, [line for line in logs.splitlines() if "Forbidden" in line][:3]
    assert "simulated-gemini-key" not in logs


def test_an_upgrade_leaves_the_lease_and_the_gateways_alone(headgate: Cluster) -> None:
    """One that changes nothing of the pods; the Lease's holder goes on. Then a rollback."""
    until(lambda: holder(headgate)[0] != "", "somebody leads")
    before, gateways, operators = holder(headgate), pods(headgate, "gateway"), pods(headgate, "operator")
    installed.install(headgate, {"podDisruptionBudget": {"enabled": False}})
    assert "headgate-operator" not in headgate.kubectl("get", "pdb", f"--namespace={NAMESPACE}", "--output=name")
    assert holder(headgate) == before
    installed.run_helm(
        headgate, "rollback", installed.RELEASE, "1", f"--namespace={NAMESPACE}", "--wait", "--timeout=3m"
    )
    assert "headgate-operator" in headgate.kubectl("get", "pdb", f"--namespace={NAMESPACE}", "--output=name")
    assert holder(headgate) == before
    assert pods(headgate, "gateway") == gateways
    assert pods(headgate, "operator") == operators
    assert models(headgate)[0] == 200


def test_an_upgrade_that_replaces_the_operator_keeps_the_gateways(headgate: Cluster) -> None:
    gateways, operators = pods(headgate, "gateway"), pods(headgate, "operator")
    installed.install(headgate, {"podAnnotations": {"example.com/reason": "upgrade"}})
    assert not set(pods(headgate, "operator")) & set(operators)
    assert models(headgate)[0] == 200
    until(lambda: holder(headgate)[0].rpartition("_")[0] in pods(headgate, "operator"), "one of the new ones leads")
    assert pods(headgate, "gateway") == gateways


def test_crds_of_a_newer_chart_are_brought_as_documented(headgate: Cluster) -> None:
    """`helm show crds | kubectl apply`, over what an older chart installed; objects stay."""
    name = "crd/ratelimits.headgate.dev"
    older = json.loads(headgate.kubectl("get", name, "--output=json"))
    schema = older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    had = schema["properties"]["spec"]["properties"].pop("rules")
    older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].pop("required", None)
    older["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].pop(
        "x-kubernetes-validations", None
    )
    assert had
    headgate.kubectl("replace", "--filename=-", given=json.dumps(older))
    crds = installed.run_helm(headgate, "show", "crds", str(installed.CHART))
    headgate.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", given=crds)
    now = json.loads(headgate.kubectl("get", name, "--output=json"))
    assert "rules" in now["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    committed = yaml.safe_load((ROOT / "crds/ratelimits.headgate.dev.yaml").read_text("utf-8"))
    assert now["metadata"]["name"] == committed["metadata"]["name"]
    assert len(get(headgate, "upstreams", namespace=TEAM)["items"]) == 4


def test_people_who_may_edit_a_namespace_may_edit_its_apis(headgate: Cluster) -> None:
    headgate.kubectl("create", "rolebinding", "dev", "--clusterrole=edit", "--user=dev", f"--namespace={TEAM}")
    headgate.kubectl("create", "rolebinding", "eve", "--clusterrole=view", "--user=eve", f"--namespace={TEAM}")

    def may(user: str, verb: str, namespace: str = TEAM) -> bool:
        try:
            answer = headgate.kubectl(
                "auth", "can-i", verb, "upstreams.headgate.dev", f"--as={user}", f"--namespace={namespace}"
            )
        except ClusterProblem:
            return False
        return answer.strip() == "yes"

    until(lambda: may("dev", "create") and may("eve", "get"), "the roles are aggregated")
    assert not may("eve", "delete")
    assert not may("dev", "create", ELSEWHERE)


def test_uninstalling_with_the_operator_already_gone_leaves_nothing_hanging(headgate: Cluster) -> None:
    """Upstreams and CRDs stay until somebody deletes them, and then they are gone at once."""
    headgate.kubectl("delete", "deployment/headgate-operator", f"--namespace={NAMESPACE}", "--wait", "--timeout=60s")
    until(lambda: not pods(headgate, "operator"), "no operator is left")
    installed.run_helm(headgate, "uninstall", installed.RELEASE, f"--namespace={NAMESPACE}", "--wait", "--timeout=2m")
    until(lambda: not pods(headgate, "gateway"), "the gateway's pods have gone", 120)
    assert len(get(headgate, "upstreams", namespace=TEAM)["items"]) == 4
    headgate.kubectl("delete", f"--filename={providers.EXAMPLES}", "--timeout=30s")
    until(lambda: "gemini" not in headgate.kubectl("get", "services", f"--namespace={TEAM}"), "its Services have gone")
    headgate.kubectl("delete", f"--filename={ROOT / 'crds'}", "--timeout=60s")
    headgate.kubectl("delete", "namespace", NAMESPACE, TEAM, "--timeout=120s")
    everything = headgate.kubectl("get", "clusterroles,clusterrolebindings", "--output=name")
    assert "headgate" not in everything
