"""Where the gateways' pods are, as the cluster says it of the gateways' own Services: their EndpointSlices, listed and watched.

Only the replica that leads has use for it: it says the same for the Services of upstreams. While it does not lead, nothing is
known: what it heard when it led last is out of date when it leads again. One event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from headgate.infra.endpoints import CONTROLLER, SLICE_MANAGED_BY, Slice, of_gateway, read_slice
from headgate.infra.manifest import COMPONENT
from headgate.kube.client import Api
from headgate.kube.elector import Leadership
from headgate.kube.metadata import MetadataWatch
from headgate.kube.resources import CHILDREN
from headgate.kube.scope import Scope
from headgate.model.refs import ObjectRef

#: The cluster puts a Service's labels on its slices.
_LABELS = f"{COMPONENT}=gateway,{SLICE_MANAGED_BY}={CONTROLLER}"


class GatewayEndpoints:
    """`changed` is called whenever `of` may answer otherwise. `period`: seconds between two listings, at least and at most."""

    def __init__(self, api: Api, scope: Scope, changed: Callable[[], None], period: tuple[float, float]) -> None:
        self._api, self._scope, self._changed, self._period = api, scope, changed, period
        self._watches: tuple[MetadataWatch[Slice], ...] = ()

    def of(self, gateway: ObjectRef) -> tuple[Slice, ...] | None:
        """The slices of a gateway's Service; None as long as it is not known which there are."""
        if not self._watches or not all(watch.listed.is_set() for watch in self._watches):
            return None
        return of_gateway((each for watch in self._watches for each in watch.all().values()), gateway)

    async def run(self, _leadership: Leadership) -> None:
        """While this replica leads."""
        self._watches = tuple(
            MetadataWatch(
                self._api,
                CHILDREN["EndpointSlice"],
                namespace,
                read_slice,
                lambda _ref, _slice: self._heard(),
                self._period,
                _LABELS,
                metadata=False,
            )
            for namespace in self._scope.listed
        )
        try:
            async with asyncio.TaskGroup() as group:
                for watch in self._watches:
                    group.create_task(watch.run())
                for watch in self._watches:
                    await watch.listed.wait()
                self._changed()
        finally:
            self._watches = ()
            self._changed()

    def _heard(self) -> None:
        if all(watch.listed.is_set() for watch in self._watches):
            self._changed()
