"""What Envoy refuses: traffic stays on what it had, the object that caused it says Envoy's own words, all else goes on."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from harness import hooked
from harness.dns import DnsServer
from harness.headgate import Headgate
from harness.pki import Authority
from harness.space import GATEWAY, Space, plain
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer

CALLERS = Authority("the CA of client certificates")


@pytest.fixture(scope="module")
def headgate(dns: DnsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    """As in conftest.py, with what some upstreams render to spoilt after the compile."""
    root = tmp_path_factory.mktemp("headgate")
    with Headgate(
        root, dns=dns, files={"gateway": GATEWAY}, command=hooked.command(), environment=hooked.environment()
    ) as running:
        yield running


def marked(port: int, **headers: str) -> str:
    """An upstream that sets request headers."""
    rules = ", ".join(f"{{name: {name.replace('_', '-')}, value: '{value}'}}" for name, value in headers.items())
    return f"{{hostname: 127.0.0.1, port: {port}, tls: {{mode: None}}, headers: {{request: {{set: [{rules}]}}}}}}"


WORDS = {
    "cluster": "malformed IP address: not-an-address",
    "route": "Only a single wildcard domain is permitted in route",
}


@pytest.mark.parametrize("what", ["cluster", "route"])
def test_a_refused_edit(space: Space, headgate: Headgate, provider: FakeServer, what: str) -> None:
    space.put("UpstreamService", "edited", marked(provider.port, x_revision="1"))
    space.put("UpstreamService", "other", marked(provider.port, x_revision="1"))
    space.put("RetryPolicy", "again", "targetRefs: [{kind: UpstreamService, name: other}]\nattempts: 1")
    space.apply()
    assert space.statuses("edited", 3) == [200] * 3

    space.put("UpstreamService", "edited", marked(provider.port, x_revision="2", x_test_spoil=what))
    space.write()
    condition = space.wait("UpstreamService", "edited", "Programmed", "False", "RejectedByProxy")
    assert WORDS[what] in condition["message"]
    space.wait("UpstreamService", "edited", "Accepted")
    space.wait("UpstreamService", "edited", "Ready", "False", "RejectedByProxy")
    space.wait("UpstreamService", "edited", "Healthy")
    assert row(headgate, space, "edited")[:4] == ["edited", "False", "Healthy", "RejectedByProxy"]
    # It is told in the log too, with its place in the folder.
    headgate.wait_log(rf"error: {re.escape(space.namespace)}\.yaml:\d+.*{re.escape(WORDS[what])}")
    # The last good one is in force: for a route table that shows in what it sets.
    provider.recorder.clear()
    assert space.statuses("edited", 5) == [200] * 5
    if what == "route":
        assert {seen.header("x-revision") for seen in provider.requests} == {"1"}

    # Everything else goes on: another object changes, another comes, another goes.
    space.put("UpstreamService", "other", marked(provider.port, x_revision="2"))
    space.put("RetryPolicy", "again", "targetRefs: [{kind: UpstreamService, name: other}]\nattempts: 2")
    space.put("UpstreamService", "new", plain(provider.port))
    space.write()
    for name in ("other", "new"):
        space.wait("UpstreamService", name, "Ready")
    space.wait("RetryPolicy", "again", "Ready")
    provider.recorder.clear()
    provider.next(respond(503), respond(503))
    assert space.call("other").status_code == 200
    assert [seen.header("x-revision") for seen in provider.requests] == ["2"] * 3
    assert space.call("new").status_code == 200
    space.drop("UpstreamService", "new")
    space.write()
    headgate.wait_gone("UpstreamService", "new", namespace=space.namespace)
    assert space.statuses("edited", 3) == [200] * 3
    condition = space.wait("UpstreamService", "edited", "Programmed", "False", "RejectedByProxy")
    assert WORDS[what] in condition["message"]

    # The fix heals it.
    space.put("UpstreamService", "edited", marked(provider.port, x_revision="3"))
    space.apply()
    provider.recorder.clear()
    assert space.call("edited").status_code == 200
    assert provider.requests[0].header("x-revision") == "3"


@pytest.mark.parametrize("what", ["cluster", "route"])
def test_a_refused_new_upstream(space: Space, provider: FakeServer, what: str) -> None:
    """It is not served, and nothing else is held up by it."""
    space.put("UpstreamService", "refused", marked(provider.port, x_test_spoil=what))
    space.put("UpstreamService", "sound", plain(provider.port))
    space.write()
    condition = space.wait("UpstreamService", "refused", "Programmed", "False", "RejectedByProxy")
    assert WORDS[what] in condition["message"]
    space.wait("UpstreamService", "sound", "Ready")
    assert space.call("sound").status_code == 200
    assert space.call("refused").status_code in (404, 503)
    assert not [seen for seen in provider.requests if seen.header("x-test-spoil")]
    space.put("UpstreamService", "refused", plain(provider.port))
    space.apply()
    assert space.call("refused").status_code == 200


def test_an_edit_that_cant_be_rendered(space: Space, headgate: Headgate, provider: FakeServer) -> None:
    """A bug, or a plug-in's odd value: the same as a refusal, in our words."""
    space.put("UpstreamService", "edited", marked(provider.port, x_revision="1"))
    space.put("UpstreamService", "other", marked(provider.port, x_revision="1"))
    space.put("RetryPolicy", "again", "targetRefs: [{kind: UpstreamService, name: edited}]")
    space.apply()

    space.put("UpstreamService", "edited", marked(provider.port, x_revision="2", x_test_spoil="rendering"))
    space.put("UpstreamService", "other", marked(provider.port, x_revision="2"))
    space.put("UpstreamService", "new", plain(provider.port))
    space.put("UpstreamService", "never", marked(provider.port, x_test_spoil="rendering"))
    space.write()
    for name in ("edited", "never"):
        condition = space.wait("UpstreamService", name, "Programmed", "False", "RenderFailed")
        assert hooked.FAILURE in condition["message"]
        headgate.wait_log(rf"error: {space.namespace}\.yaml:\d+.*: UpstreamService {space.namespace}/{name}: .*bug")
    space.wait("RetryPolicy", "again", "Programmed", "False", "RenderFailed")
    for name in ("other", "new"):
        space.wait("UpstreamService", name, "Ready")
    assert row(headgate, space, "edited")[:4] == ["edited", "False", "Unknown", "RenderFailed"]
    assert (
        "RenderFailed"
        in headgate.cli(
            "explain", "upstream", "edited", "-n", space.namespace, "--state-dir", str(headgate.state), check=False
        ).stdout
    )
    headgate.wait_log(r"engine\.render_failed")
    provider.recorder.clear()
    assert [space.call(name).status_code for name in ("edited", "other", "new", "never")] == [200, 200, 200, 404]
    assert [seen.header("x-revision") for seen in provider.requests] == ["1", "2", None]

    for name in ("edited", "never"):
        space.put("UpstreamService", name, marked(provider.port, x_revision="3"))
    space.apply()
    provider.recorder.clear()
    assert [space.call(name).status_code for name in ("edited", "never")] == [200, 200]
    assert [seen.header("x-revision") for seen in provider.requests] == ["3", "3"]


