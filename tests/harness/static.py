"""A gateway's resources as one static bootstrap, so that `envoy --mode validate` can judge them without a control plane.

Only what says where a resource comes from is changed: secrets are found by name among the static ones, routes sit inside
their listener.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2, scoped_route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf import any_pb2, json_format, symbol_database
from google.protobuf.message import Message

from harness.envoy import envoy_binary
from headgate.envoy.resource import Resources, TypeUrl


def bootstrap(resources: Resources) -> bootstrap_pb2.Bootstrap:
    """The static bootstrap."""
    message = bootstrap_pb2.Bootstrap()
    static = message.static_resources
    for secret in resources[TypeUrl.SECRET].values():
        static.secrets.append(secret_pb2.Secret.FromString(secret.body))
    for cluster in resources[TypeUrl.CLUSTER].values():
        static.clusters.append(_local(cluster_pb2.Cluster.FromString(cluster.body)))
    for listener in resources[TypeUrl.LISTENER].values():
        static.listeners.append(_local(_with_routes(listener_pb2.Listener.FromString(listener.body), resources)))
    # The gateway's reports go to the control plane, which a real bootstrap has as a static cluster.
    static.clusters.add(name="headgate_xds_0", connect_timeout={"seconds": 1}).load_assignment.cluster_name = "x"
    static.clusters[-1].typed_extension_protocol_options[
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    ].CopyFrom(_http2())
    return message


def validate(resources: Resources) -> str:
    """Envoy's complaint; empty if it takes everything."""
    with tempfile.TemporaryDirectory(prefix="hg-") as directory:
        path = Path(directory) / "bootstrap.json"
        path.write_text(json.dumps(json_format.MessageToDict(bootstrap(resources))))
        command = [str(envoy_binary()), "--mode", "validate", "-c", str(path), "-l", "error", "--use-dynamic-base-id"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stderr or done.stdout or f"exit code {done.returncode}"


def _http2() -> any_pb2.Any:
    from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.SetInParent()
    packed = any_pb2.Any()
    packed.Pack(options)
    return packed


def _with_routes(listener: listener_pb2.Listener, resources: Resources) -> listener_pb2.Listener:
    config = listener.filter_chains[0].filters[0].typed_config
    manager = hcm_pb2.HttpConnectionManager()
    assert config.Unpack(manager)
    scopes = manager.scoped_routes
    scopes.ClearField("rds_config_source")
    scopes.scoped_route_configurations_list.SetInParent()
    for resource in resources[TypeUrl.SCOPED_ROUTE].values():
        scope = scoped_route_pb2.ScopedRouteConfiguration.FromString(resource.body)
        body = resources[TypeUrl.ROUTE][scope.route_configuration_name].body
        scope.route_configuration.CopyFrom(route_pb2.RouteConfiguration.FromString(body))
        scope.ClearField("route_configuration_name")
        scopes.scoped_route_configurations_list.scoped_route_configurations.append(scope)
    if not resources[TypeUrl.SCOPED_ROUTE]:
        manager.route_config.SetInParent()
    config.Pack(manager)
    return listener


def _local(message: Any) -> Any:
    """The same, its references to secrets over ADS made references to static secrets, however deep they are."""
    if isinstance(message, any_pb2.Any):
        inner = symbol_database.Default().GetSymbol(message.type_url.rpartition("/")[2])()
        assert message.Unpack(inner)
        message.Pack(_local(inner))
        return message
    if isinstance(message, secret_pb2.SdsSecretConfig):
        message.ClearField("sds_config")
        return message
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        for each in _messages(field, value):
            _local(each)
    return message


def _messages(field: Any, value: Any) -> list[Message]:
    if field.message_type.GetOptions().map_entry:
        return [each for each in value.values() if isinstance(each, Message)]
    repeated = field.is_repeated if hasattr(field, "is_repeated") else field.label == field.LABEL_REPEATED
    return list(value) if repeated else [value]
