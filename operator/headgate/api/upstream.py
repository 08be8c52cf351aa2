"""UpstreamService: one third-party API."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headgate.api.base import Model, Rule
from headgate.api.meta import AGE, READY, Column, Kind, Names
from headgate.api.status import UpstreamStatus
from headgate.api.types import Duration, HeaderName, HeaderText, Hostname, Label, Method, ObjectName, PathPrefix, Port, Regex, Seq, Status

LIST_MAP = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


class GatewayRef(Model):
    """The gateway that serves an upstream."""

    name: Annotated[ObjectName, Field(description="Name of the IntegrationGateway.")]
    namespace: Annotated[Label | None, Field(default=None, description="Its namespace; left out: the upstream's own.")]


class Endpoint(Model):
    """One address of the provider."""

    hostname: Annotated[Hostname, Field(description="Host name or IP address.")]
    port: Annotated[Port | None, Field(default=None, description="Left out: the upstream's port.")]
    priority: Annotated[int | None, Field(default=None, ge=0, le=15, description="0 is used first; higher numbers only while all lower ones are down. Default 0; numbers without a gap.")]
    weight: Annotated[int | None, Field(default=None, ge=1, le=128, description="Share of the calls among endpoints of the same priority. Default 1.")]


class SecretRef(Model):
    """A Secret in the upstream's namespace."""

    name: Annotated[ObjectName, Field(description="Name of the Secret.")]


class SecretKeyRef(Model):
    """One key of a Secret in the upstream's namespace."""

    name: Annotated[ObjectName, Field(description="Name of the Secret.")]
    key: Annotated[str, Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253, description="Key in the Secret's data.")]


class CaCertificateRef(Model):
    """CA certificates (PEM) under the key ca.crt."""

    kind: Annotated[Literal["Secret", "ConfigMap"], Field(description="Secret or ConfigMap.")]
    name: Annotated[ObjectName, Field(description="Its name, in the upstream's namespace.")]


class SubjectAltName(Model):
    """A name that the provider's certificate must carry."""

    type: Annotated[Literal["Hostname", "URI"], Field(description="Hostname or URI.")]
    hostname: Annotated[Hostname | None, Field(default=None, description="A DNS name, for type Hostname.")]
    uri: Annotated[str | None, Field(default=None, min_length=1, max_length=253, description="A URI such as a SPIFFE id, for type URI.")]

    rules = (
        Rule(
            "(self.type == 'Hostname') == has(self.hostname) && (self.type == 'URI') == has(self.uri)",
            "give hostname for type Hostname, uri for type URI, and not both",
            lambda self: (self.type == "Hostname") == (self.hostname is not None) and (self.type == "URI") == (self.uri is not None),
        ),
    )


class TlsValidation(Model):
    """Whom to believe."""

    ca_certificate_refs: Annotated[Seq[CaCertificateRef], Field(default=(), max_length=8, description="Own CAs, instead of the well-known ones.")]
    well_known_ca_certificates: Annotated[Literal["System"] | None, Field(default=None, alias="wellKnownCACertificates", description="System: the CAs that browsers trust. The default.")]
    hostname: Annotated[Hostname | None, Field(default=None, description="The name sent as SNI and looked for in the certificate. Default: the endpoint's hostname.")]
    subject_alt_names: Annotated[Seq[SubjectAltName], Field(default=(), max_length=5, description="Names of which the certificate must carry one, instead of hostname.")]

    rules = (
        Rule(
            "!(has(self.caCertificateRefs) && size(self.caCertificateRefs) > 0 && has(self.wellKnownCACertificates))",
            "give caCertificateRefs or wellKnownCACertificates, not both",
            lambda self: not (self.ca_certificate_refs and self.well_known_ca_certificates),
            "wellKnownCACertificates",
        ),
    )


