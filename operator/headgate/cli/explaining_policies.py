"""`headgate explain` of a policy: what it is attached to, and how it stands there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from headgate.api.conditions import ConditionStatus
from headgate.cli.explained import Piece
from headgate.cli.explaining import Question, pick, show, source, spelled
from headgate.cli.inputs import profiles
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.model.verdict import Judgement, Verdict


def command(kind: str, question: Question) -> None:
    """Print how the policy stands; Failure if there is none of the name."""
    world, _ = source(question)
    ref = pick(question, (each.ref for each in world.policies[kind].values()))
    verdict = compile_snapshot(world, Memo(), profiles()).verdicts[ref]
    if question.output == "text":
        show(_lines(verdict))
    else:
        print(spelled(_document(verdict), question.output), end="")


def _lines(verdict: Verdict) -> Iterator[list[Piece]]:
    yield [(str(verdict.ref), "strong")]
    yield [("  accepted   ", ""), _said(verdict.accepted)]
    for each in verdict.targets:
        where = f"{each.target}{f', section {each.section}' if each.section else ''}"
        yield [("  target     ", ""), (f"{where}: ", ""), _said(each.accepted)]
    for name in dict.fromkeys(each.target.name for each in verdict.targets if each.target.kind == "UpstreamService"):
        yield [("  values     ", ""), (f"headgate explain upstream {name} -n {verdict.ref.namespace}", "")]


def _said(judgement: Judgement) -> Piece:
    if judgement.status is ConditionStatus.TRUE:
        return "yes", "good"
    return (
        f"{'no' if judgement.status is ConditionStatus.FALSE else 'not known'}, {judgement.reason}: {judgement.message}",
        "bad",
    )


def _document(verdict: Verdict) -> dict[str, Any]:
    return {
        "kind": verdict.ref.kind,
        "namespace": verdict.ref.namespace,
        "name": verdict.ref.name,
        "generation": verdict.generation,
        "accepted": _judgement(verdict.accepted),
        "targets": [
            {"object": str(each.target), "section": each.section or "", "accepted": _judgement(each.accepted)}
            for each in verdict.targets
        ],
    }


def _judgement(found: Judgement) -> dict[str, str]:
    return {"status": found.status.value, "reason": found.reason.value, "message": found.message}
