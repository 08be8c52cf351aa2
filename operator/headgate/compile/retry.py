"""Retries: the nearest RetryPolicy, its gaps filled by what the profile knows. Without a policy nothing is retried."""

from __future__ import annotations

from headgate.api.conditions import Reason
from headgate.api.retrypolicy import RetryPolicySpec
from headgate.compile import defaults
from headgate.compile.attached import Policy
from headgate.compile.draft import Context, Draft, Misfit, SectionDraft
from headgate.compile.findings import Findings, spell_duration
from headgate.compile.origins import Layer, Sink, nearest, settled, union
from headgate.model.answers import AnswerMark, ResetFormat, ResetHeader
from headgate.model.plan import OnExceed, Retry, RetryTrigger, Timeouts
from headgate.model.verdict import Finding
from headgate.providers.profile import RetryFacts

_PLAIN = (Layer.POLICY, Layer.DEFAULT)
_GIVEN = (Layer.POLICY,)
_MARKS = (Layer.KNOWN, Layer.KNOWN_SECTION)


def check(spec: RetryPolicySpec, findings: Findings) -> None:
    """What is wrong with the policy wherever it is attached."""
    _Builder(spec, RetryFacts(), findings).retry()


def fill(context: Context, draft: Draft) -> None:
    """Set every section's retries. Needs the timeouts."""
    built: dict[object, Retry | None] = {}
    for section in draft.sections.values():
        found = context.policy(RetryPolicySpec, section.name)
        if found is None:
            continue
        retry = _retry(context, section, found.policy, built)
        section.owners.add(found.policy.ref)
        if retry is None or _fits(retry, section.timeouts):
            section.retry = retry
            continue
        target = context.ref if found.own or context.gateway is None else context.gateway.ref
        finding = _misfit(f"section {section.name} of {context.ref}", retry, section.timeouts)
        draft.misfits.append(Misfit(found.policy.ref, target, found.section, finding))


def _retry(
    context: Context, section: SectionDraft, policy: Policy[RetryPolicySpec], built: dict[object, Retry | None]
) -> Retry | None:
    """With the section's own facts where the profile has such, else with those of the whole; with the marks of both, since
    what an answer means is no matter of what is retried. Most sections come to the same: that one is in `built`."""
    own = section.profile.retry if section.profile else None
    facts, layer = (own, Layer.KNOWN_SECTION) if own is not None else (context.profile.retry, Layer.KNOWN)
    marks = section.profile.marks if section.profile else ()
    sink = context.noting(section.name, policy.ref)
    same = (policy.ref, id(facts), id(marks))  # the profile holds them for longer than this takes
    if same not in built or sink is not None:
        builder = _Builder(policy.spec, facts, Findings(), layer, sink)
        built[same] = builder.retry(context.profile.marks, marks)
    return built[same]


def _fits(retry: Retry, timeouts: Timeouts) -> bool:
    return timeouts.request == 0 or retry.back_off_base < timeouts.request


def _misfit(where: str, retry: Retry, timeouts: Timeouts) -> Finding:
    message = (
        f"{where}: a first wait of {spell_duration(retry.back_off_base)} does not fit into the request timeout of "
        f"{spell_duration(timeouts.request)}, so nothing is retried there: shorten the wait, or lengthen timeouts.request"
    )
    return Finding(("spec", "perRetry", "backOff", "baseInterval"), Reason.INVALID_SPEC, message)


