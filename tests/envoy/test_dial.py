"""An endpoint with an address to dial: asked and checked under its own name, connected to where the Plan says.

No name server is given to these: a name that is looked up after all is not found.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.dataplane import DataPlane
from harness.pki import Authority
from harness.plans import gateway, roots, section, tls, upstream
from headgate.model.answers import StatusRange
from headgate.model.plan import Endpoint, HealthCheck
from headgate.simulate.server import FakeServer

CA = Authority()
NAME, SECOND = "api.provider.invalid", "second.provider.invalid"


def dialled(port: int, name: str = NAME, own_port: int = 443, priority: int = 0) -> Endpoint:
    return Endpoint(name, own_port, priority, dial=("127.0.0.1", port))


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeServer]:
    with FakeServer(tls=CA.server(NAME, SECOND)) as server:
        yield server


@pytest.fixture(scope="module")
def plain() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture(scope="module")
def plane(provider: FakeServer, plain: FakeServer) -> Iterator[DataPlane]:
    check = HealthCheck("/live", "GET", 100, 1_000, 1, 1, (StatusRange(200, 299),))
    sections = {
        "named": section(dialled(provider.port), tls=tls(), key="demo/named/default", allowed_cidrs=()),
        "port": section(dialled(provider.port, own_port=8443), tls=tls(), key="demo/port/default", allowed_cidrs=()),
        "plain": section(dialled(plain.port, own_port=80), key="demo/plain/default", allowed_cidrs=()),
        "checked": section(
            dialled(plain.port, own_port=80), key="demo/checked/default", allowed_cidrs=(), health_check=check
        ),
        "beside": section(
            dialled(plain.port, own_port=80),
            Endpoint("127.0.0.1", provider.port, 1, literal=True),
            key="demo/beside/default",
            allowed_cidrs=(),
        ),
        "two": section(
            dialled(1, NAME),
            dialled(provider.port, SECOND, priority=1),
            tls=tls(),
            key="demo/two/default",
            allowed_cidrs=(),
        ),
        "misplaced": section(
            Endpoint("127.0.0.1", plain.port, literal=True),
            dialled(provider.port, own_port=80, priority=1),
            key="demo/misplaced/default",
            allowed_cidrs=(),
        ),
    }
    with DataPlane(gateway(*(upstream(each) for each in sections.values()), secrets=[roots(CA.pem)])) as running:
        yield running


def test_the_provider_is_asked_and_proves_itself_under_its_own_name(plane: DataPlane, provider: FakeServer) -> None:
    assert plane.call("demo/named", "/named").status_code == 200
    (seen,) = [each for each in provider.requests if each.raw_path == b"/named"]
    assert (seen.header("host"), seen.http_version, seen.scheme) == (NAME, "2", "https")
    assert {each.sni for each in provider.handshakes} <= {NAME, SECOND}


@pytest.mark.parametrize(("key", "host"), [("port", f"{NAME}:8443"), ("plain", NAME)])
def test_the_host_header_has_the_port_that_was_declared(
    plane: DataPlane, provider: FakeServer, plain: FakeServer, key: str, host: str
) -> None:
    assert plane.call(f"demo/{key}", f"/{key}").status_code == 200
    seen = [each for each in (*provider.requests, *plain.requests) if each.raw_path == f"/{key}".encode()]
    assert [each.header("host") for each in seen] == [host]


def test_active_checks_go_there_too(plane: DataPlane, plain: FakeServer) -> None:
    seen = plain.wait_for(2, where=lambda each: each.raw_path == b"/live")
    assert {each.header("host") for each in seen} == {NAME}


def test_each_of_several_names_is_checked_under_its_own(plane: DataPlane, provider: FakeServer) -> None:
    """Nothing listens at the first one's address, so that calls come to the second."""
    plane.wait_until(lambda: plane.call("demo/two", "/two").status_code == 200, "the first one to be left out")
    assert provider.handshakes[-1].sni == SECOND
    assert [each.header("host") for each in provider.requests if each.raw_path == b"/two"] == [SECOND]


def test_the_guard_lets_the_dialled_address_through_with_its_port_and_nothing_beside(
    plane: DataPlane, plain: FakeServer
) -> None:
    assert plane.call("demo/beside", "/beside").status_code == 200
    response = plane.call("demo/misplaced", "/misplaced")
    assert response.status_code == 403, response.text
    assert not [each for each in plain.requests if each.raw_path == b"/misplaced"]
