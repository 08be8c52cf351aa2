"""Why one upstream is as it is: each section's values with their origins, the policies that count and those that lost, and
what is wrong. Pure; `cli` shows it.

Everything that is said here was decided elsewhere: values by the Plan's sections, origins by the notes of the features that
chose them, policies by attachment and verdicts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from headgate.api.conditions import ConditionStatus
from headgate.compile import policies as policies_
from headgate.compile import spelling
from headgate.compile.effective import GROUPS, Row, attachment, rows
from headgate.compile.origins import Notes
from headgate.compile.sections import DEFAULT
from headgate.compile.world import Examined, examine
from headgate.model.matches import RequestMatch
from headgate.model.plan import Route
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken, Declared, Snapshot
from headgate.model.verdict import Finding, Judgement, TargetVerdict, Verdict
from headgate.providers.registry import BUILT_IN, Profiles

#: Why a policy does not count where another one stands between it and the section.
NEARER = "Nearer"
#: How alike a name must be to be taken for a slip of the pen.
ALIKE = 0.6
#: What there is of a group that comes to nothing.
_SUMMARY = frozenset({("retries", "policy"), ("retries", "attempts"), ("breaker", "policy")})


class Shown(StrEnum):
    """Which version the values are of."""

    #: As it is declared now, and fit to be served.
    CURRENT = "Current"
    #: The last one that was good: the one declared now can't be served.
    LAST_GOOD = "LastGood"
    #: As it is declared now, though it can't be served, and nothing else is.
    UNSERVED = "Unserved"
    #: It can't be read, and there is nothing else to show.
    UNREADABLE = "Unreadable"


@dataclass(frozen=True, slots=True)
class Problem:
    """A condition that is not met, in the words of the verdict; `parts`: one by one, where it is about several things."""

    ref: ObjectRef
    condition: str
    status: ConditionStatus
    reason: str
    message: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """One section. `matches` and `streams`: what leads to it."""

    name: str
    matches: tuple[str, ...]
    streams: tuple[str, ...]
    rows: tuple[Row, ...]

    def beyond(self, other: Part) -> tuple[Row, ...]:
        """What is not as in the other: the rows that differ, and those that only the other has, as none."""
        own, others = _by_name(self.rows), _by_name(other.rows)
        differs = {key for key, found in own.items() if _content(found) != _content(others.get(key, ()))}
        told = {group for group, name in own if (group, name) not in _SUMMARY}
        lost = [Row(group, name, "none") for group, name in others if (group, name) not in own and group in told]
        found = [*(row for row in self.rows if (row.group, row.name) in differs), *lost]
        return tuple(sorted(found, key=lambda row: GROUPS.index(row.group)))


@dataclass(frozen=True, slots=True)
class Stand:
    """How a policy stands towards the upstream. `sections`: where it counts. `why`: why it does not everywhere, in one word
    and in a sentence."""

    policy: ObjectRef
    on: str
    sections: tuple[str, ...]
    everywhere: bool
    why: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """One upstream. `served`: the generation that the values are of. `gateway` is empty where there is none. `probe`: what
    is asked of the provider, and how often."""

    ref: ObjectRef
    shown: Shown
    generation: int
    served: int
    provider: str = ""
    gateway: str = ""
    address: str = ""
    probe: str = ""
    problems: tuple[Problem, ...] = ()
    sections: tuple[Part, ...] = ()
    policies: tuple[Stand, ...] = ()


def explain(snapshot: Snapshot, key: str, profiles: Profiles = BUILT_IN) -> Explanation:
    """Explain one upstream (`namespace/name`). KeyError if it isn't declared."""
    found = examine(snapshot, key, profiles)
    outcome, notes = found.outcome, found.notes or Notes()
    ref = outcome.declared.ref
    verdict = found.verdicts[ref]
    version = outcome.declared.last_good if outcome.in_force is outcome.older else outcome.declared.current
    gateway = _gateway(found, outcome.declared)
    related = list(_related(snapshot, found, ref, gateway))
    return Explanation(
        ref=ref,
        shown=_shown(found),
        generation=verdict.generation,
        served=version.metadata.generation if version is not None and not isinstance(version, Broken) else 0,
        provider=verdict.provider,
        gateway=gateway.key if gateway else "",
        address=verdict.address,
        probe=_probe(found),
        problems=tuple(_problems(found, verdict, gateway, related)),
        sections=tuple(
            Part(each.name, *_routes(notes.routes, each.name), tuple(rows(each, notes))) for each in notes.sections
        ),
        policies=tuple(_stand(each, targets, notes) for each, targets in related),
    )


def _shown(found: Examined) -> Shown:
    outcome = found.outcome
    if outcome.in_force is not None:
        return Shown.CURRENT if outcome.in_force is outcome.current else Shown.LAST_GOOD
    return Shown.UNREADABLE if found.notes is None else Shown.UNSERVED


def _probe(found: Examined) -> str:
    """In the words of a status; empty where no version can be served."""
    version = found.outcome.in_force
    if version is None or version.upstream is None:
        return ""
    probe = version.upstream.probe
    if probe is None:
        return "none"
    where = "" if probe.section == DEFAULT else f", as section {probe.section}"
    # The query may say more than is to be shown.
    return f"{probe.method} {probe.path.partition('?')[0]} every {spelling.duration(probe.interval)}{where}"


