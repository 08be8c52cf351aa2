"""Field types that several kinds share, each with the pattern that the CRD carries.

Patterns must mean the same to pydantic (Rust's regex) and to the API server (Go's): ASCII classes are spelled out,
because `\\s` and `\\w` are Unicode to the one and ASCII to the other; `$` is the very end to both.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, TypeVar

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_HOSTNAME = (
    r"^([A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9_]*[A-Za-z0-9])?)*"
    r"|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)$"
)
_HOSTNAME_MAX = 253
_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_LABEL_MAX = 63
_QUANTITY = r"^[0-9]{1,16}(\.[0-9]{1,9})?(k|M|G|T|Ki|Mi|Gi|Ti|[eE][0-9]{1,2})?$"
_QUANTITY_MAX = 32
_UNIT_BYTES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNIT_BYTES |= {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
#: The largest number of bytes that can be said: one pebibyte.
BYTES_MAX = 2**50
_CPU = r"^([0-9]{1,3}(\.[0-9]{1,3})?|[0-9]{1,6}m|1000)$"
#: The most CPU that can be said: a thousand cores.
CPU_MAX = 1000
_DURATION = re.compile(r"([0-9]{1,5})(ms|h|m|s)")
_UNIT_MILLIS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

T = TypeVar("T")

#: A list in YAML, a tuple in here: frozen.
Seq = Annotated[tuple[T, ...], Strict(False)]


@dataclass(frozen=True, slots=True)
class Unique:
    """Marks a Seq that holds each item once: by `key`, or as a whole if that is empty.

    In the CRD it becomes a list-map or a set, so that several field managers may each own items of it by server-side
    apply. A Seq without this mark is atomic: whoever applies it owns all of it. Put it after the Field.
    """

    key: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        found = handler(schema)
        if self.key:
            return found | {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [self.key]}
        return found | {"x-kubernetes-list-type": "set"}

    def _check(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        seen: set[Hashable] = set()
        for item in items:
            name = getattr(item, self.key) if self.key else item
            if name in seen:
                what = self.key or "item"
                words = "{name} is there twice: give each {what} once"
                raise PydanticCustomError("not_unique", words, {"name": str(name), "what": what})
            seen.add(name)
        return items


@dataclass(frozen=True, slots=True)
class _IntOrString:
    """Makes `int | str` what the CRD calls int-or-string: a number, or a text that fits the quantity's pattern. `words` say how
    it is written."""

    pattern: str
    most: int
    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        bounds = {"minimum": 0, "maximum": self.most, "pattern": self.pattern, "maxLength": _QUANTITY_MAX}
        return {**bounds, "x-kubernetes-int-or-string": True}

    def _check(self, value: Any) -> int | str:
        match value:
            case bool():
                pass
            case int() if 0 <= value <= self.most:
                return value
            case str() if len(value) <= _QUANTITY_MAX and re.fullmatch(self.pattern, value):
                return value
            case _:
                pass
        raise PydanticCustomError("quantity", "{words}", {"words": self.words})


AS_SET = Unique()
BY_NAME = Unique("name")


def _worded(pattern: str, words: str) -> dict[str, Any]:
    """The API server names a pattern that is not kept, and no more; by a rule it says what to write as well."""
    return {"x-kubernetes-validations": [{"rule": f"self.matches(r'{pattern}')", "message": words}]}


DURATION = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
DURATION_WORDS = "must be a duration such as 500ms, 30s or 1m30s"
#: A Gateway API duration (GEP-2257): `500ms`, `1m30s`; units h, m, s, ms; each number at most 5 digits.
Duration = Annotated[str, Field(pattern=DURATION, max_length=32, json_schema_extra=_worded(DURATION, DURATION_WORDS))]

#: A number of bytes as a Kubernetes quantity: `1048576`, `1M`, `10Mi`, `1.5Gi`; `byte_count` reads it.
ByteQuantity = Annotated[
    int | str,
    _IntOrString(_QUANTITY, BYTES_MAX, "must be a number of bytes such as 1048576, 500k or 10Mi, at most 1024Ti"),
]

#: CPU as a Kubernetes quantity: `500m`, `2`, `1.5`; `cpu_millis` reads it.
CpuQuantity = Annotated[
    int | str, _IntOrString(_CPU, CPU_MAX, "must be an amount of CPU such as 500m, 2 or 1.5, at most 1000")
]

#: A DNS label: the name of a section, a rule, a credential.
Label = Annotated[str, Field(pattern=_LABEL, min_length=1, max_length=_LABEL_MAX)]

#: The name of any Kubernetes object.
ObjectName = Annotated[str, Field(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", min_length=1, max_length=253)]

#: The value of a Kubernetes label.
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]

HOSTNAME_WORDS = "must be a host name or an IP address alone: without scheme, port, path or brackets"
#: A host name or an IP address (no brackets, no port).
Hostname = Annotated[
    str,
    Field(
        pattern=_HOSTNAME,
        min_length=1,
        max_length=_HOSTNAME_MAX,
        json_schema_extra=_worded(_HOSTNAME, HOSTNAME_WORDS),
    ),
]

Port = Annotated[int, Field(ge=1, le=65535)]

#: An HTTP header name (RFC 9110 token).
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$", min_length=1, max_length=256)]

#: An HTTP header value: visible ASCII, spaces and tabs inside.
HeaderText = Annotated[str, Field(pattern=r"^[\x20-\x7E\t]*$", max_length=4096)]

#: An HTTP method.
Method = Annotated[str, Field(pattern=r"^[A-Z]+$", min_length=1, max_length=16)]

#: A path prefix: absolute, visible ASCII as on the wire, without query or fragment.
PathPrefix = Annotated[str, Field(pattern=r"^/[\x21\x22\x24-\x3E\x40-\x7E]*$", min_length=1, max_length=1024)]

#: A path with or without a query: absolute, visible ASCII as on the wire, without fragment.
PathAndQuery = Annotated[str, Field(pattern=r"^/[\x21\x22\x24-\x7E]*$", min_length=1, max_length=1024)]

#: A regular expression in RE2 syntax.
Regex = Annotated[str, Field(min_length=1, max_length=1024)]

#: An HTTP status code that a response can end with.
Status = Annotated[int, Field(ge=200, le=599)]

#: An IPv4 or IPv6 network, `10.0.0.0/8`.
Cidr = Annotated[str, Field(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$", max_length=49)]

#: A percentage.
Percent = Annotated[int, Field(ge=1, le=100)]


def millis(duration: str) -> int:
    """A Duration in whole milliseconds; ValueError if it is not one."""
    total, end = 0, 0
    for found in _DURATION.finditer(duration):
        if found.start() != end:
            break
        total += int(found[1]) * _UNIT_MILLIS[found[2]]
        end = found.end()
    if not duration or end != len(duration):
        raise ValueError(f"{duration!r} is not a duration: write it like 500ms, 30s or 1m30s")
    return total


def byte_count(quantity: int | str) -> int:
    """A ByteQuantity in bytes; ValueError, with a sentence, if it is none, no whole number, or too large."""
    text = str(quantity)
    if not re.fullmatch(_QUANTITY, text):
        raise ValueError(f"{text!r} is no size: write it like 500k or 10Mi")
    number, unit = re.fullmatch(r"([0-9.]+)(.*)", text).groups()  # type: ignore[union-attr]
    factor = 10 ** int(unit[1:]) if unit[:1] in {"e", "E"} else _UNIT_BYTES[unit]
    found = Fraction(number) * factor
    if found.denominator != 1:
        raise ValueError(f"{text} is no whole number of bytes: round it")
    if found > BYTES_MAX:
        raise ValueError(f"{text} is too much: the most is 1024Ti; 0 is for no bound")
    return int(found)


def cpu_millis(quantity: int | str) -> int:
    """A CpuQuantity in thousandths of a core; ValueError, with a sentence, if it is none."""
    text = str(quantity)
    if not re.fullmatch(_CPU, text):
        raise ValueError(f"{text!r} is no amount of CPU: write it like 500m or 2")
    return int(text[:-1]) if text.endswith("m") else int(Fraction(text) * 1000)


def is_hostname(text: str) -> bool:
    """Whether a text would do as a Hostname."""
    return len(text) <= _HOSTNAME_MAX and re.fullmatch(_HOSTNAME, text) is not None


def is_label(text: str) -> bool:
    """Whether a text would do as a Label."""
    return len(text) <= _LABEL_MAX and re.fullmatch(_LABEL, text) is not None
