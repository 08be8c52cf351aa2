"""What the tests of `headgate run` itself share: each has a run of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.headgate import Headgate
from harness.space import GATEWAY
from harness.standalone import upstream
from headgate.simulate.server import FakeServer


@pytest.fixture
def runner(tmp_path: Path, provider: FakeServer) -> Iterator[Headgate]:
    """Not started: a default gateway that may reach loopback, and an upstream `one` on the provider."""
    headgate = Headgate(tmp_path, files={"gateway": GATEWAY, "one": upstream("one", provider.port)})
    try:
        yield headgate
        if headgate.running:
            headgate.stop()
    finally:
        print(headgate.tail())
        headgate.close()
