"""How many proxies the calls in flight ask for: the floor under a gateway's autoscaler, as a state machine without I/O.

The autoscaler alone says how many proxies there are; it looks at CPU. Calls that wait for a slow provider, and streams, take
memory and connections and hardly any CPU: for those it gets a floor. What one look makes of it:

| calls in flight, over the target for one proxy | the floor |
|---|---|
| need more proxies than the floor | rises, at once |
| need fewer, with some room to spare, and have for as long as `calm` | falls to the most that was needed meanwhile |
| anything else | stays |
| nobody has said anything | stays, and the calm begins anew |

Of a proxy that has not said anything it is thought that it has none when the floor would rise, and that it is as busy as the
busiest, and as busy as it should be at least, when it would fall: what is missing moves nothing by itself.

Times are seconds of any clock that never goes back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

#: A floor falls only to where calls would fill this share of what its proxies are to carry; where they fill more, it stays. So
#: a number of calls at the edge between two floors doesn't move it to and fro.
ROOM = 0.85


@dataclass(frozen=True, slots=True)
class Bounds:
    """`target`: calls in flight that one proxy is to carry. `calm`: seconds of less before the floor falls."""

    target: int
    least: int
    most: int
    calm: float

    def clamp(self, floor: int) -> int:
        """Within what the gateway's owner allows."""
        return max(self.least, min(floor, self.most))


@dataclass(frozen=True, slots=True)
class Load:
    """What is known at one moment. `proxies`: how many take calls. `in_flight`: of each that has said so lately."""

    proxies: int
    in_flight: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class State:
    """`asked`: which floors were asked for, from when on; the oldest may reach back beyond the calm."""

    floor: int
    asked: tuple[tuple[float, int], ...]


def begin(floor: int, now: float) -> State:
    """Go on from a floor that is in force, or from the number of proxies that there are: it holds for as long as the calm."""
    return State(floor, ((now, floor),))


def step(state: State, bounds: Bounds, load: Load, now: float) -> State:
    """One look. The floor that is wanted is `State.floor`."""
    ask = bounds.clamp(_asked(state.floor, bounds, load))
    asked = _within(state.asked, now - bounds.calm)
    if not asked or asked[-1][1] != ask:
        asked = (*asked, (now, ask))
    floor = bounds.clamp(max(each for _, each in asked))
    return replace(state, floor=floor, asked=asked)


def _asked(floor: int, bounds: Bounds, load: Load) -> int:
    if not load.in_flight:
        return floor
    known = sum(load.in_flight)
    silent = max(load.proxies - len(load.in_flight), 0)
    at_least = ceil(known / bounds.target)
    if at_least > floor:
        return at_least
    guessed = known + silent * max(bounds.target, *load.in_flight)
    at_most = ceil(guessed / (bounds.target * ROOM))
    return min(at_most, floor)


def _within(asked: tuple[tuple[float, int], ...], since: float) -> tuple[tuple[float, int], ...]:
    """What was asked for at any time since then: each counts until the next one."""
    for index in range(len(asked) - 1):
        if asked[index + 1][0] > since:
            return asked[index:]
    return asked[-1:]
