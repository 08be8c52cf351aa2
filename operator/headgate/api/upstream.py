"""UpstreamService: one third-party API."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from headgate.api.base import Model, Rule
from headgate.api.credential import Credential
from headgate.api.healthcheck import HealthCheck
from headgate.api.meta import AGE, MESSAGE, READY, TROUBLE, Column, Kind, Names
from headgate.api.probe import Probe
from headgate.api.rules import at_least
from headgate.api.section import Section, Timeouts
from headgate.api.status import UpstreamStatus
from headgate.api.tls import UpstreamTls
from headgate.api.types import (
    AS_SET,
    BY_NAME,
    ByteQuantity,
    Duration,
    HeaderName,
    HeaderText,
    Hostname,
    Label,
    ObjectName,
    PathPrefix,
    Port,
    Seq,
)

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class GatewayRef(Model):
    """The gateway that serves an upstream."""

    name: Annotated[ObjectName, Field(description="Name of the IntegrationGateway.")]
    namespace: Annotated[
        Label | None,
        Field(
            default=None,
            description="Its namespace; another than the upstream's own must be let in by the gateway's allowedNamespaces. Default: the upstream's own.",
        ),
    ]


class Endpoint(Model):
    """One address of the provider."""

    hostname: Annotated[Hostname, Field(description="Host name or IP address.")]
    port: Annotated[Port | None, Field(default=None, description="Port. Default: the upstream's port.")]
    priority: Annotated[
        int | None,
        Field(
            default=None,
            ge=0,
            le=15,
            description="0 is used first; higher numbers only while all lower ones are down. Leave no number out. Default 0.",
        ),
    ]
    weight: Annotated[
        int | None,
        Field(
            default=None,
            ge=1,
            le=128,
            description="Share of the calls among endpoints of the same priority. Default 1.",
        ),
    ]


class Dns(Model):
    """How the provider's names are resolved."""

    refresh_rate: Annotated[
        Duration | None,
        Field(
            default=None, description="How often names are looked up, at least 1s. Default: as the answer's TTL says."
        ),
    ]
    lookup_family: Annotated[
        Literal["Auto", "IPv4Only", "IPv6Only", "IPv4Preferred", "All"] | None,
        Field(
            default=None,
            description="Which addresses are used. Auto and IPv4Preferred: IPv4 where the name has one, else IPv6, since many networks can't reach IPv6. IPv4Only and IPv6Only: no others. All: both at once. Default Auto.",
        ),
    ]

    rules = (at_least("refreshRate", "1s"),)


class Header(Model):
    """A header with its value."""

    name: Annotated[HeaderName, Field(description="Header name.")]
    value: Annotated[HeaderText, Field(description="Value, taken literally: no variables are filled in.")]


class HeaderChanges(Model):
    """Done in the order remove, set, add."""

    set: Annotated[Seq[Header], Field(default=(), max_length=16, description="Replace, or add where absent."), BY_NAME]
    add: Annotated[Seq[Header], Field(default=(), max_length=16, description="Add beside what is there."), BY_NAME]
    remove: Annotated[
        Seq[HeaderName], Field(default=(), max_length=16, description="Take out, before set and add."), AS_SET
    ]


class Headers(Model):
    """Header rules."""

    request: Annotated[HeaderChanges | None, Field(default=None, description="Changes on the way to the provider.")]
    response: Annotated[HeaderChanges | None, Field(default=None, description="Changes on the way to the caller.")]


