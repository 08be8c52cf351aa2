"""One Envoy cluster per section, named by the section's id for as long as the section lives. Pure.

Any change to a cluster's bytes gives back hosts that were left out and drops its warm connections, so they depend on
endpoints, TLS, DNS, ceilings, the health check, the credentials' names and the address guard, and on whether the
section retries at all; how it retries, times out, matches or limits is the route's.
"""

from __future__ import annotations

from collections.abc import Iterator

from envoy.config.cluster.v3 import circuit_breaker_pb2, cluster_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2

from headgate.envoy.credentials import credential_filters, hygiene_filter
from headgate.envoy.dns import discover
from headgate.envoy.guard import guard_filter
from headgate.envoy.health import watch
from headgate.envoy.pack import any_of, duration, uint32
from headgate.envoy.resource import Resource, TypeUrl, resource
from headgate.envoy.script import script_filter
from headgate.envoy.tls import secure
from headgate.model.plan import Ceilings, Section

#: Bytes held per connection before its sender is told to pause; also the most of an answer's body that the retry
#: decision reads. Nothing waits for it to fill.
BUFFER = 1 << 20
#: Bytes that a provider may send ahead of a caller that reads slowly: per call and per HTTP/2 connection.
H2_STREAM_WINDOW = 4 << 20
H2_CONNECTION_WINDOW = 16 << 20
#: Milliseconds after which an unused connection is closed: before the load balancers of providers do it (60 s and up),
#: because a call on a connection that is being closed fails.
IDLE = 50_000
#: Bounds of an answer's headers: KiB and number.
RESPONSE_HEADERS_KIB = 96
RESPONSE_HEADERS = 200
#: Seconds of silence before TCP probes a connection, seconds between probes, and probes until it is given up.
KEEPALIVE = (30, 10, 3)
#: Retries in flight where no ceiling is declared: as many as calls. Envoy's own default is three, so that under load
#: most calls that fail would silently not be repeated.
RETRIES = 1024


def render_cluster(section: Section) -> Resource:
    """The section's cluster as a resource."""
    return resource(TypeUrl.CLUSTER, section.id, cluster(section), section.owners)


def cluster(section: Section) -> cluster_pb2.Cluster:
    """The section's cluster."""
    message = cluster_pb2.Cluster(
        name=section.id,
        connect_timeout=duration(section.timeouts.connect),
        per_connection_buffer_limit_bytes=uint32(BUFFER),
        lb_policy=cluster_pb2.Cluster.LEAST_REQUEST if section.failover else cluster_pb2.Cluster.ROUND_ROBIN,
    )
    discover(message, section)
    secure(message, section)
    watch(message, section)
    _ceilings(message, section.ceilings)
    time, interval, probes = KEEPALIVE
    keepalive = message.upstream_connection_options.tcp_keepalive
    keepalive.keepalive_time.value = time
    keepalive.keepalive_interval.value = interval
    keepalive.keepalive_probes.value = probes
    options = any_of(_http(section))
    message.typed_extension_protocol_options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"].CopyFrom(options)
    return message


def _ceilings(message: cluster_pb2.Cluster, ceilings: Ceilings) -> None:
    threshold = circuit_breaker_pb2.CircuitBreakers.Thresholds()
    for name, value in (
        ("max_connections", ceilings.connections),
        ("max_pending_requests", ceilings.pending),
        ("max_requests", ceilings.requests),
        ("max_retries", RETRIES if ceilings.retries is None else ceilings.retries),
    ):
        if value is not None:
            getattr(threshold, name).value = value
    message.circuit_breakers.thresholds.append(threshold)


def _http(section: Section) -> http_protocol_options_pb2.HttpProtocolOptions:
    options = http_protocol_options_pb2.HttpProtocolOptions(
        common_http_protocol_options=protocol_pb2.HttpProtocolOptions(
            idle_timeout=duration(IDLE),
            max_headers_count=uint32(RESPONSE_HEADERS),
            max_response_headers_kb=uint32(RESPONSE_HEADERS_KIB),
        ),
        http_filters=list(_filters(section)),
    )
    if section.tls is not None and not section.upgrades:
        # HTTP/2 where the provider's TLS offers it, HTTP/1.1 otherwise.
        options.auto_config.http_protocol_options.SetInParent()
        options.auto_config.http2_protocol_options.initial_stream_window_size.value = H2_STREAM_WINDOW
        options.auto_config.http2_protocol_options.initial_connection_window_size.value = H2_CONNECTION_WINDOW
    else:
        # An upgrade (WebSocket) is HTTP/1.1's; few providers take the HTTP/2 form of it.
        options.explicit_http_config.http_protocol_options.SetInParent()
    return options


def _filters(section: Section) -> Iterator[hcm_pb2.HttpFilter]:
    """In the order of the way out; answers pass them from last to first."""
    yield guard_filter(section.allowed_cidrs, tuple(each.dial for each in section.endpoints if each.dial))
    yield from credential_filters(section.credentials)
    script = script_filter(section)
    if script is not None:
        yield script
    yield hygiene_filter()
    yield hcm_pb2.HttpFilter(
        name="envoy.filters.http.upstream_codec", typed_config=any_of(upstream_codec_pb2.UpstreamCodec())
    )
