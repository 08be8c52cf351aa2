"""What watches miss: an operator behind a proxy that swallows changes, forgets history, or is away. Traffic, statuses and what
Headgate has made come to what is declared within the time between two listings."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from cluster import ApiServer, ClusterProblem
from harness import applied
from harness.between import Between
from harness.envoy import Envoy, short_directory
from harness.gateway import Gateway
from harness.kube import until
from harness.operated import Objects, Replica, home, proxy
from harness.ports import free_port
from harness.xds import Origin

pytestmark = pytest.mark.cluster

#: The longest time between two listings, and what may come on top: reading, compiling, kubectl, a machine that is busy.
RELIST, SLACK = 6.0, 20.0


class Stage:
    """An operator behind `between`, an Envoy that it configures, and two upstreams: `changed` and `doomed`."""

    def __init__(
        self, between: Between, operator: Replica, envoy: Envoy, objects: Objects, gateway: Gateway, origin: Origin
    ) -> None:
        self.between, self.operator, self.envoy = between, operator, envoy
        self.objects, self.gateway, self.origin = objects, gateway, origin
        self.doomed = ""

    def upstream(self, name: str, **spec: Any) -> str:
        return applied.upstream(name, self.origin.port, secret="key", **spec)

    async def call(self, name: str) -> tuple[int, str]:
        answer = await asyncio.to_thread(self.gateway.call, name, "/x", namespace=self.objects.namespace)
        return answer.status_code, answer.content.decode()

    async def change_everything(self) -> None:
        """An edit, a deletion, a creation, another key, and something of ours that is deleted by hand."""
        self.doomed = (await self.objects.get("upstream", "doomed"))["metadata"]["uid"]
        await self.objects.kubectl("delete", "upstream", "doomed", "--wait=false")
        await self.objects.kubectl("delete", "service", "changed")
        await self.objects.apply(
            applied.key("second") + self.upstream("created") + self.upstream("changed", maxRequestBody="1Mi")
        )

    async def settled(self) -> float:
        """All of that has come to traffic, statuses and objects; how many seconds it took."""
        began = time.monotonic()
        await self._eventually("the created one is served", self._is("created", 200, "Bearer second"))
        await self._eventually("the new key is in use", self._is("changed", 200, "Bearer second"))
        await self._eventually("the deleted one is gone", self._is("doomed", 404))
        for name in ("created", "changed"):
            await self._eventually(f"{name} is Ready, as it is declared now", partial(self._current, name))
        await self._eventually("its Service came back", lambda: self._there("service/changed"))
        await self._eventually("there is one for the new one", lambda: self._there("service/created"))
        took = time.monotonic() - began
        # There is no garbage collector here: what it goes by is that its owner is gone.
        (owner,) = (await self.objects.get("service", "doomed"))["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (self.doomed, True)
        return took

    def open(self, count: int) -> bool:
        """Whether so many watches are."""
        return self.between.watches >= count

    def _is(self, name: str, status: int, body: str | None = None) -> Callable[[], Awaitable[bool]]:
        async def holds() -> bool:
            found = await self.call(name)
            return found[0] == status and body in (None, found[1])

        return holds

    async def _current(self, name: str) -> bool:
        whole = await self.objects.get("upstream", name)
        status = whole.get("status", {})
        ready = {each["type"]: each["status"] for each in status.get("conditions", ())}.get("Ready")
        return ready == "True" and status["observedGeneration"] == whole["metadata"]["generation"]

    async def _there(self, what: str) -> bool:
        with contextlib.suppress(ClusterProblem):
            return bool(await self.objects.kubectl("get", what))
        return False

    async def _eventually(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        try:
            async with asyncio.timeout(RELIST + SLACK):
                while not await holds():  # noqa: ASYNC110 - neither kubectl nor Envoy tells events
                    await asyncio.sleep(0.3)
        except TimeoutError:
            raise AssertionError(f"not within {RELIST + SLACK} s: {what}\n{self.operator.text()[-3000:]}") from None


@pytest.fixture
async def stage(api_server: ApiServer) -> AsyncIterator[Stage]:
    objects, port = await asyncio.to_thread(home, api_server), free_port()
    namespace, gateway = objects.namespace, Gateway(port)
    with short_directory() as directory, Origin() as origin:
        async with Between(api_server.kubeconfig).running() as between:
            kubeconfig = between.kubeconfig(directory)
            operator = Replica(kubeconfig, directory, namespace, f"--relist={RELIST:.0f}s")
            with operator:
                await operator.ready()
                both = "".join(applied.upstream(name, origin.port, secret="key") for name in ("changed", "doomed"))
                await objects.apply(applied.gateway(port) + applied.key("first") + both)
                envoy = await asyncio.to_thread(proxy, api_server, directory, f"{namespace}/edge", operator)
                with envoy:
                    await envoy.wait_ready()
                    found = Stage(between, operator, envoy, objects, gateway, origin)
                    for name in ("changed", "doomed"):
                        await found._eventually(f"{name} is served", found._is(name, 200, "Bearer first"))
                        await found._eventually(f"{name} is Ready", partial(found._current, name))
                        await found._eventually(f"{name} has a Service", partial(found._there, f"service/{name}"))
                    yield found
                    gateway.close()


async def test_watches_that_silently_stall(stage: Stage) -> None:
    stage.between.silence()
    await stage.change_everything()
    print(f"in order {await stage.settled():.1f} s after the changes that no watch told")
    assert stage.between.watches, "they are open still, or again"


async def test_history_that_is_gone_and_a_server_that_was_away(stage: Stage) -> None:
    stage.between.up = False
    stage.between.hang_up()
    await stage.change_everything()
    assert await stage.call("doomed") == (200, "Bearer first"), "nothing changes while it is away"
    for plural in ("upstreams", "secrets", "services"):
        stage.between.forget(plural)
    stage.between.up = True
    print(f"in order {await stage.settled():.1f} s after the API server came back")


@pytest.mark.slow
async def test_history_that_is_gone_again_and_again(stage: Stage) -> None:
    for _ in range(3):
        for plural in ("upstreams", "integrationgateways", "secrets", "configmaps", "services"):
            stage.between.forget(plural)
        open_then = stage.between.watches
        stage.between.hang_up(watches_only=True)
        await until(partial(stage.open, open_then), "watches are open again")
    await stage.change_everything()
    print(f"in order {await stage.settled():.1f} s after the changes")
