"""PEM material, made once."""

from collections.abc import Mapping

import pytest

from harness.pki import Authority


@pytest.fixture(scope="session")
def material() -> Mapping[str, bytes]:
    """`ca.crt`, `tls.crt` and `tls.key` that belong together."""
    authority = Authority()
    identity = authority.client("client.example")
    return {"ca.crt": authority.pem, "tls.crt": identity.chain_pem, "tls.key": identity.key_pem}
