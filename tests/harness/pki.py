"""A test certificate authority: what the package's own can do, and certificates with something wrong or unusual in them.

Everything is made in memory and handed out as PEM bytes; nothing here is a secret worth keeping. Objects are immutable
after construction and may be shared between threads.
"""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Sequence

from cryptography.x509.oid import ExtendedKeyUsageOID

from headgate.simulate import certificates
from headgate.simulate.certificates import Identity, PrivateKey, load_identity

_DAY = dt.timedelta(days=1)


class Authority(certificates.Authority):
    """A certificate authority; `intermediate()` gives one below this one."""

    def __init__(self, name: str = "Headgate test root", *, parent: Authority | None = None) -> None:
        super().__init__(name, parent=parent)

    def intermediate(self, name: str = "Headgate test intermediate") -> Authority:
        """An authority signed by this one; its leaves carry it in their chain, so clients need to trust only
        the root.
        """
        return Authority(name, parent=self)

    def workload(self, name: str, *uris: str) -> Identity:
        """A server certificate that has URI names (a SPIFFE identity, say) besides `name`."""
        return self.issue((name,), uris=uris)

    def client(self, name: str, *, uris: Sequence[str] = (), key: PrivateKey | None = None) -> Identity:
        """A client certificate; `uris` become URI names (a SPIFFE identity, say). `key`: another one than usual."""
        return self.issue((name,), ExtendedKeyUsageOID.CLIENT_AUTH, uris=uris, key=key)

    def expired(self, *names: str) -> Identity:
        """A server certificate that ran out yesterday."""
        return self.issue(names, validity=(-30 * _DAY, -_DAY))

    def not_yet_valid(self, *names: str) -> Identity:
        """A server certificate that becomes valid tomorrow."""
        return self.issue(names, validity=(_DAY, 30 * _DAY))

    def wrong_name(self) -> Identity:
        """A sound server certificate of this authority, for a name that nobody asks for."""
        return self.server("wrong-name.example")


def client_context(ca_pem: bytes, identity: Identity | None = None) -> ssl.SSLContext:
    """A client's TLS context that trusts only `ca_pem`, presenting `identity` if given; names are checked."""
    context = ssl.create_default_context(cadata=ca_pem.decode())
    if identity is not None:
        load_identity(context, identity)
    return context
