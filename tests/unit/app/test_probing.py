"""The questions of a run: who shares one, what a change does, and what is told meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from harness.declare import World, secret, upstream
from headgate.app.probing import AT_ONCE, Probing
from headgate.control import probing as machine
from headgate.control.probing import Answer
from headgate.control.questions import Question
from headgate.model.observations import ProbeReport, ProbeVerdict

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
WELL = Answer(ProbeVerdict.HEALTHY)
REJECTED = Answer(ProbeVerdict.CREDENTIAL_REJECTED, failure="Status401")
DOWN = Answer(ProbeVerdict.UNHEALTHY, reached=False, failure="ConnectFailure")
KEYED = "{provider: gemini, credentials: [{name: k, secretRef: {name: %s, key: key}}]%s}"


@dataclass
class Providers:
    """What they answer, by key, and who asked. `gate`: nobody is answered while it is closed."""

    answers: dict[bytes, Answer] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)
    at_once: int = 0
    most: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    broken: bool = False

    async def ask(self, question: Question) -> Answer:
        key = question.keys[0].value.reveal() if question.keys else b""
        self.asked.append(key)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        if self.broken:
            raise ZeroDivisionError
        return self.answers.get(key, WELL)


@dataclass
class Run:
    """A Probing that runs, the providers behind it and the world in front of it."""

    providers: Providers
    probing: Probing
    world: World
    changes: list[None]

    def declare(self, text: str) -> None:
        """Say more, and follow the Plan of it."""
        self.probing.follow(self.world.say(text).compile())

    def verdict(self, name: str) -> ProbeVerdict | None:
        """What is told of an upstream."""
        found = self.probing.reports().get(f"shop/{name}")
        return found.verdict if found else None


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    providers, changes = Providers(), list[None]()
    providers.gate.set()
    probing = Probing(providers.ask, lambda: changes.append(None))
    task = asyncio.create_task(probing.run())
    yield Run(providers, probing, World(), changes)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until(check: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not check():  # noqa: ASYNC110 - what is waited for may be anything
            await asyncio.sleep(0.005)


async def test_what_is_new_is_asked_and_told(run: Run) -> None:
    run.providers.answers[b"bad"] = REJECTED
    text = upstream("a", KEYED % ("one", "")) + secret("one", key="good")
    run.declare(text + upstream("b", KEYED % ("two", "")) + secret("two", key="bad") + upstream("c"))
    await until(lambda: len(run.probing.reports()) == 2)
    assert (run.verdict("a"), run.verdict("b"), run.verdict("c")) == (*("Healthy", "CredentialRejected"), None)
    assert sorted(run.providers.asked) == [b"bad", b"good"]
    assert len(run.changes) == 2


async def test_upstreams_with_the_same_key_are_probed_once(run: Run) -> None:
    names = [f"u{number}" for number in range(20)]
    run.declare("".join(upstream(name, KEYED % ("one", "")) for name in names) + secret("one", key="same"))
    await until(lambda: len(run.probing.reports()) == len(names))
    run.declare(upstream("late", KEYED % ("two", "")) + secret("two", key="same"))
    assert run.verdict("late") is ProbeVerdict.HEALTHY, "it is known already"
    assert run.providers.asked == [b"same"]


async def test_a_change_of_the_key_is_asked_about_at_once_and_nothing_else_is(run: Run) -> None:
    run.providers.answers[b"bad"] = REJECTED
    run.declare(upstream("a", KEYED % ("one", "")) + secret("one", key="bad") + upstream("z", KEYED % ("other", "")))
    run.declare(secret("other", key="other"))
    await until(lambda: len(run.probing.reports()) == 2)
    since = run.probing.reports()["shop/a"].since
    run.providers.gate.clear()
    run.declare(secret("one", key="good"))
    await until(lambda: run.providers.asked[-1] == b"good")
    assert run.verdict("a") is ProbeVerdict.CREDENTIAL_REJECTED, "until the new key is known to be good"
    run.providers.gate.set()
    await until(lambda: run.verdict("a") is ProbeVerdict.HEALTHY)
    assert run.probing.reports()["shop/a"].since >= since
    assert sorted(run.providers.asked) == [b"bad", b"good", b"other"]


async def test_an_edit_that_changes_the_call_but_not_its_outcome_keeps_the_time(run: Run) -> None:
    run.providers.answers[b"bad"] = REJECTED
    run.declare(upstream("a", KEYED % ("one", "")) + secret("one", key="bad"))
    await until(lambda: run.verdict("a"))
    since = run.probing.reports()["shop/a"].since
    run.declare(upstream("a", KEYED % ("one", ", probe: {path: /other}")))
    await until(lambda: len(run.providers.asked) == 2)
    await until(lambda: run.providers.at_once == 0)
    assert run.probing.reports()["shop/a"].since == since


async def test_an_edit_that_does_not_concern_the_call_asks_nothing(run: Run) -> None:
    run.declare(upstream("a", KEYED % ("one", "")) + secret("one", key="good"))
    await until(lambda: run.verdict("a"))
    reports = run.probing.reports()
    run.declare(upstream("a", KEYED % ("one", ", timeouts: {request: 3s}, maxRequestBody: 1Mi")))
    run.declare(upstream("b"))
    assert run.probing.reports() is reports
    assert run.providers.asked == [b"good"]


async def test_what_is_gone_is_neither_asked_about_nor_told(run: Run) -> None:
    text = upstream("a", KEYED % ("one", "")) + upstream("b", KEYED % ("two", ""))
    run.declare(text + secret("one", key="one") + secret("two", key="two"))
    await until(lambda: len(run.probing.reports()) == 2)
    run.world.store.remove(next(ref for ref in run.world.plan.verdicts if ref.name == "a"))
    run.declare(upstream("b", KEYED % ("two", ", probe: {disabled: true}")))
    assert run.probing.reports() == {}


async def test_an_answer_that_nobody_waits_for_any_more_is_dropped(run: Run) -> None:
    run.providers.gate.clear()
    run.declare(upstream("a", KEYED % ("one", "")) + secret("one", key="one"))
    await until(lambda: run.providers.asked)
    run.declare(upstream("a", KEYED % ("one", ", probe: {disabled: true}")))
    run.providers.gate.set()
    await until(lambda: run.providers.at_once == 0)
    assert run.probing.reports() == {}
    assert run.changes == []


async def test_so_many_at_a_time_and_no_more(run: Run) -> None:
    run.providers.gate.clear()
    count = 3 * AT_ONCE
    text = "".join(upstream(f"u{n}", KEYED % (f"s{n}", "")) + secret(f"s{n}", key=f"key{n}") for n in range(count))
    run.declare(text)
    await until(lambda: run.providers.at_once == AT_ONCE)
    run.providers.gate.set()
    await until(lambda: len(run.probing.reports()) == count)
    assert run.providers.most == AT_ONCE


async def test_a_failure_is_looked_into_and_told_and_calls_that_succeed_take_it_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "AGAIN", 0.01)
    run.providers.answers[b"one"] = DOWN
    run.declare(upstream("a", KEYED % ("one", "")) + secret("one", key="one"))
    await until(lambda: run.verdict("a") is ProbeVerdict.UNHEALTHY)
    assert len(run.providers.asked) == 2
    run.probing.succeeded("shop/nobody/default")
    assert run.verdict("a") is ProbeVerdict.UNHEALTHY
    run.probing.succeeded("shop/a/default")
    assert run.verdict("a") is None
    asked = len(run.providers.asked)
    await until(lambda: len(run.providers.asked) > asked)
    await until(lambda: run.providers.at_once == 0)
    assert run.verdict("a") is None, "while calls succeed, a probe that fails is no news"


async def test_a_mistake_of_ours_is_logged_and_says_nothing_of_the_provider(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run.providers.broken = True
    run.declare(upstream("a", KEYED % ("one", "")) + secret("one", key="one"))
    await until(lambda: run.providers.asked and run.providers.at_once == 0)
    run.providers.broken = False
    run.declare(upstream("b", KEYED % ("two", "")) + secret("two", key="two"))
    await until(lambda: run.verdict("b"))
    assert run.verdict("a") is None
    assert "probing.failed" in "".join(capsys.readouterr())


async def test_a_shorter_interval_counts_from_now_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.declare(upstream("a", KEYED % ("one", ", probe: {interval: 24h}")) + secret("one", key="one"))
    await until(lambda: run.verdict("a"))
    due = asyncio.get_running_loop().time()
    run.declare(upstream("b", KEYED % ("one", ", probe: {interval: 10s}")))
    (entry,) = run.probing._entries.values()
    assert entry.state.due <= due + 20
    assert entry.rhythm.interval == 10


def known(name: str, verdict: ProbeVerdict, failure: str = "") -> tuple[str, ProbeReport]:
    return f"shop/{name}", ProbeReport(verdict, LONG_AGO, failure)


async def test_one_asks_and_the_others_tell_what_it_has_found() -> None:
    """Two replicas: the first leads, then the second."""
    providers = Providers({b"bad": REJECTED})
    providers.gate.set()
    world = World(
        upstream("good", KEYED % ("one", ""))
        + upstream("bad", KEYED % ("two", ""))
        + upstream("new", KEYED % ("n", ""))
    )
    plan = world.say(secret("one", key="good") + secret("two", key="bad") + secret("n", key="new")).compile()
    written = dict([known("good", ProbeVerdict.HEALTHY), known("bad", ProbeVerdict.UNHEALTHY, "Status503")])
    changes = list[None]()
    second = Probing(providers.ask, lambda: changes.append(None), lambda: 0.5, written.get)
    second.follow(plan)
    assert second.reports() == written
    assert not providers.asked, "it is not its turn"

    written |= dict([known("bad", ProbeVerdict.CREDENTIAL_REJECTED, "Status401")])
    second.heard("shop/bad")
    second.heard("shop/good")
    assert second.reports() == written
    assert len(changes) == 1

    before = asyncio.get_running_loop().time()
    task = asyncio.create_task(second.run())
    await until(lambda: providers.asked)
    assert providers.asked == [b"new"], "what is known can wait"
    await until(lambda: second.reports().get("shop/new"))
    assert {key: second.reports()[key] for key in written} == written
    due = {key: entry for entry in second._entries.values() for key in entry.upstreams}
    well, bad = due["shop/good"], due["shop/bad"]
    assert well.state.due - before >= well.rhythm.least + 0.4 * (well.rhythm.interval - well.rhythm.least)
    assert max(10.0, bad.rhythm.least) <= bad.state.due - before < well.state.due - before
    second.heard("shop/bad")
    assert second.reports()["shop/bad"] == written["shop/bad"], "one that asks knows better"

    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    written |= dict([known("new", ProbeVerdict.PAUSED)])
    assert second.reports() == written, "its turn is over"
    providers.asked.clear()
    task = asyncio.create_task(second.run())
    await until(lambda: len(second._entries) == 3)
    assert second.reports() == written
    assert not providers.asked
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
