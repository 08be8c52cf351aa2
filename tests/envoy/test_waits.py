"""How long a caller is told to wait: what the provider hides in a body, and what a bare 429 is taken to ask for."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from harness.bench import Bench, ReportingPlane
from harness.plans import endpoint, retry
from headgate.model.answers import AnswerMark, BodyHint, Meaning, ResetFormat, ResetHeader
from headgate.model.plan import OnExceed, Retry, RetryTrigger, Timeouts
from headgate.simulate.behaviours import Behaviour, json_response, respond, sequence
from headgate.simulate.server import FakeServer

RETRY_AFTER = ResetHeader("Retry-After", ResetFormat.RETRY_AFTER)
HINTED = retry(429, 503, attempts=1, body_hint=BodyHint.GOOGLE_RETRY_INFO, hint_max=1_500, reset_headers=(RETRY_AFTER,))
ASSUMED = retry(429, attempts=1, assumed_wait=1_000, hint_max=1_500, reset_headers=(RETRY_AFTER,))


def _serve(bench: Bench, provider: FakeServer, policy: Retry, **changes: Any) -> str:
    return bench.serve(bench.section(endpoint(provider.port), retry=policy, **changes))


def _body(seconds: str) -> dict[str, object]:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": seconds}
    return {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "slow down", "details": [info]}}


def _refusal(seconds: str, status: int = 429, **headers: str) -> Behaviour:
    return json_response(_body(seconds), status, {name.replace("_", "-"): value for name, value in headers.items()})


# From a body


@pytest.mark.parametrize(
    ("seconds", "told"), [("60s", "60"), ("45.837906927s", "46"), ("1.6s", "2"), ("2.000s", "2"), ("3600s", "3600")]
)
def test_a_longer_wait_than_allowed_is_told_in_a_header(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, seconds: str, told: str
) -> None:
    """No SDK reads the body's hint; those that see no header come back after less than a second, several times."""
    provider.default(_refusal(seconds))
    response = plane.call(_serve(bench, provider, HINTED))
    assert (response.status_code, response.headers["retry-after"]) == (429, told)
    assert response.headers["x-should-retry"] == "false"
    assert response.content == json.dumps(_body(seconds)).encode(), "byte for byte"
    assert len(provider.requests) == 1


@pytest.mark.parametrize(("status", "method"), [(429, "POST"), (503, "POST"), (503, "GET"), (429, "GET")])
def test_whoever_is_handed_the_answer_is_told(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, status: int, method: str
) -> None:
    """A call that was refused for its rate may be repeated there though its method is not repeated here; one that may have
    been done may not, and neither may one whose budget is spent."""
    provider.default(_refusal("0.9s", status))
    started = time.monotonic()
    response = plane.call(_serve(bench, provider, HINTED), method=method)
    assert (response.status_code, response.headers["retry-after"]) == (status, "1")
    calls, told = 2 if method == "GET" else 1, None if (status, method) == (429, "POST") else "false"
    assert (len(provider.requests), response.headers.get("x-should-retry")) == (calls, told)
    assert time.monotonic() - started >= calls - 1


