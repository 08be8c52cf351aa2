"""What the leader writes, on a real API server: statuses, objects of its own, Events."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from pydantic import BaseModel

from cluster import ApiServer
from harness.between import Between
from harness.kube import make_namespace, put, until, upstream
from headgate.api.conditions import Condition
from headgate.api.crdgen import UNSEEN
from headgate.api.status import UpstreamStatus
from headgate.compile.status import Status
from headgate.kube.access import Access
from headgate.kube.children import LABEL
from headgate.kube.client import Api, Document, Refused
from headgate.kube.elector import Leadership
from headgate.kube.events import EventWriter, Happening
from headgate.kube.objects import ObjectWriter, Outcome, Result, wanted
from headgate.kube.resources import CHILDREN, EVENTS, OURS, Resource
from headgate.kube.source import KubeSource, Times
from headgate.kube.status import StatusWriter
from headgate.model.refs import ObjectRef
from headgate.store import Store

pytestmark = pytest.mark.cluster

UPSTREAMS = OURS["UpstreamService"]
SERVICES, DEPLOYMENTS = CHILDREN["Service"], CHILDREN["Deployment"]
FOREVER = Leadership(lambda: 1e9)


@pytest.fixture
async def api(api_server: ApiServer) -> AsyncIterator[Api]:
    async with await Api.open(Access(api_server.kubeconfig)) as found:
        yield found


@pytest.fixture
async def namespace(api: Api) -> str:
    name = f"test-{secrets.token_hex(4)}"
    await make_namespace(api, name)
    return name


@pytest.fixture
async def between(api_server: ApiServer) -> AsyncIterator[Between]:
    async with Between(api_server.kubeconfig).running() as found:
        yield found


@contextlib.asynccontextmanager
async def at_work(*works: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_run(work)) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _run(work: Callable[[], Awaitable[None]]) -> None:
    await work()


def status(ready: str, at: str = "2026-01-01T00:00:00Z", host: str = "api.example.com") -> Status:
    condition = Condition(
        type="Ready",
        status=ready,  # type: ignore[arg-type]
        observed_generation=1,
        last_transition_time=at,
        reason="Because",
        message="",
    )
    return Status(UpstreamStatus(observed_generation=1, conditions=(condition,), host=host))


class Statuses:
    """A source that hears of statuses, and a writer."""

    def __init__(self, api: Api, access: Access) -> None:
        self._api = api
        self.source = KubeSource(api, access, Store(), times=Times(relist=(3600, 3600)), on_said=self._said)
        self.writer = StatusWriter(api, self.source.seen)

    def _said(self, ref: ObjectRef) -> None:
        self.writer.said(ref)

    @contextlib.asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        async with at_work(lambda: self.writer.run(FOREVER)):
            yield

    @contextlib.asynccontextmanager
    async def synced(self) -> AsyncIterator[None]:
        async with at_work(self.source.run):
            await self.source.synced()
            yield

    async def told(self, ref: ObjectRef) -> None:
        """The watch has told how the object stands now. Until then a writer may think that an older status stands there, and
        write once more what nobody needs."""
        version = (await read(self._api, ref))["metadata"]["resourceVersion"]
        await until(lambda: self.source._objects[ref.kind].at(ref, version), f"the watch told of {ref.name}")


async def read(api: Api, ref: ObjectRef) -> Document:
    return await api.get(OURS[ref.kind], ref.namespace, ref.name)


async def test_a_status_is_written_once_and_only_when_it_differs(
    api_server: ApiServer, api: Api, namespace: str
) -> None:
    refs = [ObjectRef("UpstreamService", namespace, name) for name in "abc"]
    for ref in refs:
        await put(api, upstream(namespace, ref.name))
    statuses = Statuses(api, Access(api_server.kubeconfig))
    writer = statuses.writer
    async with statuses.synced(), statuses.leading():
        first = MappingProxyType({ref: status("False") for ref in refs})
        writer.want(first)
        await until(lambda: writer.counts.writes == 3, "all three are written")
        written = [await read(api, ref) for ref in refs]
        assert written[0]["status"]["conditions"][0]["status"] == "False"
        managers = {(each["manager"], each.get("subresource")) for each in written[0]["metadata"]["managedFields"]}
        assert ("headgate", "status") in managers

        # What comes back by the watch is what was written, and no reason to write.
        for ref in refs:
            await statuses.told(ref)
        writer.want(MappingProxyType(dict(first)))
        await writer.idle()
        assert writer.counts.writes == 3

        # One changes: one write.
        writer.want({**first, refs[1]: status("True")})
        await until(lambda: writer.counts.writes == 4, "the one")
        await statuses.told(refs[1])
        # What is left out goes away.
        bare = UpstreamStatus(observed_generation=1, conditions=status("True").document.conditions)
        writer.want({**first, refs[1]: Status(bare)})
        await until(lambda: writer.counts.writes == 5, "without a host")
        assert "host" not in (await read(api, refs[1]))["status"]
        await statuses.told(refs[1])

        # Somebody changes one by hand: it is put right.
        spoiled = await read(api, refs[2])
        await api._call(
            "PUT",
            UPSTREAMS.path(namespace, "c", "status"),
            body={**spoiled, "status": {"host": "somewhere.else.example"}},
        )
        await until(lambda: writer.counts.writes == 6, "it is put right")
        assert (await read(api, refs[2]))["status"]["host"] == "api.example.com"


async def test_a_new_leader_writes_what_differs_and_leaves_times_alone(
    api_server: ApiServer, api: Api, namespace: str
) -> None:
    same, other = (ObjectRef("UpstreamService", namespace, name) for name in ("same", "other"))
    for ref in (same, other):
        await put(api, upstream(namespace, ref.name))
    statuses = Statuses(api, Access(api_server.kubeconfig))
    async with statuses.synced(), statuses.leading():
        statuses.writer.want({same: status("True"), other: status("False")})
        await until(lambda: statuses.writer.counts.writes == 2, "both")
    successor = Statuses(api, Access(api_server.kubeconfig))
    async with successor.synced():
        previous = successor.source.previous()
        assert previous[same].document == status("True").document
        later = "2026-02-02T00:00:00Z"
        successor.writer.want({same: status("True", later), other: status("True", later)})
        async with successor.leading():
            await until(lambda: successor.writer.counts.writes == 1, "the one that differs")
            await successor.writer.idle()
        assert successor.writer.counts.writes == 1
        assert (await read(api, same))["status"]["conditions"][0]["lastTransitionTime"] == "2026-01-01T00:00:00Z"
        assert (await read(api, other))["status"]["conditions"][0]["lastTransitionTime"] == later
        await successor.told(other)
        # What changed while nobody led is in the first round of the next.
        successor.writer.want({same: status("False", later), other: status("True", later)})
        assert successor.writer.counts.writes == 1
        async with successor.leading():
            await until(lambda: successor.writer.counts.writes == 2, "the change")


async def test_errors_are_waited_for_and_an_object_that_is_gone_is_not(
    api_server: ApiServer, api: Api, namespace: str, between: Between, tmp_path: Path
) -> None:
    ref = ObjectRef("UpstreamService", namespace, "a")
    gone = ObjectRef("UpstreamService", namespace, "gone")
    for each in (ref, gone):
        await put(api, upstream(namespace, each.name))
    access = Access(between.kubeconfig(tmp_path))
    async with await Api.open(access, limit=1.0) as through:
        statuses = Statuses(through, access)
        async with statuses.synced():
            between.answers[("PATCH", UPSTREAMS.path(namespace, "a"))] = (429, 0.0)
            await until(lambda: between.watches >= 8, "all watches are open")
            between.silence()
            await api.delete(UPSTREAMS, namespace, "gone")
            async with statuses.leading():
                statuses.writer.want({ref: status("True"), gone: status("True")})
                await until(lambda: statuses.writer.counts.failures >= 2, "refused twice")
                between.answers[("PATCH", UPSTREAMS.path(namespace, "a"))] = (200, 2.0)  # too late
                failures = statuses.writer.counts.failures
                await until(lambda: statuses.writer.counts.failures > failures, "timed out")
                between.answers.clear()
                await until(lambda: statuses.writer.counts.writes == 1, "written")
                await statuses.writer.idle()
            patches = [each for each in between.requests if each.startswith("PATCH")]
            assert len(patches) < 12, "with pauses in between"
            assert len([each for each in patches if "/gone/" in each]) == 1


async def test_writing_ends_with_the_right_to_write(api_server: ApiServer, api: Api, namespace: str) -> None:
    ref = ObjectRef("UpstreamService", namespace, "a")
    await put(api, upstream(namespace, "a"))
    statuses = Statuses(api, Access(api_server.kubeconfig))
    async with statuses.synced(), at_work(lambda: statuses.writer.run(Leadership(lambda: 0.0))):
        statuses.writer.want({ref: status("True")})
        await statuses.writer.idle()
        assert statuses.writer.counts.writes == 0
    assert (await read(api, ref))["status"] == UNSEEN


@pytest.mark.slow
async def test_a_thousand_statuses(api_server: ApiServer, api: Api, namespace: str) -> None:
    count = 1000
    slots = asyncio.Semaphore(16)

    async def make(number: int) -> None:
        async with slots:
            await put(api, upstream(namespace, f"u{number}"))

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(make(number))
    refs = [ObjectRef("UpstreamService", namespace, f"u{number}") for number in range(count)]
    statuses = Statuses(api, Access(api_server.kubeconfig))
    async with statuses.synced(), statuses.leading():
        began = time.monotonic()
        statuses.writer.want({ref: status("True") for ref in refs})
        await until(lambda: statuses.writer.counts.writes == count, "all are written", 60)
        print(f"{count} statuses written in {time.monotonic() - began:.1f} s")
    successor = Statuses(api, Access(api_server.kubeconfig))
    async with successor.synced():
        successor.writer.want({ref: status("True") for ref in refs})
        began = time.monotonic()
        async with successor.leading():
            await successor.writer.idle()
        print(f"a new leader found nothing to write in {time.monotonic() - began:.2f} s")
        assert successor.writer.counts.writes == 0
    for ref in refs:
        await api.delete(UPSTREAMS, namespace, ref.name)


# Objects


def service(owner: Document, name: str, **spec: Any) -> Document:
    meta = owner["metadata"]
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": meta["namespace"], "ownerReferences": [reference]},
        "spec": {"type": "ExternalName", "externalName": "gateway.example.com", **spec},
    }


def deployment(namespace: str, name: str, image: str = "envoy:1") -> Document:
    labels = {"app": name}
    containers = [{"name": "envoy", "image": image}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }


async def there(api: Api, resource: Resource, namespace: str, name: str) -> Document | None:
    with contextlib.suppress(Refused):
        return await api.get(resource, namespace, name)
    return None


async def become(
    api: Api, resource: Resource, namespace: str, name: str, condition: Callable[[Document | None], object]
) -> None:
    async with asyncio.timeout(30):
        while not condition(await there(api, resource, namespace, name)):  # noqa: ASYNC110 - a server has no Event
            await asyncio.sleep(0.02)


async def test_objects_are_made_put_right_and_removed(api: Api, namespace: str) -> None:
    owner = await put(api, upstream(namespace, "gemini"))
    writer = ObjectWriter(api, CHILDREN)
    ref = ObjectRef("Service", namespace, "gemini")
    async with at_work(lambda: writer.run(FOREVER)):
        objects = wanted([service(owner, "gemini"), deployment(namespace, "gateway")])
        writer.want(objects)
        await until(lambda: len(writer.outcomes) == 2, "both are applied")
        assert set(writer.outcomes.values()) == {Outcome(Result.APPLIED)}
        made = await api.get(SERVICES, namespace, "gemini")
        assert made["metadata"]["labels"][LABEL] == "headgate"
        assert made["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]

        # Deleted by hand; its label taken off; changed by hand; its owner taken off.
        await api.delete(SERVICES, namespace, "gemini")
        await become(api, SERVICES, namespace, "gemini", lambda now: now)
        changes: list[Callable[[Document], object]] = [
            lambda it: it["metadata"].pop("labels"),
            lambda it: it["spec"].update(externalName="evil.example.com"),
            lambda it: it["metadata"].pop("ownerReferences"),
        ]
        for change in changes:
            now = await api.get(SERVICES, namespace, "gemini")
            change(now)
            await api.replace(SERVICES, now)
            await become(
                api,
                SERVICES,
                namespace,
                "gemini",
                lambda now: (
                    now
                    and now["spec"]["externalName"] == "gateway.example.com"
                    and now["metadata"].get("labels")
                    and now["metadata"].get("ownerReferences")
                ),
            )
        # What others add of their own stays: an autoscaler's replicas, say.
        now = await api.get(DEPLOYMENTS, namespace, "gateway")
        now["spec"]["replicas"] = 3
        await api.replace(DEPLOYMENTS, now)
        writer.want(
            wanted(
                [*(each for key, each in objects.items() if key == ref), deployment(namespace, "gateway", "envoy:2")]
            )
        )
        await become(
            api,
            DEPLOYMENTS,
            namespace,
            "gateway",
            lambda now: now and now["spec"]["template"]["spec"]["containers"][0]["image"] == "envoy:2",
        )
        assert (await api.get(DEPLOYMENTS, namespace, "gateway"))["spec"]["replicas"] == 3

        # Not wanted any more.
        writer.want({ref: objects[ref]})
        await become(api, DEPLOYMENTS, namespace, "gateway", lambda now: now is None)
        assert await there(api, SERVICES, namespace, "gemini")


async def test_the_next_leader_removes_what_is_left_and_touches_nothing_of_others(api: Api, namespace: str) -> None:
    owner = await put(api, upstream(namespace, "a"))
    # A Service of somebody else, who even puts the same label on it.
    foreign = service(owner, "theirs")
    del foreign["metadata"]["ownerReferences"]
    foreign["metadata"]["labels"] = {LABEL: "headgate"}
    await api.create(SERVICES, foreign)
    taken = service(owner, "taken")
    del taken["metadata"]["ownerReferences"]
    await api.create(SERVICES, taken)

    writer = ObjectWriter(api, ["Service"])
    ours = wanted([service(owner, name) for name in ("one", "two", "taken", "theirs")])
    async with at_work(lambda: writer.run(FOREVER)):
        writer.want(ours)
        await until(lambda: len(writer.outcomes) == 4, "all outcomes")
        results = {ref.name: outcome.result for ref, outcome in writer.outcomes.items()}
        assert results == {"one": "Applied", "two": "Applied", "taken": "Taken", "theirs": "Taken"}
        message = writer.outcomes[ObjectRef("Service", namespace, "taken")].message
        assert "which Headgate did not make" in message
    successor = ObjectWriter(api, ["Service"])
    async with at_work(lambda: successor.run(FOREVER)):
        successor.want({ref: each for ref, each in ours.items() if ref.name == "one"})
        await become(api, SERVICES, namespace, "two", lambda now: now is None)
        await successor.idle()
    for name in ("one", "taken", "theirs"):
        assert await there(api, SERVICES, namespace, name)
    assert "labels" not in (await api.get(SERVICES, namespace, "taken"))["metadata"]


async def test_what_the_server_does_not_take_is_an_outcome(api: Api, namespace: str) -> None:
    owner = await put(api, upstream(namespace, "a"))
    writer = ObjectWriter(api, ["Service"])
    told: list[ObjectRef] = []
    writer._on_outcome = told.append
    bad = service(owner, "bad", externalName="not a name!")
    async with at_work(lambda: writer.run(FOREVER)):
        writer.want(wanted([bad, service(owner, "good")]))
        await until(lambda: len(writer.outcomes) == 2, "both outcomes")
        outcome = writer.outcomes[ObjectRef("Service", namespace, "bad")]
        names = {ref.name for ref in told}
    assert outcome.result is Result.REFUSED
    assert "externalName" in outcome.message
    assert names == {"bad", "good"}


async def test_nothing_is_removed_before_anything_is_wanted(api: Api, namespace: str) -> None:
    owner = await put(api, upstream(namespace, "a"))
    writer = ObjectWriter(api, ["Service"])
    async with at_work(lambda: writer.run(FOREVER)):
        writer.want(wanted([service(owner, "one")]))
        await until(lambda: writer.outcomes, "applied")
    successor = ObjectWriter(api, ["Service"])
    async with at_work(lambda: successor.run(FOREVER)):
        await until(
            lambda: successor._there and all(each.synced.is_set() for each in successor._there["Service"]), "synced"
        )
        await asyncio.sleep(0)
        assert not successor._work.running
    assert await there(api, SERVICES, namespace, "one")


# Events


async def events(api: Api, namespace: str) -> list[Document]:
    return [each async for page in api.pages(EVENTS, namespace) for each in page.items]


async def test_events_are_counted_and_not_repeated(api: Api, api_server: ApiServer, namespace: str) -> None:
    owner = await put(api, upstream(namespace, "a"))
    happening = Happening(
        ObjectRef("UpstreamService", namespace, "a"), owner["metadata"]["uid"], "CircuitOpen", "x" * 2000, warning=True
    )
    other = replace(happening, reason="CircuitClosed", note="it is well again", warning=False)
    writer = EventWriter(api, "one", quiet=0.2)
    writer.tell(happening)  # nobody leads: not heard
    async with at_work(lambda: writer.run(FOREVER)):
        await until(lambda: writer._work.running, "it runs")
        for _ in range(5):
            writer.tell(happening)
        writer.tell(other)
        await until(lambda: len(writer._resting) == 2, "both are told")
        for _ in range(3):
            writer.tell(happening)
        await until(lambda: not writer._resting, "told again, and rested")
    found = {each["reason"]: each for each in await events(api, namespace)}
    assert found.keys() == {"CircuitOpen", "CircuitClosed"}
    assert found["CircuitOpen"]["series"]["count"] == 8
    assert found["CircuitOpen"]["type"] == "Warning"
    assert len(found["CircuitOpen"]["note"].encode()) == 1024
    assert "series" not in found["CircuitClosed"]
    # After a change of the leader it is still the same Event.
    successor = EventWriter(api, "two", quiet=0.2)
    async with at_work(lambda: successor.run(FOREVER)):
        await until(lambda: successor._work.running, "it runs")
        successor.tell(happening)
        await until(lambda: happening in successor._resting, "it is being told")
        await until(lambda: not successor._resting, "told, and rested")
    found = {each["reason"]: each for each in await events(api, namespace)}
    assert found["CircuitOpen"]["series"]["count"] == 9
    assert writer.dropped == successor.dropped == 0
    assert "CircuitOpen" in await asyncio.to_thread(
        api_server.kubectl, "describe", "upstream", "a", f"--namespace={namespace}"
    )


async def test_a_flood_of_events_is_dropped(api: Api, namespace: str) -> None:
    writer = EventWriter(api, "one")
    about = ObjectRef("UpstreamService", namespace, "a")
    async with at_work(lambda: writer.run(Leadership(lambda: 0.0))):
        await until(lambda: writer._work.running, "it runs")
        for number in range(1500):
            writer.tell(Happening(about, "", "Flood", str(number)))
    assert writer.dropped >= 500
    assert not await events(api, namespace)


async def test_a_crd_older_than_the_operator_costs_the_fields_that_it_does_not_have(
    api_server: ApiServer, api: Api, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs = [ObjectRef("UpstreamService", namespace, name) for name in ("first", "second")]
    for ref in refs:
        await put(api, upstream(namespace, ref.name))

    def later(of: UpstreamStatus, **options: Any) -> Document:
        written = BaseModel.model_dump(of, **options)
        conditions = [{**each, "confidence": 0.9} for each in written["conditions"]]
        return {**written, "conditions": conditions, "mood": "good", "weather": {"rain": True}}

    monkeypatch.setattr(UpstreamStatus, "model_dump", later)
    statuses = Statuses(api, Access(api_server.kubeconfig))
    writer = statuses.writer
    async with statuses.synced(), statuses.leading():
        writer.want(MappingProxyType({ref: status("True") for ref in refs}))
        await until(lambda: writer.counts.writes == 2, "both are written")
        for ref in refs:
            written = (await read(api, ref))["status"]
            assert written["host"] == "api.example.com"
            assert written["conditions"][0]["status"] == "True"
            assert not {"mood", "weather"} & written.keys()
            await statuses.told(ref)
        # And no more often than otherwise.
        writer.want(MappingProxyType({ref: status("True") for ref in refs}))
        await writer.idle()
        assert (writer.counts.writes, writer.counts.failures) == (2, 0)
