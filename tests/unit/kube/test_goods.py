"""Last good versions in ConfigMaps: what is kept, what comes back, and that junk in them harms nothing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import structlog.testing

from fakes.apiserver import FakeApiServer
from harness.kube import until, upstream
from headgate.kube import goods as module
from headgate.kube.client import Api
from headgate.kube.elector import Leadership
from headgate.kube.goods import Goods, good_of, line, pack, shard_of, unpack
from headgate.kube.reading import Seen, seen
from headgate.kube.resources import CONFIG_MAPS
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan
from headgate.store import Good, Store

FOREVER = Leadership(lambda: 1e9)
NAMESPACE = "system"


def ref(name: str) -> ObjectRef:
    return ObjectRef("UpstreamService", "team", name)


def declared(name: str, generation: int = 1, uid: str = "u", **spec: Any) -> Seen:
    document = upstream("team", name, **spec)
    document["metadata"] |= {"uid": uid, "generation": generation, "labels": {"app": "a\tb"}}
    return seen(ref(name), document)


def good(name: str, generation: int = 1, uid: str = "u", **spec: Any) -> Good:
    put = declared(name, generation, uid, **spec).put
    return Good(put.ref, put.revision, put.current)  # type: ignore[arg-type]


class World:
    """A Store whose objects are all good, unless they are said to be bad."""

    def __init__(self) -> None:
        self.store = Store()

    def declare(self, name: str, generation: int = 1, *, bad: bool = False, **spec: Any) -> None:
        put = declared(name, generation, **spec).put
        self.store.put(put)
        if not bad:
            self.store.accept(Plan(gateways={}, verdicts={}, good={put.ref: put.revision}, references=frozenset()))


@contextlib.asynccontextmanager
async def leading(goods: Goods) -> AsyncIterator[None]:
    task = asyncio.create_task(goods.run(FOREVER))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def kept(server: FakeApiServer) -> dict[str, str]:
    """Revisions by name, as the ConfigMaps have them."""
    found = {}
    for (path, namespace, name), document in server.objects.items():
        if path == CONFIG_MAPS.path() and namespace == NAMESPACE:
            assert document["metadata"]["labels"][module.LABEL] == module.VALUE
            for each in unpack(base64.b64decode(document["binaryData"]["objects"])).values():
                assert name == f"headgate-last-good-{shard_of(each.ref):02}"
                found[each.ref.name] = each.revision
    return found


def test_there_and_back() -> None:
    every = [good("a", hostname="one.example.com"), good("b", 7, sections=[{"name": "s"}], headers={"request": {}})]
    found = unpack(pack(map(line, every)))
    assert [good_of(each) for each in found.values()] == every
    assert pack(map(line, reversed(every))) == pack(map(line, every))


@pytest.mark.parametrize(
    "junk", [b"", b"?", gzip.compress(b"whole")[:-6], pack([])[:5]], ids=["empty", "text", "cut", "head"]
)
def test_junk_is_told_from_nothing(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        unpack(junk)


def test_what_would_unpack_to_too_much_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNPACKED", 1000)
    with pytest.raises(ValueError, match="far too long"):
        unpack(gzip.compress(b"x" * 10_000))


def test_lines_that_are_none_are_left_out() -> None:
    text = line(good("a")).text
    junk = b"\n".join((b"", b"Pod\tteam\ta\t1-x\t{}", b"UpstreamService\tteam", b"\xff\t\xff\t\t\t", text))
    assert list(unpack(gzip.compress(junk))) == [ref("a")]


async def test_what_is_good_is_kept_and_comes_back(server: FakeApiServer, api: Api) -> None:
    world = World()
    goods = Goods(api, NAMESPACE, world.store, rest=0.0)
    for name in ("same", "edited", "bad", "gone", "anew", "spoiled"):
        world.declare(name, hostname=f"{name}.example.com")
    world.declare("never", bad=True)
    async with leading(goods):
        await until(lambda: len(kept(server)) == 6, "all are kept")
        # An edit rewrites one ConfigMap, and what changes nothing none.
        await goods.idle()
        before = goods.counts.writes
        world.declare("edited", 2, hostname="two.example.com")
        goods.proven()
        await until(lambda: kept(server)["edited"].startswith("2-"), "the edit")
        assert goods.counts.writes == before + 1
        world.declare("bad", 2, bad=True, hostname="worse.example.com")
        goods.proven()
        world.store.remove(ref("gone"))
        goods.proven()
        await until(lambda: "gone" not in kept(server), "it is forgotten")
        assert kept(server)["bad"].startswith("1-")
        assert goods.counts.writes == before + 2

    now = {
        "same": declared("same", hostname="same.example.com"),
        "edited": declared("edited", 3, hostname="three.example.com"),
        "bad": declared("bad", 2, hostname="worse.example.com"),
        "anew": declared("anew", 1, uid="another"),
        "spoiled": declared("spoiled", 2, hostname=17),
    }
    back = await Goods(api, NAMESPACE, Store()).recall(lambda each: now.get(each.name))
    assert {each.ref.name: each.version.spec.hostname for each in back} == {  # type: ignore[attr-defined]
        "edited": "two.example.com",
        "bad": "bad.example.com",
        "spoiled": "spoiled.example.com",
    }


async def test_a_new_leader_writes_what_differs_and_learns_what_it_missed(server: FakeApiServer, api: Api) -> None:
    first = World()
    for name in ("a", "b", "c", "late", "missed", "other"):
        first.declare(name)
    first.declare("late", 2, hostname="late.example.com")
    async with leading(goods := Goods(api, NAMESPACE, first.store)):
        await until(lambda: len(kept(server)) == 6, "all are kept")
        await goods.idle()

    # The other one saw three generations of `late` as two, and of those the bad one last.
    second = World()
    for name in ("a", "b", "late"):
        second.declare(name)
    second.declare("late", 3, bad=True, hostname="bad.example.com")
    second.declare("missed", 2, bad=True, hostname="bad.example.com")
    second.declare("other", 2, bad=True, uid="another", hostname="bad.example.com")
    second.declare("b", 2)
    async with leading(goods := Goods(api, NAMESPACE, second.store)):
        await goods.idle()
        assert set(kept(server)) == {"a", "b", "late", "missed"}
        assert kept(server)["b"].startswith("2-")
        assert kept(server)["late"].startswith("2-")
        assert goods.counts.writes == len({shard_of(ref(name)) for name in ("b", "c", "other")})
    for name in ("late", "missed"):
        adopted = second.store.good(ref(name))
        assert adopted is not None
        assert adopted.revision == kept(server)[name]
    assert second.store.dirty


async def test_one_that_does_not_lead_learns_what_it_missed(server: FakeApiServer, api: Api) -> None:
    first, second = World(), World()
    first.declare("late")
    first.declare("late", 2, hostname="late.example.com")
    first.declare("mended")
    second.declare("late")
    second.declare("late", 3, bad=True, hostname="bad.example.com")
    second.declare("mended", 2)
    async with leading(goods := Goods(api, NAMESPACE, first.store)):
        await until(lambda: len(kept(server)) == 2, "both are kept")
        await goods.idle()
    following = Goods(api, NAMESPACE, second.store, period=(0.01, 0.02))
    task = asyncio.create_task(following.follow())

    def revision(name: str) -> str:
        found = second.store.good(ref(name))
        return found.revision if found else ""

    await until(lambda: revision("late") == kept(server)["late"], "it is taken over")
    assert revision("mended").startswith("2-"), "what is good here is newer"
    server.answers["GET", CONFIG_MAPS.path(NAMESPACE)] = (500, 0)
    count = len(server.requests)
    await until(lambda: len(server.requests) > count + 2, "it goes on trying")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_junk_is_passed_over_and_put_right(server: FakeApiServer, api: Api) -> None:
    world = World()
    world.declare("a")
    world.declare("b")
    async with leading(goods := Goods(api, NAMESPACE, world.store)):
        await until(lambda: len(kept(server)) == 2, "both are kept")
        await goods.idle()
    key = (CONFIG_MAPS.path(), NAMESPACE, f"headgate-last-good-{shard_of(ref('a')):02}")
    wrong_kind = line(good("a")).text.replace(b'"apiVersion"', b'"apiVersion":7,"api"')
    no_json = line(good("a")).text[:-5]
    now = {"a": declared("a", 9), "b": declared("b", 9)}
    for junk in (b"nonsense", gzip.compress(wrong_kind), gzip.compress(no_json), b""):
        server.objects[key]["binaryData"] = {"objects": base64.b64encode(junk).decode()}
        with structlog.testing.capture_logs() as logs:
            back = await Goods(api, NAMESPACE, Store()).recall(lambda each: now.get(each.name))
        assert [each.ref.name for each in back] == ["b"]
        assert [each["event"] for each in logs] == ["kube.last_good_unreadable"] or not junk
    for content in ({"data": {"objects": "x"}}, {"binaryData": {"objects": "***"}}, {"binaryData": None}):
        server.objects[key] = {**server.objects[key], "binaryData": None, **content}
        assert [each.ref.name for each in await Goods(api, NAMESPACE, Store()).recall(lambda e: now.get(e.name))] == [
            "b"
        ]
    server.objects[key]["binaryData"] = {"objects": base64.b64encode(b"nonsense").decode()}
    async with leading(goods := Goods(api, NAMESPACE, world.store)):
        await goods.idle()
        assert set(kept(server)) == {"a", "b"}


async def test_what_may_not_be_read_is_done_without(server: FakeApiServer, api: Api) -> None:
    path = CONFIG_MAPS.path(NAMESPACE)
    server.answers["GET", path] = (403, 0)
    assert await Goods(api, NAMESPACE, Store()).recall(lambda _: None) == []


async def test_a_write_that_fails_is_done_later(server: FakeApiServer, api: Api) -> None:
    world = World()
    world.declare("a")
    server.answers["PATCH", CONFIG_MAPS.path(NAMESPACE)] = (500, 0)
    async with leading(Goods(api, NAMESPACE, world.store)):
        await until(lambda: any(each.startswith("PATCH") for each in server.requests), "it tries")
        server.answers.clear()
        await until(lambda: kept(server), "it is kept")


async def test_a_part_that_is_refused_keeps_no_other_from_being_written(server: FakeApiServer, api: Api) -> None:
    names = sorted((f"u{n}" for n in range(9)), key=lambda name: shard_of(ref(name)))
    world = World()
    for name in names:
        world.declare(name)
    first = shard_of(ref(names[0]))
    others = {name for name in names if shard_of(ref(name)) != first}
    path = f"{CONFIG_MAPS.path(NAMESPACE)}/headgate-last-good-{first:02}"
    server.answers["PATCH", path] = (422, 0)
    async with leading(goods := Goods(api, NAMESPACE, world.store, rest=0.0)):
        await until(lambda: set(kept(server)) == others, "those after it are kept")
        await goods.idle()

        def tries() -> int:
            return sum(each.startswith(f"PATCH {path}") for each in server.requests)

        # What happens to others meanwhile does not make it tried more often.
        last, before = names[-1], tries()
        for generation in range(2, 12):
            world.declare(last, generation)
            goods.proven()
            await until(lambda: kept(server)[last].startswith(f"{generation}-"), "an edit of another")  # noqa: B023
        assert tries() <= before + 2
        assert goods.counts.failures == tries()
        server.answers.clear()
        await until(lambda: set(kept(server)) == set(names), "it is tried again by itself")


async def test_a_server_that_is_busy_is_left_alone(server: FakeApiServer, api: Api) -> None:
    world = World()
    for number in range(9):
        world.declare(f"u{number}")
    server.answers["PATCH", CONFIG_MAPS.path(NAMESPACE)] = (429, 0)
    async with leading(goods := Goods(api, NAMESPACE, world.store)):
        await until(lambda: goods.counts.failures, "it tries")
        written = {each for each in server.requests if each.startswith(f"PATCH {CONFIG_MAPS.path(NAMESPACE)}")}
        assert len(written) == 1, "the others wait too"
        server.answers.clear()
        await until(lambda: len(kept(server)) == 9, "all are kept")


async def test_a_write_that_the_right_was_too_short_for_is_made_when_it_was_renewed(
    server: FakeApiServer, api: Api
) -> None:
    world, rights = World(), iter([0.0])
    world.declare("a")
    task = asyncio.create_task(Goods(api, NAMESPACE, world.store).run(Leadership(lambda: next(rights, 1e9))))
    await until(lambda: kept(server), "it is kept")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def test_what_has_no_room_is_left_out_the_longest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM", 1500)
    every = [line(good(f"u{n}", hostname=f"h{n}.example.com")) for n in range(5)]
    noise = "".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(60))
    every.append(line(good("long", headers={"request": {"set": [{"name": "x-a", "value": noise}]}})))
    found = unpack(module._fitting({each.ref: each for each in every}))
    assert len(found) == 5
    assert ref("long") not in found
