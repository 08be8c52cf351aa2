"""What is wanted in a cluster, and what came of it, with writers that write nothing: `headgate.app.objects` by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from golden.infra.cases import USUAL
from harness.plans import endpoint, gateway, section, upstream
from headgate.api.conditions import ConditionStatus, Reason
from headgate.app.awaiting import Clock
from headgate.app.objects import Installation, Objects
from headgate.infra.endpoints import Slice, read_slice
from headgate.infra.manifest import Manifest
from headgate.kube.objects import Outcome, Result
from headgate.model.observations import ObjectReport
from headgate.model.plan import Gateway, Upstream
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Judgement, Plan, Verdict

_FINE = Judgement(ConditionStatus.TRUE, Reason.ACCEPTED)


class Writer:
    """What a writer was told, in the place of both of them. `outcomes` are whatever a test says."""

    def __init__(self) -> None:
        self.objects: Mapping[ObjectRef, Manifest] = {}
        self.settled: Mapping[ObjectRef, str] = {}
        self.gateways: Mapping[ObjectRef, str] = {}
        self.outcomes: dict[ObjectRef, Outcome] = {}
        self.wants = 0

    def want(self, objects: Mapping[ObjectRef, Any], settled: Mapping[ObjectRef, str] | None = None) -> None:
        self.wants += 1
        if settled is None:
            self.gateways = objects
        else:
            self.objects, self.settled = objects, settled

    def forget(self, refs: Iterable[ObjectRef]) -> None:
        for ref in refs:
            self.outcomes.pop(ref, None)

    def gateway_of(self, secret: ObjectRef) -> ObjectRef | None:
        return next((each for each in self.gateways if f"{each.name}-headgate" == secret.name), None)


class World:
    """Objects, and all that they ask, as a test says it."""

    def __init__(self) -> None:
        self.uids: dict[ObjectRef, str] = {}
        self._known: dict[ObjectRef, str] = {}
        self._turn = 0
        self.floors: dict[str, int] = {}
        self.slices: tuple[Slice, ...] | None = None
        self.told = 0
        #: Whose status says that all is there; None: everybody's.
        self.made: set[ObjectRef] | None = None
        #: What the owners' statuses say in the cluster.
        self.said: dict[ObjectRef, tuple[ObjectReport, ...]] = {}
        self.writer = Writer()
        self.now = 0.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.objects = Objects(
            Installation(USUAL, "headgate-operator.headgate-system.svc.cluster.local:18000"),
            self.uids.get,
            floor=self.floors.get,
            endpoints=lambda _: self.slices,
            recall=lambda owner: self.said.get(owner, ()),
            is_made=lambda owner: self.made is None or owner in self.made,
            on_reports=self._tell,
            clock=Clock(lambda: self.now, self._later),
            turnover=self._turnover,
        )
        self.objects.attach(self.writer, self.writer)  # type: ignore[arg-type]

    def _turnover(self) -> int:
        if self.uids != self._known:
            self._known, self._turn = dict(self.uids), self._turn + 1
        return self._turn

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self.timers.append((self.now + seconds, do))

    def passes(self, seconds: float) -> None:
        """Time does."""
        self.now += seconds
        due = [do for at, do in self.timers if at <= self.now]
        self.timers = [each for each in self.timers if each[0] > self.now]
        for do in due:
            do()

    def _tell(self) -> None:
        self.told += 1

    def follow(self, *gateways: Gateway, generation: int = 1) -> Mapping[ObjectRef, Manifest]:
        """A Plan of these; what is wanted now."""
        verdicts = {each.ref: Verdict(each.ref, generation, _FINE, _FINE) for each in gateways}
        self.objects.follow(Plan(gateways={each.key: each for each in gateways}, verdicts=verdicts))
        return self.writer.objects

    def came(self, *refs: ObjectRef, result: Result = Result.APPLIED) -> None:
        """A writer's outcome of these."""
        for ref in refs:
            self.writer.outcomes[ref] = Outcome(result)
            self.objects.told(ref)

    def awaited(self, owner: ObjectRef) -> list[tuple[str, str]]:
        """What this one's reports say, by kind."""
        return [(each.kind, each.result.value) for each in self.objects.reports().get(owner, ())]


def api(name: str, **changes: Any) -> Upstream:
    """`shop/<name>`."""
    one = upstream(section(endpoint(443, "api.example"), key=f"shop/{name}/default"))
    return replace(one, ref=ObjectRef("UpstreamService", "shop", name), **changes)


def with_upstreams(before: Gateway, *upstreams: Upstream) -> Gateway:
    """A gateway with these instead."""
    return replace(before, upstreams=MappingProxyType({each.key: each for each in upstreams}))


def world_of(*names: str) -> tuple[World, Gateway]:
    """A gateway with upstreams of these names, nothing of which is followed yet."""
    world, upstreams = World(), [api(name) for name in names]
    edge = with_upstreams(gateway(api("any")), *upstreams)
    world.uids |= {edge.ref: "edge-uid"} | {each.ref: f"{each.ref.name}-uid" for each in upstreams}
    return world, edge


def service(name: str) -> ObjectRef:
    """The Service of an upstream."""
    return ObjectRef("Service", "shop", name)


def slices(*addresses: str, ready: bool = True) -> tuple[Slice, ...]:
    """What the cluster says of the gateway's Service."""
    found = [{"addresses": [each], "conditions": {"ready": ready}} for each in addresses]
    meta = {
        "namespace": "demo",
        "name": "gateway-headgate-x",
        "labels": {"kubernetes.io/service-name": "gateway-headgate"},
    }
    return (read_slice({"metadata": meta, "addressType": "IPv4", "ports": [{"port": 1}], "endpoints": found}),)
