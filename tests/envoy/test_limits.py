"""Limits in one proxy: what is let through, what a refusal says and spends, which calls are meant, what edits keep."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from harness.bench import Bench, ReportingPlane, error_of
from harness.plans import endpoint, gateway, to
from harness.plans import upstream as an_upstream
from headgate.envoy import listener
from headgate.model.answers import StatusRange
from headgate.model.matches import HeaderMatch, HeaderMatchKind, PathKind, PathMatch, RequestMatch
from headgate.model.plan import Breaker, HeaderRules, Limit, Section, Timeouts
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer

#: Long enough that nothing comes back during a test.
HOUR = 3_600_000
DISTINCT_BOUND = 50


@pytest.fixture(scope="module")
def plane() -> Iterator[ReportingPlane]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener, "MAX_DISTINCT", DISTINCT_BOUND)
        running = ReportingPlane(gateway())
        with running:
            yield running


@pytest.fixture(scope="module")
def bench(plane: ReportingPlane) -> Iterator[Bench]:
    yield Bench(plane)
    assert plane.lua_errors() == 0, plane.envoy.log()


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeServer]:
    with FakeServer(default=respond(200, "native")) as server:
        yield server


def limit(section: Section, requests: int, *selectors: RequestMatch, rule: str = "rule", **changes: Any) -> Limit:
    """A limit of the section, by default of `requests` per hour, all at once."""
    values: dict[str, Any] = {"interval": HOUR, "burst": requests, "selectors": selectors} | changes
    return Limit(id=f"demo/policy/{rule}@{section.id}", requests=requests, **values)


def limited(bench: Bench, provider: FakeServer, requests: int, *selectors: RequestMatch, **changes: Any) -> str:
    """Serve an upstream with one such limit; its key."""
    section = bench.section(endpoint(provider.port))
    return bench.serve(replace(section, limits=(limit(section, requests, *selectors, **changes),)))


def let_through(plane: ReportingPlane, key: str, count: int, path: str = "/", **arguments: Any) -> int:
    """How many of so many calls were not refused."""
    return sum(plane.call(key, path, **arguments).status_code == 200 for _ in range(count))


def header(name: str, kind: HeaderMatchKind, value: str = "") -> RequestMatch:
    return RequestMatch(headers=(HeaderMatch(name, kind, value),))


# ---------------------------------------------------------------------- how many


@pytest.mark.serial
def test_burst_then_refusal_then_the_rate(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """One per 400 ms, three at once: three pass, then one at a time, never sooner than the rate allows."""
    key = limited(bench, provider, 10, interval=4_000, burst=3)
    started = time.monotonic()
    assert let_through(plane, key, 4) == 3
    for more in range(1, 5):
        plane.wait_until(lambda: plane.call(key).status_code == 200, "a token")
        elapsed = time.monotonic() - started
        assert elapsed >= 0.4 * more - 0.02
    # Only a lower bound can be exact on a busy machine; the upper one tells a rate from none.
    assert elapsed < 4 * 0.4 + 5


def test_a_refusal_says_when_and_sends_nothing(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    section = bench.section(endpoint(provider.port))
    rule = limit(section, 18, interval=90_000, burst=2)
    key = bench.serve(replace(section, limits=(rule,)))
    before = len(provider.requests)
    assert let_through(plane, key, 2) == 2
    refused = plane.call(key)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "5"
    assert "x-should-retry" not in refused.headers, "an SDK may wait that long and come back"
    error = error_of(refused)
    assert (error["code"], error["limit"], error["section"]) == ("RateLimited", rule.id, section.id)
    policy, name = rule.id.partition("@")[0].rsplit("/", 1)
    assert error["message"].startswith(f"rule {name} of RateLimit {policy} is used up (")
    assert error["retryAfterSeconds"] == 5
    assert "(18 per 1m30s, at most 2 at once)" in error["message"]
    assert len(provider.requests) == before + 2


@pytest.mark.parametrize(("seconds", "told"), [(60, None), (70, "false"), (3_600, "false")])
def test_only_a_short_wait_is_left_to_the_caller(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, seconds: int, told: str | None
) -> None:
    """SDKs that see nothing else wait as long as a minute; told to wait for longer they come back within a second."""
    key = limited(bench, provider, 1, interval=seconds * 1_000)
    assert let_through(plane, key, 1) == 1
    refused = plane.call(key)
    assert (refused.status_code, seconds - int(refused.headers["retry-after"]) < 10) == (429, True)
    assert refused.headers.get("x-should-retry") == told


def test_a_callers_own_header_changes_nothing_of_that(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    key = limited(bench, provider, 1)
    assert let_through(plane, key, 1) == 1
    assert plane.call(key, headers={"x-should-retry": "true"}).headers["x-should-retry"] == "false"


@pytest.mark.serial
def test_after_the_announced_time_a_call_passes(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = limited(bench, provider, 1, interval=700, burst=1)
    assert let_through(plane, key, 1) == 1
    refused = plane.call(key)
    assert refused.headers["retry-after"] == "1"
    time.sleep(1)
    assert let_through(plane, key, 2) == 1


def test_all_limits_hold_and_a_refused_call_spends_of_none(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    """A call refused by the narrow limit leaves the wide one as it was."""
    section = bench.section(endpoint(provider.port))
    narrow = limit(section, 2, RequestMatch(path=PathMatch(PathKind.PREFIX, "/narrow")), rule="narrow")
    wide = limit(section, 5, rule="wide")
    key = bench.serve(replace(section, limits=(wide, narrow)))
    assert let_through(plane, key, 10, "/narrow") == 2
    assert let_through(plane, key, 10, "/other") == 3
    assert error_of(plane.call(key, "/other"))["limit"] == wide.id
    assert error_of(plane.call(key, "/narrow"))["limit"] in (wide.id, narrow.id)


def test_the_longest_wait_is_told(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    section = bench.section(endpoint(provider.port))
    short = limit(section, 1, rule="short", interval=10_000)
    long = limit(section, 1, rule="long", interval=100_000)
    key = bench.serve(replace(section, limits=(long, short)))
    assert let_through(plane, key, 1) == 1
    refused = plane.call(key)
    assert (refused.headers["retry-after"], error_of(refused)["limit"]) == ("100", long.id)


def test_sections_with_the_same_id_share_a_bucket(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    one = bench.section(endpoint(provider.port), name="one", upstream="demo/shared")
    default = bench.section(endpoint(provider.port), upstream="demo/shared")
    shared = limit(default, 4)
    key = bench.serve(
        an_upstream(replace(one, limits=(shared,)), replace(default, limits=(shared,)), routes=[to("one", "/one")])
    )
    assert let_through(plane, key, 3, "/one") == 3
    assert let_through(plane, key, 3, "/else") == 1
    assert let_through(plane, key, 1, "/one") == 0


def test_an_open_breaker_spends_nothing(plane: ReportingPlane, bench: Bench) -> None:
    with FakeServer(default=respond(503)) as failing:
        section = bench.section(
            endpoint(failing.port),
            breaker=Breaker(1, None, (StatusRange(500, 599),), 500, 500, 1),
            timeouts=Timeouts(request=5_000, connect=1_000, stream_idle=5_000),
        )
        key = bench.serve(replace(section, limits=(limit(section, 3),)))
        assert bench.statuses(key, 6) == [503] * 6
        assert len(failing.requests) == 1
        failing.default(respond(200))
        plane.wait_until(lambda: plane.call(key).status_code == 200, "the breaker to close")
        assert bench.statuses(key, 2) == [200, 429]


# ---------------------------------------------------------------------- which calls


def test_by_method_and_path(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    selector = RequestMatch(path=PathMatch(PathKind.PREFIX, "/v1"), methods=("POST", "PUT"))
    key = limited(bench, provider, 1, selector)
    assert let_through(plane, key, 3, "/v1/x", method="GET") == 3
    assert let_through(plane, key, 3, "/v1beta", method="POST") == 3
    assert let_through(plane, key, 1, "/v1", method="POST") == 1
    assert let_through(plane, key, 1, "/v1/x?y=1", method="PUT") == 0


def test_by_path_regex(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    selector = RequestMatch(path=PathMatch(PathKind.REGEX, r"/v1(beta)?/models/[^/:]+:generate\w*"))
    key = limited(bench, provider, 2, selector)
    assert let_through(plane, key, 3, "/v1/models/flash:countTokens") == 3
    assert let_through(plane, key, 3, "/v2/models/flash:generateContent") == 3
    assert let_through(plane, key, 1, "/v1/models/flash:generateContent") == 1
    assert let_through(plane, key, 3, "/v1beta/models/pro:generate?alt=sse") == 1


@pytest.mark.parametrize("path", ["/v1//models/x", "/v1%2Fmodels%2Fx", "/%76%31/models/x", "//v1/models/x"])
def test_another_spelling_of_the_path_dodges_nothing(
    plane: ReportingPlane, bench: Bench, provider: FakeServer, path: str
) -> None:
    key = limited(bench, provider, 1, RequestMatch(path=PathMatch(PathKind.PREFIX, "/v1/models")))
    assert let_through(plane, key, 1, "/v1/models/x") == 1
    assert plane.call(key, path).status_code == 429


def test_by_header(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    exact = limited(bench, provider, 1, header("X-Tier", HeaderMatchKind.EXACT, "free"))
    assert let_through(plane, exact, 3) == 3
    assert let_through(plane, exact, 3, headers={"x-tier": "freedom"}) == 3
    assert let_through(plane, exact, 3, headers={"x-tier": "free"}) == 1
    regex = limited(bench, provider, 1, header("x-tier", HeaderMatchKind.REGEX, "(?i)free|trial-[0-9]{2,}"))
    assert let_through(plane, regex, 3, headers={"x-tier": "trial-1"}) == 3
    assert let_through(plane, regex, 3, headers={"x-tier": "FREE"}) == 1
    assert let_through(plane, regex, 3, headers={"x-tier": "trial-12"}) == 0


def test_a_repeated_header_dodges_nothing(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = limited(bench, provider, 1, header("x-tier", HeaderMatchKind.EXACT, "free"))
    assert let_through(plane, key, 1, headers={"x-tier": "free"}) == 1
    twice = httpx.Headers([("x-tier", "paid"), ("x-tier", "free")])
    assert plane.call(key, headers=twice).status_code == 429


def test_any_selector_is_enough(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = limited(bench, provider, 1, RequestMatch(methods=("POST",)), header("x-a", HeaderMatchKind.EXACT, "1"))
    assert let_through(plane, key, 3) == 3
    assert let_through(plane, key, 1, method="POST") == 1
    assert let_through(plane, key, 1, headers={"x-a": "1"}) == 0


# ---------------------------------------------------------------------- Distinct


def test_each_value_of_a_distinct_header_counts_apart(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    key = limited(bench, provider, 2, header("X-User", HeaderMatchKind.DISTINCT))
    for user in ("ada", "bob", "c" * 500, "c" * 499 + "d"):
        assert let_through(plane, key, 4, headers={"x-user": user}) == 2, user
    assert let_through(plane, key, 4) == 4, "a call without the header is not meant"


def test_two_distinct_headers_count_by_pair(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    pair = (HeaderMatch("x-a", HeaderMatchKind.DISTINCT), HeaderMatch("x-b", HeaderMatchKind.DISTINCT))
    key = limited(bench, provider, 1, RequestMatch(headers=pair))
    for a, b in (("1", "2"), ("2", "1"), ("12", ""), ("1", "22")):
        assert let_through(plane, key, 2, headers={"x-a": a, "x-b": b}) == 1, (a, b)


def test_inventing_values_frees_no_spent_bucket(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    """Beyond the bound new values share one bucket, and those that had one keep it as it is."""
    key = limited(bench, provider, 2, header("x-user", HeaderMatchKind.DISTINCT))
    assert let_through(plane, key, 3, headers={"x-user": "victim"}) == 2
    passed = sum(let_through(plane, key, 2, headers={"x-user": f"made-up-{n}"}) for n in range(3 * DISTINCT_BOUND))
    assert passed == 2 * (DISTINCT_BOUND - 1) + 2
    assert let_through(plane, key, 1, headers={"x-user": "victim"}) == 0


def test_buckets_that_are_full_again_make_room(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    key = limited(bench, provider, 1, header("x-user", HeaderMatchKind.DISTINCT), interval=50)
    users = [f"user-{n}" for n in range(3 * DISTINCT_BOUND)]
    passed = 0
    for user in users:
        passed += let_through(plane, key, 1, headers={"x-user": user})
        time.sleep(0.002)
    # At 2 ms a call the oldest of 50 buckets is full again when the 51st value comes.
    assert passed == len(users)


# ---------------------------------------------------------------------- edits


def test_spent_tokens_survive_edits(plane: ReportingPlane, bench: Bench, provider: FakeServer) -> None:
    section = bench.section(endpoint(provider.port))
    section = replace(section, limits=(limit(section, 4),))
    key = bench.serve(section)
    assert let_through(plane, key, 3) == 3
    bench.serve(replace(section, response_headers=HeaderRules(set=(("x-edited", "1"),))))
    neighbour = bench.serve(bench.section(endpoint(provider.port)))
    bench.withdraw(neighbour)
    bench.serve(replace(section, timeouts=Timeouts(request=4_000, connect=400, stream_idle=4_000)))
    assert let_through(plane, key, 3) == 1


def test_a_changed_rate_keeps_the_share_that_is_spent(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    section = bench.section(endpoint(provider.port))
    key = bench.serve(replace(section, limits=(limit(section, 4),)))
    assert let_through(plane, key, 3) == 3
    # A quarter is left: of 40 that is 10.
    bench.serve(replace(section, limits=(limit(section, 40),)))
    assert let_through(plane, key, 12) == 10
    bench.serve(replace(section, limits=(limit(section, 4),)))
    assert let_through(plane, key, 2) == 0


def test_a_limit_taken_away_and_given_back_is_as_spent_as_before(
    plane: ReportingPlane, bench: Bench, provider: FakeServer
) -> None:
    section = bench.section(endpoint(provider.port))
    key = bench.serve(replace(section, limits=(limit(section, 2),)))
    assert let_through(plane, key, 3) == 2
    bench.serve(section)
    assert let_through(plane, key, 3) == 3
    bench.serve(replace(section, limits=(limit(section, 2),)))
    assert let_through(plane, key, 1) == 0
