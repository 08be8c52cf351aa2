"""A real API server for the tests of CRDs, and a real cluster for the others. Neither is built here: that takes long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import ApiServer, Cluster, images
from cluster.build import API_SERVER, unbuilt
from harness.apiserver import ServerClient
from harness.require import require

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server with our CRDs."""
    missing = unbuilt(API_SERVER)
    require(not missing, f"not built: {', '.join(missing)}; `make kubernetes` builds them")
    with ApiServer(tmp_path_factory.mktemp("api")) as server:
        server.kubectl("apply", "--server-side", f"--filename={ROOT / 'crds'}")
        server.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"--filename={ROOT / 'crds'}")
        yield server


@pytest.fixture(scope="session")
def client(api_server: ApiServer) -> Iterator[ServerClient]:
    """A client of it."""
    with ServerClient(api_server.kubeconfig) as found:
        yield found


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that can run Envoy and Python. What a test makes in it goes into a namespace of the test's own."""
    require(not Cluster.missing(), Cluster.missing())
    found = Cluster(tmp_path_factory.mktemp("cluster") / "one")
    try:
        found.start(add=[images.python()])
        yield found
    finally:
        found.stop()
