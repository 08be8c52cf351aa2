"""Values of the Plan in the words in which people declare them. Pure; for `explain`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headgate.compile.findings import spell_duration
from headgate.compile.tls import PROVIDER_ROOTS, SYSTEM_ROOTS
from headgate.model.answers import AnswerMark, ResetHeader, StatusRange
from headgate.model.matches import HeaderMatch, HeaderMatchKind, PathKind, PathMatch, RequestMatch
from headgate.model.plan import Credential, CredentialPlace, Endpoint, HealthCheck, Limit, SubjectAltName

_UNITS = (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10))
_PLACES = {
    CredentialPlace.HEADER: "header",
    CredentialPlace.QUERY: "query parameter",
    CredentialPlace.COOKIE: "cookie",
}
_ALIKE = {HeaderMatchKind.EXACT: " = ", HeaderMatchKind.REGEX: " ~ "}


def duration(value: int) -> str:
    """A time; 0 is for none."""
    return spell_duration(value) if value else "none"


def size(value: int) -> str:
    """Bytes; 0 is for no bound."""
    if not value:
        return "no bound"
    for unit, factor in _UNITS:
        if value % factor == 0:
            return f"{value // factor}{unit}"
    return f"{value} bytes"


def switch(value: object) -> str:
    """Whether TLS is used."""
    return "on" if value else "off"


def percent(value: int) -> str:
    """A share."""
    return f"{value}%"


def endpoint(value: Endpoint | object) -> str:
    """Host and port, with what is not the usual. What was declared and lost is shown as it was declared."""
    if not isinstance(value, Endpoint):
        return str(value)
    text = f"{value.authority}:{value.port}"
    if value.priority:
        text += f", priority {value.priority}"
    if value.weight != 1:
        text += f", weight {value.weight}"
    return text


def roots(bundle: str) -> str:
    """Whom TLS believes, by the name of the bundle."""
    if bundle == SYSTEM_ROOTS:
        return "all well-known CAs"
    if bundle.startswith(PROVIDER_ROOTS):
        return f"the CAs that {bundle.removeprefix(PROVIDER_ROOTS)} is known to use"
    _, namespace, names = bundle.split("/", 2)
    found = (name.partition("/") for name in names.split("+"))
    return ", ".join(f"{kind} {namespace}/{name}" for kind, _, name in found)


def certificate(name: str) -> str:
    """The Secret of a client certificate, by the name of its material."""
    return f"Secret {name.removeprefix('tls/')}"


def alt_name(value: SubjectAltName) -> str:
    """A name in a certificate."""
    return value.dns or value.uri or ""


def secret(value: Credential) -> str:
    """Where a credential's value is from; the value itself is not known here."""
    _, namespace, name, key = value.secret.split("/", 3)
    return f"Secret {namespace}/{name}, key {key}"


def place(value: Credential) -> str:
    """Where a credential goes."""
    text = location(value.place, value.key, value.prefix)
    return f"{text}, unless the caller sends one of its own" if value.yields else text


def location(place: CredentialPlace, key: str, prefix: str) -> str:
    """A place for a credential."""
    text = f"{_PLACES[place]} {key}"
    return f"{text}, after {prefix.strip()}" if prefix.strip() else text


def codes(value: Iterable[int]) -> str:
    """Statuses."""
    return ", ".join(map(str, value))


def ranges(value: Iterable[StatusRange]) -> str:
    """Statuses, neighbours together."""
    return ", ".join(str(each.low) if each.low == each.high else f"{each.low}-{each.high}" for each in value)


def reset_header(value: ResetHeader) -> str:
    """A header that says how long to wait."""
    return f"{value.name} ({value.format})"


def mark(value: AnswerMark) -> str:
    """How an answer is recognised, and what it means."""
    text = codes(value.statuses)
    where = f"header {value.header}" if value.header else value.field
    if where:
        text += f" with {' or '.join(value.texts)} in {where}"
    return f"{text}: {value.meaning}"


def limit(value: Limit) -> str:
    """A budget, and whose it is."""
    text = f"{value.requests} per {spell_duration(value.interval)}"
    if value.burst != value.requests:
        text += f", {value.burst} at once"
    if value.selectors:
        text += f", for {' or '.join(map(match, value.selectors))}"
    return text


def check(value: HealthCheck) -> str:
    """An active check."""
    text = (
        f"{value.method} {value.path} every {spell_duration(value.interval)}, at most {spell_duration(value.timeout)}"
    )
    text += f"; healthy is {ranges(value.expected)}"
    text += f"; out after {value.unhealthy_threshold}, back after {value.healthy_threshold}"
    return f"{text}; asks for {value.hostname}" if value.hostname else text


def pair(value: tuple[str, str]) -> str:
    """A header with its value."""
    return ": ".join(value)


def match(value: RequestMatch) -> str:
    """What a call has to be like."""
    parts = [",".join(value.methods), _path(value.path) if value.path else "", *map(_header, value.headers)]
    return " ".join(part for part in parts if part) or "every call"


def _path(value: PathMatch) -> str:
    match value.kind:
        case PathKind.EXACT:
            return f"= {value.value}"
        case PathKind.PREFIX:
            return value.value
        case PathKind.REGEX:
            return f"~ {value.value}"


def _header(value: HeaderMatch) -> str:
    if value.kind is HeaderMatchKind.DISTINCT:
        return f"each {value.name}"
    return f"{value.name}{_ALIKE[value.kind]}{value.value}"


def plainly(value: Any) -> str:
    """Whatever stands there, a list with commas."""
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
