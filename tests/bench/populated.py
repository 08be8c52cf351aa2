"""The benchmarks' world as objects of a real API server: made once, with the calls that a user's tools would make."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

from bench.world import documents, namespaces, secret
from headgate.kube.access import Access
from headgate.kube.client import Api, Document
from headgate.kube.resources import LEASES, NAMESPACES, OURS, SECRETS, Resource

#: Where the gateway is, and the Lease.
SYSTEM = "system"
#: Calls at the same time.
WRITERS = 24


async def populate(kubeconfig: Path, size: int, port: int) -> float:
    """Make a world of `size` upstreams whose gateway listens on `port`; how many seconds that took."""
    began = time.monotonic()
    async with await Api.open(Access(kubeconfig), limit=60.0) as api:
        names = [SYSTEM, *namespaces(size)]
        meta = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names]
        await _create(api, ((NAMESPACES, each) for each in meta))
        await _create(api, ((SECRETS, _secret(number)) for number in range(size)))
        await _create(api, ((OURS[each["kind"]], each) for each in documents(size, port)))
        # An empty one, as an installation brings it: nobody has to be waited for.
        lease = {"name": "headgate-operator", "namespace": SYSTEM}
        await api.create(LEASES, {"apiVersion": LEASES.api_version, "kind": "Lease", "metadata": lease})
    return time.monotonic() - began


def _secret(number: int) -> Document:
    found = secret(number)
    meta = {"name": found.ref.name, "namespace": found.ref.namespace}
    data = {key: value.reveal().decode() for key, value in found.data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": data}


async def _create(api: Api, wanted: Iterable[tuple[Resource, Document]]) -> None:
    rest = iter(wanted)

    async def work() -> None:
        for resource, document in rest:
            await api.create(resource, document)

    async with asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(work())
