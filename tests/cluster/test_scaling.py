"""More proxies and fewer, on a real cluster: by calls in flight, by CPU, and nothing at all while nobody says anything."""

from __future__ import annotations

import json
import time

import pytest

from cluster import Cluster
from cluster.installed import NAMESPACE, install
from harness.tended import Load, Tended, made, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]
CALM = 20
OPERATOR = "app.kubernetes.io/component=operator"


@pytest.fixture(scope="module")
def installed(cluster: Cluster) -> Cluster:
    install(cluster)
    return cluster


def spec(most: int, **targets: object) -> dict[str, object]:
    down = {"stabilizationWindow": f"{CALM}s"}
    return {"scaling": {"minReplicas": 1, "maxReplicas": most, "scaleDown": down, **targets}}


def floor(tended: Tended) -> int:
    found = json.loads(tended.kubectl("get", "hpa", "edge-headgate", "-o", "json"))
    return int(found["spec"]["minReplicas"])


def millis(tended: Tended) -> float | None:
    """CPU per proxy as the autoscaler has it now; None while it has none."""
    found = json.loads(tended.kubectl("get", "hpa", "edge-headgate", "-o", "json"))
    for each in found["status"].get("currentMetrics") or ():
        amount = str(each.get("resource", {}).get("current", {}).get("averageValue", ""))
        if amount:
            return float(amount.removesuffix("m")) if amount.endswith("m") else float(amount) * 1000
    return None


def operators(cluster: Cluster, count: int) -> None:
    """So many, and no others on their way."""
    cluster.kubectl("scale", "-n", NAMESPACE, "deployment/headgate-operator", f"--replicas={count}")

    def there() -> bool:
        found = json.loads(cluster.kubectl("get", "pods", "-n", NAMESPACE, "-l", OPERATOR, "-o", "json"))["items"]
        return len(found) == count

    until(there, f"{count} operators", 60)


def test_calls_in_flight_ask_for_proxies_and_silence_moves_nothing(installed: Cluster) -> None:
    tended = made(installed, "flight", spec(3, targetRequestsInFlight=4))
    until(lambda: tended.ready() == 1, "one proxy", 60)
    count = len(json.loads(installed.kubectl("get", "pods", "-n", NAMESPACE, "-l", OPERATOR, "-o", "json"))["items"])
    with Load(tended, 12, "/slow") as load:
        until(lambda: tended.ready() == 3, "three proxies", 90)
        assert floor(tended) == 3
        operators(installed, 0)
    # Nobody calls, and nobody is there to be told so.
    until_then = time.monotonic() + 2 * CALM + 20
    while time.monotonic() < until_then:
        assert (floor(tended), tended.ready()) == (3, 3)
        time.sleep(1)
    operators(installed, count)
    until(lambda: floor(tended) == 1, "the floor to fall", 60 + CALM)
    # One a minute.
    until(lambda: tended.ready() == 1, "one proxy again", 240)
    assert load.failures == []


def test_cpu_alone_scales_both_ways(installed: Cluster) -> None:
    tended = made(installed, "busy", spec(2, targetCPU="15m"))

    def idle() -> bool:
        """A start takes CPU too, and may have had another one come."""
        cpu = millis(tended)
        return tended.ready() == 1 and cpu is not None and cpu < 10

    until(idle, "one idle proxy", 240)
    with Load(tended, 6, rest=0.0, keep=True) as load:
        until(lambda: tended.ready() == 2, "two proxies", 180)
        assert floor(tended) == 1
    until(lambda: tended.ready() == 1, "one proxy again", 240)
    assert load.failures == []


def test_a_gateway_that_somebody_scales_to_none_comes_back(installed: Cluster) -> None:
    """Kubernetes switches its autoscaler off there, and on again when it has pods."""
    tended = made(installed, "off", spec(3))
    tended.kubectl("scale", "deployment", "edge-headgate", "--replicas=0")
    until(lambda: bool(tended.told("ScaledFromZero")), "the Event", 30)
    (event,) = tended.told("ScaledFromZero")
    assert (event["regarding"]["kind"], event["regarding"]["name"]) == ("IntegrationGateway", "edge")
    until(lambda: tended.ready() == 1 and not off(tended), "a proxy, and its autoscaler", 90)


def off(tended: Tended) -> bool:
    """Whether the autoscaler says that it is."""
    found = json.loads(tended.kubectl("get", "hpa", "edge-headgate", "-o", "json"))
    said = {each["type"]: each.get("reason") for each in found["status"].get("conditions") or ()}
    return said.get("ScalingActive") == "ScalingDisabled" or int(found["status"].get("desiredReplicas") or 0) == 0