def test_a_status_that_is_not_repeated_is_told_too(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(_refusal("7s", 503))
    response = plane.call(_serve(bench, provider, replace(HINTED, statuses=(500,))))
    assert (response.headers["retry-after"], response.headers.get("x-should-retry")) == ("7", None)


def test_a_body_too_long_to_be_sent_again_is_told_too(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    provider.default(_refusal("1s"))
    key = _serve(bench, provider, replace(HINTED, methods=("POST",)))
    response = plane.call(key, method="POST", content=b"x" * (4 << 20))
    assert (response.status_code, response.headers["retry-after"], len(provider.requests)) == (429, "1", 1)


@pytest.mark.parametrize("own", ["9", "0", "soon", "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_a_header_of_the_providers_own_is_left_alone(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, own: str
) -> None:
    provider.default(_refusal("60s", Retry_After=own))
    response = plane.call(_serve(bench, provider, HINTED))
    assert response.headers.get_list("retry-after") == [own]
    assert response.json() == _body("60s")


def test_a_longer_wait_in_a_header_fails_fast_for_all(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    provider.default(respond(429, "native", {"Retry-After": "300"}))
    response = plane.call(_serve(bench, provider, HINTED))
    assert (response.text, response.headers["retry-after"]) == ("native", "300")
    assert (response.headers["x-should-retry"], len(provider.requests)) == ("false", 1)


def test_with_back_off_the_caller_is_told_at_the_end(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(_refusal("60s"))
    response = plane.call(_serve(bench, provider, replace(HINTED, on_exceed=OnExceed.BACK_OFF)))
    assert (response.headers["retry-after"], response.headers["x-should-retry"]) == ("60", "false")
    assert len(provider.requests) == 2


def test_a_compressed_hint_is_told(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    packed = gzip.compress(json.dumps(_body("60s")).encode())
    provider.default(respond(429, packed, {"content-type": "application/json", "content-encoding": "gzip"}))
    with plane.client.stream("GET", f"/{_serve(bench, provider, HINTED)}/") as response:
        assert response.headers["retry-after"] == "60"
        assert b"".join(response.iter_raw()) == packed


@pytest.mark.parametrize("seconds", ["0s", "-3s", "soon"])
def test_no_wait_is_nothing_to_tell(plane: ReportingPlane, bench: Bench, provider: FakeServer, seconds: str) -> None:
    provider.default(_refusal(seconds))
    response = plane.call(_serve(bench, provider, HINTED))
    assert "retry-after" not in response.headers
    assert len(provider.requests) == 2


def test_what_is_final_gets_no_date_to_come_back(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    daily = AnswerMark(Meaning.FINAL, (429,), field="quotaId", texts=("PerDay",))
    body = _body("30s") | {"quotaId": "RequestsPerDay"}
    provider.default(json_response(body, 429))
    response = plane.call(_serve(bench, provider, replace(HINTED, marks=(daily,))))
    assert (response.json(), response.headers["x-should-retry"]) == (body, "false")
    assert "retry-after" not in response.headers
    assert len(provider.requests) == 1


def test_a_mark_and_a_hint_are_read_from_one_body(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    ran_not = AnswerMark(Meaning.NOTHING_RAN, (429,), field="status", texts=("RESOURCE_EXHAUSTED",))
    provider.default(sequence(_refusal("1s"), respond(200)))
    started = time.monotonic()
    key = _serve(bench, provider, replace(HINTED, marks=(ran_not,)))
    assert plane.call(key, method="POST").status_code == 200
    assert time.monotonic() - started >= 1
    assert len(provider.requests) == 2


# Assumed


def test_a_bare_429_is_repeated_after_the_assumed_wait(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    provider.default(sequence(respond(429, "bare"), respond(200)))
    started = time.monotonic()
    assert plane.call(_serve(bench, provider, ASSUMED)).status_code == 200
    assert time.monotonic() - started >= 1
    assert len(provider.requests) == 2


@pytest.mark.parametrize(
    ("changes", "request_time"), [({"assumed_wait": 30_000}, 15_000), ({"assumed_wait": 1_000}, 1_200)]
)
def test_an_assumed_wait_that_does_not_fit_is_handed_on_at_once(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, changes: dict[str, int], request_time: int
) -> None:
    provider.default(respond(429, "bare", {"x-native": "yes"}))
    timeouts = Timeouts(request=request_time, connect=1_000, stream_idle=0)
    response = plane.call(_serve(bench, provider, replace(ASSUMED, **changes), timeouts=timeouts))  # type: ignore[arg-type]
    assert (response.status_code, response.text, response.headers["x-native"]) == (429, "bare", "yes")
    assert response.headers["retry-after"] == str(changes["assumed_wait"] // 1_000)
    assert (response.headers["x-should-retry"], len(provider.requests)) == ("false", 1)


@pytest.mark.parametrize("status", [200, 500, 503])
def test_other_statuses_ask_for_nothing(plane: ReportingPlane, bench: Bench, provider: FakeServer, status: int) -> None:
    provider.default(respond(status, "bare"))
    assert "retry-after" not in plane.call(_serve(bench, provider, ASSUMED)).headers


def test_a_hint_of_the_providers_comes_before_the_assumption(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    provider.default(sequence(respond(429, "", {"Retry-After": "0"}), respond(200)))
    assert plane.call(_serve(bench, provider, replace(ASSUMED, assumed_wait=60_000))).status_code == 200
    provider.default(sequence(_refusal("1s"), respond(200)))
    hinted = replace(HINTED, assumed_wait=60_000)
    assert plane.call(_serve(bench, provider, hinted)).status_code == 200


def test_a_spent_budget_and_a_method_that_is_not_repeated_are_told_the_assumption(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    provider.default(respond(429, "bare"))
    key = _serve(bench, provider, ASSUMED)
    post, get = plane.call(key, method="POST"), plane.call(key)
    assert (post.headers["retry-after"], post.headers.get("x-should-retry")) == ("1", None)
    assert (get.headers["retry-after"], get.headers["x-should-retry"]) == ("1", "false")
    assert len(provider.requests) == 3


def test_attempts_without_a_bound_of_time_wait_as_long_as_allowed(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    provider.default(sequence(respond(429, "bare"), respond(200)))
    policy = replace(ASSUMED, triggers=(RetryTrigger.CONNECT_FAILURE,))
    key = _serve(bench, provider, policy, timeouts=Timeouts(request=0, connect=1_000, stream_idle=0))
    assert plane.call(key).status_code == 200
