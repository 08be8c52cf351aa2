"""What gateways and upstreams wait for before a call by their name comes to a proxy: their objects, and a pod that is ready.

Proxies may have taken everything before there is a Service by whose name they are called, or before their pod is in it. An owner
counts as made once its status in the cluster says so, and from then on until it wants something else: neither the next leader,
which knows of nothing at first, nor a rollout takes that back. What a leader finds missing is told apart from this (`objects`).

Nodes hear of an address later than Headgate does, and nobody tells when: kube-proxy writes its rules once a second at most. So
one that is new counts two seconds later.

A gateway whose pods have all gone unready says so, however long it was made: calls fail. Its upstreams don't: ten thousand
statuses would say the same, as often as one pod flaps. One event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial

from headgate.model.observations import PODS, ObjectReport, ObjectResult
from headgate.model.refs import ObjectRef

Reports = tuple[ObjectReport, ...]
#: Seconds until all nodes lead calls to a new address: kube-proxy's pause between two writes of its rules, and as much again.
SETTLE = 2.0


class Pods(Enum):
    """What is known of a gateway's."""

    UNKNOWN = ObjectResult.PENDING
    NONE_READY = ObjectResult.STARTING
    SETTLING = ObjectResult.SETTLING
    READY = None


def _later(seconds: float, do: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, do)


@dataclass(frozen=True, slots=True)
class Clock:
    """In seconds; what is done `later` is done on the same loop."""

    now: Callable[[], float] = time.monotonic
    later: Callable[[float, Callable[[], None]], None] = _later


class Settling:
    """What is new, until it is that no more. `changed` is told of each for which that is so."""

    def __init__(self, clock: Clock, changed: Callable[[ObjectRef], None]) -> None:
        self._clock, self._changed = clock, changed
        self._since: dict[ObjectRef, float] = {}
        self._timed: set[ObjectRef] = set()

    def done(self, what: ObjectRef) -> bool:
        """Whether this has been there long enough; from now on, where it was not there before."""
        left = self._since.setdefault(what, self._clock.now()) + SETTLE - self._clock.now()
        if left > 0 and what not in self._timed:
            self._timed.add(what)
            self._clock.later(left, partial(self._due, what))
        return left <= 0

    def gone(self, what: ObjectRef) -> None:
        """It is not there."""
        self._since.pop(what, None)

    def _due(self, what: ObjectRef) -> None:
        self._timed.discard(what)
        if what in self._since:
            self._changed(what)


@dataclass(frozen=True, slots=True)
class Needs:
    """What calls to an owner need: these objects of its own, and a pod of this gateway."""

    objects: tuple[ObjectRef, ...]
    gateway: ObjectRef


class Awaiting:
    """`needs`: None of an owner of which nothing is wanted. `tried`: whether anything came of an object here, be it what it may.
    `made`: an owner's status in the cluster says so. `unready`: a gateway's says that its pods are ready no more.
    `settled`: an owner's address, or a gateway's pods, are known to all nodes by now."""

    def __init__(
        self,
        needs: Callable[[ObjectRef], Needs | None],
        tried: Callable[[ObjectRef], bool],
        made: Callable[[ObjectRef], bool],
        unready: Callable[[ObjectRef], bool],
        settled: Callable[[ObjectRef], None],
        clock: Clock,
    ) -> None:
        self._needs, self._tried, self._said, self._unready = needs, tried, made, unready
        self._settling = Settling(clock, settled)
        self._made: set[ObjectRef] = set()
        self._pods: Mapping[ObjectRef, Pods] = {}
        #: By owner, what it waits for.
        self.reports: dict[ObjectRef, Reports] = {}

    def turn(self, answered: Mapping[ObjectRef, bool | None]) -> set[ObjectRef]:
        """Whether calls find a pod, by gateway; None where that is not known. Those of which it is otherwise now."""
        before, self._pods = self._pods, {gateway: self._of_pods(gateway, found) for gateway, found in answered.items()}
        return {each for each in self._pods.keys() | before.keys() if self._pods.get(each) is not before.get(each)}

    def _of_pods(self, gateway: ObjectRef, answered: bool | None) -> Pods:
        if answered:
            return Pods.READY if self._settling.done(gateway) else Pods.SETTLING
        self._settling.gone(gateway)
        return Pods.UNKNOWN if answered is None else Pods.NONE_READY

    def made(self, owner: ObjectRef) -> bool:
        """Whether all has been there for it, as it is wanted now."""
        return owner in self._made

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
            self._settling.gone(owner)
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
        pods = self._pods.get(needs.gateway, Pods.UNKNOWN)
        if owner in self._made:
            if owner != needs.gateway:
                self._settling.gone(owner)
                return ()
            lost = pods is Pods.NONE_READY or (pods is Pods.UNKNOWN and self._unready(owner))
            return (_of_pods(owner.key, ObjectResult.UNREADY),) if lost else ()
        found = [
            ObjectReport(each.kind, each.name, ObjectResult.PENDING) for each in needs.objects if not self._tried(each)
        ]
        if owner != needs.gateway and any(each.kind == "EndpointSlice" for each in needs.objects):
            found = found or self._own_address(owner, pods)
        # Who does not lead knows nothing of pods, and nothing of objects: one word for both.
        if pods.value is not None and not (found and pods is Pods.UNKNOWN):
            found.append(_of_pods(needs.gateway.key, pods.value))
        return tuple(found)

    def _own_address(self, owner: ObjectRef, pods: Pods) -> list[ObjectReport]:
        """It's there, and as new to all nodes as its gateway's. It changes when the pods do."""
        if pods in {Pods.UNKNOWN, Pods.NONE_READY}:
            self._settling.gone(owner)
            return []
        return [] if self._settling.done(owner) else [ObjectReport("Service", owner.name, ObjectResult.SETTLING)]


@lru_cache(maxsize=1024)
def _of_pods(gateway: str, result: ObjectResult) -> ObjectReport:
    """The same for all upstreams of a gateway."""
    return ObjectReport(PODS, gateway, result)
