"""What it takes pods to show: what an owner says of them, how they drain, that they wait for an operator and then serve,
what is told when there are none, and that nothing hangs when all is removed with no operator left.

Headgate by its chart in a cluster, its namespace and the gateways' with Pod Security "restricted" enforced. Tests go on from each
other, in the order in which they stand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster import Cluster, installed
from harness.tended import SLOWER, Load, Tended, made, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
SYSTEM, OPERATOR = installed.NAMESPACE, "deployment/headgate-operator"
CHILDREN = "deployments,services,serviceaccounts,secrets,networkpolicies,poddisruptionbudgets,horizontalpodautoscalers"
OURS = "app.kubernetes.io/managed-by=headgate"


@pytest.fixture(scope="module")
def headgate(cluster: Cluster) -> Iterator[Cluster]:
    installed.install(cluster, {"gateway": {"create": False}, "replicas": 1})
    yield cluster
    # The last test takes all of it away.
    cluster.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={ROOT / 'crds'}")


@pytest.fixture(scope="module")
def waiting(headgate: Cluster) -> Tended:
    """A gateway that an autoscaler has, of one pod, which drains for three seconds at most."""
    spec = {
        "scaling": {"minReplicas": 1, "maxReplicas": 2},
        "drain": {"minDuration": "1s", "timeout": "3s"},
        "deployment": {"podTemplate": {"metadata": {"labels": {"cost": "edge"}, "annotations": {"note": "kept"}}}},
    }
    return made(headgate, "waiting", spec)


def row(place: Tended, name: str = "api") -> dict[str, str]:
    """An upstream's line: READY, HEALTH, REASON and whether there is a SINCE."""
    status = json.loads(place.kubectl("get", "upstream", name, "-o", "json"))["status"]
    ready = next(each["status"] for each in status["conditions"] if each["type"] == "Ready")
    return {"ready": ready, "reason": status.get("reason", ""), "since": status.get("since", "")}


def operators(cluster: Cluster, replicas: int) -> None:
    """So many, and none on its way."""
    cluster.kubectl("scale", OPERATOR, f"--namespace={SYSTEM}", f"--replicas={replicas}")
    query = ("get", "pods", f"--namespace={SYSTEM}", "-l=app.kubernetes.io/component=operator", "--output=name")
    until(lambda: len(cluster.kubectl(*query).split()) == replicas, f"{replicas} operators", 60)
    cluster.kubectl("rollout", "status", OPERATOR, f"--namespace={SYSTEM}", "--timeout=90s")


def events(place: Tended) -> str:
    return place.kubectl("get", "events", "--output=custom-columns=REASON:.reason,NOTE:.message")


def test_what_an_owner_says_of_pods_is_on_pods_that_run_restricted(waiting: Tended, headgate: Cluster) -> None:
    (pod,) = waiting.pods()
    assert pod["metadata"]["labels"]["cost"] == "edge"
    assert pod["metadata"]["annotations"]["note"] == "kept"
    for space in (SYSTEM, waiting.space):
        labels = json.loads(headgate.kubectl("get", "namespace", space, "-o", "json"))["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        reasons = headgate.kubectl("get", "events", f"--namespace={space}", "--output=custom-columns=REASON:.reason")
        assert "FailedCreate" not in reasons
    assert waiting.call().text == "fine"
    assert row(waiting) == {"ready": "True", "reason": "", "since": ""}


def test_a_drain_lasts_as_long_as_its_owner_lets_it(waiting: Tended, headgate: Cluster) -> None:
    """The provider takes five seconds. A gateway that drains for eight lets the call end, one for three cuts it off."""
    patient = made(headgate, "patient", {"scaling": {"minReplicas": 1, "maxReplicas": 1}})

    def slow(place: Tended) -> tuple[str, float]:
        began = time.monotonic()
        try:
            answer = place.call("/slow")
        except httpx.HTTPError as error:
            return type(error).__name__, time.monotonic() - began
        return answer.text, time.monotonic() - began

    with ThreadPoolExecutor(2) as pool:
        said = [pool.submit(slow, place) for place in (waiting, patient)]
        time.sleep(0.5)  # the calls have begun
        for place in (waiting, patient):
            place.kubectl("delete", "pods", "-l", "headgate.dev/gateway=edge", "--wait=false")
        (cut, after), (whole, _) = (each.result() for each in said)
    print(f"cut off after {after:.1f} s: {cut}")
    assert whole == "fine"
    assert cut != "fine"
    assert after < 5
    for place in (waiting, patient):
        until(lambda place=place: place.ready() == 1, "another pod", 60)  # type: ignore[misc]
        assert "FailedPreStopHook" not in events(place)
    headgate.kubectl("delete", "namespace", "patient", "--wait=false")


def test_all_pods_that_are_deleted_at_once_finish_what_they_have_and_serve_until_others_do(headgate: Cluster) -> None:
    """Kubernetes sends calls to pods that are about to end, and still ready, as long as there are no others. Those that take
    longer than the least drain end too, and no drain lasts its longest."""
    least, most = 8, 60  # a busy machine takes seconds to send calls elsewhere
    drain = {"minDuration": f"{least}s", "timeout": f"{most}s"}
    place = made(headgate, "deleted", {"scaling": {"minReplicas": 2, "maxReplicas": 2}, "drain": drain})
    until(lambda: place.ready() == 2, "two pods", 60)
    names = [pod["metadata"]["name"] for pod in place.pods()]
    with Load(place, 2, keep=True) as load, ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        slow = [pool.submit(place.call, "/slower", 60) for _ in range(8)]
        until(lambda: load.calls > 20, "calls", 30)
        place.kubectl("delete", "pods", *names, "--wait=false")
        until(lambda: place.ready() == 2, "new pods", 60)
        answers = [each.result() for each in slow]
        until(
            lambda: not place.kubectl("get", "pods", "--ignore-not-found", "--output=name", *names), "old ones go", 90
        )
        took = time.monotonic() - began
        calls = load.calls
        until(lambda: load.calls > calls + 20, "calls to the new ones", 30)
    print(f"{load.calls} calls, gone after {took:.1f} s")
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "fine")] * 8
    assert load.failures == []
    assert least < SLOWER < took < most
    assert "FailedPreStopHook" not in events(place)
    headgate.kubectl("delete", "namespace", "deleted", "--wait=false")


