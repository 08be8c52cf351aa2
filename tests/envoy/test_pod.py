"""A proxy as it lives and ends in a pod: what the kubelet asks of it, asked of a real Envoy."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from golden.infra.cases import USUAL
from harness.dataplane import DataPlane
from harness.envoy import Envoy, envoy_binary, eventually, give_identity, short_directory
from harness.manifests import expanded
from harness.plans import endpoint, gateway, section, upstream
from harness.ports import free_port
from harness.xds import GATEWAY, Fleet
from headgate.envoy.listener import READY_PATH
from headgate.envoy.render import RenderMemo
from headgate.envoy.render import render as render_gateway
from headgate.infra.bootstrap import ADMIN_SOCKET, LIVE_PATH, PAUSE_SOCKET, PodLife, in_pod, pod_life
from headgate.infra.gateway import gateway_objects
from headgate.infra.settings import POD_PORT, Drain, GatewayInputs
from headgate.model.plan import Listener, Timeouts
from headgate.model.refs import ObjectRef
from headgate.simulate.behaviours import Gate, hang, respond, websocket_echo
from headgate.simulate.server import FakeServer
from headgate.xds.bootstrap import NodeBootstrap, render
from headgate.xds.pki import CertificateAuthority

#: As the Deployment has it.
DRAINING = ("--drain-time-s", "630", "--drain-strategy", "immediate")
UID = "7f1c8f5e-3b1d-4f43-9a57-0d8a2c1b6a10"


def life(drain: Drain) -> PodLife:
    """On a port of its own, and with sockets that no other test has: here they share one network."""
    port = free_port()
    return replace(
        pod_life(8080, UID, drain), port=port, admin_socket=f"@hg-admin-{port}", pause_socket=f"@hg-pause-{port}"
    )


def admin(name: str, path: str) -> str:
    """The admin interface's whole answer, over its abstract socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect("\0" + name.removeprefix("@"))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n".encode())
        return connection.makefile("rb").read().decode()


class PodPlane(DataPlane):
    """A data plane whose Envoy is started as in a pod, but for the names of its sockets."""

    def __init__(
        self, provider: FakeServer, drain: Drain, *, bootstrap: Mapping[str, Any] = MappingProxyType({}), **changes: Any
    ) -> None:
        slow = Timeouts(request=0, connect=2_000, stream_idle=0)
        super().__init__(
            gateway(upstream(section(endpoint(provider.port), timeouts=slow, **changes))),
            arguments=DRAINING,
            **bootstrap,
        )
        self.life = life(drain)

    def _document(self, node: NodeBootstrap) -> dict[str, Any]:
        # The harness asks over a file.
        here = replace(self.life, admin_socket=str(node.identity_directory.parent / "admin.sock"))
        document: dict[str, Any] = json.loads(in_pod(render(node), here))
        return document

    def ask(self, path: str, timeout: float = 30) -> httpx.Response:
        """As the kubelet does."""
        return httpx.get(f"http://127.0.0.1:{self.life.port}{path}", timeout=timeout, trust_env=False)

    def drains(self) -> bool:
        """Whether callers are asked to come by another connection."""
        with httpx.Client(trust_env=False) as client:
            answer = client.get(f"http://127.0.0.1:{self.port}{READY_PATH}")
        return bool(answer.headers.get("connection") == "close")

    def ready(self) -> int:
        """The readiness probe's answer."""
        return httpx.get(f"http://127.0.0.1:{self.port}{READY_PATH}", trust_env=False).status_code


def test_it_lives_and_does_nothing_for_who_does_not_know_the_path(provider: FakeServer) -> None:
    with PodPlane(provider, Drain(least=0, most=1)) as plane:
        assert plane.ask(LIVE_PATH).status_code == 200
        for path in (
            "/",
            "/drain",
            "/drain/",
            f"{plane.life.drain_path}x",
            "/healthcheck/fail",
            "/quitquitquit",
            "/stats",
        ):
            assert plane.ask(path).status_code == 404
        assert (plane.ask(LIVE_PATH).status_code, plane.ready()) == (200, 200)


def test_a_drain_waits_for_calls_in_flight_and_serves_those_that_still_come(provider: FakeServer) -> None:
    gate = Gate(respond(200, b"whole"))
    provider.on("/slow", gate)
    with PodPlane(provider, Drain(least=1, most=60)) as plane, ThreadPoolExecutor() as beside:
        # Of HTTP/1.1 to begin with: kept for the next call.
        assert "connection" not in plane.call("demo/api").headers
        slow = beside.submit(plane.call, "demo/api", "/slow")
        gate.wait_held(1)
        drain = beside.submit(plane.ask, plane.life.drain_path)
        plane.wait_until(plane.drains, "the drain to begin")
        began = time.monotonic()
        for _ in range(20):
            answer = plane.call("demo/api")
            assert (answer.status_code, answer.headers.get("connection")) == (200, "close")
            assert (plane.ready(), plane.ask(LIVE_PATH).status_code) == (200, 200)
        # Beyond the least time, the one call alone keeps it.
        plane.wait_until(lambda: time.monotonic() > began + 2.5, "time to pass")
        assert not drain.done()
        gate.open()
        answer = slow.result(10)
        assert (answer.text, answer.headers.get("connection")) == ("whole", "close")
        assert drain.result(10).text.startswith("drained after ")
        assert plane.lua_errors() == 0
        assert plane.envoy.stop() == 0


