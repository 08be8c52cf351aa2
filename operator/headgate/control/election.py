"""Who of the replicas writes: one candidate's part in an election on a Lease, as a state machine.

`step(state, observation, now)` is called by one task per candidate (`kube.elector`), which carries out the actions: at most
one call at a time, each answered by exactly one observation, no later than its timeout. `now` is the candidate's own
monotonic clock, one that goes on while the machine is suspended; clocks of different candidates are never compared.

Why no two candidates ever write at the same time:

1. A write of the Lease names the version that was read, so the API server takes it only if nobody has written since.
2. A leader may write until `Timings.deadline` after it *sent* its last accepted renewal, which is before the server took it.
   From `Timings.step_down` on it asks its writers to stop; whoever is about to send looks at the deadline first.
3. A rival takes the Lease only when it has *seen* the same version for the Lease's whole duration, counted from when the
   answer that first showed it came in, which is after the server took it. So it begins no earlier than `lease` after the
   moment from which the leader counts `deadline`, and `deadline < lease`. What lies between is for clocks that do not run
   at the same speed.
4. A Lease without a holder was given back by a leader whose writers had ended. One that is not there may have been deleted
   under a leader, more than once, and a call that creates it names no version, so that it may come late. So creating it
   only lays a claim, which a leader meets at its next renewal, and which its owner waits out like anybody else's: nobody
   begins to lead but by a write over a version that it has seen for a Lease's whole duration, or over one given back.
5. An answer that is lost counts for nothing: the candidate reads the Lease again, and a renewal that did arrive only makes
   rivals wait longer. One that arrives late names an old version.
6. What a former leader has sent and the server has not yet carried out may still take effect. Every write says a whole
   desired state and the next leader looks at what is there, so this mends itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds. A rival takes over at the latest `lease + renew` and a call or two after the leader's last renewal."""

    lease: int = 10
    #: From one renewal to the next, and from one look at somebody else's Lease to the next.
    renew: float = 2.0
    #: How soon to try again when an answer was lost.
    retry: float = 0.5
    #: Since the last accepted renewal was sent: the writers are asked to stop.
    step_down: float = 6.0
    #: Since the last accepted renewal was sent: nobody may begin a write any more.
    deadline: float = 7.5

    def __post_init__(self) -> None:
        if not 0 < self.retry <= self.renew < self.step_down < self.deadline < self.lease:
            raise ValueError("it must be: 0 < retry <= renew < step_down < deadline < lease")


@dataclass(frozen=True, slots=True)
class Record:
    """What a Lease says, as far as it decides anything. No holder: it is free. `transitions` counts changes of holder."""

    holder: str
    duration: int
    transitions: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """The Lease as it was read or written last; `since` is when this version was first heard of. None: there is none."""

    record: Record | None
    version: str
    since: float


class Phase(Enum):
    FOLLOWING = auto()
    LEADING = auto()
    #: The writers have been asked to stop, and have not yet.
    STEPPING_DOWN = auto()
    #: Told to stop for good: the Lease is being given back.
    RELEASING = auto()
    ENDED = auto()


# What may be observed


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Read:
    """The answer to a Look: what the Lease says; no record: there is no Lease."""

    record: Record | None
    version: str


@dataclass(frozen=True, slots=True)
class Written:
    """The answer to a Write: the server took it, as this version."""

    version: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer to a Write: somebody else has written, created or deleted the Lease meanwhile."""


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer came, or none that says whether the call took effect."""


@dataclass(frozen=True, slots=True)
class WritersStopped:
    """After StopWriting: nothing that wrote is running any more."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The process is to end."""


Observation = Tick | Read | Written | Refused | Lost | WritersStopped | Stop


# What may be done


@dataclass(frozen=True, slots=True)
class Look:
    """Read the Lease."""


@dataclass(frozen=True, slots=True)
class Write:
    """Write this over that version of the Lease; without a version create it."""

    record: Record
    version: str


@dataclass(frozen=True, slots=True)
class StartWriting:
    """Start the writers. `State.until` tells how long they may begin writes; it moves with every renewal."""


@dataclass(frozen=True, slots=True)
class StopWriting:
    """Cancel the writers; WritersStopped is to be observed when they have ended."""


@dataclass(frozen=True, slots=True)
class End:
    """The candidate is done."""


Action = Look | Write | StartWriting | StopWriting | End


@dataclass(frozen=True, slots=True)
class Call:
    """A call that has not been answered."""

    sent: float
    write: Write | None = None


@dataclass(frozen=True, slots=True)
class State:
    """One candidate. `identity` must be new for every start of a process."""

    identity: str
    timings: Timings
    phase: Phase = Phase.FOLLOWING
    #: None: to be read before anything is decided.
    seen: Seen | None = None
    #: A write may have changed it since: it is to be read again.
    stale: bool = False
    call: Call | None = None
    #: When to call next.
    due: float = float("-inf")
    #: When the right to write ends; meaningful while leading or stepping down.
    until: float = float("-inf")
    stopping: bool = False

    @property
    def step_down_at(self) -> float:
        """When the writers are to be stopped unless a renewal comes."""
        return self.until - (self.timings.deadline - self.timings.step_down)

    @property
    def wake(self) -> float:
        """When to observe a Tick at the latest."""
        if self.phase is Phase.LEADING:
            return self.step_down_at if self.call else min(self.due, self.step_down_at)
        return float("inf") if self.call or self.phase in {Phase.STEPPING_DOWN, Phase.ENDED} else self.due

    def may_write(self, now: float) -> bool:
        """Whether a write may be begun now."""
        return self.phase is Phase.LEADING and now < self.until


