"""Probes of a run: the questions of the latest Plan, each asked in its time, and what is to be told of the answers.

Everything is called on the event loop. What decides is `control.probing`; here are clock, chance and the tasks that ask.

Where there are several replicas, one asks at a time: what a provider allows is counted by key, and not by replica. The one
that asks has `run`; the others tell what it has put into the statuses (`recall`), and go on from there when it is their turn.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType

import structlog

from headgate.control import probing
from headgate.control.probing import Answer, Rhythm, State
from headgate.control.questions import Question, question
from headgate.model.observations import ProbeReport, ProbeReports
from headgate.model.overlay import differing, replaced, same_keys, without
from headgate.model.plan import Gateway, SecretMaterial, Upstream
from headgate.model.verdict import Plan

_log = structlog.stdlib.get_logger("headgate.probing")
#: So many probes at a time.
AT_ONCE = 16
#: Seconds over which new questions are spread, for each of them and at most.
SPREAD, SPREAD_MAX = 0.02, 5.0


@dataclass(slots=True)
class _Entry:
    """A question, and the upstreams that have it with the rhythm that each wants."""

    question: Question
    state: State
    upstreams: dict[str, Rhythm] = field(default_factory=dict)
    report: ProbeReport | None = None

    @property
    def rhythm(self) -> Rhythm:
        """The quickest that is wanted."""
        every = self.upstreams.values()
        return Rhythm(min(each.interval for each in every), min(each.least for each in every))


@dataclass(slots=True)
class _Seat:
    """An upstream: what it was made from, its entry, and what was told of it before it had this question."""

    upstream: Upstream
    secrets: tuple[SecretMaterial | None, ...]
    entry: _Entry
    before: ProbeReport | None = None


class Probing:
    """`ask` never raises for what providers do. `on_change` is called when something else is to be told. `recall`: what was
    told of an upstream last, by whichever process."""

    def __init__(
        self,
        ask: Callable[[Question], Awaitable[Answer]],
        on_change: Callable[[], None],
        chance: Callable[[], float] = random.random,
        recall: Callable[[str], ProbeReport | None] = lambda _: None,
    ) -> None:
        self._ask, self._on_change, self._chance, self._recall = ask, on_change, chance, recall
        self._asking = False
        self._plan: Plan | None = None
        self._entries: dict[Question, _Entry] = {}
        self._seats: dict[str, _Seat] = {}
        self._succeeded: dict[str, float] = {}
        self._heap: list[tuple[float, int, _Entry]] = []
        self._number = itertools.count()
        self._changed = asyncio.Event()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._followed: Mapping[str, Gateway] = {}
        #: None: to be put together anew.
        self._told: ProbeReports | None = None

    # What the run calls

    def follow(self, plan: Plan) -> None:
        """Ask what this Plan asks from now on; what is new in it, soon."""
        self._plan = plan
        if self._asking:
            self._follow(plan)

    def heard(self, key: str) -> None:
        """What is told of an upstream by the one that asks may be something else."""
        if self._asking or self._told is None or (report := self._recall(key)) == self._told.get(key):
            return
        self._told = without(self._told, [key]) if report is None else replaced(self._told, {key: report})
        self._on_change()

    def _follow(self, plan: Plan, *, recalling: bool = False) -> None:
        fresh = []
        for key, gateway in plan.gateways.items():
            before = self._followed.get(key)
            # Most edits are inside of one upstream of thousands.
            known = before.upstreams if before is not None and before.secrets is gateway.secrets else {}
            for name in differing(known, gateway.upstreams):
                upstream = gateway.upstreams.get(name)
                if upstream is not None and (entry := self._seat(name, gateway, upstream)) is not None:
                    fresh.append(entry)
        if any(not _as_many(gateway, plan.gateways.get(key)) for key, gateway in self._followed.items()):
            served = {name for gateway in plan.gateways.values() for name in gateway.upstreams}
            for name in self._seats.keys() - served:
                self._leave(name)
        self._followed = plan.gateways
        now, spread = time.monotonic(), min(SPREAD * len(fresh), SPREAD_MAX)
        for entry in fresh:
            entry.report = self._recalled(entry) if recalling else None
            if entry.report is None:
                entry.state = probing.begin(now, spread, self._chance())
            else:
                verdict, failure, detail = entry.report.verdict, entry.report.failure, entry.report.detail
                entry.state = probing.resume(verdict, failure, detail, entry.rhythm, now, self._chance())
            self._schedule(entry)

    def _recalled(self, entry: _Entry) -> ProbeReport | None:
        return next((report for key in entry.upstreams if (report := self._recall(key)) is not None), None)

    def succeeded(self, section: str) -> None:
        """Calls to a section (by its id) have been seen to succeed."""
        key = section.rpartition("/")[0]
        seat = self._seats.get(key)
        if seat is not None:
            self._succeeded[key] = now = time.monotonic()
            self._take(seat.entry, probing.succeeded(seat.entry.state, now))

    def reports(self) -> ProbeReports:
        """What is to be told, by upstream. The same object as long as it is the same."""
        if self._told is None:
            if self._asking:
                every = ((key, _told(seat)) for key, seat in self._seats.items())
            else:
                served = self._plan.gateways.values() if self._plan is not None else ()
                every = ((key, self._recall(key)) for gateway in served for key in gateway.upstreams)
            self._told = MappingProxyType({key: report for key, report in every if report is not None})
        return self._told

    async def run(self, _leadership: object = None) -> None:
        """Ask, until cancelled; any number of times."""
        self._asking, self._told = True, None
        try:
            if self._plan is not None:
                self._follow(self._plan, recalling=True)
            await self._go_on()
        finally:
            self._asking, self._told, self._followed = False, None, {}
            for each in (self._entries, self._seats, self._succeeded, self._heap):
                each.clear()
            self._on_change()

    async def _go_on(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                now = time.monotonic()
                while self._heap and self._heap[0][0] <= now:
                    entry = heapq.heappop(self._heap)[2]
                    if self._due(entry, now):
                        group.create_task(self._probe(entry))
                wait = max(0.0, self._heap[0][0] - time.monotonic()) if self._heap else None
                try:
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    # One question

    def _due(self, entry: _Entry, now: float) -> bool:
        """Whether it is to be asked now; one that was left out or rescheduled since has another place in the heap."""
        if not entry.upstreams:
            return False
        state, ask = probing.tick(entry.state, entry.rhythm, now, self._success(entry), self._chance())
        if state is not entry.state:
            entry.state = state
            if not ask:
                self._schedule(entry)
        return ask

    async def _probe(self, entry: _Entry) -> None:
        async with self._slots:
            try:
                answer = await self._ask(entry.question)
            except Exception:  # noqa: BLE001 - a bug: it says nothing of the provider
                _log.exception("probing.failed", upstreams=sorted(entry.upstreams))
                answer = Answer(None)
        if not entry.upstreams:
            return  # nobody wants to know any more
        now, chance = time.monotonic(), self._chance()
        state = probing.answered(entry.state, entry.rhythm, answer, now, self._success(entry), chance)
        _log.debug(
            "probing.answered", upstreams=sorted(entry.upstreams), verdict=answer.verdict, failure=answer.failure
        )
        self._take(entry, state)
        self._schedule(entry)

    def _take(self, entry: _Entry, state: State) -> None:
        """Go on from this state, and tell what is new in it."""
        entry.state = state
        report = _report(state, entry.report)
        if report != entry.report:
            entry.report = report
            for key in entry.upstreams:
                self._move_on(self._seats[key])
            self._told = None
            self._on_change()

    def _success(self, entry: _Entry) -> float | None:
        return max((at for key in entry.upstreams if (at := self._succeeded.get(key)) is not None), default=None)

    def _schedule(self, entry: _Entry) -> None:
        heapq.heappush(self._heap, (entry.state.due, next(self._number), entry))
        self._changed.set()

    # Who has which question

    def _seat(self, key: str, gateway: Gateway, upstream: Upstream) -> _Entry | None:
        """Give an upstream its entry; returns it if it is a new one."""
        seat = self._seats.get(key)
        secrets = _secrets(gateway, upstream)
        if seat is not None and seat.upstream is upstream and seat.secrets == secrets:
            return None
        asked = question(gateway, upstream)
        if asked is None or upstream.probe is None:
            self._leave(key)
            return None
        rhythm = Rhythm(upstream.probe.interval / 1000, upstream.probe.least / 1000)
        if seat is not None and seat.entry.question == asked:
            seat.upstream, seat.secrets = upstream, secrets
            self._hurry(seat.entry, key, rhythm)
            return None
        before = _told(seat) if seat is not None else None
        self._leave(key)
        known = self._entries.get(asked)
        entry = known or self._entries.setdefault(asked, _Entry(asked, State(due=0.0)))
        self._seats[key] = _Seat(upstream, secrets, entry, before)
        self._told = None
        entry.upstreams[key] = rhythm
        if known is None:
            return entry
        self._hurry(entry, key, rhythm)
        return None

    def _hurry(self, entry: _Entry, key: str, rhythm: Rhythm) -> None:
        """A shorter interval counts from now on, and not only after the next probe."""
        entry.upstreams[key] = rhythm
        latest = time.monotonic() + entry.rhythm.interval
        if entry.state.due > latest and not entry.state.asking and not entry.state.hasty:
            entry.state = replace(entry.state, due=latest)
            self._schedule(entry)

    def _leave(self, key: str) -> None:
        seat = self._seats.pop(key, None)
        self._succeeded.pop(key, None)
        if seat is not None:
            self._told = None
            del seat.entry.upstreams[key]
            if not seat.entry.upstreams:
                del self._entries[seat.entry.question]

    def _move_on(self, seat: _Seat) -> None:
        """What was told before counts until the new question has an answer; if it is the same, so is its time."""
        report, before = seat.entry.report, seat.before
        if before is not None and (report is None or report.verdict is not before.verdict):
            seat.before = None


def _as_many(gateway: Gateway, now: Gateway | None) -> bool:
    """Whether it has the same upstreams as before, be they as they were or not."""
    return now is not None and same_keys(gateway.upstreams, now.upstreams)


def _told(seat: _Seat) -> ProbeReport | None:
    report, before = seat.entry.report, seat.before
    if report is None or before is None:
        return report or before
    return replace(report, since=before.since) if report.verdict is before.verdict else report


def _report(state: State, before: ProbeReport | None) -> ProbeReport | None:
    said = state.said
    if said is None or said.verdict is None:
        return None
    same = before is not None and before.verdict is said.verdict
    since = before.since if before is not None and same else datetime.now(UTC)
    return ProbeReport(said.verdict, since, said.failure, said.detail)


def _secrets(gateway: Gateway, upstream: Upstream) -> tuple[SecretMaterial | None, ...]:
    """What the question is made with besides the upstream."""
    if upstream.probe is None:
        return ()
    section = upstream.section(upstream.probe.section)
    names = [each.secret for each in section.credentials]
    if section.tls is not None:
        names += [section.tls.roots, *filter(None, [section.tls.client_certificate])]
    return tuple(gateway.secrets.get(name) for name in names)
