"""Sections of an upstream: parts of its API with their own connections, breaker, limits and time."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headgate.api.base import Model, Rule
from headgate.api.credential import Credential
from headgate.api.rules import at_least
from headgate.api.types import (
    AS_SET,
    BY_NAME,
    ByteQuantity,
    Duration,
    HeaderName,
    Label,
    Method,
    PathPrefix,
    Regex,
    Seq,
)


class SectionHeaderMatch(Model):
    """A match on one request header."""

    name: Annotated[HeaderName, Field(description="Header name.")]
    type: Annotated[
        Literal["Exact", "RegularExpression"] | None,
        Field(
            default=None,
            description="Exact: value is the header's whole value. RegularExpression: value is a regular expression (RE2) for all of it. Default Exact.",
        ),
    ]
    value: Annotated[str, Field(max_length=1024, description="What the header's value is compared with.")]


class SectionMatch(Model):
    """All that is given must match."""

    path_prefix: Annotated[
        PathPrefix | None,
        Field(
            default=None,
            description="Whole path segments: /v1 matches /v1 and /v1/x, not /v1beta. The path is as the caller wrote it, without basePath.",
        ),
    ]
    path_regex: Annotated[
        Regex | None,
        Field(default=None, description="A regular expression (RE2) for the whole path without the query."),
    ]
    methods: Annotated[
        Seq[Method], Field(default=(), max_length=16, description="Any of these HTTP methods. Left out: all."), AS_SET
    ]
    headers: Annotated[
        Seq[SectionHeaderMatch],
        Field(default=(), max_length=8, description="Request headers that must be there, all of them."),
    ]

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
    """Time limits."""

    request: Annotated[
        Duration | None,
        Field(
            default=None,
            description="The whole call, retries and waits included; 0s for no limit. Given for the upstream, it leaves the profile's streaming sections alone. Default: what the provider's profile says, else 1m.",
        ),
    ]
    connect: Annotated[
        Duration | None,
        Field(
            default=None,
            description="TCP and TLS handshake, at least 1ms. Default: what the provider's profile says, else 5s.",
        ),
    ]
    stream_idle: Annotated[
        Duration | None,
        Field(
            default=None,
            description="Silence between two bytes, in either direction, after which a call is ended; 0s for no limit. Default: what the provider's profile says, else 5m.",
        ),
    ]

    rules = (at_least("connect", "1ms"),)


class Section(Model):
    """A part of the API with its own connections, breaker and policies."""

    name: Annotated[
        Label,
        Field(
            description="Name of the section, by which policies refer to it (sectionName). `default` is what no other section matches."
        ),
    ]
    matches: Annotated[
        Seq[SectionMatch],
        Field(
            default=(),
            max_length=8,
            description="Calls that belong here: those that any of these matches. The section `default` has none. Left out of a section of the provider's profile: as the profile has them.",
        ),
    ]
    timeouts: Annotated[
        Timeouts | None,
        Field(default=None, description="Time limits of this section. What is left out is as for the upstream."),
    ]
    max_request_body: Annotated[
        ByteQuantity | None,
        Field(
            default=None,
            description="The largest request body of this section, as for the upstream; 0 for no bound. Default: as for the upstream.",
        ),
    ]
    credentials: Annotated[
        Seq[Credential],
        Field(
            default=(),
            max_length=8,
            description="Credentials of this section, in place of the upstream's of the same name and beside its others.",
        ),
        BY_NAME,
    ]

    rules = (
        # A section of the profile has its matches from there, which only compile can know; one's own has to give them.
        Rule(
            "self.name != 'default' || !has(self.matches) || size(self.matches) == 0",
            "the section `default` is what no other section matches: leave matches out",
            lambda self: self.name != "default" or not self.matches,
            "matches",
        ),
    )
