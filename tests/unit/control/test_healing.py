"""When a pod is replaced, and everything that keeps it from being."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from headgate.control.healing import (
    Gateway,
    Limits,
    Pod,
    Proxy,
    Replace,
    Section,
    Seen,
    State,
    Suspicion,
    may_still,
    step,
)

LIMITS = Limits(patience=60, overall=60, first=300, longest=3_600, recovery=600)
EDGE = "edge/one"


def pod(name: str, **changes: object) -> Pod:
    return replace(Pod(name, f"uid-{name}", ready=True, ending=False, template="t", age=1_000), **changes)  # type: ignore[arg-type]


A, B, C = pod("a"), pod("b"), pod("c")
WELL = Proxy(sections=(Section("s", fails=False),))
FAILS = Proxy(sections=(Section("s", fails=True),))


def seen(*pods: Pod, complete: bool = True, **proxies: Proxy) -> Seen:
    return Seen(complete, {EDGE: Gateway(pods, proxies)})


def looks(*looks: tuple[float, Seen], state: State | None = None) -> list[Replace]:
    """What is done over these looks."""
    state, found = state or State(), []
    for now, each in looks:
        state, action = step(state, each, LIMITS, now)
        if action is not None:
            found.append(action)
    return found


def steady(what: Seen, until: float = 300) -> list[tuple[float, Seen]]:
    return [(float(now), what) for now in range(0, int(until), 10)]


SUSPECTS = {
    Suspicion.NOT_CONNECTED: seen(A, B, b=Proxy()),
    Suspicion.STALE_CONFIG: seen(A, B, a=Proxy(behind=True), b=Proxy()),
    Suspicion.FAILING_ALONE: seen(A, B, a=FAILS, b=WELL),
}


@pytest.mark.parametrize("suspicion", Suspicion)
def test_each_suspicion_that_lasts_has_the_pod_replaced_once(suspicion: Suspicion) -> None:
    looks_ = steady(SUSPECTS[suspicion], 600)
    assert looks(*looks_) == [Replace(EDGE, A, suspicion)]
    assert looks(*[each for each in looks_ if each[0] < 60]) == []


@pytest.mark.parametrize("suspicion", Suspicion)
def test_a_break_begins_it_anew(suspicion: Suspicion) -> None:
    fine = seen(A, B, a=WELL, b=WELL)
    now = [(float(now), SUSPECTS[suspicion] if now % 50 else fine) for now in range(0, 1_000, 10)]
    assert looks(*now) == []


@pytest.mark.parametrize(
    "what",
    {
        "no peer": seen(A),
        "no peer that takes calls": seen(A, pod("b", ready=False), b=Proxy()),
        "nobody is connected": seen(A, B),
        "the suspect is not ready": seen(pod("a", ready=False), B, b=Proxy()),
        "the suspect is going": seen(pod("a", ending=True), B, b=Proxy()),
        "pods could not be listed": seen(A, B, complete=False, b=Proxy()),
        "a rollout": seen(A, B, pod("c", template="u"), b=Proxy(), c=Proxy()),
        "a pod is going": seen(A, B, pod("c", ending=True), b=Proxy()),
        "a pod has just come": seen(A, B, pod("c", age=5), b=Proxy()),
        "most are bad": seen(A, B, C, pod("d"), pod("e"), a=WELL, b=WELL),
        "all are behind": seen(A, B, a=Proxy(behind=True), b=Proxy(behind=True)),
        "all fail": seen(A, B, a=FAILS, b=FAILS),
        "one fails where nobody else has calls": seen(A, B, a=FAILS, b=Proxy()),
        "a peer's calls go well elsewhere": seen(A, B, a=FAILS, b=Proxy(sections=(Section("t", fails=False),))),
        "another section of it does well": seen(
            A, B, a=Proxy(sections=(Section("s", fails=True), Section("t", fails=False))), b=WELL
        ),
    }.items(),
    ids=lambda each: each[0],
)
def test_nothing_is_done(what: tuple[str, Seen]) -> None:
    assert looks(*steady(what[1], 3_000)) == []


def test_ignorance_for_a_moment_forgets_all_suspicions() -> None:
    bad, blind = SUSPECTS[Suspicion.NOT_CONNECTED], seen(complete=False)
    assert looks((0, bad), (50, bad), (55, blind), (59, bad), (70, bad), (118, bad)) == []
    assert len(looks((0, bad), (50, bad), (55, blind), (59, bad), (118, bad), (119, bad))) == 1


def test_the_next_one_waits_until_the_first_is_made_up_for() -> None:
    """Two gateways, a bad pod in each."""

    def both(*pods: Pod) -> Seen:
        bad = Gateway((A, B), {"b": Proxy()})
        return Seen(True, {EDGE: Gateway(pods, {"b": Proxy(), "n": Proxy()}), "edge/two": bad})

    new = pod("n", age=5, ready=False)
    state, done = State(), []
    for now, what in (
        (0, both(A, B)),
        (60, both(A, B)),
        (120, both(pod("a", ending=True), B, new)),
        (180, both(B, new)),
        (240, both(B, pod("n", age=120))),
    ):
        state, action = step(state, what, LIMITS, now)
        done.append(action.gateway if action else None)
    assert done == [None, EDGE, None, None, "edge/two"]


def test_waits_of_a_gateway_double_and_are_forgotten_after_a_long_time_without() -> None:
    """Each pod that is made fails alike."""
    state, times, number = State(), [], 0
    for now in range(0, 40_000, 10):
        bad = pod(f"p{number}")
        state, action = step(state, seen(bad, B, b=Proxy()), LIMITS, now)
        if action:
            times.append(now)
            number += 1
    waits = [after - before for before, after in pairwise(times)]
    assert waits[:4] == [300, 600, 1_200, 2_400]
    assert set(waits[4:]) == {3_600}
    quiet = times[-1] + 2 * 3_600
    calm = [(float(quiet), SUSPECTS[Suspicion.NOT_CONNECTED]), (quiet + 60.0, SUSPECTS[Suspicion.NOT_CONNECTED])]
    for at, what in calm:
        state, _ = step(state, what, LIMITS, at)
    assert state.paces[EDGE].wait == 300


def test_what_is_looked_up_just_before_counts() -> None:
    bad = SUSPECTS[Suspicion.NOT_CONNECTED]
    state, _ = step(State(), bad, LIMITS, 0)
    state, action = step(state, bad, LIMITS, 60)
    assert action is not None
    assert may_still(bad, action, state, LIMITS)
    for other in (
        seen(A, b=Proxy()),
        seen(A, pod("b", ready=False)),
        seen(A, pod("b", ending=True)),
        seen(A, B, pod("c", template="u")),
        seen(pod("a", ready=False), B),
        seen(pod("a", uid="another"), B),
        seen(A, B, complete=False),
        Seen(True),
    ):
        assert not may_still(other, action, state, LIMITS)
