"""What probes have found, read back from the status that says so: a replica that begins to ask goes on from there.

Pure; the reverse of `wellbeing`, whose words it reads. What it does not understand it takes for nothing: then the provider is
asked anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from headgate.api.conditions import ConditionType, Reason
from headgate.model.observations import ProbeReport, ProbeVerdict

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


def recalled(status: Mapping[str, Any]) -> ProbeReport | None:
    """From an upstream's status, as JSON; None where it tells nothing of probes."""
    conditions = status.get("conditions")
    for each in conditions if isinstance(conditions, list) else ():
        if isinstance(each, dict) and each.get("type") == ConditionType.HEALTHY:
            return _recalled(status, each)
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
