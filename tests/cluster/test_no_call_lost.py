"""An application calls a provider through a gateway all the time, and whatever is done to the operator, the API server or the
gateway's pods, each of its calls has the provider's own 200.

Headgate is there by its chart, in a cluster of its own; each test disturbs it in one way, ends in the state in which it began,
and prints what it saw (`-s`). The application repeats nothing, and honours `Connection: close`. Outages last 15 s here, and two
minutes where HEADGATE_LONG is set.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster import Cluster, installed
from cluster.apiserver import KUBERNETES_SERVICE
from harness.require import require
from harness.steady import (
    EDGES,
    KEYS,
    SHOP,
    SYSTEM,
    UPSTREAM,
    VALUES,
    Steady,
    Watched,
    container,
    names,
    say,
    until,
)

LONG = bool(os.environ.get("HEADGATE_LONG"))
#: Seconds.
OUTAGE = 120 if LONG else 15
#: In the order in which they end.
CONTROL_PLANE = ("kube-controller-manager", "kube-scheduler", "kube-apiserver")
#: What answers there answers 400: it wants TLS.
API_IN_PODS = f"http://{KUBERNETES_SERVICE}:443/"
#: Calls go on so long before and after a disturbance.
AROUND = 3

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.serial, pytest.mark.timeout(900)]


@dataclass
class Disturbance:
    """What else was seen in one."""

    seen: list[str] = field(default_factory=list)

    def saw(self, text: str) -> None:
        self.seen.append(text)


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Steady]:
    require(not Cluster.missing(), Cluster.missing())
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "one")
    try:
        cluster.start()
        found = Steady(cluster)
        found.set_up()
        yield found
    finally:
        cluster.stop()


@contextmanager
def disturbed(steady: Steady, what: str) -> Iterator[Disturbance]:
    """Calls from a little before to a little after; none of them may have failed."""
    begun = time.time()
    time.sleep(AROUND)
    found = Disturbance()
    try:
        yield found
    except BaseException:
        say(f"\n{what}: {found.seen}\n{steady.logs()}")
        raise
    found.saw(f"all as before after another {steady.settled():.1f} s")
    time.sleep(AROUND)
    window = steady.samples(begun, time.time())
    say(f"\n{what}: {window}\n  {'; '.join(found.seen)}")
    for each in window.failures[:20]:
        say(f"  {each.at - begun:.2f} s: {each}")
    assert len(window.samples) > window.seconds * 30
    assert not window.failures


def changed(steady: Steady, edition: str, within: float = 10) -> float:
    """Change the upstream; the seconds after which its calls show it."""
    steady.upstream(edition)
    return until(lambda: steady.live(edition), f"edition {edition} is live", within, 0.05)


def leader(steady: Steady) -> dict[str, Any]:
    """The pod of the replica that leads."""
    name = steady.holder().rpartition("_")[0]
    return next(each for each in steady.operators() if each["metadata"]["name"] == name)


def test_calls_go_on_while_nothing_happens(steady: Steady) -> None:
    with disturbed(steady, "nothing") as found:
        time.sleep(10)
        found.saw(f"a change was live after {changed(steady, 'nothing') * 1000:.0f} ms")


def test_the_leader_is_killed(steady: Steady) -> None:
    with disturbed(steady, "leader killed") as found:
        before, killed = steady.holder(), container(leader(steady))
        steady.cluster.kill(killed)
        found.saw(f"a change was live after {changed(steady, 'leaderless'):.1f} s, with nobody leading")
        took = until(lambda: steady.holder() not in ("", before), "another one leads", 15)
        until(lambda: killed not in map(container, steady.operators()), "it is started again")
        found.saw(f"another one led {took:.1f} s later")


def test_all_operators_are_killed(steady: Steady) -> None:
    with disturbed(steady, f"all operators killed for {OUTAGE} s") as found:
        pods = steady.operators()
        steady.kubectl("scale", "deployment/headgate-operator", f"--namespace={SYSTEM}", "--replicas=0")
        steady.cluster.kill(*map(container, pods))
        until(lambda: not steady.operators(), "no operator")
        time.sleep(OUTAGE)
        assert not steady.operators()
        steady.kubectl("scale", "deployment/headgate-operator", f"--namespace={SYSTEM}", "--replicas=2")
        steady.upstream("return")
        found.saw(f"a change was live {until(lambda: steady.live('return'), 'a change', 60):.1f} s after their return")


def test_the_api_server_is_stopped(steady: Steady) -> None:
    """What is changed right after its return is live within ten seconds.

    With it go those that live by it and would give up without: here they hold no Leases. One that saw the node's heartbeats
    stop would take all pods of the cluster for dead at its return, CoreDNS among them, before the kubelet has said a word.
    """
    try:
        with disturbed(steady, f"API server stopped for {OUTAGE} s") as found:
            for part in CONTROL_PLANE:
                steady.cluster.stop_part(part)
            time.sleep(OUTAGE)
            assert not steady.cluster.ready()
            begun = time.monotonic()
            for part in reversed(CONTROL_PLANE):
                steady.cluster.start_part(part)
                until(steady.cluster.ready, "the API server", 60)
            found.saw(f"it was ready {time.monotonic() - begun:.1f} s after its start")
            # Whoever is in a pod gets to it by way of kube-proxy, which learns of its return as everybody does.
            until(lambda: steady.call(API_IN_PODS)[0] == 400, "a pod can reach the API server", 60)
            found.saw(f"pods could reach it {time.monotonic() - begun:.1f} s after its start")
            before, began = steady.seen().get(KEYS[1]), time.monotonic()
            steady.key(KEYS[1])
            found.saw(f"a change was live {changed(steady, 'back'):.2f} s after that")
            until(lambda: steady.seen().get(KEYS[1]) != before, "another key", began + 10 - time.monotonic(), 0.05)
            found.saw(f"another key {time.monotonic() - began:.2f} s")
            begun = time.monotonic()
            steady.upstream("late", "late")
            path = f"http://edge-headgate.{EDGES}/{SHOP}/late"
            until(lambda: steady.live("late", path), "a new upstream is called by its path", 10, 0.05)
            found.saw(f"a new upstream was called by its path {time.monotonic() - begun:.2f} s after it was declared")
            until(lambda: steady.cluster.tries("get", "service", "late", f"--namespace={SHOP}"), "its Service", 20)
            found.saw(f"its Service was there after {time.monotonic() - begun:.2f} s")
            # CoreDNS, too, looks for the API server by itself, and takes its time.
            until(lambda: steady.live("late", f"http://late.{SHOP}"), "it is called by its name", 90)
            found.saw(f"by its name {time.monotonic() - begun:.1f} s after")
    finally:
        steady.key(KEYS[0])
        steady.kubectl("delete", "upstream/late", f"--namespace={SHOP}", "--ignore-not-found")


def test_a_gateway_pod_is_deleted(steady: Steady) -> None:
    with disturbed(steady, "gateway pod deleted") as found:
        gone = steady.proxies()[0]["metadata"]["name"]
        steady.kubectl("delete", "pod", gone, f"--namespace={EDGES}", "--wait=false")
        took = until(lambda: gone not in names(steady.proxies()), "it is gone", 120)
        found.saw(f"it was gone after {took:.1f} s")


def rolled_by_its_owner(steady: Steady) -> None:
    steady.gateway(note="second")


def rolled_by_hand(steady: Steady) -> None:
    steady.kubectl("rollout", "restart", "deployment/edge-headgate", f"--namespace={EDGES}")


@pytest.mark.parametrize("roll", [rolled_by_its_owner, rolled_by_hand])
def test_the_gateway_is_rolled(steady: Steady, roll: Callable[[Steady], None]) -> None:
    with disturbed(steady, f"gateway {roll.__name__.replace('_', ' ')}") as found:
        before = names(steady.proxies())
        roll(steady)
        took = until(lambda: not before & names(steady.proxies()), "no old pod is left", 240)
        found.saw(f"no old pod was left after {took:.1f} s")


def test_the_gateway_is_scaled(steady: Steady) -> None:
    with disturbed(steady, "scaled to 1, 4, 1 and back to 2") as found:
        for number in (1, 4, 1, 2):
            steady.gateway(number)
            took = until(
                lambda number=number: (
                    len(steady.proxies()) == number  # type: ignore[misc]
                    and steady.get("deployment", "edge-headgate", EDGES)["status"].get("readyReplicas") == number
                ),
                f"{number} proxies",
                180,
            )
            found.saw(f"{number} after {took:.1f} s")


def test_helm_upgrades_and_rolls_back(steady: Steady) -> None:
    """Both operators are replaced, and all proxies: their memory is another one."""
    with disturbed(steady, "helm upgrade and rollback") as found:
        for step in ("upgrade", "rollback"):
            before, operators = names(steady.proxies()), names(steady.operators())
            if step == "upgrade":
                other = {"podAnnotations": {"example.com/reason": "upgrade"}, "gateways": {"memory": "288Mi"}}
                installed.install(steady.cluster, installed.merged(VALUES, other))
            else:
                installed.run_helm(
                    steady.cluster, step, installed.RELEASE, f"--namespace={SYSTEM}", "--wait", "--timeout=3m"
                )
            assert not operators & names(each for each in steady.operators() if not _ends(each))
            took = until(lambda before=before: not before & names(steady.proxies()), "new proxies only", 240)  # type: ignore[misc]
            found.saw(f"{step}: no old proxy {took:.1f} s after helm was done")


def _ends(pod: dict[str, dict[str, object]]) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def rotated(steady: Steady, found: Disturbance, old: str, new: str) -> None:
    """No call has the old key any more once the status says that the new one is in use."""
    credential = "{.status.credentials[0].state} {.status.credentials[0].secretResourceVersion}"
    with Watched(steady.cluster, SHOP, "upstream", UPSTREAM, credential) as watched:
        begun, count = time.time(), steady.seen().get(new, (0, 0.0))[0]
        version = steady.key(new)
        in_use = watched.first(f"InUse {version}")
        time.sleep(AROUND)
    calls, last = steady.seen()[old]
    found.saw(
        f"in use after {in_use - begun:.2f} s ({calls} calls with the one before in all, the last {in_use - last:.2f} s earlier)"
    )
    assert begun - AROUND < last < in_use, "the old key was in use, and is no more"
    assert steady.seen()[new][0] > count


def test_a_key_is_rotated(steady: Steady) -> None:
    with disturbed(steady, "key rotated") as found:
        for old, new in zip(KEYS, (*KEYS[1:], KEYS[0]), strict=True):
            rotated(steady, found, old, new)


def test_a_key_is_rotated_while_proxies_look_for_another_replica(steady: Steady) -> None:
    """Those of the replica that is gone send the old key until they have found the other one."""
    with disturbed(steady, "a replica killed and the key rotated") as found:
        name = leader(steady)["metadata"]["name"]
        (follower,) = (each for each in steady.operators() if each["metadata"]["name"] != name)
        steady.cluster.kill(container(follower))
        rotated(steady, found, KEYS[0], KEYS[1])
        steady.settled()
        rotated(steady, found, KEYS[1], KEYS[0])


def test_all_calls_of_all_tests(steady: Steady) -> None:
    """Also those between two tests."""
    window = steady.samples(steady.began, time.time())
    say(f"\nall in all: {window}")
    assert not window.failures
