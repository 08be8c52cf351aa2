"""Fields of UpstreamService about trust: TLS towards the provider, and credentials for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import httpx
import pytest

from harness.dns import DnsServer
from harness.headgate import Headgate
from harness.pki import Authority
from harness.space import GATEWAY, Space
from headgate.simulate.behaviours import respond
from headgate.simulate.server import FakeServer

NAME = "secure.provider.test"
SYSTEM = Authority("the one CA that this machine trusts")
PRIVATE = Authority("a CA of our own")
CALLERS = Authority("the CA of client certificates")


@pytest.fixture(scope="module")
def headgate(dns: DnsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    """As in conftest.py, on a machine whose well-known CAs are one of the test's."""
    root = tmp_path_factory.mktemp("headgate")
    roots = root / "roots.pem"
    roots.write_bytes(SYSTEM.pem)
    for name in (NAME, "other.provider.test"):
        dns.set(name, "127.0.0.1", ttl=60)
    environment = {"SSL_CERT_FILE": str(roots)}
    with Headgate(root, dns=dns, files={"gateway": GATEWAY}, environment=environment) as running:
        yield running


def refused(response: httpx.Response) -> bool:
    """Whether the gateway refused the provider's certificate."""
    return response.status_code == 503 and response.json()["error"]["code"] == "TLSFailure"


def test_tls_of_well_known_authorities_is_the_default(space: Space) -> None:
    with FakeServer(tls=SYSTEM.server(NAME)) as known, FakeServer(tls=PRIVATE.server(NAME)) as unknown:
        space.put("UpstreamService", "implied", f"{{hostname: {NAME}, port: {known.port}}}")
        space.put(
            "UpstreamService",
            "said",
            f"""
            hostname: {NAME}
            port: {known.port}
            tls: {{mode: ServerOnly, validation: {{wellKnownCACertificates: System}}}}
            """,
        )
        space.put("UpstreamService", "unknown", f"{{hostname: {NAME}, port: {unknown.port}}}")
        space.apply()
        for name in ("implied", "said"):
            assert space.call(name).status_code == 200
        assert {shake.sni for shake in known.handshakes} == {NAME}
        assert refused(space.call("unknown"))
        assert not unknown.requests


@pytest.mark.parametrize("kind", ["Secret", "ConfigMap"])
def test_tls_of_an_authority_of_our_own(space: Space, kind: str) -> None:
    (space.secret if kind == "Secret" else space.config_map)("roots", {"ca.crt": PRIVATE.pem})
    with FakeServer(tls=PRIVATE.server(NAME)) as provider, FakeServer(tls=SYSTEM.server(NAME)) as other:
        for name, port in (("ours", provider.port), ("other", other.port)):
            space.put(
                "UpstreamService",
                name,
                f"""
                hostname: {NAME}
                port: {port}
                tls: {{validation: {{caCertificateRefs: [{{kind: {kind}, name: roots}}]}}}}
                """,
            )
        space.apply()
        assert space.call("ours").status_code == 200
        # Our own instead of the well-known ones, not besides them.
        assert refused(space.call("other"))


def test_tls_hostname(space: Space) -> None:
    with FakeServer(tls=SYSTEM.server("other.provider.test")) as provider:
        space.put(
            "UpstreamService",
            "named",
            f"""
            hostname: 127.0.0.1
            port: {provider.port}
            tls: {{validation: {{hostname: other.provider.test}}}}
            """,
        )
        space.put("UpstreamService", "unnamed", f"{{hostname: {NAME}, port: {provider.port}}}")
        space.apply()
        assert space.call("named").status_code == 200
        assert provider.handshakes[-1].sni == "other.provider.test"
        assert refused(space.call("unnamed"))


def test_tls_subject_alt_names(space: Space) -> None:
    with FakeServer(tls=SYSTEM.server("cert.provider.test")) as provider:
        space.put(
            "UpstreamService",
            "one-of-them",
            f"""
            hostname: {NAME}
            port: {provider.port}
            tls:
              validation:
                subjectAltNames:
                - {{type: URI, uri: "spiffe://provider/api"}}
                - {{type: Hostname, hostname: cert.provider.test}}
            """,
        )
        space.put(
            "UpstreamService",
            "none-of-them",
            f"""
            hostname: {NAME}
            port: {provider.port}
            tls: {{validation: {{subjectAltNames: [{{type: Hostname, hostname: {NAME}}}]}}}}
            """,
        )
        space.apply()
        assert space.call("one-of-them").status_code == 200
        assert provider.handshakes[-1].sni == NAME
        assert refused(space.call("none-of-them"))


def test_tls_subject_alt_name_uri(space: Space) -> None:
    server = PRIVATE.workload("workload", "spiffe://provider/api")
    space.config_map("roots", {"ca.crt": PRIVATE.pem})
    with FakeServer(tls=server) as provider:
        for name, uri in (("right", "spiffe://provider/api"), ("wrong", "spiffe://provider/other")):
            space.put(
                "UpstreamService",
                name,
                f"""
                hostname: {NAME}
                port: {provider.port}
                tls:
                  validation:
                    caCertificateRefs: [{{kind: ConfigMap, name: roots}}]
                    subjectAltNames: [{{type: URI, uri: "{uri}"}}]
                """,
            )
        space.apply()
        assert space.call("right").status_code == 200
        assert refused(space.call("wrong"))


