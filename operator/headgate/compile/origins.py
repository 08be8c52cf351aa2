"""Where values come from, noted by the code that decides them.

`nearest` and `union` choose values by layers. Given a Sink they also note which layer won and what it won over; without one
(every compile but that of `explain`) they choose and do nothing else. Notes belong to one compile of one version of one
upstream; nothing that compile puts out depends on them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import chain
from typing import Any, TypeVar

from headgate.compile.attached import Nearest
from headgate.model.plan import Route, Section
from headgate.model.refs import ObjectRef

T = TypeVar("T")


class Layer(Enum):
    """Where a value may stand."""

    #: The policy that applies.
    POLICY = auto()
    #: The upstream's own entry for the section.
    SECTION = auto()
    UPSTREAM = auto()
    GATEWAY = auto()
    #: What the provider's profile says of the section.
    KNOWN_SECTION = auto()
    #: What it says of the whole API.
    KNOWN = auto()
    DEFAULT = auto()


@dataclass(frozen=True, slots=True)
class Origin:
    """An object, a provider's profile, or (neither) the table of defaults; `section`: its part about that one."""

    ref: ObjectRef | None = None
    provider: str = ""
    section: str = ""

    def __str__(self) -> str:
        what = str(self.ref) if self.ref else f"provider {self.provider}" if self.provider else "default"
        return f"{what}, section {self.section}" if self.section else what


@dataclass(frozen=True, slots=True)
class Noted:
    """A value with its origin, and the values that it won over, the nearest first. Of a list: the entries from there."""

    value: Any
    origin: Origin
    over: tuple[tuple[Origin, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Contest:
    """Which policy of a kind counts for a section, and those further away that would without it."""

    winner: Nearest[Any]
    losers: tuple[Nearest[Any], ...]


@dataclass(slots=True)
class Notes:
    """What was noted, by section and name of the value; the section "" stands for all of them. `sections` and `routes` are
    those of the upstream as it would be served, there even when something is wrong with it."""

    values: dict[tuple[str, str], tuple[Noted, ...]] = field(default_factory=dict)
    contests: dict[tuple[str, str], Contest] = field(default_factory=dict)
    sections: tuple[Section, ...] = ()
    routes: tuple[Route, ...] = ()

    def of(self, section: str, name: str) -> tuple[Noted, ...]:
        """What was noted of a value in a section, or of the value in all of them."""
        return self.values.get((section, name)) or self.values.get(("", name), ())


@dataclass(frozen=True, slots=True)
class Sink:
    """Takes notes of one section ("" for all), and knows what the layers are there."""

    notes: Notes
    section: str
    upstream: ObjectRef
    gateway: ObjectRef | None
    provider: str
    policy: ObjectRef | None

    def note(self, name: str, *entries: Noted) -> None:
        """Keep a note; one of the same value before it is forgotten."""
        self.notes.values[self.section, name] = entries

    def origin(self, layer: Layer) -> Origin:
        """What the layer is here."""
        match layer:
            case Layer.POLICY:
                return Origin(self.policy)
            case Layer.SECTION:
                return Origin(self.upstream, section=self.section)
            case Layer.UPSTREAM:
                return Origin(self.upstream)
            case Layer.GATEWAY:
                return Origin(self.gateway)
            case Layer.KNOWN_SECTION:
                return Origin(provider=self.provider, section=self.section)
            case Layer.KNOWN:
                return Origin(provider=self.provider)
            case Layer.DEFAULT:
                return Origin()


def nearest(sink: Sink | None, name: str, layers: tuple[Layer, ...], *values: T | None) -> T | None:
    """The first value that is given (not None); `layers` says where each stands."""
    if sink is not None:
        _note_nearest(sink, name, layers, values)
    for value in values:
        if value is not None:
            return value
    return None


def settled(sink: Sink | None, name: str, layers: tuple[Layer, ...], *values: T | None) -> T:
    """`nearest`, where the last layer always has a value."""
    if sink is not None:
        _note_nearest(sink, name, layers, values)
    for value in values:
        if value is not None:
            return value
    raise AssertionError(f"nobody says anything of {name}")


def union(sink: Sink | None, name: str, layers: tuple[Layer, ...], *values: Iterable[T]) -> tuple[T, ...]:
    """The entries of all layers, each once, in their order."""
    if sink is not None:
        return _note_union(sink, name, layers, values)
    return tuple(dict.fromkeys(chain.from_iterable(values)))


def _note_nearest(sink: Sink, name: str, layers: tuple[Layer, ...], values: tuple[Any, ...]) -> None:
    given = [(sink.origin(layer), value) for layer, value in zip(layers, values, strict=True) if value is not None]
    if given:
        (origin, value), *losers = given
        sink.note(name, Noted(value, origin, tuple(losers)))


def _note_union(sink: Sink, name: str, layers: tuple[Layer, ...], values: tuple[Iterable[T], ...]) -> tuple[T, ...]:
    seen: dict[T, None] = {}
    noted: dict[Origin, tuple[T, ...]] = {}
    for layer, entries in zip(layers, values, strict=True):
        new = tuple(entry for entry in dict.fromkeys(entries) if entry not in seen)
        seen.update(dict.fromkeys(new))
        if new:
            origin = sink.origin(layer)
            noted[origin] = (*noted.get(origin, ()), *new)
    sink.note(name, *(Noted(each, origin) for origin, each in noted.items()))
    return tuple(seen)
