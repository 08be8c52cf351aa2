"""An API server for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.apiserver import FakeApiServer
from harness.kube import make_namespace
from headgate.kube.access import Access
from headgate.kube.client import Api


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    async with FakeApiServer().running() as found:
        yield found


@pytest.fixture
def access(server: FakeApiServer, tmp_path: Path) -> Access:
    return Access(server.kubeconfig(tmp_path))


@pytest.fixture
async def api(access: Access) -> AsyncIterator[Api]:
    async with await Api.open(access, limit=2.0) as found:
        await make_namespace(found, "team", tier="gold")
        yield found
