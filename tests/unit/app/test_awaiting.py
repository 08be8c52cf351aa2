"""What gateways and upstreams wait for before a call by their name comes to a proxy."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from harness.wanted import World, api, service, slices, with_upstreams, world_of
from headgate.app.awaiting import SETTLE
from headgate.kube.objects import Result
from headgate.model.fleet import ServiceMode
from headgate.model.plan import Gateway
from headgate.model.refs import ObjectRef

A, B = api("a").ref, api("b").ref
MIRRORED = ObjectRef("EndpointSlice", "shop", "a-gateway-headgate-x")
SERVICE, PODS_UNKNOWN = ("Service", "Pending"), ("Pod", "Pending")
STARTING, UNREADY, TAKEN = ("Pod", "Starting"), ("Pod", "Unready"), ("Service", "Taken")


def new_world(*names: str) -> tuple[World, Gateway]:
    """Nobody's status says anything yet."""
    world, edge = world_of(*names)
    world.made = set()
    return world, edge


def turned(world: World, *addresses: str, ready: bool = True) -> None:
    """The cluster says this of the gateway's pods."""
    world.slices = slices(*addresses, ready=ready)
    world.objects.again()
    world.passes(SETTLE)


def all_of(world: World, gateway: Gateway) -> list[ObjectRef]:
    """What there is to be of a gateway itself."""
    secret = ObjectRef("Secret", gateway.ref.namespace, f"{gateway.ref.name}-headgate")
    return [*(ref for ref in world.writer.objects if ref.namespace == gateway.ref.namespace), secret]


def test_a_new_upstream_waits_for_its_service_and_for_a_pod() -> None:
    world, edge = new_world("a", "b")
    world.follow(edge)
    assert world.awaited(A) == [SERVICE], "nobody who does not lead says more"
    turned(world)
    assert world.awaited(A) == [SERVICE, STARTING]
    world.came(service("a"))
    assert (world.awaited(A), world.awaited(B)) == ([STARTING], [SERVICE, STARTING])
    turned(world, "10.0.0.1", ready=False)
    assert world.awaited(A) == [STARTING]
    told = world.told
    turned(world, "10.0.0.1")
    assert (world.awaited(A), world.awaited(B), world.told) == ([], [SERVICE], told + 2)
    world.came(service("b"))
    assert world.awaited(B) == []


def test_a_new_gateway_waits_for_all_that_it_is_made_of() -> None:
    world, edge = new_world("a")
    world.follow(edge)
    turned(world, "10.0.0.1")
    refs = all_of(world, edge)
    assert {ref.kind for ref in refs} > {"Deployment", "Service", "Secret"}
    assert world.awaited(edge.ref) == [(ref.kind, "Pending") for ref in refs]
    world.came(*refs)
    assert world.awaited(edge.ref) == []


def test_without_a_service_of_its_own_an_upstream_waits_for_pods() -> None:
    world, edge = new_world()
    world.uids[A] = "a-uid"
    world.follow(with_upstreams(edge, api("a", service_mode=ServiceMode.NONE)))
    assert world.awaited(A) == [PODS_UNKNOWN]
    turned(world)
    assert world.awaited(A) == [STARTING]
    turned(world, "10.0.0.1")
    assert world.awaited(A) == []


def test_what_is_made_is_not_taken_back_while_nothing_is_known() -> None:
    world, edge = new_world("a", "b")
    world.made = {edge.ref, A}
    world.follow(edge)
    assert (world.awaited(edge.ref), world.awaited(A), world.awaited(B)) == ([], [], [SERVICE])
    # The one that leads says that it is in force.
    world.made.add(B)
    world.objects.heard(B)
    assert world.objects.reports() == {}
    # This one leads, knows where pods are, and has tried nothing yet. Statuses may say anything else by now.
    world.made.clear()
    turned(world, "10.0.0.1")
    for owner in (A, B, edge.ref):
        world.objects.heard(owner)
    assert world.objects.reports() == {}
    # What it finds counts.
    world.came(service("a"), result=Result.TAKEN)
    assert world.objects.reports().keys() == {A}
    assert world.awaited(A) == [TAKEN]


