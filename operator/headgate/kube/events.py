"""Kubernetes Events: what happened to an object, for `kubectl describe` and `kubectl get events`.

Told by `tell` on every replica, written by the one that leads. The same thing again within a while is counted, not written
anew: an Event's name comes from what it says, so that this holds over restarts and changes of the leader too. Events are for
people: what can't be written is dropped, and nothing waits for them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from headgate.compile.documents import CONTROLLER
from headgate.kube.client import Api, ApiProblem, Document, Refused
from headgate.kube.elector import Leadership, NotLeading
from headgate.kube.resources import CHILDREN, EVENTS, OURS
from headgate.kube.work import Work
from headgate.model.refs import ObjectRef

_log = structlog.stdlib.get_logger("headgate.kube")
_CONFLICT = 409
#: Bytes and characters that the API server takes.
_NOTE, _NAME = 1024, 253
#: Events that wait to be written; more are dropped.
WAITING = 1000
WRITERS = 2


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing to tell. `reason` is one CamelCase word, `action` what Headgate did about it, `note` a sentence."""

    about: ObjectRef
    uid: str
    reason: str
    note: str
    action: str = "Reconcile"
    warning: bool = False

    @property
    def name(self) -> str:
        """The Event's name: the same for the same thing."""
        said = "\0".join((self.about.kind, self.uid, self.reason, self.action, self.note, str(self.warning)))
        return f"{self.about.name[: _NAME - 17]}.{hashlib.sha256(said.encode()).hexdigest()[:16]}"


class EventWriter:
    """`instance` names this replica. `quiet`: seconds for which repetitions of an Event are gathered."""

    def __init__(self, api: Api, instance: str, quiet: float = 30.0) -> None:
        self._api, self._instance, self._quiet = api, instance, quiet
        self._count: dict[Happening, int] = {}
        self._resting: set[Happening] = set()
        self._work: Work[Happening] = Work()
        self.dropped = 0

    def tell(self, happening: Happening) -> None:
        """It happened, once more perhaps. Not heard where this replica does not lead."""
        if not self._work.running:
            return
        if len(self._count) >= WAITING and happening not in self._count:
            self.dropped += 1
            return
        self._count[happening] = self._count.get(happening, 0) + 1
        if happening not in self._resting:
            self._work.add(happening)

    async def run(self, leadership: Leadership) -> None:
        """While this replica leads."""

        async def write(happening: Happening) -> float | None:
            return await self._write(happening, leadership)

        self._count.clear()
        self._resting.clear()
        await self._work.run(write, WRITERS)

    async def _write(self, happening: Happening, leadership: Leadership) -> float | None:
        """Write it, then let it rest, then look whether it happened again."""
        times = self._count.pop(happening, 0)
        if not times:
            self._resting.discard(happening)
            return None
        self._resting.add(happening)
        try:
            async with leadership.write():
                await self._put(happening, times)
        except (ApiProblem, NotLeading) as problem:
            self.dropped += 1
            _log.warning("kube.event_dropped", about=str(happening.about), reason=happening.reason, error=str(problem))
        return self._quiet

    async def _put(self, happening: Happening, times: int) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        document = self._document(happening, now)
        if times > 1:
            document["series"] = {"count": times, "lastObservedTime": now}
        try:
            await self._api.create(EVENTS, document)
        except Refused as problem:
            if problem.status != _CONFLICT:
                raise
            there = await self._api.get(EVENTS, happening.about.namespace, happening.name)
            count = int((there.get("series") or {}).get("count", 1)) + times
            await self._api.replace(EVENTS, {**there, "series": {"count": count, "lastObservedTime": now}})

    def _document(self, happening: Happening, now: str) -> Document:
        about = happening.about
        resource = OURS.get(about.kind) or CHILDREN[about.kind]
        regarding = {"apiVersion": resource.api_version, "kind": about.kind, "name": about.name}
        regarding["namespace"] = about.namespace
        if happening.uid:
            regarding["uid"] = happening.uid
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": happening.name, "namespace": about.namespace},
            "eventTime": now,
            "reportingController": CONTROLLER,
            "reportingInstance": self._instance[:128],
            "action": happening.action[:128],
            "reason": happening.reason[:128],
            "regarding": regarding,
            "note": _cut(happening.note),
            "type": "Warning" if happening.warning else "Normal",
        }


def _cut(note: str) -> str:
    return note if len(note.encode()) <= _NOTE else note.encode()[: _NOTE - 3].decode(errors="ignore") + "…"
