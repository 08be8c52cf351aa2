"""Statuses to the objects that they are of: by server-side apply to the status subresource, and only what differs.

Wanted statuses come from the engine on every replica (`want`); only the one that leads has `run`. What stands in the cluster
is known from the source, so that a status that somebody else changed is written again, and a new leader writes no more than
what is wrong. One write per object at a time: what changes meanwhile is in the next one.

That something is on its way is written after a while only, where nothing better stands there: as a rule it is in force by then,
and one write was enough for it.

Where the cluster's CRDs are older than this operator, the fields that they do not have are left out, and the rest is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from headgate.api.conditions import ConditionStatus, ConditionType, Reason
from headgate.compile.status import Status
from headgate.kube.client import Api, ApiProblem, Refused
from headgate.kube.counts import WriteCounts
from headgate.kube.elector import ONCE_MORE, Leadership, NotLeading
from headgate.kube.pace import Pace
from headgate.kube.reading import Seen, said
from headgate.kube.resources import OURS
from headgate.kube.undeclared import Path, undeclared, without
from headgate.kube.work import Work
from headgate.model.overlay import differing
from headgate.model.refs import ObjectRef

_log = structlog.stdlib.get_logger("headgate.kube")
_NOT_FOUND = 404
#: Seconds until what the API server does not take is tried again.
HOPELESS = 60.0
#: Seconds until it is looked whether the CRDs have a field by now that they did not have.
UPGRADED = 600.0
#: Writes at the same time.
WRITERS = 8
#: Seconds until it is written that something is on its way; for each other that is, so much more, since all take their time; and
#: at most.
ON_ITS_WAY, EACH_OTHER, LONGEST = 5.0, 0.01, 60.0


@dataclass(frozen=True, slots=True)
class _Written:
    """What this replica last made sure of: on which object, what it wanted, and what the server made of it."""

    uid: str
    wanted: bytes
    stored: bytes


class StatusWriter:
    """`seen` tells how an object stands in the cluster."""

    def __init__(self, api: Api, seen: Callable[[ObjectRef], Seen | None]) -> None:
        self._api, self._seen = api, seen
        self._wanted: Mapping[ObjectRef, Status] = {}
        self._written: dict[ObjectRef, _Written] = {}
        self._paces: dict[ObjectRef, Pace] = {}
        #: What is on its way, since when.
        self._since: dict[ObjectRef, float] = {}
        #: By kind, what the CRD does not have.
        self._undeclared: dict[str, frozenset[Path]] = {}
        self._work: Work[ObjectRef] = Work()
        self.counts = WriteCounts()

    def want(self, statuses: Mapping[ObjectRef, Status]) -> None:
        """These are the statuses now. What is the same object as last time costs a comparison by identity."""
        before, self._wanted = self._wanted, statuses
        for ref in differing(before, statuses):
            if ref in statuses:
                self._work.add(ref)
            else:
                self._written.pop(ref, None)
                self._paces.pop(ref, None)
                self._since.pop(ref, None)

    def said(self, ref: ObjectRef) -> None:
        """An object's status is another one in the cluster than it was."""
        self._work.add(ref)

    async def idle(self) -> None:
        """Wait until all that could be written is."""
        await self._work.idle()

    async def run(self, leadership: Leadership) -> None:
        """While this replica leads."""

        async def write(ref: ObjectRef) -> float | None:
            again = await self._bring(ref, leadership)
            if len(self._work) == 1:  # this one
                _log.debug("kube.statuses_in_step", writes=self.counts.writes)
            return again

        self._undeclared.clear()
        self._written.clear()  # another replica may have written meanwhile
        self._since.clear()
        await self._work.run(write, WRITERS, first=self._wanted)

    async def _bring(self, ref: ObjectRef, leadership: Leadership) -> float | None:
        status, there = self._wanted.get(ref), self._seen(ref)
        if status is None or there is None:
            return None
        if (wait := self._wait(ref, status, there)) > 0:
            return wait
        content = status.document.model_dump(mode="json", by_alias=True, exclude_none=True)
        left_out = self._undeclared.get(ref.kind, frozenset())
        content = without(content, left_out)
        wanted = said(content)
        known = self._written.get(ref)
        if known is None or known.uid != there.uid:
            # Times that another replica put there are as good as ours.
            if there.said.settled == wanted.settled:
                self._written[ref] = _Written(there.uid, wanted.exact, there.said.exact)
                return None
        elif (known.wanted, known.stored) == (wanted.exact, there.said.exact):
            return None
        resource = OURS[ref.kind]
        document = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            # A uid would be no condition here: for a status the server passes over it.
            "metadata": {"name": ref.name, "namespace": ref.namespace},
            "status": content,
        }
        try:
            async with leadership.write():
                answer = await self._api.apply(resource, document, subresource="status")
        except NotLeading:
            return ONCE_MORE
        except ApiProblem as problem:
            return self._failed(ref, problem, left_out)
        self.counts.writes += 1
        self._paces.pop(ref, None)
        self._written[ref] = _Written(there.uid, wanted.exact, said(answer.get("status") or {}).exact)
        return None

    def _wait(self, ref: ObjectRef, status: Status, there: Seen) -> float:
        """How many seconds this one may take to become another, before it is written."""
        if there.made or not _on_its_way(status):
            self._since.pop(ref, None)
            return 0.0
        now = asyncio.get_running_loop().time()
        patience = min(ON_ITS_WAY + EACH_OTHER * len(self._since), LONGEST)
        return self._since.setdefault(ref, now) + patience - now

    def _failed(self, ref: ObjectRef, problem: ApiProblem, left_out: frozenset[Path]) -> float | None:
        if isinstance(problem, Refused) and problem.status == _NOT_FOUND:
            return None
        if isinstance(problem, Refused) and (fields := undeclared(problem.message) - left_out):
            self._leave_out(ref.kind, fields)
            return 0.0
        self.counts.failures += 1
        _log.warning("kube.status_not_written", ref=str(ref), error=str(problem))
        return self._paces.setdefault(ref, Pace()).wait(problem) if problem.temporary else HOPELESS

    def _leave_out(self, kind: str, fields: frozenset[Path]) -> None:
        """From all of a kind. Of several writes at once each may find the same."""
        known = self._undeclared.get(kind, frozenset())
        if not known:
            asyncio.get_running_loop().call_later(UPGRADED, self._look_again, kind)
        self._undeclared[kind] = known | fields
        for each in sorted(fields - known):
            _log.warning(
                "kube.status_field_undeclared",
                kind=kind,
                field=".".join(("status", *each)),
                why="the CRDs in the cluster are older than this operator: apply those of its version",
            )

    def _look_again(self, kind: str) -> None:
        self._undeclared.pop(kind, None)
        for ref in self._wanted:
            if ref.kind == kind:
                self._work.add(ref)


def _on_its_way(status: Status) -> bool:
    """Whether there is nothing to tell but that it is not in force yet."""
    found = next((each for each in status.document.conditions if each.type == ConditionType.READY), None)
    return found is not None and (found.status, found.reason) == (ConditionStatus.FALSE.value, Reason.PENDING.value)
