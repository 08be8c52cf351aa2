"""What a cluster's users are told: Events on what happens, what probes find and one leader hands to the next, and Secrets that
may not be read. Processes on a real API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from cluster import ApiServer
from harness import applied
from harness.envoy import short_directory
from harness.operated import Objects, Provider, Replica, home

pytestmark = pytest.mark.cluster


def upstream(name: str, port: int, hostname: str = "127.0.0.1", secret: str = "key", interval: str = "10s") -> str:
    return applied.upstream(name, port, hostname, secret=secret, probe={"path": "/up", "interval": interval})


@pytest.fixture
def objects(api_server: ApiServer) -> Objects:
    return home(api_server)


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as found:
        yield found


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    with Provider("good") as found:
        yield found


async def eventually(what: str, holds: Callable[[], Awaitable[bool]], patience: float = 40.0) -> None:
    try:
        async with asyncio.timeout(patience):
            while not await holds():  # noqa: ASYNC110 - kubectl tells no events
                await asyncio.sleep(0.3)
    except TimeoutError:
        raise AssertionError(f"not within {patience} s: {what}") from None


@pytest.mark.slow
async def test_a_verdict_is_told_and_handed_on(
    api_server: ApiServer, objects: Objects, directory: Path, provider: Provider
) -> None:
    first = Replica(api_server.kubeconfig, directory, objects.namespace)
    second = Replica(api_server.kubeconfig, directory, objects.namespace, name="two")
    first.others, second.others = (second,), (first,)
    with first, second:
        await first.ready()
        await second.ready()
        # Asked once an hour: what is told later than at once was handed on.
        world = applied.gateway() + applied.key("bad") + applied.key("good", "right")
        await objects.apply(
            world
            + upstream("refused", provider.port, interval="1h")
            + upstream("taken", provider.port, secret="right", interval="1h")
        )
        message = await objects.comes_to("refused", "Healthy", lambda found: found[1] == "CredentialRejected")
        await objects.comes_to("taken", "Healthy", lambda found: found[0] == "True")
        assert provider.probes == 2, "one replica asks"
        listed = await objects.kubectl("get", "upstreams")
        print(listed)
        assert "CredentialRejected" in message or "refuses the key" in message
        leader, follower = (first, second) if first.leading else (second, first)
        leader.kill()
        await follower.leads()
        asked = provider.probes
        # The next leader tells the same, and does not ask for it.
        await objects.apply(upstream("late", provider.port, secret="right", interval="1h"))
        await objects.comes_to("late", "Healthy", lambda found: found[0] == "True")
        assert await objects.condition("refused", "Healthy") == ("False", "CredentialRejected", message)
        assert provider.probes - asked <= 1, "`late` alone, which has the key of `taken`"
        # It goes on: another key is asked about at once.
        await objects.apply(applied.key("good"))
        await objects.comes_to("refused", "Healthy", lambda found: found[0] == "True")
        told = [reason for _, reason, _ in await objects.events("refused")]
        assert told.count("CredentialRejected") == 1, "and it is told once"
        assert told[-1] == "Healthy"


async def test_events_tell_what_happens(
    api_server: ApiServer, objects: Objects, directory: Path, provider: Provider
) -> None:
    operator = Replica(api_server.kubeconfig, directory, objects.namespace)
    with operator:
        await operator.ready()
        await objects.apply(applied.gateway() + applied.key("bad") + upstream("billing", provider.port))
        await objects.comes_to("billing", "Healthy", lambda found: found[1] == "CredentialRejected")
        await objects.apply(upstream("billing", provider.port, hostname="169.254.169.254"))

        async def told(*reasons: str) -> bool:
            return set(reasons) <= {reason for _, reason, _ in await objects.events("billing")}

        await eventually("both are told", lambda: told("CredentialRejected", "ForbiddenAddress"))
        described = await objects.kubectl("describe", "upstream", "billing")
        print(described[described.index("Events:") :])
        print(await objects.kubectl("get", "events"))
        assert "ForbiddenAddress" in described[described.index("Events:") :]
        for line in (await objects.kubectl("get", "events")).splitlines():
            if "ForbiddenAddress" in line:
                assert "Warning" in line
                assert "upstreamservice/billing" in line
        before = await objects.events("billing")
        operator.stop()
        operator.start()
        await operator.ready()
        await operator.leads()
        await objects.apply(upstream("other", provider.port, secret="missing"))
        await eventually("the other's", lambda: _tells(objects, "other", "SecretNotFound"))
        assert await objects.events("billing") == before, "a restart tells nothing that was so already"


async def _tells(objects: Objects, name: str, reason: str) -> bool:
    return reason in {each for _, each, _ in await objects.events(name)}


READER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: operator}
rules:
  - {apiGroups: [headgate.dev], resources: ["*"], verbs: ["*"]}
  - {apiGroups: [""], resources: [configmaps, services, serviceaccounts, pods], verbs: ["*"]}
  - {apiGroups: [""], resources: [secrets], verbs: [list, watch, create, update, patch]}
  - {apiGroups: [""], resources: [secrets], resourceNames: [headgate-ca], verbs: [get]}
  - {apiGroups: [apps, autoscaling, policy, networking.k8s.io], resources: ["*"], verbs: ["*"]}
  - {apiGroups: [coordination.k8s.io, events.k8s.io, discovery.k8s.io], resources: ["*"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: operator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: operator}
subjects: [{kind: ServiceAccount, name: operator}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: operator}
"""
MORE = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: secrets}
rules: [{apiGroups: [""], resources: [secrets], verbs: [get]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: secrets}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: secrets}
subjects: [{kind: ServiceAccount, name: operator}]
"""


async def as_account(server: ApiServer, objects: Objects, directory: Path) -> Path:
    """A kubeconfig of the ServiceAccount `operator`."""
    token = (await objects.kubectl("create", "token", "operator")).strip()
    whole = json.loads(server.kubeconfig.read_text("utf-8"))
    whole["users"][0]["user"] = {"token": token}
    path = directory / "account"
    path.touch(mode=0o600)
    path.write_text(json.dumps(whole), "utf-8")
    return path


async def test_a_secret_that_may_not_be_read(
    api_server: ApiServer, objects: Objects, directory: Path, provider: Provider
) -> None:
    await objects.apply(READER)
    account = await as_account(api_server, objects, directory)
    await objects.apply(applied.gateway() + applied.key("good") + upstream("billing", provider.port))
    with Replica(account, directory, objects.namespace, "--relist=5s") as operator:
        await operator.ready()
        message = await objects.comes_to("billing", "ResolvedRefs", lambda found: found[1] == "SecretForbidden")
        print("what may not be read:", message)
        assert "may not be read" in message
        assert "Forbidden" in message or "forbidden" in message
        await objects.apply(MORE)
        await objects.comes_to("billing", "ResolvedRefs", lambda found: found[0] == "True")
        await objects.comes_to("billing", "Healthy", lambda found: found[0] == "True")
        assert "good" not in message


async def test_a_namespace_whose_secrets_are_not_to_be_read(
    api_server: ApiServer, objects: Objects, directory: Path, provider: Provider
) -> None:
    await objects.apply(applied.gateway() + applied.key("good") + upstream("billing", provider.port))
    with Replica(api_server.kubeconfig, directory, objects.namespace, "--secrets-namespace=default") as operator:
        await operator.ready()
        message = await objects.comes_to("billing", "ResolvedRefs", lambda found: found[1] == "SecretForbidden")
        assert "not to be read" in message
