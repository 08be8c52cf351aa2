"""Transitions of statuses as Events: what is told, what is no news, and who tells it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from headgate.api.conditions import Condition
from headgate.api.status import CredentialState, CredentialStatus, GatewayStatus, UpstreamStatus
from headgate.app import happenings as module
from headgate.app.happenings import Happenings, News, Told, news, told
from headgate.compile.status import Status
from headgate.kube.elector import Leadership
from headgate.kube.events import Happening
from headgate.kube.reading import Seen, said
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken
from headgate.store import Put

FOREVER = Leadership(lambda: 1e9)


def upstream(
    ready: str = "True/Ready",
    healthy: str = "Unknown/NoTrafficYet",
    circuit: str | None = None,
    credentials: tuple[CredentialStatus, ...] = (),
) -> UpstreamStatus:
    """`status/reason` or `status/reason: message` for each condition."""
    conditions = tuple(condition(*each) for each in (("Ready", ready), ("Healthy", healthy)))
    return UpstreamStatus(
        conditions=conditions, circuit=circuit, address="http://billing.shop", credentials=credentials
    )


def condition(kind: str, spelled: str) -> Condition:
    state, _, rest = spelled.partition("/")
    reason, _, message = rest.partition(": ")
    return Condition(type=kind, status=state, reason=reason, message=message)  # type: ignore[arg-type]


def key(version: str, state: CredentialState = CredentialState.IN_USE) -> tuple[CredentialStatus, ...]:
    return (CredentialStatus(name="token", secret_resource_version=version, state=state),)


def story(*documents: Any) -> list[str]:
    """What is told while an object goes through these statuses: reason and note, a warning with a mark."""
    known, every = Told(), []
    for document in documents:
        after = told(document, known)
        every += [f"{'! ' if each.warning else ''}{each.reason}: {each.note}" for each in news(document, known, after)]
        known = after
    return every


PENDING = upstream("False/Pending: 1 of 2 proxies have yet to take it")
ALONE = upstream("Unknown/NoProxyConnected")
READY = upstream()
BAD = upstream("False/InvalidSpec: spec.port: must be less")


def test_what_is_new_comes_into_force() -> None:
    assert story(ALONE, PENDING, READY, PENDING, READY, ALONE, READY) == [
        "Ready: what is declared is in force, at http://billing.shop"
    ]


def test_what_is_wrong_and_mended() -> None:
    worse = upstream("False/InvalidSpec: spec.host: what")
    assert story(READY, BAD, BAD, worse, PENDING, READY)[1:] == [
        "! InvalidSpec: spec.port: must be less",
        "! InvalidSpec: spec.host: what",
        "Ready: what is declared is in force again, at http://billing.shop",
    ]


def test_how_the_provider_does() -> None:
    rejected = upstream(healthy="False/CredentialRejected: put another")
    assert story(
        READY, upstream(healthy="True/Healthy"), rejected, READY, rejected, upstream(healthy="True/Healthy")
    ) == [
        "Ready: what is declared is in force, at http://billing.shop",
        "! CredentialRejected: put another",
        "Healthy: the provider is well again",
    ]


def test_a_breaker_opens_and_closes() -> None:
    opened = upstream(healthy="False/CircuitOpen: section default: cut off", circuit="Open 1/2")
    trying = upstream(healthy="False/CircuitOpen: on trial", circuit="HalfOpen 1/2")
    restarted = upstream(circuit="Closed")
    closed = upstream(healthy="True/Healthy", circuit="Closed")
    assert story(closed, opened, trying, opened, restarted, opened, closed)[1:] == [
        "! CircuitOpened: section default: cut off",
        "CircuitClosed: calls go to the provider again",
    ]
    failing = upstream(healthy="False/CallsFailing: most calls fail", circuit="Closed")
    assert story(closed, opened, failing, closed)[2:] == [
        "CircuitClosed: calls go to the provider again",
        "! CallsFailing: most calls fail",
        "Healthy: the provider is well again",
    ]


def test_a_key_is_rotated() -> None:
    rolling = key("2", CredentialState.ROLLING)
    each = [upstream(credentials=found) for found in ((), key("1"), rolling, key("2"), (), key("3"))]
    assert story(*each)[1:] == [
        "CredentialRotated: credential token: all proxies send the value of version 2 of its Secret; the one before may go"
    ]


def test_other_kinds_have_no_health() -> None:
    gateway = GatewayStatus(conditions=(condition("Ready", "False/ObjectRefused: quota"),))
    assert story(gateway, gateway) == ["! ObjectRefused: quota"]


class Cluster:
    """Statuses as they stand there, and who is told what."""

    def __init__(self) -> None:
        self.there: dict[ObjectRef, Seen] = {}
        self.told: list[Happening] = []
        self.now = 0.0

    def write(self, name: str, document: UpstreamStatus | None) -> Status:
        at = ObjectRef("UpstreamService", "shop", name)
        body = document.model_dump(mode="json", by_alias=True, exclude_none=True) if document else {}
        put = Put(at, "1-x", Broken(None, ""))  # type: ignore[arg-type]
        self.there[at] = Seen(put, f"uid-{name}", said(body))
        return Status(document or UpstreamStatus())

    def following(self, previous: dict[ObjectRef, Status]) -> Happenings:
        return Happenings(previous, self.there.get, self.told.append, lambda: self.now)

    def reasons(self) -> list[str]:
        found = [f"{each.about.name} {each.reason}" for each in self.told]
        self.told.clear()
        return found


@contextlib.asynccontextmanager
async def leading(each: Happenings) -> Any:
    task = asyncio.create_task(each.run(FOREVER))
    await asyncio.sleep(0)
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def caught_up(following: Happenings) -> int:
    """How often others had the event loop until all was followed."""
    turns = 0
    while following._others:
        await asyncio.sleep(0)
        turns += 1
    return turns


def ref(name: str) -> ObjectRef:
    return ObjectRef("UpstreamService", "shop", name)


async def test_a_start_tells_nothing_that_was_so_already() -> None:
    cluster = Cluster()
    previous = {ref(f"u{n}"): cluster.write(f"u{n}", READY if n % 2 else BAD) for n in range(1000)}
    following = cluster.following(previous)
    async with leading(following):
        following.look({each: Status(ALONE if n % 2 else BAD) for n, each in enumerate(previous)})
        latest = {each: Status(READY if n % 2 else BAD) for n, each in enumerate(previous)}
        following.look(latest)
        assert cluster.reasons() == []
        following.look({**latest, ref("u1"): Status(BAD)})
        assert cluster.reasons() == ["u1 InvalidSpec"]
        assert len(following._told) == 0, "what a status says itself is not kept beside it"


async def test_the_next_leader_tells_what_the_one_before_had_no_time_for() -> None:
    cluster = Cluster()
    previous = {ref(name): cluster.write(name, READY) for name in ("told", "late", "old", "gone")}
    following = cluster.following(previous)
    following.look({**previous, ref("old"): Status(BAD)})
    cluster.now += module.MEMORY + 1
    following.look({each: Status(BAD) for each in previous})
    assert cluster.reasons() == [], "it does not lead"
    cluster.write("told", BAD)
    del cluster.there[ref("gone")]
    async with leading(following):
        assert cluster.reasons() == ["late InvalidSpec"]
    async with leading(following):
        assert cluster.reasons() == []
    following.look(previous)
    assert cluster.reasons() == [], "it does not lead any more"


async def test_what_was_true_here_for_a_moment_is_not_told_by_the_next_leader() -> None:
    """Only the one that led knew at once that it was not."""
    cluster = Cluster()
    taken = upstream("False/ServiceNameTaken: a Service")
    previous = {ref(name): cluster.write(name, ALONE) for name in ("settled", "after", "beyond", "neither")}
    following = cluster.following(previous)
    following.look({each: Status(READY) for each in previous})
    following.look({each: Status(taken) for each in previous})
    cluster.write("settled", taken)
    # Since then it says something more, which is no news: here, or here and there.
    more = taken.model_copy(update={"circuit": "Closed"})
    cluster.write("after", taken)
    cluster.write("beyond", more)
    latest = {each: Status(taken) for each in previous}
    following.look({**latest, ref("after"): Status(more), ref("beyond"): Status(more)})
    following.lead()
    assert cluster.reasons() == ["neither Ready", "neither ServiceNameTaken"]


async def test_no_more_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    every = {ref(f"u{n}"): cluster.write(f"u{n}", READY) for n in range(1000)}
    following = cluster.following(every)
    async with leading(following):
        following.look({each: Status(BAD) for each in every})
        await caught_up(following)
        assert len(cluster.reasons()) == module.BURST
        assert following.dropped == 1000 - module.BURST
        cluster.now += 1.0
        following.look(every)
        await caught_up(following)
        assert len(cluster.reasons()) == module.RATE


async def test_others_get_the_event_loop_where_all_are_new() -> None:
    cluster = Cluster()
    every = {ref(f"u{n}"): cluster.write(f"u{n}", READY) for n in range(10 * module.BATCH)}
    following = cluster.following({})
    following.look(every)
    turns = await caught_up(following)
    assert turns >= 9
    # What comes meanwhile is not mixed up with what has not been followed yet, and a leader begins with all of it followed.
    following.look({each: Status(BAD) for each in every})
    following.look({each: Status(BAD) for each in every})
    assert len(following._others) == 9 * module.BATCH
    async with leading(following):
        assert not following._others


def test_an_event_says_whom_it_is_about() -> None:
    cluster = Cluster()
    following = cluster.following({ref("a"): cluster.write("a", READY)})
    following.lead()
    following.look({ref("a"): Status(BAD)})
    assert cluster.told == [Happening(ref("a"), "uid-a", "InvalidSpec", "spec.port: must be less", warning=True)]
    assert news(READY, Told(), Told()) == ()
    assert News("a", "b") != News("a", "b", warning=True)
