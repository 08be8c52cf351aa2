"""Several endpoints: priorities, weights, an endpoint that fails left out and taken back; one bad address of a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from harness.dataplane import DataPlane
from harness.dns import DnsServer
from harness.plans import endpoint, gateway, retry, section, upstream
from harness.ports import free_port
from headgate.model.plan import Dns, Retry
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer


@pytest.fixture
def primary() -> Iterator[FakeServer]:
    with FakeServer(default=respond(200, "primary")) as server:
        yield server


@pytest.fixture
def secondary() -> Iterator[FakeServer]:
    with FakeServer(default=respond(200, "secondary")) as server:
        yield server


def _plane(primary: int, secondary: int, policy: Retry | None = None) -> DataPlane:
    # Priorities with a gap: users number them as they like.
    both = section(endpoint(primary, priority=10), endpoint(secondary, priority=20), retry=policy)
    return DataPlane(gateway(upstream(both)), within=40.0)


def test_the_first_priority_is_used_while_it_works(primary: FakeServer, secondary: FakeServer) -> None:
    with _plane(primary.port, secondary.port) as plane:
        assert {plane.call("demo/api").text for _ in range(20)} == {"primary"}


@pytest.mark.parametrize("status", [502, 503, 504])
def test_a_failing_endpoint_is_left_out_and_given_back(primary: FakeServer, secondary: FakeServer, status: int) -> None:
    primary.default(respond(status, "broken"))
    with _plane(primary.port, secondary.port) as plane:
        plane.wait_until(lambda: plane.call("demo/api").text == "secondary", "the second priority to take over")
        assert {plane.call("demo/api").text for _ in range(20)} == {"secondary"}
        seen = len(primary.requests)
        assert seen <= 4
        primary.default(respond(200, "primary"))
        plane.wait_until(lambda: plane.call("demo/api").text == "primary", "the first priority to be given back")


def test_an_endpoint_that_cannot_be_reached_is_left_out_unnoticed_where_calls_are_repeated(
    secondary: FakeServer,
) -> None:
    with _plane(free_port(), secondary.port, retry(503, attempts=2)) as plane:
        answers = [plane.call("demo/api", method=method).text for method in ("GET", "POST") * 10]
        assert set(answers) == {"secondary"}
        # Once it is left out it costs nobody a second attempt.
        assert plane.cluster_stat("demo/api/default", "upstream_rq_retry") <= 4


def test_an_answer_of_500_is_an_answer(primary: FakeServer, secondary: FakeServer) -> None:
    primary.default(respond(500, "primary"))
    with _plane(primary.port, secondary.port) as plane:
        assert {plane.call("demo/api").text for _ in range(20)} == {"primary"}


def test_with_every_endpoint_failing_the_providers_answers_come_through_until_one_works(
    primary: FakeServer, secondary: FakeServer
) -> None:
    """Whether a provider that fails as a whole gets calls is for the breaker to say."""
    for server in (primary, secondary):
        server.default(respond(503, "broken"))
    with _plane(primary.port, secondary.port) as plane:
        assert {plane.call("demo/api").text for _ in range(20)} == {"broken"}
        assert plane.cluster_stat("demo/api/default", "outlier_detection.ejections_active") == 2
        primary.default(respond(200, "primary"))
        plane.wait_until(lambda: plane.call("demo/api").text == "primary", "the endpoint that works again")


def test_weights_share_the_calls(primary: FakeServer, secondary: FakeServer) -> None:
    both = section(endpoint(primary.port, weight=4), endpoint(secondary.port, weight=1))
    with DataPlane(gateway(upstream(both))) as plane:
        shares = Counter(plane.call("demo/api").text for _ in range(100))
    assert shares["secondary"] > 5
    assert shares["primary"] > 2 * shares["secondary"]


def test_an_address_of_a_name_that_is_down_is_left_out() -> None:
    with DnsServer() as dns, FakeServer(addresses=("127.0.0.1", "127.0.0.2", "127.0.0.3")) as provider:
        dns.set("four.test", "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", ttl=60)
        named = section(endpoint(provider.port, "four.test"), dns=Dns(), retry=retry(503, attempts=2))
        with DataPlane(gateway(upstream(named)), dns=dns.address) as plane:
            assert {plane.call("demo/api").status_code for _ in range(40)} == {200}
            assert plane.cluster_stat("demo/api/default", "outlier_detection.ejections_active") == 1
            before = plane.cluster_stat("demo/api/default", "upstream_rq_retry")
            assert before <= 4
        assert {seen.local[0] for seen in provider.requests} == {"127.0.0.1", "127.0.0.2", "127.0.0.3"}
