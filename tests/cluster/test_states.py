"""`kubectl get upstreams` is right in every state that can be brought about, says since when, and says nothing when it is mended.

`headgate operator` as processes on a real API server with the chart's own roles, real Envoys as proxies, providers that this test
runs. All states stand beside each other in one table, as they would at three in the morning; then all are mended. What takes
pods to bring about is in test_pods.py.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cluster import ApiServer
from harness import hooked, rights
from harness.envoy import Envoy, short_directory
from harness.gateway import Gateway
from harness.operated import Objects, Provider, Replica, proxy
from harness.ports import free_port
from harness.rights import Right
from headgate.simulate.behaviours import Gate, respond
from headgate.simulate.server import FakeServer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

Document = dict[str, Any]
Row = dict[str, str]
AGE = re.compile(r"^(\d+[smh])+$")
PROBED: Document = {"probe": {"path": "/up", "interval": "10s"}}


def rows(table: str) -> dict[str, Row]:
    """A table of kubectl's by name: columns begin where their heads do."""
    head, *lines = table.splitlines()
    names = [(found.group().strip(), found.start()) for found in re.finditer(r"\S+(?: \S+)*", head)]
    ends = [start for _, start in names[1:]] + [None]
    every = [{name: line[start:end].strip() for (name, start), end in zip(names, ends, strict=True)} for line in lines]
    return {each["NAME"]: each for each in every}


def ours(kind: str, name: str, spec: Document, namespace: str = "") -> Document:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "headgate.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def secret(name: str, **values: str) -> Document:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}


def keyed(name: str, **more: Any) -> Document:
    """Spec of an upstream that takes a key."""
    location = {"header": {"name": "authorization", "prefix": "Bearer "}}
    return {"credentials": [{"name": "key", "secretRef": {"name": name, "key": "token"}, "location": location}], **more}


@dataclass
class World:
    """Namespaces with an operator, gateways and their proxies, and providers that do as they are told."""

    server: ApiServer
    directory: Path
    stack: ExitStack
    home: str
    shop: Objects
    locked: Objects
    roles: list[Document]
    kubeconfig: Path
    sound: FakeServer
    broken: FakeServer
    paused: FakeServer
    choosy: Provider
    replica: Replica | None = None
    ports: dict[str, int] = field(default_factory=lambda: {name: free_port() for name in ("edge", "lonely", "closed")})

    def operator(self, name: str = "one", *more: str) -> Replica:
        only = [f"--namespace={each.namespace}" for each in (self.shop, self.locked)]
        usual = (self.kubeconfig, self.directory, self.home)
        return Replica(*usual, "--relist=4s", *only, *more, name=name, command=hooked.command())

    def envoy(self, gateway: str) -> Envoy:
        assert self.replica is not None
        key = f"{self.locked.namespace if gateway == 'closed' else self.shop.namespace}/{gateway}"
        return proxy(self.server, self.directory, key, self.replica, name=gateway, namespace=self.home)

    def gateway(self, name: str, namespace: str = "") -> Document:
        spec = {"listener": {"port": self.ports[name]}, "egress": {"allowedCIDRs": ["127.0.0.0/8"]}}
        return ours("IntegrationGateway", name, spec, namespace)

    def upstream(self, name: str, to: int | None = None, **more: Any) -> Document:
        spec = {
            "gatewayRef": {"name": "edge"},
            "hostname": "127.0.0.1",
            "port": to or self.sound.port,
            "tls": {"mode": "None"},
            "probe": {"disabled": True},
            **more,
        }
        return ours("UpstreamService", name, {key: each for key, each in spec.items() if each is not None})

    async def apply(self, *documents: Document, to: Objects | None = None) -> None:
        whole = {"apiVersion": "v1", "kind": "List", "items": list(documents)}
        await (to or self.shop).apply(json.dumps(whole))

    async def call(self, name: str) -> int:
        """Through the gateway `edge`."""
        port, namespace = self.ports["edge"], self.shop.namespace

        def send() -> int:
            gateway = Gateway(port)
            try:
                return gateway.call(name, namespace=namespace).status_code
            finally:
                gateway.close()

        return await asyncio.to_thread(send)

    async def table(self, what: str = "upstreams", of: Objects | None = None) -> str:
        return await (of or self.shop).kubectl("get", what)

    async def row(self, name: str, what: str = "upstreams", of: Objects | None = None) -> Row:
        return rows(await self.table(what, of)).get(name, {})

    async def since(self, name: str, what: str = "upstream", of: Objects | None = None) -> datetime | None:
        text = (await (of or self.shop).get(what, name)).get("status", {}).get("since")
        return datetime.fromisoformat(text) if text else None

    async def comes_to(
        self, name: str, *, what: str = "upstreams", of: Objects | None = None, calling: bool = False, **wanted: str
    ) -> Row:
        """Wait until a row's columns are these, `calling` it meanwhile; REASON and SINCE are both there or neither is."""

        async def shown() -> bool:
            if calling:
                await self.call(name)
            found = await self.row(name, what, of)
            return all(found.get(column) == value for column, value in wanted.items())

        try:
            await eventually(shown)
        except TimeoutError:
            whole = await (of or self.shop).get(what, name)
            conditions = json.dumps(whole.get("status", {}), indent=1)
            raise AssertionError(f"{name} is not {wanted}:\n{await self.table(what, of)}\n{conditions}") from None
        found = await self.row(name, what, of)
        assert bool(found["REASON"]) == bool(found["SINCE"]), found
        assert not found["SINCE"] or AGE.match(found["SINCE"]), found
        return found


