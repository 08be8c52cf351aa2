"""The Plan: what the declared objects mean, resolved to the last value, before any proxy's configuration language.

compile makes it, `envoy/` (and later other backends) renders it, `infra/` makes Kubernetes objects of it. Everything
here is frozen and compared by value; durations are whole milliseconds; nothing here holds a secret's value, only the
name under which the data plane will ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from headgate.model.answers import AnswerMark, BodyHint, ResetHeader, StatusRange
from headgate.model.fleet import Fleet, ServiceMode
from headgate.model.matches import RequestMatch
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue

#: Milliseconds.
Millis = int

#: The largest RE2 program (as RE2 counts) that compile lets through and that proxies are told to accept: Envoy's own bound
#: of 100 is too little for a UUID or two. Matching costs the same for all.
REGEX_PROGRAM = 1_000


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of the provider. `literal` tells an IP address from a name. Lower priorities are used first.

    `dial`: the address and port that is connected to in place of what `hostname` and `port` say; the provider is still
    asked, and proves itself, under its own name, and the address guard lets this one address through. None but where
    providers are simulated.
    """

    hostname: str
    port: int
    priority: int = 0
    weight: int = 1
    literal: bool = False
    dial: tuple[str, int] | None = None

    @property
    def authority(self) -> str:
        """The host as a URL spells it, without the port."""
        return f"[{self.hostname}]" if ":" in self.hostname else self.hostname

    def host(self, *, tls: bool) -> str:
        """What the Host header says to it: the port only where it is not the scheme's own."""
        return self.authority if self.port == (443 if tls else 80) else f"{self.authority}:{self.port}"


class LookupFamily(StrEnum):
    AUTO = "Auto"
    V4_ONLY = "IPv4Only"
    V6_ONLY = "IPv6Only"
    V4_PREFERRED = "IPv4Preferred"
    ALL = "All"


@dataclass(frozen=True, slots=True)
class Dns:
    """How names are resolved. `refresh` None: as often as the answer's TTL says."""

    refresh: Millis | None = None
    family: LookupFamily = LookupFamily.AUTO


@dataclass(frozen=True, slots=True)
class SubjectAltName:
    """A name that the provider's certificate must carry; exactly one field is set."""

    dns: str | None = None
    uri: str | None = None


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS towards the provider.

    `server_name` None: each endpoint's own hostname is both SNI and the name that is checked.
    `roots`: name of the trust bundle among the gateway's `secrets`. `client_certificate` likewise, None for none.
    """

    roots: str
    server_name: str | None = None
    subject_alt_names: tuple[SubjectAltName, ...] = ()
    client_certificate: str | None = None


class CredentialPlace(StrEnum):
    HEADER = "Header"
    QUERY = "QueryParameter"
    COOKIE = "Cookie"


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential that is put into every call: `secret` names it among the gateway's `secrets`.

    `yields`: the caller's own value in this header passes, and the credential goes in only where the caller sent none or
    a copy of what it sent as its key: the same text, with or without `prefix`, that it put into another place of this
    section's credentials that does not yield. What passes is one token after `prefix`, which is written as it stands here;
    a call that has anything else in this header is refused, for the provider might take it for none and go by the key. For
    providers that take a key and beside it a user's token in a header where their clients repeat the key if there is no
    user.
    """

    name: str
    secret: str
    place: CredentialPlace
    key: str
    prefix: str = ""
    yields: bool = False


@dataclass(frozen=True, slots=True)
class Timeouts:
    """`request` bounds the whole call, retries and waits included; 0 for no bound (streams). `stream_idle` bounds the
    silence between two bytes in either direction; 0 for none. `connect` bounds TCP and TLS handshake."""

    request: Millis
    connect: Millis
    stream_idle: Millis


class OnExceed(StrEnum):
    """What to do when the provider asks for a longer wait than allowed."""

    #: Give the caller the provider's answer at once.
    FAIL_FAST = "FailFast"
    #: Retry after the ordinary back-off all the same.
    BACK_OFF = "BackOff"


