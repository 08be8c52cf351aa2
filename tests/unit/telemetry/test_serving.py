"""Health and metrics as the kubelet and Prometheus ask for them: over HTTP, whatever the event loop does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from headgate.telemetry.metrics import Metrics
from headgate.telemetry.serving import Health, serving


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Served:
    """Health on a port, and a client."""

    health: Health
    metrics: Metrics
    clock: Clock
    url: str

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=5)

    def figure(self, name: str, **labels: str) -> float | None:
        for family in text_string_to_metric_families(self.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None


@pytest.fixture
def served() -> Iterator[Served]:
    clock = Clock()
    health, metrics = Health(("synced", "compiled"), 20.0, clock), Metrics()
    with serving("127.0.0.1", 0, health, metrics.registry) as port:
        yield Served(health, metrics, clock, f"http://127.0.0.1:{port}")


async def test_a_loop_that_hangs_is_told_while_it_hangs(served: Served) -> None:
    ticking = asyncio.create_task(served.health.run())
    await asyncio.sleep(0)
    served.clock.now = 19.0
    # Synchronous calls: the loop stands still meanwhile, and the answer comes from a thread.
    assert served.get("/livez").status_code == 200
    served.clock.now = 21.0
    answer = served.get("/livez")
    assert (answer.status_code, answer.text) == (503, "the event loop has been silent for 21 s\n")
    began = time.monotonic()
    while (await asyncio.to_thread(served.get, "/livez")).status_code != 200:  # it goes on
        assert time.monotonic() - began < 10
    ticking.cancel()


def test_what_is_missing_is_named(served: Served) -> None:
    answer = served.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "synced\ncompiled\n")
    served.health.done("synced")
    assert served.get("/readyz").text == "compiled\n"
    served.health.done("compiled")
    assert served.get("/readyz").status_code == 200
    served.health.lack("running: it is stopping")
    answer = served.get("/readyz")
    assert (answer.status_code, answer.text) == (503, "running: it is stopping\n")


def test_other_paths_are_not_there(served: Served) -> None:
    assert served.get("/").status_code == 404


def test_figures_are_read_when_they_are_asked_for(served: Served) -> None:
    written = 3
    served.metrics.count("headgate_writes_total", "Writes.", lambda: {("ok",): written}, ("result",))
    served.metrics.gauge("headgate_leading", "Leading.", lambda: 1.0)
    assert served.figure("headgate_writes_total", result="ok") == 3
    written = 5
    assert served.figure("headgate_writes_total", result="ok") == 5
    assert served.figure("headgate_leading") == 1
    served.metrics.healed("shop/edge", "PodReplaced", "AllCallsFail")
    assert (
        served.figure("headgate_healing_actions_total", gateway="shop/edge", what="PodReplaced", reason="AllCallsFail")
        == 1
    )
    served.metrics.compiled(0.02)
    assert served.figure("headgate_compile_seconds_bucket", le="0.025") == 1
    assert served.figure("headgate_compile_seconds_bucket", le="0.01") == 0
    assert (served.figure("process_resident_memory_bytes") or 0) > 1e6


def test_the_same_name_twice_is_a_mistake(served: Served) -> None:
    served.metrics.gauge("headgate_leading", "Leading.", lambda: 1.0)
    with pytest.raises(ValueError, match="headgate_leading"):
        served.metrics.gauge("headgate_leading", "Leading.", lambda: 1.0)


def test_a_port_that_is_taken_is_an_error(served: Served) -> None:
    with (
        pytest.raises(OSError, match="in use"),
        serving("127.0.0.1", int(served.url.rpartition(":")[2]), served.health, served.metrics.registry),
    ):
        pass


def test_registries_are_their_own() -> None:
    assert Metrics().registry is not Metrics().registry
