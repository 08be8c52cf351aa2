"""What one leader has found out in the cluster is told by the next one without a break: each status that an object ever had is
recorded. Processes on a real API server, with a real Envoy."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cluster import ApiServer
from harness.envoy import short_directory
from harness.kube import until
from harness.operated import Objects, Replica, home, proxy
from harness.ports import free_port
from headgate.kube.access import Access
from headgate.kube.client import Api, Document
from headgate.kube.resources import OURS

pytestmark = pytest.mark.cluster

POLICY = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: {name}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {name}}}}}
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [services]}}]
  validations: [{{expression: "object.metadata.name != 'refused'", message: "not this; one"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: {name}}}
spec: {{policyName: {name}, validationActions: [Deny]}}
"""
GATEWAY = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {{name: edge}}
spec: {{listener: {{port: {port}}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: taken}}
spec: {{ports: [{{port: 80}}], clusterIP: None}}
"""
UPSTREAM = """
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: {name}}}
spec:
  gatewayRef: {{name: edge}}
  hostname: api.example.com
  probe: {{disabled: true}}
"""


@pytest.fixture
def objects(api_server: ApiServer) -> Iterator[Objects]:
    objects = home(api_server)
    yield objects
    for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
        api_server.kubectl("delete", kind, objects.namespace, "--ignore-not-found")


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as found:
        yield found


def programmed(document: Document) -> tuple[str, str, str]:
    """What it says of itself: status, reason and message."""
    for each in document.get("status", {}).get("conditions", ()):
        if each["type"] == "Programmed":
            return each["status"], each["reason"], each["message"]
    return "", "", ""


@contextlib.asynccontextmanager
async def recorded(server: ApiServer, namespace: str) -> AsyncIterator[dict[str, list[tuple[str, str, str]]]]:
    """All that upstreams say of themselves from now on, by name."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    async with await Api.open(Access(server.kubeconfig, None)) as api:
        (page,) = [each async for each in api.pages(OURS["UpstreamService"], namespace)]

        async def record() -> None:
            stream = api.watch(OURS["UpstreamService"], namespace, page.version, seconds=300, quiet=120.0)
            async for kind, document in stream:
                if kind == "MODIFIED":
                    found.setdefault(document["metadata"]["name"], []).append(programmed(document))

        task = asyncio.create_task(record())
        try:
            yield found
            assert not task.done(), "it has missed nothing"
        finally:
            task.cancel()
            await asyncio.wait([task])


@pytest.mark.slow
async def test_what_could_not_be_made_is_said_without_a_break(
    api_server: ApiServer, objects: Objects, directory: Path
) -> None:
    await objects.kubectl("apply", "--server-side", "--filename=-", given=POLICY.format(name=objects.namespace))
    await _in_force(objects)
    first = Replica(api_server.kubeconfig, directory, objects.namespace)
    second = Replica(api_server.kubeconfig, directory, objects.namespace, name="two")
    first.others, second.others = (second,), (first,)
    with first, second:
        await first.ready()
        await second.ready()
        await until(lambda: first.leading or second.leading, "one leads")
        leader, follower = (first, second) if first.leading else (second, first)
        world = GATEWAY.format(port=free_port()) + "".join(UPSTREAM.format(name=each) for each in ("taken", "refused"))
        await objects.apply(world + UPSTREAM.format(name="well"))
        # The proxy is the follower's: the next leader has all at hand to say that it is in force.
        with proxy(api_server, directory, f"{objects.namespace}/edge", follower) as envoy:
            await envoy.wait_ready()
            await objects.comes_to("well", "Programmed", lambda found: found[0] == "True")
            reasons = {"taken": "ServiceNameTaken", "refused": "ObjectRefused"}
            for name in reasons:
                await objects.comes_to(name, "Programmed", lambda found: found[1] in reasons.values())
            before = {name: await objects.condition(name, "Programmed") for name in reasons}
            assert {name: found[1] for name, found in before.items()} == reasons
            assert "not this; one" in before["refused"][2]
            async with recorded(api_server, objects.namespace) as said:
                leader.kill()
                await follower.leads()
                # It writes, and has tried all objects.
                await objects.apply(UPSTREAM.format(name="late"))
                await objects.comes_to("late", "Programmed", lambda found: found[0] == "True")
                await objects.apply(UPSTREAM.format(name="later"))
                await objects.comes_to("later", "Programmed", lambda found: found[0] == "True")
                print({name: said.get(name) for name in reasons})
                for name in reasons:
                    assert set(said.get(name, [])) <= {before[name]}, "it says the same all the time"
            # What stands in the way goes: that is found out, whoever found what was there before.
            await objects.kubectl("delete", "service", "taken")
            await objects.comes_to("taken", "Programmed", lambda found: found[0] == "True")
    for name, reason in reasons.items():
        told = [each for _, each, _ in await objects.events(name)]
        assert told.count(reason) == 1, f"{name} is told once: {told}"
        assert "Ready" not in told[: told.index(reason)], "not before what is wrong"
        assert told[told.index(reason) + 1 :] == (["Ready"] if name == "taken" else [])


async def _in_force(objects: Objects) -> None:
    """A policy counts a moment after it is there."""
    probe = "apiVersion: v1\nkind: Service\nmetadata: {name: refused}\nspec: {ports: [{port: 80}]}"
    async with asyncio.timeout(30):
        while True:
            try:
                await objects.kubectl("create", "--dry-run=server", "--filename=-", given=probe)
            except Exception as problem:  # noqa: BLE001 - whatever kubectl's wrapper raises
                assert "not this; one" in str(problem)  # noqa: PT017 - any other is a bug of the test's
                return
            await asyncio.sleep(0.1)