def test_a_refused_policy_says_so_too(space: Space, provider: FakeServer) -> None:
    """A route table carries its policies: while it is refused, none of what is in it is in force."""
    space.put("UpstreamService", "api", plain(provider.port))
    space.apply()
    space.put("UpstreamService", "api", marked(provider.port, x_test_spoil="route"))
    space.put("RetryPolicy", "again", "targetRefs: [{kind: UpstreamService, name: api}]")
    space.write()
    for kind, name in (("UpstreamService", "api"), ("RetryPolicy", "again")):
        condition = space.wait(kind, name, "Programmed", "False", "RejectedByProxy")
        assert WORDS["route"] in condition["message"]
    space.put("UpstreamService", "api", plain(provider.port))
    space.apply()


def test_a_refused_certificate(space: Space, provider: FakeServer) -> None:
    """A key that is too short for Envoy: the certificate from before goes on being presented."""
    good, renewed = CALLERS.client("good"), CALLERS.client("renewed")
    short = CALLERS.client("short", key=rsa.generate_private_key(65537, 1024))
    each = respond(200, "fine", {"connection": "close"})
    authority = Authority()
    space.config_map("ca", {"ca.crt": authority.pem})
    with FakeServer(
        tls=authority.server("127.0.0.1"), client_ca=CALLERS.pem, alpn=["http/1.1"], default=each
    ) as secure:
        space.secret("identity", {"tls.crt": good.chain_pem, "tls.key": good.key_pem})
        space.put(
            "UpstreamService",
            "api",
            f"""
            hostname: 127.0.0.1
            port: {secure.port}
            tls:
              mode: ClientAndServer
              clientCertificateRef: {{name: identity}}
              validation: {{caCertificateRefs: [{{kind: ConfigMap, name: ca}}]}}
            """,
        )
        space.put("UpstreamService", "other", plain(provider.port))
        space.apply()
        assert space.call("api").status_code == 200

        space.secret("identity", {"tls.crt": short.chain_pem, "tls.key": short.key_pem})
        space.write()
        condition = space.wait("UpstreamService", "api", "Programmed", "False", "RejectedByProxy")
        assert "only RSA certificates with 2048-bit or larger keys are supported" in condition["message"]
        assert "PRIVATE KEY" not in condition["message"]
        assert space.statuses("api", 3) == [200] * 3
        assert secure.handshakes[-1].client_certificate == good.der
        space.put("UpstreamService", "other", marked(provider.port, x_revision="2"))
        space.write()
        space.wait("UpstreamService", "other", "Ready")

        space.secret("identity", {"tls.crt": renewed.chain_pem, "tls.key": renewed.key_pem})
        space.apply()
        assert space.call("api").status_code == 200
        assert secure.handshakes[-1].client_certificate == renewed.der


def row(headgate: Headgate, space: Space, name: str) -> list[str]:
    """An upstream's line in `headgate get upstreams`, without what is empty."""
    out = headgate.cli("get", "upstreams", name, "-n", space.namespace, "--state-dir", str(headgate.state)).stdout
    return out.splitlines()[1].split()
