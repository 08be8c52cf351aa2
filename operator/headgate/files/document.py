"""YAML text to plain data with the line of every field.

The reader is the API server's: a plain `yes` is a boolean and a date is text, keys are text, and no key comes twice.
Pure; called by `folder` with the bytes of one file.
"""

from __future__ import annotations

import base64
import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import yaml

from headgate.files.place import Place, Problem, Whereabouts
from headgate.model.verdict import Path

#: A document with more nodes than this (after aliases are followed) is refused: it is a mistake or an attack.
MAX_NODES = 500_000
_MAX_DEPTH = 100
#: Text that could nest deeper than this is looked through before it is composed: libyaml's composer calls itself for
#: every level, and would end the process where the stack ends.
_SAFE_DEPTH = 2_000
#: No field takes a number of more digits, and Python refuses to read much longer ones.
_MAX_DIGITS = 1_000
_TOO_LARGE = "the document is too large or nested too deeply (look for aliases that multiply): make it smaller"
_TAG = "tag:yaml.org,2002:"
_BOOL = {"y": True, "yes": True, "true": True, "on": True, "n": False, "no": False, "false": False, "off": False}
_INT = re.compile(r"[-+]?(0|[1-9][0-9_]*|0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]+)$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$")
_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: plain data (dict, list, str, int, float, bool, None) and where each of its fields stands."""

    data: Any
    where: Whereabouts


class _Refused(Exception):
    def __init__(self, message: str, line: int, path: Path = ()) -> None:
        super().__init__(message)
        self.line = line
        self.path = path


def read(file: str, content: bytes) -> tuple[list[Document], Problem | None]:
    """The documents of one file; empty ones are left out but counted. A Problem means: nothing of the file is sure."""
    documents: list[Document] = []
    number = 0
    try:
        text = content.decode("utf-8-sig")
        for node in _nodes(text):
            number += 1
            if node is None:
                continue
            builder = _Builder()
            data = builder.build(node, (), 0)
            if data is not None:
                start = Place(file, node.start_mark.line + 1, number)
                documents.append(Document(data, Whereabouts(start, MappingProxyType(builder.lines))))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        return [], Problem(Place(file, line, number + 1), "the file is not UTF-8 text: save it as UTF-8")
    except yaml.reader.ReaderError as error:
        line = content.decode("utf-8-sig")[: error.position].count("\n") + 1
        return [], Problem(
            Place(file, line, number + 1), "YAML syntax error: a control character is not allowed: take it out"
        )
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = f" {error.context}" if error.context else ""
        place = Place(file, mark.line + 1 if mark else 1, number + 1)
        column = f" at column {mark.column + 1}" if mark else ""
        return [], Problem(
            place, f"YAML syntax error{column}: {error.problem}{context}: mend this line or the one above it"
        )
    except _Refused as error:
        return [], Problem(Place(file, error.line, max(number, 1)), f"{error}")
    return documents, None


def _nodes(text: str) -> Iterator[yaml.Node | None]:
    _require_shallow(text)
    loader = _Loader(text)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        loader.dispose()


def _require_shallow(text: str) -> None:
    """Raise for text that nests too deeply to be composed. Costs next to nothing for text that can't."""
    # A block within a block begins further to the right, but for a list directly in a mapping; a flow has a bracket.
    longest = max(map(len, text.splitlines()), default=0)
    if 2 * longest + text.count("[") + text.count("{") <= _SAFE_DEPTH:
        return
    depth = 0
    with contextlib.suppress(yaml.YAMLError):  # told by the composer, which gets no further either
        for event in yaml.parse(text, _Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH:
                raise _Refused(_TOO_LARGE, event.start_mark.line + 1 if event.start_mark else 1)


class _Builder:
    """Builds one document; remembers the line of every key and item."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._count = 0

    def build(self, node: yaml.Node, path: Path, depth: int) -> Any:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_NODES or depth > _MAX_DEPTH:
            raise _Refused(_TOO_LARGE, line, path)
        self.lines.setdefault(path, line)
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path, depth)
            case yaml.SequenceNode():
                _known(node, "seq")
                return [self.build(item, (*path, index), depth + 1) for index, item in enumerate(node.value)]
            case _:
                return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        _known(node, "map")
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == f"{_TAG}merge":
                sources = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
                for source in reversed(sources):
                    inherited = self.build(source, path, depth + 1)
                    if not isinstance(inherited, dict):
                        raise _Refused(
                            "`<<` takes a mapping or a list of mappings: mend the alias after it", line, path
                        )
                    merged |= inherited
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Refused("a key must be plain text: mend what stands before the colon", line, path)
            key = _key(key_node)
            if key in own:
                raise _Refused(f"the key {key} comes twice in one mapping: take one out", line, path)
            self.lines[*path, key] = line
            own[key] = self.build(value_node, (*path, key), depth + 1)
        return merged | own


def _key(node: yaml.ScalarNode) -> str:
    value = _scalar(node)
    if isinstance(value, bool):
        return "true" if value else "false"
    return node.value if not isinstance(value, str) else value


def _known(node: yaml.Node, kind: str) -> None:
    if node.tag != f"{_TAG}{kind}":
        raise _strange_tag(node)


def _strange_tag(node: yaml.Node) -> _Refused:
    # The tag itself is not shown: a password that begins with an exclamation mark reads as one.
    message = "a tag (!) before a value means nothing here: put the value in quotes or take the tag out"
    return _Refused(message, node.start_mark.line + 1)


def _scalar(node: yaml.Node) -> Any:
    text: str = node.value
    match node.tag.removeprefix(_TAG):
        case "null":
            return None
        case "bool":
            return _BOOL.get(text.lower(), text)
        case "int" | "float":
            if len(text) > _MAX_DIGITS:
                message = f"a number of more than {_MAX_DIGITS} digits is none: put it in quotes if it is text"
                raise _Refused(message, node.start_mark.line + 1)
            return _number(text)
        case "str" | "timestamp" | "value" | "merge":
            return text
        case "binary":
            try:
                return base64.b64decode("".join(text.split()), validate=True).decode()
            except ValueError:
                raise _Refused("!!binary holds no base64 of UTF-8 text: mend it", node.start_mark.line + 1) from None
        case _:
            raise _strange_tag(node)


def _number(text: str) -> int | float | str:
    """A number as YAML 1.1 and 1.2 agree on; what only one of them takes for one (`1:30`) stays text."""
    if _INT.match(text):
        digits = text.replace("_", "")
        octal = re.fullmatch(r"([-+]?)0([0-7]+)", digits)
        return int(f"{octal[1]}0o{octal[2]}" if octal else digits, 0)
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    special = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf"), ".nan": float("nan")}
    return special.get(text.lower(), text)
