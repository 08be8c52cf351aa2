"""Conditions being made: their times, and what Programmed and Ready come to. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from headgate.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from headgate.model.observations import Acknowledgement
from headgate.model.verdict import Judgement, Verdict

Conditions = tuple[Condition, ...]
#: Of each gateway that carries an object: how many proxies are connected, and how they took it.
Proxies = tuple[tuple[int, Acknowledgement], ...]


class Making:
    """Conditions being made. The time of each moves only when its status does."""

    def __init__(self, generation: int, before: Conditions, now: datetime) -> None:
        self._generation = generation
        self._before = {each.type: each for each in before}
        self._now = spell_time(now)
        self._made: dict[str, Condition] = {}

    def put(self, kind: ConditionType, judgement: Judgement) -> None:
        """Add a condition."""
        before = self._before.get(kind)
        unmoved = before is not None and before.status == judgement.status and before.last_transition_time
        self._made[kind] = Condition(
            type=kind,
            status=judgement.status.value,
            observed_generation=self._generation,
            last_transition_time=before.last_transition_time if before and unmoved else self._now,
            reason=judgement.reason,
            message=judgement.message,
        )

    def __getitem__(self, kind: ConditionType) -> Condition:
        return self._made[kind]

    def all(self) -> Conditions:
        """In the order in which they were put."""
        return tuple(self._made.values())


def spell_time(moment: datetime) -> str:
    """RFC 3339 in UTC and whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def programmed(verdict: Verdict, proxies: Proxies) -> Judgement:
    if verdict.accepted.status is not ConditionStatus.TRUE or not verdict.live:
        return _not_in_force(verdict)
    failed = dict.fromkeys(words for _, each in proxies for words in each.failed)
    if failed:
        message = (
            f"Headgate can't put it into the proxy's terms, which is a bug, perhaps a plug-in's: {'; '.join(failed)}"
        )
        return Judgement(ConditionStatus.FALSE, Reason.RENDER_FAILED, message[:32_000])
    refused = dict.fromkeys(words for _, each in proxies for words in each.rejected)
    if refused:
        message = f"the proxy refuses it and stays on what it had: {'; '.join(refused)}"
        return Judgement(ConditionStatus.FALSE, Reason.REJECTED_BY_PROXY, message[:32_000])
    if not all(connected for connected, _ in proxies):
        message = "no proxy is connected that could say so"
        return Judgement(ConditionStatus.UNKNOWN, Reason.NO_PROXY_CONNECTED, message)
    waiting = sum(each.pending for _, each in proxies)
    if waiting:
        count = sum(connected for connected, _ in proxies)
        return Judgement(ConditionStatus.FALSE, Reason.PENDING, f"{waiting} of {count} proxies have yet to take it")
    return Judgement(ConditionStatus.TRUE, Reason.PROGRAMMED)


def _not_in_force(verdict: Verdict) -> Judgement:
    if verdict.accepted.status is not ConditionStatus.TRUE:
        served = "what is sound of it stays" if verdict.targets else "the version before it stays"
        rest = f"{served} in force" if verdict.live else "nothing of it is in force"
        return Judgement(ConditionStatus.FALSE, Reason.NOT_ACCEPTED, f"{rest}: see Accepted")
    if verdict.resolved.status is not ConditionStatus.TRUE:
        return Judgement(ConditionStatus.FALSE, Reason.NOT_ACCEPTED, "nothing of it is in force: see ResolvedRefs")
    return Judgement(ConditionStatus.UNKNOWN, Reason.PENDING, "no upstream that it would shape is served yet")


def ready(*parts: Judgement) -> Judgement:
    """The summary: the first that is False, else the first that is Unknown, else True."""
    for status in (ConditionStatus.FALSE, ConditionStatus.UNKNOWN):
        for part in parts:
            if part.status is status:
                return part
    return Judgement(ConditionStatus.TRUE, Reason.READY)
