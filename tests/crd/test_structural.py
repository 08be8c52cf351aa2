"""The CRDs keep the API server's rules for CRDs, as far as they can be told without a server."""

import re
from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import pytest

from harness.admission import check_types, walk
from headgate.api import crdgen
from headgate.api.kinds import KINDS

CRDS = {name: crdgen.crd(kind) for name, kind in KINDS.items()}
Node = tuple[str, Mapping[str, Any]]

#: The keywords that a structural schema may have, and this project uses. No default, for compile applies them; but one of the
#: status, which is no user's.
ALLOWED = {
    "description", "type", "format", "enum", "pattern", "minLength", "maxLength", "minimum", "maximum", "minItems",
    "maxItems", "minProperties", "maxProperties", "required", "properties", "additionalProperties", "items",
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type",
    "x-kubernetes-validations",
}  # fmt: skip
SCALARS = {"string", "integer", "boolean"}


def schema_of(name: str) -> Mapping[str, Any]:
    (version,) = CRDS[name]["spec"]["versions"]
    schema: Mapping[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def nodes() -> Iterator[Node]:
    for name in KINDS:
        for path, node in walk(schema_of(name)):
            yield f"{name}:{'.'.join(path)}", node


NODES = dict(nodes())
RULES = [(where, node, rule) for where, node in NODES.items() for rule in node.get("x-kubernetes-validations", ())]


def test_every_node_has_a_type_and_known_keywords_only() -> None:
    for where, node in NODES.items():
        # The server wants no type beside this one, and takes only `true`.
        if "x-kubernetes-int-or-string" in node:
            assert (node["x-kubernetes-int-or-string"], node.get("type")) == (True, None), where
            assert node.keys() >= {"minimum", "maximum", "pattern", "maxLength"}, where
        else:
            assert node["type"] in {*SCALARS, "object", "array"}, where
        assert node.keys() <= (ALLOWED | {"default"} if where.endswith(":status") else ALLOWED), where
        assert ("properties" in node) + ("additionalProperties" in node) < 2, where


def test_required_properties_are_there() -> None:
    for where, node in NODES.items():
        assert set(node.get("required", ())) <= set(node.get("properties", ())), where


def test_an_object_says_what_is_in_it_and_metadata_does_not() -> None:
    for where, node in NODES.items():
        if node.get("type") == "object":
            says = "properties" in node or "additionalProperties" in node
            assert says != (where.split(":")[1] == "metadata"), where
    for name in KINDS:
        assert schema_of(name)["properties"]["metadata"] == {"type": "object"}


def test_lists_have_a_bound_and_a_type_with_sound_keys() -> None:
    for where, node in NODES.items():
        if node.get("type") != "array":
            continue
        assert 1 <= node["maxItems"] <= 256, where
        items = node["items"]
        match node["x-kubernetes-list-type"]:
            case "map":
                keys = node["x-kubernetes-list-map-keys"]
                assert keys, where
                assert items["type"] == "object", where
                for key in keys:
                    assert key in items["required"], where
                    assert items["properties"][key]["type"] in SCALARS, where
            case "set":
                assert items["type"] in SCALARS, where
                assert "x-kubernetes-list-map-keys" not in node, where
            case other:
                assert other == "atomic", where
                assert "x-kubernetes-list-map-keys" not in node, where


def test_map_types_are_on_objects() -> None:
    for where, node in NODES.items():
        if "x-kubernetes-map-type" in node:
            assert node["type"] == "object", where
            assert node["x-kubernetes-map-type"] in {"atomic", "granular"}, where


def test_strings_and_maps_of_a_spec_are_bounded() -> None:
    for where, node in NODES.items():
        if not where.split(":")[1].startswith("spec"):
            continue
        if node.get("type") == "string":
            assert "enum" in node or node["maxLength"] <= 4096, where
        if "additionalProperties" in node:
            assert node["maxProperties"] <= 64, where
        if node.get("type") == "integer":
            assert node.keys() >= {"minimum", "maximum"}, where


def test_patterns_match_the_whole_and_mean_the_same_in_every_dialect() -> None:
    """Anchored, and without the classes that are Unicode in one dialect and ASCII in another."""
    patterns = {where: node["pattern"] for where, node in NODES.items() if "pattern" in node}
    assert patterns
    for where, pattern in patterns.items():
        assert pattern.startswith("^"), where
        assert pattern.endswith("$"), where
        assert not re.search(r"\\[sSwWdDbB]|\(\?|\[:", pattern), where
        # Nothing outside the anchors: an alternative on the top level would be half anchored.
        depth, outer = 0, ""
        for character in re.sub(r"\\.|\[[^]]*\]", "", pattern):
            depth += (character == "(") - (character == ")")
            outer += character if depth == 0 else ""
        assert "|" not in outer, where


def test_enums_hold_values_of_their_type_once() -> None:
    for where, node in NODES.items():
        if "enum" in node:
            assert node["type"] == "string", where
            assert all(isinstance(value, str) for value in node["enum"]), where
            assert len(set(node["enum"])) == len(node["enum"]) > 0, where


@pytest.mark.parametrize(
    ("where", "node", "rule"), RULES, ids=[f"{where}: {rule['message']}" for where, _, rule in RULES]
)
def test_a_rule_is_sound(where: str, node: Mapping[str, Any], rule: Mapping[str, str]) -> None:
    assert rule.keys() <= {"rule", "message", "fieldPath"}
    assert 0 < len(rule["message"]) <= 2048
    assert rule["rule"].strip()
    assert not re.search(r"[\r\n]", rule["message"] + rule["rule"] + rule.get("fieldPath", ""))
    typed = node
    if ":" in where and not where.split(":")[1]:  # The server gives rules at the root the name, too.
        metadata = {"type": "object", "properties": {"name": {"type": "string"}}}
        typed = {**node, "properties": {**node["properties"], "metadata": metadata}}
    assert check_types(typed, rule["rule"]).name() == "BOOL"
    if path := rule.get("fieldPath"):
        inner: Mapping[str, Any] = node
        assert path.startswith(".")
        for part in path[1:].split("."):
            inner = inner["properties"][part]


def times(where: str) -> int:
    """How often, at most, a node at this place may stand in one object."""
    name, _, path = where.partition(":")
    schema, found = schema_of(name), []
    for part in path.split(".") if path else ():
        if part == "[]":
            found.append(schema["maxItems"])
            schema = schema["items"]
        elif part == "*":
            found.append(schema["maxProperties"])
            schema = schema["additionalProperties"]
        else:
            schema = schema["properties"][part]
    return prod(found)


def cost(rule: str, node: Mapping[str, Any]) -> float:
    """A bound on the server's estimate of one evaluation.

    A step for each operator, call and field (no more than there are words and signs), for each entry of a map that is
    walked, and for `matches` and the like the longest string there can be: 3 MB where nothing bounds it, a tenth of a unit
    for each character, times a quarter of the pattern's length. No rule walks in any other way.
    """
    steps = float(len(re.findall(r"\w+|[^\w\s]+", rule)))
    walks = re.findall(r"\.(?:all|exists|exists_one|map|filter)\(", rule)
    walked = re.findall(r"self\.(\w+)\.all\(\w+, size\(\w+\) <= \d+\)", rule)
    assert len(walks) == len(walked), "count what a walk costs, then allow it"
    for name in walked:
        steps *= 1 + node["properties"][name]["maxProperties"]
    for call in re.findall(r"self\.([\w.]+)\.(?:matches|startsWith|endsWith|contains)\(('[^']*')\)", rule):
        longest = node["properties"].get(call[0], {}).get("maxLength", 3_145_728)
        steps += longest * 0.1 * max(1.0, len(call[1]) * 0.25)
    return steps


@pytest.mark.parametrize("name", KINDS)
def test_rules_stay_far_below_the_cost_that_the_server_allows(name: str) -> None:
    """10 million for a rule over all places it may stand in, 100 million for a CRD; half of that is kept free."""
    costs = {
        (where, rule["rule"]): cost(rule["rule"], node) * times(where)
        for where, node, rule in RULES
        if where.startswith(f"{name}:")
    }
    assert costs
    for place, found in costs.items():
        assert found < 5_000_000, place
    assert sum(costs.values()) < 50_000_000


@pytest.mark.parametrize("name", KINDS)
def test_names_and_version(name: str) -> None:
    crd = CRDS[name]
    spec, names = crd["spec"], crd["spec"]["names"]
    assert crd["metadata"]["name"] == f"{names['plural']}.{spec['group']}"
    assert spec["scope"] == "Namespaced"
    assert names["categories"] == ["headgate"]
    assert names["kind"] == name
    for short in (names["plural"], names["singular"], *names.get("shortNames", ())):
        assert re.fullmatch(r"[a-z][a-z0-9]*", short)
    (version,) = spec["versions"]
    assert version["name"] == "v1alpha1"
    assert version["served"]
    assert version["storage"]
    assert version["subresources"] == {"status": {}}


def test_no_two_kinds_answer_to_one_name() -> None:
    called = [
        short
        for crd in CRDS.values()
        for names in [crd["spec"]["names"]]
        for short in {names["plural"], names["singular"], *names.get("shortNames", ())}
    ]
    assert len(called) == len(set(called))


@pytest.mark.parametrize("name", ["RetryPolicy", "CircuitBreaker", "RateLimit"])
def test_policies_say_so(name: str) -> None:
    assert CRDS[name]["metadata"]["labels"]["gateway.networking.k8s.io/policy"] == "Direct"


@pytest.mark.parametrize("name", ["IntegrationGateway", "UpstreamService"])
def test_the_others_do_not(name: str) -> None:
    assert "gateway.networking.k8s.io/policy" not in CRDS[name]["metadata"]["labels"]


@pytest.mark.parametrize("name", KINDS)
def test_columns_show_what_is_in_the_schema(name: str) -> None:
    (version,) = CRDS[name]["spec"]["versions"]
    columns = version["additionalPrinterColumns"]
    assert len({column["name"] for column in columns}) == len(columns)
    for column in columns:
        path = column["jsonPath"]
        assert column["description"].endswith("."), column
        if path == ".metadata.creationTimestamp":
            continue
        node = schema_of(name)
        for part in re.findall(r"\.(\w+)|(\[)", re.sub(r"\[[^]]*\]", "[", path)):
            node = node["items"] if part[1] else node["properties"][part[0]]
        wanted = ("string", "date-time") if column["type"] == "date" else (column["type"], None)
        assert (node["type"], node.get("format")) == wanted, column
