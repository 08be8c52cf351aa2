"""Once an upstream says that it is Ready, a call by its name works: its Service is there, and leads to a pod that answers. And
what has been said is not taken back when another replica of the operator leads.

On a real API server with a real Envoy, and on a whole cluster, where callers and gateways are pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from cluster import ApiServer, Cluster, images, installed
from harness import applied
from harness.envoy import short_directory
from harness.kube import ready_pods, until
from harness.operated import Objects, Replica, home, proxy
from harness.ports import free_port
from headgate.kube.access import Access
from headgate.kube.client import Api, Document
from headgate.kube.resources import CHILDREN, OURS, Resource

pytestmark = pytest.mark.cluster

UPSTREAMS, GATEWAYS = 200, 10


@pytest.fixture
def objects(api_server: ApiServer) -> Objects:
    return home(api_server)


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as found:
        yield found


class Record:
    """What a namespace's upstreams and their Services have been, in the order of the server's versions."""

    def __init__(self) -> None:
        #: By upstream: version, status and reason of each Ready that it has had.
        self.ready: dict[str, list[tuple[int, str, str]]] = {}
        #: By Service: the version at which it was made.
        self.services: dict[str, int] = {}

    def note(self, kind: str, document: Document) -> None:
        """A change, as a watch tells it."""
        meta = document["metadata"]
        version = int(meta["resourceVersion"])
        if document["kind"] == "Service":
            self.services.setdefault(meta["name"], version)
            return
        for each in document.get("status", {}).get("conditions", ()):
            if each["type"] == "Ready" and kind != "DELETED":
                self.ready.setdefault(meta["name"], []).append((version, each["status"], each["reason"]))

    def first_ready(self) -> dict[str, int]:
        """By upstream: the version at which it said so first."""
        every = {name: [each[0] for each in said if each[1] == "True"] for name, said in self.ready.items()}
        return {name: versions[0] for name, versions in every.items() if versions}


@contextlib.asynccontextmanager
async def recorded(server: ApiServer, namespace: str) -> AsyncIterator[Record]:
    """From now on."""
    record = Record()
    async with await Api.open(Access(server.kubeconfig, None)) as api:

        async def follow(resource: Resource) -> None:
            (page,) = [each async for each in api.pages(resource, namespace)]
            listed.release()
            async for kind, document in api.watch(resource, namespace, page.version, seconds=600, quiet=300.0):
                if kind in {"ADDED", "MODIFIED", "DELETED"}:
                    record.note(kind, document)

        listed = asyncio.Semaphore(0)
        tasks = [asyncio.create_task(follow(each)) for each in (OURS["UpstreamService"], CHILDREN["Service"])]
        for _ in tasks:
            await listed.acquire()
        try:
            yield record
            assert not any(task.done() for task in tasks), "it has missed nothing"
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_two_hundred_at_once_are_ready_when_their_services_are_there_and_stay_so(
    api_server: ApiServer, objects: Objects, directory: Path
) -> None:
    first = Replica(api_server.kubeconfig, directory, objects.namespace)
    second = Replica(api_server.kubeconfig, directory, objects.namespace, name="two")
    first.others, second.others = (second,), (first,)
    names = {f"u{number}" for number in range(UPSTREAMS)}
    with first, second:
        await first.ready()
        await second.ready()
        await until(lambda: first.leading or second.leading, "one leads")
        leader, follower = (first, second) if first.leading else (second, first)
        await objects.apply(applied.gateway(free_port()))
        # The proxy is the follower's, and stays where it is when that one leads.
        with proxy(api_server, directory, f"{objects.namespace}/edge", follower) as envoy:
            await objects.apply(applied.upstream("before", free_port()))
            await envoy.wait_ready()
            await objects.comes_to("before", "Ready", lambda found: found[0] == "True")
            async with recorded(api_server, objects.namespace) as record:
                await objects.apply("".join(applied.upstream(name, free_port()) for name in sorted(names)))
                await until(lambda: record.first_ready().keys() >= names, "all of them are Ready", 120)
                first_ready = record.first_ready()
                early = [name for name in names if not record.services.get(name, 1 << 62) < first_ready[name]]
                print("written so often:", Counter(len(record.ready[name]) for name in names))
                print("reasons:", Counter(reason for name in names for _, _, reason in record.ready[name]))
                assert early == [], "Ready, and there is no Service"
            async with recorded(api_server, objects.namespace) as record:
                leader.kill()
                await follower.leads()
                # It writes, and has looked at all of them.
                await objects.apply(applied.upstream("late", free_port()))
                await objects.comes_to("late", "Ready", lambda found: found[0] == "True")
                record.ready.pop("late")
                assert {each[1] for said in record.ready.values() for each in said} <= {"True"}, "none is taken back"


async def test_a_gateway_none_of_whose_pods_is_ready_any_more_says_so(
    api_server: ApiServer, objects: Objects, directory: Path
) -> None:
    key = f"{objects.namespace}/edge"
    with Replica(api_server.kubeconfig, directory, objects.namespace) as operator:
        await operator.ready()
        await objects.apply(applied.gateway(free_port()) + applied.upstream("billing", free_port()))
        with proxy(api_server, directory, key, operator) as envoy:
            await asyncio.to_thread(ready_pods, api_server.kubectl, key, 0)
            await envoy.wait_ready()
            message = await objects.comes_to("billing", "Programmed", lambda found: "no pod" in found[2])
            assert (await objects.condition("billing", "Programmed"))[:2] == ("False", "Pending")
            print(message)
            await asyncio.to_thread(ready_pods, api_server.kubectl, key, 1)
            await objects.comes_to("billing", "Ready", lambda found: found[0] == "True")
            async with recorded(api_server, objects.namespace) as record:
                await asyncio.to_thread(ready_pods, api_server.kubectl, key, 0)
                await until_gateway(objects, "NoPodReady")
                operator.stop()
                operator.start()
                await operator.ready()
                await operator.leads()
                await objects.apply(applied.upstream("late", free_port()))
                await objects.comes_to("late", "Programmed", lambda found: "no pod" in found[2])
                assert (await objects.condition("edge", "Ready", of="igw"))[:2] == ("False", "NoPodReady")
                await asyncio.to_thread(ready_pods, api_server.kubectl, key, 1)
                await until_gateway(objects, "Ready")
                await objects.comes_to("late", "Ready", lambda found: found[0] == "True")
                print("billing meanwhile:", record.ready.get("billing"))
                waits = {reason for _, status, reason in record.ready.get("billing", []) if status != "True"}
                assert waits <= {"NoProxyConnected"}, "it is the gateway's trouble"
            told = [reason for _, reason, _ in await objects.events("edge")]
            assert told == ["Ready", "NoPodReady", "Ready"]


async def until_gateway(objects: Objects, reason: str) -> None:
    """Why the gateway is not Ready, or that it is."""
    async with asyncio.timeout(40):
        while (await objects.condition("edge", "Ready", of="igw"))[1] != reason:  # noqa: ASYNC110 - kubectl tells no events
            await asyncio.sleep(0.1)


PORT = 8000
#: Answers 200; asked for `/call/<host>`, with what that one answers.
POD = f"""
import http.server, urllib.request

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = b"fine"
        if self.path.startswith("/call/"):
            try:
                with urllib.request.urlopen("http://" + self.path[len("/call/"):] + "/x", timeout=10) as answer:
                    said = answer.read()
            except OSError as problem:
                said = repr(problem).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

