"""Answers that mean more than their status: what nothing ran for is repeated, what is final is not, by whatever sign."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from dataclasses import replace
from typing import Any

import pytest

from fakes.rawserver import RawServer, raw_bytes
from harness.bench import Bench, ReportingPlane
from harness.plans import endpoint, retry
from headgate.envoy.script import script_filter
from headgate.model.answers import AnswerMark, BodyHint, Meaning, ResetFormat, ResetHeader, StatusRange
from headgate.model.plan import Breaker, Retry, Timeouts
from headgate.providers.answers import read
from headgate.simulate.behaviours import Behaviour, Call, json_response, respond, sequence
from headgate.simulate.server import FakeServer

JSON = {"content-type": "application/json; charset=utf-8"}
SAFE = AnswerMark(Meaning.NOTHING_RAN, (503, 504), field="code", texts=("PGRST000", "PGRST003"))
SAFE_HEADER = AnswerMark(Meaning.NOTHING_RAN, (503, 504), header="proxy-status", texts=("PGRST000",))
PAUSED = AnswerMark(Meaning.PAUSED, (540,))
FINAL = AnswerMark(Meaning.FINAL, (429, 503), field="quotaId", texts=("PerDay",))
REJECTED = AnswerMark(Meaning.CREDENTIAL_REJECTED, (400, 403), field="code", texts=("6003",))
MARKS = (SAFE, SAFE_HEADER, PAUSED, FINAL, REJECTED)
#: Without Retry-After; 504 is not among the statuses.
POLICY = retry(429, 503, 540, attempts=2, marks=MARKS)

SAFE_BODY = {"code": "PGRST000", "details": None, "hint": None, "message": "Database connection error"}
FINAL_BODY = {"error": {"code": 429, "details": [{"violations": [{"quotaId": "GenerateRequestsPerDayPerProject"}]}]}}


def _serve(bench: Bench, provider: FakeServer | RawServer, policy: Retry = POLICY, **changes: Any) -> str:
    return bench.serve(bench.section(endpoint(provider.port), retry=policy, **changes))


def _calls(provider: FakeServer) -> int:
    return len(provider.requests)


# What is repeated


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
@pytest.mark.parametrize("status", [503, 504])
def test_where_nothing_ran_any_method_is_repeated(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, method: str, status: int
) -> None:
    """504 is not in `statuses`: the mark is enough."""
    refused = json_response(SAFE_BODY, status)
    provider.default(sequence(refused, refused, respond(201, "done")))
    response = plane.call(_serve(bench, provider), "/rpc", method, content=b'{"a": 1}')
    assert (response.status_code, response.text) == (201, "done")
    assert [(seen.method, seen.body_length) for seen in provider.requests] == [(method, 8)] * 3


def test_a_header_says_it_before_the_body(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    refused = respond(503, "<html>", {"Proxy-Status": "PostgREST; error=PGRST000"})
    provider.default(sequence(refused, respond(200)))
    assert plane.call(_serve(bench, provider), method="POST").status_code == 200
    assert _calls(provider) == 2


def test_of_several_headers_any_may_say_it(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    headers = [("proxy-status", "edge"), ("proxy-status", "PostgREST; error=PGRST000")]
    provider.default(sequence(respond(503, "", headers), respond(200)))
    assert plane.call(_serve(bench, provider), method="POST").status_code == 200


def test_a_spent_budget_ends_it_and_says_so(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(json_response(SAFE_BODY, 504))
    response = plane.call(_serve(bench, provider), method="POST")
    assert (response.status_code, response.json()) == (504, SAFE_BODY)
    assert response.headers["x-should-retry"] == "false"
    assert _calls(provider) == 3


@pytest.mark.parametrize(("wait", "calls", "told"), [("1", 2, None), ("2", 1, "false")])
def test_its_hint_is_weighed_like_any_other(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, wait: str, calls: int, told: str | None
) -> None:
    refused = json_response(SAFE_BODY, 504, {"Retry-After": wait})
    provider.default(sequence(refused, respond(200)))
    header = ResetHeader("Retry-After", ResetFormat.RETRY_AFTER)
    key = _serve(bench, provider, replace(POLICY, reset_headers=(header,), hint_max=1_500))
    response = plane.call(key, method="POST")
    assert (response.headers.get("x-should-retry"), _calls(provider)) == (told, calls)


# What is not


@pytest.mark.parametrize(
    ("status", "body"),
    [(540, {}), (429, FINAL_BODY), (503, FINAL_BODY), (400, {"errors": [{"code": 6003}]}), (403, {"code": "x6003"})],
)
def test_what_means_that_repeating_is_no_use_is_not_repeated_by_anybody(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, status: int, body: dict[str, object]
) -> None:
    provider.default(json_response(body, status))
    response = plane.call(_serve(bench, provider))
    assert (response.status_code, response.json()) == (status, body)
    assert response.headers["x-should-retry"] == "false"
    assert _calls(provider) == 1


def test_what_is_final_overrules_that_nothing_ran(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    headers = {"proxy-status": "PostgREST; error=PGRST000"}
    for body in (FINAL_BODY | SAFE_BODY, SAFE_BODY | FINAL_BODY):
        provider.default(json_response(body, 503, headers))
        before = _calls(provider)
        assert plane.call(_serve(bench, provider)).headers["x-should-retry"] == "false"
        assert _calls(provider) == before + 1


@pytest.mark.parametrize(
    ("status", "calls"), [(503, 3), (504, 1), (400, 1), (418, 1)], ids=["listed", "marked-only", "rejected", "neither"]
)
def test_other_bodies_mean_no_more_than_their_status(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, status: int, calls: int
) -> None:
    provider.default(json_response({"code": "08006", "quotaId": "PerMinute"}, status))
    response = plane.call(_serve(bench, provider))
    assert (response.status_code, _calls(provider)) == (status, calls)
    assert response.headers.get("x-should-retry") == ("false" if calls > 1 else None)


def test_statuses_without_a_mark_or_a_hint_are_not_read(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    """Whoever waits for the end of this body never gets its beginning."""
    finished: list[bool] = []

    async def endless(call: Call) -> None:
        await call.drain()
        await call.start(500, list(JSON.items()))
        await call.write(b'{"code": "PGRST000"')
        await call.until_disconnected()
        finished.append(True)

    provider.default(endless)
    with plane.client.stream("GET", f"/{_serve(bench, provider)}/") as response:
        assert response.status_code == 500
        assert next(response.iter_raw()) == b'{"code": "PGRST000"'
    plane.wait_until(lambda: bool(finished), "the provider's end")


# Ways to write a body


def _chunked(status: int, body: bytes, headers: dict[str, str]) -> Behaviour:
    async def behaviour(call: Call) -> None:
        await call.drain()
        await call.start(status, list(headers.items()))
        for start in range(0, len(body), 50_000):
            await call.write(body[start : start + 50_000])
        await call.write(b"", last=True)

    return behaviour


@pytest.mark.parametrize("encoding", ["identity", "gzip", "deflate"])
@pytest.mark.parametrize("declared", [True, False])
def test_a_compressed_body_is_read_and_passed_on_as_it_is(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, encoding: str, *, declared: bool
) -> None:
    plain = json.dumps({"noise": random.Random(5).randbytes(4_000).hex(), "error": FINAL_BODY}).encode()
    body = {"gzip": gzip.compress(plain), "deflate": zlib.compress(plain), "identity": plain}[encoding]
    headers = JSON | ({} if encoding == "identity" else {"content-encoding": encoding})
    provider.default(respond(503, body, headers) if declared else _chunked(503, body, headers))
    accept = {"accept-encoding": "br, gzip, deflate"}
    with plane.client.stream("GET", f"/{_serve(bench, provider)}/", headers=accept) as response:
        assert (response.status_code, b"".join(response.iter_raw())) == (503, body)
        assert response.headers["x-should-retry"] == "false"
    (seen,) = provider.requests
    assert seen.header("accept-encoding") == "gzip, deflate"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"code": "PGRST000"}', {"content-type": "text/html"}),
        (b'{"code": "PGRST000"}', {}),
        (b'{"code": "PGRST000"}', JSON | {"content-encoding": "br"}),
        (b'{"code": "PGRST000"', JSON),
        (b'{"code": "PGRST000"}}', JSON),
        (b'{"code": "PGRST000"} trailing', JSON),
        (b'Error: {"code": "PGRST000"}', JSON),
        (b'"code": "PGRST000"', JSON),
        (b'{"message": "\\"code\\": \\"PGRST000\\""}', JSON),
        (b'{"code": ["PGRST000"]}', JSON),
        (b'{"code": {"PGRST000": 1}}', JSON),
        (b'{"Code": "PGRST000", "codes": "PGRST000"}', JSON),
        (b'{"code": "pgrst000"}', JSON),
        (b"", JSON),
        (b'{"code": "PGRST000", "x": "' + b"y" * 70_000 + b'"}', JSON),
        (gzip.compress(b'{"code": "PGRST000", "x": "' + b"y" * 70_000 + b'"}'), JSON | {"content-encoding": "gzip"}),
    ],
)
def test_what_is_not_readable_json_of_that_field_means_nothing(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, body: bytes, headers: dict[str, str]
) -> None:
    """A call that may have run is not repeated on suspicion."""
    provider.default(respond(504, body, headers))
    with plane.client.stream("POST", f"/{_serve(bench, provider)}/") as response:
        assert (response.status_code, b"".join(response.iter_raw())) == (504, body)
        assert "x-should-retry" not in response.headers
    assert _calls(provider) == 1


def _values(rng: random.Random, depth: int) -> object:
    leaves = [
        "PGRST000",
        "xPGRST003",
        "",
        'a"b',
        "\\",
        "é\u2028",
        "6003",
        6003,
        -6003.5,
        1e300,
        16003,
        True,
        None,
        "PerDay",
    ]
    if depth == 0 or rng.random() < 0.3:
        return rng.choice(leaves)
    if rng.random() < 0.5:
        return [_values(rng, depth - 1) for _ in range(rng.randrange(4))]
    names = ["code", "quotaId", "c\u006fde", "other", "Code", "", 'co"de']
    return {rng.choice(names): _values(rng, depth - 1) for _ in range(rng.randrange(4))}


def _written(rng: random.Random) -> bytes:
    value = _values(rng, 5)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1]))
    if rng.random() < 0.2:  # as some write it
        text = text.replace("PGRST", "\\u0050GRST").replace("code", "\\u0063ode")
    if rng.random() < 0.25 and text:  # broken somewhere
        at = rng.randrange(len(text))
        text = text[:at] + rng.choice(["", "}", '"', ",", "x"]) + text[at + 1 :]
    return text.encode()


def test_proxies_read_marks_as_probes_do(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """Two readers of the same rules, on hundreds of bodies, whole and broken."""
    body = b""

    async def current(call: Call) -> None:
        await respond(503, body, JSON)(call)

    provider.default(current)
    never = {Meaning.FINAL, Meaning.CREDENTIAL_REJECTED, Meaning.PAUSED}
    marks = (SAFE, replace(FINAL, statuses=(503,)), replace(REJECTED, statuses=(503,)))
    key = _serve(bench, provider, retry(418, attempts=1, marks=marks))
    rng, kinds = random.Random(11), set()
    for _ in range(400):
        body = _written(rng)
        found = read(marks, 503, {}, body)
        before = _calls(provider)
        response = plane.call(key, method="POST")
        said = (_calls(provider) - before, response.headers.get("x-should-retry"))
        wanted = (1, "false") if found & never else (2, "false") if found else (1, None)
        assert said == wanted, (body, found)
        kinds.add(wanted)
    assert len(kinds) == 3


@pytest.mark.parametrize("depth", [1_000, 30_000])
def test_deep_nesting_is_no_trouble(plane: ReportingPlane, bench: Bench, provider: FakeServer, depth: int) -> None:
    body = b"[" * depth + b'{"code": "PGRST000"}' + b"]" * depth
    provider.default(sequence(respond(504, body, JSON), respond(200)))
    assert plane.call(_serve(bench, provider), method="POST").status_code == 200


def test_texts_and_names_are_plain_text(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """Nothing in them is a pattern, or ends the line that they travel in."""
    odd = AnswerMark(Meaning.NOTHING_RAN, (503,), field="a|b%.\n", texts=("x|y", "100%", "(.*)", "é\n"))
    key = _serve(bench, provider, retry(418, attempts=1, marks=(odd, PAUSED)))
    for text, calls in (("..x|y..", 2), ("100%", 2), ("(.*)", 2), ("é\n", 2), ("y", 1), ("100", 1), ("anything", 1)):
        provider.default(json_response({"a|b%.\n": text}, 503))
        before = _calls(provider)
        plane.call(key, method="POST")
        assert _calls(provider) - before == calls, text


# Bodies that are too long, or never end


@pytest.mark.parametrize("size", [70_000, 900_000, 5_000_000])
def test_a_long_answer_of_declared_length_passes_unread(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, size: int
) -> None:
    body = json.dumps({"code": "PGRST000", "message": "x" * size}).encode()
    provider.default(respond(504, body, JSON))
    response = plane.call(_serve(bench, provider), method="POST")
    assert (response.status_code, response.content, _calls(provider)) == (504, body, 1)


@pytest.mark.parametrize("size", [70_000, 900_000])
def test_a_long_answer_of_undeclared_length_passes_unread(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, size: int
) -> None:
    body = json.dumps({"code": "PGRST000", "message": "x" * size}).encode()
    provider.default(_chunked(504, body, JSON))
    response = plane.call(_serve(bench, provider), method="POST")
    assert (response.status_code, response.content, _calls(provider)) == (504, body, 1)


@pytest.mark.parametrize("status", [400, 504])
def test_an_answer_beyond_the_buffer_keeps_its_status(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, status: int
) -> None:
    """Envoy can't give back what it has held so far, so the body is lost; the caller is told what it was, and the breaker
    counts the provider's status.
    """
    body = json.dumps({"code": "PGRST000", "message": "x" * 5_000_000}).encode()
    provider.default(_chunked(status, body, JSON))
    breaker = Breaker(2, None, (StatusRange(500, 599),), 60_000, 60_000, 1)
    key = _serve(bench, provider, breaker=breaker)
    for _ in range(2):
        response = plane.call(key, method="POST")
        error = response.json()["error"]
        assert (response.status_code, error["status"], error["code"]) == (status, status, "AnswerTooLarge")
        assert response.headers["x-should-retry"] == "false"
    codes = {plane.call(key, method="POST").json()["error"]["code"]}
    assert codes == ({"CircuitOpen"} if status >= 500 else {"AnswerTooLarge"})


def test_the_same_length_as_a_success_passes(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    body = json.dumps({"code": "PGRST000", "message": "x" * 5_000_000}).encode()
    provider.default(_chunked(200, body, JSON))
    response = plane.call(_serve(bench, provider), method="POST")
    assert (response.status_code, response.content) == (200, body)


def test_a_body_that_stalls_ends_with_the_calls_time(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    async def stalls(call: Call) -> None:
        await call.drain()
        await call.start(504, list(JSON.items()))
        await call.write(b'{"code": ')
        await call.until_disconnected()

    provider.default(stalls)
    for timeouts in (Timeouts(600, 500, 0), Timeouts(0, 500, 600)):
        response = plane.call(_serve(bench, provider, timeouts=timeouts), method="POST")
        error = response.json()["error"]
        assert (response.status_code, error["code"]) == (504, "RequestTimeout" if timeouts.request else "StreamIdle")


def test_a_body_that_is_broken_off_is_an_answer_that_never_came(plane: ReportingPlane, bench: Bench) -> None:
    head = b"HTTP/1.1 504 Broken\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
    with RawServer(raw_bytes(head + b'{"code": "PGRST000"}')) as broken:
        response = plane.call(_serve(bench, broken), method="POST")
        assert (response.status_code, response.json()["error"]["code"]) == (502, "ProtocolError")
        assert len(broken.connections) == 1


# What it costs


def test_only_sections_that_need_it_carry_a_part(bench: Bench, provider: FakeServer) -> None:
    def code(policy: Retry | None) -> bytes:
        found = script_filter(bench.section(endpoint(provider.port), retry=policy))
        return found.typed_config.value if found else b""

    plain, hinted = retry(503), retry(503, body_hint=BodyHint.GOOGLE_RETRY_INFO)
    by_status, by_field = retry(503, marks=(PAUSED,)), retry(503, marks=(SAFE,))
    assert code(None) == b""
    parts = (b"function marks_of", b"function json_members", b"function body_text", b"function body_hint(")
    for policy, wanted in ((plain, 0b0000), (hinted, 0b0011), (by_status, 0b1000), (by_field, 0b1110)):
        assert [part in code(policy) for part in parts] == [bool(wanted >> place & 1) for place in (3, 2, 1, 0)]
    # The marks themselves are the route's: another provider's version, or an edit, leaves the cluster alone.
    assert code(by_field) == code(retry(418, attempts=9, marks=(SAFE, SAFE_HEADER, REJECTED)))
