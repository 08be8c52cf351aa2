"""The loop from the Store to the proxies and back into statuses: one compile at a time, of the whole world.

Runs on the event loop; compile, rendering and the joining of statuses, pure and sometimes long, run in a thread meanwhile,
one at a time. A bug in any of them is logged and counted, and never ends the process: one in compile keeps the last Plan, one
in rendering the last resources of what can't be rendered, which is told to the objects that it is made of. One in what comes
after (statuses, whoever follows the Plan) keeps nothing from the proxies.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import structlog

from headgate.compile.memo import Memo
from headgate.compile.status import Status, StatusMemo, statuses
from headgate.compile.world import compile_snapshot
from headgate.envoy.failure import RenderFailure, failure
from headgate.envoy.render import RenderMemo, rendering
from headgate.envoy.resource import Resources
from headgate.model.observations import Acknowledgements, ObjectReports, Observed, ProbeReports, SectionReports
from headgate.model.plan import Gateway
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Snapshot
from headgate.model.verdict import Plan
from headgate.providers.registry import Profiles
from headgate.store import Store
from headgate.xds.acknowledgements import Answers
from headgate.xds.replicas import Replicas
from headgate.xds.reports import Reports
from headgate.xds.server import XdsServer

_log = structlog.stdlib.get_logger("headgate.engine")
#: How often a Plan is made anew because something that it refers to has been read.
ROUNDS = 3
#: Seconds that proxies have to answer before statuses are made: nearly all do, and what is said then is said once.
ANSWER = 0.05
#: After looking, the event loop is left to others for this many times as long as that took, and so many seconds at most.
REST, LONGEST_REST = 3.0, 0.5


@dataclass(slots=True)
class Counts:
    """What went on since the start. Failures are bugs, not mistakes in what was declared; what can't be rendered is tried,
    and counted, again at every compile."""

    compiles: int = 0
    compile_failures: int = 0
    render_failures: int = 0
    later_failures: int = 0


@dataclass(frozen=True, slots=True)
class Outlook:
    """The latest of everything: what is to be, what the proxies made of it, and what is said of each object."""

    plan: Plan
    answers: Answers
    statuses: Mapping[ObjectRef, Status]
    reports: SectionReports


class Around(Protocol):
    """What goes around each compile where providers are simulated. Called one at a time, in a thread."""

    def fill(self, snapshot: Snapshot) -> Snapshot:
        """Add what the simulation needs and nobody gave."""

    def redirect(self, plan: Plan) -> Plan:
        """Lead calls to the simulation; verdicts and what is good stay as they are."""


class Engine:
    """`on_plan` is called after each publication, `on_outlook` whenever a status may have changed. Neither may block.
    `probes` gives what probes have to say. `complete` reads what a Plan refers to and the source has not read yet; if that is
    more than the Snapshot had, the Plan is made anew before anything comes of it. `unreadable`: which of that may not be read,
    and why. `objects`: what could not be made. What these have given is not changed afterwards. `replicas` tell what proxies
    that are connected to others say; `compiled` is told how many seconds compiling and rendering took."""

    def __init__(
        self,
        store: Store,
        xds: XdsServer,
        reports: Reports,
        *,
        profiles: Profiles,
        previous: Mapping[ObjectRef, Status],
        on_plan: Callable[[Plan], None],
        on_outlook: Callable[[Outlook], None],
        around: Around | None = None,
        probes: Callable[[], ProbeReports] = dict,
        complete: Callable[[Plan], Awaitable[bool]] | None = None,
        unreadable: Callable[[], Mapping[ObjectRef, str]] = dict,
        objects: Callable[[], ObjectReports] = dict,
        replicas: Replicas | None = None,
        compiled: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._store, self._xds, self._reports = store, xds, reports
        self._on_plan, self._on_outlook = on_plan, on_outlook
        self._profiles, self._around, self._probes, self._complete = profiles, around, probes, complete
        self._unreadable, self._objects = unreadable, objects
        self._replicas, self._on_compiled = replicas, compiled
        self._statuses = previous
        self._memo, self._status_memo = Memo(), StatusMemo()
        self._render_memos: dict[str, RenderMemo] = {}
        self._failures: dict[str, tuple[RenderFailure, ...]] = {}
        self._published: set[str] = set()
        #: What went wrong last after a compile, by where.
        self._bugs: dict[str, str] = {}
        #: Seconds that the last compile took.
        self._took = 0.0
        self._wake = asyncio.Event()
        self.plan: Plan | None = None
        self.counts = Counts()

    @property
    def failures(self) -> Mapping[str, tuple[RenderFailure, ...]]:
        """What can't be rendered, by gateway."""
        return self._failures

    @property
    def statuses(self) -> Mapping[ObjectRef, Status]:
        """What is said of each object."""
        return self._statuses

    def wake(self, _gateway: str = "") -> None:
        """Something that statuses depend on has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._anything()
            self._wake.clear()
            if self._store.dirty:
                await self.compile()
                await self._answered()
            began = time.monotonic()
            await self.look()
            await self._rest(min(REST * (time.monotonic() - began), LONGEST_REST))

    async def compile(self) -> None:
        """Take a Snapshot and bring it to the proxies."""
        plan = await self._made()
        if plan is None:
            return
        self._store.accept(plan)
        began = time.monotonic()
        rendered = await asyncio.to_thread(self._render, plan)
        self._on_compiled(self._took + time.monotonic() - began)
        for key, resources in rendered.items():
            self._xds.publish(key, resources)
        self._published |= rendered.keys()
        for key in self._published - plan.gateways.keys():
            self._xds.withdraw(key)
            self._render_memos.pop(key, None)
        self._published &= plan.gateways.keys()
        self._failures = {key: failures for key, failures in self._failures.items() if key in plan.gateways}
        # The proxies first: whoever follows the Plan may look at all of ten thousand upstreams.
        await asyncio.sleep(0)
        self.plan = plan
        self._reports.serve({key: gateway.upstreams for key, gateway in plan.gateways.items()})
        with self._carefully("plan"):
            self._on_plan(plan)

    async def _made(self) -> Plan | None:
        """A Plan of all that is declared; None where there is none, for a bug."""
        plan = None
        for _ in range(ROUNDS):
            snapshot, began = self._store.snapshot(), time.monotonic()
            self.counts.compiles += 1
            try:
                plan = await asyncio.to_thread(self._compiled, snapshot)
            except Exception:  # noqa: BLE001 - a bug: what was live stays live
                self.counts.compile_failures += 1
                self._memo = Memo()
                _log.exception("engine.compile_failed", failures=self.counts.compile_failures)
                return None
            self._took = time.monotonic() - began
            if self._complete is None or not await self._complete(plan):
                break
        return plan

    def _compiled(self, snapshot: Snapshot) -> Plan:
        if self._around is None:
            return compile_snapshot(snapshot, self._memo, self._profiles)
        plan = compile_snapshot(self._around.fill(snapshot), self._memo, self._profiles)
        return self._around.redirect(plan)

    async def look(self) -> None:
        """Join the Plan with what proxies and probes say."""
        plan = self.plan
        if plan is None:
            return
        with self._carefully("statuses"):
            await self._look(plan)
        if "statuses" in self._bugs:
            self._status_memo = StatusMemo()

    @contextlib.contextmanager
    def _carefully(self, what: str) -> Iterator[None]:
        """A bug ends what is done within, and nothing else. The same again, at each look perhaps, is not logged again."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a bug: proxies get what they are to get nevertheless
            self.counts.later_failures += 1
            if self._bugs.get(what) != repr(error):
                self._bugs[what] = repr(error)
                _log.exception("engine.later_failed", what=what, failures=self.counts.later_failures)
        else:
            self._bugs.pop(what, None)

    async def _look(self, plan: Plan) -> None:
        answers = Answers((self._xds.feedback(key) for key in plan.gateways), self._failures)
        now = datetime.now(UTC)
        reports = self._reports.all()
        acks: Acknowledgements = answers
        if self._replicas is not None:
            acks, reports = self._replicas.join(answers), self._replicas.join_reports(reports)
        observed = Observed(acks, reports, self._probes(), self._objects(), self._unreadable())
        # A second and more where all of ten thousand are another: proxies wait, and the lease does.
        joined = asyncio.to_thread(statuses, plan, observed, self._statuses, now, self._status_memo)
        self._statuses = await joined
        self._on_outlook(Outlook(plan, answers, self._statuses, reports))

    async def _answered(self) -> None:
        """Leave the event loop to the proxies that are being told of what was published, until all of them have answered. More to
        compile ends that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ANSWER):
                while not self._store.dirty and any(self._xds.feedback(key).behind for key in self._published):
                    self._wake.clear()
                    await self._anything()
        self._wake.clear()

    async def _rest(self, seconds: float) -> None:
        """Leave the event loop to the proxies, which it serves too: while thousands of resources are being acknowledged, each
        look is long and soon out of date. Something new to compile ends the rest."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._store.changed()

    def _render(self, plan: Plan) -> dict[str, Resources]:
        rendered = {}
        for key, gateway in plan.gateways.items():
            try:
                done = rendering(gateway, self._render_memos.setdefault(key, RenderMemo()))
            except Exception as error:  # noqa: BLE001 - a bug: this gateway's proxies keep what they have
                self._render_memos.pop(key, None)
                self._note(key, (_whole(gateway, error, kept=key in self._published),))
            else:
                rendered[key] = done.resources
                self._note(key, done.failures)
        return rendered

    def _note(self, gateway: str, failures: tuple[RenderFailure, ...]) -> None:
        """What is new is logged. Tracebacks go with that: they would keep alive all that the rendering had in hand."""
        known = set(self._failures.get(gateway, ()))
        self.counts.render_failures += len(failures)
        for each in failures:
            if each not in known:
                _log.error(
                    "engine.render_failed",
                    gateway=gateway,
                    what=each.words,
                    failures=self.counts.render_failures,
                    exc_info=each.error,
                )
            each.error.__traceback__ = None
        self._failures[gateway] = failures

    async def _anything(self) -> None:
        waiting = [asyncio.ensure_future(self._store.changed()), asyncio.ensure_future(self._wake.wait())]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            # Not `await task`, whose CancelledError could as well be the one that is meant for us.
            await asyncio.wait(waiting)


def _whole(gateway: Gateway, error: Exception, *, kept: bool) -> RenderFailure:
    """Nothing of the gateway could be rendered: that is told to all that it carries."""
    carried = (
        owner
        for upstream in gateway.upstreams.values()
        for owner in (upstream.ref, *(one for section in upstream.sections for one in section.owners))
    )
    return failure(tuple(dict.fromkeys((gateway.ref, *carried))), str(gateway.ref), error, kept=kept)
