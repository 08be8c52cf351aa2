"""Circuit breakers: the nearest CircuitBreaker, for each section apart. Without one there is none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from headgate.api.circuitbreaker import CircuitBreakerSpec
from headgate.compile import defaults
from headgate.compile.draft import Context, Draft
from headgate.compile.findings import Findings, spell_duration
from headgate.model.plan import Breaker, Ceilings, FailureRate, StatusRange


def check(spec: CircuitBreakerSpec, findings: Findings) -> None:
    """What is wrong with the policy wherever it is attached."""
    _build(spec, findings)


def fill(context: Context, draft: Draft) -> None:
    """Set every section's breaker and ceilings."""
    for section in draft.sections.values():
        found = context.policy(CircuitBreakerSpec, section.name)
        if found is None:
            continue
        policy = found.policy
        section.breaker = _build(policy.spec, Findings())
        section.ceilings = Ceilings(
            connections=policy.spec.max_connections,
            pending=policy.spec.max_pending_requests,
            requests=policy.spec.max_parallel_requests,
            retries=policy.spec.max_parallel_retries,
        )
        section.owners.add(policy.ref)


def _build(spec: CircuitBreakerSpec, findings: Findings) -> Breaker:
    pause = findings.duration(("spec", "breakDuration"), spec.break_duration, defaults.BREAK, least=100)
    longest = findings.duration(("spec", "maxBreakDuration"), spec.max_break_duration, pause * defaults.BREAK_FACTOR)
    if longest < pause:
        least = spell_duration(pause)
        findings.reject(("spec", "maxBreakDuration"), f"it is shorter than breakDuration: make it at least {least}")
    trials = spec.half_open.requests if spec.half_open else None
    return Breaker(
        consecutive=_consecutive(spec),
        rate=_rate(spec, findings),
        failures=_ranges(spec.http_error_codes) or defaults.FAILURES,
        break_duration=pause,
        max_break_duration=longest,
        trials=defaults.TRIALS if trials is None else trials,
    )


def _consecutive(spec: CircuitBreakerSpec) -> int | None:
    if spec.consecutive_failures is None and spec.failure_rate is None:
        return defaults.CONSECUTIVE_FAILURES
    return spec.consecutive_failures


def _rate(spec: CircuitBreakerSpec, findings: Findings) -> FailureRate | None:
    rate = spec.failure_rate
    if rate is None:
        return None
    path = ("spec", "failureRate", "samplingWindow")
    window = findings.duration(path, rate.sampling_window, defaults.RATE_WINDOW, least=1_000, most=600_000)
    minimum = defaults.RATE_MINIMUM if rate.minimum_requests is None else rate.minimum_requests
    return FailureRate(rate.threshold, window, minimum)


def _ranges(codes: Sequence[int]) -> tuple[StatusRange, ...]:
    """Neighbouring codes as one range."""
    ordered = sorted(set(codes))
    starts = ordered[:1] + [high for low, high in pairwise(ordered) if high > low + 1]
    ends = [low for low, high in pairwise(ordered) if high > low + 1] + ordered[-1:]
    return tuple(StatusRange(low, high) for low, high in zip(starts, ends, strict=True))
