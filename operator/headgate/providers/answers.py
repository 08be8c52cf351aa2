"""What an answer of a provider says, by the marks of its profile. Pure; for probers and tests, on any thread.

The proxies read marks the same way, in a script of their own: see `AnswerMark` for the rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from headgate.model.plan import AnswerMark, Meaning
from headgate.providers.profile import Probe, Profile, SectionProfile


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


class ProbeVerdict(StrEnum):
    """What one answer to a probe says of the provider."""

    HEALTHY = "Healthy"
    #: It answers, and well, but not with this credential.
    CREDENTIAL_REJECTED = "CredentialRejected"
    #: The account or project is switched off.
    PAUSED = "Paused"
    #: It asks to be called less often; that says nothing of its health.
    RATE_LIMITED = "RateLimited"
    UNHEALTHY = "Unhealthy"


def verdict(profile: Profile, probe: Probe, status: int, headers: Mapping[str, str], body: bytes = b"") -> ProbeVerdict:
    """Judge an answer to `probe`, which may be the profile's or a user's. A probe asks for nothing in particular, so that
    401 and 403 are about the credential, marked or not."""
    if any(each.low <= status <= each.high for each in probe.expected):
        return _of_expected(probe, body)
    found = meanings(profile, None, status, headers, body)
    if Meaning.PAUSED in found:
        return ProbeVerdict.PAUSED
    if Meaning.CREDENTIAL_REJECTED in found or status in {401, 403}:
        return ProbeVerdict.CREDENTIAL_REJECTED
    return ProbeVerdict.RATE_LIMITED if status == 429 else ProbeVerdict.UNHEALTHY


def _of_expected(probe: Probe, body: bytes) -> ProbeVerdict:
    """With the status as it should be, the field tells whether the credential is in force."""
    if not probe.field or probe.text in _values(body, probe.field):
        return ProbeVerdict.HEALTHY
    return ProbeVerdict.CREDENTIAL_REJECTED
