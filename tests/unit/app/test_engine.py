"""The loop survives bugs: what was live stays live, they are counted, and the next change is compiled again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.api.conditions import Condition
from headgate.api.upstream import UpstreamService
from headgate.app import engine as engine_module
from headgate.app.engine import Engine, Outlook
from headgate.compile.status import statuses as joined
from headgate.compile.world import compile_snapshot
from headgate.envoy import render as render_module
from headgate.envoy.render import Rendering, rendering
from headgate.envoy.resource import Resource, Resources, TypeUrl
from headgate.model.plan import Upstream
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
        #: Proxies that have not answered for all of it.
        self.behind: tuple[str, ...] = ()

    def publish(self, gateway: str, resources: Resources) -> None:
        self.published[gateway] = resources

    def withdraw(self, gateway: str) -> None:
        del self.published[gateway]

    def feedback(self, gateway: str) -> GatewayFeedback:
        return GatewayFeedback(gateway, self.published.get(gateway), self.behind, self.behind)


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

    def programmed(self, ref: ObjectRef) -> tuple[str, str] | None:
        """Status and reason of the condition, as last looked at."""
        found = self._condition(ref)
        return (found.status, found.reason) if found else None

    def message(self, ref: ObjectRef) -> str:
        """What the condition says."""
        found = self._condition(ref)
        return found.message if found else ""

    def _condition(self, ref: ObjectRef) -> Condition | None:
        status = self.outlooks[-1].statuses.get(ref) if self.outlooks else None
        return (
            next((each for each in status.document.conditions if each.type == "Programmed"), None) if status else None
        )

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


async def test_what_proxies_answer_soon_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "ANSWER", 60.0)
    rig = Rig()
    rig.wire.behind = ("default/default/a",)
    task = asyncio.create_task(rig.engine.run())
    try:
        rig.declare("one")
        await until(lambda: rig.plans)
        rig.engine.wake("default/default")  # one has answered, and not for all
        for _ in range(10):
            await asyncio.sleep(0)
        assert not rig.outlooks
        rig.wire.behind = ()
        rig.engine.wake("default/default")
        await until(lambda: rig.outlooks)
        assert len(rig.outlooks) == 1
        rig.wire.behind = ("default/default/a",)
        rig.declare("two")
        await until(lambda: len(rig.plans) == 2)
        rig.declare("three")
        await until(lambda: len(rig.plans) == 3)  # what is to be compiled does not wait for them
    finally:
        task.cancel()


async def test_proxies_that_do_not_answer_keep_no_status_from_being_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "ANSWER", 0.01)
    rig = Rig()
    rig.wire.behind = ("default/default/a",)
    task = asyncio.create_task(rig.engine.run())
    try:
        rig.declare("one")
        await until(lambda: rig.outlooks)
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
        sound = rendering

        def broken(*_: object) -> Rendering:
            raise ZeroDivisionError

        monkeypatch.setattr(engine_module, "rendering", broken)
        two = rig.declare("two")
        await until(lambda: rig.programmed(two) == ("False", "RenderFailed"))
        assert rig.engine.counts.render_failures == 1
        assert rig.routes() == ["default/one"]
        monkeypatch.setattr(engine_module, "rendering", sound)
        rig.declare("three")
        await until(lambda: len(rig.routes()) == 3)
        await until(lambda: rig.programmed(two) == ("Unknown", "NoProxyConnected"))
    finally:
        task.cancel()


async def test_a_bug_after_the_compile_keeps_nothing_from_the_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    rig.declare("a")
    real = joined
    broken = True

    def statuses(*given: Any) -> Any:
        if broken:
            raise KeyError("a bug")
        return real(*given)

    def planned(_: Plan) -> None:
        raise KeyError("another")

    monkeypatch.setattr(engine_module, "statuses", statuses)
    monkeypatch.setattr(rig.engine, "_on_plan", planned)
    await rig.engine.compile()
    await rig.engine.look()
    assert rig.wire.published
    assert (rig.outlooks, rig.engine.counts.later_failures) == ([], 2)
    broken = False
    await rig.engine.look()
    assert len(rig.outlooks) == 1


async def test_an_upstream_that_cant_be_rendered_is_the_only_one_to_suffer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = render_module.render_routes  # type: ignore[attr-defined]

    def broken(upstream: Upstream) -> Resource:
        if upstream.sections[0].endpoints[0].hostname == "odd.example.com":
            raise ZeroDivisionError("of all things")
        return sound(upstream)

    monkeypatch.setattr(render_module, "render_routes", broken)
    rig = Rig()
    task = asyncio.create_task(rig.engine.run())
    unknown = ("Unknown", "NoProxyConnected")
    try:
        one, odd = rig.declare("one"), rig.declare("odd", kind_of_host="odd.example.com")
        await until(lambda: rig.programmed(odd) == ("False", "RenderFailed"))
        # At the start there is nothing to stay on.
        assert rig.routes() == ["default/one"]
        assert rig.programmed(one) == unknown
        assert "nothing of it is in force" in rig.message(odd)

        rig.declare("odd", "2")
        await until(lambda: rig.programmed(odd) == unknown)
        good = rig.wire.published["default/default"][TypeUrl.ROUTE]["default/odd"]

        rig.declare("odd", "3", "odd.example.com")
        two = rig.declare("two")
        await until(lambda: rig.programmed(odd) == ("False", "RenderFailed"))
        assert "of all things" in rig.message(odd)
        assert "the version before stays in force" in rig.message(odd)
        assert rig.wire.published["default/default"][TypeUrl.ROUTE]["default/odd"] is good
        assert rig.routes() == ["default/odd", "default/one", "default/two"]
        assert rig.programmed(one) == rig.programmed(two) == unknown
        failures = rig.engine.counts.render_failures
        rig.declare("three")
        await until(lambda: len(rig.routes()) == 4)
        assert rig.engine.counts.render_failures == failures + 1
        assert not task.done()

        rig.declare("odd", "4", "even.example.com")
        await until(lambda: rig.programmed(odd) == unknown)
        assert rig.wire.published["default/default"][TypeUrl.ROUTE]["default/odd"] is not good
        assert rig.engine.counts.render_failures == failures + 1
    finally:
        task.cancel()
    # Once each time it begins.
    assert capsys.readouterr().out.count("engine.render_failed") == 2


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
