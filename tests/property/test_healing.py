"""Whatever is observed, in whatever order: healing never harms."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.control.healing import Gateway, Limits, Pod, Proxy, Replace, Section, Seen, State, may_still, step

LIMITS = Limits(patience=20, overall=30, first=60, longest=500, recovery=200)
NAMES = ("a", "b", "c", "d")
PODS = st.builds(
    lambda name, number, ready, ending, template, age: Pod(
        name, f"{name}{number}", ready=ready, ending=ending, template=template, age=age
    ),
    st.sampled_from(NAMES),
    st.integers(0, 1),
    # Most of the time all is well, or hardly anything would ever be replaced.
    st.sampled_from([True] * 9 + [False]),
    st.sampled_from([False] * 19 + [True]),
    st.sampled_from(["t"] * 19 + ["u"]),
    st.sampled_from([100.0] * 19 + [5.0]),
)
PROXIES = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(
        Proxy,
        behind=st.booleans(),
        sections=st.lists(st.builds(Section, st.sampled_from(["s", "t"]), st.booleans()), max_size=2).map(tuple),
    ),
)
GATEWAYS = st.builds(
    Gateway, st.lists(PODS, min_size=1, max_size=4, unique_by=lambda pod: pod.name).map(tuple), PROXIES
)
SEEN = st.builds(
    Seen,
    st.sampled_from([True] * 9 + [False]),
    st.dictionaries(st.sampled_from(["x/one", "x/two"]), GATEWAYS, max_size=2),
)
#: Each is looked at several times, so that suspicions last.
LOOKS = st.lists(st.tuples(SEEN, st.integers(2, 12), st.sampled_from([2.0, 15.0, 40.0])), min_size=1, max_size=12)


def life(looks: list[tuple[Seen, int, float]]) -> list[tuple[float, Seen, Replace | None, State]]:
    now, state, found = 0.0, State(), []
    for seen, times, every in looks:
        for _ in range(times):
            now += every
            state, action = step(state, seen, LIMITS, now)
            found.append((now, seen, action, state))
    return found


def done(looks: list[tuple[Seen, int, float]]) -> list[tuple[float, Seen, Replace]]:
    return [(now, seen, action) for now, seen, action, _ in life(looks) if action is not None]


@settings(max_examples=150)
@given(LOOKS)
def test_something_that_takes_calls_always_remains(looks: list[tuple[Seen, int, float]]) -> None:
    for _, seen, action in done(looks):
        assert seen.complete
        gateway = seen.gateways[action.gateway]
        assert action.pod in gateway.pods
        assert not action.pod.ending
        remaining = [pod for pod in gateway.pods if pod is not action.pod and pod.ready and not pod.ending]
        assert remaining
        assert 2 * len(remaining) >= len(gateway.pods)


@settings(max_examples=150)
@given(LOOKS)
def test_never_in_a_rollout(looks: list[tuple[Seen, int, float]]) -> None:
    for _, seen, action in done(looks):
        pods = seen.gateways[action.gateway].pods
        assert len({pod.template for pod in pods}) == 1
        assert not any(pod.ending or pod.age < LIMITS.patience for pod in pods)


@settings(max_examples=150)
@given(LOOKS)
def test_the_rate_holds_over_all_and_for_each_gateway(looks: list[tuple[Seen, int, float]]) -> None:
    every = done(looks)
    for (before, _, _), (after, _, _) in pairwise(every):
        assert after - before >= LIMITS.overall
    for key in ("x/one", "x/two"):
        times = [now for now, _, action in every if action.gateway == key]
        for (first, second), (_, third) in pairwise(pairwise(times)):
            assert second - first >= LIMITS.first
            # Doubled, unless it has done without for long.
            assert third - second >= min(2 * LIMITS.first, LIMITS.longest) or second - first >= LIMITS.longest


@settings(max_examples=150)
@given(LOOKS)
def test_never_two_at_once(looks: list[tuple[Seen, int, float]]) -> None:
    """From one replacement to the next, the first one's gateway has been whole without that pod, or there was no waiting
    any longer."""
    last: Replace | None = None
    at, whole = 0.0, True
    for now, seen, action, _ in life(looks):
        if last is not None and seen.complete:
            gateway = seen.gateways.get(last.gateway)
            pods = gateway.pods if gateway else ()
            gone = all(pod.uid != last.pod.uid for pod in pods)
            whole = whole or (gone and all(pod.ready and not pod.ending for pod in pods)) or now - at >= LIMITS.recovery
        if action is not None:
            assert whole
            last, at, whole = action, now, False


@settings(max_examples=150)
@given(LOOKS)
def test_a_suspicion_has_lasted_and_nothing_was_unknown_meanwhile(looks: list[tuple[Seen, int, float]]) -> None:
    past = life(looks)
    for index, (now, _, action, _) in enumerate(past):
        if action is None:
            continue
        for at, seen, _, state in past[index::-1]:
            assert seen.complete
            assert state.suspects[action.gateway, action.pod.uid][0] is action.suspicion
            if now - at >= LIMITS.patience:
                break
        else:
            raise AssertionError("it was there from the first look on, and that was not long enough ago")


@settings(max_examples=150)
@given(LOOKS, SEEN)
def test_what_was_looked_up_since_is_held_to_the_same(looks: list[tuple[Seen, int, float]], later: Seen) -> None:
    for _, _, action, state in life(looks):
        if action is not None and may_still(later, action, state, LIMITS):
            pods = later.gateways[action.gateway].pods
            remaining = [pod for pod in pods if pod.uid != action.pod.uid and pod.ready and not pod.ending]
            assert later.complete
            assert remaining
            assert 2 * len(remaining) >= len(pods)
            assert len({pod.template for pod in pods}) == 1
