"""The values of a section in force, each with its origin: the Plan's section joined with what was noted of it. Pure.

What a value is, the Plan says; where it is from, the notes say, and only that. A field of `plan.Section` is in the table
here or among those that are left out on purpose (`tests/unit/compile/test_explanation.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from headgate.compile import spelling
from headgate.compile.attached import Nearest
from headgate.compile.origins import Noted, Notes, Origin
from headgate.model.plan import Section

#: What was won over: where it stands, and what it is.
Over = tuple[tuple[Origin, str], ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One value, or the part of a list that has one origin. `value` None: there is none, and nobody says that there should
    be. `over`: what it won over, the nearest first."""

    group: str
    name: str
    value: str | int | tuple[str, ...] | None
    origin: Origin | None = None
    over: Over = ()


@dataclass(frozen=True, slots=True)
class Field:
    """How one value is shown. `key`: its name among the notes; `each`: it is a list, and `spell` is for its entries."""

    group: str
    name: str
    key: str
    get: str
    spell: Callable[[Any], str | int] = spelling.plainly
    each: bool = False
    #: Not worth a line where nobody says anything of it.
    quiet: bool = False


_COUNT: Callable[[Any], int] = int

FIELDS = (
    Field("address", "endpoints", "endpoints", "endpoints", spelling.endpoint, each=True),
    Field("address", "base path", "basePath", "base_path"),
    Field("address", "allowed CIDRs", "allowedCIDRs", "allowed_cidrs", each=True),
    Field("address", "DNS refresh", "dns.refreshRate", "dns.refresh", spelling.duration),
    Field("address", "DNS family", "dns.lookupFamily", "dns.family", quiet=True),
    Field("address", "health check", "healthCheck", "health_check", spelling.check),
    Field("TLS", "mode", "tls", "tls", spelling.switch),
    Field("TLS", "roots", "tls.roots", "tls.roots", spelling.roots),
    Field("TLS", "server name", "tls.serverName", "tls.server_name"),
    Field("TLS", "alt names", "tls.subjectAltNames", "tls.subject_alt_names", spelling.alt_name, each=True),
    Field("TLS", "certificate", "tls.clientCertificate", "tls.client_certificate", spelling.certificate),
    Field("stripped", "headers", "strip.headers", "strip_request_headers", each=True),
    Field("stripped", "query", "strip.query", "strip_query", each=True),
    Field("stripped", "cookies", "strip.cookies", "strip_cookies", each=True),
    Field("timeouts", "request", "timeouts.request", "timeouts.request", spelling.duration),
    Field("timeouts", "connect", "timeouts.connect", "timeouts.connect", spelling.duration),
    Field("timeouts", "stream idle", "timeouts.streamIdle", "timeouts.stream_idle", spelling.duration),
    Field("streams", "request", "streams.request", "stream_timeouts.request", spelling.duration),
    Field("streams", "connect", "streams.connect", "stream_timeouts.connect", spelling.duration),
    Field("streams", "stream idle", "streams.streamIdle", "stream_timeouts.stream_idle", spelling.duration),
    Field("retries", "attempts", "retries.attempts", "retry.attempts", _COUNT),
    Field("retries", "triggers", "retries.triggers", "retry.triggers", each=True),
    Field("retries", "status codes", "retries.statuses", "retry.statuses", _COUNT, each=True),
    Field("retries", "methods", "retries.methods", "retry.methods", each=True),
    Field("retries", "try timeout", "retries.perTryTimeout", "retry.per_try_timeout", spelling.duration),
    Field("retries", "back-off base", "retries.firstWait", "retry.back_off_base", spelling.duration),
    Field("retries", "back-off max", "retries.longestWait", "retry.back_off_max", spelling.duration),
    Field("retries", "reset headers", "retries.resetHeaders", "retry.reset_headers", spelling.reset_header, each=True),
    Field("retries", "body hint", "retries.bodyHint", "retry.body_hint"),
    Field("retries", "assumed wait", "retries.assumedWait", "retry.assumed_wait", spelling.duration),
    Field("retries", "longest reset", "retries.longestHint", "retry.hint_max", spelling.duration),
    Field("retries", "on exceed", "retries.onExceed", "retry.on_exceed"),
    Field("retries", "client counts", "retries.clientCounts", "retry.client_count_headers", each=True, quiet=True),
    Field("retries", "marks", "retries.marks", "retry.marks", spelling.mark, each=True),
    Field("breaker", "consecutive", "breaker.consecutiveFailures", "breaker.consecutive", _COUNT),
    Field("breaker", "failure rate", "breaker.failureRate", "breaker.rate.percent", spelling.percent),
    Field("breaker", "window", "breaker.samplingWindow", "breaker.rate.window", spelling.duration),
    Field("breaker", "min requests", "breaker.minimumRequests", "breaker.rate.minimum", _COUNT),
    Field("breaker", "error codes", "breaker.failures", "breaker.failures", spelling.ranges),
    Field("breaker", "break", "breaker.breakDuration", "breaker.break_duration", spelling.duration),
    Field("breaker", "max break", "breaker.maxBreakDuration", "breaker.max_break_duration", spelling.duration),
    Field("breaker", "half-open", "breaker.trials", "breaker.trials", _COUNT),
    Field("breaker", "max connects", "breaker.maxConnections", "ceilings.connections", _COUNT),
    Field("breaker", "max pending", "breaker.maxPendingRequests", "ceilings.pending", _COUNT),
    Field("breaker", "max parallel", "breaker.maxParallelRequests", "ceilings.requests", _COUNT),
    Field("breaker", "max retries", "breaker.maxParallelRetries", "ceilings.retries", _COUNT),
    Field("headers", "remove", "headers.request.remove", "request_headers.remove", each=True),
    Field("headers", "set", "headers.request.set", "request_headers.set", spelling.pair, each=True),
    Field("headers", "add", "headers.request.add", "request_headers.add", spelling.pair, each=True),
    Field("answers", "remove", "headers.response.remove", "response_headers.remove", each=True),
    Field("answers", "set", "headers.response.set", "response_headers.set", spelling.pair, each=True),
    Field("answers", "add", "headers.response.add", "response_headers.add", spelling.pair, each=True),
    Field("calls", "max body", "maxRequestBody", "max_request_body", spelling.size),
    Field("calls", "max head", "maxRequestHead", "max_request_head", spelling.size),
    Field("calls", "upgrades", "upgrades", "upgrades", each=True),
)
#: The order in which they are shown.
GROUPS = (
    "address",
    "TLS",
    "credentials",
    "stripped",
    "timeouts",
    "streams",
    "retries",
    "breaker",
    "limits",
    "headers",
    "answers",
    "calls",
)


