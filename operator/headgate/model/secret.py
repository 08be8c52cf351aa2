"""A secret's bytes in a wrapper that prints nothing: the only form in which they pass through Headgate."""

from __future__ import annotations

import hashlib


class SecretValue:
    """Bytes that never show in `repr`, `str`, a format string or a dataclass dump; compared by content.

    `reveal()` is called where the SDS resource is built (`envoy.secret`), where a proxy's certificate becomes a Secret
    (`infra.identity`), where a probe is sent (`probes`), and by compile to see whether the bytes are fit for their place
    (`compile.data`, `credentials`, `roots`, `tls`): what is said of them never quotes them. A test holds the
    list.
    """

    __slots__ = ("_bytes", "fingerprint")

    def __init__(self, value: bytes) -> None:
        self._bytes = value
        #: First 16 hex digits of a SHA-256 over the bytes: enough to see that a value changed, never logged.
        self.fingerprint = hashlib.sha256(b"headgate\0" + value).hexdigest()[:16]

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._bytes

    def __repr__(self) -> str:
        return "SecretValue(redacted)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretValue) and self._bytes == other._bytes

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __len__(self) -> int:
        return len(self._bytes)

    def __reduce__(self) -> str:
        raise TypeError("a secret's value is not to be pickled or copied to disk")
