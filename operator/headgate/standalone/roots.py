"""The CA certificates that this machine trusts: what `System` means without a cluster."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from headgate.model.secret import SecretValue

#: Where a distribution keeps its bundle that OpenSSL, if it was built elsewhere, does not know of.
DEBIAN = "/etc/ssl/certs/ca-certificates.crt"


def system_roots(environment: Mapping[str, str] = os.environ) -> SecretValue:
    """`$SSL_CERT_FILE`, else the operating system's bundle, else the one that comes with Headgate. Raises OSError."""
    given = environment.get("SSL_CERT_FILE")
    if given:
        return SecretValue(Path(given).read_bytes())
    for candidate in (ssl.get_default_verify_paths().openssl_cafile, DEBIAN):
        if Path(candidate).is_file():
            return SecretValue(Path(candidate).read_bytes())
    import certifi

    return SecretValue(Path(certifi.where()).read_bytes())
