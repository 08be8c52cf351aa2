"""A folder with a thousand upstreams: what starting costs, and that an edit costs what it touches."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import yaml

from harness import hooked
from harness.headgate import Headgate
from harness.space import GATEWAY
from headgate.simulate.server import FakeServer
from headgate.standalone import admin
from headgate.standalone.state import StateDirectory

pytestmark = pytest.mark.serial

COUNT = 1000
PER_NAMESPACE = 100
EDITED = 567
BREAKER = """
apiVersion: headgate.dev/v1alpha1
kind: CircuitBreaker
metadata: {{name: cut, namespace: {namespace}}}
spec: {{targetSelectors: [{{kind: UpstreamService, matchLabels: {{cut: "yes"}}}}], consecutiveFailures: 5}}
---
apiVersion: headgate.dev/v1alpha1
kind: RateLimit
metadata: {{name: budget, namespace: {namespace}}}
spec:
  targetSelectors: [{{kind: UpstreamService, matchLabels: {{cut: "yes"}}}}]
  rules: [{{name: calls, limit: {{requests: 1000, interval: 1s}}}}]
"""
RETRIES = """
apiVersion: headgate.dev/v1alpha1
kind: RetryPolicy
metadata: {{name: again, namespace: {namespace}}}
spec: {{targetRefs: [{{kind: UpstreamService, name: {name}}}], attempts: {attempts}}}
"""


def place(number: int) -> tuple[str, str]:
    """Namespace and name of an upstream."""
    return f"team-{number // PER_NAMESPACE}", f"api-{number}"


def key(number: int) -> str:
    return "/".join(place(number))


def manifests(number: int, port: int, revision: str = "1") -> str:
    """An upstream with two sections, and the Secret with its credential."""
    namespace, name = place(number)
    metadata = {"name": name, "namespace": namespace, "labels": {"cut": "yes"}}
    spec = {
        "hostname": "127.0.0.1",
        "port": port,
        "tls": {"mode": "None"},
        "credentials": [
            {"name": "key", "secretRef": {"name": name, "key": "key"}, "location": {"header": {"name": "x-key"}}}
        ],
        "headers": {"request": {"set": [{"name": "x-revision", "value": revision}]}},
        "sections": [{"name": "reports", "matches": [{"pathPrefix": "/reports"}]}],
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}}
    upstream = {"apiVersion": "headgate.dev/v1alpha1", "kind": "UpstreamService", "metadata": metadata, "spec": spec}
    return yaml.dump_all([{**secret, "stringData": {"key": f"key-{number}"}}, upstream], Dumper=yaml.CSafeDumper)


@dataclass(frozen=True, slots=True)
class Sent:
    """One response of the xDS server, as it logs it."""

    type: str
    resources: list[str]
    removed: list[str]
    bytes: int


@dataclass(slots=True)
class World:
    """The run, and what is to be measured of it."""

    headgate: Headgate
    provider: FakeServer
    seconds: float

    def log_size(self) -> int:
        return len(self.headgate.log())

    def sent(self, offset: int = 0) -> list[Sent]:
        """What was sent since the log had this length."""
        events = [json.loads(line) for line in self.headgate.log()[offset:].splitlines() if line.startswith("{")]
        return [
            Sent(event["type"], event["resources"], event["removed"], event["bytes"])
            for event in events
            if event.get("event") == "xds.sent"
        ]

    def counts(self) -> dict[str, int]:
        """Compiles and renderings of single upstreams so far."""
        return hooked.counts(self.headgate.log())[-1]

    def received(self) -> int:
        """Bytes that Envoy itself has received over its connections to the xDS server, TLS and all."""
        socket = StateDirectory(self.headgate.state).admin_socket("platform/shared")
        return asyncio.run(admin.gauge(socket, "^cluster[.]headgate_xds_[0-9]+[.]upstream_cx_rx_bytes_total$"))

    def revision(self, number: int) -> str:
        """What an upstream puts into the header now."""
        headers = self.received_headers(number)
        assert headers["x-key"] == f"key-{number}"
        return headers["x-revision"]

    def received_headers(self, number: int) -> dict[str, str]:
        """What the provider is sent when this upstream is called."""
        namespace, name = place(number)
        response = self.headgate.call(name, namespace=namespace)
        assert response.status_code == 200
        return {str(header): str(value) for header, value in response.json()["headers"]}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with FakeServer() as provider:
        files = {"gateway": GATEWAY}
        files |= {f"policies-{n}": BREAKER.format(namespace=f"team-{n}") for n in range(COUNT // PER_NAMESPACE)}
        files |= {f"api-{number}": manifests(number, provider.port) for number in range(COUNT)}
        headgate = Headgate(
            tmp_path_factory.mktemp("headgate"),
            files=files,
            arguments=["--log-level", "debug"],
            command=hooked.command(),
            environment=hooked.environment(),
        )
        begun = time.monotonic()
        with headgate:
            yield World(headgate, provider, time.monotonic() - begun)


def wait_until(condition: Callable[[], bool], what: str, within: float = 10.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not {what} within {within} s"
        time.sleep(0.02)


def wait_ready(world: World, number: int) -> None:
    namespace, name = place(number)
    world.headgate.wait_ready(name, namespace=namespace)


def test_all_of_them_are_served(world: World) -> None:
    sent = sum(each.bytes for each in world.sent())
    print(f"{COUNT} upstreams of two sections: ready after {world.seconds:.1f} s, {sent:,} bytes sent")
    assert world.seconds < 60
    assert world.counts()["compiled"] == world.counts()["rendered"] == COUNT
    ready = [
        condition["status"]
        for upstream in world.headgate.objects("UpstreamService")
        for condition in upstream["status"]["conditions"]
        if condition["type"] == "Ready"
    ]
    assert ready == ["True"] * COUNT
    for number in (0, EDITED, COUNT - 1):
        assert world.revision(number) == "1"
    # What Envoy has received is what the server says it has sent, and a little for TLS and HTTP/2.
    assert sent <= world.received() < 1.1 * sent + 100_000


def test_an_edit_sends_one_resource_and_compiles_one_upstream(world: World) -> None:
    _, name = place(EDITED)
    offset, counts, received = world.log_size(), world.counts(), world.received()
    begun = time.monotonic()
    world.headgate.apply(name, manifests(EDITED, world.provider.port, "2"))
    wait_ready(world, EDITED)
    print(f"an edit is in force, and said to be, after {time.monotonic() - begun:.2f} s")
    assert world.revision(EDITED) == "2"
    (only,) = world.sent(offset)
    assert (only.type, only.resources, only.removed) == ("ROUTE", [key(EDITED)], [])
    assert only.bytes < 8_000
    assert world.received() - received < 16_000
    assert world.counts() == {field: count + 1 for field, count in counts.items()}


def test_an_edit_of_an_address_sends_that_upstreams_clusters(world: World) -> None:
    _, name = place(EDITED)
    with FakeServer() as moved:
        offset, counts = world.log_size(), world.counts()
        world.headgate.apply(name, manifests(EDITED, moved.port, "2"))
        wait_ready(world, EDITED)
        assert world.revision(EDITED) == "2"
        assert len(moved.requests) == 1
        sent = world.sent(offset)
        assert {name for each in sent for name in each.resources} == {
            key(EDITED),
            f"{key(EDITED)}/default",
            f"{key(EDITED)}/reports",
        }
        assert {each.type for each in sent} == {"CLUSTER", "ROUTE"}
        assert not [each.removed for each in sent if each.removed]
        assert sum(each.bytes for each in sent) < 40_000
        assert world.counts() == {field: count + 1 for field, count in counts.items()}
        world.headgate.apply(name, manifests(EDITED, world.provider.port, "2"))
        wait_ready(world, EDITED)


def test_a_policy_of_one_upstream_costs_one_compile(world: World) -> None:
    namespace, name = place(EDITED)
    for attempts in (1, 3):
        offset, counts = world.log_size(), world.counts()
        world.headgate.apply("retries", RETRIES.format(namespace=namespace, name=name, attempts=attempts))
        world.headgate.wait_condition("RetryPolicy", "again", "Ready", namespace=namespace)
        assert world.counts() == {field: count + 1 for field, count in counts.items()}
        sent = world.sent(offset)
        # The first policy brings the upstream the filter that decides about retries; a changed one changes routes only.
        assert {each.type for each in sent} <= ({"CLUSTER", "ROUTE"} if attempts == 1 else {"ROUTE"})
        assert {found for each in sent for found in each.resources} <= {
            key(EDITED),
            f"{key(EDITED)}/default",
            f"{key(EDITED)}/reports",
        }


def test_a_rotated_secret_compiles_one_upstream_and_sends_the_secret(world: World) -> None:
    _, name = place(EDITED)
    offset, counts = world.log_size(), world.counts()
    changed = manifests(EDITED, world.provider.port, "2").replace(f"key-{EDITED}", "another")
    world.headgate.apply(name, changed)
    wait_until(lambda: world.received_headers(EDITED)["x-key"] == "another", "rotated")
    wait_until(lambda: bool(world.sent(offset)), "logged")
    (only,) = world.sent(offset)
    assert only.type == "SECRET"
    assert len(only.resources) == 1
    assert world.counts()["compiled"] == counts["compiled"] + 1


def test_one_that_comes_and_goes_sends_what_is_its_own(world: World) -> None:
    namespace, name = place(COUNT)
    offset, counts = world.log_size(), world.counts()
    world.headgate.apply(name, manifests(COUNT, world.provider.port))
    wait_ready(world, COUNT)
    assert world.revision(COUNT) == "1"
    sent = world.sent(offset)
    assert {each.type for each in sent} == {"CLUSTER", "SECRET", "SCOPED_ROUTE", "ROUTE"}
    assert all(found.startswith((key(COUNT), f"secret/{key(COUNT)}")) for each in sent for found in each.resources)
    assert sum(each.bytes for each in sent) < 40_000
    assert world.counts() == {field: count + 1 for field, count in counts.items()}

    offset, counts = world.log_size(), world.counts()
    world.headgate.delete(name)
    world.headgate.wait_gone("UpstreamService", name, namespace=namespace)
    wait_until(lambda: world.headgate.call(name, namespace=namespace).status_code == 404, "gone")
    # Routes need not be taken back: with their scope gone the proxy has given them up by itself.
    wait_until(
        lambda: {each.type for each in world.sent(offset)} >= {"CLUSTER", "SCOPED_ROUTE", "SECRET"}, "taken back"
    )
    sent = world.sent(offset)
    assert not [each.resources for each in sent if each.resources]
    assert all(key(COUNT) in found for each in sent for found in each.removed)
    assert world.counts() == counts
