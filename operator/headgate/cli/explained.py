"""An explanation as lines for people, and as plain data. Pure; `explaining` finds out what there is to say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate.compile.effective import Row
from headgate.compile.explanation import Explanation, Part, Problem, Shown, Stand
from headgate.compile.sections import DEFAULT

#: Widest a value may be before its origin is no longer in line with the others', and from which on a list is broken up.
VALUE, LIST = 44, 64
_GROUP, _NAME = 13, 15

#: A piece of a line: its text, and its style (`strong`, `bad`, `good`, `quiet` or none).
Piece = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Cut:
    """A section's breaker that is not closed; `age`: how long ago that was, in kubectl's words."""

    circuit: str
    since: str
    age: str
    failure: str = ""

    def __str__(self) -> str:
        return f"{self.circuit} for {self.age}{f' ({self.failure})' if self.failure else ''}"


@dataclass(frozen=True, slots=True)
class Live:
    """What is known beyond the declarations. `in_force`: whether what is shown counts; `sure`: True for yes, False for no.
    `circuits`: by section, where a breaker is not closed. `notes`: what else has to be said. `numbered`:
    whether generations mean anything. `standing`: each condition of the status, how it stands and why. `remembered`: an
    older version that is served in place of one that can't be would be known here."""

    in_force: str
    sure: bool | None = None
    health: str = ""
    circuit: str = ""
    problems: tuple[Problem, ...] = ()
    circuits: dict[str, Cut] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    numbered: bool = True
    standing: tuple[tuple[str, str, str], ...] = ()
    remembered: bool = True


def lines(found: Explanation, live: Live, section: str | None) -> Iterator[list[Piece]]:
    """For people. `section`: only this one, whole."""
    yield from _head(found, live)
    if live.problems:
        yield []
        yield [("wrong", "strong")]
        for problem in live.problems:
            yield from _problem_lines(problem)
    base = next((part for part in found.sections if part.name == DEFAULT), None)
    for part in sorted(found.sections, key=lambda each: (each.name != DEFAULT, each.name)):
        if section is None or part.name == section:
            yield []
            whole = part.name == section or base is None or part is base
            yield from _section(part, None if whole else base, live.circuits.get(part.name))
    if found.policies:
        yield []
        told = {problem.message for problem in live.problems}
        yield [("policies", "strong")]
        width = max(len(str(each.policy)) for each in found.policies) + 2
        for each in found.policies:
            yield [("  ", ""), (str(each.policy).ljust(width), ""), _stand(each, told, found.shown)]


def _head(found: Explanation, live: Live) -> Iterator[list[Piece]]:
    yield [(str(found.ref), "strong")]
    style = {True: "good", False: "bad", None: ""}[live.sure]
    for name, text, how in (
        ("provider", found.provider, ""),
        ("gateway", found.gateway, ""),
        ("address", found.address, ""),
        ("in force", live.in_force, style),
        ("values", _values(found, live), ""),
        ("health", live.health, "bad" if live.health and not live.health.startswith(("Healthy", "Unknown")) else ""),
        ("circuit", live.circuit, "bad" if live.circuit.startswith("Open") else ""),
        ("probe", found.probe, ""),
    ):
        if text:
            yield [("  ", ""), (name.ljust(_GROUP), ""), (text, how)]
    for index, (name, how, why) in enumerate(live.standing):
        said = f"{name.ljust(_NAME)}{how}{f', {why}' if why else ''}"
        bad = "" if how.startswith("True") else "bad"
        yield [("  ", ""), (("" if index else "status").ljust(_GROUP), ""), (said, bad)]
    for note in live.notes:
        yield [("  ", ""), ("note".ljust(_GROUP), ""), (note, "")]


def _values(found: Explanation, live: Live) -> str:
    declared = f"as declared (generation {found.generation})" if live.numbered else "as declared"
    match found.shown:
        case Shown.CURRENT:
            return declared
        case Shown.LAST_GOOD:
            return f"the last good ones (generation {found.served}): {declared} it can't be served"
        case Shown.UNSERVED if not live.remembered:
            return f"{declared}, but it can't be served: the proxies go on with the last version that could, if there was one"
        case Shown.UNSERVED:
            return f"{declared}, but it can't be served, and nothing else is"
        case Shown.UNREADABLE:
            return ""


def _problem_lines(problem: Problem) -> Iterator[list[Piece]]:
    head = f"  {problem.ref}: {problem.condition} is {problem.status}, {problem.reason}:"
    if not problem.parts:
        yield [(f"{head} {problem.message}", "bad")]
        return
    yield [(head, "bad")]
    for part in problem.parts:
        yield [(f"    {part}", "bad")]