def test_who_leads_no_more_goes_by_the_status_again() -> None:
    world, edge = new_world("a", "b")
    world.follow(edge)
    turned(world, "10.0.0.1")
    world.came(*all_of(world, edge), service("a"), service("b"))
    assert world.objects.reports() == {}
    world.made = {edge.ref, A}
    world.writer.outcomes.clear()
    for ref in (*all_of(world, edge), service("a"), service("b")):
        world.objects.told(ref)
    world.slices = None
    world.objects.again()
    assert world.objects.reports().keys() == {B}


def test_pods_that_are_ready_no_more_are_the_gateways_trouble() -> None:
    world, edge = new_world("a", "b")
    world.made = {edge.ref, A}
    world.follow(edge)
    turned(world)
    assert (world.awaited(edge.ref), world.awaited(A), world.awaited(B)) == ([UNREADY], [], [SERVICE, STARTING])
    # Before the next leader knows of pods, the status says it, and no longer than it does.
    report = world.objects.reports()[edge.ref]
    world.slices, world.said = None, {edge.ref: report}
    world.objects.again()
    world.objects.heard(edge.ref)
    assert world.awaited(edge.ref) == [UNREADY]
    turned(world, "10.0.0.1")
    assert world.awaited(edge.ref) == []
    world.slices, world.said = None, {}
    world.objects.again()
    world.objects.heard(edge.ref)
    assert world.awaited(edge.ref) == []


def led(*names: str) -> tuple[World, Gateway]:
    """One that leads, where all is made and said to be."""
    world, edge = new_world(*names)
    world.follow(edge)
    turned(world, "10.0.0.1")
    world.came(*all_of(world, edge), *map(service, names))
    world.made = {edge.ref, *(api(name).ref for name in names)}
    for owner in world.made:
        world.objects.heard(owner)
    assert world.objects.reports() == {}
    return world, edge


def test_an_upstream_that_wants_another_service_waits_for_that() -> None:
    world, edge = led("a", "b")
    world.follow(with_upstreams(edge, api("a", service_mode=ServiceMode.CLUSTER_IP), api("b")))
    assert [kind for kind, _ in world.awaited(A)] == ["Service", "EndpointSlice"]
    assert world.awaited(B) == []
    world.came(service("a"), MIRRORED)
    world.passes(SETTLE)
    assert world.objects.reports() == {}
    world.objects.heard(A)
    # Pods come and go: nobody waits for that.
    turned(world, "10.0.0.1", "10.0.0.2")
    assert world.objects.reports() == {}


def test_an_address_that_leads_nowhere_yet_is_none() -> None:
    world, edge = new_world()
    world.uids[A] = "a-uid"
    edge = with_upstreams(edge, api("a", service_mode=ServiceMode.CLUSTER_IP))
    world.follow(edge)
    turned(world)
    world.came(*all_of(world, edge), service("a"), MIRRORED)
    assert world.awaited(A) == [STARTING]
    # The pod is ready, and what leads to it is not yet there.
    turned(world, "10.0.0.1")
    assert world.awaited(A) == [("EndpointSlice", "Pending")]
    world.came(MIRRORED)
    assert world.awaited(A) == [("Service", "Settling")], "no node need have heard of it"
    told = world.told
    world.passes(SETTLE - 0.1)
    assert world.awaited(A) == [("Service", "Settling")]
    world.passes(0.2)
    assert (world.objects.reports(), world.told) == ({}, told + 1)


def test_a_pod_counts_when_nodes_have_heard_of_it() -> None:
    world, edge = new_world("a", "b")
    world.made = {B}
    world.follow(edge)
    turned(world)
    world.came(*all_of(world, edge), service("a"), service("b"))
    world.slices = slices("10.0.0.1")
    world.objects.again()
    settling = [("Pod", "Settling")]
    assert (world.awaited(edge.ref), world.awaited(A), world.awaited(B)) == (settling, settling, [])
    # It is gone once more meanwhile: what is ready after that is new.
    world.passes(SETTLE - 0.5)
    world.slices = slices()
    world.objects.again()
    assert world.awaited(A) == [STARTING]
    world.slices = slices("10.0.0.1")
    world.objects.again()
    world.passes(1.0)
    assert world.awaited(A) == settling
    world.passes(1.0)
    assert world.objects.reports() == {}
    # A second pod is nothing new, and one that comes back to a gateway that was in force is believed at once.
    world.slices = slices("10.0.0.1", "10.0.0.2")
    world.objects.again()
    assert world.objects.reports() == {}
    world.made.add(edge.ref)
    world.objects.heard(edge.ref)
    turned(world)
    assert world.awaited(edge.ref) == [UNREADY]
    world.slices = slices("10.0.0.1")
    world.objects.again()
    assert world.awaited(edge.ref) == []


