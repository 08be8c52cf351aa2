"""The gateways' fleets as they run: what proxies say of their load and their calls, and what comes of it.

The composition of `scaling` (floors under the autoscalers), `healing` (pods that are replaced) and `moves` (sections that have
gone to another priority), on what proxies connected to any replica say. `begin` comes before the first `follow`, `attach`
before any of it runs; `background` runs on every replica, `duties` on the one that leads.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from headgate.app.healing import Healer, Telling
from headgate.app.leading import Duty
from headgate.app.moves import Moves
from headgate.app.scaling import Floors
from headgate.app.sight import Sight
from headgate.control.healing import Limits
from headgate.infra.settings import InfraSettings
from headgate.kube.client import Api
from headgate.kube.scope import Scope
from headgate.model.observations import ProxyLoads, ProxyStates, SectionReports
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan
from headgate.telemetry.metrics import Metrics
from headgate.xds.acknowledgements import Answers
from headgate.xds.loads import Loads
from headgate.xds.replicas import Replicas
from headgate.xds.reports import Reports
from headgate.xds.server import AddService, XdsServer


@dataclass(frozen=True, slots=True)
class Around:
    """What it works with. `uid`: an object's, as the cluster has it now. `rescale`: some floor is another one."""

    replicas: Replicas
    reports: Reports
    telling: Telling
    uid: Callable[[ObjectRef], str | None]
    rescale: Callable[[], None]


class Tending:
    """One per process."""

    def __init__(
        self, api: Api, scope: Scope, infra: InfraSettings, around: Around, limits: Limits | None = None
    ) -> None:
        self._around = around
        self._loads = Loads()
        self._xds: XdsServer | None = None
        sight = Sight(self._all_loads, self._states, self._all_reports, around.replicas.unheard)
        self._floors = Floors(api, scope, infra, sight, around.rescale)
        self._healer = Healer(api, scope, sight, around.telling, around.uid, limits)
        self._moves = Moves(sight, around.telling, around.uid)

    @property
    def service(self) -> AddService:
        """What takes load reports, for the xDS port."""
        return self._loads.add_to

    def attach(self, xds: XdsServer) -> None:
        """The server that this replica's own proxies are connected to."""
        self._xds = xds

    def loads(self) -> ProxyLoads:
        """What the proxies that are connected here say, for the other replicas."""
        return self._loads.all()

    async def begin(self) -> None:
        """Look at what is in force."""
        await self._floors.begin()

    def follow(self, plan: Plan) -> None:
        """These gateways there are."""
        for each in (self._floors, self._healer, self._moves):
            each.follow(plan)

    def floor(self, gateway: str) -> int | None:
        """How many proxies the calls in flight of a gateway ask for at least."""
        return self._floors.floor(gateway)

    def background(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What runs on every replica."""
        return {"floors": self._floors.run}

    def duties(self) -> Mapping[str, Duty]:
        """What runs on the one that leads."""
        return {"healing": self._healer.run, "moves": self._moves.run}

    def measure(self, metrics: Metrics) -> None:
        """What is told of it as metrics."""
        floors, healer, moves = self._floors, self._healer, self._moves
        metrics.gauge(
            "headgate_gateway_in_flight",
            "Calls to providers under way, by gateway.",
            lambda: {(key,): float(count) for key, count in floors.in_flight.items()},
            ("gateway",),
        )
        metrics.gauge(
            "headgate_gateway_floor",
            "Proxies that calls in flight ask for at least, by gateway.",
            lambda: {(key,): float(count) for key, count in floors.floors.items()},
            ("gateway",),
        )
        metrics.gauge(
            "headgate_suspect_pods",
            "Pods that are ready and may be of no use, by gateway and suspicion; on the replica that leads.",
            lambda: healer.suspects,
            ("gateway", "suspicion"),
        )
        metrics.gauge(
            "headgate_moved_sections",
            "How many sections' calls go to another than their first priority, by gateway; on the replica that leads.",
            lambda: moves.moved,
            ("gateway",),
        )

    def _all_loads(self) -> ProxyLoads:
        return self._around.replicas.join_loads(self._loads.all())

    def _all_reports(self) -> SectionReports:
        return self._around.replicas.join_reports(self._around.reports.all())

    def _states(self, gateway: str) -> ProxyStates:
        views = () if self._xds is None else (self._xds.feedback(gateway),)
        return self._around.replicas.join(Answers(views)).proxies(gateway)
