"""Which fields of the CRDs, and which of their enumerated values, black-box tests use: read from the tests' source.

Counted is YAML that a test gives to a real gateway: the spec in `space.put("Kind", name, spec)`, and any string that
holds whole objects of ours. Where a test fills in a value, the strings in its module are taken for what it fills in.
"""

from __future__ import annotations

import ast
import re
import string
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FILLED_IN = "filled-in-by-the-test"
GROUP = "headgate.dev/"


@dataclass(slots=True)
class Used:
    """What is used of one field: the values that stand there, for scalars."""

    values: set[str] = field(default_factory=set)


def declared(crds: Iterable[Path]) -> dict[str, frozenset[str]]:
    """Every field below `spec`, as `Kind.spec.a.b[].c`, with its enumerated values (none if it has no such)."""
    found: dict[str, frozenset[str]] = {}
    for path in crds:
        crd = yaml.safe_load(path.read_text())
        (version,) = crd["spec"]["versions"]
        spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        found.update(_declared(f"{crd['spec']['names']['kind']}.spec", spec))
    return found


def _declared(path: str, schema: Mapping[str, Any]) -> Iterator[tuple[str, frozenset[str]]]:
    if schema.get("type") == "array":
        yield from _declared(f"{path}[]", schema["items"])
        return
    yield path, frozenset(str(value) for value in schema.get("enum", ()))
    for name, inner in schema.get("properties", {}).items():
        yield from _declared(f"{path}.{name}", inner)


def used(tests: Iterable[Path]) -> dict[str, Used]:
    """The fields that these modules use."""
    found: dict[str, Used] = {}
    for path in tests:
        tree = ast.parse(path.read_text(), str(path))
        words = {
            node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        for kind, spec in _specs(tree):
            _use(f"{kind}.spec", spec, words, found)
    return found


def _use(path: str, value: Any, words: set[str], found: dict[str, Used]) -> None:
    if isinstance(value, list):
        for item in value:
            _use(f"{path}[]", item, words, found)
        return
    here = found.setdefault(path, Used())
    if isinstance(value, dict):
        for name, inner in value.items():
            _use(f"{path}.{name}", inner, words, found)
    elif isinstance(value, str) and FILLED_IN in value:
        here.values |= words
    else:
        here.values.add(str(value))


def _specs(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    constants = _constants(tree)
    for node in ast.walk(tree):
        text = _text(node, constants)
        if text is not None and GROUP in text:
            yield from _objects(text)
        match node:
            case ast.Call(func=ast.Attribute(attr="put"), args=[ast.Constant(value=str() as kind), _, given, *_]):
                spec = _text(given, constants)
                document = _load(spec) if spec is not None else None
                if isinstance(document, dict):
                    yield kind, document
            case _:
                pass


def _objects(text: str) -> Iterator[tuple[str, Any]]:
    try:
        documents = list(yaml.safe_load_all(_plain(text)))
    except yaml.YAMLError:
        return
    for document in documents:
        if isinstance(document, dict) and str(document.get("apiVersion", "")).startswith(GROUP):
            yield str(document["kind"]), document.get("spec")


def _load(text: str) -> Any:
    try:
        return yaml.safe_load(textwrap.dedent(text))
    except yaml.YAMLError:
        return None


def _constants(tree: ast.Module) -> dict[str, str]:
    """The module's strings by name."""
    found: dict[str, str] = {}
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str() as text)):
                found[name] = text
            case _:
                pass
    return found


def _text(node: ast.AST, constants: Mapping[str, str]) -> str | None:
    """A string as far as the source tells it."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.Name(id=name):
            return constants.get(name)
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else FILLED_IN for part in parts)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="format")) if name in constants:
            return _plain(constants[name])
        case _:
            return None


def _plain(text: str) -> str:
    """A template for `str.format` with its places filled in; any other text as it is."""
    if not re.search(r"\{\{.*\}\}", text, re.DOTALL):
        return text
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError:
        return text
    return "".join(literal + (FILLED_IN if name is not None else "") for literal, name, _, _ in pieces)
