"""What compile found about the objects of a folder, at the lines where it was said. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic.alias_generators import to_snake

from headgate.api.attachment import PolicySpec
from headgate.api.conditions import ConditionStatus, Reason
from headgate.api.credential import SecretKeyRef
from headgate.api.meta import Kind
from headgate.files.folder import World
from headgate.files.objects import Item
from headgate.files.place import Problem, in_order
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken
from headgate.model.verdict import Finding, Path, Plan, TargetVerdict, Verdict, spell


def problems(world: World, plan: Plan) -> tuple[Problem, ...]:
    """Everything to mend: what was wrong when the files were read, and what compile found in the rest."""
    found = list(world.problems)
    told = {problem.ref for problem in world.problems}
    for ref, verdict in plan.verdicts.items():
        item = world.items.get(ref)
        if item is not None and not isinstance(item.content, Broken):  # what is broken was told when it was read
            found += [
                Problem(item.where.of(each.path), each.message + _hint(item, each), ref, spell(each.path), each.reason)
                for each in _findings(item, verdict)
                if each.reason is not Reason.SECRET_NOT_FOUND or _secret(item, each) not in told
            ]
    return in_order(found)


def _findings(item: Item, verdict: Verdict) -> Iterator[Finding]:
    yield from verdict.findings
    told = {finding.message for finding in verdict.findings}
    for target in verdict.targets:
        judgement = target.accepted
        if judgement.status is ConditionStatus.FALSE and judgement.message not in told:
            yield Finding(_target_path(item, target), judgement.reason, judgement.message)
            told.add(judgement.message)
    if verdict.accepted.status is ConditionStatus.FALSE and not told:
        path: Path = ("spec", "targetSelectors") if isinstance(_spec(item), PolicySpec) else ()
        yield Finding(path, verdict.accepted.reason, verdict.accepted.message)


def _hint(item: Item, finding: Finding) -> str:
    """What a folder has besides files: a key may come from the environment."""
    if finding.reason not in (Reason.SECRET_NOT_FOUND, Reason.SECRET_KEY_NOT_FOUND):
        return ""
    wanted = _wanted(item, finding)
    if not isinstance(wanted, SecretKeyRef):
        return ""
    return f"; or give it with --secret {item.ref.namespace}/{wanted.name}/{wanted.key}=env:VARIABLE"


def _secret(item: Item, finding: Finding) -> ObjectRef | None:
    """The Secret that a finding misses."""
    name = getattr(_wanted(item, finding), "name", None)
    return ObjectRef("Secret", item.ref.namespace, name) if isinstance(name, str) else None


def _wanted(item: Item, finding: Finding) -> object:
    """What stands at the finding's path."""
    wanted: object = item.content
    for step in finding.path:
        wanted = wanted[step] if isinstance(wanted, tuple) and isinstance(step, int) else _field(wanted, str(step))
    return wanted


def _field(model: object, name: str) -> object:
    return getattr(model, to_snake(name), None)


def _spec(item: Item) -> object:
    return getattr(item.content, "spec", None) if isinstance(item.content, Kind) else None


def _target_path(item: Item, target: TargetVerdict) -> Path:
    spec = _spec(item)
    wanted = (target.target.kind, target.target.name, target.section)
    for index, ref in enumerate(spec.target_refs if isinstance(spec, PolicySpec) else ()):
        if (ref.kind, ref.name, ref.section_name) == wanted:
            return ("spec", "targetRefs", index)
    return ("spec", "targetSelectors")
