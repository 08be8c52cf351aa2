"""What pydantic found wrong, in our own words: stable, saying what to do, and never showing text that may be a secret.

Pure. Called by whoever reads objects, with one validation error of one object.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from headgate.api import types
from headgate.api.base import RuleError, inner_model, unknown_fields
from headgate.model.verdict import Path

_WORDS = {
    types.Duration: types.DURATION_WORDS,
    types.Label: "must be at most 63 lower-case letters, digits and dashes, and begin and end with a letter or digit",
    types.ObjectName: "must be lower-case letters, digits, dashes and dots, and begin and end with a letter or digit",
    types.Hostname: types.HOSTNAME_WORDS,
    types.HeaderName: "must be a header name: letters, digits and dashes, without a colon or spaces",
    types.HeaderText: "must be visible ASCII text on one line",
    types.Method: "must be an HTTP method in upper case, such as GET",
    types.PathPrefix: "must be a path that begins with / and has no query, fragment or spaces",
    types.Cidr: "must be a network such as 10.0.0.0/8",
}


def _patterns_in(annotation: Any) -> Iterator[str]:
    for arg in get_args(annotation):
        if isinstance(arg, FieldInfo):
            yield from _patterns_of(arg)
        yield from _patterns_in(arg)


def _patterns_of(info: FieldInfo) -> Iterator[str]:
    return (str(part.pattern) for part in info.metadata if getattr(part, "pattern", None))


_PATTERNS = {next(_patterns_in(annotation)): words for annotation, words in _WORDS.items()}
_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping of fields",
}


def telling(errors: Sequence[Any]) -> list[Any]:
    """Without a list that is called too short only because what is in it is wrong, which is said of that."""
    places = [tuple(error["loc"]) for error in errors]
    return [
        error
        for error in errors
        if error["type"] != "too_short"
        or not any(place[: len(error["loc"])] == tuple(error["loc"]) != place for place in places)
    ]


def sentence(model: type[BaseModel], error: Any) -> tuple[Path, str]:
    """The field to blame and what to do about it, for one entry of `ValidationError.errors()` about `model`."""
    path: Path = tuple(error["loc"])
    context: dict[str, Any] = error.get("ctx") or {}
    kind: str = error["type"]
    value = error.get("input")
    match kind:
        case "value_error" if isinstance(context.get("error"), RuleError):
            broken: RuleError = context["error"]
            return path + tuple(broken.field.split(".") if broken.field else ()), str(broken)
        case "missing":
            return path, "is missing: it has to be given"
        case "literal_error":
            return path, _choice(context["expected"], value)
        case "string_pattern_mismatch":
            return path, _PATTERNS.get(context["pattern"], f"must match the pattern {context['pattern']}")
        case "string_type" if isinstance(value, int | float) and (words := _words_at(model, path)):
            return path, f"{words}, not {_what(value)}"
        case _ if kind in _KINDS:
            return path, _wrong_type(_KINDS[kind], value)
        case _:
            return path, _bound(kind, context) or f"{error['msg'][:1].lower()}{error['msg'][1:]}"


def _bound(kind: str, context: dict[str, Any]) -> str:
    match kind:
        case "greater_than_equal":
            return f"must be at least {context['ge']}"
        case "less_than_equal":
            return f"must be at most {context['le']}"
        case "string_too_short":
            return _at_least(context["min_length"], "characters")
        case "string_too_long":
            return f"must have at most {context['max_length']} characters"
        case "too_short":
            return _at_least(context["min_length"], "entries")
        case "too_long":
            return f"must have at most {context['max_length']} entries, and has {context['actual_length']}"
        case _:
            return ""


def _at_least(least: int, what: str) -> str:
    return "must not be empty" if least == 1 else f"must have at least {least} {what}"


def _choice(expected: str, value: object) -> str:
    choices = [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
    wanted = choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"
    said = "must be" if len(choices) == 1 else "must be one of"
    if not isinstance(value, str):
        return f"{said} {wanted}, not {_what(value)}"
    return f"{said} {wanted}{_meant(value, choices) if len(choices) > 1 else ''}"


def _wrong_type(wanted: str, value: object) -> str:
    message = f"must be {wanted}, not {_what(value)}"
    if isinstance(value, str) and wanted.endswith("number") and _is_number(value):
        return f'must be {wanted}, not the text "{value}": take the quotes away'
    if isinstance(value, str) and wanted == "true or false" and value.lower() in {"true", "false", "yes", "no"}:
        return f'must be {wanted}, not the text "{value}": take the quotes away'
    if wanted == "text" and isinstance(value, bool | int | float):
        return f"{message}: put it in quotes"
    if wanted == "a list" and value is not None:
        return f"{message}: begin each entry with a dash"
    return message


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _what(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _meant(given: str, choices: Iterable[str]) -> str:
    """`: did you mean X?` where something like `given` is among the choices, else nothing."""
    by_lower = {choice.lower(): choice for choice in choices}
    close = difflib.get_close_matches(given.lower(), by_lower, n=1, cutoff=0.6)
    return f": did you mean {by_lower[close[0]]}?" if close else ""


def meant(given: str, choices: Iterable[str], otherwise: str) -> str:
    """`: did you mean X?`, or `: ` and what to do otherwise."""
    return _meant(given, choices) or f": {otherwise}"


def unknown(model: type[BaseModel], data: object) -> Iterator[tuple[Path, str]]:
    """A sentence for every field of `data` that nothing reads."""
    for path in unknown_fields(model, data):
        fields = _fields_at(model, path[:-1])
        close = _meant(str(path[-1]), fields)
        known = f"it may have {', '.join(sorted(fields))}" if fields else "take it out"
        yield path, f"there is no such field{close or f': {known}'}"


def _words_at(model: type[BaseModel], path: Path) -> str:
    """What the field at `path` must be, where its type has words of its own."""
    parent = _model_at(model, path[:-1])
    name = next((step for step in reversed(path) if isinstance(step, str)), "")
    info = (
        next((info for key, info in parent.model_fields.items() if (info.alias or key) == name), None)
        if parent
        else None
    )
    if info is None:
        return ""
    # A required field's own type is taken apart by pydantic: its pattern is in the metadata.
    patterns = chain(_patterns_of(info), _patterns_in(info.annotation))
    return next((_PATTERNS[found] for found in patterns if found in _PATTERNS), "")


def _fields_at(model: type[BaseModel], path: Path) -> list[str]:
    found = _model_at(model, path)
    return [info.alias or name for name, info in found.model_fields.items()] if found else []


def _model_at(model: type[BaseModel], path: Path) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for step in path:
        if isinstance(step, int) or current is None:
            continue
        info = next((info for name, info in current.model_fields.items() if (info.alias or name) == step), None)
        current = inner_model(info.annotation) if info else None
    return current
