"""How a provider does, by what the proxies say of its sections and what probes say of it. Pure.

By the proxies. Unhealthy: every section that has seen calls is cut off by its breaker. Degraded: some section is cut off or
on trial, or most of its calls fail. Healthy: calls succeed. Unknown: none was seen yet. To a proxy a call that is refused
for its key may be one like any other: there breakers count what they are told to count.

The two are joined so, the first line that fits:

| the probe says | the proxies say | HEALTH | REASON |
|---|---|---|---|
| the credential is rejected | anything | Unhealthy; Degraded if some section has another | CredentialRejected |
| the project is paused | anything | Unhealthy | ProjectPaused |
| anything | a section is cut off, on trial, or failing | what the proxies say | what the proxies say |
| it fails | calls succeed or there are none | Unhealthy | what failed (`ConnectTimeout`, `Status503`) |
| all is well, or nothing yet | calls succeed | Healthy | |
| all is well | no call yet | Healthy | |
| nothing yet, or there is no probe | no call yet | Unknown | |

That calls which succeed outweigh a probe that fails is seen to where probes are made (`control.probing`): one that is told
of here has no such call beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from headgate.api.conditions import Reason
from headgate.model.observations import Circuit, ProbeReport, ProbeVerdict, SectionReport
from headgate.model.plan import Section, Upstream

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


def of_upstream(
    upstream: Upstream, reports: Iterable[tuple[SectionReport, ...]], probed: ProbeReport | None
) -> Wellbeing:
    """Judge an upstream by the reports on each of its sections, in their order, and by what probes say of it."""
    every = zip(upstream.sections, reports, strict=True)
    seen = wellbeing((section.name, section.breaker is not None, said) for section, said in every)
    return seen if probed is None or upstream.probe is None else _joined(upstream, seen, probed)


def _joined(upstream: Upstream, seen: Wellbeing, probed: ProbeReport) -> Wellbeing:
    """The table above."""
    troubled = seen.health in (Health.DEGRADED, Health.UNHEALTHY)
    match probed.verdict:
        case ProbeVerdict.CREDENTIAL_REJECTED:
            own = _keys(_probed_section(upstream))
            everywhere = all(_keys(each) == own for each in upstream.sections)
            health = Health.UNHEALTHY if everywhere else Health.DEGRADED
            return _trouble(seen, health, Reason.CREDENTIAL_REJECTED, _rejected(upstream, probed), probed)
        case ProbeVerdict.PAUSED:
            message = f"the provider says that the project is switched off ({_answered(upstream, probed)}): switch it on there"
            return _trouble(seen, Health.UNHEALTHY, Reason.PROJECT_PAUSED, message, probed)
        case ProbeVerdict.UNHEALTHY if troubled:
            return replace(seen, message=f"{seen.message}; {_failed(upstream, probed)}")
        case ProbeVerdict.UNHEALTHY:
            failure = probed.failure or Reason.PROBE_FAILED
            return replace(
                _trouble(seen, Health.UNHEALTHY, Reason.PROBE_FAILED, _failed(upstream, probed), probed),
                failure=failure,
            )
        case ProbeVerdict.HEALTHY if seen.health is Health.UNKNOWN:
            return Wellbeing(Health.HEALTHY, Reason.HEALTHY, "", seen.circuit)
        case ProbeVerdict.HEALTHY | ProbeVerdict.RATE_LIMITED:
            return seen


def _trouble(seen: Wellbeing, health: Health, reason: Reason, message: str, probed: ProbeReport) -> Wellbeing:
    if seen.health in (Health.DEGRADED, Health.UNHEALTHY):
        message = f"{message}; {seen.message}"
    return Wellbeing(health, reason, message, seen.circuit, reason, probed.since)


def _probed_section(upstream: Upstream) -> Section:
    return upstream.section(upstream.probe.section if upstream.probe else "default")


def _keys(section: Section) -> set[str]:
    """The names of the secrets that its calls carry, wherever they go."""
    return {each.secret for each in section.credentials}


def _rejected(upstream: Upstream, probed: ProbeReport) -> str:
    said = _answered(upstream, probed)
    keys = sorted(_keys(_probed_section(upstream)))
    if not keys:
        return f"the provider wants a credential, and none is declared ({said}): add it to spec.credentials"
    names = " or ".join(_secret(each) for each in keys)
    return f"the provider refuses the key in {names} ({said}): put one that is in force there"


def _secret(name: str) -> str:
    """`secret/shop/keys/token` as people say it."""
    _, namespace, secret, key = name.split("/", 3)
    return f"Secret {namespace}/{secret}, key {key}"


def _answered(upstream: Upstream, probed: ProbeReport) -> str:
    if not probed.failure:
        return _call(upstream)
    status = probed.failure.removeprefix("Status")
    how = f"is answered with status {status}" if status != probed.failure else f"ends in {probed.failure}"
    return f"{_call(upstream)} {how}"


def _failed(upstream: Upstream, probed: ProbeReport) -> str:
    detail = f", {probed.detail}" if probed.detail else ""
    advice = ""
    if probed.failure in _OF_THE_PATH:
        advice = "; if this path says nothing of the provider, set spec.probe.path, or spec.probe.disabled"
    return f"probes fail ({_answered(upstream, probed)}{detail}){advice}"


#: Answers that say more of the path than of the provider.
_OF_THE_PATH = {f"Status{status}" for status in (301, 302, 307, 308, 400, 404, 405, 410)}


def _call(upstream: Upstream) -> str:
    """What was asked; the query may say more than a status should."""
    probe = upstream.probe
    return f"{probe.method} {probe.path.partition('?')[0]}" if probe else "a probe"


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
