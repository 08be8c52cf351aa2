"""What `headgate run` says while it runs: where to call, what changed and whether it took, what is wrong.

A state machine over Plans, readings and statuses; `say` prints one line. An error is said once, in full; a change when it
is in force, or with what is in its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from headgate.api.conditions import ConditionStatus, ConditionType, Reason
from headgate.api.status import UpstreamStatus
from headgate.app.engine import Outlook
from headgate.compile.documents import Document
from headgate.compile.status import Status
from headgate.files.findings import problems
from headgate.files.folder import World
from headgate.files.place import Problem
from headgate.files.source import Change
from headgate.model.plan import Gateway
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan

_FOUND_BY_PROBES = frozenset({Reason.CREDENTIAL_REJECTED, Reason.PROJECT_PAUSED, Reason.PROBE_FAILED})
_NOT_TAKEN = frozenset({Reason.REJECTED_BY_PROXY, Reason.RENDER_FAILED})


class Announcer:
    """One per run, on the event loop."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._world = World()
        self._problems: frozenset[Problem] = frozenset()
        self._notes: frozenset[str] = frozenset()
        self._seen: Mapping[ObjectRef, Status] = {}
        self._refused: dict[ObjectRef, str] = {}
        #: What probes have found wrong, and was said.
        self._unwell: dict[ObjectRef, Reason] = {}
        #: Changes that are on their way, with their verb.
        self._open: dict[ObjectRef, str] = {}
        self.started = False

    @property
    def waiting(self) -> Sequence[ObjectRef]:
        """Objects that have changed and are neither in force nor said to be wrong."""
        return tuple(self._open)

    def read(self, world: World, changes: Sequence[Change]) -> None:
        """The folder was read and says something new."""
        self._world = world
        for note in world.notes:
            if note not in self._notes:
                self._say(f"note: {note}")
        self._notes = frozenset(world.notes)
        for change in changes:
            if change.verb == "removed":
                self._open.pop(change.ref, None)
                self._say(f"removed {change.ref}")
            elif change.ref.kind in ("Secret", "ConfigMap", "Namespace"):
                if self.started:
                    self._say(f"{change.verb} {change.ref}".rstrip())
            else:
                self._open[change.ref] = change.verb

    def planned(self, plan: Plan) -> None:
        """A Plan was made of what was read."""
        found = problems(self._world, plan)
        for problem in found:
            if problem not in self._problems:
                self._say(f"error: {problem}")
        for problem in sorted(self._problems - set(found), key=Problem.sort_key):
            if not any(problem.ref == other.ref and problem.place.file == other.place.file for other in found):
                self._say(f"mended: {problem.place.file}{f': {problem.ref}' if problem.ref else ''}")
        self._problems = frozenset(found)

    def looked(self, outlook: Outlook) -> None:
        """Statuses may have changed."""
        for ref, status in outlook.statuses.items():
            if self._seen.get(ref) is status:
                continue
            reason, message = condition(status.document, ConditionType.PROGRAMMED)[1:]
            self._tell_refusal(ref, message if reason in _NOT_TAKEN else "")
            self._tell_health(ref, *condition(status.document, ConditionType.HEALTHY)[1:])
        for ref in self._unwell.keys() - outlook.statuses.keys():
            del self._unwell[ref]
        self._seen = outlook.statuses
        for gateway in outlook.plan.gateways.values():
            if gateway.ref not in outlook.statuses:  # the one that is there without being declared
                answer = outlook.answers.of(gateway.key, gateway.ref)
                words = (*answer.failed, *answer.rejected)
                self._tell_refusal(gateway.ref, f"the proxy can't take it: {'; '.join(words)}" if words else "")
        for ref in list(self._open):
            found = outlook.statuses.get(ref)
            verdict = outlook.plan.verdicts.get(ref)
            if found is None or verdict is None or found.document.observed_generation != verdict.generation:
                continue
            if self._settled(ref, found.document):
                del self._open[ref]

    def _settled(self, ref: ObjectRef, document: Document) -> bool:
        """Say how the change came out; False while that is not known."""
        accepted, why, _ = condition(document, ConditionType.ACCEPTED)
        resolved, why_not, _ = condition(document, ConditionType.RESOLVED_REFS)
        programmed, reason, _ = condition(document, ConditionType.PROGRAMMED)
        match programmed, reason:
            case _ if accepted is ConditionStatus.FALSE:
                how = f"not in force as declared ({why})"
            case _ if resolved is ConditionStatus.FALSE:
                how = f"not in force as declared ({why_not})"
            case ConditionStatus.TRUE, _:
                address = document.address if isinstance(document, UpstreamStatus) else None
                how = f"in force, at {address}" if address else "in force"
            case _, Reason.REJECTED_BY_PROXY:
                how = "refused by Envoy"
            case _, Reason.RENDER_FAILED:
                how = "not in force as declared (RenderFailed)"
            case ConditionStatus.UNKNOWN, Reason.PENDING:
                how = "accepted; no upstream that it would shape is served yet"
            case _:
                return False
        if self.started:
            self._say(f"{self._open[ref]} {ref}: {how}")
        return True

    def _tell_health(self, ref: ObjectRef, reason: Reason, message: str) -> None:
        """Once when it begins and once when it is over, however long a provider is out of reach. What traffic shows is
        not said: whoever calls hears of it."""
        if reason in _FOUND_BY_PROBES:
            if self._unwell.get(ref) is not reason:
                self._unwell[ref] = reason
                self._say(f"unhealthy: {ref}: {message}")
        elif reason is Reason.HEALTHY and ref in self._unwell:
            del self._unwell[ref]
            self._say(f"healthy again: {ref}")

    def _tell_refusal(self, ref: ObjectRef, message: str) -> None:
        if not message:
            self._refused.pop(ref, None)
        elif self._refused.get(ref) != message:
            self._refused[ref] = message
            item = self._world.items.get(ref)
            place = f"{item.where.start}: " if item else ""
            self._say(f"error: {place}{ref}: {message}")


def condition(document: Document, kind: ConditionType) -> tuple[ConditionStatus, Reason, str]:
    """Status, reason and message of one condition."""
    for each in document.conditions:
        if each.type == kind:
            return ConditionStatus(each.status), Reason(each.reason), each.message
    return ConditionStatus.UNKNOWN, Reason.PENDING, ""


def directions(gateway: Gateway) -> list[str]:
    """Where to call each upstream of a gateway: by path, and by host name."""
    listener = gateway.listener
    lines = [f"gateway {gateway.key} takes calls at {listener.url}"]
    for key, upstream in sorted(gateway.upstreams.items()):
        name = f"{upstream.ref.name}.{upstream.ref.namespace}"
        by_host = f"{listener.scheme}://{name}:{listener.port}"
        lines.append(f"  {upstream.ref.kind} {key}: {listener.url}/{key}  or {by_host}")
    if not gateway.upstreams:
        lines.append("  no upstream is served yet")
    return lines
