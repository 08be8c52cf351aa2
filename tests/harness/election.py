"""An election in simulated time: a Lease behind a network that delays and loses, candidates with clocks of their own."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from headgate.control.election import (
    Action,
    End,
    Look,
    Lost,
    Observation,
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


@dataclass
class Weather:
    """How bad things are. Delays in seconds, chances from 0 to 1."""

    lost_requests: float = 0.0
    lost_answers: float = 0.0
    delay: float = 0.05
    #: The chance that a request lies around for up to a minute before the server takes it.
    lingering: float = 0.0
    #: The chance at each step of a candidate that it is frozen afterwards, and for how long at most.
    freezing: float = 0.0
    freeze: float = 30.0
    #: How long writers take to stop at most, of the time that they have.
    stopping: float = 1.0
    call_timeout: float = 2.0


@dataclass
class Lease:
    record: Record | None = None
    version: int = 0

    def read(self) -> Observation:
        return Read(self.record, str(self.version) if self.record else "")

    def write(self, write: Write) -> Observation:
        if write.version != (str(self.version) if self.record else ""):
            return Refused()
        self.record, self.version = write.record, self.version + 1
        return Written(str(self.version))


@dataclass
class Candidate:
    state: State
    rate: float
    offset: float
    frozen_until: float = 0.0
    asked: int = 0
    #: In real time: since when and until when it may write, as far as is known now.
    writing: tuple[float, float] | None = None
    alive: bool = True
    history: list[tuple[float, float]] = field(default_factory=list)

    def clock(self, real: float) -> float:
        return self.offset + self.rate * real

    def real(self, clock: float) -> float:
        return (clock - self.offset) / self.rate


class Election:
    """Run with `run`; `overlaps` is what must stay empty."""

    def __init__(self, seed: int, timings: Timings, weather: Weather, candidates: int, skew: float) -> None:
        self.random = random.Random(seed)
        self.weather, self.timings = weather, timings
        self.lease = Lease()
        self.now = 0.0
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.candidates: list[Candidate] = []
        self.overlaps: list[str] = []
        self.skew = skew
        for _ in range(candidates):
            self.join()

    def join(self) -> Candidate:
        rate = 1 + self.random.uniform(-self.skew, self.skew)
        state = State(f"candidate-{len(self.candidates)}", self.timings)
        candidate = Candidate(state, rate, self.random.uniform(-1000, 1000))
        self.candidates.append(candidate)
        self.at(self.now + self.random.uniform(0, 1), lambda: self.observe(candidate, Tick()))
        return candidate

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self.events, (when, next(self.order), what))

    def run(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, _, what = heapq.heappop(self.events)
            what()
        self.now = until

    def kill(self, candidate: Candidate) -> None:
        candidate.alive = False
        self.stopped(candidate)

    def leaders(self) -> list[Candidate]:
        return [each for each in self.candidates if each.writing and each.writing[1] > self.now]

    def observe(self, candidate: Candidate, observation: Observation) -> None:
        if not candidate.alive:
            return
        if self.now < candidate.frozen_until:
            self.at(candidate.frozen_until, lambda: self.observe(candidate, observation))
            return
        if self.random.random() < self.weather.freezing:
            candidate.frozen_until = self.now + self.random.uniform(0, self.weather.freeze)
        now = candidate.clock(self.now)
        candidate.state, actions = step(candidate.state, observation, now)
        for action in actions:
            self.carry_out(candidate, action)
        self.account(candidate)
        wake = candidate.state.wake
        if wake != float("inf"):
            # A loop that is waked at the very moment may read its clock a little earlier or later.
            self.at(max(candidate.real(wake), self.now) + 0.001, lambda: self.observe(candidate, Tick()))

    def carry_out(self, candidate: Candidate, action: Action) -> None:
        match action:
            case Look():
                self.call(candidate, self.lease.read)
            case Write():
                self.call(candidate, lambda: self.lease.write(action))
            case StopWriting():
                took = self.random.uniform(0, self.weather.stopping)
                self.at(self.now + took, lambda: self.stopped(candidate))
                self.at(self.now + took, lambda: self.observe(candidate, WritersStopped()))
            case StartWriting() | End():
                pass

    def stopped(self, candidate: Candidate) -> None:
        if candidate.writing:
            candidate.history.append((candidate.writing[0], min(candidate.writing[1], self.now)))
        candidate.writing = None

    def account(self, candidate: Candidate) -> None:
        """Whoever leads may write until its deadline or until its writers have stopped, whichever is first."""
        if candidate.state.phase is Phase.LEADING:
            until = candidate.real(candidate.state.until)
            if candidate.writing and candidate.writing[1] < self.now < until:
                # It overslept its deadline, and its renewal had been taken all the same.
                candidate.history.append(candidate.writing)
                candidate.writing = None
            began = candidate.writing[0] if candidate.writing else self.now
            candidate.writing = (began, until)
            for other in self.candidates:
                if other is not candidate and other.writing and other.writing[1] > self.now:
                    self.overlaps.append(f"{self.now:.2f}: {candidate.state.identity} and {other.state.identity}")

    def call(self, candidate: Candidate, served: Callable[[], Observation]) -> None:
        candidate.asked += 1
        asked = candidate.asked
        weather = self.weather

        def answer(observation: Observation) -> None:
            if candidate.asked == asked:  # else it was given up
                candidate.asked += 1
                self.observe(candidate, observation)

        def serve() -> None:
            observation = served()
            if self.random.random() >= weather.lost_answers:
                self.at(self.now + self.random.uniform(0, weather.delay), lambda: answer(observation))

        if self.random.random() >= weather.lost_requests:
            lingering = self.random.random() < weather.lingering
            self.at(self.now + self.random.uniform(0, 60 if lingering else weather.delay), serve)
        self.at(self.now + weather.call_timeout, lambda: answer(Lost()))

    def stop(self, candidate: Candidate) -> None:
        self.observe(candidate, Stop())

    def remove_lease(self) -> None:
        self.lease.record = None