def test_a_drain_waits_for_connections_that_are_kept_until_they_are_called_by_or_forgotten(
    provider: FakeServer,
) -> None:
    """One that is closed between two calls costs nobody anything; one that a call is under way on costs that call."""
    with PodPlane(provider, Drain(least=0, silence=60, most=90)) as plane, ThreadPoolExecutor() as beside:
        assert "connection" not in plane.call("demo/api").headers
        plane.wait_until(lambda: plane.stat("http.headgate.downstream_cx_active") == 1, "only that one to be left")
        drain = beside.submit(plane.ask, plane.life.drain_path, 90)
        plane.wait_until(plane.drains, "the drain to begin")
        began = time.monotonic()
        plane.wait_until(lambda: time.monotonic() > began + 2.5, "time to pass")
        assert not drain.done()
        assert plane.call("demo/api").headers["connection"] == "close"
        assert drain.result(10).text.startswith("drained after ")
    with PodPlane(provider, Drain(least=0, silence=2, most=90)) as plane:
        plane.call("demo/api")
        assert plane.ask(plane.life.drain_path).text == "drained after 2 s\n"
        assert plane.stat("http.headgate.downstream_cx_active") == 1


def test_a_drain_takes_its_least_time_and_no_more_than_its_most(provider: FakeServer) -> None:
    provider.on("/never", hang())
    with PodPlane(provider, Drain(least=1, most=3)) as plane, ThreadPoolExecutor() as beside:
        assert plane.ask(plane.life.drain_path).text == "drained after 1 s\n"
        with plane.client.stream("GET", "/demo/api") as kept:
            assert kept.status_code == 200
        never = beside.submit(plane.call, "demo/api", "/never")
        plane.wait_until(lambda: plane.stat("http.headgate.downstream_rq_active") == 1, "a call to be in flight")
        assert plane.ask(plane.life.drain_path).text == "drained after 3 s\n"
        plane.envoy.stop()
        assert isinstance(never.exception(10), httpx.TransportError)


def test_who_was_drained_and_not_ended_is_found_not_to_live(provider: FakeServer) -> None:
    with PodPlane(provider, Drain(least=0, most=1)) as plane:
        plane.ask(plane.life.drain_path)
        assert (plane.ask(LIVE_PATH).status_code, plane.ready()) == (503, 503)


@pytest.mark.parametrize(
    "full", [{"max_connections": 1}, {"max_heap_bytes": 1 << 20}], ids=["of connections", "of memory"]
)
def test_a_proxy_that_is_full_is_not_dead_and_drains_all_the_same(provider: FakeServer, full: dict[str, int]) -> None:
    with PodPlane(provider, Drain(least=1, most=2), bootstrap=full) as plane:

        def refuses() -> bool:
            try:
                return plane.call("demo/api").status_code == 503 or plane.ready() == 503
            except httpx.TransportError:
                return True

        plane.wait_until(refuses, "the listener to refuse")
        assert plane.ask(LIVE_PATH).status_code == 200
        assert plane.ask(plane.life.drain_path).text.startswith("drained after ")


def test_a_websocket_is_a_call_in_flight(provider: FakeServer) -> None:
    provider.default(websocket_echo())
    with PodPlane(provider, Drain(least=0, most=60), upgrades=("websocket",)) as plane, ThreadPoolExecutor() as beside:
        with connect(f"ws://127.0.0.1:{plane.port}/demo/api/live", proxy=None) as socket:
            drain = beside.submit(plane.ask, plane.life.drain_path)
            plane.wait_until(plane.drains, "the drain to begin")
            for number in range(20):
                socket.send(str(number))
                assert socket.recv(5) == str(number)
                assert not drain.done()
                time.sleep(0.1)  # longer than a pause in all: a drain that does not see it would be over
        assert drain.result(10).status_code == 200


async def test_the_deployments_command_starts_a_proxy_that_is_known_by_its_pods_name() -> None:
    """The arguments to the letter, but for what would collide with other tests on this machine."""
    async with Fleet() as fleet:
        served = gateway(listener=Listener(address="127.0.0.1", port=free_port()))
        served = replace(served, ref=ObjectRef("IntegrationGateway", *GATEWAY.split("/")))
        fleet.server.publish(GATEWAY, render_gateway(served, RenderMemo()))
        inputs = GatewayInputs(UID, render(fleet.node()), READY_PATH)
        objects = gateway_objects(served, inputs, USUAL)
        (pod,) = (each.document()["spec"]["template"]["spec"] for each in objects if each.ref.kind == "Deployment")
        here = life(Drain())
        unique = {ADMIN_SOCKET: here.admin_socket, PAUSE_SOCKET: here.pause_socket, f":{POD_PORT}": f":{here.port}"}
        arguments = [expanded(each, {"POD_NAME": "edge-1"}) for each in pod["containers"][0]["args"]]
        for name, other in unique.items():
            assert name in arguments[1]
            arguments[1] = arguments[1].replace(name, other)
        process = await asyncio.create_subprocess_exec(envoy_binary(), *arguments)
        try:
            await eventually(lambda: fleet.view().proxies == (f"{GATEWAY}/edge-1",), "the proxy to connect")
            await eventually(lambda: not any(fleet.view().pending.values()), "the proxy to have all")
        finally:
            process.terminate()
            assert await process.wait() == 0


async def test_before_its_first_configuration_it_answers_nothing_at_all() -> None:
    """Why a startup probe without an end stands before the liveness probe. With the sockets as they are in a pod."""
    here = life(Drain())
    with short_directory() as directory:
        node = NodeBootstrap("demo/gateway", "x", (f"127.0.0.1:{free_port()}",), directory / "identity")
        node.identity_directory.mkdir()
        give_identity(CertificateAuthority(directory / "ca"), "demo/gateway", node.identity_directory)
        with Envoy(in_pod(render(node), here), directory) as envoy:
            await envoy.until(lambda: "INITIALIZING" in admin(here.admin_socket, "/ready"), "the admin interface")
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", here.port)
