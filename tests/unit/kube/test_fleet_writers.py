"""What a fleet is kept by: nothing is removed of an owner of which nothing is known, and identities are issued when they are due
and at no other time. Who owns which field, only a real API server tells: tests/cluster/test_apply_to_traffic.py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fakes.apiserver import FakeApiServer
from harness.kube import put, until, upstream
from headgate.infra.identity import RENEW_AT, ROOTS
from headgate.infra.settings import Identity
from headgate.kube.client import Api, Document, Refused
from headgate.kube.elector import Leadership
from headgate.kube.identities import IdentityWriter, Issuer
from headgate.kube.objects import ObjectWriter, Outcome, Result, wanted
from headgate.kube.replicas import DEPLOYMENT, HOLDER, TRIES, hand_over
from headgate.kube.resources import CHILDREN, SECRETS
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue

FOREVER = Leadership(lambda: 1e9)
SERVICES = CHILDREN["Service"]
EDGE = ObjectRef("IntegrationGateway", "team", "edge")
SECRET = ObjectRef("Secret", "team", "edge-headgate")


@contextlib.asynccontextmanager
async def leading(writer: ObjectWriter | IdentityWriter) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(writer.run(FOREVER))
        try:
            yield
        finally:
            task.cancel()


def service(owner: Document, name: str) -> Document:
    meta = {key: owner["metadata"][key] for key in ("name", "uid")}
    reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True, **meta}
    metadata = {"name": name, "namespace": "team", "ownerReferences": [reference]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"type": "ExternalName"}}


def of(document: Document) -> tuple[ObjectRef, str]:
    meta = document["metadata"]
    return ObjectRef(document["kind"], meta["namespace"], meta["name"]), meta["uid"]


async def test_nothing_is_removed_of_an_owner_of_which_nothing_is_known(server: FakeApiServer, api: Api) -> None:
    known, unknown = await put(api, upstream("team", "known")), await put(api, upstream("team", "unknown"))

    def there(name: str) -> bool:
        return (SERVICES.path(), "team", name) in server.objects

    first = ObjectWriter(api, ["Service"])
    async with leading(first):
        first.want(wanted([service(known, "one"), service(unknown, "two")]))
        await until(lambda: there("one") and there("two"), "both")
    # Another start, which has not read the one, or finds it broken.
    second = ObjectWriter(api, ["Service"])
    ref, uid = of(known)
    async with leading(second):
        second.want({}, {})
        await until(lambda: second._work.running, "it leads")
        await second.idle()
        assert there("one")
        assert there("two")
        second.want({}, {ref: "another"})
        await second.idle()
        assert there("one"), "one of that name that is gone: the garbage collector sees to it"
        second.want({}, {ref: uid})
        await until(lambda: not there("one"), "removed: its owner wants none")
        await second.idle()
        assert there("two")


async def test_an_object_of_another_owner_is_left_to_it(server: FakeApiServer, api: Api) -> None:
    one, other = await put(api, upstream("team", "one")), await put(api, upstream("team", "other"))
    first = ObjectWriter(api, ["Service"])
    async with leading(first):
        first.want(wanted([service(one, "name")]))
        await until(lambda: first.outcomes, "made")
    writer = ObjectWriter(api, ["Service"])
    async with leading(writer):
        writer.want(wanted([service(other, "name")]))
        await until(lambda: writer.outcomes, "an outcome")
        (outcome,) = writer.outcomes.values()
    assert outcome.result is Result.TAKEN
    assert "belongs to UpstreamService team/one" in outcome.message
    assert writer.outcomes == {}, "another one may be leading"


async def test_what_an_owner_of_the_same_name_left_behind_is_waited_out(server: FakeApiServer, api: Api) -> None:
    before = await put(api, upstream("team", "one"))
    first = ObjectWriter(api, ["Service"])
    async with leading(first):
        first.want(wanted([service(before, "name")]))
        await until(lambda: first.outcomes, "made")
    after = {**before, "metadata": {**before["metadata"], "uid": "another"}}
    writer = ObjectWriter(api, ["Service"])
    key = (SERVICES.path(), "team", "name")
    async with leading(writer):
        writer.want(wanted([service(after, "name")]))
        await until(lambda: writer._work.running, "it leads")
        await writer.idle()
        assert writer.outcomes == {}, "nobody else's name is taken"
        await api.delete(SERVICES, "team", "name")
        await until(lambda: writer.outcomes, "made anew")
        assert [each.result for each in writer.outcomes.values()] == [Result.APPLIED]
    assert server.objects[key]["metadata"]["ownerReferences"][0]["uid"] == "another"


class Issued:
    """An authority of the test's own."""

    def __init__(self, lifetime: timedelta = timedelta(hours=16)) -> None:
        self.count, self.text, self._lifetime = 0, "first", lifetime

    def issuer(self) -> Issuer:
        return Issuer(self._issue, lambda: self.text)

    def _issue(self, gateway: str) -> Identity:
        assert gateway == EDGE.key
        self.count += 1
        files = {name: SecretValue(f"{name} {self.count}".encode()) for name in ("client.json", "roots.json")}
        return Identity(files, datetime.now(UTC) + self._lifetime, self.text)


