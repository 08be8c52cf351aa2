"""What an acknowledgement is worth: the very next call meets what was acknowledged, and nothing of before.

Envoy's one worker is handed an edit before the acknowledgement is sent, and takes up what it is handed before a call that
comes later. A cluster is acknowledged when it is in use: its name resolved, its secrets there. That is what
`Programmed=True` rests on, and what tests rely on that call right after an edit.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from harness.dataplane import DataPlane
from harness.dns import DnsServer, Failure
from harness.plans import endpoint, gateway, section, upstream
from headgate.model.plan import HeaderRules, Section, Timeouts
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer

EDITS = 60


@pytest.fixture
def provider() -> Iterator[FakeServer]:
    with FakeServer(default=respond(200)) as server:
        yield server


def route(of: Section, number: int) -> Section:
    """An edit of the route alone, to be seen in the answer."""
    return replace(of, response_headers=HeaderRules(set=(("x-edit", str(number)),)))


def both(of: Section, number: int) -> Section:
    """An edit of the cluster too."""
    return replace(route(of, number), timeouts=Timeouts(request=15_000, connect=2_000 + number, stream_idle=60_000))


@pytest.mark.parametrize("edit", [route, both])
def test_the_next_call_meets_it(provider: FakeServer, edit: Callable[[Section, int], Section]) -> None:
    sections = [section(endpoint(provider.port), key=f"demo/u{number}/default") for number in range(5)]
    with DataPlane(gateway()) as plane, closing(http.client.HTTPConnection("127.0.0.1", plane.port)) as connection:
        for number in range(EDITS):
            plane.update(gateway(*(upstream(edit(each, number)) for each in sections)), wait=False)
            # Not `wait_acknowledged`, whose pauses would hide a call that comes too soon.
            while any(plane.feedback().pending.values()):
                pass
            asked = f"u{number % len(sections)}"
            connection.request("GET", f"/demo/{asked}/")
            answer = connection.getresponse()
            answer.read()
            assert (answer.status, answer.getheader("x-edit")) == (200, str(number)), asked


def test_a_name_is_resolved_first(provider: FakeServer) -> None:
    """Until then the version before takes the calls, and nobody says otherwise."""
    with FakeServer(default=respond(201)) as moved, DnsServer() as dns:
        dns.set("old.test", "127.0.0.1", ttl=60)
        dns.fail("new.test", Failure.SILENT)
        before = section(endpoint(provider.port, "old.test"))
        with DataPlane(gateway(upstream(before)), dns=dns.address) as plane:
            assert plane.call("demo/api").status_code == 200
            plane.update(gateway(upstream(replace(before, endpoints=(endpoint(moved.port, "new.test"),)))), wait=False)
            dns.wait_for("new.test")
            assert any(plane.feedback().pending.values())
            assert plane.stat("cluster_manager.warming_clusters") == 1
            dns.set("new.test", "127.0.0.1")
            plane.wait_acknowledged()
            assert plane.call("demo/api").status_code == 201
