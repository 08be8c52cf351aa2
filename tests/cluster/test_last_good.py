"""What was good stays in force over bad edits, crashes and restarts of the operator: processes on a real API server, with a real
Envoy that calls go through."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster import ApiServer
from harness import applied
from harness.envoy import Envoy, short_directory
from harness.gateway import Gateway
from harness.operated import Objects, Replica, home, proxy
from harness.ports import free_port
from harness.xds import Origin

pytestmark = pytest.mark.cluster

GOOD, BAD = "127.0.0.1", "169.254.169.254"


class Stage:
    """A namespace with a gateway, an origin behind it, and the upstreams `billing` and `other`."""

    def __init__(self, server: ApiServer, objects: Objects, directory: Path, origin: Origin) -> None:
        self.server, self.objects, self.directory, self.origin = server, objects, directory, origin
        self.port = free_port()
        self.gateway = Gateway(self.port)

    def replica(self, *more: str, name: str = "one") -> Replica:
        return Replica(self.server.kubeconfig, self.directory, self.objects.namespace, *more, name=name)

    def proxy(self, *replicas: Replica, name: str = "one") -> Envoy:
        return proxy(self.server, self.directory, f"{self.objects.namespace}/edge", *replicas, name=name)

    async def declare(self) -> None:
        await self.secure()
        await self.edit(GOOD)
        await self.objects.apply(applied.upstream("other", self.origin.port))

    async def secure(self) -> None:
        """The gateway, and the key."""
        await self.objects.apply(applied.gateway(self.port) + applied.key("first-token"))

    async def edit(self, hostname: str) -> None:
        await self.objects.apply(applied.upstream("billing", self.origin.port, hostname, secret="key"))

    async def call(self, name: str = "billing") -> tuple[int, str]:
        answer = await asyncio.to_thread(self.gateway.call, name, "/x", namespace=self.objects.namespace)
        return answer.status_code, answer.content.decode()

    async def in_force(self) -> None:
        await self.objects.comes_to("billing", "Ready", lambda found: found[0] == "True")
        assert await self.call() == (200, "Bearer first-token")

    async def refused(self) -> str:
        """The edit is refused, and what was there before stays."""
        await self.objects.comes_to("billing", "Accepted", lambda found: found[:2] == ("False", "ForbiddenAddress"))
        message = await self.objects.comes_to("billing", "Programmed", lambda found: found[0] == "False")
        assert await self.call() == (200, "Bearer first-token")
        return message

    async def kept(self, revision: str) -> None:
        """The cluster has this generation of `billing` as its last good one."""
        name = f"{self.objects.namespace}\tbilling\t{revision}-"
        async with asyncio.timeout(20):
            while not any(name in each for each in await self.shards()):  # noqa: ASYNC110 - kubectl tells no events
                await asyncio.sleep(0.3)

    async def shards(self) -> list[str]:
        """What they hold. Junk, which is there until something of its place is kept again, holds nothing."""
        selector = "--selector=headgate.dev/holds=last-good"
        whole = json.loads(await self.objects.kubectl("get", "configmaps", selector, "--output=json"))
        found = []
        for each in whole["items"]:
            with contextlib.suppress(gzip.BadGzipFile, EOFError):
                found.append(gzip.decompress(base64.b64decode(each["binaryData"]["objects"])).decode())
        return found


@pytest.fixture
async def stage(api_server: ApiServer) -> AsyncIterator[Stage]:
    with short_directory() as directory, Origin() as origin:
        stage = Stage(api_server, home(api_server), directory, origin)
        yield stage
        stage.gateway.close()


async def test_a_bad_edit_outlives_a_crash_of_the_operator(stage: Stage) -> None:
    with stage.replica() as operator:
        await operator.ready()
        await stage.declare()
        with stage.proxy(operator) as envoy:
            await envoy.wait_ready()
            await stage.in_force()
            await stage.kept("1")
            await stage.edit(BAD)
            before = await stage.refused()
            assert "the version before it stays in force" in before
            operator.kill()
            operator.start()
            await operator.ready()
            await operator.leads()
            assert await stage.refused() == before
        # A proxy that starts now has nothing of its own: it is told what was good.
        with stage.proxy(operator, name="two") as another:
            await another.wait_ready()
            assert await stage.refused() == before
            await stage.edit(GOOD)
            await stage.in_force()
        assert "first-token" not in "".join(await stage.shards())


async def test_a_bad_edit_while_no_operator_runs(stage: Stage) -> None:
    with stage.replica() as operator:
        await operator.ready()
        await stage.declare()
        await stage.kept("1")
        operator.stop()
        await stage.edit(BAD)
        operator.start()
        await operator.ready()
        with stage.proxy(operator) as envoy:
            await envoy.wait_ready()
            assert "the version before it stays in force" in await stage.refused()


@pytest.mark.slow
async def test_junk_among_them_costs_what_it_stood_for_and_no_more(stage: Stage) -> None:
    with stage.replica() as operator:
        await operator.ready()
        await stage.declare()
        await stage.kept("1")
        operator.stop()
        await stage.edit(BAD)
        selector = "--selector=headgate.dev/holds=last-good"
        names = (await stage.objects.kubectl("get", "configmaps", selector, "--output=name")).split()
        junk = [
            json.dumps({"binaryData": {"objects": base64.b64encode(each).decode()}}) for each in (b"junk", b"\x1f\x8b")
        ]
        for number, name in enumerate(names):
            await stage.objects.kubectl("patch", name, "--type=merge", f"--patch={junk[number % 2]}")
        operator.start()
        await operator.ready()
        assert "kube.last_good_unreadable" in operator.text()
        with stage.proxy(operator) as envoy:
            await envoy.wait_ready()
            assert await stage.call("other") == (200, "none")
            assert (await stage.call())[0] == 404
            message = await stage.objects.comes_to("billing", "Programmed", lambda found: found[0] == "False")
            assert "nothing of it is in force" in message
            # What is good now is kept again.
            await stage.edit(GOOD)
            await stage.in_force()
            await stage.kept("3")


@pytest.mark.slow
async def test_two_replicas_one_after_the_other(stage: Stage) -> None:
    first, second = stage.replica(), stage.replica(name="two")
    first.others, second.others = (second,), (first,)
    with first, second:
        await first.ready()
        await second.ready()
        await stage.declare()
        with stage.proxy(first, second) as envoy:
            await envoy.wait_ready()
            await stage.in_force()
            await stage.kept("1")
            leader, follower = (first, second) if first.leading else (second, first)
            await stage.edit(BAD)
            before = await stage.refused()
            leader.kill()
            await follower.leads()
            await stage.kept("1")
            assert await stage.refused() == before
            follower.stop()
            leader.start()
            await leader.ready()
            await leader.leads()
            assert await stage.refused() == before


async def test_a_secret_that_is_gone_hurts_those_that_use_it_and_no_others(stage: Stage) -> None:
    """Values are kept nowhere: while a replica lives, what it had stays in use; after that, it is gone."""
    with stage.replica() as operator:
        await operator.ready()
        await stage.declare()
        with stage.proxy(operator) as envoy:
            await envoy.wait_ready()
            await stage.in_force()
            await stage.objects.kubectl("delete", "secret", "key")
            message = await stage.objects.comes_to(
                "billing", "ResolvedRefs", lambda found: found[1] == "SecretNotFound"
            )
            assert "the value used last stays in force" in message
            assert await stage.call() == (200, "Bearer first-token")
            operator.kill()
            operator.start()
            await operator.ready()
            await operator.leads()
            await stage.objects.comes_to("billing", "Programmed", lambda found: "nothing of it is in force" in found[2])
            async with asyncio.timeout(20):
                while (answer := await stage.call())[0] == 200:  # noqa: ASYNC110 - Envoy tells no events
                    await asyncio.sleep(0.3)
            print("after a restart without its Secret, a call is answered with", answer)
            assert answer[0] == 404
            assert await stage.call("other") == (200, "none")
            await stage.secure()
            await stage.in_force()