async def eventually(holds: Callable[[], Awaitable[bool]], patience: float = 40.0) -> None:
    async with asyncio.timeout(patience):
        while not await holds():  # noqa: ASYNC110 - kubectl tells no events
            await asyncio.sleep(0.2)


@pytest.fixture
async def world(api_server: ApiServer) -> AsyncIterator[World]:
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        mark = secrets.token_hex(3)
        home, shop, locked = f"home-{mark}", f"shop-{mark}", f"locked-{mark}"
        for name in (home, shop, locked):
            rights.apply(api_server, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        roles = rights.roles(f'namespaces=["{shop}","{locked}"]', namespace=home)
        meta = {"name": "headgate-operator", "namespace": home}
        lease: Document = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta}
        rights.apply(api_server, *roles, lease)
        found = World(
            api_server,
            directory,
            stack,
            home,
            Objects(api_server, shop),
            Objects(api_server, locked),
            roles,
            rights.account(api_server, home, directory),
            stack.enter_context(FakeServer(default=respond(200))),
            stack.enter_context(FakeServer(default=respond(503))),
            stack.enter_context(FakeServer(default=respond(540))),
            stack.enter_context(Provider("good")),
        )
        yield found
        for each in (shop, locked, home):
            api_server.kubectl("delete", "namespace", each, "--wait=false")


def forbidden(world: World) -> list[Document]:
    """The roles in the locked namespace without the right to read a Secret."""
    there = [each for each in world.roles if each["metadata"]["namespace"] == world.locked.namespace]
    return rights.without(there, Right("headgate-operator-data", "", "secrets", "get"))


#: READY, HEALTH, CIRCUIT and REASON in the end.
STATES = {
    "no-secret": ("False", "Unknown", "", "SecretNotFound"),
    "no-key": ("False", "Unknown", "", "SecretKeyNotFound"),
    "no-gateway": ("False", "Unknown", "", "GatewayNotFound"),
    "no-default": ("False", "Unknown", "", "GatewayNotFound"),
    "not-allowed": ("False", "Unknown", "", "NotAllowedByGateway"),
    "no-proxy": ("Unknown", "Unknown", "", "NoProxyConnected"),
    "address": ("False", "Unknown", "", "ForbiddenAddress"),
    "nack": ("False", "Unknown", "", "RejectedByProxy"),
    "unrendered": ("False", "Unknown", "", "RenderFailed"),
    "taken": ("False", "Unknown", "", "ServiceNameTaken"),
    "down": ("True", "Degraded", "", "ConnectFailure"),
    "down-probed": ("True", "Unhealthy", "", "ConnectFailure"),
    "cut": ("True", "Unhealthy", "Open 1/1", "Status503"),
    "rejected": ("True", "Unhealthy", "", "CredentialRejected"),
    "paused": ("True", "Unhealthy", "", "ProjectPaused"),
}


