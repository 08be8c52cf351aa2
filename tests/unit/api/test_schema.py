"""The way from a model to a structural schema, and what it refuses on the way."""

from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from headgate.api.base import Model
from headgate.api.meta import Column, Kind, Names
from headgate.api.schema import NotStructural, structural_schema
from headgate.api.types import Seq


class Inner(Model):
    """An inner object."""

    flag: Annotated[bool, Field(default=False, description="A flag.")]


def kind_of(hint: Any) -> type[Kind]:
    class Spec(Model):
        """A spec."""

        field: Annotated[hint, Field(description="The field.")]

    class Thing(Kind):
        """A thing."""

        names: ClassVar[Names] = Names("Thing", "things", "thing")
        columns: ClassVar[tuple[Column, ...]] = ()
        kind: Literal["Thing"]
        spec: Annotated[Spec, Field(description="The spec.")]

    return Thing


def field(hint: Any) -> dict[str, Any]:
    found: dict[str, Any] = structural_schema(kind_of(hint))["properties"]["spec"]["properties"]["field"]
    return found


def test_the_root() -> None:
    schema = structural_schema(kind_of(str))
    assert schema["description"] == "A thing."
    assert list(schema["properties"]) == ["apiVersion", "kind", "metadata", "spec"]
    assert schema["properties"]["metadata"] == {"type": "object"}
    assert schema["required"] == ["spec"]
    assert schema["properties"]["spec"]["required"] == ["field"]


@pytest.mark.parametrize(
    ("hint", "expected"),
    [
        (str, {"type": "string"}),
        (bool, {"type": "boolean"}),
        (str | None, {"type": "string"}),
        (Annotated[int | None, Field(ge=1, le=9)], {"type": "integer", "minimum": 1, "maximum": 9}),
        (Literal["a"], {"type": "string", "enum": ["a"]}),
        (Literal["a", "b"] | None, {"type": "string", "enum": ["a", "b"]}),
        (Seq[str], {"type": "array", "x-kubernetes-list-type": "atomic", "items": {"type": "string"}}),
        (dict[str, str], {"type": "object", "additionalProperties": {"type": "string"}}),
    ],
)
def test_a_field(hint: Any, expected: dict[str, Any]) -> None:
    assert field(hint) == {"description": "The field.", **expected}


@pytest.mark.parametrize("hint", [Inner, Inner | None])
def test_an_object_is_put_in_place_with_the_fields_own_description(hint: Any) -> None:
    assert field(hint) == {
        "description": "The field.",
        "type": "object",
        "properties": {"flag": {"description": "A flag.", "type": "boolean"}},
    }


@pytest.mark.parametrize(
    ("hint", "why"),
    [
        (int | str, "no unions"),
        (tuple[int, str], "prefixItems"),
        (Annotated[int, Field(gt=1)], "exclusiveMinimum"),
        (Annotated[int, Field(multiple_of=2)], "multipleOf"),
        (set[str], "uniqueItems"),
        (Any, "one type"),
        (dict[Annotated[str, Field(pattern="^a$")], str], "patternProperties"),
    ],
)
def test_what_a_crd_cannot_say_is_refused_with_its_place(hint: Any, why: str) -> None:
    with pytest.raises(NotStructural, match=rf"Thing\.spec\.field.*{why}"):
        structural_schema(kind_of(hint))
