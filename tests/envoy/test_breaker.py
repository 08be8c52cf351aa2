"""The breaker of a section: what opens it, what it answers meanwhile, how it closes, and what must not disturb it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from fakes import rawserver
from fakes.rawserver import RawServer
from harness.bench import Bench, ReportingPlane, error_of
from harness.dns import DnsServer, Order
from harness.plans import endpoint, gateway, retry, to
from harness.plans import upstream as an_upstream
from harness.ports import free_port
from headgate.envoy.metadata import CircuitState
from headgate.model.answers import StatusRange
from headgate.model.plan import Breaker, Dns, FailureRate, HeaderRules, Limit, LookupFamily, Timeouts
from headgate.simulate.behaviours import Gate, hang, respond, statuses
from headgate.simulate.server import FOUR_ADDRESSES, FakeServer

SERVER_ERRORS = (StatusRange(500, 599),)


def breaker(
    consecutive: int | None = 3, *, rate: FailureRate | None = None, trials: int = 1, **changes: Any
) -> Breaker:
    """A breaker that opens on server errors, for a second, then at most four."""
    values: dict[str, Any] = {
        "consecutive": consecutive,
        "rate": rate,
        "failures": SERVER_ERRORS,
        "break_duration": 1_000,
        "max_break_duration": 4_000,
        "trials": trials,
    }
    return Breaker(**(values | changes))


@pytest.fixture(scope="module")
def plane() -> Iterator[ReportingPlane]:
    with ReportingPlane(gateway()) as running:
        yield running


@pytest.fixture(scope="module")
def bench(plane: ReportingPlane) -> Iterator[Bench]:
    yield Bench(plane)
    assert plane.lua_errors() == 0, plane.envoy.log()


@pytest.fixture
def provider() -> Iterator[FakeServer]:
    with FakeServer(default=respond(503, "native")) as server:
        yield server


def _codes(plane: ReportingPlane, key: str, count: int) -> list[str]:
    """What so many calls were told: a status from the provider, a code from the gateway."""
    return [_code(plane.call(key)) for _ in range(count)]


def _code(response: httpx.Response) -> str:
    own = response.text.startswith('{"error":')
    return error_of(response)["code"] if own else str(response.status_code)


def _until(plane: ReportingPlane, key: str, wanted: str, within: float = 10.0) -> float:
    """Call until the answer is the wanted one; the seconds that took."""
    started = time.monotonic()
    while (code := _code(plane.call(key))) != wanted:
        assert time.monotonic() - started < within, f"still {code} after {within} s"
        time.sleep(0.02)
    return time.monotonic() - started


# ---------------------------------------------------------------------- whatever DNS does


def test_it_holds_on_a_name_with_four_rotating_addresses() -> None:
    """At most 8 of 300 calls reach a provider that always fails; then it recovers within two break durations."""
    break_seconds = 2.0
    with DnsServer() as dns, FakeServer(addresses=FOUR_ADDRESSES, default=respond(500)) as provider:
        dns.set("api.rotating.test", *FOUR_ADDRESSES, ttl=1, order=Order.ROTATE)
        with ReportingPlane(gateway(), dns=dns.address) as plane:
            bench = Bench(plane)
            key = bench.serve(
                bench.section(
                    endpoint(provider.port, "api.rotating.test"),
                    dns=Dns(refresh=1_000, family=LookupFamily.V4_ONLY),
                    breaker=breaker(4, break_duration=2_000, max_break_duration=4_000),
                )
            )
            asked = dns.count("api.rotating.test", "A")
            for call in range(300):
                assert plane.call(key).status_code in (500, 503), call
                time.sleep(0.01)
            assert len(provider.requests) <= 8
            assert len({request.local[0] for request in provider.requests}) > 1, "all calls went to one address"
            dns.wait_for("api.rotating.test", asked + 2, qtype="A")
            provider.default(respond(200, "well"))
            before = len(provider.requests)
            assert _until(plane, key, "200") <= 2 * break_seconds + 0.5
            assert len(provider.requests) == before + 1, "the trial alone, while it was half-open"
            assert plane.lua_errors() == 0


def test_no_herd_at_recovery(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """However many callers wait, a recovering provider sees as many calls at a time as there are trials."""
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(3, trials=2, break_duration=600)))
    assert _codes(plane, key, 4) == ["503", "503", "503", "CircuitOpen"]
    gate = Gate(respond(200, "well"))
    provider.default(gate)
    sent = len(provider.requests)
    answers: list[str] = []
    stop = threading.Event()

    def caller() -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{plane.port}", timeout=30, trust_env=False) as client:
            while not stop.is_set():
                answers.append(_code(client.get(f"/{key}/")))
                stop.wait(0.01)

    callers = [threading.Thread(target=caller) for _ in range(20)]
    for each in callers:
        each.start()
    gate.wait_held(2)
    held_at = len(answers)
    plane.wait_until(lambda: len(answers) > held_at + 40, "forty refusals while both trials are out")
    assert len(provider.requests) - sent == 2
    assert set(answers[held_at:]) == {"CircuitOpen"}
    gate.open()
    plane.wait_until(lambda: answers.count("200") > 40, "ordinary traffic")
    stop.set()
    for each in callers:
        each.join()


# ---------------------------------------------------------------------- opening, refusing, closing


def test_open_refuses_at_once_with_the_exact_time(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    section = bench.section(endpoint(provider.port), breaker=breaker(3, break_duration=2_500))
    key = bench.serve(section)
    assert _codes(plane, key, 3) == ["503"] * 3
    opened = time.time()
    refused = plane.call(key)
    assert refused.status_code == 503
    # 2.5 s less the moment since it opened, rounded up.
    assert refused.headers["retry-after"] == "3"
    assert refused.headers["x-should-retry"] == "false"
    error = error_of(refused)
    assert (error["code"], error["section"], error["upstream"]) == ("CircuitOpen", section.id, key)
    assert (error["reason"], error["retryAfterSeconds"]) == ("Status503", 3)
    until = time.mktime(time.strptime(error["until"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert opened + 1.5 < until < opened + 4
    assert len(provider.requests) == 3, "nothing was sent"


def test_native_answers_pass_untouched_while_it_is_closed(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    provider.default(
        respond(503, '{"their": "own"}', {"retry-after": "77", "content-type": "application/problem+json"})
    )
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(3)))
    answer = plane.call(key)
    assert (answer.status_code, answer.text) == (503, '{"their": "own"}')
    assert answer.headers["retry-after"] == "77"
    assert answer.headers["content-type"] == "application/problem+json"
    assert "x-should-retry" not in answer.headers


def test_success_breaks_the_row(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(statuses("500,500,200,500,500,200,500,500,500,500"))
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(3)))
    assert _codes(plane, key, 10) == ["500", "500", "200", "500", "500", "200", "500", "500", "500", "CircuitOpen"]


def test_breaks_double_up_to_the_maximum_and_start_over(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    section = bench.section(
        endpoint(provider.port), breaker=breaker(1, break_duration=400, max_break_duration=1_000, trials=1)
    )
    key = bench.serve(section)
    for _ in range(4):
        _until(plane, key, "503")
    provider.default(respond(200))
    _until(plane, key, "200")
    provider.default(respond(503))
    assert _code(plane.call(key)) == "503"
    breaks: dict[int, int] = {}

    def all_five() -> bool:
        for report in plane.reports.of(section.id):
            if report.state is CircuitState.OPEN:
                breaks[report.opened] = report.until - report.since
        return len(breaks) == 5

    plane.wait_until(all_five, lambda: f"reports of five breaks, have {breaks}")
    assert [round(length, -1) for length in breaks.values()] == [400, 800, 1_000, 1_000, 400]


def test_half_open_needs_as_many_successes_as_trials(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(statuses("503,200,200,503,200"))
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(1, trials=3, break_duration=500)))
    assert _codes(plane, key, 2) == ["503", "CircuitOpen"]
    _until(plane, key, "200")
    # Two of three trials succeed, the third fails: open again, at once.
    assert _codes(plane, key, 3) == ["200", "503", "CircuitOpen"]
    _until(plane, key, "200")
    assert _codes(plane, key, 5) == ["200"] * 5


def test_failure_rate(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """Half of the calls fail, never two in a row: the rate opens it, not before the minimum is reached."""
    rate = FailureRate(percent=50, window=60_000, minimum=10)
    section = bench.section(endpoint(provider.port), breaker=breaker(None, rate=rate))
    key = bench.serve(section)
    provider.default(statuses("200,503,200,503,200,503,200,503,200,503,200"))
    assert _codes(plane, key, 11) == ["200", "503"] * 5 + ["CircuitOpen"]
    report = plane.reports.wait_for(section.id, 2)[-1]
    assert (report.state, report.event) == (CircuitState.OPEN, "failure_rate")
    assert (report.calls, report.failures, report.window) == (10, 5, 60_000)


def test_failure_rate_below_the_threshold(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    rate = FailureRate(percent=50, window=60_000, minimum=4)
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(None, rate=rate)))
    provider.default(statuses(",".join(["200", "200", "503"] * 10)))
    assert "CircuitOpen" not in _codes(plane, key, 30)


@pytest.mark.serial
def test_failure_rate_forgets_what_is_older_than_the_window(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    rate = FailureRate(percent=50, window=1_000, minimum=4)
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(None, rate=rate)))
    for _ in range(2):
        assert _codes(plane, key, 3) == ["503"] * 3
        time.sleep(1.2)  # longer than the window: what is tested is the passing of time
    assert _codes(plane, key, 4) == ["503"] * 4
    assert _code(plane.call(key)) == "CircuitOpen"


@pytest.mark.serial
def test_a_trial_whose_caller_goes_away_frees_its_place(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    timeouts = Timeouts(request=1_500, connect=1_000, stream_idle=60_000)
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(1, break_duration=600), timeouts=timeouts))
    assert _codes(plane, key, 2) == ["503", "CircuitOpen"]
    provider.default(hang())
    time.sleep(0.7)  # the break
    with socket.create_connection(("127.0.0.1", plane.port)) as caller:
        caller.sendall(f"GET /{key}/ HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        provider.wait_for(2)
    provider.default(respond(200, "well"))
    assert _code(plane.call(key)) == "CircuitOpen"
    assert _until(plane, key, "200") < 3


# ---------------------------------------------------------------------- what counts


FAULTS: dict[str, tuple[Callable[[], rawserver.Fault] | None, str, int]] = {
    "connection refused": (None, "ConnectFailure", 503),
    "reset": (rawserver.reset_after_request, "ConnectionClosed", 503),
    "closed": (rawserver.close_without_answer, "ConnectionClosed", 503),
    "garbage": (rawserver.garbage, "ProtocolError", 502),
    "silence": (rawserver.silence, "RequestTimeout", 504),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda name: name.replace(" ", "-"))
def test_calls_without_an_answer_count_and_say_why(plane: ReportingPlane, bench: Bench, fault: str) -> None:
    make, code, status = FAULTS[fault]
    timeouts = Timeouts(request=400, connect=300, stream_idle=60_000)
    with RawServer(make() if make else rawserver.reset_at_accept()) as server:
        port = server.port if make else free_port()
        section = bench.section(endpoint(port), breaker=breaker(2, failures=()), timeouts=timeouts)
        key = bench.serve(section)
        first = plane.call(key)
        assert (first.status_code, error_of(first)["code"]) == (status, code)
        assert first.headers["x-should-retry"] == "false"
        assert error_of(first)["section"] == section.id
        assert _codes(plane, key, 2) == [code, "CircuitOpen"]
        assert error_of(plane.call(key))["reason"] == code
        report = plane.reports.wait_for(section.id, 2)[-1]
        assert (report.state, report.failure, report.in_a_row) == (CircuitState.OPEN, code, 2)


def test_connect_timeout_is_told_from_a_refused_connection(plane: ReportingPlane, bench: Bench) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        try:
            timeouts = Timeouts(request=5_000, connect=300, stream_idle=60_000)
            key = bench.serve(bench.section(endpoint(port), timeouts=timeouts))
            answer = plane.call(key)
            assert (answer.status_code, error_of(answer)["code"]) == (503, "ConnectTimeout")
        finally:
            for filler in fillers:
                filler.close()


@pytest.mark.parametrize("status", [200, 404, 429])
def test_other_statuses_do_not_count(plane: ReportingPlane, bench: Bench, provider: FakeServer, status: int) -> None:
    provider.default(respond(status))
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(2)))
    assert _codes(plane, key, 6) == [str(status)] * 6


def test_chosen_statuses_count(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(statuses("500,429,429,200"))
    chosen = (StatusRange(429, 429), StatusRange(502, 504))
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(2, failures=chosen)))
    assert _codes(plane, key, 4) == ["500", "429", "429", "CircuitOpen"]


def test_calls_count_and_not_attempts(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(2), retry=retry(503, attempts=3)))
    answers = [plane.call(key).status_code for _ in range(2)]
    assert answers == [503, 503]
    assert len(provider.requests) == 8, "two calls of four attempts each"
    assert error_of(plane.call(key))["code"] == "CircuitOpen"
    assert len(provider.requests) == 8


def test_the_gateways_own_refusals_do_not_count(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    provider.default(respond(200))
    section = bench.section(endpoint(provider.port), breaker=breaker(2))
    limit = Limit(f"{section.id}/limit", requests=1, interval=60_000, burst=1)
    key = bench.serve(replace(section, limits=(limit,)))
    assert _codes(plane, key, 1) == ["200"]
    assert _codes(plane, key, 5) == ["RateLimited"] * 5
    assert {_code(plane.call(key, "/a/%2e%2e/b")) for _ in range(5)} == {"BadPath"}
    bench.serve(section)
    assert _codes(plane, key, 1) == ["200"]


def test_calls_under_way_when_it_opens_decide_nothing(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    """A slow success of before neither closes an open breaker, nor do slow failures open one that has closed again."""
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(2, break_duration=600)))
    gate = Gate(respond(503))
    provider.on("/slow", gate)
    slow = [threading.Thread(target=plane.call, args=(key, "/slow")) for _ in range(3)]
    for each in slow:
        each.start()
    gate.wait_held(3)
    assert _codes(plane, key, 3) == ["503", "503", "CircuitOpen"]
    provider.default(respond(200))
    _until(plane, key, "200")
    gate.open()
    for each in slow:
        each.join()
    assert _codes(plane, key, 5) == ["200"] * 5


# ---------------------------------------------------------------------- edits


def test_it_stays_open_through_any_edit(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """Edits of its own routes, cluster and breaker, and of its neighbours, leave an open breaker open."""
    section = bench.section(
        endpoint(provider.port), breaker=breaker(2, break_duration=60_000, max_break_duration=60_000)
    )
    key = bench.serve(section)
    assert _codes(plane, key, 3) == ["503", "503", "CircuitOpen"]
    limit = Limit(f"{section.id}/limit", requests=1_000, interval=1_000, burst=1_000)
    edits = {
        "headers": replace(section, response_headers=HeaderRules(set=(("x-edited", "1"),))),
        "cluster": replace(section, timeouts=Timeouts(request=9_000, connect=900, stream_idle=9_000)),
        "limits": replace(section, limits=(limit,)),
        "threshold": replace(section, breaker=breaker(9, break_duration=60_000, max_break_duration=60_000)),
        "duration": replace(section, breaker=breaker(2, break_duration=50_000, max_break_duration=50_000)),
    }
    for name, edited in edits.items():
        bench.serve(edited)
        assert _code(plane.call(key)) == "CircuitOpen", name
    neighbour = bench.serve(bench.section(endpoint(provider.port)))
    assert _codes(plane, neighbour, 1) == ["503"]
    bench.withdraw(neighbour)
    assert _code(plane.call(key)) == "CircuitOpen"
    assert len(provider.requests) == 3, "two of this section, one of the neighbour's"


def test_a_shorter_break_applies_at_once(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    section = bench.section(
        endpoint(provider.port), breaker=breaker(1, break_duration=60_000, max_break_duration=60_000)
    )
    key = bench.serve(section)
    assert _codes(plane, key, 2) == ["503", "CircuitOpen"]
    provider.default(respond(200))
    bench.serve(replace(section, breaker=breaker(1, break_duration=300, max_break_duration=300)))
    assert _until(plane, key, "200") < 2


def test_without_its_breaker_a_section_lets_all_through(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    section = bench.section(
        endpoint(provider.port), breaker=breaker(1, break_duration=60_000, max_break_duration=60_000)
    )
    key = bench.serve(section)
    assert _codes(plane, key, 2) == ["503", "CircuitOpen"]
    bench.serve(replace(section, breaker=None))
    assert _codes(plane, key, 5) == ["503"] * 5


def test_sections_have_breakers_of_their_own(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    fragile = bench.section(endpoint(provider.port), name="fragile", upstream="demo/parts", breaker=breaker(2))
    default = bench.section(endpoint(provider.port), upstream="demo/parts", breaker=breaker(2))
    provider.on("/fragile*", respond(503))
    provider.default(respond(200))
    key = bench.serve(an_upstream(fragile, default, routes=[to("fragile", "/fragile")]))
    assert [_code(plane.call(key, "/fragile/x")) for _ in range(3)] == ["503", "503", "CircuitOpen"]
    assert _codes(plane, key, 3) == ["200"] * 3
