"""What the gateway forgets, and what it must not: state that says no more than a fresh one would."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from harness.bench import Bench, ReportingPlane
from harness.plans import endpoint, gateway
from headgate.envoy import listener
from headgate.model.answers import StatusRange
from headgate.model.plan import Breaker, Limit
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer

#: Seconds; in service it is an hour.
FORGET_AFTER = 0.3


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    code = listener._lua_parts()
    for constant, quick in (("SWEEP_EVERY, FORGET_AFTER = 60000, 3600000", "SWEEP_EVERY, FORGET_AFTER = 20, 300"),
                            ("local SWEEP_EVERY = 60000", "local SWEEP_EVERY = 20")):  # fmt: skip
        assert code.count(constant) == 1
        code = code.replace(constant, quick)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener, "_lua_parts", lambda: code)
        with ReportingPlane(gateway()) as plane:
            yield Bench(plane)
            assert plane.lua_errors() == 0, plane.envoy.log()


@pytest.fixture
def provider() -> Iterator[FakeServer]:
    with FakeServer(default=respond(503)) as server:
        yield server


def breaker(break_duration: int) -> Breaker:
    return Breaker(3, None, (StatusRange(500, 599),), break_duration, break_duration, 1)


def let_it_forget(bench: Bench, provider: FakeServer) -> None:
    """Long enough without a call to the section at hand, then calls to another, which sweep."""
    time.sleep(2 * FORGET_AFTER)
    other = bench.section(endpoint(provider.port))
    key = bench.serve(replace(other, limits=(Limit(f"x@{other.id}", 9, 9_000, 9),)))
    for _ in range(3):
        bench.plane.call(key)
        time.sleep(0.03)


def test_a_closed_breaker_that_nobody_used_is_forgotten(bench: Bench, provider: FakeServer) -> None:
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(60_000)))
    assert bench.statuses(key, 2) == [503, 503]
    let_it_forget(bench, provider)
    sent = len(provider.requests)
    assert bench.statuses(key, 4) == [503] * 4
    assert len(provider.requests) == sent + 3, "a row of three from the start"


def test_an_open_breaker_is_not_forgotten(bench: Bench, provider: FakeServer) -> None:
    key = bench.serve(bench.section(endpoint(provider.port), breaker=breaker(60_000)))
    bench.statuses(key, 3)
    let_it_forget(bench, provider)
    sent = len(provider.requests)
    bench.statuses(key, 2)
    assert len(provider.requests) == sent


def test_a_spent_limit_is_not_forgotten(bench: Bench, provider: FakeServer) -> None:
    section = bench.section(endpoint(provider.port))
    key = bench.serve(replace(section, limits=(Limit(f"slow@{section.id}", 1, 600_000, 1),)))
    assert bench.statuses(key, 2) == [503, 429]
    let_it_forget(bench, provider)
    assert bench.statuses(key, 1) == [429]


@pytest.mark.serial
def test_a_limit_that_is_full_again_is_forgotten_and_works_on(bench: Bench, provider: FakeServer) -> None:
    section = bench.section(endpoint(provider.port))
    key = bench.serve(replace(section, limits=(Limit(f"quick@{section.id}", 2, 3_000, 2),)))
    assert bench.statuses(key, 3) == [503, 503, 429]
    time.sleep(3)
    let_it_forget(bench, provider)
    assert bench.statuses(key, 3) == [503, 503, 429]
