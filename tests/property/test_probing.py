"""Whatever providers answer, whenever traffic flows and however the dice fall: a provider is never asked more than it wants,
and never forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headgate.control.probing import (
    AGAIN,
    JITTER,
    SKIPS,
    WAIT_MAX,
    Answer,
    Rhythm,
    State,
    answered,
    begin,
    succeeded,
    tick,
)
from headgate.model.observations import ProbeVerdict

CHANCE = st.floats(0, 1)
FAR = 1e7
ANSWERS = st.builds(
    Answer,
    st.sampled_from([None, *ProbeVerdict]),
    reached=st.booleans(),
    wait=st.none() | st.floats(0, 1e6),
)
RHYTHMS = st.tuples(st.floats(10, 3_600), st.floats(0, 1)).map(lambda each: Rhythm(each[0], each[0] * each[1]))


@dataclass(frozen=True)
class Step:
    """`delay`: after the probe was due. `took`: until its answer. `traffic`: so long before the tick calls succeeded."""

    delay: float
    took: float
    answer: Answer
    traffic: float | None
    chances: tuple[float, float]


STEPS = st.lists(
    st.builds(
        Step,
        st.floats(0, 100),
        st.floats(0, 20),
        ANSWERS,
        st.none() | st.floats(0, 1e4),
        st.tuples(CHANCE, CHANCE),
    ),
    max_size=60,
)


@dataclass(frozen=True)
class Asked:
    """One probe: when, what came and when, and the state before and after."""

    at: float
    answer: Answer
    answered_at: float
    success: float | None
    before: State
    after: State


def life(rhythm: Rhythm, steps: list[Step]) -> list[Asked]:
    """A question through all of these steps."""
    state, found, skipped = begin(0.0, 5.0, 0.5), [], 0
    success: float | None = None
    for step in steps:
        now = state.due + step.delay
        if step.traffic is not None:
            success = max(success or 0.0, now - step.traffic)
            state = succeeded(state, success)
        before = state
        state, ask = tick(state, rhythm, now, success, step.chances[0])
        assert ask is state.asking
        if not ask:
            skipped += 1
            assert skipped <= SKIPS
            assert before.due < state.due <= now + rhythm.interval * (1 + JITTER)
            continue
        skipped = 0
        assert tick(state, rhythm, FAR, success, 0.5) == (state, False), "one at a time"
        answered_at = now + step.took
        state = answered(state, rhythm, step.answer, answered_at, success, step.chances[1])
        found.append(Asked(now, step.answer, answered_at, success, before, state))
    return found


@given(RHYTHMS, STEPS)
def test_never_sooner_than_wanted(rhythm: Rhythm, steps: list[Step]) -> None:
    asked = life(rhythm, steps)
    for one, other in pairwise(asked):
        distance = other.at - one.answered_at
        assert distance >= min(AGAIN, rhythm.interval) - 1e-6
        if one.answer.reached or one.answer.verdict is not ProbeVerdict.UNHEALTHY:
            assert distance >= rhythm.least - 1e-6
        if one.answer.verdict is ProbeVerdict.RATE_LIMITED:
            assert distance >= min(one.answer.wait or 0.0, WAIT_MAX) - 1e-6


@given(RHYTHMS, STEPS)
def test_never_forgotten(rhythm: Rhythm, steps: list[Step]) -> None:
    for each in life(rhythm, steps):
        longest = max(WAIT_MAX if each.answer.verdict is ProbeVerdict.RATE_LIMITED else 0.0, rhythm.interval, AGAIN)
        assert each.answered_at < each.after.due <= each.answered_at + longest * (1 + JITTER) + 1e-6


@given(RHYTHMS, STEPS)
def test_what_is_said_follows_from_the_answers(rhythm: Rhythm, steps: list[Step]) -> None:
    asked = life(rhythm, steps)
    for index, each in enumerate(asked):
        said = each.after.said
        match each.answer.verdict:
            case ProbeVerdict.HEALTHY | ProbeVerdict.CREDENTIAL_REJECTED | ProbeVerdict.PAUSED:
                assert said == each.answer
            case ProbeVerdict.UNHEALTHY if said is not None and said.verdict is ProbeVerdict.UNHEALTHY:
                # Never by one failure alone, and never beside calls that succeed.
                before = next(one for one in reversed(asked[:index]) if one.answer.verdict is not None)
                assert before.answer.verdict is ProbeVerdict.UNHEALTHY
                assert each.success is None or each.answered_at - each.success >= rhythm.interval
            case ProbeVerdict.UNHEALTHY | ProbeVerdict.RATE_LIMITED | None:
                unhealthy = said is not None and said.verdict is ProbeVerdict.UNHEALTHY
                assert said == each.before.said or said is None
                assert not unhealthy or each.answer.verdict is None
        assert said is None or said.verdict is not ProbeVerdict.RATE_LIMITED
