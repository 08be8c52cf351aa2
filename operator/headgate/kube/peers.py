"""Which replicas of the operator there are: the EndpointSlices of its own Service, listed and watched.

A pod is in them from when it has an address until it is gone, ready or not. All of them count: one that is not ready may have
proxies connected nevertheless. Needs list and watch of EndpointSlices in the operator's namespace; while that is not to be had
nothing is told, and nobody knows who else there may be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from headgate.infra.endpoints import SERVICE_NAME
from headgate.kube.client import Api, Document
from headgate.kube.metadata import MetadataWatch
from headgate.kube.resources import ENDPOINT_SLICES
from headgate.model.refs import ObjectRef

PERIOD = (60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Replica:
    """A pod of the operator: where its port is. `ending`: it has been told to stop."""

    name: str
    host: str
    port: int
    ending: bool = False


class PeerSource:
    """`found` is called with the others, by name, once they are known and whenever they are others. `own` is this replica's
    pod name."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        service: str,
        port: str,
        own: str,
        found: Callable[[Mapping[str, Replica]], None],
        period: tuple[float, float] = PERIOD,
    ) -> None:
        self._own, self._found = own, found
        self._told: Mapping[str, Replica] | None = None
        self._watch: MetadataWatch[tuple[Replica, ...]] = MetadataWatch(
            api,
            ENDPOINT_SLICES,
            namespace,
            lambda document: replicas(document, port),
            self._changed,
            period,
            labels=f"{SERVICE_NAME}={service}",
            metadata=False,
        )

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch.run())
            await self._watch.listed.wait()
            self._tell()

    def _changed(self, _ref: ObjectRef, _kept: tuple[Replica, ...] | None) -> None:
        if self._watch.listed.is_set():
            self._tell()

    def _tell(self) -> None:
        every = sorted((each for slice_ in self._watch.all().values() for each in slice_), key=lambda each: each.host)
        found = {each.name: each for each in every if each.name != self._own}
        if found != self._told:
            self._told = found
            self._found(found)


def replicas(document: Document, port: str) -> tuple[Replica, ...]:
    """The pods of one EndpointSlice that have a port of this name."""
    number = next((each.get("port") for each in document.get("ports") or () if each.get("name") == port), None)
    if not isinstance(number, int):
        return ()
    found = []
    for endpoint in document.get("endpoints") or ():
        target, addresses = endpoint.get("targetRef") or {}, endpoint.get("addresses") or ()
        if addresses:
            ending = bool((endpoint.get("conditions") or {}).get("terminating"))
            found.append(Replica(str(target.get("name") or addresses[0]), str(addresses[0]), number, ending))
    return tuple(found)
