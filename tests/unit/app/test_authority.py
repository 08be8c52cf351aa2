"""One authority for all replicas, in a Secret, on an API server that can be told to fail."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.apiserver import FakeApiServer
from harness.kube import make_namespace, until
from harness.pki_given import issued_ca
from headgate.app.authority import NAME, AuthorityProblem, Keeping, SharedAuthority
from headgate.kube.access import Access
from headgate.kube.client import Api, Document
from headgate.kube.elector import Leadership
from headgate.kube.resources import SECRETS

FOREVER = Leadership(lambda: 1e9)
SYSTEM = "headgate-system"
KEY = (SECRETS.path(), SYSTEM, NAME)
QUICK = Keeping(SYSTEM, poll=0.02, root_lifetime=dt.timedelta(days=30))


class Clock:
    def __init__(self) -> None:
        self.now = dt.datetime.now(dt.UTC).replace(microsecond=0)

    def __call__(self) -> dt.datetime:
        return self.now


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer().running() as found:
        yield found


@pytest.fixture
async def api(server: FakeApiServer, tmp_path: Path) -> AsyncIterator[Api]:
    async with await Api.open(Access(server.kubeconfig(tmp_path)), limit=2.0) as found:
        await make_namespace(found, SYSTEM)
        yield found


@contextlib.asynccontextmanager
async def at_work(*replicas: SharedAuthority, leads: SharedAuthority) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each.follow()) for each in replicas]
        tasks.append(group.create_task(leads.run(FOREVER)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


def tls_secret(name: str, certificate: bytes, key: bytes) -> Document:
    files = {"tls.crt": certificate, "tls.key": key, "ca.crt": b"the company's"}
    data = {each: base64.b64encode(content).decode() for each, content in files.items()}
    meta = {"name": name, "namespace": SYSTEM}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/tls", "data": data}


async def test_replicas_that_start_together_have_one_root(server: FakeApiServer, api: Api) -> None:
    replicas = [SharedAuthority(api, QUICK) for _ in range(5)]
    roots = {each.roots_pem for each in await asyncio.gather(*(each.load() for each in replicas))}
    assert len(roots) == 1
    (again,) = roots
    assert (await SharedAuthority(api, QUICK).load()).roots_pem == again
    assert len([each for each in server.requests if each.startswith("POST") and "/secrets" in each]) >= 1


async def test_a_secret_that_is_there_and_empty_is_filled(server: FakeApiServer, api: Api) -> None:
    """As a chart may bring it, so that no right to create Secrets is needed."""
    meta = {"name": NAME, "namespace": SYSTEM, "labels": {"from": "chart"}}
    await api.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "metadata": meta})
    authority = await SharedAuthority(api, QUICK).load()
    assert authority.roots_pem.count(b"BEGIN CERTIFICATE") == 1
    assert server.objects[KEY]["metadata"]["labels"] == {"from": "chart"}


async def test_a_damaged_secret_is_an_error_and_not_replaced(server: FakeApiServer, api: Api) -> None:
    await SharedAuthority(api, QUICK).load()
    server.objects[KEY]["data"]["authority.pem"] = base64.b64encode(b"nonsense").decode()
    with pytest.raises(AuthorityProblem, match="delete it"):
        await SharedAuthority(api, QUICK).load()


async def test_a_rotation_goes_through_all_replicas_and_leaves_nobody_without_a_root(
    server: FakeApiServer, api: Api
) -> None:
    clock = Clock()
    told: list[int] = []
    leader = SharedAuthority(api, QUICK, lambda: told.append(1), clock)
    other = SharedAuthority(api, QUICK, lambda: told.append(2), clock)
    first = (await leader.load()).roots_pem
    await other.load()
    before = other.authority.client("a/b")
    async with at_work(other, leads=leader):
        clock.now += dt.timedelta(days=20)
        await until(lambda: other.authority.rotating, "a next root, known to the other replica")
        both = other.authority.roots_pem
        assert first in both
        assert both.count(b"BEGIN CERTIFICATE") == 2
        assert not other.authority.retiring, "the old root signs on"
        clock.now += QUICK.spread
        await until(lambda: other.authority.retiring, "the new one signs")
        assert not other.authority.rotating
        assert first in other.authority.roots_pem
        clock.now += QUICK.leaf_lifetime + QUICK.spread
        await until(lambda: not other.authority.retiring, "the old one is trusted no longer")
        assert first not in other.authority.roots_pem
        assert leader.authority.roots_pem == other.authority.roots_pem
    assert before.not_after < clock.now
    assert told.count(1) == told.count(2) == 3


async def test_deleted_by_hand_it_comes_back_as_it_was(server: FakeApiServer, api: Api) -> None:
    leader = SharedAuthority(api, QUICK)
    roots = (await leader.load()).roots_pem
    async with at_work(leads=leader):
        await api.delete(SECRETS, SYSTEM, NAME)
        await until(lambda: KEY in server.objects, "back")
    assert (await SharedAuthority(api, QUICK).load()).roots_pem == roots


async def test_one_that_ran_out_while_nobody_looked_is_made_anew(server: FakeApiServer, api: Api) -> None:
    clock = Clock()
    old = (await SharedAuthority(api, QUICK, clock=clock).load()).roots_pem
    clock.now += QUICK.root_lifetime + dt.timedelta(days=1)
    anew = await asyncio.gather(*(SharedAuthority(api, QUICK, clock=clock).load() for _ in range(3)))
    (roots,) = {each.roots_pem for each in anew}
    assert roots != old
    assert anew[0].server().not_after > clock.now


async def test_what_was_read_before_a_step_is_not_taken_in_after_it(server: FakeApiServer, api: Api) -> None:
    clock, told = Clock(), list[bytes]()
    one = SharedAuthority(api, QUICK, lambda: told.append(one.authority.roots_pem), clock)
    await one.load()
    async with at_work(one, leads=one):
        clock.now += dt.timedelta(days=20)
        await until(lambda: one.authority.rotating, "a next root")
        count = len(server.requests)
        await until(lambda: len(server.requests) > count + 20, "looked at again and again")
    assert len(told) == 1


@pytest.mark.parametrize("rsa_key", [False, True])
async def test_somebody_elses_ca(server: FakeApiServer, api: Api, rsa_key: bool) -> None:
    clock = Clock()
    keeping = Keeping(SYSTEM, "issued", poll=0.02)
    authority = SharedAuthority(api, keeping, clock=clock)
    loading = asyncio.create_task(authority.load())
    await until(lambda: len([each for each in server.requests if "/issued" in each]) > 1, "waits for it")
    first = issued_ca("one", rsa_key=rsa_key)
    given = tls_secret("issued", *first)
    await api.create(SECRETS, given)
    await asyncio.wait_for(loading, 10)
    assert authority.authority.roots_pem == first[0], "what signs is what is trusted, and nothing above it"
    async with at_work(leads=authority):
        second = issued_ca("two", rsa_key=rsa_key)
        current = await api.get(SECRETS, SYSTEM, "issued")
        await api.replace(SECRETS, {**current, "data": tls_secret("issued", *second)["data"]})
        await until(lambda: authority.authority.roots_pem == first[0] + second[0], "both are trusted")
        clock.now += keeping.spread
        await until(lambda: authority.authority.roots_pem == second[0] + first[0], "the new one signs")
        clock.now += keeping.leaf_lifetime + keeping.spread
        await until(lambda: authority.authority.roots_pem == second[0], "the old one is gone")
    written = [each for each in server.requests if "/issued" in each and not each.startswith("GET")]
    assert len(written) == 1, "by the test alone"


async def test_a_certificate_that_is_no_cas_is_refused(server: FakeApiServer, api: Api) -> None:
    await api.create(SECRETS, tls_secret("issued", *issued_ca("leaf", is_ca=False)))
    with pytest.raises(AuthorityProblem, match="isCA: true"):
        await SharedAuthority(api, Keeping(SYSTEM, "issued", poll=0.02)).load()
