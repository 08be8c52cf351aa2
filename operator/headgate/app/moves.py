"""Sections whose calls go to another than their first priority, told by the replica that leads as Events of their upstreams.

The moving, there and back, is Envoy's own (outlier detection and health checks); proxies say with their load which priority
answers. A move is told when two looks in a row have seen it. One event loop.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

import structlog

from headgate.app.healing import Telling
from headgate.app.sight import Sight, fresh
from headgate.kube.elector import Leadership
from headgate.kube.events import Happening
from headgate.model.plan import Gateway, Section
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan

_log = structlog.stdlib.get_logger("headgate.moves")
#: Seconds from one look to the next.
LOOK = 5.0


class Moves:
    """`uid`: an upstream's, as the cluster has it now."""

    def __init__(
        self, sight: Sight, telling: Telling, uid: Callable[[ObjectRef], str | None], look: float = LOOK
    ) -> None:
        self._sight, self._telling, self._uid, self._look = sight, telling, uid, look
        self._gateways: Mapping[str, Gateway] = {}
        #: By gateway and section id: Envoy's number of the priority, 0 where it is not in here. Seen last, and told.
        self._seen: dict[tuple[str, str], int] = {}
        self._told: dict[tuple[str, str], int] = {}
        self.moved: Mapping[tuple[str, ...], float] = {}

    def follow(self, plan: Plan) -> None:
        """These gateways there are."""
        self._gateways = plan.gateways

    async def run(self, leadership: Leadership) -> None:  # noqa: ARG002 - Events are written by those who write Events
        """While this replica leads."""
        while True:
            await asyncio.sleep(self._look)
            self.look()

    def look(self) -> None:
        """Look once."""
        loads = self._sight.loads()
        seen: dict[tuple[str, str], int] = {}
        for key in self._gateways:
            said = fresh(loads, key)
            if not said:
                # Nobody says anything: as it was.
                seen.update({each: priority for each, priority in self._seen.items() if each[0] == key})
            for load in said:
                for section, priority in load.moved:
                    seen[key, section] = max(seen.get((key, section), 0), priority)
        for each in seen.keys() | self._told.keys():
            priority = seen.get(each, 0)
            if priority == self._seen.get(each, 0) and priority != self._told.get(each, 0):
                self._tell(each, self._told.get(each, 0), priority)
        self._seen = seen
        counts = Counter(gateway for gateway, _ in self._told)
        self.moved = {(gateway,): float(count) for gateway, count in counts.items()}

    def _tell(self, where: tuple[str, str], before: int, now: int) -> None:
        if now:
            self._told[where] = now
        else:
            self._told.pop(where, None)
        gateway, section = self._section(*where)
        if gateway is None or section is None:
            return
        namespace, upstream, name = section.id.split("/")
        priorities = sorted({each.priority for each in section.endpoints})
        start, end = (_named(priorities, each) for each in (before, now))
        ref = ObjectRef("UpstreamService", namespace, upstream)
        if now > before:
            reports = self._sight.reports().get(where, ())
            why = next((f" (last failure: {each.failure})" for each in reports if each.failure), "")
            what = "EndpointsMoved"
            note = f"section {name}: the endpoints of priority {start} fail{why}: calls go to those of priority {end}"
        else:
            what = "EndpointsRestored"
            note = f"section {name}: the endpoints of priority {end} answer again: calls go back to them from priority {start}"
        _log.info("moves.told", gateway=where[0], section=section.id, before=start, now=end)
        self._telling.event(Happening(ref, self._uid(ref) or "", what, note, action="Heal", warning=now > before))
        self._telling.count(where[0], what, "PriorityDown" if now > before else "PriorityUp")

    def _section(self, key: str, section: str) -> tuple[Gateway | None, Section | None]:
        gateway = self._gateways.get(key)
        upstream = gateway.upstreams.get(section.rpartition("/")[0]) if gateway else None
        found = next((each for each in upstream.sections if each.id == section), None) if upstream else None
        return gateway, found


def _named(priorities: list[int], number: int) -> int:
    """The number that its owner gave to a priority; Envoy counts them without gaps."""
    return priorities[number] if number < len(priorities) else number
