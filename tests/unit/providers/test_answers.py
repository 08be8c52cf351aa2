"""How marks are read: the rules of AnswerMark, apart from any provider."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headgate.model.answers import AnswerMark, BodyHint, Meaning, ResetFormat, ResetHeader, StatusRange
from headgate.model.observations import ProbeVerdict
from headgate.providers.answers import meanings, read, verdict, wait
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


NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("form", "text", "seconds"),
    [
        (ResetFormat.SECONDS, "90", 90),
        (ResetFormat.SECONDS, " 1.5 ", 1.5),
        (ResetFormat.MILLISECONDS, "1500", 1.5),
        (ResetFormat.UNIX_TIMESTAMP, str(int(NOW.timestamp()) + 30), 30),
        (ResetFormat.UNIX_TIMESTAMP, "1", 0),
        (ResetFormat.HTTP_DATE, "Thu, 01 Jan 2026 00:02:00 GMT", 120),
        (ResetFormat.RETRY_AFTER, "7", 7),
        (ResetFormat.RETRY_AFTER, "Thu, 01 Jan 2026 00:00:09 GMT", 9),
        (ResetFormat.RETRY_AFTER, "Wed, 31 Dec 2025 00:00:09 GMT", 0),
        *((form, text, None) for form in ResetFormat for text in ("", "soon", "-1", "nan", "1e9", "9" * 40)),
    ],
)
def test_how_long_an_answer_asks_to_wait(form: ResetFormat, text: str, seconds: float | None) -> None:
    assert wait([ResetHeader("X-Wait", form)], None, {"x-WAIT": text}, b"", NOW) == seconds


def test_the_longest_wait_counts() -> None:
    headers = [ResetHeader("a", ResetFormat.SECONDS), ResetHeader("b", ResetFormat.SECONDS)]
    body = b'{"error": {"details": [{"retryDelay": "5.5s"}, {"retryDelay": "2s"}, {"retryDelay": "9"}]}}'
    assert wait(headers, None, {"a": "1", "b": "3"}, body, NOW) == 3
    assert wait(headers, BodyHint.GOOGLE_RETRY_INFO, {"a": "1", "b": "3"}, body, NOW) == 5.5
    assert wait(headers, BodyHint.GOOGLE_RETRY_INFO, {}, b"<html>", NOW) is None