class RetryTrigger(StrEnum):
    """Failures without an HTTP answer of the provider that may be tried again."""

    CONNECT_FAILURE = "connect-failure"
    REFUSED_STREAM = "refused-stream"
    RESET_BEFORE_REQUEST = "reset-before-request"
    #: Any reset before response headers: the provider may have acted on the request.
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Retry:
    """How failed attempts are repeated.

    `attempts`: tries after the first one (at least 1; no retry is None in the section). `statuses` are retried for
    `methods` only; connect failures, where nothing was sent, are retried for every method when triggered.
    `hint_max`: the longest wait asked for by the provider that is honoured. `assumed_wait`: what a 429 without a hint
    is taken to ask for, None for nothing. `marks` overrule `statuses` and `methods`: an answer that means `NOTHING_RAN` is
    retried whatever the method, any other meaning never. `client_count_headers`: where a client says how often it has
    repeated the call by itself; an answer to a call that has more than 0 there is never a reason to repeat it.
    """

    attempts: int
    triggers: tuple[RetryTrigger, ...]
    statuses: tuple[int, ...]
    methods: tuple[str, ...]
    per_try_timeout: Millis | None
    back_off_base: Millis
    back_off_max: Millis
    reset_headers: tuple[ResetHeader, ...] = ()
    body_hint: BodyHint | None = None
    hint_max: Millis = 30_000
    on_exceed: OnExceed = OnExceed.FAIL_FAST
    assumed_wait: Millis | None = None
    marks: tuple[AnswerMark, ...] = ()
    client_count_headers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailureRate:
    """Open when at least `percent` of the calls in the last `window` failed and there were at least `minimum`."""

    percent: int
    window: Millis
    minimum: int


@dataclass(frozen=True, slots=True)
class Breaker:
    """A breaker over one section, whatever address its calls go to.

    Failures are calls (not attempts) that end with a status in `failures`, or without an answer of the provider.
    Opens after `consecutive` failures in a row (None: not counted) or by `rate`; refuses for `break_duration`, doubled
    at each failed trial up to `max_break_duration`; then lets `trials` calls through at a time, and closes after that
    many successes.
    """

    consecutive: int | None
    rate: FailureRate | None
    failures: tuple[StatusRange, ...]
    break_duration: Millis
    max_break_duration: Millis
    trials: int


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Concurrency ceilings of one section, per proxy; None for 1024."""

    connections: int | None = None
    pending: int | None = None
    requests: int | None = None
    retries: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """A token bucket: `requests` tokens per `interval`, at most `burst` at once.

    `id` is the identity of the bucket and survives every edit: `<policy namespace>/<policy>/<rule>@<target>`; all
    sections that carry the same id share the bucket. A request counts when any of `selectors` matches (none: always).
    Headers of kind Distinct in the matching selector give each value a bucket of its own.
    """

    id: str
    requests: int
    interval: Millis
    burst: int
    selectors: tuple[RequestMatch, ...] = ()


@dataclass(frozen=True, slots=True)
class HeaderRules:
    """Header changes in one direction, done in the order remove, set (replaces), add (appends)."""

    set: tuple[tuple[str, str], ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """An active HTTP check of every endpoint by every proxy."""

    path: str
    method: str
    interval: Millis
    timeout: Millis
    unhealthy_threshold: int
    healthy_threshold: int
    expected: tuple[StatusRange, ...]
    hostname: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """A part of an upstream with its own connections, breaker and policies.

    `id` is `<namespace>/<upstream>/<section>` and never changes with order. `owners` are the objects that shaped it.
    """

    id: str
    name: str
    endpoints: tuple[Endpoint, ...]
    base_path: str
    dns: Dns
    tls: Tls | None
    credentials: tuple[Credential, ...]
    #: Header names (lower case) that a caller may never send through: credential headers of the provider.
    strip_request_headers: tuple[str, ...]
    #: Query parameters and cookies that a caller may never send through.
    strip_query: tuple[str, ...]
    strip_cookies: tuple[str, ...]
    timeouts: Timeouts
    retry: Retry | None
    breaker: Breaker | None
    ceilings: Ceilings
    limits: tuple[Limit, ...]
    request_headers: HeaderRules
    response_headers: HeaderRules
    upgrades: tuple[str, ...]
    health_check: HealthCheck | None
    #: CIDRs that may be reached though the address guard would refuse them.
    allowed_cidrs: tuple[str, ...]
    owners: tuple[ObjectRef, ...] = ()
    #: For the section's streaming routes, in place of `timeouts`; None where it has no such routes.
    stream_timeouts: Timeouts | None = None
    #: Bytes: a call whose body is declared to be longer is refused (413). None for no bound.
    max_request_body: int | None = None
    #: Bytes of request line and headers together, as the caller sent them; beyond it the call is refused (414, 431).
    max_request_head: int | None = None

    @property
    def failover(self) -> bool:
        return len(self.endpoints) > 1


@dataclass(frozen=True, slots=True)
class Probe:
    """A cheap call, made past the proxies, that tells whether the provider is up and takes the credentials.

    It goes where the calls of `section` go, with its TLS, credentials and request headers; `path` is whole, base path and
    query included. All is well with a status in `expected` and, where `field` is given, that string in the JSON body as
    `text`; `marks` tell what other answers mean. `reset_headers`, `body_hint`: where a 429 says how long to wait.
    `interval` between two; `least` even while failures are being looked into.
    """

    section: str
    path: str
    method: str
    expected: tuple[StatusRange, ...]
    interval: Millis
    least: Millis
    field: str = ""
    text: str = ""
    marks: tuple[AnswerMark, ...] = ()
    reset_headers: tuple[ResetHeader, ...] = ()
    body_hint: BodyHint | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """Calls that match go to the section of this name. `streaming`: under the section's `stream_timeouts`."""

    match: RequestMatch
    section: str
    streaming: bool = False