class UpstreamTls(Model):
    """TLS towards the provider."""

    mode: Annotated[Literal["None", "ServerOnly", "ClientAndServer"] | None, Field(default=None, description="None: plain HTTP; ServerOnly (the default): HTTPS; ClientAndServer: HTTPS with a client certificate.")]
    client_certificate_ref: Annotated[SecretRef | None, Field(default=None, description="A Secret with tls.crt and tls.key, for ClientAndServer.")]
    validation: Annotated[TlsValidation | None, Field(default=None, description="How the provider's certificate is checked.")]

    rules = (
        Rule(
            "(has(self.mode) && self.mode == 'ClientAndServer') == has(self.clientCertificateRef)",
            "give clientCertificateRef with mode: ClientAndServer, and only then",
            lambda self: (self.mode == "ClientAndServer") == (self.client_certificate_ref is not None),
            "clientCertificateRef",
        ),
        Rule(
            "!(has(self.mode) && self.mode == 'None' && has(self.validation))",
            "validation has nothing to check with mode: None",
            lambda self: not (self.mode == "None" and self.validation is not None),
            "validation",
        ),
    )


class HeaderLocation(Model):
    """A request header."""

    name: Annotated[HeaderName, Field(description="Header name.")]
    prefix: Annotated[HeaderText | None, Field(default=None, description="Text before the secret, such as 'Bearer ' with its space.")]


