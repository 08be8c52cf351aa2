"""The source against an API server that can be told to fail. The same on a real one: tests/cluster."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.apiserver import FakeApiServer
from harness.kube import put, secret, until, upstream
from headgate.api.conditions import Reason
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.kube.access import Access
from headgate.kube.client import Api
from headgate.kube.data import DataSource
from headgate.kube.resources import NAMESPACES, OURS, SECRETS
from headgate.kube.scope import Scope
from headgate.kube.source import KubeSource, Times
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken
from headgate.model.verdict import Plan
from headgate.providers.registry import BUILT_IN
from headgate.store import Store

UPSTREAMS = OURS["UpstreamService"]
NEVER = Times(relist=(3600.0, 3600.0), secrets=0.3)
OFTEN = Times(relist=(0.2, 0.3), secrets=0.3)


class Running:
    def __init__(self, source: KubeSource, store: Store, told: list[ObjectRef]) -> None:
        self.source, self.store, self.told = source, store, told

    def host(self, name: str, namespace: str = "team") -> str | None:
        declared = self.store.snapshot().upstreams.get(f"{namespace}/{name}")
        return None if declared is None or isinstance(declared.current, Broken) else declared.current.spec.hostname

    def plan(self) -> Plan:
        return compile_snapshot(self.store.snapshot(), Memo(), BUILT_IN)


@contextlib.asynccontextmanager
async def running(
    api: Api,
    access: Access,
    times: Times = NEVER,
    scope: Scope | None = None,
    ready: asyncio.Event | None = None,
) -> AsyncIterator[Running]:
    store, told = Store(), list[ObjectRef]()
    source = KubeSource(api, access, store, scope, times, told.append)
    task = asyncio.create_task(source.run(ready))
    try:
        async with asyncio.timeout(20):
            await source.synced()
        yield Running(source, store, told)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def watched(server: FakeApiServer) -> int:
    return len([each for each in server.requests if "watch=true" in each])


async def test_listed_then_watched(server: FakeApiServer, api: Api, access: Access) -> None:
    for number in range(30):
        await put(api, upstream("team", f"u{number}"))
    async with running(api, access) as run:
        assert run.host("u29") == "api.example.com"
        assert run.store.snapshot().namespaces["team"] == {"tier": "gold"}
        await until(lambda: watched(server) >= 8, "everything is watched")
        assert not run.store.dirty
        await put(api, upstream("team", "u1", hostname="new.example.com"))
        await until(lambda: run.host("u1") == "new.example.com", "a change")
        await api.delete(UPSTREAMS, "team", "u2")
        await until(lambda: run.host("u2") is None, "a deletion")
        await api.apply(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "more"}})
        await until(lambda: "more" in run.store.snapshot().namespaces, "a namespace")
        await api.delete(NAMESPACES, None, "more")
        await until(lambda: "more" not in run.store.snapshot().namespaces, "gone again")
        assert run.source.seen(ObjectRef("UpstreamService", "team", "u1"))
        assert run.source.seen(ObjectRef("UpstreamService", "team", "u2")) is None


async def test_a_status_is_told_and_no_change(server: FakeApiServer, api: Api, access: Access) -> None:
    await put(api, upstream("team", "a"))
    ref = ObjectRef("UpstreamService", "team", "a")
    bare = {**upstream("team", "a"), "status": {"host": "one.example"}}
    await api.apply(UPSTREAMS, bare, subresource="status")
    await put(api, upstream("team", "spoiled"))
    await api.apply(UPSTREAMS, {**upstream("team", "spoiled"), "status": {"host": 7}}, subresource="status")
    async with running(api, access) as run:
        previous = run.source.previous()
        assert {each.name for each in previous} == {"a"}
        assert not run.source.previous(), "handed over"
        run.store.snapshot()
        await until(lambda: watched(server) >= 8, "everything is watched")
        bare["status"] = {"host": "two.example"}
        await api.apply(UPSTREAMS, bare, subresource="status")
        await until(lambda: run.told == [ref], "told")
        assert not run.store.dirty


async def test_what_was_declared_is_held_once_whatever_becomes_of_its_status(
    server: FakeApiServer, api: Api, access: Access
) -> None:
    await put(api, upstream("team", "a"))
    ref = ObjectRef("UpstreamService", "team", "a")
    async with running(api, access) as run:
        first = run.source.seen(ref)
        await until(lambda: watched(server) >= 8, "everything is watched")
        await api.apply(UPSTREAMS, {**upstream("team", "a"), "status": {"host": "one.example"}}, subresource="status")
        await until(lambda: run.told == [ref], "told")
        now = run.source.seen(ref)
        assert first is not None
        assert now is not None
        assert now.put is first.put
        assert now.said != first.said
        await put(api, upstream("team", "a", hostname="new.example.com"))
        await until(lambda: run.host("a") == "new.example.com", "a change")


async def test_listings_are_the_truth(server: FakeApiServer, api: Api, access: Access) -> None:
    """No watch ever says anything, and yet all is known."""
    await put(api, upstream("team", "a"))
    await put(api, upstream("team", "b"))
    for path in ("/apis/headgate.dev/v1alpha1", "/apis"):
        server.answers[("GET", path + "?")] = (503, 0.0)
    server._watch = _silent  # type: ignore[method-assign,assignment]
    async with running(api, access, OFTEN) as run:
        await put(api, upstream("team", "a", hostname="new.example.com"))
        await api.delete(UPSTREAMS, "team", "b")
        await until(lambda: run.host("a") == "new.example.com" and run.host("b") is None, "listed again")
        whole = {**upstream("team", "a", hostname="new.example.com"), "status": {"host": "by hand"}}
        await api.apply(UPSTREAMS, whole, subresource="status")
        await until(lambda: run.told, "a status that was changed by hand")
        assert run.source.counts.hints <= 10


async def _silent(*_: object) -> object:
    await asyncio.Event().wait()
    raise AssertionError


async def test_an_outage_and_forgotten_history(server: FakeApiServer, api: Api, access: Access) -> None:
    await put(api, upstream("team", "a"))
    await put(api, secret("team", "s", k="one"))
    async with running(api, access, OFTEN) as run:
        await until(lambda: watched(server) >= 8, "everything is watched")
        server.up = False
        await until(lambda: run.source.counts.listing_failures, "a listing failed")
        server.expire()
        server.up = True
        await put(api, upstream("team", "a", hostname="new.example.com"))
        await until(lambda: run.host("a") == "new.example.com", "known again")


async def test_what_can_not_be_read_is_broken(api: Api, access: Access) -> None:
    await put(api, upstream("team", "newer", fieldOfTheFuture={"x": 1}))
    await put(api, upstream("team", "wrong", port="many"))
    async with running(api, access) as run:
        assert run.host("newer") == "api.example.com"
        broken = run.store.snapshot().upstreams["team/wrong"].current
        assert isinstance(broken, Broken)
        assert broken.reason is Reason.INVALID_SPEC
        assert broken.message.startswith("spec.port: must be a whole number")


def calling(name: str, secret_name: str) -> dict[str, object]:
    location = {"header": {"name": "x-key"}}
    key = {"name": "key", "secretRef": {"name": secret_name, "key": "k"}, "location": location}
    return upstream("team", name, credentials=[key])


async def complete(run: Running) -> Plan:
    plan = run.plan()
    while await run.source.complete(plan):
        plan = run.plan()
    return plan


async def test_secrets_that_are_referred_to(server: FakeApiServer, api: Api, access: Access) -> None:
    await put(api, secret("team", "used", k="one"))
    await put(api, secret("team", "other", k="never"))
    await put(api, calling("a", "used"))
    await put(api, calling("b", "missing"))
    ref = ObjectRef("Secret", "team", "used")
    async with running(api, access) as run:

        def value() -> bytes | None:
            entry = run.store.snapshot().data.get(ref)
            return entry.current.data["k"].reveal() if entry and entry.current else None

        await complete(run)
        assert value() == b"one"
        await until(lambda: watched(server) >= 8, "everything is watched")
        await put(api, secret("team", "used", k="two"))
        await until(lambda: value() == b"two", "rotated")
        assert run.source.data.version(ref)
        await api.delete(SECRETS, "team", "used")
        await until(lambda: value() is None, "deleted")
        await put(api, secret("team", "used", k="three"))
        await until(lambda: value() == b"three", "made again")
        await put(api, secret("team", "missing", k="here"))
        missing = ObjectRef("Secret", "team", "missing")
        await until(lambda: run.source.data.version(missing), "there now")
        await put(api, calling("a", "missing"))
        await until(lambda: run.host("a") and run.plan().references == {missing}, "the change")
        run.store.accept(await complete(run))
        assert ref not in run.store.snapshot().data
    assert not any(each.startswith("GET /api/v1/namespaces/team/secrets/other") for each in server.requests)


async def test_secrets_that_may_not_or_can_not_be_read(server: FakeApiServer, api: Api, access: Access) -> None:
    path = "/api/v1/namespaces/team/secrets/"
    for name in ("forbidden", "broken", "slow"):
        await put(api, secret("team", name, k="v"))
        await put(api, calling(name, name))
    server.answers[("GET", f"{path}forbidden")] = (403, 0.0)
    server.answers[("GET", f"{path}slow")] = (503, 0.0)
    server.objects[("/api/v1/secrets", "team", "broken")]["data"] = 7
    async with running(api, access) as run:
        first = asyncio.create_task(run.source.complete(run.plan()))
        await until(lambda: len(run.source.data.unreadable) == 2, "both were tried")
        assert not first.done(), "the first Plan waits"
        del server.answers[("GET", f"{path}slow")]
        assert await first
        said = {ref.name: why for ref, why in run.source.data.unreadable.items()}
        assert said == {"forbidden": "403 Said: as the test has it", "broken": "it can't be read: AttributeError"}
        # A later Plan does not wait for long.
        server.answers[("GET", f"{path}late")] = (503, 0.0)
        await put(api, calling("late", "late"))
        await until(lambda: run.host("late"), "one more")
        await run.source.complete(run.plan())
        assert run.source.data.version(ObjectRef("Secret", "team", "late")) is None


async def test_what_may_not_be_read_is_tried_again(server: FakeApiServer, api: Api, access: Access) -> None:
    """Nobody tells that a right was given, or that one was taken away."""
    told: list[int] = []
    ref = ObjectRef("Secret", "team", "s")
    await put(api, secret("team", "s", k="v"))
    path = "/api/v1/namespaces/team/secrets/s"
    server.answers[("GET", path)] = (403, 0.0)
    data = DataSource(api, Store(), Scope(), (0.05, 0.1), lambda: told.append(1))
    task = asyncio.create_task(data.run())
    await data.synced()
    data.want(frozenset({ref}))
    await until(lambda: data.unreadable, "it may not be read")
    before = data.unreadable
    count = len(server.requests)
    await until(lambda: len([each for each in server.requests[count:] if path in each]) > 2, "it is tried again")
    assert data.unreadable is before, "the same reason is no news"
    assert len(told) == 1
    server.answers.clear()
    await until(lambda: not data.unreadable, "it may be read")
    assert before == {ref: "403 Said: as the test has it"}, "what was handed out does not change"
    assert data.version(ref)
    assert len(told) == 2

    # Nothing is tried of what is not to be read at all, and nothing is known of what nobody wants.
    closed = DataSource(api, Store(), Scope(data=("other",)), (0.01, 0.02), lambda: told.append(1))
    server.requests.clear()
    closed.want(frozenset({ref}))
    assert "not to be read" in closed.unreadable[ref]
    assert not closed._later
    closed.want(frozenset())
    assert not closed.unreadable
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_some_namespaces_only(server: FakeApiServer, api: Api, access: Access) -> None:
    await api.apply(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}})
    await put(api, upstream("team", "a"))
    await put(api, upstream("other", "a"))
    server.answers[("GET", "/api/v1/namespaces/closed")] = (403, 0.0)
    scope = Scope(namespaces=("team", "absent", "closed"))
    async with running(api, access, scope=scope) as run:
        assert list(run.store.snapshot().upstreams) == ["team/a"]
        assert set(run.store.snapshot().namespaces) == {"team", "closed"}
        await api.delete(NAMESPACES, None, "team")
        run.source.relist()
        await until(lambda: "team" not in run.store.snapshot().namespaces, "listed again")
    assert not any(each.split("?")[0] == f"GET {UPSTREAMS.path()}" for each in server.requests)


async def test_data_of_some_namespaces_only(api: Api, access: Access) -> None:
    await put(api, secret("team", "s", k="v"))
    await put(api, calling("a", "s"))
    async with running(api, access, scope=Scope(data=("elsewhere",))) as run:
        await complete(run)
        (why,) = run.source.data.unreadable.values()
        assert "not to be read" in why


async def test_kopf_is_started_again_and_a_watch_of_metadata_goes_on(
    server: FakeApiServer, api: Api, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.kube.hints.PAUSE", 0.05)
    async with running(api, access) as run:
        await until(lambda: watched(server) >= 8, "everything is watched")
        for plural in ("upstreams", "secrets"):
            server.fatal = plural
            await until(lambda: not server.fatal, "told")
        await until(lambda: run.source._hints.starts == 2, "it was started again")
        await put(api, upstream("team", "a"))
        await until(lambda: run.host("a"), "and watches again")


async def test_nothing_of_kopf_is_left_when_the_server_goes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A watch that is cancelled just when its connection fails would go on beside those of the next run."""
    monkeypatch.setattr("headgate.kube.hints.PAUSE", 0.05)
    async with FakeApiServer().running() as server:
        access = Access(server.kubeconfig(tmp_path))
        async with await Api.open(access, limit=2.0) as api, running(api, access) as run:
            await until(lambda: watched(server) >= 7, "everything is watched")
            server.fatal = "upstreams"
            await until(lambda: run.source._hints.starts == 2, "it was started again")
    await until(lambda: "kopf" not in [each.name for each in threading.enumerate()], "its threads have ended")


