"""The authority: what it issues, how it rotates, what is on disk."""

from __future__ import annotations

import datetime as dt
import json
import ssl
import stat
from pathlib import Path

import pytest
from cryptography import x509

from headgate.xds import identity
from headgate.xds.pki import SERVER_ID, CertificateAuthority, Credential, ServerTls, gateway_id, gateway_of

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> dt.datetime:
        return self.now


def uris(credential: Credential) -> list[str]:
    names = x509.load_pem_x509_certificate(credential.chain_pem).extensions
    return names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.UniformResourceIdentifier
    )


def verifies(credential: Credential, roots_pem: bytes) -> bool:
    leaf = x509.load_pem_x509_certificate(credential.chain_pem)
    for root in x509.load_pem_x509_certificates(roots_pem):
        try:
            leaf.verify_directly_issued_by(root)
        except Exception:  # noqa: BLE001 - whatever is wrong with it, this root did not issue it
            continue
        return True
    return False


def test_a_client_certificate_proves_one_gateway(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    client = authority.client("team-a/main")
    assert uris(client) == ["spiffe://headgate/gateway/team-a/main"]
    assert gateway_of(uris(client)) == "team-a/main"
    assert verifies(client, authority.roots_pem)
    assert uris(authority.server(["xds.example", "127.0.0.1"])) == [SERVER_ID]


@pytest.mark.parametrize(
    "ids",
    [
        [],
        ["spiffe://headgate/xds"],
        ["spiffe://other/gateway/a/b"],
        ["spiffe://headgate/gateway/a"],
        ["spiffe://headgate/gateway/a/b/c"],
        ["spiffe://headgate/gateway//b"],
        ["spiffe://headgate/gateway/a/b", "spiffe://headgate/gateway/a/c"],
    ],
)
def test_anything_else_proves_none(ids: list[str]) -> None:
    assert gateway_of(ids) is None


@pytest.mark.parametrize("key", ["", "a", "a/", "/b", "a/b/c"])
def test_a_gateway_key_has_two_parts(key: str) -> None:
    with pytest.raises(ValueError, match="namespace/name"):
        gateway_id(key)


def test_certificates_are_short_lived_and_renewed_at_two_thirds(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path, leaf_lifetime=dt.timedelta(hours=3), clock=Clock())
    client = authority.client("a/b")
    assert client.not_after == NOW + dt.timedelta(hours=3)
    assert NOW + dt.timedelta(hours=1.9) < client.renew_at < NOW + dt.timedelta(hours=2)


def test_the_authority_is_kept_and_its_files_are_private(tmp_path: Path) -> None:
    directory = tmp_path / "ca"
    first = CertificateAuthority(directory)
    again = CertificateAuthority(directory)
    assert again.roots_pem == first.roots_pem
    assert verifies(again.client("a/b"), first.roots_pem)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = list(directory.iterdir())
    assert [file.name for file in files] == ["authority.pem"], "no temporary file is left"
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_rotation_never_leaves_a_peer_without_a_root(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    old_roots, old_client = authority.roots_pem, authority.client("a/b")
    authority.begin_rotation()
    both = authority.roots_pem
    assert old_roots in both
    assert len(x509.load_pem_x509_certificates(both)) == 2
    assert verifies(authority.client("a/b"), old_roots), "still signed by what everyone knows"
    authority = CertificateAuthority(tmp_path)  # and a restart changes nothing
    authority.complete_rotation()
    new_client = authority.client("a/b")
    assert not verifies(new_client, old_roots)
    assert verifies(new_client, both)
    assert verifies(old_client, authority.roots_pem)
    authority = CertificateAuthority(tmp_path)
    assert len(x509.load_pem_x509_certificates(authority.roots_pem)) == 2
    authority.retire()
    assert not verifies(old_client, authority.roots_pem)
    assert verifies(new_client, CertificateAuthority(tmp_path).roots_pem)


def test_a_crash_in_the_midst_of_a_rotation_is_mended(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    authority.begin_rotation()
    coming = (tmp_path / "next.pem").read_bytes()
    authority.complete_rotation()
    (tmp_path / "next.pem").write_bytes(coming)  # as if it had not come to the last step
    again = CertificateAuthority(tmp_path)
    assert again.roots_pem == authority.roots_pem
    again.complete_rotation()
    assert again.roots_pem == authority.roots_pem


def test_a_retired_root_is_dropped_when_it_has_run_out(tmp_path: Path) -> None:
    clock = Clock()
    authority = CertificateAuthority(tmp_path, root_lifetime=dt.timedelta(days=10), clock=clock)
    clock.now += dt.timedelta(days=5)
    authority.begin_rotation()
    authority.complete_rotation()
    assert len(x509.load_pem_x509_certificates(authority.roots_pem)) == 2
    clock.now += dt.timedelta(days=6)
    assert len(x509.load_pem_x509_certificates(authority.roots_pem)) == 1


def test_no_certificate_outlives_its_root(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path, root_lifetime=dt.timedelta(hours=1), clock=Clock())
    assert authority.client("a/b").not_after == authority.expires


def test_a_damaged_authority_is_an_error_and_not_replaced(tmp_path: Path) -> None:
    CertificateAuthority(tmp_path)
    (tmp_path / "authority.pem").write_text("nonsense")
    with pytest.raises(ValueError, match=r".+"):
        CertificateAuthority(tmp_path)
    assert (tmp_path / "authority.pem").read_text() == "nonsense"


def test_a_key_is_never_printed(tmp_path: Path) -> None:
    client = CertificateAuthority(tmp_path).client("a/b")
    assert b"PRIVATE KEY" in client.key_pem
    assert "PRIVATE" not in repr(client)
    assert "PRIVATE" not in repr(ServerTls(CertificateAuthority(tmp_path)).current)


def test_renewing_the_server_replaces_it_as_a_whole(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    tls = ServerTls(authority, ["xds.example"])
    before = tls.current
    authority.begin_rotation()
    assert tls.current is before
    tls.renew()
    assert tls.current.credential.chain_pem != before.credential.chain_pem
    assert tls.current.roots_pem == authority.roots_pem


def test_the_clients_files_are_private_whole_and_written_only_when_they_differ(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path / "ca")
    directory = tmp_path / "id"
    identity.write(directory, authority.client("a/b"), authority.roots_pem)
    roots, client = directory / identity.ROOTS_FILE, directory / identity.CLIENT_FILE
    before = roots.stat().st_ino
    identity.write(directory, authority.client("a/b"), authority.roots_pem)
    assert roots.stat().st_ino == before, "unchanged roots are left alone"
    assert {path.name for path in directory.iterdir()} == {roots.name, client.name}
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    secret = json.loads(client.read_text())["resources"][0]["tls_certificate"]
    pem = secret["certificate_chain"]["inline_string"] + secret["private_key"]["inline_string"]
    (tmp_path / "pair.pem").write_text(pem)
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(tmp_path / "pair.pem")  # they belong together