def stored(server: FakeApiServer) -> dict[str, Any]:
    found: dict[str, Any] = server.objects.get((SECRETS.path(), "team", SECRET.name), {})
    return found


async def test_an_identity_is_issued_once_and_again_when_it_is_due(server: FakeApiServer, api: Api) -> None:
    authority = Issued()
    writer = IdentityWriter(api, authority.issuer())
    async with leading(writer):
        writer.want({EDGE: "uid"})
        await until(lambda: writer.outcomes == {SECRET: Outcome(Result.APPLIED)}, "issued")
        await until(lambda: writer._watches[0].get(SECRET), "the watch told")
        await writer.idle()
        assert authority.count == 1
    assert stored(server)["metadata"]["ownerReferences"][0]["name"] == "edge"
    # A new leader finds it good.
    successor = IdentityWriter(api, authority.issuer())
    async with leading(successor):
        successor.want({EDGE: "uid"})
        await until(lambda: successor.outcomes, "looked at")
        assert authority.count == 1
        authority.text = "second"
        successor.refresh()
        await until(lambda: stored(server)["metadata"]["annotations"][ROOTS] == "second", "with the new roots")
        await api.delete(SECRETS, "team", SECRET.name)
        await until(lambda: stored(server), "back")
    assert authority.count == 3
    assert RENEW_AT in stored(server)["metadata"]["annotations"]


async def test_a_secret_that_is_somebody_elses_is_left(server: FakeApiServer, api: Api) -> None:
    meta = {"name": SECRET.name, "namespace": "team"}
    await api.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"a": "Yg=="}})
    authority = Issued()
    writer = IdentityWriter(api, authority.issuer())
    async with leading(writer):
        writer.want({EDGE: "uid"})
        await until(lambda: writer.outcomes, "an outcome")
        assert writer.outcomes[SECRET].result is Result.TAKEN
    assert (authority.count, stored(server)["data"]) == (0, {"a": "Yg=="})


async def test_a_number_that_moves_while_it_is_handed_over_is_read_again(server: FakeApiServer, api: Api) -> None:
    ref = ObjectRef("Deployment", "team", "edge-headgate")
    meta = {"name": ref.name, "namespace": "team"}
    document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {"replicas": 7}}
    await api.apply(DEPLOYMENT, document)
    server.answers[("PATCH", DEPLOYMENT.path("team", ref.name))] = (409, 0.0)
    with pytest.raises(Refused):
        await hand_over(api, ref, FOREVER)
    reads = len([each for each in server.requests if each.startswith("GET") and ref.name in each])
    assert reads == TRIES
    server.answers.clear()
    await hand_over(api, ref, FOREVER)
    assert f"fieldManager={HOLDER}" in server.requests[-1]
    assert server.objects[(DEPLOYMENT.path(), "team", ref.name)]["spec"]["replicas"] == 7


async def test_what_became_something_else_has_an_outcome_when_that_is_there(server: FakeApiServer, api: Api) -> None:
    owner = await put(api, upstream("team", "billing"))
    first, ref = service(owner, "billing"), ObjectRef("Service", "team", "billing")
    writer = ObjectWriter(api, ["Service"])
    told: list[str] = []

    def note(of: ObjectRef) -> None:
        found = server.objects[SERVICES.path(), of.namespace, of.name]["spec"].get("externalName", "")
        told.append(found if of in writer.outcomes else "none")

    writer._on_outcome = note
    writer.want({ref: {**first, "spec": {"type": "ExternalName", "externalName": "one.example"}}})
    async with leading(writer):
        await until(lambda: told == ["one.example"], "it is there")
        # Another is wanted while nobody has the time to write it; what was there before is no outcome of it.
        second = {**first, "spec": {"type": "ExternalName", "externalName": "two.example"}}
        writer.want({ref: second})
        writer.forget([ref])
        assert writer.outcomes == {}
        await until(lambda: len(told) > 1, "so is the other")
        assert told[1:] == ["two.example"]
        # What has come of what is wanted no more is not told of what is.
        writer.want({ref: first})
        writer._tell(ref, second, Outcome(Result.REFUSED, "late"))
        assert writer.outcomes[ref] == Outcome(Result.APPLIED)