async def test_hints_begin_when_they_are_asked_for_and_tell_what_has_changed_before(
    server: FakeApiServer, api: Api, access: Access
) -> None:
    await put(api, upstream("team", "a"))
    ready = asyncio.Event()
    async with running(api, access, ready=ready) as run:
        await put(api, upstream("team", "a", hostname="new.example.com"))
        assert run.source._hints.starts == 0
        ready.set()
        await until(lambda: run.host("a") == "new.example.com", "a change")
        assert run.source.counts.listings == 1


async def test_what_the_first_compile_needs_is_read_before(server: FakeApiServer, api: Api, access: Access) -> None:
    credentials = [{"name": "key", "secretRef": {"name": "s", "key": "token"}}]
    await put(api, upstream("team", "a", credentials=credentials))
    await put(api, secret("team", "s", token="x"))
    async with running(api, access) as run:
        await run.source.read_ahead()
        plan = run.plan()
        assert plan.references == {ObjectRef("Secret", "team", "s")}
        assert not await run.source.complete(plan)


async def test_what_may_not_be_listed_is_waited_for(server: FakeApiServer, api: Api, access: Access) -> None:
    """Without all that is declared there is no first Plan: it would take away what the proxies have."""
    server.answers[("GET", UPSTREAMS.path())] = (403, 0.0)
    source = KubeSource(api, access, Store(), times=NEVER)
    task = asyncio.create_task(source.run())
    await until(lambda: source.counts.listing_failures >= 2, "refused twice")
    synced = asyncio.create_task(source.synced())
    await asyncio.sleep(0)
    assert not synced.done()
    server.answers.clear()
    await synced
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def many(count: int) -> Plan:
    return Plan(references=frozenset(ObjectRef("Secret", "team", f"s{number}") for number in range(count)))


