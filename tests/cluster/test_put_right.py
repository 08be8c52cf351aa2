"""What the leader takes for a change of an object that it made, and what it leaves alone, by what a real API server writes into
its metadata. An autoscaler's controller is played here, and so is a person with kubectl."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cluster import ApiServer
from harness.kube import make_namespace, put, until, upstream
from headgate.infra.manifest import MANAGED_BY
from headgate.kube.access import Access
from headgate.kube.client import Api, Document
from headgate.kube.elector import Leadership
from headgate.kube.objects import ObjectWriter, Result, wanted
from headgate.kube.replicas import HOLDER
from headgate.kube.resources import CHILDREN
from headgate.model.refs import ObjectRef

pytestmark = pytest.mark.cluster
DEPLOYMENTS, SCALERS = CHILDREN["Deployment"], CHILDREN["HorizontalPodAutoscaler"]
NAME = "edge-headgate"
LEAST = 3


class Place:
    """A Deployment and its autoscaler, with an owner."""

    def __init__(self, server: ApiServer, api: Api, owner: Document) -> None:
        self._server, self.api = server, api
        self.namespace, self.uid = owner["metadata"]["namespace"], owner["metadata"]["uid"]
        reference = {
            "apiVersion": owner["apiVersion"],
            "kind": owner["kind"],
            "name": owner["metadata"]["name"],
            "uid": self.uid,
            "controller": True,
        }
        meta = {"name": NAME, "namespace": self.namespace, "ownerReferences": [reference]}
        self._objects = [
            {"apiVersion": each.api_version, "kind": each.kind, "metadata": meta, "spec": spec}
            for each, spec in ((DEPLOYMENTS, PODS), (SCALERS, BOUNDS))
        ]
        self.revived: list[tuple[ObjectRef, str, int]] = []

    @contextlib.asynccontextmanager
    async def led(self) -> AsyncIterator[ObjectWriter]:
        """By a new leader, who has looked at everything."""

        def revived(owner: ObjectRef, uid: str, number: int) -> None:
            self.revived.append((owner, uid, number))

        writer = ObjectWriter(self.api, CHILDREN, on_revived=revived)
        writer.want(wanted(self._objects))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(writer.run(Leadership(lambda: 1e9)))
            try:
                await until(lambda: len(writer.outcomes) == 2, "both are tried")
                assert {each.result for each in writer.outcomes.values()} == {Result.APPLIED}
                await self.heard(writer)
                yield writer
            finally:
                task.cancel()

    async def heard(self, writer: ObjectWriter) -> None:
        """Until the leader has heard of all that has happened to autoscalers so far, and done what there is to do: they are told
        in their order, and of one that is made now. Nobody has applied that one, so it is somebody else's."""
        name = f"last-{secrets.token_hex(4)}"
        meta = {"name": name, "namespace": self.namespace, "labels": {MANAGED_BY: "headgate"}}
        await self.api.create(SCALERS, {**self._objects[1], "metadata": meta})
        ref = ObjectRef(SCALERS.kind, self.namespace, name)
        await until(lambda: any(each.get(ref) for each in writer._there[SCALERS.kind]), "it has heard of it")
        await writer.idle()

    async def kubectl(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._server.kubectl, *arguments, f"--namespace={self.namespace}")

    async def becomes(self, kind: str, **wanted: int) -> Document:
        """Wait until its spec says so."""
        async with asyncio.timeout(30):
            while True:
                now = await self.api.get(CHILDREN[kind], self.namespace, NAME)
                if wanted.items() <= now["spec"].items():
                    return now
                await asyncio.sleep(0.05)


POD: dict[str, Any] = {"metadata": {"labels": {"app": NAME}}, "spec": {"containers": [{"name": "one", "image": "one"}]}}
PODS: dict[str, Any] = {"selector": {"matchLabels": {"app": NAME}}, "template": POD}
BOUNDS: dict[str, Any] = {
    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
    "minReplicas": LEAST,
    "maxReplicas": 9,
}


@pytest.fixture
async def place(api_server: ApiServer) -> AsyncIterator[Place]:
    async with await Api.open(Access(api_server.kubeconfig)) as api:
        namespace = f"test-{secrets.token_hex(4)}"
        await make_namespace(api, namespace)
        yield Place(api_server, api, await put(api, upstream(namespace, "gemini")))


async def test_the_status_of_an_autoscaler_is_no_reason_to_write(place: Place) -> None:
    async with place.led() as writer:
        writes = writer.counts.writes
        for number in range(3):
            # As its controller does.
            patch = json.dumps({"status": {"currentReplicas": number, "desiredReplicas": number + 1}})
            await place.kubectl("patch", "hpa", NAME, "--subresource=status", "--type=merge", f"--patch={patch}")
        await place.heard(writer)
        assert writer.counts.writes == writes

        # What somebody else says of it is put right, time and again.
        for most in (20, 30, 20):
            await place.kubectl("patch", "hpa", NAME, f'--patch={{"spec":{{"maxReplicas":{most}}}}}')
            await place.becomes("HorizontalPodAutoscaler", maxReplicas=9)
        await place.heard(writer)
        assert writer.counts.writes == writes + 3


async def test_a_fleet_that_is_scaled_to_none_comes_back_as_far_as_its_autoscaler_may_go_down(place: Place) -> None:
    owner = (ObjectRef("UpstreamService", place.namespace, "gemini"), place.uid)
    async with place.led() as writer:
        # Any other number is the autoscaler's business.
        await place.kubectl("scale", "deployment", NAME, "--replicas=5")
        await place.kubectl("scale", "deployment", NAME, "--replicas=0")
        now = await place.becomes("Deployment", replicas=LEAST)
        assert place.revived == [(*owner, LEAST)]
        said = [
            each["manager"]
            for each in now["metadata"]["managedFields"]
            if "f:replicas" in each["fieldsV1"].get("f:spec", {})
        ]
        assert said == [HOLDER], "and not Headgate's, or it would go with the next apply"

        await place.kubectl("scale", "deployment", NAME, "--replicas=5")
        await place.kubectl("annotate", "deployment", NAME, "hello=there")
        await writer.idle()
    # While nobody leads.
    await place.kubectl("scale", "deployment", NAME, "--replicas=0")
    async with place.led():
        await place.becomes("Deployment", replicas=LEAST)
        assert place.revived == [(*owner, LEAST)] * 2
        await place.kubectl("scale", "deployment", NAME, "--replicas=5")
    async with place.led():
        assert (await place.becomes("Deployment"))["spec"]["replicas"] == 5
        assert len(place.revived) == 2
