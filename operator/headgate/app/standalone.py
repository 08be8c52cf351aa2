"""`headgate run`: a folder of YAML, served by Envoys of our own, until told to stop.

Order at the start: lock, folder, authority, xDS server, first compile, Envoys. At the end: calls in flight, Envoys, the
rest. If something here fails that must not fail, the Envoys are left serving for the next run to take over.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from headgate.api.gateway import IntegrationGateway
from headgate.app.announcer import Announcer, directions
from headgate.app.engine import Engine, Outlook
from headgate.app.fleet import Fleet
from headgate.app.ledger import Ledger
from headgate.app.probing import Probing
from headgate.app.renewing import keep_renewed
from headgate.app.tasks import BackgroundEnded, forever
from headgate.files.folder import Folder, World
from headgate.files.objects import Item
from headgate.files.secrets import SecretOption
from headgate.files.source import Change, FolderSource
from headgate.files.watch import Watch
from headgate.model.plan import Listener
from headgate.model.snapshot import Settings
from headgate.model.verdict import Plan
from headgate.probes.names import ServersResolver
from headgate.probes.prober import Prober
from headgate.providers.registry import BUILT_IN, Profiles
from headgate.standalone.state import StateDirectory
from headgate.standalone.supervisor import Pace
from headgate.store import Store
from headgate.xds.pki import CertificateAuthority, ServerTls
from headgate.xds.reports import Reports
from headgate.xds.server import XdsServer

if TYPE_CHECKING:
    from headgate.simulate.run import Simulation

_log = structlog.stdlib.get_logger("headgate.run")
#: Seconds after which a start that is not complete says what it waits for.
PATIENCE = 20.0


@dataclass(frozen=True, slots=True)
class Options:
    """What a run was asked for."""

    folder: Path
    settings: Settings
    state: StateDirectory
    envoy: Path
    secrets: tuple[SecretOption, ...] = ()
    dns_resolvers: tuple[str, ...] = ()
    profiles: Profiles = field(default_factory=lambda: BUILT_IN)
    pace: Pace = field(default_factory=Pace)
    #: How long certificates of the xDS port live.
    certificate_lifetime: timedelta = timedelta(hours=24)
    #: Call simulated providers in place of the real ones.
    simulate: bool = False
    #: Ask providers, from time to time, whether they are well.
    probes: bool = True


class _Stop(Exception):
    """Told to stop, and has stopped."""


class Standalone:
    """One run. `say` prints one line for people."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self._options, self._say = options, say
        self._state = options.state
        self._announcer = Announcer(say)
        self._ledger = Ledger(self._state)
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._looked = asyncio.Event()
        self._outlook: Outlook | None = None
        self._simulation: Simulation | None = None
        self._simulated: set[str] = set()

    async def run(self) -> None:
        """Until SIGINT, SIGTERM or SIGHUP. Raises what keeps it from starting: StateProblem, FolderProblem,
        SecretProblem, PortTaken, OSError."""
        self._state.prepare()
        with self._state.lock(), self._signals(), self._simulating() as simulated:
            self._ledger.begin(
                folder=str(self._options.folder.absolute()),
                started=_now(),
                listen=self._options.settings.listen,
                secrets=[each.spelled for each in self._options.secrets],
                **simulated,
            )
            self._make()
            self._source.load()
            self._state.xds_socket.unlink(missing_ok=True)  # a crash leaves it; the lock says that nobody listens
            await self._xds.start([f"unix:{self._state.xds_socket}"])
            try:
                await self._serve()
            finally:
                await self._xds.stop()
                self._state.xds_socket.unlink(missing_ok=True)

    def _make(self) -> None:
        options = self._options
        self._store = Store(options.settings)
        records = self._ledger.records()
        before: dict[str, list[dict[str, object]]] = {}
        for record in records.values():
            if record.manifest is not None:
                before.setdefault(record.file, []).append(record.manifest)
        folder = Folder(options.folder, options.secrets, before)
        self._source = FolderSource(folder, self._store, records, self._read)
        self._authority = _authority(self._state.pki, options.certificate_lifetime, self._say)
        self._tls = ServerTls(self._authority)
        self._probing = Probing(_prober(options.dns_resolvers).ask, lambda: self._wake("")) if options.probes else None
        self._reports = Reports(self._wake, self._probing.succeeded if self._probing else lambda _: None)
        self._xds = XdsServer(self._tls, on_feedback=self._wake, add_services=[self._reports.add_to])
        self._fleet = Fleet(self._state, options.envoy, self._authority, self._say, options.dns_resolvers, options.pace)
        self._engine = Engine(
            self._store,
            self._xds,
            self._reports,
            profiles=options.profiles,
            previous=self._ledger.previous(),
            on_plan=self._planned,
            on_outlook=self._look,
            around=self._simulation,
            probes=self._probing.reports if self._probing else dict,
        )

    async def _serve(self) -> None:
        await self._engine.compile()
        plan = self._engine.plan
        if plan is None:
            raise BackgroundEnded("the first compile failed: this is a bug, see the log")
        try:
            await self._fleet.begin(plan, self._essential(plan))
        except BaseException:
            await self._fleet.stop(drain=False)
            raise
        watch = Watch(
            self._options.folder, [each.path for each in self._options.secrets if each.path], self._state.root
        )
        try:
            async with asyncio.TaskGroup() as group:
                for name, task in (
                    ("engine", self._engine.run),
                    ("watch", watch.run),
                    ("folder", lambda: self._source.follow(watch)),
                    ("fleet", self._fleet.run),
                    ("certificates", lambda: keep_renewed(self._tls, self._fleet.renew_identities)),
                    *([("probes", self._probing.run)] if self._probing else []),
                ):
                    group.create_task(forever(name, task))
                group.create_task(self._start_up(plan))
                group.create_task(self._end())
        except BaseExceptionGroup as ended:
            failures = ended.split(_Stop)[1]
            if failures is None:
                return
            for key, process in self._fleet.processes().items():
                words = "serves on; the next `headgate run` takes it over"
                self._say(f"error: headgate failed; Envoy of gateway {key} (process {process.pid}) {words}")
            raise

    def _essential(self, plan: Plan) -> str | None:
        """The gateway on `--listen`: the default one, should another want the same address."""
        listen = self._options.settings.listen
        there = [each for each in plan.gateways.values() if (each.listener.address, each.listener.port) == listen]
        every = self._source.world.items
        return next((each.key for each in there if _is_default(every.get(each.ref))), there[0].key if there else None)

    def _wake(self, gateway: str) -> None:
        self._engine.wake(gateway)

    def _read(self, world: World, changes: list[Change]) -> None:
        self._announcer.read(world, changes)
        if not changes and self._engine.plan is not None:  # mistakes in what declares nothing
            self._announcer.planned(self._engine.plan)
            self._engine.wake()

    def _planned(self, plan: Plan) -> None:
        if self._simulation is not None:
            self._tell(self._simulation.words())
        self._announcer.planned(plan)
        self._ledger.remember(self._source)
        self._fleet.follow(plan)
        if self._probing is not None:
            self._probing.follow(plan)

    def _look(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._announcer.looked(outlook)
        self._ledger.publish(self._source, outlook, [str(problem) for problem in self._source.world.problems])
        self._looked.set()

    async def _start_up(self, plan: Plan) -> None:
        """Say where to call, and `ready` once all is in force, or what is not."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not await self._settled():
                    self._looked.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await self._looked.wait()
        for key, gateway in (self._engine.plan or plan).gateways.items():
            if self._outlook is None or not self._outlook.answers.settled(key):
                self._say(
                    f"error: gateway {key}: its Envoy has not taken everything yet: see {self._state.gateway(key)}/envoy.log"
                )
            elif key in self._fleet.processes() and not await _accepts(gateway.listener):
                self._say(f"error: gateway {key}: its Envoy runs, but takes no calls: end it and start again")
            for line in directions(gateway):
                self._say(line)
        for ref in self._announcer.waiting:
            self._say(f"error: {ref} is not in force yet: see `headgate get`")
        self._announcer.started = True
        self._say("ready")

    async def _settled(self) -> bool:
        if self._outlook is None:
            return False
        plan, running = self._outlook.plan, self._fleet.processes()
        # An Envoy that could not be started has been told of; nothing waits for it.
        waiting = (plan.verdicts[ref].gateways for ref in self._announcer.waiting if ref in plan.verdicts)
        if any(key in running for gateways in waiting for key in gateways):
            return False
        for key, gateway in plan.gateways.items():
            if key not in running:
                continue
            if not self._outlook.answers.settled(key) or not await _accepts(gateway.listener):
                return False
        return True

    async def _end(self) -> None:
        await self._stopping.wait()
        self._say("stopping: calls in flight may finish; Ctrl-C again cuts them off")
        draining = asyncio.create_task(self._fleet.stop(drain=True))
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait({draining, hurry}, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if not draining.done():
            self._fleet.hurry()
        await draining
        self._say("stopped")
        raise _Stop

    @contextlib.contextmanager
    def _simulating(self) -> Iterator[Mapping[str, str]]:
        """Simulated providers, if they are wanted; what the next ones to ask should know of it."""
        if not self._options.simulate:
            yield {}
            return
        from headgate.simulate.run import Simulation  # an extra that a run may do without

        with Simulation() as self._simulation:
            self._say("providers are simulated: nothing leaves this machine, and no key is needed")
            self._say(f"what they do is up to you: the control API is at {self._simulation.control_url}")
            yield {"control": self._simulation.control_url}

    def _tell(self, words: Iterable[str]) -> None:
        for line in words:
            if line not in self._simulated:
                self._simulated.add(line)
                self._say(line)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # `nohup` means it
            numbers.append(signal.SIGHUP)

        def told() -> None:
            (self._hurry if self._stopping.is_set() else self._stopping).set()

        for number in numbers:
            loop.add_signal_handler(number, told)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


def _authority(directory: Path, leaf_lifetime: timedelta, say: Callable[[str], None]) -> CertificateAuthority:
    """The authority of the state directory; a new one where it is damaged: only Envoys of our own stand on it, and these
    read their new identity while they run."""
    try:
        return CertificateAuthority(directory, leaf_lifetime=leaf_lifetime)
    except ValueError:
        say(f"note: the certificates in {directory} are damaged: new ones are made")
        for path in directory.glob("*.pem"):
            path.unlink()
        return CertificateAuthority(directory, leaf_lifetime=leaf_lifetime)


def _prober(dns_resolvers: Sequence[str]) -> Prober:
    """One that asks the name servers that the Envoys ask."""
    if not dns_resolvers:
        return Prober()
    servers = (text.rpartition(":") for text in dns_resolvers)
    return Prober(ServersResolver([(host.strip("[]"), int(port)) for host, _, port in servers]))


def _is_default(item: Item | None) -> bool:
    return item is not None and isinstance(item.content, IntegrationGateway) and item.content.spec.default


async def _accepts(listener: Listener) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listener.address, listener.address)
    try:
        _, writer = await asyncio.open_connection(host, listener.port)
    except OSError:
        return False
    writer.close()
    return True


def _now() -> str:
    return datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
