"""What an API server would say to an object, by the schema of its CRD: for tests without a server at hand.

Follows the server's order: unknown fields are pruned, and nulls where the schema allows none; then the schema decides
(jsonschema, with patterns in RE2), then the rules of lists, then the rules in CEL (Google's own implementation, typed
by the schema as the server types it).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jsonschema
from cel_expr_python import cel
from google.protobuf import descriptor_pb2, descriptor_pool

Schema = Mapping[str, Any]
Path = tuple[str, ...]

_PROTO_TYPES = {"string": 9, "integer": 3, "boolean": 8, "number": 1}
#: Words of CEL that the server escapes in property names.
_RESERVED = {
    *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"),
    *("let", "loop", "package", "namespace", "return", "var", "void", "while"),
}


def escaped(name: str) -> str:
    """A property's name as rules must write it."""
    if name in _RESERVED:
        return f"__{name}__"
    for character, word in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(character, word)
    return name


def walk(schema: Schema, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Every node of a structural schema with its path; `[]` stands for the items of a list, `*` for those of a map."""
    yield path, schema
    for name, value in schema.get("properties", {}).items():
        yield from walk(value, (*path, name))
    if "items" in schema:
        yield from walk(schema["items"], (*path, "[]"))
    if "additionalProperties" in schema:
        yield from walk(schema["additionalProperties"], (*path, "*"))


@dataclass
class _Messages:
    """A structural schema as protobuf messages: the only types that CEL for Python can be given for objects."""

    file: descriptor_pb2.FileDescriptorProto = field(
        default_factory=lambda: descriptor_pb2.FileDescriptorProto(name="crd.proto", package="crd", syntax="proto3")
    )

    def add(self, schema: Schema) -> str:
        """A message for an object; returns its full name."""
        message = self.file.message_type.add(name=f"M{len(self.file.message_type)}")
        for number, (name, value) in enumerate(schema.get("properties", {}).items(), start=1):
            # A number or a text can't be said in protobuf; no rule reads such a field.
            if "x-kubernetes-int-or-string" in value:
                continue
            repeated = value["type"] == "array"
            inner = value["items"] if repeated else value
            entry = message.field.add(name=escaped(name), number=number, label=3 if repeated else 1)
            if "additionalProperties" in inner:
                self._map(message, entry)
            elif inner["type"] == "object":
                entry.type, entry.type_name = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE, f".{self.add(inner)}"
            else:
                entry.type = _PROTO_TYPES[inner["type"]]  # type: ignore[assignment]
        return f"crd.{message.name}"

    def _map(self, message: descriptor_pb2.DescriptorProto, entry: descriptor_pb2.FieldDescriptorProto) -> None:
        nested = message.nested_type.add(name=f"{entry.name[0].upper()}{entry.name[1:]}Entry")
        nested.options.map_entry = True
        nested.field.add(name="key", number=1, label=1, type=9)
        nested.field.add(name="value", number=2, label=1, type=9)
        entry.label, entry.type = 3, descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE  # type: ignore[assignment]
        entry.type_name = f".crd.{message.name}.{nested.name}"


def check_types(schema: Schema, rule: str) -> cel.Type:
    """The type that a rule on `schema` comes to; RuntimeError, with CEL's words, if it is not sound."""
    if schema["type"] == "string":
        return cel.NewEnv(variables={"self": cel.Type.STRING}).compile(rule).return_type()
    messages = _Messages()
    name = messages.add(schema)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(messages.file)
    return cel.NewEnv(descriptor_pool=pool, variables={"self": cel.Type(name)}).compile(rule).return_type()


@cache
def _compiled(rule: str) -> cel.Expression:
    return cel.NewEnv(variables={"self": cel.Type.DYN}).compile(rule)


@cache
def _matcher() -> cel.Expression:
    return cel.NewEnv(variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING}).compile("text.matches(pattern)")


def holds(rule: str, value: Any) -> bool:
    """Whether a rule holds for `self` = `value`, by CEL."""
    found = _compiled(rule).eval(data={"self": _for_cel(value)}).value()
    if not isinstance(found, bool):
        raise TypeError(f"{rule}: {found!r} is no verdict")
    return found


def matches(pattern: str, text: str) -> bool:
    """Whether a schema's pattern matches, by RE2."""
    return bool(_matcher().eval(data={"text": _for_cel(text), "pattern": pattern}).value())


def _for_cel(value: Any) -> Any:
    if isinstance(value, dict):
        return {_for_cel(escaped(key)): _for_cel(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_for_cel(item) for item in value]
    # The binding ends a string at NUL, where Go does not; nothing of ours tells NUL from its neighbour.
    return value.replace("\0", "\1") if isinstance(value, str) else value


def _pattern(_validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(instance, str) and not matches(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _int_or_string(_validator: Any, _on: bool, instance: Any, _schema: Any) -> Iterator[jsonschema.ValidationError]:
    if isinstance(instance, bool) or not isinstance(instance, int | str):
        yield jsonschema.ValidationError(f"{instance!r} is neither a whole number nor a text")


_Validator: Callable[..., Any] = jsonschema.validators.extend(
    jsonschema.Draft4Validator, {"pattern": _pattern, "x-kubernetes-int-or-string": _int_or_string}
)


def complaints(schema: Schema, document: Any) -> list[str]:
    """What the server would refuse the document for, empty if it takes it. The document stays as it is."""
    stored = _stored(json.loads(json.dumps(document)), schema)
    found = [f"{list(error.path)}: {error.message}" for error in _Validator(schema).iter_errors(stored)]
    return found or [*_beyond_schema(schema, stored)]


def _stored(value: Any, schema: Schema) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_stored(item, schema.get("items", {})) for item in value]
    if isinstance(value, dict):
        if "properties" in schema:
            inner = {key: schema["properties"][key] for key in value if key in schema["properties"]}
        elif "additionalProperties" in schema:
            inner = dict.fromkeys(value, schema["additionalProperties"])
        else:
            return value
        return {key: _stored(value[key], part) for key, part in inner.items() if value[key] is not None}
    return value


def _beyond_schema(schema: Schema, value: Any, path: str = "") -> Iterator[str]:
    """The complaints of list types and rules, here and below."""
    if isinstance(value, list):
        yield from _twice(schema, value, path)
        for index, item in enumerate(value):
            yield from _beyond_schema(schema["items"], item, f"{path}[{index}]")
    elif isinstance(value, dict):
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if inner is not None:
                yield from _beyond_schema(inner, item, f"{path}.{key}")
    for rule in schema.get("x-kubernetes-validations", ()):
        if not holds(rule["rule"], value):
            yield f"{path}{rule.get('fieldPath', '')}: {rule['message']}"


def _twice(schema: Schema, items: list[Any], path: str) -> Iterator[str]:
    match schema["x-kubernetes-list-type"]:
        case "map":
            keys = [tuple(item[key] for key in schema["x-kubernetes-list-map-keys"]) for item in items]
        case "set":
            keys = items
        case _:
            return
    yield from (f"{path}: {key!r} is there twice" for index, key in enumerate(keys) if key in keys[:index])
