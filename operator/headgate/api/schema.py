"""From a pydantic model to a structural schema, the dialect of JSON Schema that the API server takes in a CRD.

A pure function of the model. What the dialect cannot say (tuples, unions, references) is refused with an error here,
at generation, and not by a cluster. Defaults are left out: compile applies them, where a profile may come first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headgate.api.meta import Kind

Schema = dict[str, Any]

#: Keywords that pass through as they are, in the order in which they are written.
_PLAIN = (
    "description",
    "type",
    "format",
    "x-kubernetes-int-or-string",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
    "x-kubernetes-validations",
    "required",
)
#: pydantic sorts keywords; a rule reads better as it was written.
_RULE = ("rule", "message", "fieldPath")
_DROPPED = {"title", "default"}
_HANDLED = {"$ref", "$defs", "anyOf", "const", "items", "properties", "additionalProperties"}

_API_VERSION = "Version of the schema that the object is written in: headgate.dev/v1alpha1."
_KIND = "Kind of the object: {}."


class NotStructural(TypeError):
    """A model says something that the API server's dialect cannot; the message says what and where."""


def structural_schema(kind: type[Kind]) -> Schema:
    """The `openAPIV3Schema` of a kind."""
    source = kind.model_json_schema(by_alias=True)
    found = _structural(source, source.get("$defs", {}), kind.names.kind)
    properties: Schema = found["properties"]
    # What the API server itself checks is only named here: it takes no other schema for metadata.
    properties["apiVersion"] = {"description": _API_VERSION, "type": "string"}
    properties["kind"] = {"description": _KIND.format(kind.names.kind), "type": "string"}
    properties["metadata"] = {"type": "object"}
    found["required"] = ["spec"]
    return found


def _structural(node: Mapping[str, Any], definitions: Mapping[str, Any], where: str) -> Schema:
    node = _flat(node, definitions, where)
    if unknown := sorted(node.keys() - _DROPPED - _HANDLED - set(_PLAIN)):
        raise NotStructural(f"{where}: a CRD cannot say {', '.join(unknown)}")
    found: Schema = {key: node[key] for key in _PLAIN if key in node}
    if "const" in node:
        found["enum"] = [node["const"]]
    if node.get("type") == "array":
        found.setdefault("x-kubernetes-list-type", "atomic")
        found["items"] = _structural(node["items"], definitions, f"{where}[]")
    if "properties" in node:
        found["properties"] = {
            name: _structural(value, definitions, f"{where}.{name}") for name, value in node["properties"].items()
        }
    elif isinstance(node.get("additionalProperties"), dict):
        found["additionalProperties"] = _structural(node["additionalProperties"], definitions, f"{where}.*")
    if "x-kubernetes-validations" in node:
        found["x-kubernetes-validations"] = [
            {key: rule[key] for key in _RULE if key in rule} for rule in node["x-kubernetes-validations"]
        ]
    if "type" not in found and not found.get("x-kubernetes-int-or-string"):
        raise NotStructural(f"{where}: a CRD needs one type")
    return _ordered(found)


def _flat(node: Mapping[str, Any], definitions: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The node with its reference put in place and `X | None` as X; what the node itself says wins."""
    while "$ref" in node or "anyOf" in node:
        rest = {key: value for key, value in node.items() if key not in {"$ref", "anyOf"}}
        if "$ref" in node:
            inner = definitions[node["$ref"].removeprefix("#/$defs/")]
        else:
            variants = [variant for variant in node["anyOf"] if variant.get("type") != "null"]
            if len(variants) != 1:
                raise NotStructural(f"{where}: a CRD has no unions: give each variant a field, and a rule")
            (inner,) = variants
        node = {**inner, **rest}
    return node


def _ordered(schema: Schema) -> Schema:
    order = [*_PLAIN, "additionalProperties", "items", "properties"]
    return {key: schema[key] for key in order if key in schema}
