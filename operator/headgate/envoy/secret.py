"""Secret material as SDS resources, and references to them. The only place where a secret's bytes
enter a message. Pure.

A credential's value reaches the wire in the form in which it is injected, with its prefix in front. Each such form is a
Secret of its own, named by `form_name`; one value used in two forms is two resources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2

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


def secrets(gateway: Gateway, used: Iterable[tuple[str, Credential]], memo: dict[str, Made]) -> Iterator[Resource]:
    """The gateway's secrets; `used` are the `forms` of its sections. In `memo` is what was made of which material last
    time, and afterwards of this time's.

    A form whose secret the gateway does not have gives nothing: Envoy then refuses the call instead of making it
    without the credential.
    """
    before = dict(memo)
    memo.clear()
    for material in gateway.secrets.values():
        if material.kind is not SecretKind.OPAQUE:
            known = before.get(material.name)
            if known is None or known[0] is not material:
                known = (material, resource(TypeUrl.SECRET, material.name, _tls(material), material.owners))
            memo[material.name] = known
            yield known[1]
    for name, credential in used:
        source = gateway.secrets.get(credential.secret)
        if source is not None and source.kind is SecretKind.OPAQUE:
            # The name has the prefix in it, so one name and one material are one content.
            known = before.get(name)
            if known is None or known[0] is not source:
                message = _generic(name, credential.prefix.encode() + source.value.reveal())
                known = (source, resource(TypeUrl.SECRET, name, message, source.owners))
            memo[name] = known
            yield known[1]


def _generic(name: str, value: bytes) -> secret_pb2.Secret:
    return secret_pb2.Secret(
        name=name, generic_secret=secret_pb2.GenericSecret(secret=base_pb2.DataSource(inline_bytes=value))
    )


def _tls(material: SecretMaterial) -> secret_pb2.Secret:
    value = base_pb2.DataSource(inline_bytes=material.value.reveal())
    if material.kind is SecretKind.TRUST_BUNDLE:
        context = common_pb2.CertificateValidationContext(trusted_ca=value)
        return secret_pb2.Secret(name=material.name, validation_context=context)
    certificate = common_pb2.TlsCertificate(certificate_chain=value)
    if material.private_key is not None:
        certificate.private_key.inline_bytes = material.private_key.reveal()
    return secret_pb2.Secret(name=material.name, tls_certificate=certificate)
