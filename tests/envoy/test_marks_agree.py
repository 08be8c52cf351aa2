"""Marks are read in two places, by the proxies' script and by `headgate.providers.answers`: both say the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.dataplane import DataPlane
from harness.plans import endpoint, gateway, retry, section, upstream
from headgate.model.answers import AnswerMark, Meaning
from headgate.providers.answers import read
from headgate.simulate.behaviours import respond, sequence
from headgate.simulate.server import FakeServer

MARKS = (
    AnswerMark(Meaning.NOTHING_RAN, (503, 504), header="x-code", texts=("BUSY", "p|pe, 100%")),
    AnswerMark(Meaning.NOTHING_RAN, (503, 504), field="code", texts=("42", 'quo"te', "é")),
    AnswerMark(Meaning.FINAL, (503,), field="reason", texts=("GONE",)),
    AnswerMark(Meaning.PAUSED, (540,)),
)
#: Status, value of x-code, body.
ANSWERS: tuple[tuple[int, str, str], ...] = (
    (503, "", ""),
    (503, "it is BUSY", ""),
    (503, "busy", ""),
    (504, "a p|pe, 100%25", ""),
    (504, "a p|pe, 100", ""),
    (502, "BUSY", '{"code": 42}'),
    (504, "BUS", '{"code": 42}'),
    (504, "", '{"code": "E42-b"}'),
    (504, "", '[{"errors": [{"a": [1, {"code": "42"}, []]}]}]'),
    (504, "", '{"code": true, "Code": "42", "text": "code 42"}'),
    (504, "", '{"text": "\\"code\\": \\"42\\""}'),
    (504, "", '{"code": {"code": "x"}, "other": 42}'),
    (504, "", '{"code": ["42"]}'),
    (504, "", '{"code": null, "list": [42]}'),
    (504, "", '{"code": "42"'),
    (504, "", '{"code": "42"} trailing'),
    (504, "", '{"code": 42, "rate": NaN}'),
    (504, "", '{"code": 1.42e3}'),
    (504, "", '{"code": "7", "code": "42"}'),
    (504, "", '{"code": "42", "code": "7"}'),
    (504, "", '{"code": "\\u00342"}'),
    (504, "", '{"code": "a quo\\"te"}'),
    (504, "", '{"code": "\\u00e9"}'),
    (504, "", '{"code": "é"}'),
    (504, "", "  \n42"),
    (504, "", "<html>code 42</html>"),
    (503, "BUSY", '{"reason": "GONE"}'),
    (503, "", '{"reason": "GONE", "code": 42}'),
    (504, "", '{"reason": "GONE", "code": 42}'),
    (540, "BUSY", ""),
)


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="module")
def plane(provider: FakeServer) -> Iterator[DataPlane]:
    policy = retry(503, 504, 540, attempts=1, methods=("GET",), marks=MARKS)
    with DataPlane(gateway(upstream(section(endpoint(provider.port), retry=policy)))) as running:
        yield running


@pytest.mark.parametrize(("status", "code", "body"), ANSWERS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_answer_is_repeated_if_both_say_so(
    plane: DataPlane, provider: FakeServer, method: str, status: int, code: str, body: str
) -> None:
    headers = {"x-code": code, "content-type": "application/json"}
    found = read(MARKS, status, headers, body.encode())
    repeated = not found - {Meaning.NOTHING_RAN} and (bool(found) or (method == "GET" and status in {503, 504, 540}))
    provider.recorder.clear()
    provider.default(sequence(respond(status, body.encode(), headers), respond(200)))
    assert plane.call("demo/api", method=method).status_code == (200 if repeated else status)
    assert len(provider.requests) == (2 if repeated else 1)
