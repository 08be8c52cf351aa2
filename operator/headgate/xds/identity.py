"""The client certificate on Envoy's side: two files that Envoy reads as file-based SDS and reads again when they change.

`client.json` holds certificate and key in one file, so that a pair never mismatches; `roots.json` holds the roots and the
only name Envoy accepts from the server. A rename into the directory makes Envoy read again, be it ours (`write`) or the
symlink swap of a mounted Kubernetes Secret that has the same two keys (`contents`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from headgate.xds.pki import SERVER_ID, Credential
from headgate.xds.storage import write_private

CLIENT_FILE = "client.json"
ROOTS_FILE = "roots.json"
CLIENT_SECRET = "xds_client"
ROOTS_SECRET = "xds_roots"
_SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"


def contents(credential: Credential, roots_pem: bytes) -> Mapping[str, bytes]:
    """File name to content."""
    client = {
        "@type": _SECRET_TYPE,
        "name": CLIENT_SECRET,
        "tls_certificate": {
            "certificate_chain": {"inline_string": credential.chain_pem.decode()},
            "private_key": {"inline_string": credential.key_pem.decode()},
        },
    }
    roots = {
        "@type": _SECRET_TYPE,
        "name": ROOTS_SECRET,
        "validation_context": {
            "trusted_ca": {"inline_string": roots_pem.decode()},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": SERVER_ID}}],
        },
    }
    return {
        CLIENT_FILE: json.dumps({"resources": [client]}).encode(),
        ROOTS_FILE: json.dumps({"resources": [roots]}).encode(),
    }


def write(directory: Path, credential: Credential, roots_pem: bytes) -> None:
    """Put both files into `directory` (made 0700 if absent), each atomically and only if it differs. Raises OSError.

    The roots go first, so that a client certificate is never ahead of the roots that its server's may need.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = contents(credential, roots_pem)
    for name in (ROOTS_FILE, CLIENT_FILE):
        path = directory / name
        if not path.exists() or path.read_bytes() != files[name]:
            write_private(path, files[name])
