"""What gateways and upstreams wait for before a call by their name comes to a proxy: their objects, and a pod that is ready.

Proxies may have taken everything before there is a Service by whose name they are called, or before their pod is in it. An owner
counts as made once its status in the cluster says so, and from then on until it wants something else: neither the next leader,
which knows of nothing at first, nor a rollout takes that back. What a leader finds missing is told apart from this (`objects`).

A gateway whose pods have all gone unready says so, however long it was made: calls fail. Its upstreams don't: ten thousand
statuses would say the same, as often as one pod flaps. One event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from headgate.model.observations import PODS, ObjectReport, ObjectResult
from headgate.model.refs import ObjectRef

Reports = tuple[ObjectReport, ...]


@dataclass(frozen=True, slots=True)
class Needs:
    """What calls to an owner need: these objects of its own, and a pod of this gateway."""

    objects: tuple[ObjectRef, ...]
    gateway: ObjectRef


class Awaiting:
    """`needs`: None of an owner of which nothing is wanted. `tried`: whether anything came of an object here, be it what it may.
    `made`: an owner's status in the cluster says so. `unready`: a gateway's says that its pods are ready no more."""

    def __init__(
        self,
        needs: Callable[[ObjectRef], Needs | None],
        tried: Callable[[ObjectRef], bool],
        made: Callable[[ObjectRef], bool],
        unready: Callable[[ObjectRef], bool],
    ) -> None:
        self._needs, self._tried, self._said, self._unready = needs, tried, made, unready
        self._made: set[ObjectRef] = set()
        self._answered: Mapping[ObjectRef, bool | None] = {}
        #: By owner, what it waits for.
        self.reports: dict[ObjectRef, Reports] = {}

    def turn(self, answered: Mapping[ObjectRef, bool | None]) -> set[ObjectRef]:
        """Whether calls find a pod, by gateway; None where that is not known. Those of which it is otherwise now."""
        before, self._answered = self._answered, answered
        return {each for each in answered.keys() | before.keys() if answered.get(each) is not before.get(each)}

    def learn(self, owner: ObjectRef) -> None:
        """Its status is another one, or is looked at for the first time."""
        if self._said(owner):
            self._made.add(owner)

    def anew(self, owner: ObjectRef) -> None:
        """It wants something else than its status tells of."""
        self._made.discard(owner)

    def drop(self, owners: Iterable[ObjectRef]) -> bool:
        """They are gone; whether they have waited."""
        waited = False
        for owner in owners:
            self._made.discard(owner)
            waited = self.reports.pop(owner, None) is not None or waited
        return waited

    def look(self, owner: ObjectRef) -> bool:
        """Whether it waits for something else now."""
        before, needs = self.reports.pop(owner, ()), self._needs(owner)
        found = () if needs is None else self._found(owner, needs)
        if found:
            self.reports[owner] = found
        return found != before

    def _found(self, owner: ObjectRef, needs: Needs) -> Reports:
        answered = self._answered.get(needs.gateway)
        if owner in self._made:
            unready = owner == needs.gateway and (self._unready(owner) if answered is None else not answered)
            return (_of_pods(owner.key, ObjectResult.UNREADY),) if unready else ()
        objects = [
            ObjectReport(each.kind, each.name, ObjectResult.PENDING) for each in needs.objects if not self._tried(each)
        ]
        if answered:
            return tuple(objects)
        # Who does not lead knows nothing of pods, and nothing of objects: one word for both.
        pods = ObjectResult.PENDING if answered is None else ObjectResult.STARTING
        return tuple(objects) if objects and answered is None else (*objects, _of_pods(needs.gateway.key, pods))


@lru_cache(maxsize=1024)
def _of_pods(gateway: str, result: ObjectResult) -> ObjectReport:
    """The same for all upstreams of a gateway."""
    return ObjectReport(PODS, gateway, result)
