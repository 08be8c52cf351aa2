"""When one question is asked, and what is made of its answers: a state machine without I/O, clock or chance of its own.

Times are seconds of any clock that never goes back; `chance` is a number from 0 to 1 that the caller draws. One probe at a
time; the next one is counted from the answer. What the answers do:

| answer | what is said | the next probe |
|---|---|---|
| all is well | Healthy, at once | after `interval` |
| the credential is rejected, the project paused | so, at once | after `interval` |
| it fails | Unhealthy, at the second one in a row | soon, then at growing distances up to `interval` |
| asks to be called less often | nothing, but that it is not Unhealthy: it answers | when it says, and ever later |
| nothing was learnt (a mistake of ours) | nothing | after `interval` |

Traffic is better than a probe. Calls that succeeded within the last `interval` outweigh a probe that fails, and calls that
succeed after it take back that the provider is Unhealthy. While all is well they also stand in for a probe, but not for more
than SKIPS in a row: to a proxy an answer that refuses a key is a call like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from headgate.model.observations import ProbeVerdict

#: Failures in a row before they are told.
FAILURES = 2
#: Seconds from a failure to the next look, doubled each time; longer where the provider was reached and wants it so.
AGAIN = 10.0
#: So much is added to a distance by chance, at most, as a share of it.
JITTER = 0.2
#: The longest wait of our own after refusals for haste, and the longest that a provider may ask for.
HASTE_MAX, WAIT_MAX = 3_600.0, 86_400.0
#: Probes in a row that traffic may stand in for.
SKIPS = 3


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often (seconds): between two probes, and at least between two that reach the provider, come what may."""

    interval: float
    least: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a probe. `verdict` None: nothing was learnt. `reached`: the provider got it, so that it may count against
    what it allows. `wait`: seconds that it asks for. `failure` and `detail` as in ProbeReport."""

    verdict: ProbeVerdict | None
    reached: bool = True
    wait: float | None = None
    failure: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """One question between two events. `due`: when it is to be asked next. `said`: the answer that is told, None for none
    yet. `row`: failures in a row; `hasty`: refusals for haste in a row; `skipped`: probes left out in a row."""

    due: float
    asking: bool = False
    said: Answer | None = None
    row: int = 0
    hasty: int = 0
    skipped: int = 0
    failed_at: float = 0.0


def begin(now: float, spread: float, chance: float) -> State:
    """A question that nobody has asked yet: soon, within `spread` seconds."""
    return State(due=now + spread * chance)


def resume(verdict: ProbeVerdict, failure: str, detail: str, rhythm: Rhythm, now: float, chance: float) -> State:
    """A question that another process has asked until now, and what it made of the answers. When that was is not known: what
    is well is looked at some time within an interval, so that thousands are not asked at once."""
    said = Answer(verdict, failure=failure, detail=detail)
    if verdict is ProbeVerdict.HEALTHY:
        return State(due=now + rhythm.least + max(0.0, rhythm.interval - rhythm.least) * chance, said=said)
    soon = min(max(AGAIN, rhythm.least) * (1 + chance), max(rhythm.interval, AGAIN))
    row = FAILURES if verdict is ProbeVerdict.UNHEALTHY else 0
    return State(due=now + soon, said=said, row=row, failed_at=now)


def tick(state: State, rhythm: Rhythm, now: float, succeeded_at: float | None, chance: float) -> tuple[State, bool]:
    """Time has passed; the second value tells to ask now. `succeeded_at`: when traffic was last seen to succeed."""
    if state.asking or now < state.due:
        return state, False
    well = state.said is not None and state.said.verdict is ProbeVerdict.HEALTHY and not state.row
    if well and state.skipped < SKIPS and _lately(succeeded_at, rhythm, now):
        return replace(state, skipped=state.skipped + 1, due=now + _jittered(rhythm.interval, chance)), False
    return replace(state, asking=True, skipped=0), True


def answered(
    state: State, rhythm: Rhythm, answer: Answer, now: float, succeeded_at: float | None, chance: float
) -> State:
    """An answer has come."""
    state = replace(state, asking=False)
    later = now + _jittered(rhythm.interval, chance)
    match answer.verdict:
        case None:
            return replace(state, due=later)
        case ProbeVerdict.RATE_LIMITED:
            return _hasty(state, rhythm, answer, now, chance)
        case ProbeVerdict.HEALTHY | ProbeVerdict.CREDENTIAL_REJECTED | ProbeVerdict.PAUSED:
            return replace(state, due=later, said=answer, row=0, hasty=0)
        case ProbeVerdict.UNHEALTHY if _lately(succeeded_at, rhythm, now):
            return replace(_not_unhealthy(state), due=later, hasty=0)
        case ProbeVerdict.UNHEALTHY:
            row = state.row + 1
            said = answer if row >= FAILURES else state.said
            due = now + _jittered(_look_again(rhythm, row, answer), chance)
            return replace(state, due=due, said=said, row=row, hasty=0, failed_at=now)


def succeeded(state: State, at: float) -> State:
    """Traffic has been seen to succeed at that time."""
    return _not_unhealthy(state) if _told_unhealthy(state) and at > state.failed_at else state


def _hasty(state: State, rhythm: Rhythm, answer: Answer, now: float, chance: float) -> State:
    hasty = state.hasty + 1
    own = min(rhythm.interval * 2.0 ** min(hasty, 16), max(HASTE_MAX, rhythm.interval))
    wait = max(own, min(answer.wait or 0.0, WAIT_MAX))
    return replace(_not_unhealthy(state), due=now + _jittered(wait, chance), hasty=hasty)


def _look_again(rhythm: Rhythm, row: int, answer: Answer) -> float:
    first = max(AGAIN, rhythm.least) if answer.reached else AGAIN
    return min(first * 2.0 ** min(row - 1, 16), max(rhythm.interval, AGAIN))


def _told_unhealthy(state: State) -> bool:
    return state.said is not None and state.said.verdict is ProbeVerdict.UNHEALTHY


def _not_unhealthy(state: State) -> State:
    return replace(state, row=0, said=None if _told_unhealthy(state) else state.said)


def _lately(succeeded_at: float | None, rhythm: Rhythm, now: float) -> bool:
    return succeeded_at is not None and now - succeeded_at < rhythm.interval


def _jittered(seconds: float, chance: float) -> float:
    """Never less than what was asked for: some of it is the provider's wish."""
    return seconds * (1 + JITTER * chance)
