"""TLS towards a provider: whom to believe, and who to be."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headgate.api.base import Model, Rule
from headgate.api.credential import SecretRef
from headgate.api.types import Hostname, ObjectName, Seq


class CaCertificateRef(Model):
    """CA certificates (PEM) under the key ca.crt."""

    kind: Annotated[
        Literal["Secret", "ConfigMap"],
        Field(description="Secret or ConfigMap: what holds the certificates (PEM) under the key ca.crt."),
    ]
    name: Annotated[ObjectName, Field(description="Its name, in the upstream's namespace.")]


class SubjectAltName(Model):
    """A name that the provider's certificate must carry."""

    type: Annotated[
        Literal["Hostname", "URI"], Field(description="Hostname: a DNS name, in hostname. URI: a URI, in uri.")
    ]
    hostname: Annotated[Hostname | None, Field(default=None, description="A DNS name, for type Hostname.")]
    uri: Annotated[
        str | None,
        Field(default=None, min_length=1, max_length=253, description="A URI such as a SPIFFE id, for type URI."),
    ]

    rules = (
        Rule(
            "(self.type == 'Hostname') == has(self.hostname) && (self.type == 'URI') == has(self.uri)",
            "give hostname for type Hostname, uri for type URI, and not both",
            lambda self: (
                (self.type == "Hostname") == (self.hostname is not None)
                and (self.type == "URI") == (self.uri is not None)
            ),
        ),
    )


class TlsValidation(Model):
    """Whom to believe."""

    ca_certificate_refs: Annotated[
        Seq[CaCertificateRef],
        Field(default=(), max_length=8, description="CAs of your own, instead of the well-known ones."),
    ]
    well_known_ca_certificates: Annotated[
        Literal["System"] | None,
        Field(
            default=None,
            alias="wellKnownCACertificates",
            description="System: the CAs that browsers trust, at some 250 KiB of a proxy's memory for each section. Default: the few that the provider's certificates come from, where its profile knows them and neither hostname nor endpoints is given; else System, unless caCertificateRefs is given.",
        ),
    ]
    hostname: Annotated[
        Hostname | None,
        Field(
            default=None,
            description="The name sent as SNI and looked for in the certificate. Default: the endpoint's hostname.",
        ),
    ]
    subject_alt_names: Annotated[
        Seq[SubjectAltName],
        Field(
            default=(),
            max_length=5,
            description="Names of which the certificate must carry at least one, instead of hostname, which is then only sent as SNI.",
        ),
    ]

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

    mode: Annotated[
        Literal["None", "ServerOnly", "ClientAndServer"] | None,
        Field(
            default=None,
            description="None: plain HTTP. ServerOnly: HTTPS. ClientAndServer: HTTPS with a client certificate. Default ServerOnly.",
        ),
    ]
    client_certificate_ref: Annotated[
        SecretRef | None,
        Field(
            default=None,
            description="A Secret of type kubernetes.io/tls with tls.crt and tls.key, for mode ClientAndServer.",
        ),
    ]
    validation: Annotated[
        TlsValidation | None,
        Field(
            default=None,
            description="How the provider's certificate is checked. Default: by the CAs that the profile names, else the well-known ones, for the endpoint's hostname.",
        ),
    ]

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