async def test_many_secrets_of_a_namespace_are_read_together(server: FakeApiServer, api: Api, access: Access) -> None:
    for number in range(120):
        await put(api, secret("team", f"s{number}", token=str(number)))
    await put(api, secret("other", "somebody-elses", token="x"))
    async with running(api, access) as run:
        before = len(server.requests)
        assert await run.source.complete(many(121))
        data = run.store.snapshot().data
        assert {data[ref].current is not None for ref in many(120).references} == {True}
        asked = [each for each in server.requests[before:] if "/secrets" in each and "watch" not in each]
        assert len([each for each in asked if "/secrets?" in each]) == 3
        assert [each for each in asked if "/secrets/" in each] == ["GET /api/v1/namespaces/team/secrets/s120"]
        await put(api, secret("team", "s7", token="new"))
        await until(lambda: _token(run, "s7") == b"new", "a change afterwards")


async def test_where_other_secrets_are_none_are_listed(server: FakeApiServer, api: Api, access: Access) -> None:
    for number in range(40):
        await put(api, secret("team", f"s{number}", token=str(number)))
    await put(api, secret("team", "somebody-elses", token="x"))
    async with running(api, access) as run:
        before = len(server.requests)
        assert await run.source.complete(many(40))
        asked = [each for each in server.requests[before:] if "/secrets" in each and "watch" not in each]
        assert len(asked) == 40
        assert not [each for each in asked if "/secrets?" in each or "somebody" in each]


async def test_a_listing_of_secrets_that_fails_has_each_read(server: FakeApiServer, api: Api, access: Access) -> None:
    for number in range(30):
        await put(api, secret("team", f"s{number}", token=str(number)))
    async with running(api, access) as run:
        path = "/api/v1/namespaces/team/secrets"
        server.answers[("GET", path)] = (503, 0.0)
        complete = asyncio.create_task(run.source.complete(many(30)))
        await until(lambda: f"GET {path}/s29" in server.requests, "each is asked for")
        del server.answers[("GET", path)]
        assert await complete
        assert {entry.current is not None for entry in run.store.snapshot().data.values()} == {True}
        assert len(run.store.snapshot().data) == 30


def _token(run: Running, name: str) -> bytes | None:
    entry = run.store.snapshot().data.get(ObjectRef("Secret", "team", name))
    return entry.current.data["token"].reveal() if entry is not None and entry.current is not None else None
