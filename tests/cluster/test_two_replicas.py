"""Two replicas of `headgate operator` as processes on a real API server, each with a real Envoy: what one says of an upstream is
true of the proxies of both, and writing goes on when the one that writes is gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cluster import ApiServer
from harness import applied, operated
from harness.envoy import Envoy, envoy_binary, give_identity, short_directory
from harness.gateway import Gateway
from harness.kube import ready_pods, shared_authority, until
from harness.ports import free_port
from harness.xds import Origin
from headgate.xds.bootstrap import NodeBootstrap, render

pytestmark = pytest.mark.cluster

BREAKER = """
apiVersion: headgate.dev/v1alpha1
kind: CircuitBreaker
metadata: {name: billing}
spec:
  targetRefs: [{group: headgate.dev, kind: UpstreamService, name: billing}]
  consecutiveFailures: 2
  breakDuration: 60s
"""


class Replica(operated.Replica):
    """A process of the operator that says how it is."""

    def __init__(self, two: Two, name: str) -> None:
        self.health_port = free_port()
        health = f"--health-address=127.0.0.1:{self.health_port}"
        super().__init__(two.server.kubeconfig, two.directory, two.namespace, health, "--no-probes", name=name)

    def health(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.health_port}{path}", timeout=5)

    def figure(self, line: str) -> float:
        for each in self.health("/metrics").text.splitlines():
            if each.startswith(f"{line} "):
                return float(each.rpartition(" ")[2])
        return -1.0


class Apart(Envoy):
    """An Envoy with a network of its own, as in a pod: two proxies of one gateway want the same port. It comes to its xDS
    server by a socket."""

    def start(self) -> None:
        """As the base class, by way of `unshare`."""
        own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", "--net", *own, "--", str(envoy_binary()), "--config-path", str(self._config)]
        command += ["--concurrency", "1", "--use-dynamic-base-id", "--drain-time-s", "1"]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@asynccontextmanager
async def relayed(at: Path | int, *ports: int) -> AsyncIterator[None]:
    """Whoever connects to this socket or port comes to the first of the ports at which somebody listens: a Service."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for port in ports:
            try:
                to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            await asyncio.gather(pump(reader, to_writer), pump(to_reader, writer))
            break
        writer.close()

    if isinstance(at, int):
        server = await asyncio.start_server(serve, "127.0.0.1", at)
    else:
        server = await asyncio.start_unix_server(serve, at)
    async with server:
        yield


class Two:
    """Two replicas and an Envoy each. `leader` writes, `other` does not; `near` is the leader's Envoy, `far` the other's."""

    leader: Replica
    other: Replica
    near: Envoy
    far: Envoy

    def __init__(self, server: ApiServer, directory: Path, namespace: str) -> None:
        self.server, self.directory, self.namespace = server, directory, namespace
        self.port = free_port()

    async def kubectl(self, *arguments: str, given: str | None = None) -> str:
        return await asyncio.to_thread(self.server.kubectl, *arguments, f"--namespace={self.namespace}", given=given)

    async def apply(self, text: str) -> None:
        await self.kubectl("apply", "--server-side", "--filename=-", given=text)

    async def upstream(self, port: int, seconds: int) -> None:
        """Declare it, with this longest time for a call."""
        await self.apply(applied.upstream("billing", port, timeouts={"request": f"{seconds}s"}))

    async def get(self, kind: str = "upstream", name: str = "billing") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await self.kubectl("get", kind, name, "--output=json"))
        return found

    async def programmed(self) -> tuple[str, str, str]:
        whole = await self.get()
        for each in whole.get("status", {}).get("conditions", ()):
            if each["type"] == "Programmed" and each["observedGeneration"] == whole["metadata"]["generation"]:
                return each["status"], each["reason"], each["message"]
        return "", "", ""

    async def comes_to(self, status: str, reason: str, patience: float = 20.0) -> str:
        """Wait until `Programmed` is so, of the newest generation; its message."""
        began = time.monotonic()
        while (found := await self.programmed())[:2] != (status, reason):
            assert time.monotonic() - began < patience, f"{found}\n{self.logs()}"
            await asyncio.sleep(0.3)
        return found[2]

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n{path.read_text()[-6000:]}" for path in sorted(self.directory.glob("*.log"))
        )

    def near_envoy(self) -> Envoy:
        """One that knows the leader only, by a socket."""
        node = NodeBootstrap(
            f"{self.namespace}/edge", "near", (f"unix:{self.directory}/near",), self.directory / "identity"
        )
        return Apart(render(node), self.directory)

    def far_envoy(self, port: int) -> Envoy:
        """One that knows this port only."""
        node = NodeBootstrap(f"{self.namespace}/edge", "far", (f"127.0.0.1:{port}",), self.directory / "identity")
        return Envoy(render(node), self.directory)


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as found:
        yield found


