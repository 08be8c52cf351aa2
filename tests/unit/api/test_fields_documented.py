"""Every field says what it is for, in the words that `kubectl explain` and the reference print."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.admission import walk
from headgate.api.conditions import ConditionType, Reason
from headgate.api.crdgen import generate
from headgate.api.kinds import KINDS
from headgate.api.schema import structural_schema

PACKAGE = Path(__file__).resolve().parents[3] / "operator" / "headgate" / "api"
NODES = {
    f"{name}:{'.'.join(path)}": node
    for name, kind in KINDS.items()
    for path, node in walk(structural_schema(kind))
    if path != ("metadata",)
}
SAID = {where: node["description"] for where, node in NODES.items() if "description" in node}


def test_every_field_is_described_by_sentences() -> None:
    for where, node in NODES.items():
        if where.endswith(("[]", "*")) and node.get("type") != "object":
            continue  # a scalar in a list is told by the list
        text = SAID.get(where, "")
        assert re.fullmatch(r"\S.*\.", text), f"{where}: {text!r}"
        assert text[0].isupper() or text[0] in "`0", f"{where}: {text!r}"
        assert "  " not in text, where
        assert len(text) <= 400, f"{where}: shorten it"


def test_every_choice_is_told_apart() -> None:
    """Whoever reads the description knows what each value does; where one is usual, which."""
    for where, node in NODES.items():
        if "enum" not in node:
            continue
        text = SAID[where.removesuffix(".[]")]
        for value in node["enum"]:
            assert re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", text), (
                f"{where} does not say what {value} means"
            )


def optional_fields() -> Iterator[tuple[str, dict[str, Any]]]:
    for where, node in NODES.items():
        if "properties" in node and ":spec" in where:
            for name, field in node["properties"].items():
                if name not in node.get("required", ()):
                    yield f"{where}.{name}", field


def test_every_optional_value_says_what_counts_without_it() -> None:
    """A field that is only there to be one of several, or goes with another, says with which instead."""
    told = re.compile(r"Default|Left out|Leave it out|for (?:type|mode|from:)|Give this|Give these|Into th")
    tells_by_itself = {"targetSelectors", "pathPrefix", "pathRegex", "matches"}
    for where, field in optional_fields():
        name = where.rsplit(".", 1)[1]
        if field.get("type") in {"object", "array"} and not told.search(field["description"]):
            continue  # empty is nothing, or its own fields say
        if name not in tells_by_itself:
            assert told.search(field["description"]), f"{where}: {field['description']}"


def test_numbers_in_a_description_are_the_schemas() -> None:
    for where, node in NODES.items():
        if found := re.search(r"\b(\d+) to (\d+)\b", SAID.get(where, "")) if node.get("type") == "integer" else None:
            assert [int(found[1]), int(found[2])] == [node["minimum"], node["maximum"]], where


def test_a_rule_says_what_to_do_without_a_full_stop() -> None:
    """The server puts it after the value: `Invalid value: ...: give hostname or endpoints, not both`."""
    for where, node in NODES.items():
        for rule in node.get("x-kubernetes-validations", ()):
            assert re.fullmatch(r"[a-z].*[^.\s]", rule["message"]), f"{where}: {rule['message']}"


def test_bounds_in_durations_rules_are_said_in_their_descriptions() -> None:
    for where, node in NODES.items():
        for rule in node.get("x-kubernetes-validations", ()):
            if found := re.fullmatch(r"(\w+) must be at (?:least|most) (\w+)", rule["message"]):
                text = node["properties"][found[1]]["description"]
                assert found[2] in text or "not shorter than" in text, f"{where}: {text}"


def test_reasons_and_types_are_camel_case_and_differ() -> None:
    for word in (*Reason, *ConditionType):
        assert re.fullmatch(r"(?:[A-Z][a-z]*)+", word)
    assert len(set(Reason)) == len(list(Reason))


def test_the_reference_has_every_field_of_every_kind() -> None:
    page = generate()["docs/reference.md"]
    for where in NODES:
        kind, _, path = where.partition(":")
        parts = path.split(".")
        if parts[0] in {"spec", "status"} and parts[-1] not in {"[]", "*"} and len(parts) > 1:
            heading = f"### {kind}: {'.'.join(parts[:-1]).replace('.[]', '[]')}\n"
            section = page.split(heading, 1)[1].split("\n### ", 1)[0]
            assert f"| `{parts[-1]}` | " in section, where
    assert not re.search(r"\n\n\n", page)
    assert page.endswith("\n")


def test_the_modules_are_short() -> None:
    lengths = {path.name: len(path.read_text("utf-8").splitlines()) for path in PACKAGE.glob("*.py")}
    assert {name: length for name, length in lengths.items() if length >= 400} == {}
