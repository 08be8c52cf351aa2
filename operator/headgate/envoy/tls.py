"""TLS towards the provider: SNI, the names that its certificate must carry, roots and client certificate by SDS. Pure.

Certificates and roots are fetched by name, so that a rotation never touches the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.type.matcher.v3 import string_pb2

from headgate.envoy.dns import identity_match, needs_own_identity
from headgate.envoy.pack import any_of
from headgate.envoy.secret import sds
from headgate.model.plan import Endpoint, Section, Tls

_San = common_pb2.SubjectAltNameMatcher


def secure(cluster: cluster_pb2.Cluster, section: Section) -> None:
    """Set the cluster's transport sockets; plain TCP where the section has no TLS."""
    if section.tls is None:
        return
    # Also where every endpoint has its own: what matches none must not fall back to plain TCP.
    cluster.transport_socket.CopyFrom(_socket(section.tls, section.endpoints[0]))
    if not needs_own_identity(section):
        return
    named = {endpoint.hostname: endpoint for endpoint in section.endpoints}
    for hostname, endpoint in named.items():
        cluster.transport_socket_matches.add(
            name=hostname, match=identity_match(endpoint), transport_socket=_socket(section.tls, endpoint)
        )


def _socket(tls: Tls, endpoint: Endpoint) -> base_pb2.TransportSocket:
    name = tls.server_name or endpoint.hostname
    literal = tls.server_name is None and endpoint.literal
    context = tls_pb2.UpstreamTlsContext(
        sni="" if literal else name,
        common_tls_context=_common(
            tls, tuple(_declared(tls)) if tls.subject_alt_names else (_san_of(name, literal=literal),)
        ),
    )
    return base_pb2.TransportSocket(name="envoy.transport_sockets.tls", typed_config=any_of(context))


def _common(tls: Tls, names: tuple[_San, ...]) -> tls_pb2.CommonTlsContext:
    """The part that server and client contexts of Envoy share."""
    combined = tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
        default_validation_context=common_pb2.CertificateValidationContext(match_typed_subject_alt_names=names),
        validation_context_sds_secret_config=sds(tls.roots),
    )
    context = tls_pb2.CommonTlsContext(
        tls_params=common_pb2.TlsParameters(tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2),
        combined_validation_context=combined,
    )
    if tls.client_certificate is not None:
        context.tls_certificate_sds_secret_configs.append(sds(tls.client_certificate))
    return context


def _declared(tls: Tls) -> Iterable[_San]:
    """The declared names: a certificate needs one of them."""
    for san in tls.subject_alt_names:
        if san.dns is not None:
            yield _san_of(san.dns, literal=False)
        if san.uri is not None:
            yield _San(san_type=_San.URI, matcher=string_pb2.StringMatcher(exact=san.uri))


def _san_of(name: str, *, literal: bool) -> _San:
    kind = _San.IP_ADDRESS if literal else _San.DNS
    return _San(san_type=kind, matcher=string_pb2.StringMatcher(exact=name))
