"""What most tests of the data plane stand on: a gateway in a real Envoy, sections put into it one by one, and a provider.

A module whose gateway or provider has to be another has fixtures of its own by these names.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.bench import Bench, ReportingPlane
from harness.plans import gateway
from headgate.simulate.server import FakeServer


@pytest.fixture(scope="module")
def plane() -> Iterator[ReportingPlane]:
    """One Envoy for the module; at its end none of the filters may have failed."""
    with ReportingPlane(gateway()) as running:
        yield running
        assert running.lua_errors() == 0, running.envoy.log()


@pytest.fixture(scope="module")
def bench(plane: ReportingPlane) -> Bench:
    """Puts sections into the module's gateway."""
    return Bench(plane)


@pytest.fixture
def provider() -> Iterator[FakeServer]:
    """A provider of the test's own, which echoes until it is told otherwise."""
    with FakeServer() as server:
        yield server
