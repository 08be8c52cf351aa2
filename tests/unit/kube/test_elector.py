"""The elector's own part: calls, clock, writers. The election itself is tested in tests/unit/control."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from fakes.apiserver import FakeApiServer
from harness.kube import until
from headgate.control.election import Timings
from headgate.kube.access import Access
from headgate.kube.client import Api
from headgate.kube.elector import Elector, Leadership, NotLeading, WritersEnded, clock, identity
from headgate.kube.resources import LEASES

QUICK = Timings(lease=1, renew=0.1, retry=0.05, step_down=0.5, deadline=0.7)
KEY = (LEASES.path(), "team", "headgate")


class Writer:
    def __init__(self) -> None:
        self.running = False
        self.starts = 0

    async def write(self, leadership: Leadership) -> None:
        async with leadership.write():
            self.starts += 1
        self.running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.running = False


async def test_one_leads_the_other_follows_and_takes_over(server: FakeApiServer, api: Api) -> None:
    one, two = (Elector(api, "team", "headgate", identity(name), QUICK) for name in ("one", "two"))
    first, second = Writer(), Writer()
    async with asyncio.TaskGroup() as group:
        group.create_task(one.run(first.write))
        await until(lambda: one.leading and first.running, "one leads")
        group.create_task(two.run(second.write))
        acquired = server.objects[KEY]["spec"]["acquireTime"]
        renewed = server.objects[KEY]["spec"]["renewTime"]
        await until(lambda: server.objects[KEY]["spec"]["renewTime"] != renewed, "renewed")
        assert server.objects[KEY]["spec"]["acquireTime"] == acquired
        assert not two.leading
        one.stop()
        await until(lambda: two.leading and second.running, "two leads")
        assert not first.running
        assert server.objects[KEY]["spec"]["leaseTransitions"] == 1
        two.stop()
    assert "holderIdentity" not in server.objects[KEY]["spec"]


async def test_an_outage_ends_leadership_and_its_end_brings_it_back(server: FakeApiServer, api: Api) -> None:
    elector, writer = Elector(api, "team", "headgate", identity("one"), QUICK), Writer()
    async with asyncio.TaskGroup() as group:
        group.create_task(elector.run(writer.write))
        await until(lambda: writer.running, "it leads")
        server.up = False
        await until(lambda: not writer.running, "it stepped down")
        assert not elector.leading
        server.up = True
        await until(lambda: writer.starts == 2, "it leads again")
        elector.stop()


async def test_errors_and_nonsense_are_waited_out(server: FakeApiServer, api: Api) -> None:
    elector, writer = Elector(api, "team", "headgate", identity("one"), QUICK), Writer()
    path = LEASES.path("team", "headgate")
    server.answers[("GET", path)] = (403, 0.0)
    async with asyncio.TaskGroup() as group:
        group.create_task(elector.run(writer.write))
        await until(lambda: len([each for each in server.requests if "/leases/" in each]) >= 2, "refused twice")
        server.objects[KEY] = {
            "metadata": {"name": "headgate", "resourceVersion": "1"},
            "spec": {"leaseDurationSeconds": "x"},
        }
        server.answers.clear()
        asked = len(server.requests)
        await until(lambda: len(server.requests) >= asked + 2, "read twice")
        del server.objects[KEY]
        await until(lambda: writer.running, "it leads")
        server.answers[("PUT", path)] = (403, 0.0)
        await until(lambda: not writer.running, "it may not renew")
        elector.stop()


@pytest.mark.parametrize("fails", [True, False])
async def test_a_writer_that_ends_is_told(api: Api, server: FakeApiServer, fails: bool) -> None:
    async def write(_: Leadership) -> None:
        if fails:
            raise ValueError("a bug")

    with pytest.raises(WritersEnded, match="a bug" if fails else "it returned"):
        await Elector(api, "team", "headgate", identity("one"), QUICK).run(write)
    assert "holderIdentity" not in server.objects[KEY]["spec"]


async def test_cancelled_in_the_middle_it_stops_the_writers(api: Api) -> None:
    elector, writer = Elector(api, "team", "headgate", identity("one"), QUICK), Writer()
    task = asyncio.create_task(elector.run(writer.write))
    await until(lambda: writer.running, "it leads")
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not writer.running


async def test_a_hanging_call_is_given_up(
    server: FakeApiServer, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.kube.elector.CALL", 0.1)
    server.answers[("GET", LEASES.path("team"))] = (200, 30.0)
    async with await Api.open(access) as patient:
        elector, writer = Elector(patient, "team", "headgate", identity("one"), QUICK), Writer()
        task = asyncio.create_task(elector.run(writer.write))
        await until(lambda: len([each for each in server.requests if "/leases/" in each]) >= 2, "given up, tried again")
        server.answers.clear()
        await until(lambda: writer.running, "it leads")
        elector.stop()
        await task


async def test_the_right_to_write_ends_in_the_middle_of_a_write() -> None:
    left = [0.02]
    leadership = Leadership(lambda: left[0])
    with pytest.raises(NotLeading):
        async with leadership.write():
            await asyncio.Event().wait()
    left[0] = 10.0
    with pytest.raises(TimeoutError):
        async with leadership.write():
            raise TimeoutError("one of the call's own")
    left[0] = 0.0
    with pytest.raises(NotLeading):
        async with leadership.write():
            raise AssertionError("not reached")


def test_identities_are_new_each_time() -> None:
    assert identity("pod") != identity("pod")
    assert clock() > 0
