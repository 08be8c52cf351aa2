"""Each right of the operator's is taken away in turn: what needs it does not come about, and the log says which right it was.

One operator with the roles that the chart makes for some namespaces; where what is tried happens at a start only, it is started
anew. That no right is left over is told by test_rights.py.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import pytest

from harness import rights
from harness.rights import Audited, Right
from harness.staged import (
    Stage,
    audited_server,
    declared,
    keyed,
    lease_deleted,
    ours,
    pods,
    proxied,
    stage,
    upstream,
)

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(1800)]

Deed = Callable[[Stage], Awaitable[object]]
STATUSES = {
    "integrationgateways": "edge",
    "upstreams": "plain",
    "retrypolicies": "again",
    "circuitbreakers": "cut",
    "ratelimits": "few",
}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    with audited_server(tmp_path_factory.mktemp("audited") / "one") as found:
        yield found


async def nothing(_: Stage) -> None:
    """It is done again and again by itself."""


async def started(here: Stage) -> None:
    await here.start()


async def status_lost(here: Stage, *, kind: str) -> None:
    """Somebody writes over a status."""
    patch = json.dumps({"status": {"observedGeneration": 1000 + next(_numbers)}})
    await here.objects.kubectl(
        "patch", kind, STATUSES[kind], "--subresource=status", "--type=merge", f"--patch={patch}"
    )


async def gateway_made(here: Stage) -> None:
    await here.objects.apply(ours("IntegrationGateway", f"edge-{next(_numbers)}", {"listener": {"port": here.port}}))


async def upstream_made(here: Stage) -> None:
    """With a Service of an address of its own."""
    await here.objects.apply(upstream(f"made-{next(_numbers)}", serviceMode="ClusterIP"))


async def keyed_made(here: Stage) -> None:
    """One that wants a Secret and a ConfigMap of its own."""
    spec = json.loads(keyed("keyed"))
    number = next(_numbers)
    spec["metadata"]["name"] = f"keyed-{number}"
    spec["spec"]["credentials"][0]["secretRef"]["name"] = f"key-{number}"
    spec["spec"]["tls"]["validation"]["caCertificateRefs"][0]["name"] = f"ca-{number}"
    await here.objects.apply(json.dumps(spec))


async def service_unwanted(here: Stage) -> None:
    name = f"unwanted-{next(_numbers)}"
    await here.objects.apply(upstream(name, serviceMode="ClusterIP"))
    await here.until(lambda: here.there("service", name), "its Service")
    listed = ("get", "endpointslices", f"--selector=kubernetes.io/service-name={name}", "--output=name")
    await here.until(lambda: here.objects.kubectl(*listed), "its slice")
    await here.objects.apply(upstream(name, serviceMode="None"))


async def scaler_unwanted(here: Stage) -> None:
    name = f"fixed-{next(_numbers)}"
    spec = {"listener": {"port": here.port}}
    await here.objects.apply(ours("IntegrationGateway", name, spec))
    await here.until(lambda: here.there("hpa", f"{name}-headgate"), "its autoscaler")
    fixed = {"minReplicas": 1, "maxReplicas": 1}
    await here.objects.apply(ours("IntegrationGateway", name, {**spec, "scaling": fixed}))


async def policies_unwanted(here: Stage) -> None:
    await here.start("--no-network-policies")


async def pod_of_no_use(here: Stage) -> None:
    await asyncio.to_thread(here.stack.enter_context, proxied(here))
    await pods(here)


async def key_lost(here: Stage) -> None:
    """As once before, under an operator that does not know of it: that is counted."""
    events = await here.objects.kubectl("get", "events.events.k8s.io", "--output=json")
    for _ in range(1 if "stays in force" in events else 2):
        await here.start()
        assert here.replica is not None
        await here.replica.leads()
        await here.objects.kubectl("create", "secret", "generic", "key", "--from-literal=token=x")
        await here.until(lambda: resolved(here, "True"), "it is resolved")
        await here.objects.kubectl("delete", "secret", "key")
        await here.until(lambda: resolved(here, "False"), "it is not")


async def first_declared(here: Stage) -> None:
    """Of all; nothing is kept yet."""
    await here.start()
    assert here.replica is not None
    await here.replica.leads()
    await declared(here)


async def lease_lost(here: Stage) -> None:
    """Whoever runs wants it back."""
    if here.replica is None:
        await here.start()
    await lease_deleted(here)


async def resolved(here: Stage, wanted: str) -> bool:
    return (await here.objects.condition("keyed", "ResolvedRefs"))[0] == wanted


#: By resource and verb, then by resource alone, then by verb alone: what brings about that a right is missed.
DEEDS: dict[tuple[str, str], Deed] = {
    **{(kind, "watch"): started for kind in STATUSES},
    **{(f"{kind}/status", "patch"): partial(status_lost, kind=kind) for kind in STATUSES},
    ("secrets", "update"): started,
    ("secrets", "get"): keyed_made,
    ("configmaps", "get"): keyed_made,
    ("configmaps", "create"): first_declared,
    ("configmaps", "patch"): upstream_made,
    ("events", "create"): keyed_made,
    ("events", ""): key_lost,
    ("leases", "get"): started,
    ("leases", "update"): nothing,
    ("leases", "create"): lease_lost,
    ("namespaces", ""): nothing,
    ("pods", "delete"): pod_of_no_use,
    ("services", "delete"): service_unwanted,
    ("endpointslices", "delete"): service_unwanted,
    ("horizontalpodautoscalers", "delete"): scaler_unwanted,
    ("networkpolicies", "delete"): policies_unwanted,
    ("", "list"): nothing,
    ("", "watch"): nothing,
    **{("endpointslices", verb): upstream_made for verb in ("get", "create", "patch")},
    ("", "get"): gateway_made,
    ("", "create"): gateway_made,
    ("", "patch"): gateway_made,
}


def deed(right: Right) -> Deed:
    """That of the first that fits."""
    for key in ((right.resource, right.verb), (right.resource, ""), ("", right.verb)):
        if key in DEEDS:
            return DEEDS[key]
    raise AssertionError(f"nobody knows what needs {right}")


async def missed(here: Stage, right: Right) -> str:
    """What the log says when it is missing; "" if it says nothing."""
    before = len(here.log)
    await asyncio.to_thread(rights.apply, here.audited.server, *rights.without(here.roles, right))
    try:
        await deed(right)(here)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            lines = here.log[before:].splitlines()
            line = next((each for each in lines if rights.told(each, right)), "")
            if line:
                return line
            await asyncio.sleep(0.1)
        return ""
    finally:
        await asyncio.to_thread(rights.apply, here.audited.server, *here.roles)


#: What happens once only comes first: the authority is made, and then the first of all last good versions is kept.
FIRST = (("secrets", "update"), ("configmaps", "create"))


#: After it the operator wants no NetworkPolicies any more.
LAST = ("networkpolicies", "delete")


def order(right: Right) -> tuple[bool, ...]:
    own, which = right.role == "headgate-operator-own", (right.resource, right.verb)
    return (*(not (own and which == each) for each in FIRST), which == LAST)


async def test_each_right_that_is_missing_is_told(audited: Audited) -> None:
    async with stage(audited, "some") as here:
        silent = []
        for right in sorted(sorted(rights.granted(here.roles)), key=order):
            began = time.monotonic()
            line = await missed(here, right)
            event = json.loads(line)["event"] if line.startswith("{") else line
            print(f"{time.monotonic() - began:5.1f} s  {right}: {event}")
            if not line:
                silent.append(str(right))
        assert silent == []
