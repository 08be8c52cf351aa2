"""What statuses say of objects, wherever they are kept: in a state directory, or in a cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headgate.api.conditions import ConditionStatus, ConditionType
from headgate.cli.table import age
from headgate.compile.explanation import Explanation, Problem
from headgate.model.refs import ObjectRef

Entry = Mapping[str, Any]
#: Why what compile is content with is not with the proxies.
_NOT_TAKEN = frozenset({"RejectedByProxy", "RenderFailed"})
_ORDER = [each.value for each in ConditionType]


def entries(found: Iterable[Any]) -> dict[ObjectRef, Entry]:
    """Documents by what they are of; what is none is left out."""
    known = {}
    for each in found:
        try:
            meta = each["metadata"]
            known[ObjectRef(each["kind"], meta["namespace"], meta["name"])] = each
        except (KeyError, TypeError):
            continue
    return known


@dataclass(frozen=True, slots=True)
class Said:
    """Objects with their statuses."""

    objects: Mapping[ObjectRef, Entry]

    def status(self, ref: ObjectRef) -> Entry:
        """Empty if there is none."""
        found = self.objects.get(ref, {}).get("status")
        return found if isinstance(found, Mapping) else {}

    def conditions(self, ref: ObjectRef) -> list[Entry]:
        """In the order in which they build on each other."""
        found = [each for each in self.status(ref).get("conditions", ()) if isinstance(each, Mapping)]
        return sorted(found, key=lambda each: _ORDER.index(each["type"]) if each.get("type") in _ORDER else 99)

    def condition(self, ref: ObjectRef, kind: str) -> Entry:
        """One of them; empty if nobody said it."""
        return next((each for each in self.conditions(ref) if each.get("type") == kind), {})

    def health(self, ref: ObjectRef) -> str:
        """In a word, and in a sentence where there is more to say."""
        health, message = self.status(ref).get("health", ""), self.condition(ref, "Healthy").get("message", "")
        return f"{health}: {message}" if message else str(health)

    def standing(self, ref: ObjectRef, now: datetime) -> tuple[tuple[str, str, str], ...]:
        """Each condition: its type, how it stands and since when, and why."""
        return tuple(
            (
                str(each.get("type", "")),
                f"{each.get('status', '')} for {age(str(each.get('lastTransitionTime', '')), now)}",
                str(each.get("reason", "")) if each.get("reason") != each.get("type") else "",
            )
            for each in self.conditions(ref)
        )

    def problems(self, found: Explanation, refs: Sequence[ObjectRef], *, fresh: bool) -> Iterator[Problem]:
        """In these words where they are of what is shown (`fresh`: they are not); of policies compile knows which targets
        are meant."""
        gateway = {ObjectRef("IntegrationGateway", *found.gateway.split("/", 1))} if found.gateway else set()
        own = {found.ref, *gateway}
        if fresh or found.ref not in self.objects:
            yield from found.problems
            return
        for ref in sorted(own, key=lambda each: each.kind, reverse=True):
            for kind in ("Accepted", "ResolvedRefs"):
                for problem in self._wrong(ref, kind):
                    # Compile says the same, and one by one.
                    yield next((each for each in found.problems if each.message == problem.message), problem)
        yield from (each for each in found.problems if each.ref not in own)
        for ref in refs:
            if ref not in own and self.condition(ref, "Programmed").get("reason") in _NOT_TAKEN:
                yield from self._wrong(ref, "Programmed")

    def _wrong(self, ref: ObjectRef, kind: str) -> Iterator[Problem]:
        found = self.condition(ref, kind)
        if found and found.get("status") != ConditionStatus.TRUE.value:
            status = ConditionStatus(found["status"])
            yield Problem(ref, kind, status, str(found.get("reason", "")), str(found.get("message", "")))


def refs_of(found: Explanation) -> list[ObjectRef]:
    """All objects that an explanation is made of."""
    gateway = [ObjectRef("IntegrationGateway", *found.gateway.split("/", 1))] if found.gateway else []
    return [found.ref, *gateway, *(each.policy for each in found.policies)]
