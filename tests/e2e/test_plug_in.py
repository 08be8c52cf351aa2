"""A provider from somebody else's package (`tests/plugin`): installed with pip, it keeps to the contract and serves.

The package is built from a copy and installed into a folder of its own, which only the processes of this test have on
their path: everything else here runs without it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import launch
from harness.dns import DnsServer
from harness.headgate import Headgate
from harness.pki import Authority
from harness.space import GATEWAY, Space
from headgate.simulate.behaviours import json_response, respond, sequence, statuses
from headgate.simulate.server import FakeServer

PACKAGE = Path(__file__).resolve().parents[1] / "plugin"
HOST = "eu.api.parcels.example"
CA = Authority()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the package is installed: built by its own backend, nothing fetched."""
    root = tmp_path_factory.mktemp("plugin")
    copy, site = root / "source", root / "site"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    options = ["--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(copy)],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return site


def with_path(site: Path) -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join((str(launch.SOURCE), str(site)))}


@pytest.fixture(scope="module")
def headgate(dns: DnsServer, site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    """A run that finds the package, on a machine whose one CA is the test's, and where the provider's name leads here."""
    root = tmp_path_factory.mktemp("headgate")
    roots = root / "roots.pem"
    roots.write_bytes(CA.pem)
    dns.set(HOST, "127.0.0.1", ttl=60)
    environment = {"SSL_CERT_FILE": str(roots), **with_path(site)}
    with Headgate(root, dns=dns, files={"gateway": GATEWAY}, environment=environment) as running:
        yield running


@pytest.fixture
def parcels() -> Iterator[FakeServer]:
    """The provider, under its own name and certificate."""
    with FakeServer(tls=CA.server(HOST)) as server:
        yield server


@pytest.fixture
def served(space: Space, parcels: FakeServer) -> Space:
    """An upstream with nothing but the provider's name, its options and a key; the port is where the provider is here."""
    space.secret("parcels", {"key": "the-real-key"})
    space.put(
        "UpstreamService",
        "parcels",
        f"""
        provider: parcels
        providerOptions: {{region: eu, carriers: "post, express"}}
        port: {parcels.port}
        credentials: [{{name: key, secretRef: {{name: parcels, key: key}}}}]
        """,
    )
    space.put(
        "RetryPolicy",
        "parcels",
        "{attempts: 2, targetRefs: [{kind: UpstreamService, name: parcels}]}",
    )
    space.apply()
    return space


def test_its_own_tests_pass(site: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(PACKAGE), str(PACKAGE)],
        cwd=site,
        env={**os.environ, **with_path(site)},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_it_is_listed_with_the_built_in_ones(headgate: Headgate) -> None:
    listed = {line.split()[0]: line.split()[-1] for line in headgate.cli("providers").stdout.splitlines()[1:]}
    assert listed["parcels"] == "plug-in"
    assert listed["gemini"] == "headgate"


def test_its_host_and_its_place_for_the_key(served: Space, parcels: FakeServer) -> None:
    headers = {"authorization": "Bearer the-callers", "x-parcels-key": "Key the-callers"}
    parcels.default(respond(200, b"{}", {"x-parcels-debug": "inside"}))
    answer = served.call("parcels", "/v1/parcels/1?token=the-callers&page=2", headers=headers)
    assert answer.status_code == 200
    assert "x-parcels-debug" not in answer.headers
    (request,) = parcels.requests
    assert request.header("host") == f"{HOST}:{parcels.port}"
    assert request.header_values("x-parcels-key") == ["Key the-real-key"]
    assert request.header("authorization") is None
    assert request.target == b"/v1/parcels/1?page=2"
    assert {shake.sni for shake in parcels.handshakes} == {HOST}


def test_its_sections(served: Space, parcels: FakeServer) -> None:
    for path, expected in (("/v1/search", 200), ("/v1/parcels", 503)):
        parcels.recorder.clear()
        parcels.default(statuses("503,200"))
        assert served.call("parcels", path, method="POST", content=b"{}").status_code == expected
        assert len(parcels.requests) == (2 if expected == 200 else 1)

    parcels.recorder.clear()
    parcels.default(respond())
    assert served.call("parcels", "/v1/events?token=the-callers").status_code == 200
    (request,) = parcels.requests
    assert request.target == b"/v1/events?token=the-real-key"
    assert request.header("x-parcels-key") is None


@pytest.mark.parametrize(("code", "expected"), [("MINUTE", 200), ("MONTH", 429)])
def test_what_its_answers_mean(served: Space, parcels: FakeServer, code: str, expected: int) -> None:
    parcels.default(sequence(json_response({"code": code}, 429), respond()))
    assert served.call("parcels", "/v1/parcels").status_code == expected
    assert len(parcels.requests) == (2 if expected == 200 else 1)


def test_sections_that_its_options_make(served: Space, parcels: FakeServer) -> None:
    served.put(
        "CircuitBreaker",
        "post",
        """
        targetRefs: [{kind: UpstreamService, name: parcels, sectionName: carrier-post}]
        consecutiveFailures: 1
        breakDuration: 1m
        """,
    )
    served.apply()
    parcels.default(respond(500))
    assert served.statuses("parcels", 2, "/v1/carriers/post/1") == [500, 503]
    assert served.statuses("parcels", 2, "/v1/carriers/express/1") == [500, 500]
    assert len(parcels.requests) == 3


def test_an_option_that_is_not_as_it_says_is_refused(space: Space) -> None:
    space.put("UpstreamService", "parcels", "{provider: parcels, providerOptions: {region: Europe}}")
    space.write()
    found = space.wait("UpstreamService", "parcels", "Accepted", "False")
    assert "where the account is" in found["message"]