async def test_every_state_beside_the_others(world: World) -> None:
    rights.apply(world.server, *forbidden(world))
    world.replica, second = world.operator("one"), world.operator("two")
    world.replica.others, second.others = (second,), (world.replica,)
    await world.stack.enter_context(world.replica).leads()
    await world.stack.enter_context(second).ready()
    began = datetime.now(UTC) - timedelta(seconds=1)
    await world.apply(world.gateway("edge"), world.gateway("lonely"))
    await world.apply(world.gateway("closed"), to=world.locked)
    world.stack.enter_context(world.envoy("edge"))
    world.stack.enter_context(world.envoy("closed"))
    await brought_about(world)
    problems = await told(world, began)
    print(f"\n{await world.table()}")
    print(await world.table(of=world.locked))
    print(await world.table("circuitbreakers"))
    print(await world.table("integrationgateways"))
    assert problems == []
    await on_trial(world)
    await mended(world)
    print(await world.table())
    await unheard(world, second)


async def brought_about(world: World) -> None:
    theirs = {"type": "ExternalName", "externalName": "elsewhere.example"}
    closed = {"name": "closed", "namespace": world.locked.namespace}
    silent = free_port()
    await world.apply(
        secret("other", other="x"),
        secret("bad", token="bad"),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken"}, "spec": theirs},
        world.upstream("sound"),
        world.upstream("no-secret", **keyed("none")),
        world.upstream("no-key", **keyed("other")),
        world.upstream("no-gateway", gatewayRef={"name": "none"}),
        world.upstream("no-default", gatewayRef=None),
        world.upstream("not-allowed", gatewayRef=closed),
        world.upstream("no-proxy", gatewayRef={"name": "lonely"}),
        world.upstream("address", hostname="10.0.0.1"),
        world.upstream("nack", headers=spoilt("cluster")),
        world.upstream("unrendered", headers=spoilt("rendering")),
        world.upstream("taken"),
        world.upstream("down", silent),
        world.upstream("down-probed", silent, **PROBED),
        world.upstream("cut", world.broken.port),
        ours("CircuitBreaker", "cut", breaker("cut", breakDuration="3s")),
        world.upstream("rejected", world.choosy.port, **keyed("bad", **PROBED)),
        world.upstream("paused", world.paused.port, provider="supabase", **keyed("bad"), probe={"interval": "10s"}),
        ours("CircuitBreaker", "first", breaker("sound")),
    )
    await world.apply(world.upstream("forbidden", **keyed("key"), gatewayRef={"name": "closed"}), to=world.locked)
    await world.apply(secret("key", token="x"), to=world.locked)
    await world.comes_to("sound", READY="True", CIRCUIT="Closed", REASON="")
    # The oldest wins, and the API server counts in seconds.
    await asyncio.sleep(1.1)
    await world.apply(ours("CircuitBreaker", "second", breaker("sound")))
    await world.comes_to("cut", READY="True", CIRCUIT="Closed", REASON="")
    for name in ("down", "cut") * 4:
        assert await world.call(name) == 503


