"""A gateway's resources as one static bootstrap: for `envoy --mode validate`, and for whoever wants to read them. Pure.

Only what says where a resource comes from is changed: routes sit inside their listener, secrets are found by name among the
static ones. No secret's content is looked at: whatever is referred to gets a placeholder of its kind that Envoy accepts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2, scoped_route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import any_pb2, symbol_database
from google.protobuf.message import Message

from headgate.envoy.dump import plain
from headgate.envoy.listener import CONTROL_PLANE_CLUSTER
from headgate.envoy.pack import any_of, duration
from headgate.envoy.resource import Resources, TypeUrl
from headgate.model.plan import REGEX_PROGRAM

#: Stands for every credential.
PLACEHOLDER = "REDACTED"

#: Fields of a TLS context that refer to a secret, and what kind of secret that is; all others refer to credentials.
_CERTIFICATES = "tls_certificate_sds_secret_configs"
_ROOTS = frozenset({"validation_context_sds_secret_config"})


def static_document(resources: Resources) -> dict[str, Any]:
    """The bootstrap in protobuf's JSON form, with Envoy's own field names."""
    return plain(static_bootstrap(resources))


def static_bootstrap(resources: Resources) -> bootstrap_pb2.Bootstrap:
    """The bootstrap as a message; equal resources give equal bytes (`SerializeToString(deterministic=True)`)."""
    message = bootstrap_pb2.Bootstrap()
    message.node.id = message.node.cluster = "static"
    message.layered_runtime.layers.add(name="static").static_layer.update(
        {"re2": {"max_program_size": {"error_level": REGEX_PROGRAM}}}
    )
    secrets: dict[str, secret_pb2.Secret] = {}
    static = message.static_resources
    for name in sorted(resources.get(TypeUrl.LISTENER, {})):
        listener = listener_pb2.Listener.FromString(resources[TypeUrl.LISTENER][name].body)
        _walk(listener, "", secrets)
        _inline_routes(listener, resources)
        static.listeners.append(listener)
    for name in sorted(resources.get(TypeUrl.CLUSTER, {})):
        cluster = cluster_pb2.Cluster.FromString(resources[TypeUrl.CLUSTER][name].body)
        _walk(cluster, "", secrets)
        static.clusters.append(cluster)
    static.clusters.append(_control_plane())
    static.secrets.extend(secrets[name] for name in sorted(secrets))
    return message


def _walk(message: Message, field: str, secrets: dict[str, secret_pb2.Secret]) -> None:
    """Make every reference to a secret a static one, in `message` and all that is packed into it; notes what is needed."""
    if isinstance(message, secret_pb2.SdsSecretConfig):
        message.ClearField("sds_config")
        secrets[message.name] = _placeholder(message.name, field)
    elif isinstance(message, any_pb2.Any):
        inner = symbol_database.Default().GetSymbol(message.TypeName())()
        message.Unpack(inner)
        _walk(inner, field, secrets)
        message.CopyFrom(any_of(inner))
    else:
        for name, child in _children(message):
            _walk(child, name, secrets)


def _children(message: Message) -> Iterator[tuple[str, Message]]:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        if descriptor.message_type.GetOptions().map_entry:
            if descriptor.message_type.fields_by_name["value"].message_type is not None:
                yield from ((descriptor.name, value[key]) for key in sorted(value))
        elif isinstance(value, Message):
            yield descriptor.name, value
        else:
            yield from ((descriptor.name, item) for item in value)


def _inline_routes(listener: listener_pb2.Listener, resources: Resources) -> None:
    """Put all scopes with their routes into the listener's connection managers."""
    scopes = [_scope(resources, name) for name in sorted(resources.get(TypeUrl.SCOPED_ROUTE, {}))]
    for chain in listener.filter_chains:
        for each in chain.filters:
            if each.typed_config.TypeName() != hcm_pb2.HttpConnectionManager.DESCRIPTOR.full_name:
                continue
            manager = hcm_pb2.HttpConnectionManager()
            each.typed_config.Unpack(manager)
            manager.scoped_routes.ClearField("rds_config_source")
            if scopes:
                manager.scoped_routes.scoped_route_configurations_list.scoped_route_configurations.extend(scopes)
            else:
                # Envoy refuses an empty list of scopes.
                manager.route_config.name = manager.scoped_routes.name
            each.typed_config.CopyFrom(any_of(manager))


def _scope(resources: Resources, name: str) -> scoped_route_pb2.ScopedRouteConfiguration:
    scope = scoped_route_pb2.ScopedRouteConfiguration.FromString(resources[TypeUrl.SCOPED_ROUTE][name].body)
    routes = resources[TypeUrl.ROUTE][scope.route_configuration_name]
    scope.route_configuration.CopyFrom(route_pb2.RouteConfiguration.FromString(routes.body))
    scope.ClearField("route_configuration_name")
    return scope


def _placeholder(name: str, field: str) -> secret_pb2.Secret:
    if field == _CERTIFICATES:
        certificate, key = _identity()
        return secret_pb2.Secret(
            name=name,
            tls_certificate=common_pb2.TlsCertificate(
                certificate_chain=base_pb2.DataSource(inline_string=certificate),
                private_key=base_pb2.DataSource(inline_string=key),
            ),
        )
    if field in _ROOTS:
        roots = base_pb2.DataSource(inline_string=_identity()[0])
        return secret_pb2.Secret(
            name=name, validation_context=common_pb2.CertificateValidationContext(trusted_ca=roots)
        )
    value = base_pb2.DataSource(inline_string=PLACEHOLDER)
    return secret_pb2.Secret(name=name, generic_secret=secret_pb2.GenericSecret(secret=value))


@lru_cache(maxsize=1)
def _identity() -> tuple[str, str]:
    """A certificate and key that anybody can make, always the same: the key is the number one."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.derive_private_key(1, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "placeholder")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256(), ecdsa_deterministic=True)
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def _control_plane() -> cluster_pb2.Cluster:
    """Where the gateway sends its reports; a real bootstrap has it."""
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    message = cluster_pb2.Cluster(name=CONTROL_PLANE_CLUSTER, connect_timeout=duration(1_000))
    message.load_assignment.cluster_name = CONTROL_PLANE_CLUSTER
    message.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].CopyFrom(
        any_of(options)
    )
    return message
