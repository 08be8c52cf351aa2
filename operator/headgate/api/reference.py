"""The reference of every kind and field, as Markdown, from the same schemas as the CRDs.

One table per object, in the order of the models; a pure function. Defaults are in the descriptions: they are applied
in compile, and the schema has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from headgate.api import types
from headgate.api.base import API_VERSION
from headgate.api.meta import Kind
from headgate.api.schema import Schema

_INTRODUCTION = f"""\
<!-- Generated from headgate.api by `make crds`: change the models, not this file. -->

# Reference

Every kind of `{API_VERSION}` and every field of it. In a cluster, `kubectl explain upstream.spec --recursive` says the
same.

A field that is not marked *required* may be left out. What then counts is said as its default; the API server fills
in nothing, so that a provider's profile can come before the general default. A field set to null counts as left out.

A *duration* is written like `500ms`, `30s` or `1m30s` (units h, m, s and ms). A *name* is up to 63 lower-case
letters, digits and dashes. A *quantity* is a number of bytes, as in `1048576`, `500k` or `10Mi` (units k, M, G, T and
Ki, Mi, Gi, Ti). A list *keyed by* a field holds each value of that field once, a *set* each item once; in both,
several owners may each apply items of their own by server-side apply. Any other list is applied as a whole.
"""

#: What the types of `types.py` are called; the schema knows them by their patterns.
_WORDS: Mapping[Any, str] = {
    types.Duration: "duration",
    types.Label: "name",
    types.ObjectName: "object name",
    types.LabelValue: "label value",
    types.Hostname: "host name or IP address",
    types.HeaderName: "header name",
    types.HeaderText: "printable ASCII",
    types.Method: "HTTP method, upper-case",
    types.PathPrefix: "absolute path without query",
    types.Cidr: "network, as address/bits",
}


def reference(kinds: Sequence[type[Kind]], schemas: Mapping[str, Schema]) -> str:
    """The whole page: `schemas` are the structural schemas by kind."""
    words = {TypeAdapter(hint).json_schema()["pattern"]: word for hint, word in _WORDS.items()}
    contents = [f"- [{kind.names.kind}](#{kind.names.kind.lower()}): {_said(kind.__doc__ or '')}" for kind in kinds]
    parts = [_INTRODUCTION, "\n".join(contents) + "\n"]
    parts += ["\n".join(_kind(kind, schemas[kind.names.kind], words)) + "\n" for kind in kinds]
    return "\n".join(parts)


def _kind(kind: type[Kind], schema: Schema, words: Mapping[str, str]) -> Iterator[str]:
    names = kind.names
    called = ", ".join(f"`{name}`" for name in (names.plural, names.singular, *names.short) if name)
    yield from (f"## {names.kind}", "", _said(schema["description"]), "", f"In commands: {called}.")
    yield from _rules(schema)
    yield from ("", "| column | |", "|---|---|")
    for column in kind.columns:
        wide = " With `-o wide`." if column.priority else ""
        yield f"| {column.name.upper()} | {_said(column.description)}{wide} |"
    for field in ("spec", "status"):
        yield from _object(f"{names.kind}: ", field, schema["properties"][field], words)


def _object(kind: str, path: str, schema: Schema, words: Mapping[str, str]) -> Iterator[str]:
    """One object's table, then those of the objects in it."""
    required = set(schema.get("required", ()))
    yield from ("", f"### {kind}{path}", "", _said(schema["description"]))
    yield from _rules(schema)
    yield from ("", "| field | type | |", "|---|---|---|")
    for name, field in schema["properties"].items():
        needed = "*Required.* " if name in required else ""
        yield f"| `{name}` | {_type(field, words)} | {needed}{_said(field['description'])} |"
    for name, field in schema["properties"].items():
        inner, suffix = (field["items"], "[]") if field.get("type") == "array" else (field, "")
        if "properties" in inner:
            yield from _object(kind, f"{path}.{name}{suffix}", inner, words)


def _rules(schema: Schema) -> Iterator[str]:
    rules = schema.get("x-kubernetes-validations", ())
    if rules:
        yield ""
    for rule in rules:
        yield f"- Rule: {_said(rule['message'])}."


def _type(schema: Schema, words: Mapping[str, str]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    match str(schema.get("type", "")):
        case "":
            return "quantity"
        case "array":
            return _list(schema, words)
        case "integer":
            low, high = schema.get("minimum"), schema.get("maximum")
            return "integer" if high is None else f"integer, {low} to {high}"
        case "string":
            if schema.get("format") == "date-time":
                return "time, RFC 3339"
            return words.get(schema.get("pattern", ""), "string")
        case "object" if "additionalProperties" in schema:
            return f"map of string to {_type(schema['additionalProperties'], words)}"
        case other:
            return str(other)


def _list(schema: Schema, words: Mapping[str, str]) -> str:
    least, most = schema.get("minItems", 0), schema["maxItems"]
    size = f"{least} to {most}" if least else f"at most {most}"
    item = _type(schema["items"], words)
    match schema["x-kubernetes-list-type"]:
        case "map":
            return f"list of {item}, {size}, keyed by `{schema['x-kubernetes-list-map-keys'][0]}`"
        case "set":
            return f"set of {item}, {size}"
        case _:
            return f"list of {item}, {size}"


def _said(text: str) -> str:
    return text.replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")
