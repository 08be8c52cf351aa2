"""CAs as somebody else issues them: below a root of a company's, which nobody here is to trust."""

from __future__ import annotations

import datetime as dt

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


def issued_ca(name: str, *, rsa_key: bool = False, is_ca: bool = True) -> tuple[bytes, bytes]:
    """Certificate and key, PEM, as cert-manager would put them into a Secret."""
    root = ec.generate_private_key(ec.SECP256R1())
    key = rsa.generate_private_key(65537, 2048) if rsa_key else ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    subject, issuer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each)]) for each in (name, "company"))
    certificate = (
        x509.CertificateBuilder(
            issuer, subject, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(days=90)
        )
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .sign(root, hashes.SHA256())
    )
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM), key.private_bytes(*plain)