@dataclass(frozen=True, slots=True)
class Upstream:
    """One third-party API as it will be served.

    `sections` are sorted by name. `routes` are tried in their order, the most specific first: a section may have
    several, with those of others between them; the last one matches everything and leads to the section `default`.
    """

    ref: ObjectRef
    sections: tuple[Section, ...]
    routes: tuple[Route, ...]
    #: The provider's own `host[:port]`s: absolute URLs to them in answers are rewritten to the gateway's.
    authorities: tuple[str, ...]
    #: None: nobody asks.
    probe: Probe | None = None
    service_mode: ServiceMode = ServiceMode.EXTERNAL_NAME

    @property
    def key(self) -> str:
        return self.ref.key

    def section(self, name: str) -> Section:
        """The section of this name; KeyError if there is none."""
        for section in self.sections:
            if section.name == name:
                return section
        raise KeyError(name)


class SecretKind(StrEnum):
    #: A credential: bytes that are injected as they are.
    OPAQUE = "Opaque"
    #: A certificate chain with its private key.
    TLS = "TLS"
    #: CA certificates to trust.
    TRUST_BUNDLE = "TrustBundle"


@dataclass(frozen=True, slots=True)
class SecretMaterial:
    """Secret bytes on their way to the proxies of one gateway, named as Section refers to them."""

    name: str
    kind: SecretKind
    value: SecretValue
    private_key: SecretValue | None = None
    owners: tuple[ObjectRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a gateway takes calls. `certificate` names a TLS secret of the gateway; None for plain HTTP.

    `hosts` are the gateway's own names (lower case, without port): a request for one of them, or for any address
    literal, carries the upstream in its path. `suffixes` may follow `<upstream>.<namespace>` in a host name.
    """

    address: str
    port: int
    certificate: str | None = None
    hosts: tuple[str, ...] = ("localhost",)
    suffixes: tuple[str, ...] = ("svc", "svc.cluster.local")

    @property
    def scheme(self) -> str:
        """How callers speak to it."""
        return "https" if self.certificate else "http"

    @property
    def url(self) -> str:
        """Where callers on the same machine reach it: an address that means all of them is `localhost` to them."""
        host = {"0.0.0.0": "localhost", "::": "localhost", "": "localhost"}.get(self.address, self.address)
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Gateway:
    """One fleet of proxies and everything that it serves; `upstreams` by `namespace/name`."""

    ref: ObjectRef
    listener: Listener
    upstreams: Mapping[str, Upstream]
    secrets: Mapping[str, SecretMaterial] = field(default_factory=lambda: MappingProxyType({}))
    fleet: Fleet = field(default_factory=Fleet)

    @property
    def key(self) -> str:
        return self.ref.key
