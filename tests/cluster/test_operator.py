"""`headgate operator` as a process, on a real API server, with a real Envoy as its proxy: kubectl apply to traffic."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from cluster import ApiServer
from harness import applied
from harness.envoy import short_directory
from harness.gateway import Gateway
from harness.kube import until
from harness.operated import Replica, home, proxy
from harness.ports import free_port
from harness.xds import Origin

pytestmark = pytest.mark.cluster


async def test_from_apply_to_traffic(api_server: ApiServer) -> None:
    objects, port = await asyncio.to_thread(home, api_server), free_port()
    namespace, gateway = objects.namespace, Gateway(port)

    def call() -> bytes:
        return gateway.call("billing", "/x", namespace=namespace).content

    async def answered(token: str, since: float) -> float:
        """Wait until a call carries it; how long that was after `since`."""
        while (said := await asyncio.to_thread(call)) != f"Bearer {token}".encode():
            assert time.monotonic() - since < 30, said.decode()
        return time.monotonic() - since

    with short_directory() as directory, Origin() as origin:
        with Replica(api_server.kubeconfig, directory, namespace) as operator:
            await operator.ready()
            with await asyncio.to_thread(proxy, api_server, directory, f"{namespace}/edge", operator) as envoy:
                await until(envoy.answers_admin, "Envoy runs")
                assert not envoy.is_ready(), "with nothing to serve it stays unready"
                world = applied.gateway(port) + applied.upstream("billing", origin.port, secret="key")
                await objects.apply(world + applied.key("first-token"))
                began = time.monotonic()
                await envoy.wait_ready()
                # The gateway may be ready before its upstream has been read.
                print(f"ready and answered {await answered('first-token', began):.2f} s after apply")
                await objects.comes_to("billing", "Ready", lambda found: found[0] == "True")
                assert (await objects.condition("billing", "Programmed"))[0] == "True"
                print(await objects.kubectl("get", "upstreams"))

                # A key is rotated.
                await objects.apply(applied.key("second-token"))
                print(f"a rotated key is in use after {await answered('second-token', time.monotonic()):.2f} s")

                # The operator goes, and gives its lease back; calls go on.
                await asyncio.to_thread(operator.stop)
                lease = json.loads(await objects.kubectl("get", "lease", "headgate-operator", "--output=json"))
                assert "holderIdentity" not in lease["spec"]
                assert await asyncio.to_thread(call) == b"Bearer second-token"
        assert "first-token" not in operator.text()
    gateway.close()
