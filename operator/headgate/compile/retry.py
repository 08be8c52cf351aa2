"""Retries: the nearest RetryPolicy, its gaps filled by what the profile knows. Without a policy nothing is retried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.api.retrypolicy import RetryPolicySpec
from headgate.api.types import millis
from headgate.compile import defaults
from headgate.compile.findings import Findings, spell_duration
from headgate.model.plan import OnExceed, ResetFormat, ResetHeader, Retry, RetryTrigger, Timeouts
from headgate.model.verdict import Finding
from headgate.providers.profile import RetryFacts

if TYPE_CHECKING:
    from headgate.compile.draft import Context, Draft, SectionDraft
    from headgate.compile.policies import Policy


def check(spec: RetryPolicySpec, findings: Findings) -> None:
    """What is wrong with the policy wherever it is attached."""
    _build(spec, RetryFacts(), findings)


def fill(context: Context, draft: Draft) -> None:
    """Set every section's retries. Needs the timeouts."""
    from headgate.compile.draft import Misfit

    for section in draft.sections.values():
        found = context.attached.retry.winner(section.name)
        if found is None:
            continue
        policy, attached_to = found
        retry, misfit = _fitting(policy, _facts(context, section), section.timeouts)
        if misfit is not None:
            on_upstream = policy.ref.namespace == context.ref.namespace and _is_own(context, policy, attached_to)
            target = context.ref if on_upstream or context.gateway is None else context.gateway.ref
            finding = Finding(misfit.path, misfit.reason, f"section {section.name} of {context.ref}: {misfit.message}")
            draft.misfits.append(Misfit(policy.ref, target, attached_to, finding))
        section.retry = retry
        section.owners.add(policy.ref)


def _is_own(context: Context, policy: Policy[RetryPolicySpec], attached_to: str | None) -> bool:
    return policy in context.attached.retry.upstream.by_section.get(attached_to, ())


def _facts(context: Context, section: SectionDraft) -> RetryFacts:
    if section.profile is not None and section.profile.retry is not None:
        return section.profile.retry
    return context.profile.retry


def _fitting(
    policy: Policy[RetryPolicySpec], facts: RetryFacts, timeouts: Timeouts
) -> tuple[Retry | None, Finding | None]:
    """The policy's retries, or its last good version's if its waits never fit into the section's request timeout."""
    retry = _build(policy.spec, facts, Findings())
    if retry is None or _fits(retry, timeouts):
        return retry, None
    path = ("spec", "perRetry", "backOff", "baseInterval")
    message = (
        f"a first wait of {spell_duration(retry.back_off_base)} never fits into the request timeout of "
        f"{spell_duration(timeouts.request)}: shorten the wait, or lengthen timeouts.request"
    )
    older = _build(policy.older, facts, Findings()) if policy.older is not None else None
    from headgate.api.conditions import Reason

    return (older if older is not None and _fits(older, timeouts) else None), Finding(
        path, Reason.INVALID_SPEC, message
    )


def _fits(retry: Retry, timeouts: Timeouts) -> bool:
    return timeouts.request == 0 or retry.back_off_base < timeouts.request


def _build(spec: RetryPolicySpec, facts: RetryFacts, findings: Findings) -> Retry | None:
    attempts = defaults.ATTEMPTS if spec.attempts is None else spec.attempts
    base, longest = _back_off(spec, findings)
    per_try = spec.per_retry.timeout if spec.per_retry else None
    timeout = findings.duration(("spec", "perRetry", "timeout"), per_try, 0, least=1)
    limited = spec.rate_limited_back_off
    hint_max = findings.duration(
        ("spec", "rateLimitedBackOff", "maxInterval"),
        limited.max_interval if limited else None,
        defaults.HINT_MAX,
        least=1,
    )
    if attempts == 0:
        return None
    return Retry(
        attempts=attempts,
        triggers=_triggers(spec),
        statuses=_statuses(spec, facts),
        methods=tuple(sorted(set(spec.methods or (*defaults.RETRIED_METHODS, *facts.safe_methods)))),
        per_try_timeout=timeout or None,
        back_off_base=base,
        back_off_max=longest,
        reset_headers=_reset_headers(spec, facts),
        body_hint=facts.body_hint,
        hint_max=hint_max,
        on_exceed=OnExceed(spec.on_exceed or OnExceed.FAIL_FAST),
    )


def _back_off(spec: RetryPolicySpec, findings: Findings) -> tuple[int, int]:
    declared = spec.per_retry.back_off if spec.per_retry else None
    path = ("spec", "perRetry", "backOff")
    base = findings.duration(
        (*path, "baseInterval"), declared.base_interval if declared else None, defaults.BACK_OFF_BASE, least=1
    )
    longest = declared.max_interval if declared else None
    if longest is not None and millis(longest) < base:
        findings.reject(
            (*path, "maxInterval"), f"{longest} is shorter than baseInterval: make it at least {spell_duration(base)}"
        )
        longest = None
    return base, base * defaults.BACK_OFF_FACTOR if longest is None else millis(longest)


def _triggers(spec: RetryPolicySpec) -> tuple[RetryTrigger, ...]:
    named = spec.retry_on.triggers if spec.retry_on else ()
    return tuple(RetryTrigger(each) for each in sorted(set(named))) or defaults.TRIGGERS


def _statuses(spec: RetryPolicySpec, facts: RetryFacts) -> tuple[int, ...]:
    named = spec.retry_on.http_status_codes if spec.retry_on else ()
    known = defaults.RETRIED_STATUSES if facts.statuses is None else facts.statuses
    return tuple(sorted(set(named or known)))


def _reset_headers(spec: RetryPolicySpec, facts: RetryFacts) -> tuple[ResetHeader, ...]:
    named = spec.rate_limited_back_off.reset_headers if spec.rate_limited_back_off else ()
    if named:
        return tuple(ResetHeader(each.name.lower(), ResetFormat(each.format)) for each in named)
    return defaults.RESET_HEADERS if facts.reset_headers is None else facts.reset_headers
