"""Rules that several kinds share, made from the JSON names of the fields they bind."""

from __future__ import annotations

from pydantic.alias_generators import to_snake

from headgate.api.base import Model, Rule
from headgate.api.types import DURATION, millis


def _millis(model: Model, field: str) -> int | None:
    value: str | None = getattr(model, to_snake(field))
    return None if value is None else millis(value)


def _absent(field: str) -> str:
    """In CEL: it is not given, or no duration, which is said of it already."""
    return f"!has(self.{field}) || !self.{field}.matches('{DURATION}')"


def at_least(field: str, least: str) -> Rule:
    """The duration `field`, where given, is not shorter than `least`."""

    def check(model: Model) -> bool:
        value = _millis(model, field)
        return value is None or value >= millis(least)

    return Rule(
        f"{_absent(field)} || duration(self.{field}) >= duration('{least}')",
        f"{field} must be at least {least}",
        check,
        field,
    )


def at_most(field: str, most: str) -> Rule:
    """The duration `field`, where given, is not longer than `most`."""

    def check(model: Model) -> bool:
        value = _millis(model, field)
        return value is None or value <= millis(most)

    return Rule(
        f"{_absent(field)} || duration(self.{field}) <= duration('{most}')",
        f"{field} must be at most {most}",
        check,
        field,
    )


def not_shorter(field: str, other: str) -> Rule:
    """The duration `field` is not shorter than the duration `other`, where both are given."""

    def check(model: Model) -> bool:
        mine, theirs = _millis(model, field), _millis(model, other)
        return mine is None or theirs is None or mine >= theirs

    return Rule(
        f"{_absent(field)} || {_absent(other)} || duration(self.{field}) >= duration(self.{other})",
        f"{field} must not be shorter than {other}",
        check,
        field,
    )
