"""The operator's roles are the least: every right in them is used, and nothing else is asked for.

By what an API server audits while an operator does all that it ever has to do (`harness.staged`). That each of them is missed is
tried in test_missing_rights.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial

import pytest

from harness import rights
from harness.rights import Audited
from harness.staged import (
    MODES,
    Stage,
    audited_server,
    declared,
    gateway,
    gone,
    lease_deleted,
    lease_there,
    matches,
    nothing,
    pods,
    proxied,
    stage,
    upstream,
)
from headgate.infra.endpoints import SERVICE_NAME

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    with audited_server(tmp_path_factory.mktemp("audited") / "one") as found:
        yield found


async def story(stage: Stage) -> None:
    """All that an operator ever has to do, short of rotating its authority."""
    await stage.start()
    assert stage.replica is not None
    await stage.replica.leads()
    await declared(stage)
    for kind in ("deployment", "service", "serviceaccount", "secret", "networkpolicy", "pdb", "hpa"):
        await stage.until(partial(stage.there, kind, "edge-headgate"), f"a {kind}")
    listed = ("get", "endpointslices", f"--selector={SERVICE_NAME}=direct", "--output=name")
    await stage.until(lambda: stage.objects.kubectl(*listed), "the slice of a Service with an address")
    await stage.until(lambda: matches(stage, "upstream", "keyed", "SecretNotFound"), "a status")
    for kind, name in (("retrypolicy", "again"), ("circuitbreaker", "cut"), ("ratelimit", "few"), ("igw", "edge")):
        await stage.until(partial(stage.reason, kind, name), f"a status of {kind}")

    # Somebody deletes the Lease: the replica that leads makes it anew.
    await lease_deleted(stage)
    await stage.until(lambda: lease_there(stage), "the Lease is there again")

    # A proxy, and the pod of another one that nobody hears of.
    envoy = proxied(stage)
    await asyncio.to_thread(stage.stack.enter_context, envoy)
    await stage.until(lambda: matches(stage, "upstream", "plain", "Ready"), "an upstream in force")
    await pods(stage)
    await stage.until(lambda: gone(stage, "pod", "unheard"), "the pod is replaced")
    assert await stage.there("pod", "heard")

    # What is wanted no more goes.
    await stage.objects.apply(upstream("plain", serviceMode="None"))
    await stage.until(lambda: gone(stage, "service", "plain"), "the Service goes")
    await stage.objects.apply(upstream("direct"))
    await stage.until(lambda: nothing(stage.objects.kubectl(*listed)), "the slices go")
    await stage.objects.apply(gateway(stage, scaling={"minReplicas": 1, "maxReplicas": 1}))
    await stage.until(lambda: gone(stage, "hpa", "edge-headgate"), "the autoscaler goes")

    # Mended, broken and mended, and after another start of the operator broken in the same way: one Event, counted.
    await mended(stage)
    await stage.objects.kubectl("delete", "secret", "key")
    await stage.until(lambda: told(stage, 1), "an Event")
    await mended(stage)
    envoy.stop()
    await stage.start("--no-network-policies")
    await stage.replica.leads()
    await asyncio.to_thread(stage.stack.enter_context, proxied(stage))
    await stage.until(lambda: gone(stage, "networkpolicy", "edge-headgate"), "the policy goes")
    await stage.until(lambda: matches(stage, "upstream", "keyed", "Ready"), "in force again")
    await stage.objects.kubectl("delete", "secret", "key")
    await stage.until(lambda: told(stage, 2), "the Event is counted")


async def mended(stage: Stage) -> None:
    """The Secret is there, and what it is for in force."""
    await stage.objects.kubectl("create", "secret", "generic", "key", "--from-literal=token=hush")
    await stage.until(lambda: matches(stage, "upstream", "keyed", "Ready"), "in force")


async def told(stage: Stage, times: int) -> bool:
    """Whether so often that a Secret which was there is gone."""
    events = json.loads(await stage.objects.kubectl("get", "events.events.k8s.io", "--output=json"))["items"]
    mine = [each for each in events if each["reason"] == "SecretNotFound" and "stays in force" in each["note"]]
    return any((each.get("series") or {}).get("count", 1) == times for each in mine)


# For some namespaces only, the most Roles are made; the other two take as long again.
@pytest.mark.parametrize(
    "mode", ["some", *(pytest.param(each, marks=pytest.mark.slow) for each in MODES if each != "some")]
)
async def test_every_right_is_used_and_no_other_is_asked_for(audited: Audited, mode: str) -> None:
    async with stage(audited, mode) as here:
        await story(here)
        calls = audited.calls(here.home)
        refused = {(str(each.right), each.namespace) for each in calls if each.code == 403}
        assert refused == set()
        given, used = rights.granted(here.roles), {each.right for each in calls if each.right.role}
        print(f"{len(given)} rights, {len(calls)} calls")
        assert used - given == set()
        assert {str(each) for each in given - used} == set()
