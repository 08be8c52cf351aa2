"""Who is who on the xDS port: a small certificate authority, and the certificates it issues.

The server proves to be `spiffe://headgate/xds`, a proxy to belong to one gateway: `spiffe://headgate/gateway/NAMESPACE/NAME`,
and a replica of the operator that calls another one to be `spiffe://headgate/replica`.
Certificates are short-lived; `renew_at` says when to issue the next. A rotation of the authority itself has three steps,
each safe to repeat: `begin_rotation` makes the new root known (the bundle holds both), `complete_rotation` signs with it,
`retire` drops the old one once no certificate of it is in use.

Its roots and keys are in a `Storage`. `ServerTls` may be read from any thread.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headgate.xds.storage import Directory, Storage

TRUST_DOMAIN = "headgate"
SERVER_ID = f"spiffe://{TRUST_DOMAIN}/xds"
#: The server's identity as a name, for callers that can't check a URI. No other certificate has it.
SERVER_NAME = "xds.headgate.internal"
REPLICA_ID = f"spiffe://{TRUST_DOMAIN}/replica"
_GATEWAY_PREFIX = f"spiffe://{TRUST_DOMAIN}/gateway/"
#: Clocks differ: a certificate is valid from a little before it was made.
_SKEW = dt.timedelta(minutes=5)

#: In the storage: the root that signs, the one that will, and those that did; the first two with their keys.
SIGNER, COMING, RETIRED = "authority.pem", "next.pem", "retired.pem"

Clock = Callable[[], dt.datetime]


def utc_now() -> dt.datetime:
    """The wall clock, aware."""
    return dt.datetime.now(dt.UTC)


def gateway_id(gateway: str) -> str:
    """The SPIFFE ID of the proxies of a gateway (`namespace/name`). Raises ValueError if the key has another form."""
    if len([part for part in gateway.split("/") if part]) != 2 or gateway.count("/") != 1:
        msg = f"a gateway key is namespace/name, not {gateway!r}"
        raise ValueError(msg)
    return _GATEWAY_PREFIX + gateway


def gateway_of(spiffe_ids: Iterable[str]) -> str | None:
    """The gateway that a peer's URI names prove, or None if they do not prove exactly one."""
    found = {uri.removeprefix(_GATEWAY_PREFIX) for uri in spiffe_ids if uri.startswith(_GATEWAY_PREFIX)}
    if len(found) != 1:
        return None
    gateway = found.pop()
    try:
        gateway_id(gateway)
    except ValueError:
        return None
    return gateway


def is_replica(spiffe_ids: Iterable[str]) -> bool:
    """Do a peer's URI names prove that it is a replica of the operator?"""
    return REPLICA_ID in spiffe_ids


@dataclass(frozen=True, slots=True)
class Credential:
    """A certificate chain with its key, both PEM. `renew_at` is two thirds into its life."""

    chain_pem: bytes
    key_pem: bytes = field(repr=False)
    not_before: dt.datetime
    not_after: dt.datetime

    @property
    def renew_at(self) -> dt.datetime:
        """When to issue the next one."""
        return self.not_before + (self.not_after - self.not_before) * 2 / 3


@dataclass(frozen=True, slots=True)
class _Root:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey = field(repr=False)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


