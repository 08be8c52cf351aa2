"""The operator, whole, on an API server that can be told to fail. With a real one and real proxies: tests/cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from fakes.apiserver import FakeApiServer
from harness.kube import make_namespace, put, secret, until, upstream
from headgate.app.engine import Engine
from headgate.app.operator import LeaseName, Operator, Options
from headgate.app.tasks import BackgroundEnded, forever, logged
from headgate.cli.operating import _sentences
from headgate.control.election import Timings
from headgate.kube.access import Access
from headgate.kube.client import Api
from headgate.kube.resources import LEASES, OURS
from headgate.kube.source import Times
from headgate.model.snapshot import Settings

QUICK = Timings(lease=1, renew=0.1, retry=0.05, step_down=0.5, deadline=0.7)
LEASE = (LEASES.path(), "team", "headgate-operator")


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer().running() as found:
        yield found


@pytest.fixture
async def api(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[Api]:
    async with await Api.open(Access(server.kubeconfig(tmp_path))) as found:
        await make_namespace(found, "team")
        yield found


def gateway() -> dict[str, Any]:
    meta = {"name": "edge", "namespace": "team"}
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "IntegrationGateway",
        "metadata": meta,
        "spec": {"default": True},
    }


def calling(name: str, secret_name: str) -> dict[str, Any]:
    key = {"name": "key", "secretRef": {"name": secret_name, "key": "k"}, "location": {"header": {"name": "x-key"}}}
    return upstream("team", name, credentials=[key])


class Running:
    def __init__(self, server: FakeApiServer, operator: Operator) -> None:
        self._server, self.operator = server, operator

    def status(self, name: str, kind: str = "UpstreamService") -> dict[str, Any]:
        found = self._server.objects.get((OURS[kind].path(), "team", name), {})
        status: dict[str, Any] = found.get("status", {})
        return status

    def condition(self, name: str, of: str) -> tuple[str, str] | None:
        for each in self.status(name).get("conditions", ()):
            if each["type"] == of:
                return each["status"], each["reason"]
        return None

    def ever(self, word: str) -> bool:
        """Whether any version of any object said this."""
        return any(word in str(document) for _, _, _, document in self._server._history)


@contextlib.asynccontextmanager
async def running(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[Running]:
    options = Options(
        access=Access(server.kubeconfig(tmp_path)),
        lease=LeaseName("team", "one", timings=QUICK),
        xds=("127.0.0.1:0",),
        settings=Settings(),
        times=Times(relist=(3600.0, 3600.0), secrets=1.0),
    )
    operator = Operator(options)
    async with asyncio.TaskGroup() as group:
        group.create_task(operator.run())
        try:
            async with asyncio.timeout(20):
                await operator.ready.wait()
            yield Running(server, operator)
        finally:
            operator.stop()


async def test_what_is_declared_gets_its_status(server: FakeApiServer, api: Api, tmp_path: Path) -> None:
    await put(api, gateway())
    await put(api, secret("team", "s", k="hush-hush"))
    await put(api, calling("a", "s"))
    await put(api, calling("b", "missing"))
    async with running(server, tmp_path) as run:
        assert run.operator.ports[0] > 0
        await until(lambda: run.condition("a", "Programmed"), "a status")
        assert run.condition("a", "ResolvedRefs") == ("True", "ResolvedRefs")
        assert run.condition("a", "Programmed") == ("Unknown", "NoProxyConnected")
        await until(lambda: run.condition("b", "ResolvedRefs") == ("False", "SecretNotFound"), "the other's")
        await until(lambda: run.status("edge", "IntegrationGateway").get("attachedUpstreams") == 1, "the gateway's")

        # Created together with its Secret, an upstream is never said to lack it.
        before = len(server._history)
        await put(api, secret("team", "late", k="v"))
        await put(api, calling("late", "late"))
        await until(lambda: run.condition("late", "ResolvedRefs") == ("True", "ResolvedRefs"), "the late one's")
        assert "SecretNotFound" not in str([each for each in server._history[before:] if "late" in str(each)])
        # The Secret that was missing comes.
        await put(api, secret("team", "missing", k="v"))
        await until(lambda: run.condition("b", "ResolvedRefs") == ("True", "ResolvedRefs"), "resolved")
        # Spoiled by hand: put right.
        spoiled = {**calling("a", "s"), "status": {"host": "by.hand"}}
        await api.apply(OURS["UpstreamService"], spoiled, subresource="status")
        await until(lambda: run.status("a").get("host") == "api.example.com", "put right")
        await api.delete(OURS["IntegrationGateway"], "team", "edge")
        await until(lambda: run.condition("a", "ResolvedRefs") == ("False", "GatewayNotFound"), "without a gateway")
        assert run.operator.metrics.registry.get_sample_value("headgate_happenings_dropped_total") == 0
        holder = server.objects[LEASE]["spec"]["holderIdentity"]
        assert holder.startswith("one_")
    assert "holderIdentity" not in server.objects[LEASE]["spec"]
    assert not run.ever("hush-hush")


async def test_another_start_writes_nothing_that_is_right(server: FakeApiServer, api: Api, tmp_path: Path) -> None:
    await put(api, gateway())
    await put(api, upstream("team", "a"))
    async with running(server, tmp_path) as run:
        await until(lambda: run.condition("a", "Ready"), "a status")
        await until(lambda: run.status("edge", "IntegrationGateway"), "the gateway's")
        before = run.status("a")
    server.requests.clear()
    async with running(server, tmp_path) as run:
        await until(lambda: server.objects[LEASE]["spec"].get("holderIdentity"), "it leads")
        await put(api, upstream("team", "b"))
        await until(lambda: run.condition("b", "Ready"), "the new one's")
        assert run.status("a") == before
    written = {each.split("?")[0] for each in server.requests if "/status?" in each}
    names = {each.split("/")[-2] for each in written}
    assert names <= {"b", "edge"}


async def test_what_ends_the_process_is_in_the_log_and_in_one_sentence(
    server: FakeApiServer, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bug in one of the tasks that go on for as long as the process lives."""

    async def broken(self: Engine) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(deeper())

    async def deeper() -> None:
        raise OSError("the disk is on fire")

    monkeypatch.setattr(Engine, "run", broken)
    with structlog.testing.capture_logs() as logs, pytest.raises(ExceptionGroup) as ended:
        async with running(server, tmp_path) as run:
            await run.operator._stopping.wait()
    (said,) = [each for each in logs if each["event"] == "operator.task_failed"]
    assert (said["task"], said["exc_info"], said["log_level"]) == ("engine", True, "error")
    assert set(_sentences(ended.value)) == {"the disk is on fire"}


async def test_a_task_that_ends_is_named() -> None:
    async def nothing() -> None:
        return

    with pytest.raises(BackgroundEnded, match="the task idler has ended"):
        await forever("idler", partial(logged, "idler", nothing))


async def test_told_to_stop_while_the_api_server_is_away(server: FakeApiServer, api: Api, tmp_path: Path) -> None:
    server.up = False
    options = Options(
        access=Access(server.kubeconfig(tmp_path)),
        lease=LeaseName("team", "one", timings=QUICK),
        xds=("127.0.0.1:0",),
        settings=Settings(),
    )
    operator = Operator(options)
    task = asyncio.create_task(operator.run())
    await until(lambda: len(server.requests) > 2, "it tries")
    assert not operator.ready.is_set()
    operator.stop()
    await asyncio.wait_for(task, 20)
