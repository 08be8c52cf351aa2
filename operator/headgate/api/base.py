"""The common ground of all kinds: strictness, field names, and rules that are written once for CEL and for Python.

Reading is tolerant (unknown fields are ignored), so that a newer CRD never makes an older replica drop an object; the
generated CRDs are strict. `unknown_fields` tells where a document says something that no field hears.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

GROUP = "headgate.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule across fields: `cel` for the API server, `check` the same for Python; `message` says what to do.

    `field` is the JSON name of the field to blame, relative to the model; empty for the model itself.
    """

    cel: str
    message: str
    check: Callable[[Any], bool]
    field: str = ""


class RuleError(ValueError):
    """A broken Rule; `field` is the JSON name to blame, empty for the whole."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule.message)
        self.field = rule.field


class Model(BaseModel):
    """Base of everything below a kind: frozen, camelCase in YAML, unknown fields ignored."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        validate_default=False,
        # YAML and JSON carry types; "8080" is not a port. Strictness agrees with the API server's.
        strict=True,
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="after")
    def _hold_rules(self) -> Self:
        for rule in type(self).rules:
            if not rule.check(self):
                raise RuleError(rule)
        return self


def unknown_fields(model: type[BaseModel], data: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths in `data` that no field of `model` reads, as tuples of keys and list indexes."""
    if not isinstance(data, dict):
        return
    known = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    for key, value in data.items():
        if key not in known:
            yield (*path, str(key))
            continue
        inner = _inner_model(known[key])
        if inner is None:
            continue
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from unknown_fields(inner, item, (*path, str(key), index))
        else:
            yield from unknown_fields(inner, value, (*path, str(key)))


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside `X`, `X | None` or `tuple[X, ...]`, or None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for arg in getattr(annotation, "__args__", ()):
        found = _inner_model(arg)
        if found is not None:
            return found
    return None