def rows(section: Section, notes: Notes) -> list[Row]:
    """Every value of a section that there is, in the order of GROUPS."""
    found = [
        *_policy(section, notes, "retries", "RetryPolicy"),
        *_policy(section, notes, "breaker", "CircuitBreaker"),
        *_plain(section, notes),
        *_credentials(section, notes),
        *_limits(section, notes),
    ]
    return sorted(found, key=lambda row: GROUPS.index(row.group))


def _policy(section: Section, notes: Notes, group: str, kind: str) -> Iterator[Row]:
    contest = notes.contests.get((section.name, kind))
    if contest is None:
        yield Row(group, "policy", f"none: no {kind} is attached", Origin())
        return
    # One that is attached twice does not win over itself.
    losers = [each for each in contest.losers if each.policy.ref != contest.winner.policy.ref]
    over = tuple((Origin(each.policy.ref), attachment(each)) for each in losers)
    policy = Origin(contest.winner.policy.ref)
    yield Row(group, "policy", attachment(contest.winner), policy, over)
    if kind == "RetryPolicy" and section.retry is None:
        # It is not to be repeated, or there is no time for it, which its verdict tells.
        (attempts,) = notes.of(section.name, "retries.attempts")
        yield Row(group, "attempts", "none: there is no time for any" if attempts.value else 0, policy)


def attachment(nearest: Nearest[Any]) -> str:
    """What a policy is attached to, seen from the upstream."""
    return (
        f"on section {nearest.section}" if nearest.section else "on the upstream" if nearest.own else "on the gateway"
    )


def _plain(section: Section, notes: Notes) -> Iterator[Row]:
    for field in FIELDS:
        value = _get(section, field.get)
        noted = notes.of(section.name, field.key)
        if field.group == "retries" and section.retry is None:
            continue
        if field.quiet and noted and noted[0].origin == Origin():
            continue
        if value is None or value in ((), ""):
            yield from _nothing(field, noted)
        elif len(noted) > 1:
            for part in noted:
                entries = tuple(each for each in value if each in part.value)
                if entries:
                    yield Row(field.group, field.name, _spelled(field, entries), part.origin)
        else:
            origin, over = (noted[0].origin, _over(field, noted[0])) if noted else (None, ())
            yield Row(field.group, field.name, _spelled(field, value), origin, over)


def _nothing(field: Field, noted: tuple[Noted, ...]) -> Iterator[Row]:
    """Somebody may have said that there shall be none."""
    if noted:
        said, over = _spelled(field, noted[0].value), _over(field, noted[0])
        if said or over:
            yield Row(field.group, field.name, said or "none", noted[0].origin, over)


def _get(section: Section, path: str) -> Any:
    value: Any = section
    for name in path.split("."):
        value = getattr(value, name) if value is not None else None
    return value


def _spelled(field: Field, value: Any) -> str | int | tuple[str, ...]:
    if field.each:
        return tuple(str(field.spell(each)) for each in value)
    return field.spell(value)


def _over(field: Field, noted: Noted) -> Over:
    return _others(noted, lambda value: spelling.plainly(_spelled(field, value)))


def _others(noted: Noted, spell: Callable[[Any], str]) -> Over:
    """What was won over, where that was something else."""
    found = ((origin, spell(value)) for origin, value in noted.over)
    return tuple((origin, text) for origin, text in found if text and text != spell(noted.value))


def _credentials(section: Section, notes: Notes) -> Iterator[Row]:
    for each in section.credentials:
        name, _, companion = each.name.partition("/")
        (where,) = notes.of(section.name, f"credentials.{name}.place")
        if companion:
            yield Row("credentials", f"{name} also", spelling.place(each), where.origin)
            continue
        (said,) = notes.of(section.name, f"credentials.{name}")
        yield Row("credentials", name, spelling.secret(each), said.origin, _others(said, str))
        yield Row("credentials", f"{name} in", spelling.place(each), where.origin, _others(where, str))


def _limits(section: Section, notes: Notes) -> Iterator[Row]:
    origins = {each.value.id: each.origin for each in notes.of(section.name, "limits")}
    for each in section.limits:
        rule, _, target = each.id.rpartition("@")
        whose = "this section's own" if target.count("/") > 1 else "shared by all sections"
        yield Row("limits", rule.rpartition("/")[2], f"{spelling.limit(each)}; {whose}", origins.get(each.id))