def test_no_pods_are_told_and_so_is_that_they_are_back(waiting: Tended, headgate: Cluster) -> None:
    """The only one is deleted, and nowhere is room for another."""
    until(lambda: row(waiting)["ready"] == "True", "in force", 60)
    nodes = headgate.kubectl("get", "nodes", "--output=name").split()
    headgate.kubectl("cordon", *nodes)
    try:
        waiting.kubectl("delete", "pods", "-l", "headgate.dev/gateway=edge", "--wait=false")
        until(lambda: row(waiting)["reason"] == "NoProxyConnected", "it is told", 60)
        found = row(waiting)
        print(waiting.kubectl("get", "upstreams"))
        print(waiting.kubectl("get", "igw"))
        assert found["ready"] == "Unknown"
        assert found["since"]
    finally:
        headgate.kubectl("uncordon", *nodes)
    until(lambda: row(waiting) == {"ready": "True", "reason": "", "since": ""}, "in force again", 90)


def test_pods_that_start_without_an_operator_wait_and_serve_soon_after_its_return(
    waiting: Tended, headgate: Cluster
) -> None:
    until(lambda: waiting.ready() == 1, "a pod", 60)
    before = waiting.pods()[0]["metadata"]["name"]
    operators(headgate, 0)
    waiting.kubectl("delete", "pod", before, "--wait=true")
    until(lambda: [each["status"]["phase"] for each in waiting.pods()] == ["Running"], "another pod runs", 60)
    began = time.monotonic()
    # Longer than a liveness probe's patience, which is half a minute.
    while time.monotonic() < began + 40:
        assert waiting.ready() == 0, "never ready and empty"
        time.sleep(0.5)
    headgate.kubectl("scale", OPERATOR, f"--namespace={SYSTEM}", "--replicas=1")
    query = ("get", OPERATOR, f"--namespace={SYSTEM}", "--output=jsonpath={.status.readyReplicas}")
    while headgate.kubectl(*query) != "1":
        assert time.monotonic() < began + 120
        time.sleep(0.1)
    back = time.monotonic()
    until(waiting.serves, "it serves", 30)
    took = time.monotonic() - back
    print(f"served {took:.1f} s after the operator was ready")
    assert took < 5
    assert [each["status"]["containerStatuses"][0]["restartCount"] for each in waiting.pods()] == [0]


def left(cluster: Cluster, space: str) -> list[str]:
    """What Headgate made in a namespace and is there still."""
    return cluster.kubectl("get", CHILDREN, f"--namespace={space}", f"-l={OURS}", "--output=name").split()


def finalizers(cluster: Cluster, *what: str) -> list[Any]:
    found = json.loads(cluster.kubectl("get", *what, "--output=json"))["items"]
    return [each["metadata"]["finalizers"] for each in found if each["metadata"].get("finalizers")]


def test_nothing_hangs_whatever_is_removed_first_with_the_operator_gone(waiting: Tended, headgate: Cluster) -> None:
    """A namespace; the CRDs with all that is of them; the release last."""
    other = made(headgate, "removed", {"scaling": {"minReplicas": 1, "maxReplicas": 1}})
    operators(headgate, 0)
    kinds = "upstreams,integrationgateways,retrypolicies,circuitbreakers,ratelimits"
    assert finalizers(headgate, kinds, "--all-namespaces") == []
    assert finalizers(headgate, CHILDREN, "--all-namespaces", f"-l={OURS}") == []
    headgate.kubectl("delete", "namespace", other.space, "--timeout=90s")

    assert left(headgate, waiting.space) != []
    headgate.kubectl("delete", f"--filename={ROOT / 'crds'}", "--timeout=60s")
    until(lambda: left(headgate, waiting.space) == [], "the children have gone", 60)
    until(lambda: waiting.pods() == [], "the pods have gone", 60)

    installed.run_helm(headgate, "uninstall", installed.RELEASE, f"--namespace={SYSTEM}", "--wait", "--timeout=2m")
    headgate.kubectl("delete", "namespace", SYSTEM, waiting.space, "--timeout=120s")
    everything = headgate.kubectl("get", "clusterroles,clusterrolebindings", "--output=name")
    assert "headgate" not in everything
