"""Whatever proxies say or keep to themselves: the floor stays in bounds, follows more calls, and moves on evidence alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from headgate.control.scaling import ROOM, Bounds, Load, State, begin, step

CALLS = st.integers(0, 5_000)
BOUNDS = st.builds(
    lambda target, least, more, calm: Bounds(target, least, least + more, calm),
    st.integers(1, 1_000),
    st.integers(1, 20),
    st.integers(0, 30),
    st.floats(0, 600),
)
LOADS = st.builds(
    lambda said, silent: Load(len(said) + silent, tuple(said)), st.lists(CALLS, max_size=8), st.integers(0, 8)
)
LOOKS = st.lists(st.tuples(st.floats(0.5, 400), LOADS), max_size=40)


def life(bounds: Bounds, floor: int, looks: list[tuple[float, Load]]) -> list[tuple[float, Load, State]]:
    now, state, found = 0.0, begin(floor, 0.0), []
    for passed, load in looks:
        now += passed
        state = step(state, bounds, load, now)
        found.append((now, load, state))
    return found


@given(BOUNDS, st.integers(1, 60), LOOKS)
def test_the_floor_stays_in_bounds(bounds: Bounds, floor: int, looks: list[tuple[float, Load]]) -> None:
    for _, _, state in life(bounds, floor, looks):
        assert bounds.least <= state.floor <= bounds.most


@given(BOUNDS, st.integers(1, 60), LOOKS)
def test_what_is_known_to_be_in_flight_has_its_proxies_at_once(
    bounds: Bounds, floor: int, looks: list[tuple[float, Load]]
) -> None:
    for _, load, state in life(bounds, floor, looks):
        assert state.floor >= min(ceil(sum(load.in_flight) / bounds.target), bounds.most)


@given(BOUNDS, st.integers(1, 60), LOOKS)
def test_it_rises_on_what_was_said_alone(bounds: Bounds, floor: int, looks: list[tuple[float, Load]]) -> None:
    before = bounds.clamp(floor)
    for _, load, state in life(bounds, floor, looks):
        if state.floor > before:
            assert state.floor == bounds.clamp(ceil(sum(load.in_flight) / bounds.target))
        before = state.floor


@given(BOUNDS, st.integers(1, 60), LOOKS, st.lists(st.floats(0.5, 400), max_size=20))
def test_silence_moves_nothing(
    bounds: Bounds, floor: int, looks: list[tuple[float, Load]], silence: list[float]
) -> None:
    """But what was asked for before it may still come about: the calm of it is over."""
    past = life(bounds, floor, looks)
    now, state = (past[-1][0], past[-1][2]) if past else (0.0, begin(bounds.clamp(floor), 0.0))
    state = replace(state, asked=((now, state.floor),))
    for passed in silence:
        now += passed
        after = step(state, bounds, Load(4, ()), now)
        assert after.floor == state.floor
        state = after


@given(BOUNDS, st.integers(1, 60), LOOKS)
def test_it_falls_only_after_a_whole_calm_in_which_less_was_enough(
    bounds: Bounds, floor: int, looks: list[tuple[float, Load]]
) -> None:
    past = life(bounds, floor, looks)
    before = bounds.clamp(floor)
    for index, (now, _, state) in enumerate(past):
        if state.floor < before:
            for at, load, _ in past[: index + 1]:
                if at > now - bounds.calm:
                    assert load.in_flight, "somebody has said something"
                    assert sum(load.in_flight) <= state.floor * bounds.target * 1.000001
        before = state.floor


@given(BOUNDS, st.integers(1, 60), LOOKS, LOADS, st.data())
def test_more_calls_never_ask_for_fewer_proxies(
    bounds: Bounds, floor: int, looks: list[tuple[float, Load]], load: Load, data: st.DataObject
) -> None:
    past = life(bounds, floor, looks)
    now, state = (past[-1][0], past[-1][2]) if past else (0.0, begin(floor, 0.0))
    more = tuple(each + data.draw(CALLS) for each in load.in_flight)
    some = step(state, bounds, load, now + 1).floor
    assert step(state, bounds, Load(load.proxies, more), now + 1).floor >= some


@given(BOUNDS, st.integers(1, 60), st.integers(0, 20_000), st.floats(1, 30))
def test_the_same_calls_over_and_over_come_to_rest(bounds: Bounds, floor: int, calls: int, every: float) -> None:
    looks = [(every, Load(1, (calls,)))] * (int(bounds.calm / every) + 6)
    floors = [state.floor for _, _, state in life(bounds, floor, looks)]
    moves = sum(a != b for a, b in pairwise(floors))
    assert moves <= 1
    needed = bounds.clamp(ceil(calls / bounds.target))
    assert needed <= floors[-1] <= max(needed, bounds.clamp(ceil(calls / (bounds.target * ROOM))))


@given(BOUNDS, st.integers(0, 20_000), st.lists(st.floats(-0.04, 0.04), min_size=2, max_size=60))
def test_a_little_more_and_a_little_less_does_not_move_it(bounds: Bounds, calls: int, wobble: list[float]) -> None:
    """Four in a hundred either way."""
    now, state = 0.0, begin(bounds.clamp(ceil(calls * 1.05 / bounds.target)), 0.0)
    settled = state.floor
    for each in wobble:
        now += bounds.calm + 1
        state = step(state, bounds, Load(1, (int(calls * (1 + each)),)), now)
        least = bounds.clamp(ceil(calls * 0.95 / (bounds.target * ROOM)))
        assert min(settled, least) <= state.floor <= settled
