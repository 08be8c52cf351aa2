"""The election: never two that write, whatever clocks, network and machines do; and somebody leads where that is possible."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.election import Election, Weather
from headgate.control.election import (
    End,
    Look,
    Lost,
    Phase,
    Read,
    Record,
    Refused,
    StartWriting,
    State,
    Stop,
    StopWriting,
    Tick,
    Timings,
    Write,
    WritersStopped,
    Written,
    step,
)

TIMINGS = Timings()
chance = st.floats(0, 0.4)
weathers = st.builds(
    Weather,
    lost_requests=chance,
    lost_answers=chance,
    delay=st.floats(0.001, 3),
    lingering=chance,
    freezing=st.floats(0, 0.1),
    freeze=st.floats(0, 60),
    stopping=st.floats(0, 5),
)


@given(st.integers(0, 2**32), weathers, st.integers(2, 3), st.floats(0, 0.1), st.booleans())
@settings(max_examples=60)
def test_never_two_that_write(seed: int, weather: Weather, candidates: int, skew: float, removal: bool) -> None:
    """Clocks up to a tenth too fast or slow, lost and late messages, frozen machines, kills, restarts, a deleted Lease."""
    election = Election(seed, TIMINGS, weather, candidates, skew)
    for turn in range(1, 11):
        election.run(turn * 30)
        chosen = election.random.choice(election.candidates)
        match election.random.randrange(4):
            case 0:
                election.kill(chosen)
                election.join()
            case 1:
                election.stop(chosen)
                election.join()
            case 2 if removal:
                election.remove_lease()
    assert not election.overlaps

    # The storm is over: within a minute for what still lies around, and one term, somebody leads, and goes on leading.
    election.weather.__dict__.update(lost_requests=0, lost_answers=0, lingering=0, freezing=0, delay=0.05, stopping=0.5)
    election.join()
    election.run(300 + 60 + 60 + 15 + 15)
    leaders = election.leaders()
    assert len(leaders) == 1
    election.run(600)
    assert election.leaders() == leaders
    assert not election.overlaps


@pytest.mark.parametrize(
    ("wrong", "weather"),
    [
        # A leader that trusts its Lease for longer than it runs.
        ({"step_down": 13.0, "deadline": 14.0}, Weather(lost_requests=0.6)),
        # One that counts on its clock and its rival's running at the same speed.
        ({"step_down": 9.8, "deadline": 9.99}, Weather(lost_requests=0.6)),
    ],
)
def test_the_simulation_finds_two_leaders_where_timings_are_wrong(wrong: dict[str, float], weather: Weather) -> None:
    timings = Timings()
    for name, value in wrong.items():
        object.__setattr__(timings, name, value)
    weather.stopping = 5
    found = 0
    for seed in range(40):
        election = Election(seed, timings, weather, 3, 0.1)
        election.run(600)
        found += bool(election.overlaps)
    assert found


def test_wrong_timings_are_refused() -> None:
    for wrong in ({"lease": 7}, {"deadline": 10.0}, {"step_down": 8.0}, {"renew": 6.0}, {"retry": 0.0}):
        with pytest.raises(ValueError, match="it must be"):
            Timings(**wrong)


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_leader_is_followed_within_15_seconds(seed: int) -> None:
    election = Election(seed, TIMINGS, Weather(), 3, 0.05)
    election.run(60 + election.random.uniform(0, 10))
    (leader,) = election.leaders()
    election.kill(leader)
    killed = election.now
    election.run(killed + 15)
    assert [each for each in election.leaders() if each is not leader]


@pytest.mark.parametrize("seed", range(20))
def test_a_lease_that_is_given_back_is_taken_at_the_next_look(seed: int) -> None:
    election = Election(seed, TIMINGS, Weather(stopping=0.5), 2, 0.05)
    election.run(60 + election.random.uniform(0, 10))
    (leader,) = election.leaders()
    election.stop(leader)
    stopped = election.now
    election.run(stopped + 3.5)
    assert leader.state.phase is Phase.ENDED
    assert [each for each in election.leaders() if each is not leader]


def _leading(now: float = 100.0) -> State:
    state = State("me", TIMINGS)
    state, (look,) = step(state, Tick(), now)
    assert look == Look()
    state, (write,) = step(state, Read(Record("", 10, 3), "7"), now)
    assert write == Write(Record("me", 10, 4), "7")
    state, (start,) = step(state, Written("8"), now)
    assert start == StartWriting()
    return state


def test_right_to_write_counts_from_when_the_renewal_was_sent() -> None:
    state = _leading(100.0)
    assert state.may_write(107.4)
    assert not state.may_write(107.5)
    state, (write,) = step(state, Tick(), 102.0)
    assert write == Write(Record("me", 10, 4), "8")
    state, actions = step(state, Written("9"), 103.9)
    assert not actions
    assert state.until == 109.5
    assert state.wake == 104.0


def test_steps_down_in_time_when_no_answer_comes() -> None:
    state = _leading(100.0)
    state, _ = step(state, Tick(), 102.0)
    state, actions = step(state, Lost(), 104.0)
    assert not actions
    state, (look,) = step(state, Tick(), 104.5)
    assert look == Look()
    assert state.wake == 106.0
    state, (stop,) = step(state, Tick(), 106.0)
    assert stop == StopWriting()
    assert not state.may_write(106.0)
    # And even if the answer comes now: first the writers end.
    state, actions = step(state, Read(Record("me", 10, 4), "8"), 106.1)
    assert not actions
    # In its own name, by a call of which it is not known when it was carried out: waited out like anybody else's.
    state, (look,) = step(state, WritersStopped(), 106.2)
    assert look == Look()
    state, actions = step(state, Read(Record("me", 10, 4), "8"), 106.3)
    assert not actions
    state, (write,) = step(state, Tick(), 116.2)
    assert write == Write(Record("me", 10, 4), "8")


def test_a_lease_that_someone_took_by_hand_is_left_to_them() -> None:
    state = _leading(100.0)
    state, _ = step(state, Tick(), 102.0)
    state, (look,) = step(state, Refused(), 102.1)
    assert look == Look()
    state, (stop,) = step(state, Read(Record("other", 10, 5), "20"), 102.2)
    assert stop == StopWriting()
    state, (look,) = step(state, WritersStopped(), 102.3)
    assert look == Look()


def test_a_rival_waits_from_when_it_saw_the_version_first() -> None:
    state, _ = step(State("me", TIMINGS), Tick(), 0.0)
    state, actions = step(state, Read(Record("other", 10), "1"), 1.0)
    assert not actions
    for now in (3.0, 5.0, 7.0, 9.0):
        state, (look,) = step(state, Tick(), now)
        assert look == Look()
        state, actions = step(state, Read(Record("other", 10), "1"), now)
        assert not actions
    assert state.wake == 11.0
    state, (write,) = step(state, Tick(), 11.0)
    assert write == Write(Record("me", 10, 1), "1")


@pytest.mark.parametrize(("said", "waits"), [(30, 30), (2, 10), (0, 10), (-5, 10)])
def test_a_lease_lasts_as_long_as_it_says_and_never_shorter_than_ours(said: int, waits: float) -> None:
    state, _ = step(State("me", TIMINGS), Tick(), 0.0)
    state, _ = step(state, Read(Record("other", said), "1"), 0.0)
    asked = []
    for now in range(2, 60, 2):
        state, (action,) = step(state, Tick(), float(now))
        if isinstance(action, Write):
            break
        asked.append(now)
        state, _ = step(state, Read(Record("other", said), "1"), float(now))
    assert now == waits


def test_a_missing_lease_may_have_a_leader() -> None:
    """To create it is a claim, which its owner waits out; then it is taken by a write over the version that was seen."""
    state, _ = step(State("me", TIMINGS), Tick(), 0.0)
    state, (claim,) = step(state, Read(None, ""), 0.0)
    assert claim == Write(Record("me", 10, 0), "")
    state, actions = step(state, Written("1"), 0.1)
    assert not actions
    state, (look,) = step(state, Tick(), 2.0)
    assert look == Look()
    state, actions = step(state, Read(Record("me", 10, 0), "1"), 10.0)
    assert not actions
    state, (write,) = step(state, Tick(), 10.1)
    assert write == Write(Record("me", 10, 0), "1")
    state, actions = step(state, Written("2"), 10.2)
    assert actions == (StartWriting(),)


def test_a_claim_that_somebody_else_was_first_with_is_waited_out() -> None:
    state, _ = step(State("me", TIMINGS), Tick(), 0.0)
    state, _ = step(state, Read(None, ""), 0.0)
    state, (look,) = step(state, Refused(), 0.1)
    assert look == Look()
    state, actions = step(state, Read(Record("other", 10, 0), "1"), 0.2)
    assert not actions
    assert not state.may_write(0.2)


def test_stop_gives_the_lease_back_after_the_writers_have_ended() -> None:
    state = _leading(100.0)
    state, (stop,) = step(state, Stop(), 101.0)
    assert stop == StopWriting()
    state, (release,) = step(state, WritersStopped(), 101.3)
    assert release == Write(Record("", 10, 4), "8")
    state, (end,) = step(state, Written("9"), 101.4)
    assert end == End()
    assert step(state, Tick(), 200.0) == (state, ())


def test_stop_does_not_give_back_what_somebody_else_has() -> None:
    state = _leading(100.0)
    state, _ = step(state, Tick(), 102.0)
    state, _ = step(state, Stop(), 102.1)
    state, actions = step(state, WritersStopped(), 102.2)
    assert not actions, "a renewal is under way"
    state, actions = step(state, Lost(), 104.0)  # it may or may not have been taken
    assert not actions
    state, (look,) = step(state, Tick(), state.wake)
    assert look == Look()
    state, (end,) = step(state, Read(Record("other", 10, 5), "30"), 104.6)
    assert end == End()


def test_stop_of_a_follower_ends_at_once_and_an_outage_ends_a_release() -> None:
    state, (end,) = step(State("me", TIMINGS), Stop(), 0.0)
    assert end == End()
    state = _leading(100.0)
    state, _ = step(state, Stop(), 101.0)
    state, _ = step(state, WritersStopped(), 101.0)
    state, _ = step(state, Lost(), 103.0)
    state, (look,) = step(state, Tick(), state.wake)
    assert look == Look()
    state, (end,) = step(state, Lost(), 106.0)
    assert end == End()


def test_a_lease_that_comes_while_stopping_is_given_back() -> None:
    state, _ = step(State("me", TIMINGS), Tick(), 0.0)
    state, _ = step(state, Read(Record("", 10), "1"), 0.0)
    state, actions = step(state, Stop(), 0.1)
    assert not actions
    state, (release,) = step(state, Written("2"), 0.2)
    assert release == Write(Record("", 10, 1), "2")


def test_an_answer_to_nothing_is_a_bug() -> None:
    with pytest.raises(ValueError, match="not asked for"):
        step(State("me", TIMINGS), Written("1"), 0.0)