class _Builder:
    """One policy on one section: what it says, its gaps filled by the facts, which stand in the layer `known`."""

    def __init__(
        self,
        spec: RetryPolicySpec,
        facts: RetryFacts,
        findings: Findings,
        known: Layer = Layer.KNOWN,
        sink: Sink | None = None,
    ) -> None:
        self._spec, self._facts, self._findings = spec, facts, findings
        self._sink = sink
        self._filled = (Layer.POLICY, known, Layer.DEFAULT)
        self._known = (known,)

    def retry(self, marks: tuple[AnswerMark, ...] = (), own_marks: tuple[AnswerMark, ...] = ()) -> Retry | None:
        """None where nothing is to be tried again. Everything that is wrong with the policy is found all the same."""
        spec, facts, sink = self._spec, self._facts, self._sink
        attempts = settled(sink, "retries.attempts", _PLAIN, spec.attempts, defaults.ATTEMPTS)
        base, longest = self._back_off()
        timeout = self._per_try()
        hint_max = self._hint_max()
        if attempts == 0:
            return None
        return Retry(
            attempts=attempts,
            triggers=self._triggers(timed=timeout is not None),
            statuses=self._statuses(),
            methods=self._methods(),
            per_try_timeout=timeout,
            back_off_base=base,
            back_off_max=longest,
            reset_headers=self._reset_headers(),
            body_hint=nearest(sink, "retries.bodyHint", self._known, facts.body_hint),
            hint_max=hint_max,
            on_exceed=settled(
                sink,
                "retries.onExceed",
                _PLAIN,
                OnExceed(spec.on_exceed) if spec.on_exceed else None,
                OnExceed.FAIL_FAST,
            ),
            assumed_wait=nearest(sink, "retries.assumedWait", self._known, facts.assumed_wait),
            marks=union(sink, "retries.marks", _MARKS, marks, own_marks),
            client_count_headers=union(sink, "retries.clientCounts", self._known, facts.client_count_headers),
        )

    def _per_try(self) -> int | None:
        declared = self._spec.per_retry.timeout if self._spec.per_retry else None
        given = self._findings.given_duration(("spec", "perRetry", "timeout"), declared, least=1)
        return nearest(self._sink, "retries.perTryTimeout", _GIVEN, given)

    def _hint_max(self) -> int:
        limited = self._spec.rate_limited_back_off
        given = self._findings.given_duration(
            ("spec", "rateLimitedBackOff", "maxInterval"), limited.max_interval if limited else None, least=1
        )
        return settled(self._sink, "retries.longestHint", _PLAIN, given, defaults.HINT_MAX)

    def _back_off(self) -> tuple[int, int]:
        declared = self._spec.per_retry.back_off if self._spec.per_retry else None
        path = ("spec", "perRetry", "backOff")
        given = self._findings.given_duration(
            (*path, "baseInterval"), declared.base_interval if declared else None, least=1
        )
        base = settled(self._sink, "retries.firstWait", _PLAIN, given, defaults.BACK_OFF_BASE)
        longest = self._findings.given_duration(
            (*path, "maxInterval"), declared.max_interval if declared else None, least=0
        )
        if declared is not None and longest is not None and longest < base:
            least = spell_duration(base)
            words = f"{declared.max_interval} is shorter than baseInterval: make it at least {least}"
            self._findings.reject((*path, "maxInterval"), words)
            longest = None
        return base, settled(self._sink, "retries.longestWait", _PLAIN, longest, base * defaults.BACK_OFF_FACTOR)

    def _triggers(self, *, timed: bool) -> tuple[RetryTrigger, ...]:
        named = tuple(RetryTrigger(each) for each in self._spec.retry_on.triggers) if self._spec.retry_on else ()
        # A try that is given up for its time ends in a reset; to give it up and not try again would be of no use.
        own = (*named, RetryTrigger.RESET) if timed else named
        rest = () if named else defaults.TRIGGERS
        return tuple(sorted(union(self._sink, "retries.triggers", _PLAIN, own, rest)))

    def _statuses(self) -> tuple[int, ...]:
        named = self._spec.retry_on.http_status_codes if self._spec.retry_on else ()
        found = settled(
            self._sink,
            "retries.statuses",
            self._filled,
            named or None,
            self._facts.statuses,
            defaults.RETRIED_STATUSES,
        )
        return tuple(sorted(set(found)))

    def _methods(self) -> tuple[str, ...]:
        if self._spec.methods:
            found = union(self._sink, "retries.methods", _GIVEN, self._spec.methods)
        else:
            layers = (Layer.DEFAULT, *self._known)
            found = union(self._sink, "retries.methods", layers, defaults.RETRIED_METHODS, self._facts.safe_methods)
        return tuple(sorted(found))

    def _reset_headers(self) -> tuple[ResetHeader, ...]:
        limited = self._spec.rate_limited_back_off
        named = limited.reset_headers if limited else ()
        return settled(
            self._sink,
            "retries.resetHeaders",
            self._filled,
            tuple(ResetHeader(each.name.lower(), ResetFormat(each.format)) for each in named) or None,
            self._facts.reset_headers,
            defaults.RESET_HEADERS,
        )
