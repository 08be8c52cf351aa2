"""What a provider's profile comes to: a one-line upstream, compiled, and asked what becomes of a call and of an answer.

It reads the Plan, not the profile, so that a fact that compile loses is noticed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from harness.declare import World, policy, secret, upstream
from headgate.model.answers import Meaning
from headgate.model.matches import PathKind, RequestMatch
from headgate.model.plan import Credential, Retry, Route, Section, Timeouts, Upstream
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Settings
from headgate.providers.answers import read
from headgate.providers.profile import Profile
from headgate.providers.registry import BUILT_IN

SYSTEM_ROOTS = Path(certifi.where()).read_bytes()


class Provided:
    """An upstream `api` of the provider, with a key and a RetryPolicy that says nothing of its own."""

    def __init__(self, provider: str, options: str = "", *, retry: str = "", profiles: Sequence[Profile] = ()) -> None:
        said = f", providerOptions: {{{options}}}" if options else ""
        spec = f"{{provider: {provider}{said}, credentials: [{{name: key, secretRef: {{name: keys, key: key}}}}]}}"
        settings = Settings(implied_gateway=True, system_roots=SecretValue(SYSTEM_ROOTS))
        text = upstream("api", spec) + secret("keys", key="the-key") + policy("RetryPolicy", "api", retry, "api")
        known = {**BUILT_IN, **{profile.name: profile for profile in profiles}}
        self.profile = known[provider]
        self.world = World(text, settings, known)
        self.world.compile()
        served = self.world.served("api")
        assert served is not None, self.world.verdict("UpstreamService", "api")
        self.upstream: Upstream = served

    def route(self, path: str, method: str = "GET") -> Route:
        """Where a call goes."""
        return next(route for route in self.upstream.routes if _takes(route.match, path, method))

    def section(self, path: str, method: str = "GET") -> Section:
        """The section that a call goes to."""
        return self.upstream.section(self.route(path, method).section)

    def leads(self, path: str, method: str = "GET") -> str:
        """The name of that section."""
        return self.route(path, method).section

    def timeouts(self, path: str, method: str = "GET") -> Timeouts:
        """The time limits of a call."""
        route = self.route(path, method)
        section = self.upstream.section(route.section)
        if not route.streaming:
            return section.timeouts
        assert section.stream_timeouts is not None
        return section.stream_timeouts

    def retry(self, path: str, method: str = "GET") -> Retry:
        """How the section of a call repeats."""
        found = self.section(path, method).retry
        assert found is not None
        return found

    def repeats(
        self, path: str, method: str, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> bool:
        """Whether a call that is answered so is made again."""
        retry = self.retry(path, method)
        found = read(retry.marks, status, headers or {}, body)
        if found:
            return found == {Meaning.NOTHING_RAN}
        return status in retry.statuses and method in retry.methods

    def means(
        self, path: str, status: int, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> frozenset[Meaning]:
        """What an answer says beyond its status."""
        return read(self.retry(path, "POST").marks, status, headers or {}, body)

    def places(self, path: str) -> set[tuple[str, str, str, bool]]:
        """Where the key goes: place, name, prefix, whether it yields."""
        return {(each.place.value, each.key, each.prefix, each.yields) for each in self.credentials(path)}

    def credentials(self, path: str) -> tuple[Credential, ...]:
        """What is put into a call."""
        return self.section(path).credentials

    def trusted(self) -> set[str]:
        """The SHA-256 of each CA that the provider's certificate may come from."""
        tls = self.upstream.section("default").tls
        assert tls is not None
        (gateway,) = self.world.plan.gateways.values()
        bundle = gateway.secrets[tls.roots].value.reveal()
        return {each.fingerprint(SHA256()).hex() for each in x509.load_pem_x509_certificates(bundle)}


def _takes(match: RequestMatch, path: str, method: str) -> bool:
    assert not match.headers
    if match.methods and method not in match.methods:
        return False
    if match.path is None:
        return True
    value = match.path.value
    if match.path.kind is PathKind.REGEX:
        return re.fullmatch(value, path) is not None
    return path == value or path.startswith(value.rstrip("/") + "/")
