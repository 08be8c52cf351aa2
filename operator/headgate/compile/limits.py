"""Rate limits: every RateLimit that applies to a section, on the section, its upstream or its gateway."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.api.conditions import Reason
from headgate.api.ratelimit import ClientSelector, LimitPath, LimitRule, RateLimitSpec
from headgate.compile.draft import Context, Draft
from headgate.compile.findings import Findings
from headgate.compile.origins import Noted, Origin
from headgate.envoy.automaton import RegexError, automaton
from headgate.model.matches import HeaderMatch, HeaderMatchKind, PathKind, PathMatch, RequestMatch
from headgate.model.plan import Limit
from headgate.model.verdict import Path


def check(spec: RateLimitSpec, findings: Findings) -> None:
    """What is wrong with the policy wherever it is attached."""
    findings.unique(("spec", "rules"), [rule.name for rule in spec.rules_], "a rule")
    for index, rule in enumerate(spec.rules_):
        _limit(rule, "", ("spec", "rules", index), findings)


def fill(context: Context, draft: Draft) -> None:
    """Set every section's limits. Those of a whole upstream (its own or its gateway's) carry the same id in each of its
    sections, and so share a budget."""
    for section in draft.sections.values():
        limits: dict[str, Limit] = {}
        sink, noted = context.noting(section.name), []
        for policy, attached_to in context.attached.of(RateLimitSpec).every(section.name):
            target = f"{context.ref.key}/{attached_to}" if attached_to else context.ref.key
            for rule in policy.spec.rules_:
                name = f"{policy.ref.key}/{rule.name}@{target}"
                limits[name] = _limit(rule, name, (), Findings())
                if sink is not None:
                    noted.append(Noted(limits[name], Origin(policy.ref)))
            section.owners.add(policy.ref)
        if sink is not None:
            sink.note("limits", *noted)
        section.limits = tuple(limit for _, limit in sorted(limits.items()))


def _limit(rule: LimitRule, name: str, path: Path, findings: Findings) -> Limit:
    interval = findings.duration((*path, "limit", "interval"), rule.limit.interval, 1_000, least=100)
    selectors = tuple(
        _selector(selector, (*path, "clientSelectors", index), findings)
        for index, selector in enumerate(rule.client_selectors)
    )
    burst = rule.limit.requests if rule.burst is None else rule.burst
    return Limit(name, rule.limit.requests, interval, burst, tuple(dict.fromkeys(selectors)))


def _selector(selector: ClientSelector, path: Path, findings: Findings) -> RequestMatch:
    return RequestMatch(
        path=_path(selector.path, (*path, "path", "value"), findings) if selector.path else None,
        methods=tuple(sorted(set(selector.methods))),
        headers=tuple(_headers(selector, path, findings)),
    )


def _headers(selector: ClientSelector, path: Path, findings: Findings) -> Iterator[HeaderMatch]:
    for index, header in enumerate(selector.headers):
        kind = HeaderMatchKind(header.type or HeaderMatchKind.EXACT)
        value = header.value or ""
        if kind is HeaderMatchKind.REGEX:
            _check_regex((*path, "headers", index, "value"), value, findings)
        yield HeaderMatch(header.name.lower(), kind, value)


def _path(path: LimitPath, at: Path, findings: Findings) -> PathMatch:
    match path.type:
        case "RegularExpression":
            _check_regex(at, path.value, findings)
            return PathMatch(PathKind.REGEX, path.value)
        case "Exact":
            return PathMatch(PathKind.EXACT, path.value)
        case "PathPrefix" | None:
            if not path.value.startswith("/"):
                findings.reject(at, "a path begins with /: put one before it")
            return PathMatch(PathKind.PREFIX, path.value.rstrip("/") or "/")


def _check_regex(path: Path, pattern: str, findings: Findings) -> None:
    """What the proxies' own matcher of limits takes is narrower than RE2."""
    try:
        automaton(pattern)
    except RegexError as error:
        findings.reject(path, f"{pattern!r} can't be used here: {error}", Reason.INVALID_REGEX)
