"""What an answer of a provider says, by the marks of its profile. Pure; for probers and tests, on any thread.

The proxies read marks the same way, in a script of their own: see `AnswerMark` for the rules.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from headgate.model.answers import AnswerMark, BodyHint, Meaning, ResetFormat, ResetHeader, StatusRange
from headgate.model.observations import ProbeVerdict
from headgate.providers.profile import Probe, Profile, SectionProfile

_DECIMAL = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


def meanings(
    profile: Profile, section: SectionProfile | None, status: int, headers: Mapping[str, str], body: bytes = b""
) -> frozenset[Meaning]:
    """What the answer means beyond its status. `section` None: it came from no section of the profile's own. A body that
    is no JSON says nothing."""
    return read((*profile.marks, *(section.marks if section else ())), status, headers, body)


def read(marks: Iterable[AnswerMark], status: int, headers: Mapping[str, str], body: bytes = b"") -> frozenset[Meaning]:
    """What these marks find in the answer."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return frozenset(mark.meaning for mark in marks if _matches(mark, status, lowered, body))


def _matches(mark: AnswerMark, status: int, headers: Mapping[str, str], body: bytes) -> bool:
    if status not in mark.statuses:
        return False
    if mark.header:
        return _contains(headers.get(mark.header, ""), mark)
    if mark.field:
        return any(_contains(text, mark) for text in _values(body, mark.field))
    return True


def _contains(text: str, mark: AnswerMark) -> bool:
    return any(each in text for each in mark.texts)


def _values(body: bytes, name: str) -> Sequence[str]:
    """The strings and numbers of this name, anywhere in the body, as they are written; none if it is no JSON."""
    found: list[str] = []

    def note(pairs: list[tuple[str, object]]) -> None:
        found.extend(value for key, value in pairs if key == name and isinstance(value, str))

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON")

    try:
        text = body.decode("utf-8", "surrogateescape")
        json.loads(text, object_pairs_hook=note, parse_int=str, parse_float=str, parse_constant=refuse)
    except (ValueError, RecursionError):
        return ()
    return found


def verdict(profile: Profile, probe: Probe, status: int, headers: Mapping[str, str], body: bytes = b"") -> ProbeVerdict:
    """Judge an answer to a profile's probe, by the marks that count everywhere."""
    return judge(probe, profile.marks, status, headers, body)


class Expectation(Protocol):
    """What an answer should be like: see `Probe`, of the Plan or of a profile."""

    @property
    def expected(self) -> tuple[StatusRange, ...]: ...
    @property
    def field(self) -> str: ...
    @property
    def text(self) -> str: ...


def judge(
    expectation: Expectation,
    marks: Iterable[AnswerMark],
    status: int,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> ProbeVerdict:
    """Judge an answer to a probe. A probe asks for nothing in particular, so that 401 and 403 are about the credential,
    marked or not."""
    if any(each.low <= status <= each.high for each in expectation.expected):
        return _of_expected(expectation, body)
    found = read(marks, status, headers, body)
    if Meaning.PAUSED in found:
        return ProbeVerdict.PAUSED
    if Meaning.CREDENTIAL_REJECTED in found or status in {401, 403}:
        return ProbeVerdict.CREDENTIAL_REJECTED
    return ProbeVerdict.RATE_LIMITED if status == 429 else ProbeVerdict.UNHEALTHY


def _of_expected(expectation: Expectation, body: bytes) -> ProbeVerdict:
    """With the status as it should be, the field tells whether the credential is in force. An answer without it is not the
    provider's: some page in between, a login or a maintenance notice."""
    if not expectation.field:
        return ProbeVerdict.HEALTHY
    found = _values(body, expectation.field)
    if expectation.text in found:
        return ProbeVerdict.HEALTHY
    return ProbeVerdict.CREDENTIAL_REJECTED if found else ProbeVerdict.UNHEALTHY


def wait(
    reset_headers: Iterable[ResetHeader],
    body_hint: BodyHint | None,
    headers: Mapping[str, str],
    body: bytes,
    now: datetime,
) -> float | None:
    """How many seconds the answer asks to wait: the longest of what it says; None if it says nothing that can be read."""
    lowered = {name.lower(): value for name, value in headers.items()}
    found = [_seconds(lowered.get(each.name.lower(), ""), each.format, now) for each in reset_headers]
    if body_hint is BodyHint.GOOGLE_RETRY_INFO:
        found += [_number(each.removesuffix("s")) for each in _values(body, "retryDelay") if each.endswith("s")]
    return max((each for each in found if each is not None), default=None)


def _seconds(text: str, form: ResetFormat, now: datetime) -> float | None:
    match form:
        case ResetFormat.SECONDS:
            return _number(text)
        case ResetFormat.MILLISECONDS:
            number = _number(text)
            return None if number is None else number / 1000
        case ResetFormat.UNIX_TIMESTAMP:
            number = _number(text)
            return None if number is None else max(0.0, number - now.timestamp())
        case ResetFormat.HTTP_DATE:
            return _until(text, now)
        case ResetFormat.RETRY_AFTER:
            number = _number(text)
            return _until(text, now) if number is None else number


def _number(text: str) -> float | None:
    """A plain decimal number; None for anything else."""
    return float(text) if _DECIMAL.fullmatch(text.strip()) else None


def _until(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
