"""The commonest change by far, at its own price: upstreams were declared anew, and nothing but themselves has changed.

Then the Plan is the last one with these few entries replaced, and nobody looks at the other ten thousand. Whether that is
so is asked of what came out, not of what was said; any doubt means None, and the whole is put together as ever. Called by
`world`, which also says what the memo must hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from headgate.compile import verdicts
from headgate.compile.memo import Memo, Slot
from headgate.compile.outcome import Outcome
from headgate.model.overlay import differing, replaced, same_keys
from headgate.model.plan import Gateway, Upstream
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Snapshot
from headgate.model.verdict import Plan

#: More than this many at once are put together with everything else.
FEW = 256


@dataclass(frozen=True, slots=True)
class Touched:
    """The upstreams that were declared anew, as they came out; with the slots of their versions."""

    outcomes: Mapping[str, Outcome]
    current: Mapping[str, Slot]
    older: Mapping[str, Slot]


def touched(snapshot: Snapshot, memo: Memo) -> list[str] | None:
    """The upstreams that are other objects than in the last Snapshot; None if they are many, or were added or removed."""
    before = memo.snapshot.upstreams if memo.snapshot else {}
    if before is snapshot.upstreams:
        return []
    if not same_keys(before, snapshot.upstreams):
        return None
    found = differing(before, snapshot.upstreams)
    return sorted(found) if len(found) <= FEW else None


def patched(snapshot: Snapshot, memo: Memo, new: Touched) -> Plan | None:
    """The last Plan with what has changed inside of these; the memo then holds this run. None if more depends on it."""
    plan, gateways = memo.plan, memo.gateways
    if plan is None or gateways is None or not all(_contained(key, memo, new) for key in new.outcomes):
        return None
    judged = {}
    good: dict[ObjectRef, str] = {}
    for outcome in new.outcomes.values():
        ref = outcome.declared.ref
        judged[ref] = verdicts.of_upstream(outcome, gateways, snapshot.settings, memo.verdicts.get(ref))
        if outcome.in_force is outcome.current:
            good[ref] = outcome.declared.revision
    result = Plan(
        gateways=_gateways(plan.gateways, new.outcomes),
        verdicts=replaced(plan.verdicts, {ref: verdict for ref, (_, verdict) in judged.items()}),
        good=replaced(plan.good, good),
        references=plan.references,
    )
    memo.snapshot, memo.plan = snapshot, result
    memo.verdicts.update(judged)
    memo.outcomes.update(new.outcomes)
    memo.current.update(new.current)
    memo.older.update(new.older)
    return result


def _contained(key: str, memo: Memo, new: Touched) -> bool:
    """Whether the upstream differs in nothing that is put together with others: gateway, secrets, policies, sections."""
    before, now = memo.outcomes[key], new.outcomes[key]
    one, other = before.in_force, now.in_force
    if one is None or other is None:
        return False
    return (
        before.gateway == now.gateway
        and (one is before.current) == (other is now.current)
        and (one.materials, one.used, one.outdated) == (other.materials, other.used, other.outdated)
        and (one.policies, one.misfits, one.sections) == (other.policies, other.misfits, other.sections)
        and _references(memo.current.get(key)) == _references(new.current.get(key))
        and _references(memo.older.get(key)) == _references(new.older.get(key))
    )


def _references(slot: Slot | None) -> tuple[ObjectRef, ...] | None:
    return slot.references if slot is not None else None


def _gateways(before: Mapping[str, Gateway], outcomes: Mapping[str, Outcome]) -> Mapping[str, Gateway]:
    changed: dict[str, dict[str, Upstream]] = {}
    for key, outcome in outcomes.items():
        version = outcome.in_force
        if version is None or version.upstream is None:
            raise AssertionError("what is not served is not contained")
        if before[outcome.gateway].upstreams[key] is not version.upstream:
            changed.setdefault(outcome.gateway, {})[key] = version.upstream
    return replaced(
        before,
        {key: replace(before[key], upstreams=replaced(before[key].upstreams, found)) for key, found in changed.items()},
    )
