"""How many proxies the calls in flight of each gateway ask for: what proxies say, into the autoscalers' floors.

Looked at on every replica, so that one that begins to lead goes on where the other was; who leads writes what `floor` says.
A replica that starts goes on from what the autoscalers say. What decides is `control.scaling`. One event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from headgate.app.sight import Sight, fresh
from headgate.control import scaling
from headgate.control.scaling import Bounds, Load, State
from headgate.infra.fleet import own
from headgate.infra.manifest import MANAGED_BY, MANAGER, child_name
from headgate.infra.settings import InfraSettings
from headgate.kube.client import Api, ApiProblem
from headgate.kube.resources import CHILDREN
from headgate.kube.scope import Scope
from headgate.model.plan import Gateway
from headgate.model.verdict import Plan

_log = structlog.stdlib.get_logger("headgate.scaling")
#: Seconds from one look to the next.
LOOK = 5.0


class Floors:
    """`on_change`: some floor is another one."""

    def __init__(
        self, api: Api, scope: Scope, infra: InfraSettings, sight: Sight, on_change: Callable[[], None]
    ) -> None:
        self._api, self._scope, self._infra, self._sight, self._on_change = api, scope, infra, sight, on_change
        self._gateways: Mapping[str, Gateway] = {}
        #: By namespace and name of an autoscaler: the floor that was found there.
        self._found: dict[tuple[str, str], int] = {}
        self._states: dict[str, State] = {}
        self.floors: Mapping[str, int] = {}
        self.in_flight: Mapping[str, int] = {}

    async def begin(self) -> None:
        """Read which floors are in force. Where that can't be read, they are what the gateways' owners say."""
        kind = CHILDREN["HorizontalPodAutoscaler"]
        try:
            for namespace in self._scope.listed:
                async for page in self._api.pages(kind, namespace, labels=f"{MANAGED_BY}={MANAGER}"):
                    for each in page.items:
                        meta, spec = each["metadata"], each.get("spec") or {}
                        self._found[meta["namespace"], meta["name"]] = int(spec.get("minReplicas") or 1)
        except ApiProblem as problem:
            _log.warning("scaling.floors_not_read", error=str(problem))

    def follow(self, plan: Plan) -> None:
        """These gateways there are. Before their objects are made of the same Plan."""
        self._gateways = plan.gateways
        now = time.monotonic()
        for key, gateway in plan.gateways.items():
            known = self._found.pop((gateway.ref.namespace, child_name(gateway.ref.name)), None)
            if known is not None and key not in self._states:
                self._states[key] = scaling.begin(known, now)
        self._states = {key: state for key, state in self._states.items() if key in plan.gateways}
        self._tell()

    def floor(self, gateway: str) -> int | None:
        """What the calls in flight of a gateway ask for; None: nothing is known of them, or it has no autoscaler."""
        return self.floors.get(gateway)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            self.look()

    def look(self) -> None:
        """Look once."""
        now, loads = time.monotonic(), self._sight.loads()
        in_flight = {}
        for key, gateway in self._gateways.items():
            said = tuple(load.in_flight for load in fresh(loads, key))
            if said:
                in_flight[key] = sum(said)
            bounds = self._bounds(gateway)
            if bounds is None:
                self._states.pop(key, None)
                continue
            state = self._states.get(key) or scaling.begin(bounds.least, now)
            # A proxy that nobody hears of may be as busy as any.
            proxies = max(len(self._sight.states(key).connected), state.floor)
            self._states[key] = scaling.step(state, bounds, Load(proxies, said), now)
        self.in_flight = in_flight
        self._tell()

    def _tell(self) -> None:
        before, self.floors = self.floors, {key: state.floor for key, state in self._states.items()}
        changed = {key: floor for key, floor in self.floors.items() if before.get(key, floor) != floor}
        for key, floor in changed.items():
            _log.info("scaling.floor", gateway=key, floor=floor, before=before[key], in_flight=self.in_flight.get(key))
        if self.floors != before:
            self._on_change()

    def _bounds(self, gateway: Gateway) -> Bounds | None:
        """None: it has as many proxies as its owner says, and no autoscaler."""
        wanted = own(gateway.fleet, self._infra).scaling
        return Bounds(wanted.in_flight, wanted.least, wanted.most, wanted.calm) if wanted.automatic else None
