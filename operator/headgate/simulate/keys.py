"""Keys as the simulated providers of a run know them, and where calls carry them.

Values are compared, never shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, unquote

from starlette.types import Scope

from headgate.model.plan import CredentialPlace
from headgate.model.secret import SecretValue
from headgate.simulate.redirect import Slot

#: Headers that hold a credential wherever they are seen.
CREDENTIAL_HEADERS = ("authorization", "apikey", "x-api-key", "x-goog-api-key", "x-auth-key", "cf-access-client-secret")
#: The one value that no simulated provider takes, so that the answer to a wrong key can be had.
INVALID = SecretValue(b"invalid")


class Keys:
    """Every key that was ever given, but for the one that means a wrong one. Replaced as a whole; any thread may read."""

    def __init__(self) -> None:
        self._good: frozenset[SecretValue] = frozenset()

    def add(self, values: Iterable[SecretValue]) -> None:
        """These are good from now on; one that was stays good, for a rotation overlaps."""
        self._good = self._good.union(values) - {INVALID}

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and SecretValue(text.encode()) in self._good


@dataclass(frozen=True, slots=True)
class Found:
    """A credential in a call: what its place is called, whether only a key of the gateway's can be there, and the value
    without its scheme, which is never shown."""

    label: str
    declared: bool
    value: str = field(repr=False)


def found(scope: Scope, slots: frozenset[Slot]) -> Iterator[Found]:
    """Every credential of a call: in the places that were declared, and in those that are known for it."""
    headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
    prefixes = {each.key: each.prefix for each in slots if each.place is CredentialPlace.HEADER}
    ours = {each.key for each in slots if each.place is CredentialPlace.HEADER and not each.yields}
    for name, value in headers:
        if name in prefixes and value.startswith(prefixes[name]):
            prefix = prefixes[name]
            yield Found(_header(name, prefix.strip()), name in ours, value.removeprefix(prefix))
        elif name in prefixes or name in CREDENTIAL_HEADERS:
            scheme, space, rest = value.partition(" ")
            yield Found(_header(name, scheme if space else ""), name in ours, rest if space else value)
    parameters = {each.key for each in slots if each.place is CredentialPlace.QUERY}
    for name, value in parse_qsl(scope["query_string"].decode("latin-1")):
        if name in parameters or name == "key":
            yield Found(f"query parameter {name}", name in parameters, value)
    cookies = {each.key for each in slots if each.place is CredentialPlace.COOKIE}
    for name, value in itertools.chain.from_iterable(_cookies(value) for name, value in headers if name == "cookie"):
        if name in cookies:
            yield Found(f"cookie {name}", True, value)


def _header(name: str, scheme: str) -> str:
    return f"header {name}: {scheme}" if scheme else f"header {name}"


def _cookies(header: str) -> Iterator[tuple[str, str]]:
    try:
        parsed: SimpleCookie = SimpleCookie(header)
    except CookieError:
        return
    for name, morsel in parsed.items():
        yield name, unquote(morsel.value)
