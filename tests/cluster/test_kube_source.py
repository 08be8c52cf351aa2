"""Kubernetes as a source, on a real API server: hints and listings, and a proxy in between that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import secrets
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from cluster import ApiServer
from harness.between import Between
from harness.kube import PATIENCE, make_namespace, put, secret, until, upstream
from headgate.api.crdgen import UNSEEN
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.kube.access import Access
from headgate.kube.client import Api, Document, Refused
from headgate.kube.resources import NAMESPACES, OURS, SECRETS, Resource
from headgate.kube.scope import Scope
from headgate.kube.source import KubeSource, Times
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken, Snapshot
from headgate.model.verdict import Plan
from headgate.providers.registry import BUILT_IN
from headgate.store import Store

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]

UPSTREAMS = OURS["UpstreamService"]
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)
CONFLICT = 409
#: So long that no test sees a second listing, unless it asks for one.
NEVER = Times(relist=(3600.0, 3600.0))
OFTEN = Times(relist=(1.0, 2.0))


@pytest.fixture
async def api(api_server: ApiServer) -> AsyncIterator[Api]:
    """The users' own connection."""
    async with await Api.open(Access(api_server.kubeconfig)) as found:
        yield found


@pytest.fixture
async def namespace(api: Api) -> AsyncIterator[str]:
    """One of the test's own, whose objects are gone afterwards."""
    name = f"test-{secrets.token_hex(4)}"
    await make_namespace(api, name, team="a")
    yield name
    async for page in api.pages(UPSTREAMS, name):
        for each in page.items:
            await api.delete(UPSTREAMS, name, each["metadata"]["name"])


@pytest.fixture
async def between(api_server: ApiServer) -> AsyncIterator[Between]:
    async with Between(api_server.kubeconfig).running() as found:
        yield found


class Running:
    """A source at work."""

    def __init__(self, source: KubeSource, store: Store) -> None:
        self.source, self.store = source, store

    def snapshot(self) -> Snapshot:
        return self.store.snapshot()

    def hostname(self, namespace: str, name: str) -> str | None:
        """Of an upstream; None if there is none."""
        declared = self.snapshot().upstreams.get(f"{namespace}/{name}")
        if declared is None or isinstance(declared.current, Broken):
            return None
        return declared.current.spec.hostname


@contextlib.asynccontextmanager
async def running(access: Access, times: Times = NEVER, scope: Scope | None = None) -> AsyncIterator[Running]:
    async with await Api.open(access) as api:
        store = Store()
        source = KubeSource(api, access, store, scope, times)
        task = asyncio.create_task(source.run())
        try:
            async with asyncio.timeout(60):
                await source.synced()
            yield Running(source, store)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def watching(between: Between, count: int = 8) -> None:
    """All kinds, namespaces, Secrets and ConfigMaps are watched."""
    await until(lambda: between.watches >= count, "all watches are open")


async def test_what_is_there_what_comes_what_changes_what_goes(api_server: ApiServer, api: Api, namespace: str) -> None:
    await put(api, upstream(namespace, "first"))
    async with running(Access(api_server.kubeconfig)) as run:
        assert run.hostname(namespace, "first") == "api.example.com"
        assert run.snapshot().namespaces[namespace]["team"] == "a"

        await until(lambda: run.source.counts.hints > 0, "kopf has listed")
        assert not run.store.dirty, "what kopf lists is known already"
        await put(api, upstream(namespace, "second", hostname="two.example.com"))
        took = await until(lambda: run.hostname(namespace, "second") == "two.example.com", "the new one")
        await put(api, upstream(namespace, "second", hostname="three.example.com"))
        changed = await until(lambda: run.hostname(namespace, "second") == "three.example.com", "the change")
        await api.delete(UPSTREAMS, namespace, "first")
        await until(lambda: run.hostname(namespace, "first") is None, "the first is gone")
        await make_namespace(api, namespace, team="b")
        await until(lambda: run.snapshot().namespaces[namespace]["team"] == "b", "the namespace's new label")
        print(f"known after: created {took * 1000:.0f} ms, changed {changed * 1000:.0f} ms")