def test_tls_client_certificate(space: Space) -> None:
    identity, renewed = CALLERS.client("the gateway"), CALLERS.client("the gateway, renewed")
    space.secret("identity", {"tls.crt": identity.chain_pem, "tls.key": identity.key_pem})
    # A connection for each call, so that each shows which certificate is presented now.
    each = respond(200, "fine", {"connection": "close"})
    with FakeServer(tls=SYSTEM.server(NAME), client_ca=CALLERS.pem, alpn=["http/1.1"], default=each) as provider:
        space.put(
            "UpstreamService",
            "with",
            f"""
            hostname: {NAME}
            port: {provider.port}
            tls: {{mode: ClientAndServer, clientCertificateRef: {{name: identity}}}}
            """,
        )
        space.put("UpstreamService", "without", f"{{hostname: {NAME}, port: {provider.port}}}")
        space.apply()
        assert space.call("with").status_code == 200
        assert provider.handshakes[-1].client_certificate == identity.der
        assert space.call("without", "/without").status_code == 503
        assert not [seen for seen in provider.requests if seen.raw_path == b"/without"]
        # Another one takes its place without a failed call.
        space.secret("identity", {"tls.crt": renewed.chain_pem, "tls.key": renewed.key_pem})
        space.write()
        deadline = time.monotonic() + 10
        while provider.handshakes[-1].client_certificate != renewed.der:
            assert time.monotonic() < deadline, "the renewed certificate is not presented"
            assert space.call("with").status_code == 200


def test_credential_locations(space: Space, provider: FakeServer) -> None:
    space.secret("keys", {"plain": "s3cret-1", "bearer": "s3cret-2", "query": "s3cret-3&4", "cookie": "s3cret-5"})
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        credentials:
        - {{name: plain, secretRef: {{name: keys, key: plain}}, location: {{header: {{name: X-Api-Key}}}}}}
        - name: bearer
          secretRef: {{name: keys, key: bearer}}
          location: {{header: {{name: Authorization, prefix: "Token "}}}}
        - {{name: query, secretRef: {{name: keys, key: query}}, location: {{queryParameter: api_key}}}}
        - {{name: cookie, secretRef: {{name: keys, key: cookie}}, location: {{cookie: session}}}}
        """,
    )
    space.apply()
    headers = {"x-api-key": "theirs", "authorization": "Bearer theirs", "cookie": "a=1; session=theirs; b=2"}
    assert space.call("api", headers=headers, params={"page": "2", "api_key": "theirs"}).status_code == 200
    (seen,) = provider.requests
    assert seen.header_values("x-api-key") == ["s3cret-1"]
    assert seen.header_values("authorization") == ["Token s3cret-2"]
    assert parse_qsl(seen.query.decode()) == [("page", "2"), ("api_key", "s3cret-3&4")]
    cookies = [each.strip() for value in seen.header_values("cookie") for each in value.split(";")]
    assert sorted(cookies) == ["a=1", "b=2", "session=s3cret-5"]
    assert "theirs" not in str(seen)


def test_several_credentials_and_those_of_a_section(space: Space, provider: FakeServer) -> None:
    space.secret("keys", {"id": "the-id", "key": "the-key", "admin": "the-admin-key"})
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        credentials:
        - {{name: id, secretRef: {{name: keys, key: id}}, location: {{header: {{name: x-id}}}}}}
        - {{name: key, secretRef: {{name: keys, key: key}}, location: {{header: {{name: x-key}}}}}}
        sections:
        - name: admin
          matches: [{{pathPrefix: /admin}}]
          credentials:
          - {{name: key, secretRef: {{name: keys, key: admin}}, location: {{header: {{name: x-key, prefix: "k="}}}}}}
        - name: search
          matches: [{{pathPrefix: /search}}]
          credentials:
          - {{name: key, secretRef: {{name: keys, key: admin}}, location: {{queryParameter: key}}}}
        - name: web
          matches: [{{pathPrefix: /web}}]
          credentials:
          - {{name: key, secretRef: {{name: keys, key: admin}}, location: {{cookie: key}}}}
        """,
    )
    space.apply()
    for path in ("/x", "/admin/x", "/search", "/web"):
        assert space.call("api", path, headers={"x-key": "theirs"}).status_code == 200
    plain, admin, search, web = provider.requests
    assert (plain.header("x-id"), plain.header("x-key")) == ("the-id", "the-key")
    assert (admin.header("x-id"), admin.header("x-key")) == ("the-id", "k=the-admin-key")
    assert (search.header("x-id"), search.query, search.header("x-key")) == ("the-id", b"key=the-admin-key", None)
    assert (web.header("x-id"), web.header("cookie")) == ("the-id", "key=the-admin-key")


def test_a_changed_secret_reaches_the_provider(space: Space, provider: FakeServer) -> None:
    space.secret("key", {"value": "old"})
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        credentials: [{{name: key, secretRef: {{name: key, key: value}}, location: {{header: {{name: x-key}}}}}}]
        """,
    )
    space.apply()
    assert space.call("api").status_code == 200
    space.secret("key", {"value": "new"})
    space.write()
    for _ in range(1000):
        assert space.call("api").status_code == 200
        if provider.requests[-1].header("x-key") == "new":
            break
    assert [value for seen in provider.requests for value in seen.header_values("x-key")][-1] == "new"
    assert {seen.header("x-key") for seen in provider.requests} == {"old", "new"}


def test_no_secret_is_in_the_log_or_the_status(headgate: Headgate, space: Space, provider: FakeServer) -> None:
    space.secret("key", {"value": "v3ry-s3cret-indeed"})
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        credentials: [{{name: key, secretRef: {{name: key, key: value}}, location: {{header: {{name: x-key}}}}}}]
        """,
    )
    space.apply()
    assert space.call("api").status_code == 200
    assert provider.requests[0].header("x-key") == "v3ry-s3cret-indeed"
    assert "v3ry-s3cret-indeed" not in headgate.log()
    for path in files_below(headgate.state):
        assert b"v3ry-s3cret-indeed" not in path.read_bytes(), path


def files_below(root: Path) -> Iterator[Path]:
    """The regular files in a directory."""
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
