"""Pods that are ready and of no use, on a real cluster: replaced, one at a time, and told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from cluster import Cluster
from cluster.installed import NAMESPACE, install
from harness.tended import PORT, XDS, Load, Tended, made, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(600)]
TWO = {"scaling": {"minReplicas": 2, "maxReplicas": 2}}
OPERATOR = "app.kubernetes.io/component=operator"
#: Patience, the age that pods must have, one gateway after the other, a drain each.
WITHIN = 300.0


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Cluster:
    install(cluster)
    return cluster


def test_a_pod_that_fails_alone_and_one_that_nobody_hears_of_are_replaced_one_after_the_other(
    installed: Cluster,
) -> None:
    """The first can't reach the provider, its peer can; the second can't reach the operator. Both stay ready."""
    with ThreadPoolExecutor(2) as pool:
        failing, unheard = pool.map(lambda space: made(installed, space, TWO), ("failing", "unheard"))
    for each in (failing, unheard):
        until(lambda each=each: each.ready() == 2, "two pods", 60)  # type: ignore[misc]
    victims = {each.space: each.pods()[0] for each in (failing, unheard)}
    spared = {each.space: each.pods()[1]["metadata"]["name"] for each in (failing, unheard)}

    def address(each: Tended) -> str:
        found: str = victims[each.space]["status"]["podIP"]
        return found

    def replaced(each: Tended) -> bool:
        names = {pod["metadata"]["name"] for pod in each.pods()}
        return victims[each.space]["metadata"]["name"] not in names and each.ready() == 2

    with Load(failing, 6), failing.cut(address(failing), PORT), unheard.cut(address(unheard), XDS):
        until(lambda: replaced(failing) and replaced(unheard), "both to be replaced", WITHIN)
    times = []
    for each, why in ((failing, "FailingAlone"), (unheard, "NotConnected")):
        (event,) = each.told("PodReplaced")
        assert victims[each.space]["metadata"]["name"] in event["note"]
        assert why in event["note"]
        assert event["regarding"]["kind"] == "IntegrationGateway"
        assert event["type"] == "Warning"
        assert spared[each.space] in {pod["metadata"]["name"] for pod in each.pods()}
        times.append(datetime.fromisoformat(event["eventTime"]))
    assert abs((times[0] - times[1]).total_seconds()) >= 60, "one at a time"
    pods = installed.kubectl("get", "pods", "-n", NAMESPACE, "-l", OPERATOR, "-o", "name").split()
    metrics = "".join(
        installed.kubectl(
            "get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod.removeprefix('pod/')}:8081/proxy/metrics"
        )
        for pod in pods
    )
    assert 'what="PodReplaced"' in metrics
    with Load(failing, 2) as load:
        until(lambda: load.calls > 40, "calls", 30)
    assert load.failures == []