class CertificateAuthority:
    """The authority kept in `storage` (a path: that directory); made there if absent. Raises OSError, or ValueError for what
    is damaged. Nothing else may write there, but for `reload`."""

    def __init__(
        self,
        storage: Path | Storage,
        *,
        root_lifetime: dt.timedelta = dt.timedelta(days=3650),
        leaf_lifetime: dt.timedelta = dt.timedelta(hours=24),
        clock: Clock = utc_now,
    ) -> None:
        self._storage: Storage = Directory(storage) if isinstance(storage, Path) else storage
        self._root_lifetime = root_lifetime
        self._leaf_lifetime = leaf_lifetime
        self._clock = clock
        self._next: _Root | None = None
        self._retired: list[x509.Certificate] = []
        self._signer = self._read()

    @property
    def leaf_lifetime(self) -> dt.timedelta:
        """How long what it issues is good for."""
        return self._leaf_lifetime

    def reload(self) -> None:
        """Take what is in the storage now. Raises ValueError for what is damaged, and stays as it was."""
        self._signer = self._read()

    def _read(self) -> _Root:
        coming, signer, retired = self._load(COMING), self._load(SIGNER), self._storage.read(RETIRED)
        self._retired = x509.load_pem_x509_certificates(retired) if retired else []
        if signer is None:
            signer = self._make(SIGNER)
        if coming is not None and coming.certificate == signer.certificate:
            coming = None  # a crash came between the last two steps of complete_rotation
        self._next = coming
        return signer

    @property
    def roots_pem(self) -> bytes:
        """All roots to trust now: the signing one, the coming one, and those whose certificates may still be in use."""
        roots = [self._signer.certificate, *([self._next.certificate] if self._next else [])]
        roots += [c for c in self._retired if c.not_valid_after_utc > self._clock()]
        return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in roots)

    @property
    def expires(self) -> dt.datetime:
        """When the signing root runs out; rotate well before."""
        return self._signer.certificate.not_valid_after_utc

    @property
    def began(self) -> dt.datetime:
        """When the signing root began to be good."""
        return self._signer.certificate.not_valid_before_utc

    @property
    def rotating(self) -> bool:
        """Whether there is a next root."""
        return self._next is not None

    @property
    def retiring(self) -> bool:
        """Whether there are roots that no longer sign, and are trusted."""
        return any(each.not_valid_after_utc > self._clock() for each in self._retired)

    def knows(self, certificate_pem: bytes) -> bool:
        """Whether this is the root that signs, or the next one."""
        certificate = x509.load_pem_x509_certificate(certificate_pem)
        return certificate in (self._signer.certificate, self._next.certificate if self._next else None)

    def server(self, names: Iterable[str] = ()) -> Credential:
        """A server certificate for SERVER_ID, SERVER_NAME and the DNS names and addresses given."""
        return self._leaf([SERVER_ID], (SERVER_NAME, *names), ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, gateway: str) -> Credential:
        """A client certificate for the proxies of a gateway (`namespace/name`)."""
        return self._leaf([gateway_id(gateway)], (), ExtendedKeyUsageOID.CLIENT_AUTH)

    def replica(self) -> Credential:
        """A client certificate with which a replica of the operator calls another one."""
        return self._leaf([REPLICA_ID], (), ExtendedKeyUsageOID.CLIENT_AUTH)

    def begin_rotation(self, given: bytes | None = None) -> None:
        """Make the next root, or take the given one (PEM, with its key), in place of one that was to come; from now on
        `roots_pem` holds both. Renew server and clients, so that all know both. Raises ValueError for what can't sign."""
        if given is not None:
            self._next = _root(given, "what was given")
            self._store(COMING, self._next)
        elif self._next is None:
            self._next = self._make(COMING)

    def complete_rotation(self) -> None:
        """Sign with the next root. Only when every peer has the bundle that `begin_rotation` made."""
        if self._next is None:
            return
        if self._signer.certificate not in self._retired:
            self._retired = [*self._retired, self._signer.certificate]
        self._write_retired()
        self._store(SIGNER, self._next)
        self._signer = self._next
        self._next = None
        self._storage.remove(COMING)

    def retire(self) -> None:
        """Trust the old roots no longer. Only a leaf lifetime after `complete_rotation`, or at once after a theft."""
        self._retired = []
        self._write_retired()

    def _write_retired(self) -> None:
        pem = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in self._retired)
        if pem:
            self._storage.write(RETIRED, pem)
        else:
            self._storage.remove(RETIRED)

    def _load(self, name: str) -> _Root | None:
        pem = self._storage.read(name)
        return None if pem is None else _root(pem, name)

    def _store(self, name: str, root: _Root) -> None:
        self._storage.write(name, root.pem + _key_pem(root.key))

    def _make(self, name: str) -> _Root:
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock()
        # The serial in the name keeps two roots of one bundle apart for whoever looks a root up by its name.
        serial = x509.random_serial_number()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"headgate xds {serial:x}"[:64])])
        certificate = (
            x509.CertificateBuilder(subject, subject, key.public_key(), serial, now - _SKEW, now + self._root_lifetime)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        root = _Root(certificate, key)
        self._store(name, root)
        return root

    def _leaf(self, uris: list[str], names: Iterable[str], usage: x509.ObjectIdentifier) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        now = self._clock()
        begin, end = now - _SKEW, min(now + self._leaf_lifetime, self.expires)
        if end <= now:
            raise ValueError(f"the root that signs has run out, at {self.expires.isoformat()}")
        issuer = self._signer
        alternatives = [
            *(x509.UniformResourceIdentifier(uri) for uri in uris),
            *(_general_name(name) for name in names),
        ]
        certificate = (
            x509.CertificateBuilder(
                issuer.certificate.subject, x509.Name([]), key.public_key(), x509.random_serial_number(), begin, end
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
            .add_extension(_key_identifier(issuer.certificate), critical=False)
            .sign(issuer.key, hashes.SHA256())
        )
        return Credential(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key), begin, end)


@dataclass(frozen=True, slots=True)
class ServerMaterial:
    """What a TLS server needs at one moment. `replica`: with what it calls servers of its own kind."""

    credential: Credential
    roots_pem: bytes
    replica: Credential


class ServerTls:
    """The server's certificate and the roots it checks clients against; replaced as a whole, so any thread may read it. It
    can't be made, nor renewed, with a root that has run out: ValueError."""

    def __init__(self, authority: CertificateAuthority, names: Iterable[str] = ()) -> None:
        self._authority = authority
        self._names = tuple(names)
        self.current = self._issue()

    def renew(self) -> None:
        """Issue a new certificate and read the roots again. New connections get them; existing ones go on."""
        self.current = self._issue()

    def _issue(self) -> ServerMaterial:
        authority = self._authority
        return ServerMaterial(authority.server(self._names), authority.roots_pem, authority.replica())


def _root(pem: bytes, name: str) -> _Root:
    """A certificate and its key; what else is in the PEM (a chain above it) is not needed: what signs is trusted itself."""
    key = serialization.load_pem_private_key(pem, password=None)
    certificate = x509.load_pem_x509_certificate(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise ValueError(f"{name}: neither an elliptic curve key nor an RSA key")
    if certificate.public_key() != key.public_key():
        raise ValueError(f"{name}: the key is not the certificate's")
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = x509.BasicConstraints(ca=False, path_length=None)
    if not constraints.ca:
        raise ValueError(f"{name}: the certificate is not a CA's (cert-manager: isCA: true)")
    return _Root(certificate, key)


def _key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """As the issuer calls its own key, or verifiers would not find it."""
    try:
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier(None, None, None)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
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
