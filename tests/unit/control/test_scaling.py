"""The floor under the autoscaler, look by look."""

from __future__ import annotations

from headgate.control.scaling import Bounds, Load, State, begin, step

BOUNDS = Bounds(target=100, least=2, most=10, calm=60.0)


def looks(state: State, *loads: tuple[float, int, tuple[int, ...]], bounds: Bounds = BOUNDS) -> list[int]:
    """The floors after looks of: when, how many proxies, what they said."""
    floors = []
    for now, proxies, said in loads:
        state = step(state, bounds, Load(proxies, said), now)
        floors.append(state.floor)
    return floors


def test_it_rises_at_once_and_no_higher_than_allowed() -> None:
    assert looks(begin(2, 0), (1, 2, (100, 100)), (2, 2, (100, 101)), (3, 2, (300, 250)), (4, 2, (9_000, 9_000))) == [
        2,
        3,
        6,
        10,
    ]


def test_it_falls_to_the_most_that_was_needed_in_a_whole_calm() -> None:
    quiet = [(float(now), 6, (1,) * 6) for now in range(1, 60, 5)]
    # 300 calls for a moment, in the midst of it.
    moment = (30.5, 6, (50,) * 6)
    later = [(62.0, 6, (1,) * 6), (80.0, 6, (1,) * 6), (100.0, 6, (1,) * 6)]
    floors = looks(begin(6, 0), *sorted([*quiet, moment]), *later)
    assert floors[:-3] == [6] * (len(quiet) + 1)
    assert floors[-3:] == [4, 4, 2]


def test_calls_at_the_edge_between_two_floors_do_not_move_it_to_and_fro() -> None:
    edge = [(float(now), 3, (99, 100, 99 + now % 3)) for now in range(1, 2_000, 5)]
    assert set(looks(begin(3, 0), *edge)) == {3}


def test_nobody_who_says_anything_holds_it_however_long_and_the_calm_begins_anew() -> None:
    silence = [(float(now), 6, ()) for now in range(1, 1_000, 5)]
    after = [(1_001.0, 6, (1,) * 6), (1_050.0, 6, (1,) * 6), (1_062.0, 6, (1,) * 6)]
    floors = looks(begin(6, 0), *silence, *after)
    assert set(floors[:-1]) == {6}
    assert floors[-1] == 2


def test_a_gap_between_two_looks_is_no_calm() -> None:
    assert looks(begin(6, 0), (5_000, 6, (1,) * 6), (5_059, 6, (1,) * 6), (5_061, 6, (1,) * 6)) == [6, 6, 2]


def test_one_that_is_silent_keeps_it_from_falling_and_does_not_raise_it() -> None:
    bounds = Bounds(target=100, least=1, most=10, calm=0.0)
    # Three proxies' worth of calls in two, and nothing of the third.
    assert looks(begin(3, 0), (1, 3, (90, 90)), (2, 3, (90, 90)), bounds=bounds) == [3, 3]
    assert looks(begin(3, 0), (1, 3, (10, 10)), (2, 3, (10, 10)), bounds=bounds) == [3, 2]
    assert looks(begin(3, 0), (1, 3, (150, 149)), (2, 3, (151, 151)), bounds=bounds) == [3, 4]


def test_other_bounds_count_at_once() -> None:
    state = step(begin(6, 0), BOUNDS, Load(6, (100,) * 6), 1)
    assert step(state, Bounds(100, 2, 4, 60.0), Load(6, (100,) * 6), 2).floor == 4
    assert step(state, Bounds(100, 8, 20, 60.0), Load(6, (100,) * 6), 2).floor == 8