Step = tuple[State, tuple[Action, ...]]


def step(state: State, observation: Observation, now: float) -> Step:
    """What an observation makes of a candidate, and what is to be done about it."""
    if state.phase is Phase.ENDED:
        return state, ()
    match observation:
        case Tick():
            return _go_on(state, now)
        case Read(record, version):
            return _read(replace(state, call=None), record, version, now)
        case Written(version):
            return _written(state, version, now)
        case Refused():
            # It was somebody else's turn: look at once.
            return _lost(state, now, now)
        case Lost():
            return _lost(state, now, now + state.timings.retry)
        case WritersStopped():
            phase = Phase.RELEASING if state.stopping else Phase.FOLLOWING
            return _go_on(replace(state, phase=phase, until=float("-inf"), due=now), now)
        case Stop():
            return _stop(replace(state, stopping=True), now)


def _go_on(state: State, now: float) -> Step:
    """What is to be done by now."""
    match state.phase:
        case Phase.LEADING if now >= state.step_down_at:
            return replace(state, phase=Phase.STEPPING_DOWN), (StopWriting(),)
        case Phase.STEPPING_DOWN | Phase.ENDED:
            return state, ()
        case _ if state.call is not None or now < state.due:
            return state, ()
        case Phase.RELEASING:
            return _release(state, now)
        case _ if state.stopping:
            return _end(state)
        case _:
            return _campaign(state, now)


def _campaign(state: State, now: float) -> Step:
    """Renew, take, or look at the Lease."""
    seen = state.seen
    if seen is None or state.stale or not _is_ours_to_write(state, seen, now):
        return replace(state, call=Call(now)), (Look(),)
    before = seen.record
    transitions = before.transitions + (before.holder != state.identity) if before else 0
    write = Write(Record(state.identity, state.timings.lease, transitions), seen.version)
    return replace(state, call=Call(now, write)), (write,)


def _is_ours_to_write(state: State, seen: Seen, now: float) -> bool:
    if seen.record is None or not seen.record.holder:
        return True
    # In our own name, but by a call whose answer was lost: it may have been carried out late.
    renewal = seen.record.holder == state.identity and state.phase is Phase.LEADING
    return renewal or now >= _expiry(state, seen)


def _expiry(state: State, seen: Seen) -> float:
    """When what was seen has run out. A Lease that gives no sound duration has at least ours."""
    duration = max(seen.record.duration, state.timings.lease) if seen.record else state.timings.lease
    return seen.since + duration


def _read(state: State, record: Record | None, version: str, now: float) -> Step:
    known = state.seen
    if known is None or (known.version, known.record is None) != (version, record is None):
        known = Seen(record, version, now)
    state = replace(state, seen=known, stale=False)
    if state.phase is Phase.LEADING:
        if record is not None and record.holder != state.identity:
            # Somebody has taken it from us by force, against the rules or by hand.
            return replace(state, phase=Phase.STEPPING_DOWN), (StopWriting(),)
        return _go_on(replace(state, due=now), now)
    if state.phase is Phase.RELEASING:
        return _release(state, now)
    if _is_ours_to_write(state, known, now):
        return _go_on(replace(state, due=now), now)
    return _go_on(replace(state, due=min(now + state.timings.renew, _expiry(state, known))), now)


def _written(state: State, version: str, now: float) -> Step:
    call = state.call
    if call is None or call.write is None:
        raise ValueError("an answer to a Write that was not asked for")
    timings = state.timings
    state = replace(state, call=None, seen=Seen(call.write.record, version, now), due=call.sent + timings.renew)
    match state.phase:
        case Phase.RELEASING:
            return _release(state, now) if call.write.record.holder else _end(state)
        case Phase.FOLLOWING if call.write.version == "" and not state.stopping:
            return _go_on(state, now)  # a claim
        case Phase.FOLLOWING if not state.stopping and now < call.sent + timings.step_down:
            leading = replace(state, phase=Phase.LEADING, until=call.sent + timings.deadline)
            return leading, (StartWriting(),)
        case Phase.FOLLOWING if state.stopping:
            return _go_on(replace(state, phase=Phase.RELEASING, due=now), now)
        case Phase.LEADING:
            return _go_on(replace(state, until=call.sent + timings.deadline), now)
        case _:
            return _go_on(state, now)


def _lost(state: State, now: float, again: float) -> Step:
    wrote = state.call is not None and state.call.write is not None
    state = replace(state, call=None, stale=state.stale or wrote, due=again)
    if state.phase is Phase.RELEASING and not wrote:
        return _end(state)
    return _go_on(state, now)


def _stop(state: State, now: float) -> Step:
    match state.phase:
        case Phase.LEADING:
            return replace(state, phase=Phase.STEPPING_DOWN), (StopWriting(),)
        case Phase.FOLLOWING if state.call is None:
            return _end(state)
        case _:
            return _go_on(state, now)


def _release(state: State, now: float) -> Step:
    """Give the Lease back, if it is still ours. Nobody waits for that in vain: a Lease that is not given back runs out."""
    seen = state.seen
    if state.call is not None:
        return state, ()
    if seen is None or state.stale:
        return replace(state, call=Call(now)), (Look(),)
    if seen.record is None or seen.record.holder != state.identity:
        return _end(state)
    write = Write(replace(seen.record, holder=""), seen.version)
    return replace(state, call=Call(now, write)), (write,)


def _end(state: State) -> Step:
    return replace(state, phase=Phase.ENDED, call=None), (End(),)
