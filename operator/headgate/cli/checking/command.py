"""`headgate check` as it runs: look, judge, wait and look again where asked, print, and end with a code."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headgate.cli.checking.evidence import Evidence
from headgate.cli.checking.findings import Finding, Mark, Section
from headgate.cli.checking.reading import read
from headgate.cli.checking.table import BEFORE, INSTALLED
from headgate.cli.connecting import Connection, ask
from headgate.cli.worlds import Cluster

_SIGNS = {
    Mark.GOOD: ("✔", "green"),
    Mark.WARNING: ("!", "yellow"),
    Mark.WRONG: ("✘", "red"),
    Mark.SKIPPED: ("-", "dim"),
}
#: Seconds between two looks.
_AGAIN = 2.0
#: Exit codes: something is wrong; nothing could be looked at.
WRONG, BLIND = 1, 2


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for. `wait`: seconds that things may take to become right. `output` is text or json."""

    cluster: Cluster
    namespace: str
    before: bool = False
    wait: float = 0.0
    output: str = "text"


@dataclass(frozen=True, slots=True)
class Result:
    """The findings of each check, by section and the check's name."""

    evidence: Evidence
    sections: tuple[tuple[str, tuple[tuple[str, tuple[Finding, ...]], ...]], ...]

    def findings(self) -> Iterator[Finding]:
        """All of them."""
        return (each for _, checks in self.sections for _, found in checks for each in found)

    @property
    def code(self) -> int:
        """The exit code: 0 where nothing is wrong."""
        if self.evidence.unreachable:
            return BLIND
        return WRONG if any(each.mark is Mark.WRONG for each in self.findings()) else 0


def command(question: Question) -> int:
    """Print what was found; the exit code."""
    result = ask(question.cluster, lambda connection: _until_right(connection, question))
    if question.output == "json":
        print(json.dumps(document(result), indent=2, ensure_ascii=False))
    else:
        show(result)
    return result.code


def judge(evidence: Evidence, table: Sequence[Section]) -> Result:
    """Run the checks. Of a cluster that can't be asked only the first section has anything to say."""
    table = table[:1] if evidence.unreachable else table
    return Result(
        evidence,
        tuple(
            (section.title, tuple((name, tuple(check(evidence))) for name, check in section.checks))
            for section in table
        ),
    )


async def _until_right(connection: Connection, question: Question) -> Result:
    deadline = time.monotonic() + question.wait
    while True:
        evidence = await read(connection, question.namespace, before=question.before)
        result = judge(evidence, BEFORE if question.before else INSTALLED)
        left = deadline - time.monotonic()
        if result.code == 0 or left <= 0:
            return result
        if sys.stderr.isatty():
            amiss = sum(each.mark is Mark.WRONG for each in result.findings())
            print(f"{amiss} wrong, waiting for {left:.0f} s more", file=sys.stderr)
        await asyncio.sleep(min(_AGAIN, left))


def show(result: Result) -> None:
    """For people, with colours where a terminal shows them."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for title, checks in result.sections:
        found = [each for _, every in checks for each in every]
        if not found:
            continue
        console.print(Text.assemble((title, "bold")))
        for each in found:
            sign, style = _SIGNS[each.mark]
            console.print(Text.assemble((f"  {sign} ", style), " ".join(each.text.split())))
            if each.advice:
                console.print(Text.assemble(("      → ", style), each.advice))
        console.print()
    console.print(_summary(result))


def _summary(result: Result) -> str:
    if result.evidence.unreachable:
        return "Nothing could be looked at."
    counts = {mark: sum(each.mark is mark for each in result.findings()) for mark in Mark}
    words = [
        f"{counts[mark]} {word}"
        for mark, word in ((Mark.WRONG, "wrong"), (Mark.WARNING, "to look at"), (Mark.SKIPPED, "not looked at"))
        if counts[mark]
    ]
    return f"{', '.join(words)}; {counts[Mark.GOOD]} good." if words else f"All is well: {counts[Mark.GOOD]} good."


def document(result: Result) -> dict[str, object]:
    """For programs."""
    return {
        "server": result.evidence.server,
        "namespace": result.evidence.namespace,
        "ok": result.code == 0,
        "sections": [
            {
                "title": title,
                "checks": [
                    {"name": name, "result": each.mark.value, "message": each.text, "advice": each.advice}
                    for name, found in checks
                    for each in found
                ],
            }
            for title, checks in result.sections
        ],
    }
