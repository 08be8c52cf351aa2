"""Credentials of an upstream: where the secret is kept, and where in a call it goes."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from headgate.api.base import Model, Rule
from headgate.api.types import HeaderName, HeaderText, Label, ObjectName

#: One reference has one owner: half of it from each of two field managers would name a third thing.
WHOLE = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})


class SecretRef(Model):
    """A Secret in the upstream's namespace."""

    model_config = WHOLE

    name: Annotated[ObjectName, Field(description="Name of the Secret.")]


class SecretKeyRef(Model):
    """One key of a Secret in the upstream's namespace."""

    model_config = WHOLE

    name: Annotated[ObjectName, Field(description="Name of the Secret.")]
    key: Annotated[
        str,
        Field(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253, description="Key in the Secret's data."),
    ]


class HeaderLocation(Model):
    """A request header."""

    name: Annotated[HeaderName, Field(description="Header name, such as Authorization.")]
    prefix: Annotated[
        HeaderText | None,
        Field(default=None, description="Text before the secret, such as 'Bearer ' with its space. Default none."),
    ]


class CredentialLocation(Model):
    """Where a credential goes."""

    header: Annotated[HeaderLocation | None, Field(default=None, description="Into this request header.")]
    query_parameter: Annotated[
        str | None,
        Field(
            default=None,
            pattern=r"^[A-Za-z0-9._~-]+$",
            min_length=1,
            max_length=128,
            description="Into the query parameter of this name.",
        ),
    ]
    cookie: Annotated[
        str | None,
        Field(
            default=None,
            pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
            min_length=1,
            max_length=128,
            description="Into the cookie of this name.",
        ),
    ]

    rules = (
        Rule(
            "(has(self.header) ? 1 : 0) + (has(self.queryParameter) ? 1 : 0) + (has(self.cookie) ? 1 : 0) == 1",
            "give exactly one of header, queryParameter and cookie",
            lambda self: sum(v is not None for v in (self.header, self.query_parameter, self.cookie)) == 1,
        ),
    )


class Credential(Model):
    """A credential that is put into every call; the caller's own in the same place is replaced."""

    name: Annotated[
        Label,
        Field(
            description="Name of the credential. A section's credential takes the place of the upstream's of the same name."
        ),
    ]
    secret_ref: Annotated[
        SecretKeyRef,
        Field(description="The Secret, in the upstream's namespace, and the key in it that hold the value."),
    ]
    location: Annotated[
        CredentialLocation | None,
        Field(
            default=None,
            description="Where in the call it goes; what the caller has put there is replaced. Default: where the provider wants it, in every place where it does; a user's own token passes where the provider wants that.",
        ),
    ]
