"""A certificate authority in memory, for servers that stand in for others under their names.

Made anew by whoever needs one and never kept: what trusts it is told its certificate at the same moment. P-256 keys, PEM
bytes. Objects are immutable after construction and may be shared between threads.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAY = dt.timedelta(days=1)
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class Identity:
    """A leaf certificate with its key. `chain_pem` is the leaf followed by any intermediates, never the root."""

    name: str
    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The leaf in DER, to compare with what a peer presented."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def write(self, directory: Path) -> tuple[Path, Path]:
        """Write `<name>.crt` and `<name>.key` below `directory`; returns both paths."""
        stem = self.name.replace("/", "_").replace("*", "_").replace(":", "_")
        certificate, key = directory / f"{stem}.crt", directory / f"{stem}.key"
        certificate.write_bytes(self.chain_pem)
        key.write_bytes(self.key_pem)
        key.chmod(0o600)
        return certificate, key


class Authority:
    """A certificate authority. `pem` is what a client must trust."""

    def __init__(self, name: str, *, parent: Authority | None = None) -> None:
        """With a `parent` it is one of its intermediates, and its leaves carry it in their chain."""
        self.name = name
        self._key = ec.generate_private_key(ec.SECP256R1())
        issuer_name = parent.certificate.subject if parent else _subject(name)
        issuer_key = parent._key if parent else self._key  # noqa: SLF001 - its own kind
        # Python 3.13 and Envoy both check these extensions strictly, so they are spelled out.
        self.certificate: x509.Certificate = (
            _builder(_subject(name), issuer_name, self._key.public_key(), (-_DAY, 3650 * _DAY))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(_authority_key(issuer_key.public_key()), critical=False)
            .sign(issuer_key, hashes.SHA256())
        )
        self._chain: bytes = (_pem(self.certificate) + parent._chain) if parent else b""  # noqa: SLF001

    @property
    def pem(self) -> bytes:
        """This authority's own certificate."""
        return _pem(self.certificate)

    def server(self, *names: str) -> Identity:
        """A server certificate for DNS names and IP addresses; the first also becomes the common name."""
        return self.issue(names)

    def issue(
        self,
        names: Sequence[str],
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
        *,
        uris: Sequence[str] = (),
        validity: tuple[dt.timedelta, dt.timedelta] = (-_DAY, 365 * _DAY),
        key: PrivateKey | None = None,
    ) -> Identity:
        """A leaf. `uris` become URI names; `validity` counts from now; `key`: another one than usual."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        alternatives = [_general_name(n) for n in names] + [x509.UniformResourceIdentifier(u) for u in uris]
        certificate = (
            _builder(_subject(names[0]), self.certificate.subject, key.public_key(), validity)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(_authority_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        key_pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return Identity(names[0], _pem(certificate) + self._chain, key_pem, certificate)


def server_context(
    identity: Identity, *, client_ca: bytes | None = None, alpn: Sequence[str] = ("h2", "http/1.1")
) -> ssl.SSLContext:
    """A server's TLS context; with `client_ca` (PEM) a client certificate signed by it is required."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_identity(context, identity)
    context.set_alpn_protocols(list(alpn))
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca.decode())
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def load_identity(context: ssl.SSLContext, identity: Identity) -> None:
    """Load a certificate and key into `context`. OpenSSL reads them from files only, so a private temporary
    one is used.
    """
    with tempfile.TemporaryDirectory(prefix="headgate-pki-") as directory:
        certificate, key = identity.write(Path(directory))
        context.load_cert_chain(certificate, key)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: PublicKey,
    validity: tuple[dt.timedelta, dt.timedelta],
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + validity[0])
        .not_valid_after(now + validity[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _authority_key(public_key: ec.EllipticCurvePublicKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key)


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