async def told(world: World, began: datetime) -> list[str]:
    """What is not as it should be."""
    problems = []

    async def look(name: str, *, what: str = "upstreams", of: Objects | None = None, **wanted: Any) -> None:
        try:
            await world.comes_to(name, what=what, of=of, **wanted)
            since = await world.since(name, what, of)
            assert since is not None
            assert began <= since <= datetime.now(UTC), f"{name}: since {since}"
        except AssertionError as problem:
            problems.append(str(problem))

    for name, (ready, health, circuit, reason) in STATES.items():
        await look(name, READY=ready, HEALTH=health, CIRCUIT=circuit, REASON=reason)
    await look("forbidden", of=world.locked, READY="False", REASON="SecretForbidden")
    await look("second", what="circuitbreakers", ACCEPTED="False", PROGRAMMED="False", REASON="Conflicted")
    await look("lonely", what="integrationgateways", READY="Unknown", PROXIES="0", REASON="NoProxyConnected")
    await world.comes_to("first", what="circuitbreakers", ACCEPTED="True", PROGRAMMED="True", REASON="")
    await world.comes_to("sound", READY="True", CIRCUIT="Closed", REASON="")
    return problems


async def on_trial(world: World) -> None:
    """The breaker lets one call through, which takes its time; then it is closed."""
    since = await world.since("cut")
    gate = Gate(respond(200))
    world.broken.default(gate)

    async def let_through() -> bool:
        return await world.call("cut") == 200

    trial = asyncio.create_task(eventually(let_through))
    await asyncio.to_thread(gate.wait_held, 1)
    # What the proxy says of it comes with other calls, which are refused.
    found = await world.comes_to("cut", calling=True, READY="True", HEALTH="Degraded", CIRCUIT="HalfOpen 1/1")
    print(found)
    assert found["REASON"] == "Status503"
    assert await world.since("cut") != since
    gate.open()
    await trial
    await world.comes_to("cut", calling=True, READY="True", HEALTH="Healthy", CIRCUIT="Closed", REASON="")


async def mended(world: World) -> None:
    """Each by what its message says; REASON and SINCE are empty then."""
    rights.apply(world.server, *world.roles)
    world.paused.default(respond(200))
    edge, closed = world.gateway("edge"), world.gateway("closed")
    edge["spec"]["default"], closed["spec"]["allowedNamespaces"] = True, {"from": "All"}
    await world.apply(closed, to=world.locked)
    await world.shop.kubectl("delete", "service/taken", "circuitbreaker/first")
    await world.apply(
        edge,
        secret("none", token="x"),
        secret("other", token="x"),
        secret("bad", token="good"),
        world.upstream("no-gateway"),
        world.upstream("address"),
        world.upstream("nack"),
        world.upstream("unrendered"),
        world.upstream("down"),
        world.upstream("down-probed", **PROBED),
    )
    world.stack.enter_context(world.envoy("lonely"))
    await world.comes_to("down", calling=True, READY="True", HEALTH="Healthy")
    for name in STATES:
        await world.comes_to(name, READY="True", REASON="", SINCE="")
        assert await world.since(name) is None
    await world.comes_to("forbidden", of=world.locked, READY="True", REASON="", SINCE="")
    await world.comes_to("second", what="circuitbreakers", ACCEPTED="True", PROGRAMMED="True", REASON="", SINCE="")
    await world.comes_to("lonely", what="integrationgateways", READY="True", PROXIES="1", REASON="", SINCE="")


async def unheard(world: World, second: Replica) -> None:
    """Whether the proxies of a replica that does not answer have taken anything is not known; then it answers again."""
    second.signal(signal.SIGSTOP)
    try:
        for name in ("sound", "no-proxy"):
            await world.comes_to(name, READY="Unknown", REASON="ReplicaUnreachable")
        await world.comes_to("edge", what="integrationgateways", READY="Unknown", REASON="ReplicaUnreachable")
        print(await world.table())
    finally:
        second.signal(signal.SIGCONT)
    for name in ("sound", "no-proxy"):
        await world.comes_to(name, READY="True", REASON="", SINCE="")


def breaker(name: str, **more: Any) -> Document:
    target = {"group": "headgate.dev", "kind": "UpstreamService", "name": name}
    return {"targetRefs": [target], "consecutiveFailures": 3, "breakDuration": "60s", **more}


def spoilt(what: str) -> Document:
    """Headers by which `harness.hooked` knows what to spoil."""
    return {"request": {"set": [{"name": hooked.SPOIL, "value": what}]}}
