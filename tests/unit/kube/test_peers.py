"""Which replicas there are, out of EndpointSlices."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fakes.apiserver import FakeApiServer
from harness.kube import until
from headgate.kube.access import Access
from headgate.kube.client import Api
from headgate.kube.peers import PeerSource, Replica, replicas
from headgate.kube.resources import ENDPOINT_SLICES


def slice_of(*endpoints: dict[str, Any]) -> dict[str, Any]:
    meta = {"name": "s", "namespace": "ops", "labels": {"kubernetes.io/service-name": "headgate-operator"}}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": meta,
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": "xds", "port": 18000}, {"name": "health", "port": 8081}],
    }


def endpoint(name: str, address: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": [address], "targetRef": {"kind": "Pod", "name": name}, "conditions": conditions}


def test_all_that_have_an_address_count_ready_or_not() -> None:
    found = replicas(
        slice_of(endpoint("a", "10.0.0.1", ready=False), endpoint("b", "10.0.0.2", terminating=True)), "xds"
    )
    assert found == (Replica("a", "10.0.0.1", 18000), Replica("b", "10.0.0.2", 18000, ending=True))
    assert replicas(slice_of(endpoint("a", "10.0.0.1")), "other") == ()


async def test_the_others_are_told_as_they_come_and_go(tmp_path: Path) -> None:
    told: list[Mapping[str, Replica]] = []
    async with FakeApiServer().running() as server, await Api.open(Access(server.kubeconfig(tmp_path))) as api:
        source = PeerSource(api, "ops", "headgate-operator", "xds", "a", told.append)
        running = asyncio.create_task(source.run())
        try:
            await until(lambda: told == [{}], "there is nobody else")
            await api.apply(ENDPOINT_SLICES, slice_of(endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.2")))
            await until(lambda: told[-1:] == [{"b": Replica("b", "10.0.0.2", 18000)}], "the other")
            await api.delete(ENDPOINT_SLICES, "ops", "s")
            await until(lambda: told[-1:] == [{}], "it is gone")
        finally:
            running.cancel()
            await asyncio.wait([running])
