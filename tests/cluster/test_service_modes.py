"""The Service of an upstream's name on a real API server, as its mode is changed to and fro.

There are no controllers and no pods: the slices of the gateway's Service are put there as the cluster would put them.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from cluster import ApiServer
from golden.infra.cases import USUAL
from harness import plans
from harness.kube import PATIENCE, make_namespace, put, upstream
from headgate.app.leading import lead
from headgate.app.objects import Installation, Objects
from headgate.kube.access import Access
from headgate.kube.client import Api, Document, Refused
from headgate.kube.elector import Leadership
from headgate.kube.endpoints import GatewayEndpoints
from headgate.kube.objects import ObjectWriter
from headgate.kube.resources import CHILDREN, ENDPOINT_SLICES
from headgate.kube.scope import Scope
from headgate.model.fleet import ServiceMode
from headgate.model.plan import Listener
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan

pytestmark = pytest.mark.cluster
SERVICES = CHILDREN["Service"]
FOREVER = Leadership(lambda: 1e9)
PERIOD = (3600.0, 3600.0)


class Identities:
    """Not what is looked at here."""

    outcomes: Mapping[ObjectRef, Any] = MappingProxyType({})

    def want(self, _gateways: Mapping[ObjectRef, str]) -> None:
        return


class World:
    """A gateway in one namespace, an upstream in another, and what writes for the two."""

    def __init__(self, api: Api, gateways: str, upstreams: str, uid: str) -> None:
        self.api = api
        self.gateway = replace(plans.gateway(), ref=ObjectRef("IntegrationGateway", gateways, "edge"))
        self.gateway = replace(self.gateway, listener=Listener(address="0.0.0.0", port=10080, hosts=()))
        self.upstream = ObjectRef("UpstreamService", upstreams, "billing")
        # Of the gateway itself nothing is to be made here.
        uids = {self.upstream: uid}
        self.endpoints = GatewayEndpoints(api, Scope(), self._again, PERIOD)
        installation = Installation(USUAL, "headgate-operator.headgate-system.svc.cluster.local:18000")
        self.objects = Objects(installation, uids.get, endpoints=self.endpoints.of)
        self.writer = ObjectWriter(api, ("Service", "EndpointSlice"), Scope((upstreams,)), period=PERIOD)
        self.objects.attach(self.writer, Identities())  # type: ignore[arg-type]

    def _again(self) -> None:
        self.objects.again()

    def mode(self, mode: ServiceMode) -> None:
        section = plans.section(plans.endpoint(443, "api.example"), key=f"{self.upstream.key}/default")
        one = replace(plans.upstream(section), ref=self.upstream, service_mode=mode)
        gateway = replace(self.gateway, upstreams=MappingProxyType({one.key: one}))
        self.objects.follow(Plan(gateways=MappingProxyType({gateway.key: gateway})))

    @contextlib.asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        task = asyncio.create_task(lead(FOREVER, {"objects": self.writer.run, "endpoints": self.endpoints.run}))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def say(self, *endpoints: dict[str, Any], name: str = "edge-headgate-x1") -> None:
        """What the cluster would say of the gateway's Service."""
        labels = {
            "app.kubernetes.io/component": "gateway",
            "app.kubernetes.io/managed-by": "headgate",
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "kubernetes.io/service-name": "edge-headgate",
        }
        document = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "namespace": self.gateway.ref.namespace, "labels": labels},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 10080, "protocol": "TCP"}],
            "endpoints": list(endpoints),
        }
        path = ENDPOINT_SLICES.path(self.gateway.ref.namespace, name)
        query = {"fieldManager": "controller", "force": "true"}
        await self.api._call("PATCH", path, query=query, body=document, content="application/apply-patch+yaml")

    async def service(self) -> Document:
        try:
            return await self.api.get(SERVICES, self.upstream.namespace, "billing")
        except Refused:
            return {"spec": {}}

    async def slices(self) -> list[Document]:
        pages = self.api.pages(ENDPOINT_SLICES, self.upstream.namespace)
        return [each async for page in pages for each in page.items]

    async def leads_to(self) -> dict[str, dict[str, bool]]:
        """Addresses and their conditions."""
        return {
            each["addresses"][0]: each["conditions"] for one in await self.slices() for each in one["endpoints"] or ()
        }

    async def until(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await condition():
            assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
            await asyncio.sleep(0.02)


def endpoint(address: str, *, ready: bool = True, terminating: bool = False) -> dict[str, Any]:
    return {"addresses": [address], "conditions": {"ready": ready, "serving": True, "terminating": terminating}}


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    mark = secrets.token_hex(4)
    async with await Api.open(Access(api_server.kubeconfig)) as api:
        for name in (f"edges-{mark}", f"shop-{mark}"):
            await make_namespace(api, name)
        owner = await put(api, upstream(f"shop-{mark}", "billing"))
        yield World(api, f"edges-{mark}", f"shop-{mark}", owner["metadata"]["uid"])


async def test_a_service_changes_its_mode_to_and_fro(world: World) -> None:
    await world.say(endpoint("10.0.0.1"))
    async with world.leading():
        for _ in range(2):
            world.mode(ServiceMode.EXTERNAL_NAME)

            async def alias() -> bool:
                spec = (await world.service())["spec"]
                return spec.get("type") == "ExternalName" and not spec.get("clusterIP") and not await world.slices()

            await world.until(alias, "an alias")
            world.mode(ServiceMode.CLUSTER_IP)

            async def address() -> bool:
                spec = (await world.service())["spec"]
                return bool(spec.get("clusterIP")) and "externalName" not in spec and len(await world.slices()) == 1

            await world.until(address, "an address of its own")
            assert list(await world.leads_to()) == ["10.0.0.1"]
        world.mode(ServiceMode.NONE)

        async def nothing() -> bool:
            return not (await world.service())["spec"] and not await world.slices()

        await world.until(nothing, "nothing")


async def test_the_gateways_pods_are_followed_with_their_conditions(world: World) -> None:
    await world.say(endpoint("10.0.0.1"))
    world.mode(ServiceMode.CLUSTER_IP)
    async with world.leading():

        async def one() -> bool:
            return list(await world.leads_to()) == ["10.0.0.1"]

        await world.until(one, "one pod")
        await world.say(endpoint("10.0.0.1", ready=False, terminating=True), endpoint("10.0.0.2"))

        async def drains() -> bool:
            found = await world.leads_to()
            return set(found) == {"10.0.0.1", "10.0.0.2"} and found["10.0.0.1"]["terminating"]

        await world.until(drains, "the other one, and the first draining")
        assert (await world.leads_to())["10.0.0.1"] == {"ready": False, "serving": True, "terminating": True}
        (found,) = await world.slices()
        assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "billing"
        assert [each["kind"] for each in found["metadata"]["ownerReferences"]] == ["UpstreamService"]
        # Somebody deletes it.
        await world.api.delete(ENDPOINT_SLICES, world.upstream.namespace, found["metadata"]["name"])

        async def back() -> bool:
            return len(await world.leads_to()) == 2

        await world.until(back, "it is back")
        await world.api.delete(ENDPOINT_SLICES, world.gateway.ref.namespace, "edge-headgate-x1")

        async def none() -> bool:
            return not await world.slices()

        await world.until(none, "gone with the gateway's")


async def test_a_new_leader_takes_nothing_away_before_it_knows_where_the_pods_are(world: World) -> None:
    await world.say(endpoint("10.0.0.1"))
    world.mode(ServiceMode.CLUSTER_IP)

    async def one() -> bool:
        return len(await world.slices()) == 1

    async with world.leading():
        await world.until(one, "one pod")
    before = (await world.slices())[0]["metadata"]["uid"]
    world.endpoints._watches = ()  # as in a process that has just started
    world.objects.again()
    async with world.leading():
        await world.until(one, "still there")
        await world.writer.idle()
        assert (await world.slices())[0]["metadata"]["uid"] == before