def _section(part: Part, base: Part | None, cut: Cut | None) -> Iterator[list[Piece]]:
    rows = part.rows if base is None else part.beyond(base)
    title = f"section {part.name}"
    if base is not None:
        title += ": as default, but" if rows else ": as default"
    yield [(title, "strong"), *([(f"   circuit {cut}", "bad")] if cut else [])]
    rest = ("what no other section matches",) if part.name == DEFAULT else ()
    yield from _cells("matches", "", (*part.matches, *rest), ())
    if part.streams:
        yield from _cells("streaming", "", part.streams, ())
    before = ("", "")
    for row in rows:
        group = row.group if row.group != before[0] else ""
        name = row.name if (row.group, row.name) != before else ""
        yield from _cells(group, name, _entries(row), _origin(row))
        before = (row.group, row.name)


def _entries(row: Row) -> tuple[str, ...]:
    return row.value if isinstance(row.value, tuple) else (str(row.value),)


def _cells(group: str, name: str, entries: Sequence[str], origin: Sequence[Piece]) -> Iterator[list[Piece]]:
    head = f"  {group.ljust(_GROUP)}{name.ljust(_NAME) if name or origin else ''}"
    for index, text in enumerate(_broken(entries)):
        start = head if index == 0 else " " * len(head)
        if index == 0 and origin:
            yield [(start, ""), (f"{text.ljust(VALUE)}  ", ""), *origin]
        else:
            yield [(start, ""), (text, "")]


def _broken(entries: Sequence[str]) -> Iterator[str]:
    """A list with commas, or in several lines where it is long or its entries have commas themselves."""
    separate = any(", " in each or " " in each for each in entries)
    line = ""
    for index, entry in enumerate(entries):
        text = entry if separate or index == len(entries) - 1 else f"{entry}, "
        if line and (separate or len(line) + len(text) > LIST):
            yield line.rstrip()
            line = ""
        line += text
    yield line


def _origin(row: Row) -> list[Piece]:
    if row.origin is None:
        return []
    text = str(row.origin)
    pieces = [(text, "quiet" if text == "default" else "")]
    for origin, value in row.over:
        if str(origin) != "default":
            words = f"{origin} ({value})" if row.name == "policy" else f"{value} of {origin}"
            pieces.append((f", over {words}", "quiet"))
    return pieces


def _stand(found: Stand, told: Collection[str], shown: Shown) -> Piece:
    """`told`: the sentences that stand above already."""
    why = "; ".join(dict.fromkeys(reason if words in told else words for reason, words in found.why))
    where = "every section" if found.everywhere else ", ".join(found.sections)
    counts = "would count" if shown is Shown.UNSERVED else "in force"
    text = f"{counts} on {where}" if where else "not in force"
    return f"{text}: {why}" if why else text, "" if where else "bad"


def document(found: Explanation, live: Live, section: str | None) -> dict[str, Any]:
    """For programs: everything, each section whole."""
    return {
        "kind": found.ref.kind,
        "namespace": found.ref.namespace,
        "name": found.ref.name,
        "provider": found.provider,
        "gateway": found.gateway,
        "address": found.address,
        "generation": found.generation,
        "shown": {"version": found.shown.value, "generation": found.served},
        "inForce": {True: "True", False: "False", None: "Unknown"}[live.sure],
        "inForceMessage": live.in_force,
        "health": live.health,
        "circuit": live.circuit,
        "probe": found.probe,
        "notes": list(live.notes),
        "problems": [_problem(each) for each in live.problems],
        "sections": [_part(each, live) for each in found.sections if section in (None, each.name)],
        "policies": [_policy(each) for each in found.policies],
    }


def _problem(found: Problem) -> dict[str, str]:
    return {
        "object": str(found.ref),
        "condition": found.condition,
        "status": found.status.value,
        "reason": found.reason,
        "message": found.message,
    }


def _part(found: Part, live: Live) -> dict[str, Any]:
    cut = live.circuits.get(found.name)
    return {
        "name": found.name,
        "circuit": {"state": cut.circuit, "since": cut.since, "failure": cut.failure} if cut else None,
        "matches": list(found.matches),
        "streams": list(found.streams),
        "values": list(_rows(found.rows)),
    }


def _rows(found: Iterable[Row]) -> Iterator[dict[str, Any]]:
    for row in found:
        yield {
            "group": row.group,
            "name": row.name,
            "value": list(row.value) if isinstance(row.value, tuple) else row.value,
            "from": str(row.origin) if row.origin else "",
            "over": [{"value": value, "from": str(origin)} for origin, value in row.over],
        }


def _policy(found: Stand) -> dict[str, Any]:
    return {
        "policy": str(found.policy),
        "on": found.on,
        "sections": list(found.sections),
        "why": [{"reason": reason, "message": message} for reason, message in found.why],
    }
