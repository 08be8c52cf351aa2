"""Whether PEM text holds what it should. Messages never quote it. Pure; `cryptography` is loaded at the first use."""

from __future__ import annotations

_BEGIN_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


def bundle_problem(text: bytes) -> str:
    """What is wrong with a bundle of CA certificates; empty if nothing is."""
    if _BEGIN_CERTIFICATE not in text:
        return "there is no certificate in it: it must be PEM text with BEGIN CERTIFICATE"
    from cryptography import x509

    try:
        x509.load_pem_x509_certificates(text)
    except ValueError:
        return "a certificate in it is damaged: copy it again, whole"
    return ""


def pair_problem(chain: bytes, key: bytes) -> str:
    """What is wrong with a certificate chain (own certificate first) and its private key; empty if nothing is."""
    if _BEGIN_CERTIFICATE not in chain:
        return "tls.crt holds no certificate: it must be PEM text with BEGIN CERTIFICATE"
    if b"PRIVATE KEY-----" not in key:
        return "tls.key holds no private key: it must be PEM text with BEGIN PRIVATE KEY"
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        own = x509.load_pem_x509_certificates(chain)[0].public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "a certificate in tls.crt is damaged: copy it again, whole"
    try:
        private = load_pem_private_key(key, password=None)
    except TypeError:
        return "the key in tls.key is encrypted: store it without a password"
    except (ValueError, UnsupportedAlgorithm):
        return "the key in tls.key is damaged: copy it again, whole"
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if own.public_bytes(*spki) != private.public_key().public_bytes(*spki):
        return "tls.key does not belong to the first certificate in tls.crt: the own certificate comes first in a chain"
    return ""
