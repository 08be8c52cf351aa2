"""The shape of a provider's profile. Frozen data, made once at start; read by compile on any thread.

A profile holds what is known of a provider and what a gateway can act on: where it is, where its credentials go, which
parts it has, how long they take, how it says "slow down", "your key is wrong" and "never again". What a user declares
comes before what a profile says, field by field. A profile does nothing by itself: without a RetryPolicy nothing is
retried, whatever it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headgate.model.answers import AnswerMark, BodyHint, ResetHeader, StatusRange
from headgate.model.matches import RequestMatch
from headgate.model.plan import CredentialPlace, Millis

#: `spec.providerOptions` after its check against `Profile.options`: trimmed values by name, defaults filled in.
Options = Mapping[str, str]


def listed(value: str) -> tuple[str, ...]:
    """The entries of an option that is a list, in their order, each once."""
    return tuple(dict.fromkeys(each.strip() for each in value.split(",") if each.strip()))


@dataclass(frozen=True, slots=True)
class Location:
    """Where a credential goes: `key` is the name of the header (lower case), query parameter or cookie."""

    place: CredentialPlace
    key: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Companion:
    """A second place for a credential that goes where the profile says (one with a `location` of its own has none).

    `yields`: a caller's own value there passes (`Credential.yields` of the Plan). Only headers can yield.
    """

    location: Location
    yields: bool = False


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
    idempotent ones. `reset_headers`, `body_hint`: where it says how long to wait. `assumed_wait`: what a 429 without any
    hint asks for, None for nothing. `client_count_headers` (lower case): in which the provider's own clients say how often
    they have repeated a call by themselves; for clients that don't know `x-should-retry`, whose every repetition would
    otherwise be repeated again.
    """

    statuses: tuple[int, ...] | None = None
    safe_methods: tuple[str, ...] = ()
    reset_headers: tuple[ResetHeader, ...] | None = None
    body_hint: BodyHint | None = None
    assumed_wait: Millis | None = None
    client_count_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SectionProfile:
    """A part of the API that needs settings of its own. What is None comes from the profile as a whole.

    `about`: what its calls are, for people, in a few words.
    `streaming`: calls have no natural end, so that only a limit given for this very section bounds their whole time.
    `streams`: further matches of a section of which only these are such calls; `stream_timeouts` counts for them.
    `credential` and `companions` go together: where `credential` is given, `companions` replaces the profile's.
    `upgrades`: what callers may upgrade to, besides what the user allows. `marks` stand beside the profile's.
    """

    name: str
    matches: tuple[RequestMatch, ...]
    timeouts: TimeoutDefaults = field(default_factory=TimeoutDefaults)
    streaming: bool = False
    streams: tuple[RequestMatch, ...] = ()
    stream_timeouts: TimeoutDefaults = field(default_factory=TimeoutDefaults)
    retry: RetryFacts | None = None
    credential: Location | None = None
    companions: tuple[Companion, ...] = ()
    upgrades: tuple[str, ...] = ()
    marks: tuple[AnswerMark, ...] = ()
    max_request_body: int | None = None
    about: str = ""


@dataclass(frozen=True, slots=True)
class Option:
    """One entry that `spec.providerOptions` may have.

    `pattern`: a regular expression for the whole value. `required`: needed unless the user gives hostname or endpoints.
    `many`: the value is a list, separated by commas, and `pattern` is for each entry.
    """

    name: str
    description: str
    pattern: str
    example: str
    required: bool = False
    many: bool = False


@dataclass(frozen=True, slots=True)
class Root:
    """A CA that the provider's certificates come from: its name, for people, and the SHA-256 of its certificate in DER
    (lower-case hex)."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Quota:
    """What the provider publishes that it allows: `requests` per `interval` (a duration such as `5m`), shared by what
    `said` names. It limits nothing by itself: `headgate new` writes it into the RateLimit that it suggests."""

    name: str
    requests: int
    interval: str
    said: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A cheap call that tells whether the provider is up and the credential good.

    Healthy: a status in `expected` and, where `field` is given, that string of the JSON body is `text`. `least_interval`:
    probes count against quotas, so no more often than this.
    """

    path: str
    method: str = "GET"
    expected: tuple[StatusRange, ...] = (StatusRange(200, 299),)
    field: str = ""
    text: str = ""
    least_interval: Millis = 60_000


@dataclass(frozen=True, slots=True)
class Fact:
    """Where something in the profile is known from. `name` is what a test of it is called by; `source` an address, or how
    it was measured; `said` is the fact in one sentence, for the documentation."""

    name: str
    said: str
    source: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One provider.

    `host` None: the user has to give one; `{name}` in it, and in `authorities`, stands for the option of that name.
    `credential`: where a credential goes unless its `location` says otherwise. `strip_*`: where the provider takes
    credentials; what a caller puts there never gets through (a header that a companion yields must not be here).
    `authorities`: hosts besides the called one whose absolute URLs in answers lead back through the gateway. `roots`: the
    CAs to trust unless the user names others; empty for all well-known ones. `remove_*_headers`: what never passes.
    `sections_for`: further sections for the options given; a pure function. `max_request_head`: bytes of request line and
    headers that the provider takes.
    """

    name: str
    credential: Location
    title: str = ""
    documentation: str = ""
    host: str | None = None
    port: int | None = None
    base_path: str = ""
    tls: bool = True
    options: tuple[Option, ...] = ()
    companions: tuple[Companion, ...] = ()
    strip_headers: tuple[str, ...] = ()
    strip_query: tuple[str, ...] = ()
    strip_cookies: tuple[str, ...] = ()
    remove_request_headers: tuple[str, ...] = ()
    remove_response_headers: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()
    roots: tuple[Root, ...] = ()
    timeouts: TimeoutDefaults = field(default_factory=TimeoutDefaults)
    retry: RetryFacts = field(default_factory=RetryFacts)
    marks: tuple[AnswerMark, ...] = ()
    max_request_body: int | None = None
    max_request_head: int | None = None
    sections: tuple[SectionProfile, ...] = ()
    sections_for: Callable[[Options], tuple[SectionProfile, ...]] | None = None
    quotas: tuple[Quota, ...] = ()
    probe: Probe | None = None
    facts: tuple[Fact, ...] = ()
    #: How each client is given its base URL, for the documentation: its name, and what to write (Markdown), in which
    #: `{base}` stands for the upstream's address on the gateway.
    clients: tuple[tuple[str, str], ...] = ()
