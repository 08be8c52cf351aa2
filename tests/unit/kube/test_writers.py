"""What the leader writes, against an API server that can be told to fail. The same on a real one: tests/cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal

import pytest

from fakes.apiserver import FakeApiServer
from harness.kube import put, until, upstream
from headgate.api.conditions import Condition
from headgate.api.status import UpstreamStatus
from headgate.compile.status import Status
from headgate.kube import status as module
from headgate.kube.children import LABEL
from headgate.kube.client import Api, Document
from headgate.kube.elector import Leadership
from headgate.kube.events import EventWriter, Happening
from headgate.kube.objects import ObjectWriter, Outcome, Result, wanted
from headgate.kube.reading import Seen, seen
from headgate.kube.resources import CHILDREN, OURS
from headgate.kube.status import StatusWriter
from headgate.kube.work import Work
from headgate.model.refs import ObjectRef

FOREVER = Leadership(lambda: 1e9)
SERVICES = CHILDREN["Service"]
UPSTREAMS = OURS["UpstreamService"]


@contextlib.asynccontextmanager
async def at_work(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    async def run() -> None:
        await work()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        try:
            yield
        finally:
            task.cancel()


def leading(writer: StatusWriter | ObjectWriter | EventWriter) -> contextlib.AbstractAsyncContextManager[None]:
    return at_work(lambda: writer.run(FOREVER))


def status(host: str) -> Status:
    return Status(UpstreamStatus(observed_generation=1, host=host))


def ref(name: str, kind: str = "UpstreamService") -> ObjectRef:
    return ObjectRef(kind, "team", name)


class Cluster:
    """How objects stand there, as a source would know it."""

    def __init__(self, server: FakeApiServer) -> None:
        self._server = server

    def seen(self, ref: ObjectRef) -> Seen | None:
        document = self.document(ref)
        return None if document is None else seen(ref, document)

    def document(self, ref: ObjectRef) -> Document | None:
        resource = OURS.get(ref.kind) or CHILDREN[ref.kind]
        return self._server.objects.get((resource.path(), ref.namespace, ref.name))


@pytest.fixture
def cluster(server: FakeApiServer) -> Cluster:
    return Cluster(server)


def writes(server: FakeApiServer) -> list[str]:
    return [each for each in server.requests if "/status?" in each]


async def test_statuses_that_differ_are_written(server: FakeApiServer, api: Api, cluster: Cluster) -> None:
    for name in "ab":
        await put(api, upstream("team", name))
    writer = StatusWriter(api, cluster.seen)
    first = {ref("a"): status("one"), ref("b"): status("one"), ref("unknown"): status("one")}
    writer.want(first)
    async with leading(writer):
        await until(lambda: writer.counts.writes == 2, "both")
        await writer.idle()
        writer.want(dict(first))
        writer.said(ref("a"))
        await writer.idle()
        assert len(writes(server)) == 2
        writer.want({**first, ref("b"): status("two")})
        await until(lambda: writer.counts.writes == 3, "the other")
        await api.apply(UPSTREAMS, {**upstream("team", "a"), "status": {"host": "by hand"}}, subresource="status")
        writer.said(ref("a"))
        await until(lambda: writer.counts.writes == 4, "put right")
        writer.want({ref("b"): status("two")})
        writer.said(ref("a"))
        await writer.idle()
    document = cluster.document(ref("b"))
    assert document is not None
    assert document["status"]["host"] == "two"
    successor = StatusWriter(api, cluster.seen)
    successor.want({ref("a"): status("one"), ref("b"): status("two")})
    async with leading(successor):
        await successor.idle()
    assert successor.counts.writes == 0


def said(ready: Literal["True", "False"], reason: str, generation: int = 1) -> Status:
    conditions = tuple(
        Condition(type=kind, status=ready, reason=reason, observed_generation=generation)
        for kind in ("Programmed", "Ready")
    )
    return Status(UpstreamStatus(observed_generation=generation, conditions=conditions))


async def test_what_is_on_its_way_is_written_once_it_has_come_or_takes_long(
    server: FakeApiServer, api: Api, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("quick", "slow", "made", "wrong"):
        await put(api, upstream("team", name))
    writer, refs = StatusWriter(api, cluster.seen), {name: ref(name) for name in ("quick", "slow", "made", "wrong")}

    def reasons(name: str) -> str:
        document = cluster.document(refs[name])
        assert document is not None
        return "/".join(each["reason"] for each in document.get("status", {}).get("conditions", ())[1:])

    pending = dict.fromkeys([refs["quick"], refs["slow"]], said("False", "Pending"))
    others = {refs["made"]: said("True", "Ready"), refs["wrong"]: said("False", "SecretNotFound")}
    writer.want({**pending, **others})
    async with leading(writer):
        await until(lambda: writer.counts.writes == 2, "what is no matter of time")
        await writer.idle()
        assert [reasons(name) for name in ("quick", "slow", "made", "wrong")] == ["", "", "Ready", "SecretNotFound"]
        # It was in force, as it is declared now: that it is not any more is told at once.
        writer.want({**pending, **others, refs["made"]: said("False", "Pending")})
        await until(lambda: reasons("made") == "Pending", "it is told")
        monkeypatch.setattr(module, "ON_ITS_WAY", 0.3)
        writer.want({refs["quick"]: said("True", "Ready"), refs["slow"]: said("False", "Pending"), **others})
        await until(lambda: reasons("quick") == "Ready", "it has come")
        await until(lambda: reasons("slow") == "Pending", "it takes long")
        before = writer.counts.writes
        longer = Status(said("False", "Pending").document.model_copy(update={"host": "known by now"}))
        writer.want({refs["slow"]: longer})
        await until(lambda: writer.counts.writes == before + 1, "what more there is to tell of that comes at once")


async def test_statuses_that_are_refused(server: FakeApiServer, api: Api, cluster: Cluster) -> None:
    for name in ("busy", "never", "gone"):
        await put(api, upstream("team", name))
    server.answers = {
        ("PATCH", UPSTREAMS.path("team", "busy")): (429, 0.0),
        ("PATCH", UPSTREAMS.path("team", "never")): (422, 0.0),
        ("PATCH", UPSTREAMS.path("team", "gone")): (404, 0.0),
    }
    writer = StatusWriter(api, cluster.seen)
    async with leading(writer):
        writer.want({ref(name): status("one") for name in ("busy", "never", "gone")})
        await until(lambda: writer.counts.failures >= 3, "tried again")
        server.answers.clear()
        await until(lambda: writer.counts.writes == 1, "written")
        assert len([each for each in writes(server) if "never" in each]) == 1
        writer.want({})


async def test_without_the_right_to_write_nothing_is_sent(server: FakeApiServer, api: Api, cluster: Cluster) -> None:
    owner = await put(api, upstream("team", "a"))
    server.requests.clear()
    nobody = Leadership(lambda: 0.0)
    statuses, objects, events = StatusWriter(api, cluster.seen), ObjectWriter(api, ["Service"]), EventWriter(api, "x")
    statuses.want({ref("a"): status("one")})
    objects.want(wanted([service(owner, "s")]))
    async with (
        at_work(lambda: statuses.run(nobody)),
        at_work(lambda: objects.run(nobody)),
        at_work(lambda: events.run(nobody)),
    ):
        await until(lambda: events._work.running and objects._work.running, "all run")
        events.tell(Happening(ref("a"), "", "Reason", "a note"))
        await statuses.idle()
        await objects.idle()
        await until(lambda: events.dropped, "dropped")
    assert {each.split()[0] for each in server.requests} == {"GET"}


async def test_a_write_that_the_right_was_too_short_for_is_made_when_it_was_renewed(
    server: FakeApiServer, api: Api, cluster: Cluster
) -> None:
    owner = await put(api, upstream("team", "a"))
    statuses, objects = StatusWriter(api, cluster.seen), ObjectWriter(api, ["Service"])
    statuses.want({ref("a"): status("one")})
    objects.want(wanted([service(owner, "s")]))

    def renewed() -> Leadership:
        rights = iter([0.0])
        return Leadership(lambda: next(rights, 1e9))

    async with at_work(lambda: statuses.run(renewed())), at_work(lambda: objects.run(renewed())):
        await until(lambda: statuses.counts.writes == 1 and objects.outcomes, "both are written")


def service(owner: Document, name: str, target: str = "gateway.example.com") -> Document:
    meta = {key: owner["metadata"][key] for key in ("name", "uid")}
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], **meta}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "team", "ownerReferences": [reference]},
        "spec": {"type": "ExternalName", "externalName": target},
    }


async def test_objects_are_made_put_right_and_removed(server: FakeApiServer, api: Api, cluster: Cluster) -> None:
    owner = await put(api, upstream("team", "a"))
    told: list[ObjectRef] = []
    writer = ObjectWriter(api, ["Service"], on_outcome=told.append)
    one, two = ref("one", "Service"), ref("two", "Service")

    def target() -> Any:
        document = cluster.document(one)
        return document and LABEL in document["metadata"].get("labels", {}) and document["spec"]["externalName"]

    async with leading(writer):
        objects = wanted([service(owner, "one"), service(owner, "two")])
        writer.want(objects)
        await until(lambda: writer.outcomes == {one: Outcome(Result.APPLIED), two: Outcome(Result.APPLIED)}, "applied")
        await until(lambda: all(writer._found(each) for each in (one, two)), "the watch told")
        await writer.idle()
        applied = len([each for each in server.requests if each.startswith("PATCH")])
        writer.want(dict(objects))
        await writer.idle()
        assert len([each for each in server.requests if each.startswith("PATCH")]) == applied
        await api.delete(SERVICES, "team", "one")
        await until(target, "it is back")
        spoiled = await api.get(SERVICES, "team", "one")
        await api.apply(SERVICES, {**spoiled, "spec": {**spoiled["spec"], "externalName": "evil.example.com"}})
        await until(lambda: target() == "gateway.example.com", "put right")
        writer.want({one: service(owner, "one", "new.example.com")})
        await until(lambda: target() == "new.example.com" and cluster.document(two) is None, "changed, and removed")
    assert set(told) == {one, two}


async def test_objects_of_others_and_those_that_are_refused(
    server: FakeApiServer, api: Api, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.kube.objects.HOPELESS", 0.1)
    owner = await put(api, upstream("team", "a"))
    theirs = service(owner, "theirs")
    theirs["metadata"]["labels"] = {LABEL: "headgate"}
    await api.create(SERVICES, theirs)
    await api.create(SERVICES, service(owner, "taken"))
    server.answers = {
        ("PATCH", SERVICES.path("team", "bad")): (422, 0.0),
        ("PATCH", SERVICES.path("team", "busy")): (503, 0.0),
    }
    writer = ObjectWriter(api, ["Service"])
    async with leading(writer):
        writer.want(wanted([service(owner, name) for name in ("taken", "bad", "busy")]))
        await until(lambda: len(writer.outcomes) == 2, "two outcomes")
        results = {each.name: outcome.result for each, outcome in writer.outcomes.items()}
        assert results == {"taken": Result.TAKEN, "bad": Result.REFUSED}
        # Both are looked at again: the name is free now, and the server wants the other.
        await api.delete(SERVICES, "team", "taken")
        server.answers.clear()
        await until(lambda: list(writer.outcomes.values()) == [Outcome(Result.APPLIED)] * 3, "all three")
    assert cluster.document(ref("theirs", "Service"))


async def test_an_object_that_is_another_one_by_now(server: FakeApiServer, api: Api, cluster: Cluster) -> None:
    owner = await put(api, upstream("team", "a"))
    writer = ObjectWriter(api, ["Service"])
    async with leading(writer):
        writer.want(wanted([service(owner, "one"), service(owner, "two")]))
        await until(lambda: len(writer.outcomes) == 2, "applied")
        await until(lambda: writer._found(ref("two", "Service")), "the watch told")
        # Replaced behind the watch's back.
        for name in ("one", "two"):
            key = (SERVICES.path(), "team", name)
            server.objects[key]["metadata"] = {**server.objects[key]["metadata"], "uid": "another"}
        writer.want(wanted([service(owner, "one", "new.example.com")]))
        await until(lambda: [each for each in server.requests if each.startswith("DELETE")], "a removal was tried")
        await until(lambda: len([each for each in server.requests if "PATCH" in each and "/one?" in each]) > 2, "tried")
        assert cluster.document(ref("two", "Service")), "that one is not the one that was not wanted"
        server.objects.pop((SERVICES.path(), "team", "one"))
        server.expire()


async def test_events_are_counted(server: FakeApiServer, api: Api) -> None:
    owner = await put(api, upstream("team", "a"))
    happening = Happening(ref("a"), owner["metadata"]["uid"], "CircuitOpen", "é" * 900, warning=True)
    writer = EventWriter(api, "one", quiet=0.05)
    writer.tell(happening)

    def event() -> Document:
        (found,) = [each for key, each in server.objects.items() if key[0].endswith("/events")]
        return found

    async with leading(writer):
        await until(lambda: writer._work.running, "it runs")
        for _ in range(3):
            writer.tell(happening)
        await until(lambda: writer._resting, "told")
        for _ in range(2):
            writer.tell(happening)
        await until(lambda: not writer._resting, "rested")
        assert event()["series"]["count"] == 5
        assert len(event()["note"].encode()) <= 1024
        assert event()["regarding"]["uid"] == owner["metadata"]["uid"]
        server.answers[("POST", "/apis/events.k8s.io")] = (403, 0.0)
        writer.tell(Happening(ref("a"), "", "Another", "not to be written"))
        await until(lambda: writer.dropped == 1, "dropped")


async def test_events_that_are_too_many_are_dropped(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.kube.events.WAITING", 3)
    writer = EventWriter(api, "one")
    async with leading(writer):
        await until(lambda: writer._work.running, "it runs")
        for number in range(5):
            writer.tell(Happening(ref("a"), "", "Reason", str(number)))
        assert writer.dropped == 2


async def test_a_bug_that_one_object_finds_costs_that_object_and_not_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headgate.kube.work.BROKEN", 0.01)
    work: Work[str] = Work()
    done: list[str] = []

    async def do(key: str) -> float | None:
        done.append(key)
        if done.count("bad") == 1 and key == "bad":
            raise KeyError("a bug")
        return None

    async with at_work(lambda: work.run(do, 1, first=["bad", "good"])):
        await until(lambda: len(done) == 3, "it is tried once more")
    assert done == ["bad", "good", "bad"]


async def test_work_is_done_by_one_at_a_time_and_again_when_asked_for_meanwhile() -> None:
    work: Work[str] = Work()
    busy: set[str] = set()
    done: list[str] = []
    going = asyncio.Event()

    async def do(key: str) -> float | None:
        assert key not in busy
        busy.add(key)
        await going.wait()
        busy.discard(key)
        done.append(key)
        return 0.01 if done == ["a", "b", "a"] else None

    work.add("lost")  # nobody works
    async with at_work(lambda: work.run(do, 2, first=["a", "b"])):
        await until(lambda: len(busy) == 2, "both are busy")
        work.add("a")
        work.add("a")
        assert len(work) == 2
        going.set()
        await work.idle()
        assert done == ["a", "b", "a"]
        await until(lambda: len(done) == 4, "what was to be looked at later")
        assert done[3] == "a"
    assert not work.running
