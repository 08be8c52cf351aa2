"""From the Plan to what is wanted in the cluster, and back to what could not be made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.wanted import api, service, slices, with_upstreams, world_of
from headgate.app.objects import KINDS
from headgate.infra.manifest import Manifest
from headgate.kube.objects import Outcome, Result
from headgate.model.fleet import ServiceMode
from headgate.model.observations import ObjectReport, ObjectResult
from headgate.model.plan import Upstream
from headgate.model.refs import ObjectRef


def test_each_gateway_and_each_upstream_gets_its_objects() -> None:
    world, edge = world_of("a", "b")
    wanted = world.follow(edge)
    assert {ref.kind for ref in wanted} == {*KINDS} - {"EndpointSlice"}
    assert "Secret" not in KINDS
    assert {service("a"), service("b")} < wanted.keys()
    assert world.writer.settled == world.uids
    assert world.writer.gateways == {edge.ref: "edge-uid"}
    (deployment,) = (each.document() for ref, each in wanted.items() if ref.kind == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "headgate-operator.headgate-system.svc.cluster.local" in container["args"][1]


def test_an_edit_of_one_makes_one() -> None:
    world, edge = world_of("a", "b")
    before = dict(world.follow(edge))
    # The gateway is another value, with the same objects.
    after = world.follow(with_upstreams(edge, api("a"), api("b", service_mode=ServiceMode.CLUSTER_IP)))
    assert [ref for ref in before if after[ref] is not before[ref]] == [service("b")]


def test_an_edit_that_changes_no_object_is_no_wish() -> None:
    world, edge = world_of("a", "b")
    world.follow(edge)
    before = world.writer.wants
    edited = with_upstreams(edge, api("a"), api("b", authorities=("elsewhere.example",)))
    world.follow(edited)
    assert world.writer.wants == before
    # Others are: one of another uid, one more, one less, one that wants no Service.
    world.uids[api("b").ref] = "new"
    world.follow(edited)
    assert world.writer.settled[api("b").ref] == "new"
    world.uids[api("c").ref] = "c-uid"
    assert service("c") in world.follow(with_upstreams(edge, api("a"), api("b"), api("c")))
    assert service("a") not in world.follow(with_upstreams(edge, api("b"), api("c")))
    none = with_upstreams(edge, api("b", service_mode=ServiceMode.NONE), api("c"))
    assert service("b") not in world.follow(none)


def test_what_has_no_service_of_its_own_wants_none_and_that_is_known() -> None:
    world, edge = world_of("a")
    wanted = world.follow(with_upstreams(edge, api("a", service_mode=ServiceMode.NONE)))
    assert service("a") not in wanted
    assert api("a").ref in world.writer.settled


def test_of_what_the_plan_does_not_serve_nothing_is_wanted_and_nothing_known() -> None:
    world, edge = world_of("a", "b")
    world.follow(edge)
    world.follow(with_upstreams(edge, api("a")))
    assert api("b").ref not in world.writer.settled
    world.follow()
    assert not world.writer.objects
    assert not world.writer.settled


def test_an_owner_that_is_gone_by_now_gets_nothing() -> None:
    world, edge = world_of("a", "b")
    del world.uids[api("b").ref]
    assert service("b") not in world.follow(edge)
    # And one of that name that came after it gets its own.
    world.uids[api("b").ref] = "new"
    assert world.follow(edge)[service("b")].document()["metadata"]["ownerReferences"][0]["uid"] == "new"


def test_the_autoscalers_floor_follows_the_calls_in_flight() -> None:
    world, edge = world_of("a")
    before = dict(world.follow(edge))
    world.floors[edge.key] = 5
    world.objects.again()
    changed = [ref for ref in before if world.writer.objects[ref] is not before[ref]]
    assert [ref.kind for ref in changed] == ["HorizontalPodAutoscaler"]
    assert world.writer.objects[changed[0]].document()["spec"]["minReplicas"] == 5


def test_what_could_not_be_made_is_told_of_its_owner() -> None:
    world, edge = world_of("a", "b")
    world.follow(edge)
    none = world.objects.reports()
    assert none == {}
    secret = ObjectRef("Secret", edge.ref.namespace, f"{edge.ref.name}-headgate")
    world.writer.outcomes = {
        service("a"): Outcome(Result.TAKEN, "taken"),
        service("b"): Outcome(Result.APPLIED),
        secret: Outcome(Result.REFUSED, "a quota"),
    }
    for ref in world.writer.outcomes:
        world.objects.told(ref)
    reports = world.objects.reports()
    assert reports == {
        api("a").ref: (ObjectReport("Service", "a", ObjectResult.TAKEN, "taken"),),
        edge.ref: (ObjectReport("Secret", secret.name, ObjectResult.REFUSED, "a quota"),),
    }
    assert world.objects.reports() is reports
    assert world.told == 2
    world.writer.outcomes[secret] = Outcome(Result.APPLIED)
    world.objects.told(secret)
    world.follow(with_upstreams(edge, api("b")))
    assert world.objects.reports() == {}


def test_until_it_has_an_outcome_what_the_status_says_is_told() -> None:
    world, edge = world_of("a", "b")
    secret = ObjectRef("Secret", edge.ref.namespace, f"{edge.ref.name}-headgate")
    a = ObjectReport("Service", "a", ObjectResult.TAKEN, "")
    b = ObjectReport("Service", "b", ObjectResult.REFUSED, "a policy")
    quota = ObjectReport("Secret", secret.name, ObjectResult.REFUSED, "a quota")
    other = ObjectReport("Service", "elsewhere", ObjectResult.TAKEN, "")
    world.said = {api("a").ref: (a, other), edge.ref: (quota,), api("gone").ref: (b,)}
    world.follow(edge)
    assert world.objects.reports() == {api("a").ref: (a,), edge.ref: (quota,)}, "what is wanted no more is not missing"
    # The one that leads goes on finding things out.
    world.said[api("b").ref] = (b,)
    world.objects.heard(api("b").ref)
    assert world.told == 1
    reports = world.objects.reports()
    assert reports[api("b").ref] == (b,)
    world.objects.heard(api("b").ref)
    world.objects.heard(api("gone").ref)
    assert (world.objects.reports(), world.told) == (reports, 1)
    assert world.objects.reports() is reports

    # This one leads: its own outcomes count, one by one.
    def outcome(ref: ObjectRef, result: Result, message: str = "") -> None:
        world.writer.outcomes[ref] = Outcome(result, message)
        world.objects.told(ref)

    outcome(service("a"), Result.APPLIED)
    outcome(service("b"), Result.TAKEN, "taken")
    taken = (ObjectReport("Service", "b", ObjectResult.TAKEN, "taken"),)
    assert world.objects.reports() == {api("b").ref: taken, edge.ref: (quota,)}
    outcome(secret, Result.APPLIED)
    assert world.objects.reports() == {api("b").ref: taken}
    # What it says itself, perhaps some moments later, is no news to it.
    world.said = {api("b").ref: (b,)}
    world.objects.heard(api("a").ref)
    world.objects.heard(edge.ref)
    assert world.objects.reports() == {api("b").ref: taken}
    # It does not lead any more, and another one does, who says otherwise.
    world.writer.outcomes.clear()
    for ref in (service("a"), service("b"), secret):
        world.objects.told(ref)
    assert world.objects.reports() == {api("b").ref: (b,)}
    world.said = {}
    world.objects.heard(api("b").ref)
    assert world.objects.reports() == {}


def test_a_service_that_is_wanted_no_more_is_not_missing() -> None:
    world, edge = world_of("a")
    world.said = {api("a").ref: (ObjectReport("Service", "a", ObjectResult.TAKEN, ""),)}
    world.follow(edge)
    assert world.objects.reports() == {api("a").ref: world.said[api("a").ref]}
    world.follow(with_upstreams(edge, api("a", service_mode=ServiceMode.NONE)))
    assert world.objects.reports() == {}


def test_a_name_that_two_want_is_the_gateways() -> None:
    world, edge = world_of("a")
    own = next(ref for ref in world.follow(edge) if ref.kind == "Service" and ref != service("a"))
    rival = replace(api("rival"), ref=ObjectRef("UpstreamService", own.namespace, own.name))
    world.uids[rival.ref] = "rival-uid"
    wanted = world.follow(with_upstreams(edge, rival))
    assert wanted[own].document()["metadata"]["ownerReferences"][0]["uid"] == "edge-uid"
    (report,) = world.objects.reports()[rival.ref]
    assert (report.name, report.result) == (own.name, ObjectResult.TAKEN)
    world.follow(edge)
    assert world.objects.reports() == {}


def test_a_bug_costs_its_owner_alone_and_removes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world, edge = world_of("a", "b")
    before = dict(world.follow(edge))

    def broken(upstream: Upstream, *_: Any) -> Manifest | None:
        raise KeyError("a bug")

    monkeypatch.setattr("headgate.app.objects.upstream_service", broken)
    after = world.follow(with_upstreams(edge, api("a"), api("b", service_mode=ServiceMode.NONE)))
    assert after == before
    assert api("a").ref in world.writer.settled
    assert api("b").ref not in world.writer.settled


def test_a_service_with_an_address_leads_to_the_gateways_pods() -> None:
    world, edge = world_of("a", "b")
    edge = with_upstreams(edge, api("a", service_mode=ServiceMode.CLUSTER_IP), api("b"))
    mirrored = ObjectRef("EndpointSlice", "shop", "a-gateway-headgate-x")
    # As long as it is not known where they are, nothing is removed.
    wanted = world.follow(edge)
    assert service("a") in wanted
    assert api("a").ref not in world.writer.settled
    assert api("b").ref in world.writer.settled

    world.slices = slices("10.0.0.1")
    world.objects.again()
    before = dict(world.writer.objects)
    assert [each["addresses"] for each in before[mirrored].document()["endpoints"]] == [["10.0.0.1"]]
    assert [ref for ref in before if ref.kind == "EndpointSlice"] == [mirrored]
    assert api("a").ref in world.writer.settled

    world.slices = slices("10.0.0.1", "10.0.0.2")
    world.objects.again()
    assert [ref for ref in before if world.writer.objects[ref] is not before[ref]] == [mirrored]

    wanted = world.follow(with_upstreams(edge, api("a"), api("b")))
    assert mirrored not in wanted
    assert api("a").ref in world.writer.settled
