"""How a provider does, by what the proxies say of its sections. Pure.

Unhealthy: every section that has seen calls is cut off by its breaker. Degraded: some section is cut off or on trial, or
most of its calls fail. Healthy: calls succeed. Unknown: none was seen yet.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from headgate.api.conditions import Reason
from headgate.model.observations import Circuit, SectionReport

#: From how many failures in a proxy's window, and from which share of its calls, calls are said to fail; or when all do.
FAILURES = 3
SHARE = 0.5


class Health(StrEnum):
    HEALTHY = "Healthy"
    DEGRADED = "Degraded"
    UNHEALTHY = "Unhealthy"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Wellbeing:
    """What an upstream's columns say. `circuit` is empty where there is no breaker. `failure`: the word for what is wrong;
    `since`: since when, where a breaker knows."""

    health: Health = Health.UNKNOWN
    reason: Reason = Reason.NO_TRAFFIC_YET
    message: str = "no call has been made yet"
    circuit: str = ""
    failure: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Section:
    """One section over all proxies: the worst of their circuits."""

    name: str
    circuit: Circuit
    since: datetime | None
    failure: str
    called: bool
    failing: bool


_BADNESS = (Circuit.NONE, Circuit.CLOSED, Circuit.HALF_OPEN, Circuit.OPEN)


def wellbeing(sections: Iterable[tuple[str, bool, tuple[SectionReport, ...]]]) -> Wellbeing:
    """Judge an upstream by its sections: name, whether it has a breaker, and what the proxies say of it."""
    every = [_section(name, has_breaker, reports) for name, has_breaker, reports in sections]
    opened = [each for each in every if each.circuit is Circuit.OPEN]
    trying = [each for each in every if each.circuit is Circuit.HALF_OPEN]
    failing = [each for each in every if each.failing and each not in opened and each not in trying]
    circuit = _circuit(every, opened, trying)
    if opened or trying:
        cut = opened or trying
        working = [each for each in every if each.called and each not in opened]
        health = Health.UNHEALTHY if opened and not working else Health.DEGRADED
        return Wellbeing(
            health,
            Reason.CIRCUIT_OPEN,
            _said(cut, "cut off by the breaker" if opened else "on trial after a break"),
            circuit,
            next((each.failure for each in cut if each.failure), Reason.CIRCUIT_OPEN),
            min((each.since for each in cut if each.since), default=None),
        )
    if failing:
        failure = next((each.failure for each in failing if each.failure), Reason.CALLS_FAILING)
        return Wellbeing(Health.DEGRADED, Reason.CALLS_FAILING, _said(failing, "most calls fail"), circuit, failure)
    if any(each.called for each in every):
        return Wellbeing(Health.HEALTHY, Reason.HEALTHY, "", circuit)
    return Wellbeing(circuit=circuit)


def _section(name: str, has_breaker: bool, reports: tuple[SectionReport, ...]) -> _Section:
    worst = max((report.circuit for report in reports), key=_BADNESS.index, default=Circuit.NONE)
    if has_breaker and worst is Circuit.NONE:
        worst = Circuit.CLOSED
    telling = [report for report in reports if report.circuit is worst] or list(reports)
    return _Section(
        name=name,
        circuit=worst,
        since=min((report.since for report in telling), default=None),
        failure=next((report.failure for report in sorted(telling, key=lambda each: each.since) if report.failure), ""),
        called=any(report.calls for report in reports),
        failing=any(report.failing and _mostly_fails(report) for report in reports),
    )


def _mostly_fails(report: SectionReport) -> bool:
    enough = min(max(FAILURES, report.calls * SHARE), report.calls)
    return report.calls > 0 and report.failures >= enough


def _said(sections: list[_Section], what: str) -> str:
    said = [f"section {each.name}: {what}{f' ({each.failure})' if each.failure else ''}" for each in sections]
    return "; ".join(said)


def _circuit(every: list[_Section], opened: list[_Section], trying: list[_Section]) -> str:
    """`Closed`, `Open 1/2`, `HalfOpen 1/2`: of the sections that have a breaker."""
    count = sum(each.circuit is not Circuit.NONE for each in every)
    if not count:
        return ""
    if opened:
        return f"{Circuit.OPEN} {len(opened)}/{count}"
    if trying:
        return f"{Circuit.HALF_OPEN} {len(trying)}/{count}"
    return Circuit.CLOSED
