"""The loop survives bugs: what was live stays live, they are counted, and the next change is compiled again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.api.upstream import UpstreamService
from headgate.app import engine as engine_module
from headgate.app.engine import Engine, Outlook
from headgate.compile.world import compile_snapshot
from headgate.envoy.render import render
from headgate.envoy.resource import Resources, TypeUrl
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Settings
from headgate.model.verdict import Plan
from headgate.providers.registry import BUILT_IN
from headgate.store import Put, Store
from headgate.xds.feedback import GatewayFeedback
from headgate.xds.reports import Reports

SETTINGS = Settings(listen=("127.0.0.1", 8080), listen_address="127.0.0.1", implied_gateway=True)


class Wire:
    """What the engine asks of the xDS server, without the server."""

    def __init__(self) -> None:
        self.published: dict[str, Resources] = {}

    def publish(self, gateway: str, resources: Resources) -> None:
        self.published[gateway] = resources

    def withdraw(self, gateway: str) -> None:
        del self.published[gateway]

    def feedback(self, gateway: str) -> GatewayFeedback:
        return GatewayFeedback(gateway, self.published.get(gateway))


class Rig:
    def __init__(self) -> None:
        self.store = Store(SETTINGS)
        self.wire = Wire()
        self.plans: list[Plan] = []
        self.outlooks: list[Outlook] = []
        wire: Any = self.wire
        self.engine = Engine(
            self.store,
            wire,
            Reports(),
            profiles=BUILT_IN,
            previous={},
            on_plan=self.plans.append,
            on_outlook=self.outlooks.append,
        )

    def declare(self, name: str, revision: str = "1", kind_of_host: str = "api.example.com") -> ObjectRef:
        ref = ObjectRef("UpstreamService", "default", name)
        body = {"kind": "UpstreamService", "metadata": {"name": name}, "spec": {"hostname": kind_of_host}}
        self.store.put(Put(ref, revision, UpstreamService.model_validate(body)))
        return ref

    def routes(self) -> list[str]:
        return sorted(self.wire.published["default/default"][TypeUrl.ROUTE])


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_change_is_compiled_published_and_looked_at() -> None:
    rig = Rig()
    task = asyncio.create_task(rig.engine.run())
    try:
        ref = rig.declare("one")
        await until(lambda: rig.outlooks)
        assert rig.routes() == ["default/one"]
        assert ref in rig.outlooks[-1].statuses
        seen = len(rig.outlooks)
        rig.engine.wake("default/default")
        await until(lambda: len(rig.outlooks) > seen)
        assert rig.engine.counts.compiles == 1
        assert rig.outlooks[-1].statuses[ref] is rig.outlooks[0].statuses[ref]
    finally:
        task.cancel()


async def test_a_bug_in_compile_keeps_the_last_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    task = asyncio.create_task(rig.engine.run())
    try:
        rig.declare("one")
        await until(lambda: rig.plans)
        sound = compile_snapshot

        def broken(*_: object) -> Plan:
            raise ZeroDivisionError

        monkeypatch.setattr(engine_module, "compile_snapshot", broken)
        rig.declare("two")
        await until(lambda: rig.engine.counts.compile_failures == 1)
        assert rig.routes() == ["default/one"]
        assert not task.done()
        monkeypatch.setattr(engine_module, "compile_snapshot", sound)
        rig.declare("three")
        await until(lambda: len(rig.plans) == 2)
        assert rig.routes() == ["default/one", "default/three", "default/two"]
    finally:
        task.cancel()


async def test_a_bug_in_rendering_keeps_what_that_gateway_has(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    task = asyncio.create_task(rig.engine.run())
    try:
        rig.declare("one")
        await until(lambda: rig.plans)
        sound = render

        def broken(*_: object) -> Resources:
            raise ZeroDivisionError

        monkeypatch.setattr(engine_module, "render", broken)
        rig.declare("two")
        await until(lambda: rig.engine.counts.render_failures == 1)
        assert rig.routes() == ["default/one"]
        monkeypatch.setattr(engine_module, "render", sound)
        rig.declare("three")
        await until(lambda: len(rig.routes()) == 3)
    finally:
        task.cancel()


@pytest.mark.parametrize("steps", range(12))
async def test_it_ends_when_cancelled_at_whatever_moment(steps: int) -> None:
    """A cancellation that is swallowed would leave `headgate run` waiting for ever at its end."""
    rig = Rig()
    task = asyncio.create_task(rig.engine.run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rig.engine.wake()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5)
    task.cancel()
    assert done == {task}
