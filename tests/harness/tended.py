"""Headgate installed in a cluster by its chart, one gateway that calls a provider of the test's own, and steady calls to it.

For what is done with a fleet that runs: pods replaced, more of them or fewer. Everything is in a namespace of the test's own;
what cuts a pod off is a rule in the cluster's own network namespace.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import httpx

from cluster import Cluster, images
from headgate.compile.documents import CONTROLLER

PORT = 8000
XDS = 18000
#: Seconds that `/slow` takes, and `/slower`.
SLOW, SLOWER = 5, 15
#: Answers 200 at once but for that.
_PROVIDER = f"""
import asyncio

async def answer(reader, writer):
    try:
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        line = head.split(b"\\r\\n", 1)[0]
        await asyncio.sleep({SLOWER} if b"/slower" in line else {SLOW} if b"/slow" in line else 0)
        writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 4\\r\\nconnection: close\\r\\n\\r\\nfine")
        await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        pass
    finally:
        writer.close()

async def main():
    async with await asyncio.start_server(answer, "0.0.0.0", 8000) as server:
        await server.serve_forever()

asyncio.run(main())
"""


def until(condition: Callable[[], bool], what: str, within: float) -> None:
    """Wait for it, and look four times a second."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within} s: {what}"
        time.sleep(0.25)


@dataclass(frozen=True)
class Tended:
    """One gateway in a namespace of its own."""

    cluster: Cluster
    space: str
    base: str = ""

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl("--namespace", self.space, *arguments)

    def pods(self) -> list[dict[str, Any]]:
        """The gateway's that are not about to end."""
        found = json.loads(self.kubectl("get", "pods", "-l", "headgate.dev/gateway=edge", "-o", "json"))["items"]
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def ready(self) -> int:
        """How many of them are."""
        return sum(
            condition["type"] == "Ready" and condition["status"] == "True"
            for pod in self.pods()
            for condition in pod["status"].get("conditions", [])
        )

    def call(self, path: str = "/", timeout: float = 30) -> httpx.Response:
        """By the upstream's name."""
        host = {"host": f"api.{self.space}"}
        return httpx.get(f"{self.base}{path}", headers=host, timeout=timeout, trust_env=False)

    def serves(self) -> bool:
        """Whether a call is answered by the provider."""
        try:
            return self.call(timeout=2).text == "fine"
        except httpx.HTTPError:
            return False

    def told(self, reason: str) -> list[dict[str, Any]]:
        """Headgate's Events of a reason, oldest first."""
        found = json.loads(self.kubectl("get", "events.events.k8s.io", "-o", "json"))["items"]
        ours = [each for each in found if each.get("reportingController") == CONTROLLER and each["reason"] == reason]
        return sorted(ours, key=lambda each: str(each["eventTime"]))

    @contextmanager
    def cut(self, address: str, port: int) -> Iterator[None]:
        """Nothing comes through from this pod to any port of that number."""
        table = f"cut_{self.space}"
        chain = "type filter hook prerouting priority -350 ;"
        rule = f"ip saddr {address} tcp dport {port} drop"
        self.cluster.run_inside("nft", f"table ip {table} {{ chain entry {{ {chain} {rule} ; }} ; }}")
        try:
            yield
        finally:
            self.cluster.run_inside("nft", f"delete table ip {table}")


def made(cluster: Cluster, space: str, spec: dict[str, Any]) -> Tended:
    """A provider, an upstream, and a gateway of this spec, which answers calls."""
    enforced = {"pod-security.kubernetes.io/enforce": "restricted"}
    meta = {"name": "provider", "namespace": space}
    labels = {"app": "provider"}
    container = {
        "name": "provider",
        "image": images.PYTHON,
        "imagePullPolicy": "Never",
        "command": ["/usr/local/bin/python3", "-c", _PROVIDER],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod = {
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    version = "headgate.dev/v1alpha1"
    gateway = {"egress": {"allowedCIDRs": ["10.0.0.0/8"]}, "drain": {"minDuration": "1s", "timeout": "8s"}, **spec}
    upstream = {
        "gatewayRef": {"name": "edge"},
        "hostname": f"provider.{space}.svc.cluster.local",
        "port": PORT,
        "tls": {"mode": "None"},
        "probe": {"disabled": True},
    }
    for each in (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space, "labels": enforced}},
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": meta,
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"selector": labels, "ports": [{"port": PORT}]},
        },
        {
            "apiVersion": version,
            "kind": "IntegrationGateway",
            "metadata": {"name": "edge", "namespace": space},
            "spec": gateway,
        },
        {
            "apiVersion": version,
            "kind": "UpstreamService",
            "metadata": {"name": "api", "namespace": space},
            "spec": upstream,
        },
    ):
        cluster.kubectl("apply", "--server-side", "--filename=-", given=json.dumps(each))
    cluster.kubectl("wait", "-n", space, "--for=condition=Available", "--timeout=60s", "deployment/provider")
    cluster.kubectl("wait", "-n", space, "--for=condition=Ready", "--timeout=90s", "upstream/api")
    address = cluster.kubectl("get", "service", "edge-headgate", "-n", space, "-o", "jsonpath={.spec.clusterIP}")
    # The first call after Ready is answered: tests/cluster/test_ready_means_served.py.
    return Tended(cluster, space, f"http://127.0.0.1:{cluster.publish(address, 80)}")


class Load:
    """Calls from several callers, each a connection, one after another, `rest` seconds in between. `keep`: as many as possible
    over one connection for each caller, which all go to one pod."""

    def __init__(
        self, tended: Tended, callers: int, path: str = "/", rest: float = 0.05, *, keep: bool = False
    ) -> None:
        self._tended, self._callers, self._path, self._rest = tended, callers, path, rest
        # Made once: what a client needs for TLS takes longer than a call.
        self._limits = httpx.Limits(max_keepalive_connections=None if keep else 0)
        self._end = threading.Event()
        self._pool = ThreadPoolExecutor(callers)
        self.calls = 0
        self.failures: list[str] = []

    def _call(self) -> None:
        with httpx.Client(limits=self._limits, timeout=30, trust_env=False) as client:
            while not self._end.wait(self._rest):
                self._one(client)

    def _one(self, client: httpx.Client) -> None:
        try:
            host = {"host": f"api.{self._tended.space}"}
            answer = client.get(f"{self._tended.base}{self._path}", headers=host)
        except httpx.HTTPError as error:
            self.failures.append(repr(error))
        else:
            self.calls += 1
            if answer.status_code != 200:
                self.failures.append(f"{answer.status_code} {answer.text[:200]}")

    def __enter__(self) -> Self:
        for _ in range(self._callers):
            self._pool.submit(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._pool.shutdown()
