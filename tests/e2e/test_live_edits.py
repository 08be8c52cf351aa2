"""Two hundred edits under a steady two hundred requests a second: whoever is not edited does not notice.

The load is open-loop: requests go out on schedule whatever became of the earlier ones. Of the upstreams that nobody edits
one answers and streams, one has its breaker open, one its limit spent; all of that must stay so.
"""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from harness.headgate import Headgate
from harness.load import Load, Report, Request
from harness.space import Space, plain
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer
from headgate.simulate.sse import Sse

pytestmark = pytest.mark.serial

EDITS = 200
RATE = 200.0
#: Seconds within which all edits are to be done; the load ends with them.
BOUND = 90.0

GATEWAY = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {{name: shared, namespace: platform}}
spec:
  default: true
  allowedNamespaces: {{from: All}}
  egress: {{allowedCIDRs: [127.0.0.0/8, {cidr}]}}
"""


class Tenant:
    """Somebody who edits all the time; `edit` makes one edit and waits until it is in force."""

    def __init__(self, space: Space, port: int, other_port: int) -> None:
        self._space = space
        self._ports = (port, other_port)
        self._random = random.Random(3)
        self._numbers = itertools.count()
        self._upstreams: list[str] = []
        self._kinds: list[Callable[[], None]] = [
            self.change_headers,
            self.change_address,
            self.change_retries,
            self.change_breaker,
            self.change_limit,
            self.rotate_secret,
            self.rename,
            self.add,
            self.remove,
            self.change_sections,
        ]
        space.secret("key", {"value": "first"})
        for _ in range(6):
            self._add()
        self.done: Counter[str] = Counter()

    def edit(self, number: int) -> None:
        """Every kind of edit in turn."""
        kind = self._kinds[number % len(self._kinds)]
        kind()
        self._space.apply()
        self.done[kind.__name__] += 1

    def check(self) -> None:
        """The latest state answers, so that the edits are real."""
        for name in self._upstreams:
            assert self._space.call(name).status_code == 200, name

    def _some(self) -> str:
        return self._random.choice(self._upstreams)

    def _put(self, name: str, revision: int, *, sections: int = 0) -> None:
        declared = "".join(f"\n- {{name: s{n}, matches: [{{pathPrefix: /s{n}}}]}}" for n in range(sections))
        self._space.put(
            "UpstreamService",
            name,
            f"hostname: 127.0.0.1\n"
            f"port: {self._ports[revision % 2]}\n"
            f"tls: {{mode: None}}\n"
            f"headers: {{request: {{set: [{{name: x-revision, value: '{revision}'}}]}}}}\n"
            f"credentials: [{{name: key, secretRef: {{name: key, key: value}}, location: {{header: {{name: x-key}}}}}}]\n"
            + (f"sections:{declared}" if sections else ""),
        )

    def _add(self) -> None:
        name = f"tenant-{next(self._numbers)}"
        self._upstreams.append(name)
        self._put(name, 0)

    def _target(self, kind: str, spec: str) -> None:
        name = self._some()
        self._space.put(kind, name, f"targetRefs: [{{kind: UpstreamService, name: {name}}}]\n{spec}")

    def change_headers(self) -> None:
        """A route changes."""
        self._put(self._some(), 2 * next(self._numbers))

    def change_address(self) -> None:
        """A cluster changes."""
        self._put(self._some(), 2 * next(self._numbers) + 1)

    def change_sections(self) -> None:
        """Clusters come or go."""
        self._put(self._some(), 0, sections=self._random.randint(1, 3))

    def change_retries(self) -> None:
        """A policy comes, or changes."""
        self._target("RetryPolicy", f"attempts: {self._random.randint(0, 5)}")

    def change_breaker(self) -> None:
        """A policy comes, or changes."""
        self._target("CircuitBreaker", f"consecutiveFailures: {self._random.randint(1, 9)}")

    def change_limit(self) -> None:
        """A policy comes, or changes."""
        limit = f"{{requests: {self._random.randint(1000, 9000)}, interval: 1s}}"
        self._target("RateLimit", f"rules: [{{name: calls, limit: {limit}}}]")

    def rotate_secret(self) -> None:
        """A secret changes."""
        self._space.secret("key", {"value": f"value-{next(self._numbers)}"})

    def rename(self) -> None:
        """One goes and one comes; policies lose their target with it."""
        self.remove()
        self._add()

    def add(self) -> None:
        """One comes."""
        self._add()

    def remove(self) -> None:
        """One goes, with its policies."""
        name = self._upstreams.pop(self._random.randrange(len(self._upstreams)))
        self._space.drop("UpstreamService", name)
        for kind in ("RetryPolicy", "CircuitBreaker", "RateLimit"):
            self._space.forget(kind, name)
        if len(self._upstreams) < 3:
            self._add()


@pytest.fixture
def headgate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    files = {"gateway": GATEWAY.format(cidr="10.0.0.0/8")}
    with Headgate(tmp_path_factory.mktemp("headgate"), files=files) as running:
        yield running


@pytest.fixture
def still(headgate: Headgate, provider: FakeServer) -> Space:
    """Upstreams that nobody edits: `steady`, `cut` with an open breaker, `spent` with a spent limit."""
    space = Space(headgate, "still")
    for name in ("steady", "cut", "spent"):
        space.put("UpstreamService", name, plain(provider.port))
    space.put("RetryPolicy", "steady", "targetRefs: [{kind: UpstreamService, name: steady}]\nattempts: 1")
    space.put(
        "CircuitBreaker",
        "cut",
        """
        targetRefs: [{kind: UpstreamService, name: cut}, {kind: UpstreamService, name: steady}]
        consecutiveFailures: 3
        breakDuration: 1h
        """,
    )
    space.put(
        "RateLimit",
        "spent",
        """
        targetRefs: [{kind: UpstreamService, name: spent}]
        rules: [{name: calls, limit: {requests: 4, interval: 24h}}]
        """,
    )
    space.apply()
    provider.on("/fail", respond(503))
    assert space.statuses("cut", 4, "/fail") == [503] * 4
    assert space.statuses("spent", 5) == [200, 200, 200, 200, 429]
    return space


def requests(headgate: Headgate) -> list[Request]:
    """Seven of ten to what answers, in both ways of addressing, with and without a body."""
    at = headgate.address
    steady = [
        Request(at, "/still/steady/get", name="steady"),
        Request(at, "/get", host="steady.still", name="steady"),
        Request(at, "/still/steady/post", method="POST", body=b"x" * 2000, name="steady"),
        Request(at, "/put", method="PUT", host="steady.still.svc", body=b"y" * 200, name="steady"),
    ]
    others = [Request(at, "/still/cut/", name="cut"), Request(at, "/still/spent/", name="spent")]
    return [*steady, *others, *steady[:3], others[0]]


def assert_unharmed(report: Report) -> None:
    print(report)
    bad = [sample for sample in report.samples if sample.error]
    assert not bad, bad[:5]
    assert report.unfinished == 0
    assert set(report.statuses("steady")) == {200}
    assert set(report.statuses("cut")) == {503}
    assert set(report.statuses("spent")) == {429}
    assert report.rate > 0.95 * RATE


def test_two_hundred_edits_under_load(headgate: Headgate, still: Space, provider: FakeServer) -> None:
    events = Sse()
    provider.on("/events", events)
    with FakeServer() as second:
        space = Space(headgate, "tenant")
        tenant = Tenant(space, provider.port, second.port)
        space.apply()
        before = len([seen for seen in provider.requests if seen.raw_path == b"/"])
        with still.stream("steady", "/events") as response:
            stream, lines = events.accept(), response.iter_lines()
            begun = time.monotonic()
            with Load(requests(headgate), rate=RATE, seconds=BOUND) as load:
                for number in range(EDITS):
                    tenant.edit(number)
                    if number % 20 == 19:
                        tenant.check()
                        stream.send(str(number))
                        assert next(lines) == f"data: {number}"
                        assert next(lines) == ""
                took = time.monotonic() - begun
                assert load.running, f"the edits took more than {BOUND} s"
            stream.close()
        print(f"{EDITS} edits in {took:.1f} s: {dict(tenant.done)}")
        assert tenant.done.total() == EDITS
        assert_unharmed(load.report())
        # Neither the open breaker nor the spent limit has let a single call through: calls to `/` are theirs and the
        # tenant's own, which carry its key.
        strangers = [seen for seen in provider.requests if seen.raw_path == b"/" and not seen.header("x-key")]
        assert len(strangers) == before
        assert still.status("cut")["circuit"] == "Open 1/1"


def test_edits_of_the_gateway_itself_under_load(headgate: Headgate, still: Space, provider: FakeServer) -> None:
    """They reach every cluster, so even those who are not edited change; no call may fail for it all the same."""
    with Load(requests(headgate), rate=RATE, seconds=30) as load:
        for number in range(10):
            headgate.apply("gateway", GATEWAY.format(cidr=f"10.{number}.0.0/16"))
            headgate.wait_condition("IntegrationGateway", "shared", "Ready", namespace="platform")
            still.wait("UpstreamService", "steady", "Ready")
            seen = load.done
            while load.done < seen + 40:
                assert load.running
                time.sleep(0.02)
    assert_unharmed(load.report())
