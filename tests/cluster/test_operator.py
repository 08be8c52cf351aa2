"""`headgate operator` as a process, on a real API server, with a real Envoy as its proxy: kubectl apply to traffic."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import ApiServer
from harness import launch
from harness.child import Child
from harness.envoy import Envoy, give_identity, short_directory
from harness.gateway import Gateway
from harness.kube import shared_authority, until
from harness.ports import free_port
from harness.xds import Origin
from headgate.xds.bootstrap import NodeBootstrap, render

pytestmark = pytest.mark.cluster

WORLD = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {{name: edge, namespace: {namespace}}}
spec:
  listener: {{port: {port}}}
  egress: {{allowedCIDRs: [127.0.0.0/8]}}
---
apiVersion: v1
kind: Secret
metadata: {{name: key, namespace: {namespace}}}
stringData: {{token: first-token}}
---
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: billing, namespace: {namespace}}}
spec:
  gatewayRef: {{name: edge}}
  hostname: 127.0.0.1
  port: {origin}
  tls: {{mode: None}}
  credentials:
    - name: token
      secretRef: {{name: key, key: token}}
      location: {{header: {{name: authorization, prefix: "Bearer "}}}}
"""


class Operator:
    """A process, and what it leaves on disk."""

    def __init__(self, kubeconfig: Path, directory: Path, namespace: str) -> None:
        self.directory = directory
        self.log = directory / "operator.log"
        self.port = free_port()
        self.arguments = [
            *launch.command(),
            "operator",
            f"--kubeconfig={kubeconfig}",
            f"--xds-address=127.0.0.1:{self.port}",
            f"--operator-namespace={namespace}",
            f"--namespace={namespace}",
        ]
        self.child = self._start()

    def _start(self) -> Child:
        return Child(self.arguments, self.log, environment=launch.environment({}, {}))

    def ready(self) -> bool:
        return "operator.ready" in self.log.read_text("utf-8")


@pytest.fixture
def namespace(api_server: ApiServer) -> str:
    name = f"test-{secrets.token_hex(4)}"
    api_server.kubectl("create", "namespace", name)
    return name


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as found:
        yield found


def status(server: ApiServer, namespace: str) -> dict[str, str]:
    """Conditions of the upstream."""
    whole = json.loads(server.kubectl("get", "upstream", "billing", f"--namespace={namespace}", "--output=json"))
    return {each["type"]: each["status"] for each in whole.get("status", {}).get("conditions", ())}


async def test_from_apply_to_traffic(api_server: ApiServer, namespace: str, directory: Path) -> None:
    operator = Operator(api_server.kubeconfig, directory, namespace)
    try:
        await until(operator.ready, "the operator is ready")
        authority = shared_authority(api_server.kubectl, namespace)
        give_identity(authority, f"{namespace}/edge", directory / "identity")
        xds = (f"127.0.0.1:{operator.port}",)
        node = NodeBootstrap(f"{namespace}/edge", "one", xds, directory / "identity")
        port = free_port()
        gateway = Gateway(port)
        with Origin() as origin, Envoy(render(node), directory) as envoy:
            await until(envoy.answers_admin, "Envoy runs")
            assert not envoy.is_ready(), "with nothing to serve it stays unready"
            began = time.monotonic()
            world = WORLD.format(namespace=namespace, port=port, origin=origin.port)
            await asyncio.to_thread(api_server.kubectl, "apply", "--server-side", "--filename=-", given=world)
            applied = time.monotonic()
            await envoy.wait_ready()

            def call() -> bytes:
                return gateway.call("billing", "/x", namespace=namespace).content

            # The gateway may be ready before its upstream has been read.
            while await asyncio.to_thread(call) != b"Bearer first-token":
                assert time.monotonic() - applied < 20, (await asyncio.to_thread(call)).decode()
            print(f"apply took {applied - began:.2f} s, ready and answered {time.monotonic() - applied:.2f} s later")
            await asyncio.to_thread(
                api_server.kubectl,
                "wait",
                "--for=condition=Ready",
                "upstream/billing",
                f"--namespace={namespace}",
                "--timeout=30s",
            )
            assert status(api_server, namespace)["Programmed"] == "True"
            print(await asyncio.to_thread(api_server.kubectl, "get", "upstreams", f"--namespace={namespace}"))

            # A key is rotated.
            rotated = world.replace("first-token", "second-token")
            await asyncio.to_thread(api_server.kubectl, "apply", "--server-side", "--filename=-", given=rotated)
            began = time.monotonic()
            while await asyncio.to_thread(call) != b"Bearer second-token":
                assert time.monotonic() - began < 20
            print(f"a rotated key is in use after {time.monotonic() - began:.2f} s")

            # The operator goes, and gives its lease back; calls go on.
            operator.child.stop()
            lease = await asyncio.to_thread(
                api_server.kubectl, "get", "lease", "headgate-operator", f"--namespace={namespace}", "--output=json"
            )
            assert "holderIdentity" not in json.loads(lease)["spec"]
            assert await asyncio.to_thread(call) == b"Bearer second-token"
    finally:
        operator.child.stop()
    assert "first-token" not in operator.log.read_text("utf-8")
