"""When a question is asked, and what is made of its answers."""

from __future__ import annotations

import pytest

from headgate.control.probing import AGAIN, FAILURES, SKIPS, Answer, Rhythm, State, answered, begin, succeeded, tick
from headgate.model.observations import ProbeVerdict

RHYTHM = Rhythm(interval=300.0, least=60.0)
WELL = Answer(ProbeVerdict.HEALTHY)
REJECTED = Answer(ProbeVerdict.CREDENTIAL_REJECTED, failure="Status401")
PAUSED = Answer(ProbeVerdict.PAUSED, failure="Status540")
DOWN = Answer(ProbeVerdict.UNHEALTHY, reached=False, failure="ConnectFailure")
FAILING = Answer(ProbeVerdict.UNHEALTHY, failure="Status503")
HASTY = Answer(ProbeVerdict.RATE_LIMITED, failure="Status429")


def after(*answers: Answer, succeeded_at: float | None = None) -> State:
    """A question that got these answers, each at the moment that it was due, the last one at its `due` before."""
    state = begin(0.0, 0.0, 0.0)
    for each in answers:
        now = state.due
        state, ask = tick(state, RHYTHM, now, None, 0.0)
        assert ask
        state = answered(state, RHYTHM, each, now, succeeded_at, 0.0)
    return state


def distance(*answers: Answer) -> float:
    """From the last of these answers to the next question."""
    return after(*answers).due - (after(*answers[:-1]).due if answers[1:] else 0.0)


def test_the_first_is_asked_within_the_spread() -> None:
    assert begin(10.0, 4.0, 0.5).due == 12.0
    assert tick(begin(10.0, 4.0, 0.5), RHYTHM, 11.9, None, 0.0)[1] is False
    assert tick(begin(10.0, 4.0, 0.5), RHYTHM, 12.0, None, 0.0)[1] is True


def test_one_at_a_time() -> None:
    state, _ = tick(begin(0.0, 0.0, 0.0), RHYTHM, 0.0, None, 0.0)
    assert tick(state, RHYTHM, 10_000.0, None, 0.0) == (state, False)


@pytest.mark.parametrize("answer", [WELL, REJECTED, PAUSED])
def test_what_the_provider_says_of_itself_is_told_at_once(answer: Answer) -> None:
    state = after(answer)
    assert (state.said, state.due) == (answer, 300.0)


@pytest.mark.parametrize("answer", [DOWN, FAILING])
def test_one_failure_is_no_news_and_two_are(answer: Answer) -> None:
    assert FAILURES == 2
    assert after(answer).said is None
    assert after(WELL, answer).said == WELL
    assert after(WELL, answer, answer).said == answer
    assert after(answer, WELL, answer).said == WELL


@pytest.mark.parametrize("trouble", [(DOWN, DOWN, DOWN), (REJECTED,), (PAUSED,)])
def test_one_success_heals(trouble: tuple[Answer, ...]) -> None:
    assert after(*trouble, WELL).said == WELL


def test_a_rejected_key_is_told_until_something_else_is_sure() -> None:
    assert after(REJECTED, DOWN).said == REJECTED
    assert after(REJECTED, DOWN, DOWN).said == DOWN


def test_failures_are_looked_into_soon_and_then_ever_later() -> None:
    assert [distance(*(DOWN,) * count) for count in (1, 2, 3, 6, 9)] == [AGAIN, 20.0, 40.0, 300.0, 300.0]


def test_what_reached_the_provider_is_not_repeated_sooner_than_it_wants() -> None:
    assert [distance(*(FAILING,) * count) for count in (1, 2, 3, 4)] == [60.0, 120.0, 240.0, 300.0]


def test_a_provider_that_wants_to_be_called_less_is() -> None:
    assert distance(HASTY) == 600.0
    assert distance(HASTY, HASTY) == 1200.0
    assert distance(*(HASTY,) * 9) == 3600.0
    assert distance(HASTY, WELL) == 300.0
    assert distance(Answer(ProbeVerdict.RATE_LIMITED, wait=7200.0)) == 7200.0
    assert distance(Answer(ProbeVerdict.RATE_LIMITED, wait=1e9)) == 86_400.0


def test_a_refusal_for_haste_says_nothing_of_health_but_that_it_answers() -> None:
    assert after(HASTY).said is None
    assert after(REJECTED, HASTY).said == REJECTED
    assert after(WELL, HASTY).said == WELL
    assert after(DOWN, DOWN, HASTY).said is None
    assert after(DOWN, HASTY, DOWN).said is None, "the row is broken"


def test_a_mistake_of_ours_changes_nothing() -> None:
    assert after(REJECTED, Answer(None)).said == REJECTED
    assert distance(Answer(None)) == 300.0


def test_chance_only_adds() -> None:
    state, _ = tick(begin(0.0, 0.0, 0.0), RHYTHM, 0.0, None, 1.0)
    assert answered(state, RHYTHM, WELL, 0.0, None, 1.0).due == pytest.approx(360.0)


def test_traffic_stands_in_for_a_few_probes() -> None:
    state, asked = after(WELL), []
    for _ in range(2 * SKIPS + 2):
        now = state.due
        state, ask = tick(state, RHYTHM, now, now - 1.0, 0.0)
        asked.append(ask)
        if ask:
            state = answered(state, RHYTHM, WELL, now, now - 1.0, 0.0)
    assert asked == [*[False] * SKIPS, True, *[False] * SKIPS, True]


@pytest.mark.parametrize("before", [(), (REJECTED,), (PAUSED,), (WELL, DOWN), (HASTY,)])
def test_it_stands_in_for_nothing_unless_all_is_well(before: tuple[Answer, ...]) -> None:
    state = after(*before)
    assert tick(state, RHYTHM, state.due, state.due - 1.0, 0.0)[1]


def test_old_traffic_stands_in_for_nothing() -> None:
    state = after(WELL)
    assert tick(state, RHYTHM, state.due, state.due - 300.0, 0.0)[1]


def test_calls_that_succeed_outweigh_a_probe_that_fails() -> None:
    assert after(WELL, DOWN, DOWN, DOWN, succeeded_at=1e6).said == WELL
    assert after(REJECTED, succeeded_at=0.0).said == REJECTED, "to a proxy a refused key is a call like any other"


def test_calls_that_succeed_afterwards_take_it_back() -> None:
    state = after(WELL, DOWN, DOWN)
    assert succeeded(state, state.failed_at - 1.0) == state
    healed = succeeded(state, state.failed_at + 1.0)
    assert (healed.said, healed.row) == (None, 0)
    assert succeeded(after(REJECTED), 1e9).said == REJECTED
    assert succeeded(after(PAUSED), 1e9).said == PAUSED