@asynccontextmanager
async def two_replicas(server: ApiServer, directory: Path) -> AsyncIterator[Two]:
    namespace = (await asyncio.to_thread(operated.home, server)).namespace
    two = Two(server, directory, namespace)
    one, other = Replica(two, "one"), Replica(two, "two")
    async with AsyncExitStack() as stack:
        await two.apply(applied.gateway(two.port))
        one.others, other.others = (other,), (one,)
        for each in (one, other):
            stack.enter_context(each)
        for each in (one, other):
            await each.ready()
        await until(lambda: one.leading or other.leading, "one leads", 60)
        two.leader, two.other = (one, other) if one.leading else (other, one)
        authority = await asyncio.to_thread(shared_authority, server.kubectl, namespace)
        give_identity(authority, f"{namespace}/edge", directory / "identity")
        await asyncio.to_thread(ready_pods, server.kubectl, f"{namespace}/edge")
        yield two


async def both_envoys(two: Two, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(relayed(two.directory / "near", two.leader.port))
    two.near = stack.enter_context(two.near_envoy())
    two.far = stack.enter_context(two.far_envoy(two.other.port))
    for each in (two.near, two.far):
        await each.wait_ready()


async def test_what_is_said_is_true_of_the_proxies_of_both(api_server: ApiServer, directory: Path) -> None:
    async with two_replicas(api_server, directory) as two, AsyncExitStack() as stack:
        origin = stack.enter_context(Origin())
        await two.upstream(origin.port, 10)
        await two.comes_to("Unknown", "NoProxyConnected")
        await both_envoys(two, stack)
        await two.comes_to("True", "Programmed")
        assert (await two.get("integrationgateway", "edge"))["status"]["proxies"] == 2

        # The far Envoy stands still: what is changed now is not in force everywhere.
        os.kill(two.far.pid, signal.SIGSTOP)
        try:
            await two.upstream(origin.port, 11)
            assert "1 of 2" in await two.comes_to("False", "Pending")
        finally:
            os.kill(two.far.pid, signal.SIGCONT)
        began = time.monotonic()
        await two.comes_to("True", "Programmed")
        print(f"programmed {time.monotonic() - began:.2f} s after the far proxy went on")

        # The other replica stands still: nobody knows what its proxies have.
        two.other.signal(signal.SIGSTOP)
        began = time.monotonic()
        try:
            assert two.other.name in await two.comes_to("Unknown", "ReplicaUnreachable", 15)
            print(f"unheard after {time.monotonic() - began:.1f} s")
        finally:
            two.other.signal(signal.SIGCONT)
        await two.comes_to("True", "Programmed")

        # It is killed: nobody listens there, so its proxy is connected to nothing, and does not count.
        two.other.signal(signal.SIGKILL)
        began = time.monotonic()
        while (await two.get("integrationgateway", "edge"))["status"]["proxies"] != 1:
            assert time.monotonic() - began < 10
        assert (await two.programmed())[:2] == ("True", "Programmed")
        assert two.leader.figure('headgate_replicas{state="absent"}') == 1


async def test_what_goes_wrong_at_the_far_proxy_is_told(api_server: ApiServer, directory: Path) -> None:
    """What it refuses is in the condition, in its own words; a breaker that is open there is in the column."""
    async with two_replicas(api_server, directory) as two, AsyncExitStack() as stack:
        origin = stack.enter_context(Origin())
        await two.upstream(origin.port, 10)
        two.far = stack.enter_context(two.far_envoy(two.other.port))
        await two.far.wait_ready()
        await two.comes_to("True", "Programmed")

        # Nobody answers there any more: the breaker opens.
        await two.apply(BREAKER)
        await two.upstream(free_port(), 10)
        await two.comes_to("True", "Programmed")
        gateway = Gateway(two.port)
        began = time.monotonic()
        while not str((await two.get())["status"].get("circuit", "")).startswith("Open"):
            assert time.monotonic() - began < 20, two.logs()
            await asyncio.to_thread(gateway.call, "billing", "/x", namespace=two.namespace)
        print(await two.kubectl("get", "upstreams"))

        # Somebody else has the port that it is to listen on.
        taken = stack.enter_context(socket.socket())
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        await two.apply(applied.gateway(taken.getsockname()[1]))
        began = time.monotonic()
        while "in use" not in json.dumps((await two.get("integrationgateway", "edge"))["status"]):
            assert time.monotonic() - began < 20, two.logs()
        conditions = (await two.get("integrationgateway", "edge"))["status"]["conditions"]
        assert [each["reason"] for each in conditions if each["type"] == "Programmed"] == ["RejectedByProxy"]


async def changes(two: Two, seconds: float) -> list[tuple[str, str]]:
    """Status and reason of `Programmed`, each time that they become others, over a while."""
    seen: list[tuple[str, str]] = []
    until_then = time.monotonic() + seconds
    while time.monotonic() < until_then:
        now = (await two.programmed())[:2]
        if not seen or seen[-1] != now:
            seen.append(now)
    return seen


async def written(two: Two, request: int, origin: int) -> float:
    """Change the upstream; how many seconds it takes until somebody has written that it is in force."""
    began = time.monotonic()
    await two.upstream(origin, request)
    await two.comes_to("True", "Programmed", 30)
    return time.monotonic() - began


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_the_other_writes_on(api_server: ApiServer, directory: Path, how: signal.Signals) -> None:
    async with two_replicas(api_server, directory) as two, AsyncExitStack() as stack:
        origin = stack.enter_context(Origin())
        await two.upstream(origin.port, 10)
        # The proxy is connected to the leader, and must find the other.
        service = free_port()
        await stack.enter_async_context(relayed(service, two.leader.port, two.other.port))
        two.far = stack.enter_context(two.far_envoy(service))
        await two.far.wait_ready()
        await two.comes_to("True", "Programmed")
        before = (await two.get())["status"]["conditions"]

        assert two.other.health("/readyz").status_code == 200
        assert (two.leader.figure("headgate_leading"), two.other.figure("headgate_leading")) == (1, 0)
        two.leader.signal(how)
        killed = time.monotonic()
        watching = asyncio.create_task(changes(two, 16 if how == signal.SIGKILL else 6))
        await until(lambda: two.other.leading, "the other leads", 20)
        print(f"{how.name}: the other leads after {time.monotonic() - killed:.1f} s")
        assert await watching == [("True", "Programmed")], two.logs()
        assert (await two.get())["status"]["conditions"] == before, "the times in it too"
        took = await written(two, 12, origin.port)
        print(f"{how.name}: a change is in force and written in {took:.2f} s")
        assert two.other.figure("headgate_leading") == 1

        # That one too: what is there serves on.
        two.other.signal(signal.SIGKILL)
        gateway = Gateway(two.port)
        for _ in range(20):
            answer = await asyncio.to_thread(gateway.call, "billing", "/x", namespace=two.namespace)
            assert answer.status_code == 200
