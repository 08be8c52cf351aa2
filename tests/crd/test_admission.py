"""The judge that stands in for the API server judges: what it must refuse it refuses."""

from typing import Any

import pytest

from harness.admission import check_types, complaints, escaped, holds, matches

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["name"],
    "x-kubernetes-validations": [
        {"rule": "!has(self.low) || self.low < 10", "message": "low must be below 10", "fieldPath": ".low"}
    ],
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "low": {"type": "integer", "minimum": 1, "maximum": 99},
        "tags": {"type": "array", "maxItems": 3, "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "namespace": {"type": "string", "enum": ["a", "b"]},
        "parts": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["id"],
            "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
        },
        "labels": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}},
    },
}


@pytest.mark.parametrize(
    "document",
    [
        {"name": "a"},
        {"name": "a", "low": 9.0},
        {"name": "a", "low": None, "tags": None},
        {"name": "a", "more": {"x": None}},
        {"name": "a", "tags": ["x", "y"], "parts": [{"id": "x"}, {"id": "y"}]},
        {"name": "a", "labels": {"x": "y", "z": None}},
    ],
)
def test_takes(document: dict[str, Any]) -> None:
    assert complaints(SCHEMA, document) == []


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"name": None},
        {"name": "a\n"},
        {"name": "abcdef"},
        {"name": "a", "low": 10},
        {"name": "a", "low": 100},
        {"name": "a", "low": 1.5},
        {"name": "a", "low": True},
        {"name": "a", "low": "1"},
        {"name": "a", "tags": ["x", "x"]},
        {"name": "a", "tags": [None]},
        {"name": "a", "tags": ["a", "b", "c", "d"]},
        {"name": "a", "namespace": "c"},
        {"name": "a", "parts": [{"id": "x"}, {"id": "x"}]},
        {"name": "a", "parts": [{}]},
        {"name": "a", "labels": {"x": None}},
        {"name": "a", "labels": {"x": 1}},
    ],
)
def test_refuses(document: Any) -> None:
    assert complaints(SCHEMA, document) != []


def test_a_complaint_names_the_field() -> None:
    assert complaints(SCHEMA, {"name": "a", "low": 10}) == [".low: low must be below 10"]


@pytest.mark.parametrize(
    "rule",
    ["self.lou < 10", "self.low < '10'", "self.tags < 1", "self.namespace == 'a'", "self.labels.x == 1", "self.low <"],
)
def test_an_unsound_rule_is_refused_with_cels_words(rule: str) -> None:
    with pytest.raises(RuntimeError, match="ERROR: <input>:1:"):
        check_types(SCHEMA, rule)


@pytest.mark.parametrize(
    "rule",
    [
        "self.low < 10",
        "self.tags.all(t, t != '')",
        "self.__namespace__ == 'a'",
        "self.labels.x == 'y'",
        "self.parts.exists(p, p.id == 'x')",
    ],
)
def test_a_sound_rule_is_a_bool(rule: str) -> None:
    assert check_types(SCHEMA, rule).name() == "BOOL"


def test_a_rule_that_is_no_verdict_is_an_error() -> None:
    with pytest.raises(TypeError, match="no verdict"):
        holds("self.low", {"low": 1})
    with pytest.raises(TypeError, match="no verdict"):
        holds("self.missing == 1", {"low": 1})


def test_names_are_escaped_as_the_server_does() -> None:
    assert [escaped(name) for name in ("namespace", "from", "a-b", "a.b", "a__b")] == [
        "__namespace__",
        "from",
        "a__dash__b",
        "a__dot__b",
        "a__underscores__b",
    ]
    assert holds("self.__namespace__ == 'a'", {"namespace": "a"})


def test_patterns_are_re2s() -> None:
    assert matches("^a$", "a")
    assert not matches("^a$", "a\n")
    assert matches("a", "bab"), "not anchored by itself"
