"""The shape of a provider's profile. Frozen data, made once at start; read by compile on any thread."""

from __future__ import annotations

from dataclasses import dataclass, field

from headgate.model.plan import BodyHint, CredentialPlace, Millis, RequestMatch, ResetHeader


@dataclass(frozen=True, slots=True)
class Location:
    """Where a credential goes: `key` is the name of the header (lower case), query parameter or cookie."""

    place: CredentialPlace
    key: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class TimeoutDefaults:
    """Time limits in milliseconds, 0 for none; None where the profile has no opinion."""

    request: Millis | None = None
    connect: Millis | None = None
    stream_idle: Millis | None = None


@dataclass(frozen=True, slots=True)
class RetryFacts:
    """What is known about repeating calls; it fills a RetryPolicy's gaps and retries nothing by itself.

    `statuses`: those that pass. `safe_methods`: repeatable after the provider has seen the request, beyond the
    idempotent ones. `reset_headers`, `body_hint`: where it says how long to wait.
    """

    statuses: tuple[int, ...] | None = None
    safe_methods: tuple[str, ...] = ()
    reset_headers: tuple[ResetHeader, ...] | None = None
    body_hint: BodyHint | None = None


@dataclass(frozen=True, slots=True)
class SectionProfile:
    """A part of the API that needs settings of its own. What is None comes from the profile as a whole.

    `streaming`: calls have no natural end, so that only a limit given for this very section bounds their whole time.
    """

    name: str
    matches: tuple[RequestMatch, ...]
    timeouts: TimeoutDefaults = field(default_factory=TimeoutDefaults)
    streaming: bool = False
    retry: RetryFacts | None = None
    credential: Location | None = None


@dataclass(frozen=True, slots=True)
class Profile:
    """One provider.

    `host` None: the user has to give one. `credential`: where a credential goes unless its `location` says otherwise.
    `strip_*`: where the provider takes credentials; what a caller puts there never gets through. `authorities`: hosts
    besides the called one whose absolute URLs in answers lead back through the gateway.
    """

    name: str
    credential: Location
    host: str | None = None
    port: int | None = None
    base_path: str = ""
    tls: bool = True
    strip_headers: tuple[str, ...] = ()
    strip_query: tuple[str, ...] = ()
    strip_cookies: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()
    timeouts: TimeoutDefaults = field(default_factory=TimeoutDefaults)
    retry: RetryFacts = field(default_factory=RetryFacts)
    sections: tuple[SectionProfile, ...] = ()
