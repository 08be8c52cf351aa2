"""Secret material as SDS resources, and references to them. The only place where a secret's bytes
enter a message. Pure.

A credential's value reaches the wire in the form in which it is injected, with its prefix in front. Each such form is a
Secret of its own, named by `form_name`; one value used in two forms is two resources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2

from headgate.envoy.failure import RenderFailure, failure, muted
from headgate.envoy.resource import Resource, TypeUrl, resource
from headgate.model.plan import Credential, Gateway, SecretKind, SecretMaterial, Section

#: A secret's resource, and the material that it was made of.
Made = tuple[SecretMaterial, Resource]


def sds(name: str) -> secret_pb2.SdsSecretConfig:
    """A reference to a secret that comes over the aggregated stream."""
    source = config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(), resource_api_version=config_source_pb2.V3
    )
    return secret_pb2.SdsSecretConfig(name=name, sds_config=source)


def form_name(credential: Credential) -> str:
    """The name of the Secret that carries this credential as it is injected."""
    return f"{credential.secret}|{credential.prefix}" if credential.prefix else credential.secret


def forms(sections: Iterable[Section]) -> Iterator[tuple[str, Credential]]:
    """Every form in which these sections inject a secret, by the name of its Secret."""
    for section in sections:
        for credential in section.credentials:
            yield form_name(credential), credential


def secrets(
    gateway: Gateway, used: Iterable[tuple[str, Credential]], before: Mapping[str, Made]
) -> tuple[dict[str, Made], list[RenderFailure]]:
    """The gateway's secrets by name, and what failed; `used` are the `forms` of its sections, `before` is what came of it
    last time, which is also what stays of a secret that fails.

    A form whose secret the gateway does not have gives nothing: Envoy then refuses the call instead of making it
    without the credential.
    """
    made: dict[str, Made] = {}
    failures: list[RenderFailure] = []

    def add(name: str, material: SecretMaterial, message: Callable[[], secret_pb2.Secret]) -> None:
        known = before.get(name)
        if known is None or known[0] is not material:
            try:
                known = (material, resource(TypeUrl.SECRET, name, message(), material.owners))
            except Exception as error:  # noqa: BLE001 - a bug: it holds up this secret and no other
                kept = known is not None
                failures.append(failure(material.owners, f"secret {name}", muted(error), kept=kept))
        if known is not None:
            made[name] = known

    for material in gateway.secrets.values():
        if material.kind is not SecretKind.OPAQUE:
            add(material.name, material, partial(_tls, material))
    for name, credential in used:
        source = gateway.secrets.get(credential.secret)
        if source is not None and source.kind is SecretKind.OPAQUE:
            # The name has the prefix in it, so one name and one material are one content.
            add(name, source, partial(_generic, name, credential.prefix, source))
    return made, failures


def _generic(name: str, prefix: str, material: SecretMaterial) -> secret_pb2.Secret:
    value = base_pb2.DataSource(inline_bytes=prefix.encode() + material.value.reveal())
    return secret_pb2.Secret(name=name, generic_secret=secret_pb2.GenericSecret(secret=value))


def _tls(material: SecretMaterial) -> secret_pb2.Secret:
    value = base_pb2.DataSource(inline_bytes=material.value.reveal())
    if material.kind is SecretKind.TRUST_BUNDLE:
        context = common_pb2.CertificateValidationContext(trusted_ca=value)
        return secret_pb2.Secret(name=material.name, validation_context=context)
    certificate = common_pb2.TlsCertificate(certificate_chain=value)
    if material.private_key is not None:
        certificate.private_key.inline_bytes = material.private_key.reveal()
    return secret_pb2.Secret(name=material.name, tls_certificate=certificate)
