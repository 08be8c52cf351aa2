"""The few CAs that a provider's certificates come from, out of the bundle of all well-known ones. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from functools import lru_cache

from headgate.model.secret import SecretValue

_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----(.*?)-----END CERTIFICATE-----", re.DOTALL)


@lru_cache(maxsize=64)
def chosen(bundle: SecretValue, fingerprints: frozenset[str]) -> SecretValue | None:
    """Those certificates of a bundle (PEM) whose SHA-256 is among these, in the bundle's order; None if there are none.

    Remembered, because every upstream of a provider asks the same of the same 140 certificates.
    """
    known = _by_fingerprint(bundle)
    found = [pem for fingerprint, pem in known.items() if fingerprint in fingerprints]
    return SecretValue(b"".join(found)) if found else None


@lru_cache(maxsize=4)
def _by_fingerprint(bundle: SecretValue) -> Mapping[str, bytes]:
    """The certificates of a bundle by the SHA-256 of their DER; what is no base64 is nobody's certificate."""
    found = {}
    for match in _CERTIFICATE.finditer(bundle.reveal()):
        try:
            der = base64.b64decode(b"".join(match[1].split()), validate=True)
        except binascii.Error:
            continue
        found[hashlib.sha256(der).hexdigest()] = match[0] + b"\n"
    return found