async def test_a_kind_that_was_taken_away_is_watched_again_when_it_is_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    crds = ROOT / "crds"
    # One of the test's own: without its kind every object of it is gone.
    with ApiServer(tmp_path_factory.mktemp("api")) as server:
        server.kubectl("apply", "--server-side", f"--filename={crds}")
        server.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"--filename={crds}")
        async with await Api.open(Access(server.kubeconfig)) as api, running(Access(server.kubeconfig)) as run:
            await put(api, upstream("default", "first"))
            await until(lambda: run.hostname("default", "first"), "the first")
            failures = run.source.counts.listing_failures
            await asyncio.to_thread(server.kubectl, "delete", "crd", "upstreams.headgate.dev")
            await until(lambda: run.source.counts.listing_failures > failures + 1, "it is seen to be gone", 30)
            listings = run.source.counts.listings
            await asyncio.to_thread(server.kubectl, "apply", "--server-side", f"--filename={crds}")
            await until(
                lambda: run.source.counts.listings > listings + 1, "everything was listed, and hints began anew", 60
            )
            # None of these waits for the next listing, which is an hour away.
            for name in ("second", "third"):
                await put(api, upstream("default", name))
                await until(partial(run.hostname, "default", name), f"the {name} one", 20)
            assert run.hostname("default", "first") is None


async def test_nothing_is_written(api: Api, namespace: str, between: Between, tmp_path: Path) -> None:
    await put(api, upstream(namespace, "a"))
    async with running(Access(between.kubeconfig(tmp_path))) as run:
        await watching(between)
        await put(api, upstream(namespace, "b"))
        await until(lambda: run.hostname(namespace, "b"), "b is known")
    assert {each.split()[0] for each in between.requests} == {"GET"}
    whole = await api.get(UPSTREAMS, namespace, "a")
    assert not {"annotations", "finalizers"} & whole["metadata"].keys()
    # What the API server puts there for an object that nobody has looked at.
    assert whole["status"] == UNSEEN
    assert not [each for each in whole["metadata"]["managedFields"] if each.get("subresource") == "status"]


async def test_status_is_no_news_for_compile(api_server: ApiServer, api: Api, namespace: str) -> None:
    await put(api, upstream(namespace, "a"))
    async with running(Access(api_server.kubeconfig)) as run:
        await until(lambda: run.source.counts.hints > 0, "kopf has listed")
        run.snapshot()
        ref = ObjectRef("UpstreamService", namespace, "a")
        before = run.source.seen(ref)
        written = upstream(namespace, "a")
        del written["spec"]
        await api.apply(UPSTREAMS, {**written, "status": {"host": "x.example"}}, subresource="status")
        await until(lambda: run.source.seen(ref) != before, "the status is seen")
        assert not run.store.dirty


async def test_deleted_while_the_watch_is_down(api: Api, namespace: str, between: Between, tmp_path: Path) -> None:
    await put(api, upstream(namespace, "a"))
    await put(api, upstream(namespace, "b"))
    async with running(Access(between.kubeconfig(tmp_path))) as run:
        await watching(between)
        between.up = False
        between.hang_up()
        await api.delete(UPSTREAMS, namespace, "a")
        # History is gone when it comes back, so that no event will ever tell of it.
        between.forget("upstreams")
        between.up = True
        await until(lambda: "upstreams" not in between._expired, "the watch was told 410")
        await watching(between)
        run.source.relist()
        await until(lambda: run.hostname(namespace, "a") is None, "it is gone after a listing")
        assert run.hostname(namespace, "b")


async def test_a_watch_that_falls_silent(api: Api, namespace: str, between: Between, tmp_path: Path) -> None:
    await put(api, upstream(namespace, "a"))
    await put(api, upstream(namespace, "c"))
    async with running(Access(between.kubeconfig(tmp_path)), OFTEN) as run:
        await watching(between)
        between.silence()
        await put(api, upstream(namespace, "a", hostname="new.example.com"))
        await put(api, upstream(namespace, "b"))
        await api.delete(UPSTREAMS, namespace, "c")
        took = await until(
            lambda: run.hostname(namespace, "a") == "new.example.com" and run.hostname(namespace, "b"), "changes"
        )
        await until(lambda: run.hostname(namespace, "c") is None, "the deletion")
        print(f"a silent watch: known after {took:.1f} s at a listing each 1-2 s")
        # What was held back is old now, and changes nothing.
        await put(api, upstream(namespace, "a", hostname="newer.example.com"))
        await until(lambda: run.hostname(namespace, "a") == "newer.example.com", "newer")
        hints = run.source.counts.hints
        between.resume()
        await until(lambda: run.source.counts.hints > hints, "late hints")
        assert run.hostname(namespace, "a") == "newer.example.com"
        assert run.hostname(namespace, "c") is None


async def test_gone_410(api: Api, namespace: str, between: Between, tmp_path: Path) -> None:
    await put(api, upstream(namespace, "a"))
    async with running(Access(between.kubeconfig(tmp_path))) as run:
        await watching(between)
        for plural in ("upstreams", "secrets", "namespaces"):
            between.forget(plural)
        between.hang_up(watches_only=True)
        await until(lambda: not between._expired, "all three were told 410")
        await watching(between)
        await put(api, upstream(namespace, "a", hostname="new.example.com"))
        await until(lambda: run.hostname(namespace, "a") == "new.example.com", "watched again")


