"""Circuit breakers: the nearest CircuitBreaker, for each section apart. Without one there is none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from headgate.api.circuitbreaker import CircuitBreakerSpec
from headgate.compile import defaults
from headgate.compile.draft import Context, Draft
from headgate.compile.findings import Findings, spell_duration
from headgate.compile.origins import Layer, Sink, nearest, settled
from headgate.model.answers import StatusRange
from headgate.model.plan import Breaker, Ceilings, FailureRate

_PLAIN = (Layer.POLICY, Layer.DEFAULT)
_GIVEN = (Layer.POLICY,)


def check(spec: CircuitBreakerSpec, findings: Findings) -> None:
    """What is wrong with the policy wherever it is attached."""
    _build(spec, findings)


def fill(context: Context, draft: Draft) -> None:
    """Set every section's breaker and ceilings."""
    built: dict[object, Breaker] = {}
    for section in draft.sections.values():
        found = context.policy(CircuitBreakerSpec, section.name)
        if found is None:
            continue
        policy = found.policy
        sink = context.noting(section.name, policy.ref)
        if policy.ref not in built or sink is not None:
            built[policy.ref] = _build(policy.spec, Findings(), sink)
        section.breaker = built[policy.ref]
        section.ceilings = _ceilings(policy.spec, sink)
        section.owners.add(policy.ref)


def _ceilings(spec: CircuitBreakerSpec, sink: Sink | None) -> Ceilings:
    return Ceilings(
        connections=nearest(sink, "breaker.maxConnections", _GIVEN, spec.max_connections),
        pending=nearest(sink, "breaker.maxPendingRequests", _GIVEN, spec.max_pending_requests),
        requests=nearest(sink, "breaker.maxParallelRequests", _GIVEN, spec.max_parallel_requests),
        retries=nearest(sink, "breaker.maxParallelRetries", _GIVEN, spec.max_parallel_retries),
    )


def _build(spec: CircuitBreakerSpec, findings: Findings, sink: Sink | None = None) -> Breaker:
    given = findings.given_duration(("spec", "breakDuration"), spec.break_duration, least=100)
    pause = settled(sink, "breaker.breakDuration", _PLAIN, given, defaults.BREAK)
    given = findings.given_duration(("spec", "maxBreakDuration"), spec.max_break_duration)
    longest = settled(sink, "breaker.maxBreakDuration", _PLAIN, given, pause * defaults.BREAK_FACTOR)
    if longest < pause:
        least = spell_duration(pause)
        findings.reject(("spec", "maxBreakDuration"), f"it is shorter than breakDuration: make it at least {least}")
    trials = spec.half_open.requests if spec.half_open else None
    return Breaker(
        consecutive=_consecutive(spec, sink),
        rate=_rate(spec, findings, sink),
        failures=settled(sink, "breaker.failures", _PLAIN, _ranges(spec.http_error_codes) or None, defaults.FAILURES),
        break_duration=pause,
        max_break_duration=longest,
        trials=settled(sink, "breaker.trials", _PLAIN, trials, defaults.TRIALS),
    )


def _consecutive(spec: CircuitBreakerSpec, sink: Sink | None) -> int | None:
    default = defaults.CONSECUTIVE_FAILURES if spec.failure_rate is None else None
    return nearest(sink, "breaker.consecutiveFailures", _PLAIN, spec.consecutive_failures, default)


def _rate(spec: CircuitBreakerSpec, findings: Findings, sink: Sink | None) -> FailureRate | None:
    rate = spec.failure_rate
    if rate is None:
        return None
    path = ("spec", "failureRate", "samplingWindow")
    window = findings.given_duration(path, rate.sampling_window, least=1_000, most=600_000)
    return FailureRate(
        settled(sink, "breaker.failureRate", _GIVEN, rate.threshold),
        settled(sink, "breaker.samplingWindow", _PLAIN, window, defaults.RATE_WINDOW),
        settled(sink, "breaker.minimumRequests", _PLAIN, rate.minimum_requests, defaults.RATE_MINIMUM),
    )


def _ranges(codes: Sequence[int]) -> tuple[StatusRange, ...]:
    """Neighbouring codes as one range."""
    ordered = sorted(set(codes))
    starts = ordered[:1] + [high for low, high in pairwise(ordered) if high > low + 1]
    ends = [low for low, high in pairwise(ordered) if high > low + 1] + ordered[-1:]
    return tuple(StatusRange(low, high) for low, high in zip(starts, ends, strict=True))
