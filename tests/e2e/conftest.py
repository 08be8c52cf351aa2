"""One running `headgate` for each module of tests, and for each test a namespace of its own on it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from harness.dns import DnsServer
from harness.headgate import Headgate
from harness.space import GATEWAY, Space
from headgate.simulate.server import FakeServer


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    """The only name server that the module's gateways ask."""
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="module")
def headgate(dns: DnsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    """A run with one gateway that is the default, takes every namespace and may reach loopback."""
    with Headgate(tmp_path_factory.mktemp("headgate"), dns=dns, files={"gateway": GATEWAY}) as running:
        yield running


@pytest.fixture
def space(headgate: Headgate, request: pytest.FixtureRequest) -> Iterator[Space]:
    """A namespace named after the test; what it declared is gone afterwards."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
    found = Space(headgate, name[:63].strip("-"))
    yield found
    path = headgate.folder / f"{found.namespace}.yaml"
    path.unlink(missing_ok=True)


@pytest.fixture
def provider() -> Iterator[FakeServer]:
    """A provider in plain HTTP on 127.0.0.1 that echoes until told otherwise."""
    with FakeServer() as server:
        yield server
