"""`headgate operator`: what a cluster declares, served to the gateways' proxies over xDS, its statuses written back.

Order at the start: the API server is listed, everything is compiled once, Secrets that it refers to are read, then the xDS
port is opened, and this replica joins the election. All replicas compile and serve; the one that leads writes. At the end the
writers stop and the lease is given back; proxies go on with what they have.

Every task here lives as long as the process. One that ends, ends it; an API server that is away ends none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import structlog

from headgate.app import memory
from headgate.app.engine import Engine, Outlook
from headgate.app.exchange import Exchange, ReplicaOptions
from headgate.app.fleets import FleetOptions, Fleets
from headgate.app.happenings import Happenings
from headgate.app.healing import Telling
from headgate.app.leading import Duty, lead
from headgate.app.measuring import (
    counted,
    measure_engine,
    measure_happenings,
    measure_kube,
    measure_loop,
    measure_replicas,
    measure_writes,
    measure_xds,
)
from headgate.app.probing import Probing
from headgate.app.renewing import keep_renewed
from headgate.app.tasks import BackgroundEnded, forever, logged
from headgate.app.tending import Around, Tending
from headgate.control.election import Timings
from headgate.control.healing import Limits
from headgate.kube.access import Access
from headgate.kube.client import Api
from headgate.kube.elector import Elector, Leadership, identity
from headgate.kube.events import EventWriter
from headgate.kube.goods import Goods
from headgate.kube.scope import Scope
from headgate.kube.source import KubeSource, Times
from headgate.kube.status import StatusWriter
from headgate.model.observations import ObjectReport, ProbeReport
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Settings
from headgate.model.verdict import Plan
from headgate.probes.prober import Prober
from headgate.providers.registry import BUILT_IN, Profiles
from headgate.store import Store
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.serving import Health, serving
from headgate.xds.pki import ServerTls
from headgate.xds.reports import Reports
from headgate.xds.server import XdsServer

_log = structlog.stdlib.get_logger("headgate.operator")


@dataclass(frozen=True, slots=True)
class LeaseName:
    """The Lease that replicas compete for, and how this one is called in it."""

    namespace: str
    replica: str
    name: str = "headgate-operator"
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator was asked for. `xds` are addresses as `XdsServer.start` takes them."""

    access: Access
    lease: LeaseName
    xds: tuple[str, ...]
    settings: Settings
    scope: Scope = field(default_factory=Scope)
    times: Times = field(default_factory=Times)
    profiles: Profiles = field(default_factory=lambda: BUILT_IN)
    fleets: FleetOptions = field(default_factory=FleetOptions)
    probes: bool = True
    replicas: ReplicaOptions = field(default_factory=ReplicaOptions)
    healing: Limits = field(default_factory=Limits)
    #: Where health and metrics are told, if they are.
    health: tuple[str, int] | None = None


#: What it takes to be ready.
SYNCED, COMPILED, SERVING, GOING_ON = "synced", "compiled", "serving xDS", "going on: it is stopping"


Task = Callable[[], Awaitable[None]]


class _Stop(Exception):
    """Told to stop, and has stopped."""


