"""The simulation behind `headgate run --simulate`: servers for every host that the Plan calls, and the control API.

`fill` goes before a compile and `redirect` after it; both are called by one thread at a time and may take a moment, for
`redirect` starts what is not there yet. Servers run each on a thread of its own, on loopback, and stay until `stop`: a host
keeps its port, its counts and its state however the folder changes.
"""

from __future__ import annotations

import ssl
import threading
from types import TracebackType
from typing import Self

from cryptography.x509.oid import ExtendedKeyUsageOID
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.model.plan import Upstream
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Snapshot
from headgate.model.verdict import Plan
from headgate.simulate import pretend
from headgate.simulate.catalog import GENERIC, KEYS, simulation_of
from headgate.simulate.certificates import Authority, server_context
from headgate.simulate.control import control_app
from headgate.simulate.generic import SimulatedApi
from headgate.simulate.provider import SimulatedProvider
from headgate.simulate.redirect import Names, Place, redirect, wanted
from headgate.simulate.server import AsgiServer
from headgate.simulate.stage import Stage

ADDRESS = "127.0.0.1"


class _Certificates:
    """A TLS context for each name that clients ask for, made when one first does."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._lock = threading.Lock()
        self._names: dict[str, Names] = {}
        self._contexts: dict[str, tuple[Names, ssl.SSLContext]] = {}

    def need(self, asked: str, names: Names) -> None:
        with self._lock:
            before = self._names.get(asked)
            self._names[asked] = names if before is None else before | names

    def context(self, asked: str | None) -> ssl.SSLContext | None:
        with self._lock:
            names = self._names.get(asked or "")
            if names is None:
                return None
            known = self._contexts.get(asked or "")
            if known is None or known[0] != names:
                identity = self._authority.issue(sorted(names.dns), uris=sorted(names.uris))
                known = self._contexts[asked or ""] = (names, server_context(identity))
            return known[1]


class Simulation:
    """`with Simulation() as simulation: ...`; `control_url` is where its control API is."""

    def __init__(self) -> None:
        self._authority = Authority("Headgate simulated providers")
        self._roots = SecretValue(self._authority.pem)
        client = self._authority.issue(["headgate simulation"], ExtendedKeyUsageOID.CLIENT_AUTH)
        certificate, private_key = SecretValue(client.chain_pem), SecretValue(client.key_pem)
        self._props = pretend.Props(KEYS, certificate, private_key, self._roots)
        self._fill_memo = pretend.Memo()
        self._redirect_memo: dict[str, tuple[Upstream, Upstream]] = {}
        self._certificates = _Certificates(self._authority)
        self._lock = threading.Lock()
        self._stages: dict[str, Stage] = {}
        self._servers: list[AsgiServer] = []
        self._dials: dict[Place, tuple[str, int]] = {}
        self._generic: tuple[int, int] | None = None
        self._control = AsgiServer(control_app(self.stages), addresses=(ADDRESS,), server_header=False)

    @property
    def control_url(self) -> str:
        """Where the control API is."""
        return self._control.url()

    @property
    def made_up(self) -> tuple[pretend.MadeUp, ...]:
        """What the latest `fill` had to make up, sorted."""
        return tuple(sorted(self._fill_memo.missing, key=lambda each: (each.ref, each.key)))

    def words(self) -> list[str]:
        """What a person should know of what is simulated now, a line each."""
        made_up = [f"note: {each.ref} has no {each.key}: it is made up" for each in self.made_up]
        hosts = [f"simulated: {stage.host} ({stage.provider})" for _, stage in sorted(self.stages().items())]
        return [*hosts, *made_up]

    def stages(self) -> dict[str, Stage]:
        """Every simulated host, by name; any thread."""
        with self._lock:
            return dict(self._stages)

    def fill(self, snapshot: Snapshot) -> Snapshot:
        """The Snapshot with made-up keys where some are missing."""
        return pretend.fill(snapshot, self._props, self._fill_memo)

    def redirect(self, plan: Plan) -> Plan:
        """The Plan that calls the simulation in place of the providers; what is to be called listens when this returns.
        OSError if it can't."""
        needed = wanted(plan)
        for asked, names in needed.certificates.items():
            self._certificates.need(asked, names)
        for name, host in needed.hosts.items():
            if name not in self._stages:
                self._begin(name)
            stage = self._stages[name]
            stage.slots |= host.slots
            stage.keys.add(host.keys)
        return redirect(plan, self._dials, self._roots, self._redirect_memo)

    def start(self) -> Self:
        """Start the control API; providers follow when they are wanted."""
        self._control.start()
        return self

    def stop(self) -> None:
        """Stop everything."""
        for server in (self._control, *self._servers):
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _begin(self, host: str) -> None:
        """Simulate a host from now on."""
        simulation = simulation_of(host)
        stage = Stage(host, simulation.name if simulation else GENERIC)
        if simulation is None:
            if self._generic is None:
                self._generic = self._serve(SimulatedApi(self._authority, lambda name: self.stages().get(name)))
            secure, plain = self._generic
        else:
            provider = simulation.make(self._authority, host)
            provider.keys = stage.keys
            provider.wrap(lambda app: _staged(stage, provider, app))
            secure, plain = self._serve(provider)
        self._dials[Place(host, tls=True)] = (ADDRESS, secure)
        self._dials[Place(host, tls=False)] = (ADDRESS, plain)
        with self._lock:
            self._stages[host] = stage

    def _serve(self, server: AsgiServer) -> tuple[int, int]:
        """Start a server; the ports with TLS and without."""
        server.choose_context = self._certificates.context
        server.recorder.keep = 0  # the stages remember what is needed
        plain = server.listen_plain()
        self._servers.append(server.start())
        return server.port, plain


def _staged(stage: Stage, provider: SimulatedProvider, app: ASGIApp) -> ASGIApp:
    async def staged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            await stage.answer(app, provider.failing, provider.drop_connection, scope, receive, send)
        else:
            await app(scope, receive, send)

    return staged