http.server.ThreadingHTTPServer(("0.0.0.0", {PORT}), Handler).serve_forever()
"""


@pytest.fixture
def pod(cluster: Cluster) -> Iterator[str]:
    """Where the pod `served/pod` can be told to call somebody; it is the provider too."""
    installed.install(cluster, {"gateway": {"create": False}, "replicas": 1})
    labels = {"app": "pod"}
    container = {
        "name": "pod",
        "image": images.PYTHON,
        "imagePullPolicy": "Never",
        "command": ["/usr/local/bin/python3", "-c", POD],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
    meta = {"name": "pod", "namespace": "served"}
    service = {"selector": labels, "ports": [{"port": PORT}]}
    for document in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "served"}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, "labels": labels}, "spec": spec},
        {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": service},
    ):
        cluster.kubectl("apply", "--server-side", "--filename=-", given=json.dumps(document))
    cluster.kubectl("wait", "--namespace=served", "--for=condition=Ready", "--timeout=90s", "pod/pod")
    address = cluster.kubectl("get", "service", "pod", "--namespace=served", "--output=jsonpath={.spec.clusterIP}")
    yield f"http://127.0.0.1:{cluster.publish(address, PORT)}"
    cluster.kubectl("delete", "namespace", "served", "--wait=true", "--timeout=90s")


def declared(number: int) -> list[Document]:
    """A gateway and an upstream behind it; with an address of its own, every other one."""
    version, name = "headgate.dev/v1alpha1", f"n{number}"
    one = {"minReplicas": 1, "maxReplicas": 1}
    resources = {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
    gateway = {
        "egress": {"allowedCIDRs": ["10.0.0.0/8"]},
        "drain": {"minDuration": "1s", "timeout": "1s"},
        "scaling": one,
        "deployment": {"resources": resources},
    }
    upstream = {
        "gatewayRef": {"name": name},
        "hostname": "pod.served.svc.cluster.local",
        "port": PORT,
        "tls": {"mode": "None"},
        "probe": {"disabled": True},
        "serviceMode": "ClusterIP" if number % 2 else "ExternalName",
    }
    meta = {"name": name, "namespace": "served"}
    return [
        {"apiVersion": version, "kind": "IntegrationGateway", "metadata": meta, "spec": gateway},
        {"apiVersion": version, "kind": "UpstreamService", "metadata": meta, "spec": upstream},
    ]


@pytest.mark.timeout(600)
def test_the_first_call_by_the_name_of_a_new_upstream_works(cluster: Cluster, pod: str) -> None:
    answers = []
    with httpx.Client(timeout=30, trust_env=False) as client:
        assert client.get(f"{pod}/").text == "fine"
        for number in range(GATEWAYS):
            for document in declared(number):
                cluster.kubectl("apply", "--server-side", "--filename=-", given=json.dumps(document))
            name = f"n{number}"
            cluster.kubectl(
                *("wait", "--namespace=served", "--for=condition=Ready", "--timeout=60s", f"upstream/{name}")
            )
            answers.append(client.get(f"{pod}/call/{name}.served").text)
            print(name, answers[-1])
            for kind in ("upstream", "igw"):
                cluster.kubectl("delete", kind, name, "--namespace=served", "--wait=false")
    assert answers == ["fine"] * GATEWAYS