class CredentialLocation(Model):
    """Where a credential goes."""

    header: Annotated[HeaderLocation | None, Field(default=None, description="Into a header.")]
    query_parameter: Annotated[str | None, Field(default=None, pattern=r"^[A-Za-z0-9._~-]+$", min_length=1, max_length=128, description="Into this query parameter.")]
    cookie: Annotated[str | None, Field(default=None, pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$", min_length=1, max_length=128, description="Into this cookie.")]

    rules = (
        Rule(
            "(has(self.header) ? 1 : 0) + (has(self.queryParameter) ? 1 : 0) + (has(self.cookie) ? 1 : 0) == 1",
            "give exactly one of header, queryParameter and cookie",
            lambda self: sum(v is not None for v in (self.header, self.query_parameter, self.cookie)) == 1,
        ),
    )


class Credential(Model):
    """A credential that is put into every call; the caller's own in the same place is replaced."""

    name: Annotated[Label, Field(description="Name of the credential.")]
    secret_ref: Annotated[SecretKeyRef, Field(description="Where the secret is kept.")]
    location: Annotated[CredentialLocation | None, Field(default=None, description="Where it goes. Default: where the provider wants it.")]


class SectionHeaderMatch(Model):
    """A match on one request header."""

    name: Annotated[HeaderName, Field(description="Header name.")]
    type: Annotated[Literal["Exact", "RegularExpression"] | None, Field(default=None, description="How value is compared. Default Exact.")]
    value: Annotated[str, Field(max_length=1024, description="The value, or the regular expression (RE2) for all of it.")]


class SectionMatch(Model):
    """All that is given must match."""

    path_prefix: Annotated[PathPrefix | None, Field(default=None, description="Whole path segments: /v1 matches /v1 and /v1/x, not /v1beta.")]
    path_regex: Annotated[Regex | None, Field(default=None, description="A regular expression (RE2) for the whole path without the query.")]
    methods: Annotated[Seq[Method], Field(default=(), max_length=16, description="HTTP methods; left out: all.")]
    headers: Annotated[Seq[SectionHeaderMatch], Field(default=(), max_length=8, description="Request headers.")]

    rules = (
        Rule(
            "!(has(self.pathPrefix) && has(self.pathRegex))",
            "give pathPrefix or pathRegex, not both",
            lambda self: self.path_prefix is None or self.path_regex is None,
            "pathRegex",
        ),
        Rule(
            "has(self.pathPrefix) || has(self.pathRegex) || (has(self.methods) && size(self.methods) > 0) || (has(self.headers) && size(self.headers) > 0)",
            "an empty match would take every call: say what it matches, or use the section `default`",
            lambda self: bool(self.path_prefix or self.path_regex or self.methods or self.headers),
        ),
    )


class Timeouts(Model):
    """Time limits; 0s for none."""

    request: Annotated[Duration | None, Field(default=None, description="The whole call, retries and waits included.")]
    connect: Annotated[Duration | None, Field(default=None, description="TCP and TLS handshake. At least 1ms.")]
    stream_idle: Annotated[Duration | None, Field(default=None, description="Silence between two bytes, in either direction.")]


class Section(Model):
    """A part of the API with its own connections, breaker and policies."""

    name: Annotated[Label, Field(description="Name of the section; `default` is what no other section matches.")]
    matches: Annotated[Seq[SectionMatch], Field(default=(), max_length=8, description="Any of these leads here. The section `default` has none.")]
    timeouts: Annotated[Timeouts | None, Field(default=None, description="Time limits of this section, over the upstream's.")]
    credentials: Annotated[Seq[Credential], Field(default=(), max_length=8, description="Credentials of this section, over the upstream's of the same name.", json_schema_extra=LIST_MAP)]

    rules = (
        Rule(
            "(self.name == 'default') == (!has(self.matches) || size(self.matches) == 0)",
            "give matches, except for the section `default`, which has none",
            lambda self: (self.name == "default") == (not self.matches),
            "matches",
        ),
    )


class Dns(Model):
    """How the provider's names are resolved."""

    refresh_rate: Annotated[Duration | None, Field(default=None, description="How often. Default: as the answer's TTL says. At least 1s.")]
    lookup_family: Annotated[Literal["Auto", "IPv4Only", "IPv6Only", "IPv4Preferred", "All"] | None, Field(default=None, description="Which address families. Default Auto: IPv6 where there is one, else IPv4.")]


class StatusRange(Model):
    """Statuses from start to end, both included."""

    start: Annotated[Status, Field(description="First status.")]
    end: Annotated[Status, Field(description="Last status.")]

    rules = (Rule("self.start <= self.end", "start must not be above end", lambda self: self.start <= self.end, "end"),)


class ActiveHealthCheck(Model):
    """An HTTP check of every endpoint, by every proxy. It carries no credential."""

    path: Annotated[PathPrefix, Field(description="Path to ask for, from the root of the host.")]
    method: Annotated[Literal["GET", "HEAD", "OPTIONS"] | None, Field(default=None, description="Default GET.")]
    hostname: Annotated[Hostname | None, Field(default=None, description="Host header. Default: the endpoint's hostname.")]
    interval: Annotated[Duration | None, Field(default=None, description="Default 10s. At least 1s.")]
    timeout: Annotated[Duration | None, Field(default=None, description="Default 2s.")]
    unhealthy_threshold: Annotated[int | None, Field(default=None, ge=1, le=100, description="Failed checks before an endpoint is left out. Default 3.")]
    healthy_threshold: Annotated[int | None, Field(default=None, ge=1, le=100, description="Good checks before it is used again. Default 1.")]
    expected_statuses: Annotated[Seq[StatusRange], Field(default=(), max_length=8, description="What counts as good. Default 200 to 299.")]


class HealthCheck(Model):
    """How endpoints are checked."""

    active: Annotated[ActiveHealthCheck, Field(description="Ask every endpoint regularly.")]


class Header(Model):
    """A header with its value."""

    name: Annotated[HeaderName, Field(description="Header name.")]
    value: Annotated[HeaderText, Field(description="Value, taken literally.")]


class HeaderChanges(Model):
    """Done in the order remove, set, add."""

    set: Annotated[Seq[Header], Field(default=(), max_length=16, description="Replace, or add where absent.", json_schema_extra=LIST_MAP)]
    add: Annotated[Seq[Header], Field(default=(), max_length=16, description="Add beside what is there.", json_schema_extra=LIST_MAP)]
    remove: Annotated[Seq[HeaderName], Field(default=(), max_length=16, description="Take out.")]


class Headers(Model):
    """Header rules."""

    request: Annotated[HeaderChanges | None, Field(default=None, description="Towards the provider.")]
    response: Annotated[HeaderChanges | None, Field(default=None, description="Towards the caller.")]


class UpstreamServiceSpec(Model):
    """What is called, and how."""

    provider: Annotated[Label | None, Field(default=None, description="Profile that fills what is left out below: gemini, generic, or a plugged-in one. Default generic.")]
    gateway_ref: Annotated[GatewayRef | None, Field(default=None, description="The gateway that serves it. Default: the default gateway.")]
    hostname: Annotated[Hostname | None, Field(default=None, description="The provider's host name or address.")]
    port: Annotated[Port | None, Field(default=None, description="Default 443, or 80 with tls.mode None.")]
    endpoints: Annotated[Seq[Endpoint], Field(default=(), max_length=16, description="Several addresses, with priorities, instead of hostname.")]
    base_path: Annotated[PathPrefix | None, Field(default=None, description="Path that is put before every call's, such as /client/v4.")]
    tls: Annotated[UpstreamTls | None, Field(default=None, description="TLS towards the provider. Default: HTTPS, checked against the well-known CAs.")]
    credentials: Annotated[Seq[Credential], Field(default=(), max_length=8, description="Put into every call.", json_schema_extra=LIST_MAP)]
    sections: Annotated[Seq[Section], Field(default=(), max_length=64, description="Parts of the API, added to the profile's own; the most specific match wins.", json_schema_extra=LIST_MAP)]
    timeouts: Annotated[Timeouts | None, Field(default=None, description="Time limits.")]
    dns: Annotated[Dns | None, Field(default=None, description="How names are resolved.")]
    health_check: Annotated[HealthCheck | None, Field(default=None, description="How endpoints are checked.")]
    headers: Annotated[Headers | None, Field(default=None, description="Header rules.")]
    upgrades: Annotated[Seq[Literal["websocket"]], Field(default=(), max_length=4, description="Upgrades that callers may ask for; left out: none.")]

    rules = (
        Rule(
            "!(has(self.hostname) && has(self.endpoints) && size(self.endpoints) > 0)",
            "give hostname or endpoints, not both",
            lambda self: self.hostname is None or not self.endpoints,
            "endpoints",
        ),
        Rule(
            "has(self.hostname) || (has(self.endpoints) && size(self.endpoints) > 0) || (has(self.provider) && self.provider != 'generic')",
            "the generic provider has no host of its own: give hostname or endpoints",
            lambda self: bool(self.hostname or self.endpoints or (self.provider is not None and self.provider != "generic")),
            "hostname",
        ),
    )


class UpstreamService(Kind):
    """One third-party API that applications call through a gateway."""

    names: ClassVar[Names] = Names("UpstreamService", "upstreams", "upstream")
    columns: ClassVar[tuple[Column, ...]] = (
        READY,
        Column("Health", ".status.health"),
        Column("Circuit", ".status.circuit"),
        Column("Reason", ".status.reason", description="What is wrong, in one word."),
        Column("Since", ".status.since", "date", description="Since when it has been wrong."),
        Column("Provider", ".spec.provider"),
        Column("Host", ".status.host"),
        Column("Gateway", ".status.gateway", priority=1),
        Column("Address", ".status.address", priority=1, description="Base URL for applications."),
        Column("Message", '.status.conditions[?(@.type=="Ready")].message', priority=1),
        AGE,
    )
    # Applications call http://<name>.<namespace>: the name must be a DNS label.
    rules = (
        Rule(
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63",
            "the name becomes a host name: use at most 63 lower-case letters, digits and dashes, without dots",
            lambda self: len(self.metadata.name) <= 63 and all(c.isascii() and (c.isalnum() or c == "-") and c == c.lower() for c in self.metadata.name)
            and not self.metadata.name.startswith("-") and not self.metadata.name.endswith("-"),
            "metadata.name",
        ),
    )

    kind: Literal["UpstreamService"]
    spec: Annotated[UpstreamServiceSpec, Field(description="What is called, and how.")]
    status: Annotated[UpstreamStatus | None, Field(default=None, description="How it is doing. Written by Headgate.")]
