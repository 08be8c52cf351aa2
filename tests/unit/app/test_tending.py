"""Floors, healing and moves as the operator runs them: what is put together from pods and proxies, what is done and what is
told. The API server is one that can be told to fail."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from fakes.apiserver import FakeApiServer
from harness import plans
from harness.kube import make_namespace, until
from headgate.app.healing import Healer, Telling, judge
from headgate.app.moves import Moves
from headgate.app.scaling import Floors
from headgate.app.sight import FRESH, Sight
from headgate.control.healing import Limits, Section
from headgate.infra.settings import InfraSettings, OperatorPods, Scaling
from headgate.kube.access import Access
from headgate.kube.client import Api
from headgate.kube.elector import Leadership
from headgate.kube.events import Happening
from headgate.kube.resources import CHILDREN, PODS
from headgate.kube.scope import Scope
from headgate.model.observations import Circuit, ProxyLoad, ProxyStates, SectionReport
from headgate.model.plan import Gateway
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan

EDGE = ObjectRef("IntegrationGateway", "team", "edge")
INFRA = InfraSettings("envoy", OperatorPods("x", {}, 1), scaling=Scaling(least=2, most=10, in_flight=10, calm=0))
#: As quick as it goes; what the times mean is tried where no time passes.
LIMITS = Limits(patience=0.2, overall=0.1, first=0.2, longest=1, recovery=60, look=0.05)


@dataclass
class World:
    """What is seen, and what was told."""

    loads: dict[str, tuple[ProxyLoad, ...]] = field(default_factory=dict)
    states: ProxyStates = field(default_factory=ProxyStates)
    reports: dict[tuple[str, str], tuple[SectionReport, ...]] = field(default_factory=dict)
    unheard: tuple[str, ...] = ()
    told: list[Happening] = field(default_factory=list)
    counted: list[tuple[str, str, str]] = field(default_factory=list)

    def sight(self) -> Sight:
        return Sight(lambda: self.loads, lambda _: self.states, lambda: self.reports, lambda: self.unheard)

    def telling(self) -> Telling:
        return Telling(self.told.append, lambda *each: self.counted.append(each))


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer().running() as found:
        yield found


@pytest.fixture
async def api(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[Api]:
    async with await Api.open(Access(server.kubeconfig(tmp_path))) as found:
        await make_namespace(found, "team")
        yield found


def node(name: str) -> str:
    return f"team/edge/{name}"


def load(name: str, in_flight: int, *moved: tuple[str, int], age: float = 0.0) -> ProxyLoad:
    return ProxyLoad(node(name), datetime.now(UTC) - timedelta(seconds=age), in_flight, moved=moved)


def plan(*upstreams: Any) -> Plan:
    gateway: Gateway = replace(plans.gateway(*upstreams), ref=EDGE)
    return Plan({EDGE.key: gateway}, {})


def uid(ref: ObjectRef) -> str | None:
    return f"uid of {ref.name}"


# Floors


async def scaler(api: Api, name: str, least: int) -> None:
    meta = {"name": name, "namespace": "team", "labels": {"app.kubernetes.io/managed-by": "headgate"}}
    spec = {"minReplicas": least, "maxReplicas": 10}
    await api.create(CHILDREN["HorizontalPodAutoscaler"], {"metadata": meta, "spec": spec})


async def test_floors_go_on_from_what_autoscalers_say_and_follow_the_calls(api: Api, world: World) -> None:
    await scaler(api, "edge-headgate", 7)
    changes: list[None] = []
    floors = Floors(api, Scope(), INFRA, world.sight(), lambda: changes.append(None))
    assert floors.floor(EDGE.key) is None
    await floors.begin()
    floors.follow(plan())
    assert floors.floor(EDGE.key) == 7
    world.loads = {EDGE.key: (load("a", 40), load("b", 45))}
    floors.look()
    assert floors.floor(EDGE.key) == 9
    assert floors.in_flight == {EDGE.key: 85}
    assert len(changes) == 2
    # What is old counts for nothing, and nothing moves.
    world.loads = {EDGE.key: (load("a", 0, age=FRESH + 1), load("b", 0, age=FRESH + 1))}
    floors.look()
    assert (floors.floor(EDGE.key), floors.in_flight, len(changes)) == (9, {}, 2)


async def test_floors_that_cannot_be_read_are_the_owners(server: FakeApiServer, api: Api, world: World) -> None:
    server.answers["GET", "/apis/autoscaling/"] = (403, 0.0)
    floors = Floors(api, Scope(), INFRA, world.sight(), lambda: None)
    await floors.begin()
    floors.follow(plan())
    floors.look()
    assert floors.floor(EDGE.key) == 2


async def test_a_proxy_that_has_moved_to_another_replica_counts_once(api: Api, world: World) -> None:
    floors = Floors(api, Scope(), INFRA, world.sight(), lambda: None)
    floors.follow(plan())
    world.loads = {EDGE.key: (load("a", 90, age=3), load("a", 50))}
    floors.look()
    assert floors.in_flight == {EDGE.key: 50}


async def test_without_an_autoscaler_there_is_no_floor(api: Api, world: World) -> None:
    fixed = replace(INFRA, scaling=Scaling(least=2, most=2))
    floors = Floors(api, Scope(), fixed, world.sight(), lambda: None)
    floors.follow(plan())
    world.loads = {EDGE.key: (load("a", 10_000),)}
    floors.look()
    assert floors.floor(EDGE.key) is None


# Healing


async def make_pod(api: Api, name: str, *, ready: bool = True, template: str = "t") -> None:
    labels = {
        "app.kubernetes.io/component": "gateway",
        "headgate.dev/gateway": "edge",
        "pod-template-hash": template,
    }
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]}
    await api.create(PODS, {"metadata": {"name": name, "namespace": "team", "labels": labels}, "status": status})


@contextlib.asynccontextmanager
async def healing(api: Api, world: World, right: float = 60.0) -> AsyncIterator[Healer]:
    healer = Healer(api, Scope(), world.sight(), world.telling(), uid, LIMITS)
    healer.follow(plan())
    task = asyncio.create_task(healer.run(Leadership(lambda: right)))
    try:
        yield healer
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def pods(server: FakeApiServer) -> set[str]:
    return {name for path, _, name in server.objects if path == PODS.path()}


def connected(*names: str, behind: tuple[str, ...] = ()) -> ProxyStates:
    return ProxyStates(frozenset(map(node, names)), frozenset(map(node, behind)))


async def test_a_ready_pod_that_nobody_hears_of_is_deleted_and_told(
    server: FakeApiServer, api: Api, world: World
) -> None:
    for name in ("a", "b"):
        await make_pod(api, name)
    world.states = connected("b")
    async with healing(api, world):
        await until(lambda: pods(server) == {"b"}, "the pod to be gone")
        await until(lambda: bool(world.told), "it to be told")
    (told,) = world.told
    assert (told.about, told.uid, told.reason, told.warning) == (EDGE, "uid of edge", "PodReplaced", True)
    assert "pod a is ready" in told.note
    assert "NotConnected" in told.note
    assert world.counted == [("team/edge", "PodReplaced", "NotConnected")]


async def test_one_whose_calls_fail_alone(server: FakeApiServer, api: Api, world: World) -> None:
    for name in ("a", "b"):
        await make_pod(api, name)
    world.states = connected("a", "b")

    def say() -> None:
        now = datetime.now(UTC)
        bad = SectionReport(Circuit.NONE, now, "ConnectTimeout", 9, 9, failing=True, node=node("a"), heard=now)
        good = SectionReport(Circuit.NONE, now, "", 9, 0, node=node("b"), heard=now)
        world.reports = {(EDGE.key, "team/api/default"): (bad, good)}

    say()
    async with healing(api, world):
        await until(lambda: pods(server) == {"b"}, "the pod to be gone")
    assert world.counted == [("team/edge", "PodReplaced", "FailingAlone")]


async def test_ignorance_deletes_nothing(server: FakeApiServer, api: Api, world: World) -> None:
    for name in ("a", "b"):
        await make_pod(api, name)
    world.states = connected("b")
    world.unheard = ("another-replica",)
    async with healing(api, world):
        await asyncio.sleep(0.6)  # three times its patience
        assert pods(server) == {"a", "b"}
        world.unheard = ()
        server.answers["GET", "/api/v1/pods"] = (500, 0.0)
        await asyncio.sleep(0.6)
        assert pods(server) == {"a", "b"}
        server.answers.clear()
        await until(lambda: pods(server) == {"b"}, "the pod to be gone")


async def test_without_the_right_to_write_nothing_is_deleted(server: FakeApiServer, api: Api, world: World) -> None:
    for name in ("a", "b"):
        await make_pod(api, name)
    world.states = connected("b")
    async with healing(api, world, right=0.0) as healer:
        await until(lambda: bool(healer.suspects), "a suspicion")
        await asyncio.sleep(0.6)
    assert pods(server) == {"a", "b"}
    assert world.told == []


async def test_a_right_that_is_missing_is_told(server: FakeApiServer, api: Api, world: World) -> None:
    for name in ("a", "b"):
        await make_pod(api, name)
    world.states = connected("b")
    server.answers["DELETE", "/api/v1/namespaces/team/pods/"] = (403, 0.0)
    async with healing(api, world):
        await until(lambda: bool(world.told), "it to be told")
    assert world.told[0].reason == "PodNotReplaced"
    assert pods(server) == {"a", "b"}


@pytest.mark.parametrize(
    ("report", "judged"),
    [
        (SectionReport(Circuit.NONE, datetime.now(UTC), "", 2, 2), None),
        (SectionReport(Circuit.NONE, datetime.now(UTC), "", 0, 0), None),
        (SectionReport(Circuit.NONE, datetime.now(UTC), "", 3, 3), Section("s", fails=True)),
        (SectionReport(Circuit.OPEN, datetime.now(UTC), "", 0, 0), Section("s", fails=True)),
        (SectionReport(Circuit.CLOSED, datetime.now(UTC), "", 9, 1), Section("s", fails=False, mixed=True)),
        (SectionReport(Circuit.CLOSED, datetime.now(UTC), "", 20, 1), Section("s", fails=False)),
    ],
)
def test_what_a_report_says_of_a_section(report: SectionReport, judged: Section | None) -> None:
    assert judge("s", report) == judged


# Moves


def test_a_move_is_told_once_seen_twice_and_so_is_the_way_back(world: World) -> None:
    section = plans.section(plans.endpoint(1, priority=10), plans.endpoint(2, priority=20))
    failing = SectionReport(Circuit.NONE, datetime.now(UTC), "Status503")
    world.reports = {(EDGE.key, section.id): (failing,)}
    moves = Moves(world.sight(), world.telling(), uid)
    moves.follow(plan(plans.upstream(section)))
    for said in ((), ((section.id, 1),), (), ((section.id, 1),), ((section.id, 1),), ((section.id, 1),)):
        world.loads = {EDGE.key: (load("a", 1, *said), load("b", 1))}
        moves.look()
    (there,) = world.told
    assert (there.about.key, there.reason, there.warning) == ("demo/api", "EndpointsMoved", True)
    assert there.note == (
        "section default: the endpoints of priority 10 fail (last failure: Status503): calls go to those of priority 20"
    )
    assert moves.moved == {(EDGE.key,): 1.0}
    # Silence is no way back.
    world.loads = {}
    for _ in range(3):
        moves.look()
    assert len(world.told) == 1
    world.loads = {EDGE.key: (load("a", 1), load("b", 1))}
    for _ in range(3):
        moves.look()
    assert [each.reason for each in world.told] == ["EndpointsMoved", "EndpointsRestored"]
    assert moves.moved == {}
    assert [each[1] for each in world.counted] == ["EndpointsMoved", "EndpointsRestored"]