class Operator:
    """One replica. Make it, and `run` it, on the event loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._stopping = asyncio.Event()
        #: The addresses' ports, once proxies may come; 1 for a socket.
        self.ports: tuple[int, ...] = ()
        #: Synced, compiled and serving.
        self.ready = asyncio.Event()
        self._looked = False
        self.metrics = Metrics()
        self.health = Health((SYNCED, COMPILED, SERVING))

    def stop(self) -> None:
        """Stop in good order."""
        self.health.lack(GOING_ON)
        self._stopping.set()

    async def run(self) -> None:
        """Until SIGINT, SIGTERM or `stop`. Raises NoAccess, OSError, ValueError for what keeps it from starting."""
        options = self._options
        with self._signals():
            # The lease has connections of its own: a thousand statuses to write must not delay a renewal.
            async with await Api.open(options.access) as api, await Api.open(options.access) as lease:
                with self._healthy():
                    self._make(api, lease)
                    try:
                        await self._serve()
                    finally:
                        if self._xds is not None:
                            await self._xds.stop()

    def _make(self, api: Api, lease: Api) -> None:
        options = self._options
        self._store = Store(options.settings)
        self._goods = Goods(api, options.fleets.namespace, self._store, options.times.relist)
        self._source = KubeSource(
            api,
            options.access,
            self._store,
            options.scope,
            options.times,
            self._said,
            self._goods.recall,
            lambda: self._wake(""),
        )
        self._probing = Probing(counted(Prober().ask, self.metrics), lambda: self._wake(""), recall=self._probed)
        self._statuses = StatusWriter(api, self._source.seen)
        self._events = EventWriter(api, options.lease.replica)
        name = options.lease
        self._exchange = Exchange(
            api, name.namespace, name.replica, options.replicas, lambda: self._wake(""), self._probing.succeeded
        )
        telling = self._exchange.replicas.telling
        self._reports = Reports(self._wake, self._probing.succeeded, telling.reported)
        healed = Telling(self._events.tell, self.metrics.healed)
        around = Around(self._exchange.replicas, self._reports, healed, self._uid, self._rescale)
        self._tending = Tending(api, options.scope, options.fleets.infra, around, options.healing)
        self._tending.measure(self.metrics)
        self._fleets = Fleets(
            api,
            options.fleets,
            options.scope,
            self._uid,
            lambda: self._wake(""),
            self._tending.floor,
            self._unmade,
            self._made,
            options.times.relist,
            healed,
            lambda: self._source.turnover,
        )
        self._xds: XdsServer | None = None
        self._elector = Elector(lease, name.namespace, name.name, identity(name.replica), name.timings)
        self._engine: Engine | None = None
        measure_kube(self.metrics, self._source, self._events, self._elector)
        kept = {"statuses": self._statuses.counts, "last-good": self._goods.counts}
        measure_writes(self.metrics, {**kept, **self._fleets.counts()})
        measure_replicas(self.metrics, self._exchange.replicas)
        measure_loop(self.metrics, self.health)

    async def _serve(self) -> None:
        memory.load()
        try:
            async with asyncio.TaskGroup() as group:
                end = group.create_task(self._end())
                _start(group, {"health": self.health.run, "source": partial(self._source.run, self.ready)})
                xds = await self._make_xds()
                await self._source.synced()
                await self._source.read_ahead()
                self.health.done(SYNCED)
                await self._tending.begin()
                engine = self._make_engine(xds)
                await engine.compile()
                if engine.plan is None:
                    raise BackgroundEnded("the first compile failed: this is a bug, see the log")
                memory.settle()
                self.health.done(COMPILED)
                self._exchange.serve(self._tls, xds, self._reports, engine, self._tending.loads)
                self.ports = await xds.start(self._options.xds)
                _start(group, self._background(engine))
                engine.wake()
                group.create_task(self._campaign(end))
                self.health.done(SERVING)
                self.ready.set()
                _log.info("operator.ready", ports=self.ports, upstreams=len(self._store.snapshot().upstreams))
        except BaseExceptionGroup as ended:
            failures = ended.split(_Stop)[1]
            if failures is not None:
                raise

    async def _make_xds(self) -> XdsServer:
        self._tls = ServerTls(await self._fleets.load())
        self._fleets.serve(self._tls)
        replicas = self._exchange.replicas
        self._xds = XdsServer(
            self._tls,
            on_feedback=self._answered,
            on_published=replicas.published,
            add_services=[self._reports.add_to, replicas.telling.add_to, self._tending.service],
        )
        self._tending.attach(self._xds)
        measure_xds(self.metrics, self._xds)
        return self._xds

    def _make_engine(self, xds: XdsServer) -> Engine:
        previous = self._source.previous()
        self._happenings = Happenings(previous, self._source.seen, self._events.tell)
        self._engine = Engine(
            self._store,
            xds,
            self._reports,
            profiles=self._options.profiles,
            previous=previous,
            on_plan=self._planned,
            on_outlook=self._look,
            probes=self._probing.reports,
            complete=self._source.complete,
            unreadable=lambda: self._source.data.unreadable,
            objects=self._fleets.reports,
            replicas=self._exchange.replicas,
            compiled=self.metrics.compiled,
        )
        measure_engine(self.metrics, self._engine)
        measure_happenings(self.metrics, self._happenings)
        return self._engine

    async def _campaign(self, end: asyncio.Task[None]) -> None:
        """Lead whenever possible. When told to stop, give the lease back before everything ends."""
        end.cancel()
        stop = asyncio.create_task(self._stop_elector())
        try:
            await self._elector.run(self._lead)
        finally:
            stop.cancel()
        raise _Stop

    async def _stop_elector(self) -> None:
        await self._stopping.wait()
        _log.info("operator.stopping")
        self._elector.stop()

    async def _end(self) -> None:
        """Told to stop before anything was served."""
        await self._stopping.wait()
        raise _Stop

    async def _lead(self, leadership: Leadership) -> None:
        await self._exchange.settled()
        await lead(leadership, self._duties())

    def _background(self, engine: Engine) -> Mapping[str, Task]:
        """What every replica does, besides reading, once proxies may come."""
        return {
            "engine": engine.run,
            "certificates": partial(keep_renewed, self._tls),
            "last-good": self._goods.follow,
            **self._fleets.background(),
            **self._exchange.background(),
            **self._tending.background(),
        }

    def _duties(self) -> Mapping[str, Duty]:
        """What is done by the replica that leads, and by no other."""
        duties: dict[str, Duty] = {
            # What happened is told against the statuses in the cluster, before these are written.
            "events": self._events.run,
            "happenings": self._happenings.run,
            "statuses": self._statuses.run,
            "last-good": self._goods.run,
            **self._fleets.duties(),
            **self._tending.duties(),
        }
        if self._options.probes:
            duties["probes"] = self._probing.run
        return duties

    def _said(self, ref: ObjectRef) -> None:
        self._statuses.said(ref)
        self._fleets.heard(ref)
        if ref.kind == "UpstreamService":
            self._probing.heard(ref.key)

    def _probed(self, key: str) -> ProbeReport | None:
        """What the replica that leads has put into an upstream's status."""
        found = self._source.seen(ObjectRef("UpstreamService", *key.split("/", 1)))
        return found.probed if found is not None and self._options.probes else None

    def _unmade(self, ref: ObjectRef) -> tuple[ObjectReport, ...]:
        found = self._source.seen(ref)
        return () if found is None else found.missing

    def _made(self, ref: ObjectRef) -> bool:
        found = self._source.seen(ref)
        return found is not None and found.made

    def _uid(self, ref: ObjectRef) -> str | None:
        found = self._source.seen(ref)
        return None if found is None else found.uid

    def _rescale(self) -> None:
        self._fleets.rescale()

    def _wake(self, _gateway: str) -> None:
        if self._engine is not None:
            self._engine.wake()

    def _answered(self, gateway: str) -> None:
        self._wake(gateway)
        self._exchange.replicas.telling.answered(gateway)

    def _planned(self, plan: Plan) -> None:
        self._goods.proven()
        self._probing.follow(plan)
        self._tending.follow(plan)
        self._fleets.follow(plan)
        _log.debug("operator.planned", gateways=len(plan.gateways), objects=len(plan.verdicts))

    def _look(self, outlook: Outlook) -> None:
        if not self._looked:
            self._looked = True
            memory.follow_up()
        self._happenings.look(outlook.statuses)
        self._statuses.want(outlook.statuses)

    @contextlib.contextmanager
    def _healthy(self) -> Iterator[None]:
        if self._options.health is None:
            yield
            return
        host, port = self._options.health
        with serving(host, port, self.health, self.metrics.registry) as taken:
            _log.info("operator.health", port=taken)
            yield

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)


def _start(group: asyncio.TaskGroup, tasks: Mapping[str, Task]) -> None:
    for name, task in tasks.items():
        group.create_task(forever(name, partial(logged, name, task)), name=name)
