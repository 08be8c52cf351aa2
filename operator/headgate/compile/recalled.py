"""What probes have found, and which objects could not be made or are there, read back from the status that says so: a replica
that begins to ask and to write goes on from there.

Pure; the reverse of `wellbeing` and of `conditions`, whose words it reads. What it does not understand it takes for nothing: then
the provider, or the API server, is asked anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from headgate.api.conditions import ConditionStatus, ConditionType, Reason
from headgate.model.observations import PODS, ObjectReport, ObjectResult, ProbeReport, ProbeVerdict

_TROUBLE = {
    Reason.CREDENTIAL_REJECTED.value: ProbeVerdict.CREDENTIAL_REJECTED,
    Reason.PROJECT_PAUSED.value: ProbeVerdict.PAUSED,
    Reason.PROBE_FAILED.value: ProbeVerdict.UNHEALTHY,
}
#: Since when all is well is told nowhere: one value for all.
_WELL = ProbeReport(ProbeVerdict.HEALTHY, datetime(1970, 1, 1, tzinfo=UTC))
_ANSWERED = re.compile(
    r"\([A-Z]+ \S+ (?:is answered with status (?P<status>\d+)|ends in (?P<word>\w+))(?:, (?P<detail>.*?))?\)(?:$|[;:])"
)
_UNMADE = {Reason.SERVICE_NAME_TAKEN.value, Reason.OBJECT_NAME_TAKEN.value, Reason.OBJECT_REFUSED.value}
#: How what is said of one object begins. The API server's words, which come after it, may be any.
_OBJECT = re.compile(
    r"(?:^|; )(?:the API server does not take (?P<refused>\w+ [^\s/]+/[^\s/:]+): "
    r"|(?P<taken>\w+ [^\s/]+/\S+) is there already and is somebody else's)"
)
#: How it begins, of a gateway whose pods are all unready.
_UNREADY = re.compile(r"no pod of gateway (\S+) is ready any more")


def recalled(status: Mapping[str, Any]) -> ProbeReport | None:
    """From an upstream's status, as JSON; None where it tells nothing of probes."""
    healthy = _condition(status, ConditionType.HEALTHY)
    return None if healthy is None else _recalled(status, healthy)


def missing(status: Mapping[str, Any]) -> tuple[ObjectReport, ...]:
    """From a gateway's or an upstream's status, as JSON: what could not be made for it. What is told from that is the same
    again."""
    programmed = _condition(status, ConditionType.PROGRAMMED) or {}
    message = str(programmed.get("message", ""))
    if programmed.get("reason") == Reason.NO_POD_READY:
        unready = _UNREADY.match(message)
        return (ObjectReport(PODS, unready[1], ObjectResult.UNREADY),) if unready else ()
    if programmed.get("reason") not in _UNMADE:
        return ()
    found = list(_OBJECT.finditer(message))
    ends = [*(each.start() for each in found[1:]), len(message)]
    return tuple(_report(each, message[each.end() : end]) for each, end in zip(found, ends, strict=False))


def made(status: Mapping[str, Any], generation: int) -> bool:
    """From a gateway's or an upstream's status, as JSON: whether it says that all is there which calls need, as this generation
    has it. Pods that are ready no more don't unmake that."""
    programmed = _condition(status, ConditionType.PROGRAMMED) or {}
    there = programmed.get("status") == ConditionStatus.TRUE or programmed.get("reason") == Reason.NO_POD_READY
    return bool(there and programmed.get("observedGeneration", 0) == generation)


def _report(found: re.Match[str], rest: str) -> ObjectReport:
    """What is said where a name is taken follows from the name."""
    result = ObjectResult.REFUSED if found["refused"] else ObjectResult.TAKEN
    kind, _, key = (found["refused"] or found["taken"]).partition(" ")
    return ObjectReport(kind, key.partition("/")[2], result, rest if found["refused"] else "")


def _condition(status: Mapping[str, Any], kind: ConditionType) -> Mapping[str, Any] | None:
    conditions = status.get("conditions")
    for each in conditions if isinstance(conditions, list) else ():
        if isinstance(each, dict) and each.get("type") == kind:
            return each
    return None


def _recalled(status: Mapping[str, Any], healthy: Mapping[str, Any]) -> ProbeReport | None:
    reason = str(healthy.get("reason", ""))
    if reason == Reason.HEALTHY:
        return _WELL
    verdict = _TROUBLE.get(reason)
    if verdict is None:
        return None
    found = _ANSWERED.search(str(healthy.get("message", "")))
    failure = detail = ""
    if found is not None:
        failure = f"Status{found['status']}" if found["status"] else found["word"]
        detail = found["detail"] or ""
    # SINCE tells of this only where nothing else is wrong.
    told = status.get("reason") in (reason, failure) and status.get("since")
    since = _time(told or healthy.get("lastTransitionTime"))
    return ProbeReport(verdict, since, failure, detail) if since is not None else None


def _time(spelled: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(spelled))
    except ValueError:
        return None
