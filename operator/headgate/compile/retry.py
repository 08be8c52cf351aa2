"""Retries: the nearest RetryPolicy, its gaps filled by what the profile knows. Without a policy nothing is retried."""

from __future__ import annotations

from headgate.api.conditions import Reason
from headgate.api.retrypolicy import RetryPolicySpec
from headgate.api.types import millis
from headgate.compile import defaults
from headgate.compile.draft import Context, Draft, Misfit, SectionDraft
from headgate.compile.findings import Findings, spell_duration
from headgate.model.plan import AnswerMark, OnExceed, ResetFormat, ResetHeader, Retry, RetryTrigger, Timeouts
from headgate.model.verdict import Finding
from headgate.providers.profile import RetryFacts


def check(spec: RetryPolicySpec, findings: Findings) -> None:
    """What is wrong with the policy wherever it is attached."""
    _build(spec, RetryFacts(), findings)


def fill(context: Context, draft: Draft) -> None:
    """Set every section's retries. Needs the timeouts."""
    for section in draft.sections.values():
        found = context.policy(RetryPolicySpec, section.name)
        if found is None:
            continue
        retry = _build(found.policy.spec, _facts(context, section), Findings(), _marks(context, section))
        section.owners.add(found.policy.ref)
        if retry is None or _fits(retry, section.timeouts):
            section.retry = retry
            continue
        target = context.ref if found.own or context.gateway is None else context.gateway.ref
        finding = _misfit(f"section {section.name} of {context.ref}", retry, section.timeouts)
        draft.misfits.append(Misfit(found.policy.ref, target, found.section, finding))


def _facts(context: Context, section: SectionDraft) -> RetryFacts:
    if section.profile is not None and section.profile.retry is not None:
        return section.profile.retry
    return context.profile.retry


def _marks(context: Context, section: SectionDraft) -> tuple[AnswerMark, ...]:
    """The profile's, then those of its section: what an answer means is no matter of what is retried."""
    return tuple(dict.fromkeys((*context.profile.marks, *(section.profile.marks if section.profile else ()))))


def _fits(retry: Retry, timeouts: Timeouts) -> bool:
    return timeouts.request == 0 or retry.back_off_base < timeouts.request


def _misfit(where: str, retry: Retry, timeouts: Timeouts) -> Finding:
    message = (
        f"{where}: a first wait of {spell_duration(retry.back_off_base)} does not fit into the request timeout of "
        f"{spell_duration(timeouts.request)}, so nothing is retried there: shorten the wait, or lengthen timeouts.request"
    )
    return Finding(("spec", "perRetry", "backOff", "baseInterval"), Reason.INVALID_SPEC, message)


def _build(
    spec: RetryPolicySpec, facts: RetryFacts, findings: Findings, marks: tuple[AnswerMark, ...] = ()
) -> Retry | None:
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
        triggers=_triggers(spec, timed=bool(timeout)),
        statuses=_statuses(spec, facts),
        methods=tuple(sorted(set(spec.methods or (*defaults.RETRIED_METHODS, *facts.safe_methods)))),
        per_try_timeout=timeout or None,
        back_off_base=base,
        back_off_max=longest,
        reset_headers=_reset_headers(spec, facts),
        body_hint=facts.body_hint,
        hint_max=hint_max,
        on_exceed=OnExceed(spec.on_exceed or OnExceed.FAIL_FAST),
        assumed_wait=facts.assumed_wait,
        marks=marks,
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


def _triggers(spec: RetryPolicySpec, *, timed: bool) -> tuple[RetryTrigger, ...]:
    named = spec.retry_on.triggers if spec.retry_on else ()
    triggers = {RetryTrigger(each) for each in named} or set(defaults.TRIGGERS)
    if timed:
        # A try that is given up for its time ends in a reset; to give it up and not try again would be of no use.
        triggers.add(RetryTrigger.RESET)
    return tuple(sorted(triggers))


def _statuses(spec: RetryPolicySpec, facts: RetryFacts) -> tuple[int, ...]:
    named = spec.retry_on.http_status_codes if spec.retry_on else ()
    known = defaults.RETRIED_STATUSES if facts.statuses is None else facts.statuses
    return tuple(sorted(set(named or known)))


def _reset_headers(spec: RetryPolicySpec, facts: RetryFacts) -> tuple[ResetHeader, ...]:
    named = spec.rate_limited_back_off.reset_headers if spec.rate_limited_back_off else ()
    if named:
        return tuple(ResetHeader(each.name.lower(), ResetFormat(each.format)) for each in named)
    return defaults.RESET_HEADERS if facts.reset_headers is None else facts.reset_headers