async def test_an_api_server_that_is_away(api: Api, namespace: str, between: Between, tmp_path: Path) -> None:
    """The source neither ends nor forgets, and knows what happened meanwhile soon after."""
    await put(api, upstream(namespace, "a"))
    async with running(Access(between.kubeconfig(tmp_path)), OFTEN) as run:
        await watching(between)
        between.up = False
        between.hang_up()
        await until(lambda: run.source.counts.listing_failures > 0, "a listing failed")
        await put(api, upstream(namespace, "a", hostname="new.example.com"))
        assert run.hostname(namespace, "a") == "api.example.com"
        between.up = True
        took = await until(lambda: run.hostname(namespace, "a") == "new.example.com", "known again")
        print(f"after an outage: known after {took:.1f} s")


@contextlib.asynccontextmanager
async def anything_goes(api: Api, name: str) -> AsyncIterator[None]:
    """A CRD whose schema takes every object, and afterwards the one that it had."""

    async def under(schema: object) -> object:
        while True:
            whole = await api.get(CRDS, None, name)
            before = whole["spec"]["versions"][0]["schema"]
            whole["spec"]["versions"][0]["schema"] = schema
            try:
                await api.replace(CRDS, whole)
            except Refused as problem:
                # The server itself writes its status.
                if problem.status != CONFLICT:
                    raise
            else:
                return before

    strict = await under({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}})
    try:
        yield
    finally:
        await under(strict)


async def stored(api: Api, resource: Resource, document: Document) -> None:
    """As it is, however wrong: the server takes a moment to go by a new schema, and refuses or prunes until then."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(Refused):
                if (await api.apply(resource, document))["spec"] == document["spec"]:
                    return
            await asyncio.sleep(0.05)


async def test_an_object_that_can_not_be_read_is_broken_and_alone(
    api_server: ApiServer, api: Api, namespace: str
) -> None:
    """Stored under another schema: fields that this version does not know are ignored, values that it can't take are not."""
    breakers = OURS["CircuitBreaker"]
    meta = {"namespace": namespace}
    target = [{"group": "headgate.dev", "kind": "UpstreamService", "name": "a"}]
    kind = {"apiVersion": "headgate.dev/v1alpha1", "kind": "CircuitBreaker"}
    newer = {**kind, "metadata": {**meta, "name": "newer"}, "spec": {"targetRefs": target, "newField": {"x": 1}}}
    wrong = {**kind, "metadata": {**meta, "name": "wrong"}, "spec": {"targetRefs": target, "consecutiveFailures": "x"}}
    async with anything_goes(api, "circuitbreakers.headgate.dev"):
        try:
            await stored(api, breakers, newer)
            await stored(api, breakers, wrong)
            async with running(Access(api_server.kubeconfig)) as run:
                found = run.snapshot().policies["CircuitBreaker"]
                assert not isinstance(found[f"{namespace}/newer"].current, Broken)
                broken = found[f"{namespace}/wrong"].current
                assert isinstance(broken, Broken)
                assert "spec.consecutiveFailures: must be" in broken.message
                assert broken.generation == 1
        finally:
            for name in ("newer", "wrong"):
                with contextlib.suppress(Refused):
                    await api.delete(breakers, namespace, name)


async def compiled(run: Running) -> Plan:
    """As the engine does it: until nothing more is referred to."""
    memo = Memo()
    for _ in range(5):
        plan = compile_snapshot(run.snapshot(), memo, BUILT_IN)
        if not await run.source.complete(plan):
            return plan
    raise AssertionError("it does not come to an end")


def with_secret(namespace: str, name: str, secret_name: str) -> dict[str, object]:
    return upstream(
        namespace,
        name,
        credentials=[
            {"name": "key", "secretRef": {"name": secret_name, "key": "k"}, "location": {"header": {"name": "x-key"}}}
        ],
    )