def test_an_upstream_that_comes_to_another_gateway_waits_for_it() -> None:
    world, edge = led("a", "b")
    other = replace(with_upstreams(edge, api("a")), ref=edge.ref._replace(name="other"))
    world.uids[other.ref] = "other-uid"
    world.follow(with_upstreams(edge, api("b")), other)
    world.passes(SETTLE)
    assert world.awaited(A) == [SERVICE]
    assert world.awaited(other.ref) != []
    assert (world.awaited(B), world.awaited(edge.ref)) == ([], [])
    world.came(service("a"))
    assert world.awaited(A) == []


def test_what_changes_around_an_upstream_is_not_waited_for() -> None:
    """Ten thousand Services may have to be written; each leads to the gateway as it was until then."""
    world, edge = led("a", "b")
    edge = with_upstreams(edge, api("a", service_mode=ServiceMode.CLUSTER_IP), api("b"))
    world.follow(edge)
    world.came(service("a"), MIRRORED)
    world.objects.heard(A)
    before = world.writer.objects[service("a")]
    listener = replace(edge.listener, port=edge.listener.port + 1)
    world.follow(replace(edge, listener=listener), generation=2)
    assert world.writer.objects[service("a")] is not before
    assert (world.awaited(A), world.awaited(B)) == ([], [])
    assert SERVICE in world.awaited(edge.ref), "its own edit is"


def test_neither_more_calls_nor_other_callers_make_a_gateway_wait() -> None:
    world, edge = led("a")
    world.floors[edge.key] = 5
    world.objects.again()
    assert world.objects.reports() == {}


@pytest.mark.parametrize("leads", [True, False])
def test_one_that_is_made_anew_under_the_same_name_begins_anew(leads: bool) -> None:
    world, edge = led("a", "b")
    if not leads:
        world.slices = None
        world.writer.outcomes.clear()
    world.uids[A] = "new"
    world.made = {edge.ref, B}
    world.follow(edge)
    assert (world.awaited(A), world.awaited(B)) == ([SERVICE], [])


def test_upstreams_of_a_gateway_that_is_made_anew_wait_for_its_pods() -> None:
    world, edge = led("a")
    world.uids[edge.ref], world.slices = "new", slices()
    world.made = {A}
    world.follow(edge)
    assert world.awaited(A) == [STARTING]


def test_who_is_gone_waits_for_nothing() -> None:
    world, edge = new_world("a", "b")
    world.follow(edge)
    assert world.objects.reports().keys() == {edge.ref, A, B}
    world.follow(with_upstreams(edge, api("b")))
    assert world.objects.reports().keys() == {edge.ref, B}
    world.objects.told(service("a"))
    world.objects.heard(A)
    assert world.objects.reports().keys() == {edge.ref, B}


def test_ten_thousand_that_wait_cost_little_each_time_that_somebody_asks() -> None:
    names = [f"u{number}" for number in range(10_000)]
    world, edge = new_world(*names)
    world.follow(edge)
    turned(world)
    asked, telling = [], 0.0
    for number in range(0, 10_000, 500):
        began = time.thread_time()
        world.came(*map(service, names[number : number + 500]))
        came = time.thread_time()
        assert len(world.objects.reports()) == 10_001
        asked.append(time.thread_time() - came)
        telling += came - began
    print(f"ms each: {1000 * sorted(asked)[10]:.2f}; all outcomes: {1000 * telling:.0f} ms")
    assert sorted(asked)[10] < 0.01
    assert telling < 1.0
