"""The bootstrap as Envoy's own protobuf reads it. That Envoy takes it, the tests in `tests/envoy` show by starting it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.extensions.network.dns_resolver.cares.v3 import cares_dns_resolver_pb2 as _cares
from envoy.extensions.resource_monitors.downstream_connections.v3 import downstream_connections_pb2 as _connections
from envoy.extensions.resource_monitors.fixed_heap.v3 import fixed_heap_pb2 as _heap
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as _options
from google.protobuf import json_format

from headgate.xds.bootstrap import NodeBootstrap, document, render

_EXTENSIONS = (_cares, _connections, _heap, _options, tls_pb2)


def node(**changes: Any) -> NodeBootstrap:
    values: dict[str, Any] = {
        "gateway": "team/main",
        "instance": "pod-1",
        "xds_addresses": ("127.0.0.1:18000",),
        "identity_directory": Path("/id"),
    }
    return NodeBootstrap(**{**values, **changes})


def parsed(**changes: Any) -> bootstrap_pb2.Bootstrap:
    return json_format.Parse(render(node(**changes)), bootstrap_pb2.Bootstrap())


def test_every_option_is_something_envoys_protobuf_knows() -> None:
    message = parsed(
        xds_addresses=("unix:/run/xds.sock", "xds.headgate.svc:18000"),
        admin_socket=Path("/run/admin.sock"),
        max_heap_bytes=1 << 30,
        stats_matcher={"inclusion_list": {"patterns": [{"prefix": "cluster."}]}},
        dns_resolvers=("127.0.0.1:5353", "[::1]:53"),
        runtime={"re2.max_program_size.error_level": 1000},
        metadata={"zone": "a"},
    )
    assert message.node.id == "team/main/pod-1"
    assert message.node.cluster == "team/main"
    first, second = message.static_resources.clusters
    assert first.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.pipe.path == "/run/xds.sock"
    assert (first.type, second.type) == (first.STATIC, first.STRICT_DNS)
    assert message.admin.address.pipe.path == "/run/admin.sock"
    assert [s.envoy_grpc.cluster_name for s in message.dynamic_resources.ads_config.grpc_services] == [
        first.name,
        second.name,
    ]


def test_no_config_source_gives_up_waiting() -> None:
    def sources(value: Any) -> list[dict[str, Any]]:
        if isinstance(value, dict):
            found = [value] if "ads" in value or "path_config_source" in value else []
            return found + [source for item in value.values() for source in sources(item)]
        return [source for item in value for source in sources(item)] if isinstance(value, list) else []

    found = sources(document(node()))
    assert len(found) == 4
    assert {source["initial_fetch_timeout"] for source in found} == {"0s"}


def test_without_an_admin_socket_there_is_no_admin() -> None:
    assert not parsed().HasField("admin")


def test_it_is_deterministic_and_names_the_certificate_only_by_its_path() -> None:
    assert render(node()) == render(node())
    assert "/id/client.json" in render(node())
    assert json.loads(render(node()))["overload_manager"]["resource_monitors"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"gateway": "main"},
        {"xds_addresses": ()},
        {"xds_addresses": ("a:1", "b:1", "c:1")},
        {"xds_addresses": ("localhost",)},
        {"xds_addresses": (":18000",)},
        {"xds_addresses": ("localhost:0",)},
        {"xds_addresses": ("localhost:65536",)},
    ],
)
def test_what_cannot_work_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"address|gateway"):
        render(node(**wrong))
