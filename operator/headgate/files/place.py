"""Where something was said, and what is wrong with it: the sentences that `validate` and `run` print.

Called by everything in this package and by the CLI, which adds what compile found about an object. Frozen values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headgate.api.conditions import Reason
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Path


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A line of a document; `document` counts from 1 within the file, `item` from 1 within a List (0: no List).

    Line 0: no line of a file, but something else that was said, such as an option.
    """

    file: str
    line: int
    document: int = 1
    item: int = 0

    def __str__(self) -> str:
        if not self.line:
            return self.file
        inside = f", item {self.item}" if self.item else ""
        return f"{self.file}:{self.line} (document {self.document}{inside})"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend. `ref` and `field` are there as far as they could be told."""

    place: Place
    message: str
    ref: ObjectRef | None = None
    field: str = ""
    reason: Reason = Reason.INVALID_SPEC

    @property
    def saying(self) -> str:
        """The field and the message, without the place and the object."""
        return f"{self.field}: {self.message}" if self.field else self.message

    def __str__(self) -> str:
        subject = f"{self.ref}: " if self.ref else ""
        return f"{self.place}: {subject}{self.saying}"

    def sort_key(self) -> tuple[Place, str, str]:
        """By file and line, then by field."""
        return (self.place, self.field, self.message)


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """The lines of one object: its own, and that of every field below it."""

    start: Place
    lines: Mapping[Path, int] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def of(self, path: Path) -> Place:
        """The line of the field, or of the nearest thing around it that is there."""
        for end in range(len(path), -1, -1):
            line = self.lines.get(path[:end])
            if line is not None:
                return Place(self.start.file, line, self.start.document, self.start.item)
        return self.start

    def below(self, prefix: Path, item: int) -> Whereabouts:
        """The same for an object inside this one (an item of a List)."""
        inner = {path[len(prefix) :]: line for path, line in self.lines.items() if path[: len(prefix)] == prefix}
        start = Place(self.start.file, inner.get((), self.start.line), self.start.document, item)
        return Whereabouts(start, MappingProxyType(inner))


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Sorted by file and line, each once."""
    return tuple(sorted(set(problems), key=Problem.sort_key))
