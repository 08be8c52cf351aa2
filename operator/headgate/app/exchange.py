"""The other replicas, as far as the composition root has to do with them: who they are, and what they and this one tell.

`Exchange` is made first, handed to whatever it listens to, and told by `serve` where this replica's own part is read, before
the xDS port is opened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from headgate import __version__
from headgate.app.engine import Engine
from headgate.kube.client import Api
from headgate.kube.peers import PeerSource, Replica
from headgate.model.observations import ProxyLoads
from headgate.xds.pki import ServerTls
from headgate.xds.replicas import Address, Replicas
from headgate.xds.reports import Reports
from headgate.xds.server import XdsServer
from headgate.xds.telling import Own

#: Seconds that a new leader waits, before it writes, for replicas that have not been heard yet, and for proxies to return.
PATIENCE = 3.5


@dataclass(frozen=True, slots=True)
class ReplicaOptions:
    """How replicas find each other: by the EndpointSlices of a Service, or, where there is none, by a list of addresses."""

    service: str = "headgate-operator"
    port: str = "xds"
    given: Mapping[str, Address] | None = field(default=None)


class Exchange:
    """`own` is this replica's pod name, `namespace` the operator's."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        own: str,
        options: ReplicaOptions,
        on_change: Callable[[], None],
        on_success: Callable[[str], None],
    ) -> None:
        self._options = options
        self.replicas = Replicas(own, __version__, on_change, on_success)
        self._source = PeerSource(api, namespace, options.service, options.port, own, self._found)
        if options.given is not None:
            self.replicas.follow(options.given)

    def serve(
        self, tls: ServerTls, xds: XdsServer, reports: Reports, engine: Engine, loads: Callable[[], ProxyLoads] = dict
    ) -> None:
        """What this replica tells is read there."""
        own = Own(xds.gateways, xds.feedback, lambda: engine.failures, reports.of, reports.sections, loads)
        self.replicas.serve(tls, own)

    def background(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What lives as long as the process, once `serve` was called."""
        tasks: dict[str, Callable[[], Awaitable[None]]] = {"replicas": self.replicas.run}
        if self._options.given is None:
            tasks["peers"] = self._source.run
        return tasks

    async def settled(self) -> None:
        """Wait, for a while, until it is known what proxies connected elsewhere have."""
        await self.replicas.settled(PATIENCE)

    def _found(self, others: Mapping[str, Replica]) -> None:
        self.replicas.follow({name: Address(each.host, each.port, each.ending) for name, each in others.items()})