class UpstreamServiceSpec(Model):
    """What is called, and how."""

    provider: Annotated[
        Label | None,
        Field(
            default=None,
            description="Name of the profile that fills what is left out below: cloudflare, supabase, supabase-management, gemini, generic, or one that is plugged in. Default generic.",
        ),
    ]
    provider_options: Annotated[
        dict[str, Annotated[str, Field(max_length=1024)]],
        Field(
            default_factory=dict,
            max_length=16,
            description="What the provider's profile has to be told, by the names of its options, such as the project that is meant. `headgate providers NAME` lists a profile's options. Default none.",
        ),
    ]
    gateway_ref: Annotated[
        GatewayRef | None, Field(default=None, description="The gateway that serves it. Default: the default gateway.")
    ]
    service_mode: Annotated[
        Literal["ExternalName", "ClusterIP", "None"] | None,
        Field(
            default=None,
            description="The Service of the upstream's name, by which applications in a cluster call it. ExternalName: an alias for the gateway's Service. ClusterIP: with an address of its own. None: there is none, and it is called by its path at the gateway. Default ExternalName.",
        ),
    ]
    hostname: Annotated[
        Hostname | None,
        Field(
            default=None,
            description="The provider's host name or address. Give this or endpoints, unless the provider's profile knows the host.",
        ),
    ]
    port: Annotated[Port | None, Field(default=None, description="Port. Default 443, or 80 with tls.mode None.")]
    endpoints: Annotated[
        Seq[Endpoint],
        Field(
            default=(),
            max_length=16,
            description="Several addresses, with priorities and weights, instead of hostname.",
        ),
    ]
    base_path: Annotated[
        PathPrefix | None,
        Field(default=None, description="Path that is put before every call's, such as /client/v4. Default none."),
    ]
    tls: Annotated[
        UpstreamTls | None,
        Field(
            default=None,
            description="TLS towards the provider. Default: HTTPS, checked against the CAs of the provider's profile, else those that browsers trust.",
        ),
    ]
    credentials: Annotated[
        Seq[Credential],
        Field(
            default=(),
            max_length=8,
            description="Credentials that are put into every call, all of them; what the caller has in their places is replaced.",
        ),
        BY_NAME,
    ]
    sections: Annotated[
        Seq[Section],
        Field(
            default=(),
            max_length=64,
            description="Parts of the API with their own connections, breaker and policies, added to the profile's own. A call belongs to the section with the most specific match, else to `default`.",
        ),
        BY_NAME,
    ]
    timeouts: Annotated[Timeouts | None, Field(default=None, description="Time limits, for sections that set none.")]
    max_request_body: Annotated[
        ByteQuantity | None,
        Field(
            default=None,
            description="The largest request body that is let through, in bytes or like 500k or 10Mi, for sections that set none; 0 for no bound. A call that announces more is answered with 413. Default: what the provider's profile says, else no bound.",
        ),
    ]
    dns: Annotated[Dns | None, Field(default=None, description="How the provider's names are resolved.")]
    health_check: Annotated[
        HealthCheck | None,
        Field(default=None, description="How endpoints are checked. Default: only by how they answer calls."),
    ]
    probe: Annotated[
        Probe | None,
        Field(
            default=None,
            description="How the provider is asked, from time to time, whether it is well and takes the credentials. Default: as its profile knows, else not at all.",
        ),
    ]
    headers: Annotated[
        Headers | None, Field(default=None, description="Headers that are set, added or removed on the way.")
    ]
    upgrades: Annotated[
        Seq[Literal["websocket"]],
        Field(
            default=(),
            max_length=4,
            description="Upgrades that callers may ask for, in every section: websocket. Default: only where the provider's profile has them.",
        ),
        AS_SET,
    ]

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
            lambda self: bool(
                self.hostname or self.endpoints or (self.provider is not None and self.provider != "generic")
            ),
            "hostname",
        ),
        Rule(
            "!has(self.providerOptions) || self.providerOptions.all(name, size(name) <= 63)",
            "the name of an option has at most 63 characters: `headgate providers` lists the options that there are",
            lambda self: all(len(name) <= 63 for name in self.provider_options),
            "providerOptions",
        ),
    )


class UpstreamService(Kind):
    """One third-party API that applications call through a gateway."""

    names: ClassVar[Names] = Names("UpstreamService", "upstreams", "upstream")
    columns: ClassVar[tuple[Column, ...]] = (
        READY,
        Column("Health", ".status.health", description="How the provider is doing, by what proxies and probes see."),
        Column("Circuit", ".status.circuit", description="State of the breakers, with how many of the sections."),
        *TROUBLE,
        Column("Provider", ".status.provider", description="The profile that fills what is left out."),
        Column("Host", ".status.host", description="The provider's host."),
        Column("Gateway", ".status.gateway", priority=1, description="The gateway that serves it."),
        Column("Address", ".status.address", priority=1, description="Base URL for applications."),
        MESSAGE,
        AGE,
    )
    # Applications call http://<name>.<namespace>: the name must be a DNS label.
    rules = (
        Rule(
            "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 63",
            "the name becomes a host name: use at most 63 lower-case letters, digits and dashes, without dots",
            lambda self: len(self.metadata.name) <= 63 and _DNS_LABEL.fullmatch(self.metadata.name) is not None,
            "metadata.name",
        ),
    )

    kind: Literal["UpstreamService"]
    spec: Annotated[UpstreamServiceSpec, Field(description="What is called, and how.")]
    status: Annotated[UpstreamStatus | None, Field(default=None, description="How it is doing. Written by Headgate.")]
