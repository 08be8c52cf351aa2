"""Status documents: verdicts joined with what is observed: what the proxies acknowledged, how the sections do, what probes
say, which objects could not be made, which Secrets may not be read.

Pure. At ten thousand objects of which one changed, one document is made: the others are last time's, the same objects,
so that a writer sees by identity that there is nothing to write.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TypeVar

from headgate.compile.documents import Document, Heard, Inputs, document
from headgate.compile.wellbeing import of_upstream
from headgate.model.observations import Observed
from headgate.model.overlay import differing, replaced, same_keys
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan, Verdict

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Status:
    """An object's status document. One that was read from somewhere (`Status(document)`) serves as `previous` too."""

    document: Document
    inputs: Inputs | None = None


@dataclass(slots=True)
class StatusMemo:
    """What the last call was given, and gave. It belongs to one caller and thread; it changes how long a call takes, and
    never what comes out."""

    plan: Plan | None = field(default=None, repr=False)
    observed: Observed | None = field(default=None, repr=False)
    asked: _Asked | None = None
    result: Mapping[ObjectRef, Status] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the acknowledgements say of the whole, asked once: they are a state of others' that goes on."""

    connected: Mapping[str, int]
    told: frozenset[ObjectRef]
    unheard: tuple[str, ...]


def statuses(
    plan: Plan,
    observed: Observed,
    previous: Mapping[ObjectRef, Status],
    now: datetime,
    memo: StatusMemo | None = None,
) -> Mapping[ObjectRef, Status]:
    """The status of every object that the Plan has a verdict on. An unchanged one is the very object in `previous`.

    `memo` is for a caller that gives as `previous` what it got the last time: then only what may have changed is looked
    at. What `observed` has must not be changed afterwards.
    """
    memo = memo if memo is not None else StatusMemo()
    acks = observed.acks
    asked = _Asked(
        {key: acks.connected(key) for key in plan.gateways},
        frozenset(ref for key in plan.gateways for ref in acks.told(key)),
        acks.unheard(),
    )
    touched = _touched(plan, observed, asked, memo) if memo.result is previous else None
    made = {}
    for ref in plan.verdicts if touched is None else touched:
        before = previous.get(ref)
        status = _status(plan, plan.verdicts[ref], observed, asked, before, now)
        if touched is None or status is not before:
            made[ref] = status
    result = MappingProxyType(made) if touched is None else replaced(previous, made)
    memo.plan, memo.observed, memo.asked, memo.result = plan, observed, asked, result
    return result


def _touched(plan: Plan, observed: Observed, asked: _Asked, memo: StatusMemo) -> set[ObjectRef] | None:
    """The objects whose status may be another one than last time's; None where that may be all."""
    before, then, said = memo.plan, memo.observed, memo.asked
    if before is None or then is None or said is None or not same_keys(before.verdicts, plan.verdicts):
        return None
    if (said.connected, said.unheard) != (asked.connected, asked.unheard):
        return None
    touched = set(asked.told | said.told)
    touched.update(differing(before.verdicts, plan.verdicts))
    for key, gateway in plan.gateways.items():
        touched.add(gateway.ref)
        one = before.gateways[key].upstreams if key in before.gateways else {}
        for name in differing(one, gateway.upstreams):
            touched.add((gateway.upstreams.get(name) or one[name]).ref)
    sections = _differing(then.reports, observed.reports)
    touched.update(ObjectRef("UpstreamService", *section.split("/")[:2]) for _, section in sections)
    probed = _differing(then.probes, observed.probes)
    touched.update(ObjectRef("UpstreamService", *key.split("/", 1)) for key in probed)
    touched.update(_differing(then.objects, observed.objects))
    if unreadable := _differing(then.unreadable, observed.unreadable):
        touched.update(ref for ref, verdict in plan.verdicts.items() if _about(verdict, unreadable))
    return {ref for ref in touched if ref in plan.verdicts}


def _differing(one: Mapping[K, object], other: Mapping[K, object]) -> set[K]:
    """The keys under which two mappings have different things."""
    return {key for key in differing(one, other) if one.get(key) != other.get(key)}


def _about(verdict: Verdict, refs: Container[ObjectRef]) -> bool:
    return any(each.about in refs for each in verdict.unresolved)


def _status(
    plan: Plan, verdict: Verdict, observed: Observed, asked: _Asked, before: Status | None, now: datetime
) -> Status:
    """One object's status; `before` if that says the same."""
    heard, known = _heard(plan, verdict, observed), before.inputs if before is not None else None
    # Judging takes the time: not where what is heard is what was heard.
    same = known is not None and known.heard == heard
    well = known.wellbeing if known is not None and same else of_upstream(*heard) if heard is not None else None
    gateway = plan.gateways.get(verdict.ref.key) if verdict.ref.kind == "IntegrationGateway" else None
    inputs = Inputs(
        verdict=verdict,
        proxies=tuple([(asked.connected[key], observed.acks.of(key, verdict.ref)) for key in verdict.gateways]),
        unheard=asked.unheard,
        objects=observed.objects.get(verdict.ref, ()),
        unreadable=_unreadable(verdict, observed),
        attached=len(gateway.upstreams) if gateway is not None else 0,
        wellbeing=well,
        heard=heard,
    )
    if before is None:
        return Status(document(inputs, None, now), inputs)
    return before if known == inputs else Status(document(inputs, before.document, now), inputs)


def _unreadable(verdict: Verdict, observed: Observed) -> tuple[tuple[ObjectRef, str], ...]:
    """What the object refers to and may not be read, with why."""
    why = observed.unreadable
    missed = dict.fromkeys(each.about for each in verdict.unresolved) if why else {}
    return tuple([(ref, why[ref]) for ref in missed if ref is not None and ref in why])


def _heard(plan: Plan, verdict: Verdict, observed: Observed) -> Heard | None:
    """Of an upstream that is served."""
    if verdict.ref.kind != "UpstreamService" or not verdict.gateways:
        return None
    gateway = verdict.gateways[0]
    upstream = plan.gateways[gateway].upstreams[verdict.ref.key]
    said = tuple([observed.reports.get((gateway, section.id), ()) for section in upstream.sections])
    return upstream, said, observed.probes.get(verdict.ref.key)