def _gateway(found: Examined, declared: Declared[Any]) -> ObjectRef | None:
    """The gateway that it is on, or is meant for."""
    key = found.outcome.gateway
    if not key and not isinstance(declared.current, Broken):
        wanted = declared.current.spec.gateway_ref
        key = f"{wanted.namespace or declared.ref.namespace}/{wanted.name}" if wanted else found.gateways.default or ""
    return ObjectRef("IntegrationGateway", *key.split("/", 1)) if key else None


def _routes(routes: tuple[Route, ...], section: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    own = [each for each in routes if each.section == section and each.match != RequestMatch()]
    return (
        tuple(spelling.match(each.match) for each in own if not each.streaming),
        tuple(spelling.match(each.match) for each in own if each.streaming),
    )


def _related(
    snapshot: Snapshot, found: Examined, upstream: ObjectRef, gateway: ObjectRef | None
) -> Iterator[tuple[Verdict, tuple[TargetVerdict, ...]]]:
    """The policies that are, or would be, on the upstream or its gateway, each with those of its targets; those that miss
    it by a letter or two; and those in its namespace of which nobody can tell."""
    for kind, of_kind in found.policies.by_kind.items():
        for key in of_kind.outcomes:
            declared = snapshot.policies[kind][key]
            verdict = found.verdicts[declared.ref]
            targets = tuple(
                each
                for each in verdict.targets
                if each.target in (upstream, gateway)
                or (each.target.key not in snapshot.upstreams and _misspells(each.target, upstream))
            )
            if targets:
                yield verdict, targets
            elif not verdict.targets and (
                any(ref in (upstream, gateway) for ref, _ in policies_.aims(snapshot, declared))
                or (isinstance(declared.current, Broken) and declared.ref.namespace == upstream.namespace)
            ):
                yield verdict, ()


def _misspells(target: ObjectRef, upstream: ObjectRef) -> bool:
    near = target.kind == upstream.kind and target.namespace == upstream.namespace
    return near and difflib.SequenceMatcher(None, target.name, upstream.name).ratio() >= ALIKE


def _problems(
    found: Examined,
    verdict: Verdict,
    gateway: ObjectRef | None,
    related: list[tuple[Verdict, tuple[TargetVerdict, ...]]],
) -> Iterator[Problem]:
    current = found.outcome.current
    yield from _wrong(verdict.ref, "Accepted", verdict.accepted, current.invalid if current else ())
    yield from _wrong(verdict.ref, "ResolvedRefs", verdict.resolved, current.unresolved if current else ())
    of_gateway = found.verdicts.get(gateway) if gateway else None
    if of_gateway is not None:
        yield from _wrong(of_gateway.ref, "Accepted", of_gateway.accepted)
        yield from _wrong(of_gateway.ref, "ResolvedRefs", of_gateway.resolved)
    for policy, targets in related:
        amiss = [each.accepted for each in targets if each.accepted.status is not ConditionStatus.TRUE]
        for judgement in dict.fromkeys(amiss or _own(policy)):
            yield from _wrong(policy.ref, "Accepted", judgement)


def _own(policy: Verdict) -> list[Judgement]:
    """What is said of the policy itself, if it isn't said of a target."""
    said = {each.accepted.message for each in policy.targets}
    return [] if policy.accepted.message in said else [policy.accepted]


def _wrong(ref: ObjectRef, condition: str, judgement: Judgement, findings: Sequence[Finding] = ()) -> Iterator[Problem]:
    if judgement.status is not ConditionStatus.TRUE:
        parts = tuple(dict.fromkeys(map(str, findings)))
        several = parts if len(parts) > 1 else ()
        yield Problem(ref, condition, judgement.status, judgement.reason.value, judgement.message, several)


def _stand(policy: Verdict, targets: tuple[TargetVerdict, ...], notes: Notes) -> Stand:
    kind, own = policy.ref.kind, [each.accepted for each in targets] or [policy.accepted]
    why = [(each.reason.value, each.message) for each in own if each.message]
    counts = []
    for section in notes.sections:
        contest = notes.contests.get((section.name, kind))
        if contest is None:
            if any(each.origin.ref == policy.ref for each in notes.of(section.name, "limits")):
                counts.append(section.name)
        elif contest.winner.policy.ref == policy.ref:
            counts.append(section.name)
        elif any(each.policy.ref == policy.ref for each in contest.losers):
            why.append((NEARER, f"{contest.winner.policy.ref} is nearer, {attachment(contest.winner)}"))
    on = ", ".join(f"{each.target}{f', section {each.section}' if each.section else ''}" for each in targets)
    everywhere = bool(counts) and len(counts) == len(notes.sections)
    return Stand(policy.ref, on, tuple(counts), everywhere, tuple(dict.fromkeys(why)))


def _by_name(found: tuple[Row, ...]) -> dict[tuple[str, str], tuple[Row, ...]]:
    by_name: dict[tuple[str, str], tuple[Row, ...]] = {}
    for row in found:
        by_name[row.group, row.name] = (*by_name.get((row.group, row.name), ()), row)
    return by_name


def _content(found: tuple[Row, ...]) -> list[tuple[object, ObjectRef | None]]:
    """What tells rows apart: the values, and the object that each is from."""
    return [(row.value, row.origin.ref if row.origin else None) for row in found]
