"""The common ground of all kinds: strictness, field names, and rules that are written once for CEL and for Python.

Reading is tolerant (unknown fields are ignored), so that a newer CRD never makes an older replica drop an object; the
generated CRDs are strict. `unknown_fields` tells where a document says something that no field hears. In everything
else reading gives the API server's verdict: a null is an absent field, a whole number may be written `443.0`, a list
that the CRD calls a set or a map holds each item once, and the rules are the CRD's. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, ClassVar, Final, Self

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

GROUP = "headgate.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

#: Validation in this context shares equal parts: what ten thousand objects say alike is in memory once.
SHARING: Final = "sharing"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule across fields: `cel` for the API server, `check` the same for Python; `message` says what to do.

    `field` is the JSON name of the field to blame, relative to the model; empty for the model itself.
    """

    cel: str
    message: str
    check: Callable[[Any], bool]
    field: str = ""

    def validation(self) -> dict[str, str]:
        """The rule as an item of `x-kubernetes-validations`."""
        found = {"rule": self.cel, "message": self.message}
        # The server takes only paths that the schema spells out, and of metadata it spells out nothing.
        if self.field and self.field.split(".")[0] != "metadata":
            found["fieldPath"] = f".{self.field}"
        return found


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

    #: A subclass's own rules hold besides those of its bases.
    rules: ClassVar[tuple[Rule, ...]] = ()
    #: Whether a document may hold more here than Headgate reads, as in `metadata`.
    open_ended: ClassVar[bool] = False

    @classmethod
    def all_rules(cls) -> tuple[Rule, ...]:
        """The rules of this model and of its bases, those of the bases first."""
        return _rules_of(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(core_schema)
        if rules := cls.all_rules():
            handler.resolve_ref_schema(found)["x-kubernetes-validations"] = [rule.validation() for rule in rules]
        return found

    @model_validator(mode="before")
    @classmethod
    def _as_stored(cls, data: Any) -> Any:
        """What the API server would store: without nulls in objects, and whole numbers as integers."""
        return (
            {key: _stored(value) for key, value in data.items() if value is not None}
            if isinstance(data, dict)
            else data
        )

    @model_validator(mode="after")
    def _hold_rules(self, info: ValidationInfo) -> Self:
        for rule in type(self).all_rules():
            if not rule.check(self):
                raise RuleError(rule)
        # Which fields were given is kept as a set in every model, larger than what most models hold. They are frozen, so all
        # in which the same were given can share one.
        fields = frozenset(self.__pydantic_fields_set__)
        object.__setattr__(self, "__pydantic_fields_set__", _given(fields))
        if info.context is not SHARING:
            return self
        try:
            first: Self = _shared(_Part((type(self), fields, *self.__dict__.values()), self)).model
        except TypeError:  # with a map in it, as metadata: no two are alike
            return self
        return first


@lru_cache(maxsize=4096)
def _given(fields: frozenset[str]) -> set[str]:
    return set(fields)


@dataclass(frozen=True, slots=True)
class _Part:
    """A model, and all by which it is another one than others."""

    key: tuple[object, ...]
    model: Any = field(compare=False)


@lru_cache(maxsize=1024)
def _shared(part: _Part) -> _Part:
    """The first one of those that are equal."""
    return part


@cache
def _rules_of(model: type[Model]) -> tuple[Rule, ...]:
    return tuple(rule for base in reversed(model.__mro__) for rule in base.__dict__.get("rules", ()))


def _stored(value: Any) -> Any:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [int(item) if isinstance(item, float) and item.is_integer() else item for item in value]
        case dict():
            return {key: item for key, item in value.items() if item is not None}
        case _:
            return value


def unknown_fields(
    model: type[BaseModel], data: object, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    """The paths in `data` that no field of `model` reads, as tuples of keys and list indexes."""
    if not isinstance(data, dict) or getattr(model, "open_ended", False):
        return
    known = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    for key, value in data.items():
        if key not in known:
            yield (*path, str(key))
            continue
        inner = inner_model(known[key])
        if inner is None:
            continue
        if isinstance(value, list):
            for index, item in enumerate(value):
                yield from unknown_fields(inner, item, (*path, str(key), index))
        else:
            yield from unknown_fields(inner, value, (*path, str(key)))


def inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside `X`, `X | None` or `tuple[X, ...]`, or None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for arg in getattr(annotation, "__args__", ()):
        found = inner_model(arg)
        if found is not None:
            return found
    return None
