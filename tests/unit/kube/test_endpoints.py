"""Where gateways' pods are is known while this replica leads, and at no other time."""

from __future__ import annotations

import asyncio
import contextlib

from fakes.apiserver import FakeApiServer
from harness.kube import until
from headgate.kube.client import Api
from headgate.kube.elector import Leadership
from headgate.kube.endpoints import GatewayEndpoints
from headgate.kube.resources import ENDPOINT_SLICES
from headgate.kube.scope import Scope
from headgate.model.refs import ObjectRef

EDGE = ObjectRef("IntegrationGateway", "team", "edge")
LABELS = {
    "app.kubernetes.io/component": "gateway",
    "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    "kubernetes.io/service-name": "edge-headgate",
}


async def test_what_was_heard_while_it_led_counts_for_nothing_afterwards(server: FakeApiServer, api: Api) -> None:
    document = {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {"name": "edge-headgate-x", "namespace": "team", "labels": LABELS},
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
    }
    await api.create(ENDPOINT_SLICES, document)
    known: list[bool] = []
    endpoints = GatewayEndpoints(api, Scope(), lambda: known.append(endpoints.of(EDGE) is not None), (60.0, 60.0))
    assert endpoints.of(EDGE) is None
    for _ in range(2):
        task = asyncio.create_task(endpoints.run(Leadership(lambda: 1e9)))
        await until(lambda: endpoints.of(EDGE), "it is known")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert endpoints.of(EDGE) is None
        assert not known[-1], "whoever makes something of it was told"