async def test_secrets_are_read_when_referred_to_and_forgotten_afterwards(
    api: Api, namespace: str, between: Between, tmp_path: Path
) -> None:
    await put(api, secret(namespace, "used", k="one"))
    await put(api, secret(namespace, "other", k="never-read"))
    await put(api, with_secret(namespace, "a", "used"))
    ref = ObjectRef("Secret", namespace, "used")
    async with running(Access(between.kubeconfig(tmp_path))) as run:
        await watching(between)
        await compiled(run)

        def value() -> bytes | None:
            entry = run.snapshot().data.get(ref)
            return entry.current.data["k"].reveal() if entry and entry.current else None

        assert value() == b"one"
        # Rotated: told by the metadata watch, and read again.
        await put(api, secret(namespace, "used", k="two"))
        rotated = await until(lambda: value() == b"two", "the new value")
        print(f"a rotated Secret: known after {rotated * 1000:.0f} ms")
        assert run.source.data.version(ref)
        # Deleted, and made again.
        await api.delete(SECRETS, namespace, "used")
        await until(lambda: value() is None, "it is gone")
        await put(api, secret(namespace, "used", k="three"))
        await until(lambda: value() == b"three", "it is back")
        # Another one is referred to now.
        await put(api, with_secret(namespace, "a", "missing"))
        await until(lambda: run.store.dirty, "the change")
        run.store.accept(await compiled(run))
        assert ref not in run.snapshot().data
        assert not any("other" in each.rsplit("/", 1)[-1] for each in between.requests)
    lists = [each for each in between.requests if each.split("?")[0].endswith("/secrets")]
    assert lists


async def test_secrets_come_as_metadata_alone(api_server: ApiServer, api: Api, namespace: str) -> None:
    await put(api, secret(namespace, "s", k="one"))
    async for page in api.pages(SECRETS, namespace, metadata=True):
        assert [each.keys() - {"metadata", "apiVersion", "kind"} for each in page.items] == [set()]
        since = page.version
    await put(api, secret(namespace, "s", k="two"))
    async for kind, document in api.watch(SECRETS, namespace, since, seconds=5, quiet=5, metadata=True):
        assert kind == "MODIFIED"
        assert not {"data", "stringData"} & document.keys()
        break


async def test_namespaces_of_a_scope_and_secrets_of_another(api_server: ApiServer, api: Api, namespace: str) -> None:
    other = f"{namespace}-other"
    await make_namespace(api, other)
    for each in (namespace, other):
        await put(api, secret(each, "s", k="v"))
        await put(api, with_secret(each, "a", "s"))
    scope = Scope(namespaces=(namespace, f"{namespace}-absent"))
    async with running(Access(api_server.kubeconfig), scope=scope) as run:
        snapshot = run.snapshot()
        assert list(snapshot.upstreams) == [f"{namespace}/a"]
        assert list(snapshot.namespaces) == [namespace]
        await until(lambda: run.source.counts.hints > 0, "kopf has listed")
        await put(api, upstream(namespace, "b"))
        await put(api, upstream(other, "b"))
        await until(lambda: run.hostname(namespace, "b"), "b of the one")
        assert run.hostname(other, "b") is None
    scope = Scope(data=(namespace,))
    async with running(Access(api_server.kubeconfig), scope=scope) as run:
        await compiled(run)
        data = run.snapshot().data
        assert data[ObjectRef("Secret", namespace, "s")].current
        assert ObjectRef("Secret", other, "s") not in data
        assert "not to be read" in run.source.data.unreadable[ObjectRef("Secret", other, "s")]
    await api.delete(UPSTREAMS, other, "a")
    await api.delete(UPSTREAMS, other, "b")
    await api.delete(NAMESPACES, None, other)


@pytest.mark.slow
async def test_a_thousand_objects(api_server: ApiServer, api: Api, namespace: str) -> None:
    count = 1000
    slots = asyncio.Semaphore(16)

    async def make(number: int) -> None:
        async with slots:
            await put(api, upstream(namespace, f"u{number}"))

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(make(number))
    made = time.monotonic() - began
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    async with running(Access(api_server.kubeconfig)) as run:
        synced = time.monotonic() - began
        mine = [key for key in run.snapshot().upstreams if key.startswith(f"{namespace}/")]
        assert len(mine) == count
        await until(lambda: run.source.counts.hints >= count, "kopf has listed them too")
        hinted = time.monotonic() - began
        assert not run.store.dirty
        began = time.monotonic()
        run.source.relist()
        await until(lambda: run.source.counts.listings == 2, "listed again")
        again = time.monotonic() - began
        assert not run.store.dirty
        await put(api, upstream(namespace, "u7", hostname="new.example.com"))
        change = await until(lambda: run.hostname(namespace, "u7") == "new.example.com", "one change")
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{count} objects: made in {made:.1f} s, synced in {synced:.2f} s, kopf done after {hinted:.2f} s, "
        f"listed again in {again:.2f} s, one change known after {change * 1000:.0f} ms, "
        f"memory {before // 1024} -> {after // 1024} MiB"
    )
    assert synced < 20
