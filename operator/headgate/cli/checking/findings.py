"""What a check says: lines with a mark, and what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from headgate.cli.checking.evidence import Evidence, Look

#: From how many on similar lines are cut short.
FEW = 10


class Mark(StrEnum):
    GOOD = "good"
    #: It works, and something should be looked at.
    WARNING = "warning"
    WRONG = "wrong"
    #: It could not be looked at.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `advice`: what to do, a sentence or a command."""

    mark: Mark
    text: str
    advice: str = ""


#: One thing that is looked at: a pure function. Nothing said means that there is nothing to look at.
Check = Callable[[Evidence], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Section:
    """Checks under one heading; by their names programs know them."""

    title: str
    checks: tuple[tuple[str, Check], ...]


def good(text: str) -> Finding:
    """All is well."""
    return Finding(Mark.GOOD, text)


def warning(text: str, advice: str = "") -> Finding:
    """To be looked at."""
    return Finding(Mark.WARNING, text, advice)


def wrong(text: str, advice: str = "") -> Finding:
    """Does not work."""
    return Finding(Mark.WRONG, text, advice)


def unread(look: Look, what: str) -> Iterator[Finding]:
    """A word on what may not be read; nothing if it was."""
    if not look.read and look.status:
        yield Finding(Mark.SKIPPED, f"{what}: not looked at, {look.why}")


def few(found: list[Finding], rest: str) -> Iterator[Finding]:
    """The first of many, and how many more there are; `rest`: the command that shows them all."""
    yield from found[:FEW]
    if len(found) > FEW:
        yield Finding(found[FEW].mark, f"and {len(found) - FEW} more", rest)
