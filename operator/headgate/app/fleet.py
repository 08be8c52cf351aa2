"""One Envoy per gateway of the Plan: started when the gateway comes, ended when it goes, taken over from an earlier run."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from headgate.model.plan import Gateway, Listener
from headgate.model.verdict import Plan
from headgate.standalone.launch import Launch, PortTaken, require_free
from headgate.standalone.process import Handle, ProcessId
from headgate.standalone.state import StateDirectory
from headgate.standalone.supervisor import Pace, Supervisor, end, running
from headgate.xds.bootstrap import NodeBootstrap, document
from headgate.xds.identity import write as write_identity
from headgate.xds.pki import CertificateAuthority

_log = structlog.stdlib.get_logger("headgate.run")
#: Seconds; certificates are renewed hours before they run out.
_IDENTITY_RETRY = 60.0
#: There is one Envoy per gateway on this machine, in this run and the next.
INSTANCE = "local"
#: How soon Envoy looks for a run that comes back. Its own longest wait would be half a minute.
_RECONNECT = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}


@dataclass(slots=True)
class _Member:
    supervisor: Supervisor
    listener: Listener


class Fleet:
    """All Envoys of one run. `begin` before anything else; `follow` for each Plan; `stop` at the end, whatever happened."""

    def __init__(
        self,
        state: StateDirectory,
        binary: Path,
        authority: CertificateAuthority,
        say: Callable[[str], None],
        dns_resolvers: tuple[str, ...] = (),
        pace: Pace | None = None,
    ) -> None:
        self._state, self._binary, self._authority = state, binary, authority
        self._say, self._dns_resolvers, self._pace = say, dns_resolvers, pace or Pace()
        self._members: dict[str, _Member] = {}
        self._wanted: Plan | None = None
        self._changed = asyncio.Event()
        self._stepping = asyncio.Lock()
        self._stopping = False

    async def begin(self, plan: Plan, essential: str | None) -> None:
        """Start what the first Plan asks for. Raises PortTaken if the gateway `essential` can't have its address."""
        await self._sweep(plan)
        for key, gateway in sorted(plan.gateways.items(), key=lambda each: each[0] != essential):
            await self._add(key, gateway, essential=key == essential)

    def follow(self, plan: Plan) -> None:
        """A new Plan is in force."""
        self._wanted = plan
        self._changed.set()

    async def run(self) -> None:
        """Bring the Envoys in step with the Plans that `follow` is given. Ends only by being cancelled or failing."""
        async with asyncio.TaskGroup() as group:
            for member in self._members.values():
                group.create_task(member.supervisor.run())
            while True:
                await self._changed.wait()
                self._changed.clear()
                if self._wanted is not None:
                    async with self._stepping:
                        await self._step(self._wanted, group)

    def renew_identities(self) -> None:
        """New client certificates for all; Envoy reads them by itself. Where they can't be written it is tried again."""
        try:
            for key in self._members:
                self._write_identity(key)
        except OSError as error:
            _log.error("run.identities_not_written", error=str(error), again_in=_IDENTITY_RETRY)
            asyncio.get_running_loop().call_later(_IDENTITY_RETRY, self.renew_identities)

    def processes(self) -> dict[str, ProcessId]:
        """The Envoys that run now, by gateway."""
        every = {key: member.supervisor.process for key, member in self._members.items()}
        return {key: process for key, process in every.items() if process is not None}

    async def stop(self, *, drain: bool) -> None:
        """End all of them; calls in flight finish first, if `drain`."""
        self._stopping = True
        async with self._stepping:  # so that nothing is started behind our back
            await asyncio.gather(*(member.supervisor.stop(drain=drain) for member in self._members.values()))
            self._members = {}

    def hurry(self) -> None:
        """Do not wait for calls in flight any longer."""
        for member in self._members.values():
            member.supervisor.hurry()

    def listeners(self) -> Iterator[tuple[str, Listener]]:
        """Where each gateway takes calls."""
        for key, member in self._members.items():
            yield key, member.listener

    async def _step(self, plan: Plan, group: asyncio.TaskGroup) -> None:
        for key in [key for key in self._members if key not in plan.gateways]:
            await self._members[key].supervisor.stop()
            del self._members[key]
            self._say(f"gateway {key} is gone, and its Envoy ended")
        for key, gateway in plan.gateways.items():
            if self._stopping:
                return
            member = self._members.get(key)
            if member is None:
                member = await self._add(key, gateway, essential=False)
                group.create_task(member.supervisor.run())
            elif member.listener != gateway.listener:
                member.listener = gateway.listener
                member.supervisor.retry()

    async def _add(self, key: str, gateway: Gateway, *, essential: bool) -> _Member:
        self._write_identity(key)

        def check_port() -> None:
            listener = member.listener
            for other, listening in self.listeners():
                same = (listening.address, listening.port) == (listener.address, listener.port)
                if other != key and same and other in self.processes():
                    raise PortTaken(
                        f"gateway {other} has port {listener.port} already: give {key} another listener.port"
                    )
            require_free(listener.address, listener.port)

        member = _Member(Supervisor(self._launch(key), self._say, check_port, self._pace), gateway.listener)
        self._members[key] = member
        try:
            await member.supervisor.begin()
        except (OSError, PortTaken) as error:
            if essential:
                raise
            self._say(f"error: gateway {key}: {error}")
        return member

    def _launch(self, key: str) -> Launch:
        directory = self._state.gateway(key)
        node = NodeBootstrap(
            gateway=key,
            instance=INSTANCE,
            xds_addresses=(f"unix:{self._state.xds_socket}",),
            identity_directory=directory / "identity",
            admin_socket=self._state.admin_socket(key),
            dns_resolvers=self._dns_resolvers,
        )
        bootstrap = document(node)
        for service in bootstrap["dynamic_resources"]["ads_config"]["grpc_services"]:
            service["envoy_grpc"]["retry_policy"] = _RECONNECT
        text = json.dumps(bootstrap, indent=1, sort_keys=True)
        return Launch(key, self._binary, text, directory, self._state.admin_socket(key))

    def _write_identity(self, key: str) -> None:
        directory = self._state.gateway(key) / "identity"
        write_identity(directory, self._authority.client(key), self._authority.roots_pem)

    async def _sweep(self, plan: Plan) -> None:
        """End what an earlier run left for gateways that are no more."""
        for directory in sorted(self._state.gateways.iterdir()):
            process = running(directory)
            record = StateDirectory.read(directory / "envoy.json")
            key = record.get("gateway") if isinstance(record, dict) else None
            if process is None or key in plan.gateways:
                continue
            with contextlib.suppress(ProcessLookupError):
                handle = Handle(process, child=False)
                await end(handle, self._pace.terminate)
                handle.close()
                self._say(f"gateway {key} is gone, and its Envoy (process {process.pid}) ended")
            (directory / "envoy.json").unlink(missing_ok=True)
