"""How marks are read: the rules of AnswerMark, apart from any provider."""

from __future__ import annotations

import pytest

from headgate.model.observations import ProbeVerdict
from headgate.model.plan import AnswerMark, Meaning, StatusRange
from headgate.providers.answers import meanings, read, verdict
from headgate.providers.generic import GENERIC
from headgate.providers.profile import Probe, SectionProfile

HEADER = AnswerMark(Meaning.FINAL, (503,), header="x-code", texts=("GONE", "OVER"))
FIELD = AnswerMark(Meaning.NOTHING_RAN, (503, 504), field="code", texts=("42",))
STATUS = AnswerMark(Meaning.PAUSED, (540,))


@pytest.mark.parametrize(
    ("status", "headers", "body", "found"),
    [
        (503, {"X-Code": "it is OVER now"}, b"", {Meaning.FINAL}),
        (503, {"x-code": "over"}, b"", set()),
        (504, {"x-code": "OVER"}, b"", set()),
        (503, {"x-code-2": "OVER"}, b"", set()),
        (504, {}, b'{"code": 42}', {Meaning.NOTHING_RAN}),
        (504, {}, b'{"code": "E42-b"}', {Meaning.NOTHING_RAN}),
        (504, {}, b'[{"errors": [{"a": {"code": "42"}}]}]', {Meaning.NOTHING_RAN}),
        (504, {}, b'{"code": true, "Code": "42", "text": "code 42"}', set()),
        (504, {}, b'{"code": {"code": "x"}, "other": 42}', set()),
        (504, {}, b'{"code": "42"', set()),
        (504, {}, b"\xff\xfe", set()),
        (504, {}, b'{"code": 42, "rate": NaN}', set()),
        (504, {}, b'{"code": "42", "code": "7"}', {Meaning.NOTHING_RAN}),
        (504, {}, b'{"code": 1.42e3}', {Meaning.NOTHING_RAN}),
        (504, {}, b'{"code": "\\u00342"}', {Meaning.NOTHING_RAN}),
        (504, {}, b"[" * 100_000, set()),
        (503, {"x-code": "GONE"}, b'{"code": 42}', {Meaning.FINAL, Meaning.NOTHING_RAN}),
        (540, {}, b"<html>", {Meaning.PAUSED}),
        (200, {"x-code": "GONE"}, b'{"code": 42}', set()),
    ],
)
def test_what_marks_find(status: int, headers: dict[str, str], body: bytes, found: set[Meaning]) -> None:
    assert read((HEADER, FIELD, STATUS), status, headers, body) == found


def test_a_sections_marks_stand_beside_the_profiles() -> None:
    section = SectionProfile("x", (), marks=(STATUS,))
    assert meanings(GENERIC, section, 540, {}) == {Meaning.PAUSED}
    assert meanings(GENERIC, None, 540, {}) == frozenset()


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        # Without the field it is no answer of the provider's.
        (204, b"", ProbeVerdict.UNHEALTHY),
        (200, b"<html>log in</html>", ProbeVerdict.UNHEALTHY),
        (200, b'{"state": "good"}', ProbeVerdict.HEALTHY),
        (200, b'{"state": "not good"}', ProbeVerdict.CREDENTIAL_REJECTED),
        (299, b'{"state": "good"}', ProbeVerdict.HEALTHY),
        (300, b'{"state": "good"}', ProbeVerdict.UNHEALTHY),
        (401, b"", ProbeVerdict.CREDENTIAL_REJECTED),
        (403, b"", ProbeVerdict.CREDENTIAL_REJECTED),
        (404, b"", ProbeVerdict.UNHEALTHY),
        (429, b"", ProbeVerdict.RATE_LIMITED),
        (503, b"", ProbeVerdict.UNHEALTHY),
    ],
)
def test_the_verdict_on_a_probe(status: int, body: bytes, found: ProbeVerdict) -> None:
    assert verdict(GENERIC, Probe("/", field="state", text="good"), status, {}, body) is found


def test_a_user_may_expect_any_status() -> None:
    probe = Probe("/", expected=(StatusRange(401, 401),))
    assert verdict(GENERIC, probe, 401, {}) is ProbeVerdict.HEALTHY
    assert verdict(GENERIC, probe, 200, {}) is ProbeVerdict.UNHEALTHY
