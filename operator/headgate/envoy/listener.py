"""The one listener of a gateway: what every call passes before its upstream is known. Pure.

In the order of the filters: what takes internal headers off answers, the readiness probe, the gateway's Lua filter
(addressing, hygiene, limits, breaker; its parts are `lua/gateway/*.lua`), the router. Callers are not trusted: internal
headers are removed before anything reads them, and sizes are bounded. Nothing here limits how long a call may take or
buffers a body: that comes with the route.

State of breakers and limits lives in the Lua filter, hence as long as this listener's filter chain. So the chain's bytes
depend on nothing but the gateway's own names and whether it speaks TLS: no upstream and no policy is in them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import (
    base_pb2,
    config_source_pb2,
    extension_pb2,
    protocol_pb2,
    substitution_format_string_pb2,
)
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.access_loggers.grpc.v3 import als_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.http.health_check.v3 import health_check_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2 as early_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from envoy.type.matcher.v3 import metadata_pb2, regex_pb2, string_pb2, value_pb2
from google.protobuf import struct_pb2

from headgate.envoy.metadata import (
    ATTEMPT_NAMESPACE,
    CALL_NAMESPACE,
    FILTER,
    INTERNAL_REQUEST_PREFIXES,
    INTERNAL_RESPONSE_PREFIXES,
    LOCAL_REPLY_HEADER,
    REPORT_KEY,
    SCOPE_HEADER,
    URL_HEADERS,
    YIELD_NAMESPACE,
)
from headgate.envoy.pack import address, any_of, boolean, duration, extension, uint32
from headgate.envoy.resource import Resource, TypeUrl, resource
from headgate.model.plan import Gateway, Listener, Millis

if TYPE_CHECKING:
    from google.protobuf.message import Message

#: The listener's name in xDS.
LISTENER: Final = "headgate"
#: The scoped routes' name: one set of scopes per listener.
SCOPES: Final = "headgate"
#: The bootstrap's cluster of the control plane, to which reports go (the same as in `xds.bootstrap`).
CONTROL_PLANE_CLUSTER: Final = "headgate_xds_0"
#: Answered with 200 by the gateway itself, at its own names and at address literals, unless it is draining.
READY_PATH: Final = "/headgate/ready"
#: `log_name` of the access log that carries section reports.
REPORT_LOG: Final = "headgate.sections"

#: Request line and headers together; beyond it 431. Providers refuse less than this, some with misleading errors.
MAX_REQUEST_HEADERS_KIB: Final = 32
MAX_REQUEST_HEADERS: Final = 100
#: How much of one call's body may wait in memory in each direction, and so be sent again by a retry.
BUFFER_BYTES: Final = 1 << 20
#: A call whose route is not known yet may be silent for so long; then its route's own idle timeout counts.
UNROUTED_IDLE: Final[Millis] = 300_000
#: How many values of a limit's Distinct headers have a bucket of their own; further ones share a bucket.
MAX_DISTINCT: Final = 10_000

#: Removed from what callers send before anything reads it, besides what is internal.
_UNTRUSTED_NAMES: Final = (
    "forwarded",
    "x-real-ip",
    # Some servers take the path from these and not from the request line: a way around the section's match.
    "x-original-url",
    "x-rewrite-url",
    # Meant for the next hop, which is the gateway.
    "proxy-authorization",
    "proxy-connection",
)
#: Added by Envoy itself at the start of a call; no business of the provider.
_ADDED_HEADERS: Final = ("x-forwarded-proto", "x-forwarded-for", "x-envoy-internal", "x-envoy-external-address")

#: The Lua filter's parts, in the order in which they use one another.
_PARTS: Final = (
    "clock", "reply", "path", "address", "strip", "yield", "size", "match", "limit", "breaker", "failure", "rewrite",
    "report", "main",
)  # fmt: skip


def render_listener(gateway: Gateway) -> Resource:
    """The gateway's listener."""
    listener = gateway.listener
    chain = listener_components_pb2.FilterChain(
        name=LISTENER,
        filters=[
            listener_components_pb2.Filter(
                name="envoy.filters.network.http_connection_manager", typed_config=any_of(connection_manager(listener))
            )
        ],
    )
    if listener.certificate is not None:
        chain.transport_socket.name = "envoy.transport_sockets.tls"
        chain.transport_socket.typed_config.CopyFrom(any_of(_tls(listener.certificate)))
    message = listener_pb2.Listener(
        name=LISTENER,
        address=address(listener.address, listener.port),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=uint32(BUFFER_BYTES),
        # Two gateways that are told to use one port by mistake must not share it silently.
        enable_reuse_port=boolean(False),
    )
    return resource(TypeUrl.LISTENER, LISTENER, message, (gateway.ref,))


def connection_manager(listener: Listener) -> hcm_pb2.HttpConnectionManager:
    """The HTTP connection manager; its routes come as scopes over ADS."""
    hcm = hcm_pb2.HttpConnectionManager(
        stat_prefix="headgate",
        scoped_routes=_scoped_routes(),
        http_filters=[_answer_filter(), _ready_filter(listener), _lua_filter(listener), _router()],
        access_log=[_report_log()],
        local_reply_config=_local_replies(),
        upgrade_configs=[hcm_pb2.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
        server_name="headgate",
        # A provider's own `server` passes; only our own answers get ours.
        server_header_transformation=hcm_pb2.HttpConnectionManager.APPEND_IF_ABSENT,
    )
    _harden(hcm)
    return hcm


def _harden(hcm: hcm_pb2.HttpConnectionManager) -> None:
    """What an untrusted caller may do at the level of HTTP."""
    # The peer's address is what the socket says: nothing in a header makes a caller an internal one. No caller's
    # address is told to the provider.
    hcm.use_remote_address.value = True
    hcm.skip_xff_append = True
    # No address is "internal" to Envoy (it needs one range, so one that no host has).
    hcm.internal_address_config.cidr_ranges.add(address_prefix="192.0.2.0", prefix_len=uint32(32))
    hcm.early_header_mutation_extensions.append(_early_removal())
    hcm.generate_request_id.value = False
    # Paths reach the Lua filter, and the provider, as they were written.
    hcm.normalize_path.value = False
    hcm.merge_slashes = False
    hcm.path_with_escaped_slashes_action = hcm_pb2.HttpConnectionManager.KEEP_UNCHANGED
    hcm.max_request_headers_kb.value = MAX_REQUEST_HEADERS_KIB
    common = hcm.common_http_protocol_options
    common.max_headers_count.value = MAX_REQUEST_HEADERS
    # Some servers read `x_api_key` as `x-api-key`: a way past the removal of a caller's credentials.
    common.headers_with_underscores_action = protocol_pb2.HttpProtocolOptions.REJECT_REQUEST
    common.idle_timeout.CopyFrom(duration(900_000))
    hcm.request_headers_timeout.CopyFrom(duration(10_000))
    # No request_timeout: uploads may be long.
    hcm.stream_idle_timeout.CopyFrom(duration(UNROUTED_IDLE))
    hcm.http2_protocol_options.max_concurrent_streams.value = 100
    hcm.http2_protocol_options.initial_stream_window_size.value = 1 << 16
    hcm.http2_protocol_options.initial_connection_window_size.value = 1 << 20
    hcm.http2_protocol_options.allow_connect = False
    # One malformed request of several on a connection does not end the others.
    hcm.http2_protocol_options.override_stream_error_on_invalid_http_message.value = True


def _early_removal() -> extension_pb2.TypedExtensionConfig:
    mutations = [_remove_matching(prefix) for prefix in INTERNAL_REQUEST_PREFIXES]
    mutations += [mutation_rules_pb2.HeaderMutation(remove=name) for name in _UNTRUSTED_NAMES]
    return extension("envoy.http.early_header_mutation.header_mutation", early_pb2.HeaderMutation(mutations=mutations))


def _remove_matching(prefix: str) -> mutation_rules_pb2.HeaderMutation:
    mutation = mutation_rules_pb2.HeaderMutation()
    mutation.remove_on_match.key_matcher.prefix = prefix
    return mutation


def _scoped_routes() -> hcm_pb2.ScopedRoutes:
    extractor = hcm_pb2.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder.HeaderValueExtractor(name=SCOPE_HEADER, index=0)
    builder = hcm_pb2.ScopedRoutes.ScopeKeyBuilder(
        fragments=[hcm_pb2.ScopedRoutes.ScopeKeyBuilder.FragmentBuilder(header_value_extractor=extractor)]
    )
    return hcm_pb2.ScopedRoutes(
        name=SCOPES,
        scope_key_builder=builder,
        rds_config_source=_ads(),
        scoped_rds=hcm_pb2.ScopedRds(scoped_rds_config_source=_ads()),
    )


def _ads() -> config_source_pb2.ConfigSource:
    """Over ADS, waiting without limit: a gateway without configuration is not ready, never ready and empty."""
    return config_source_pb2.ConfigSource(
        ads=config_source_pb2.AggregatedConfigSource(),
        resource_api_version=config_source_pb2.V3,
        initial_fetch_timeout=duration(0),
    )


def _ready_filter(listener: Listener) -> hcm_pb2.HttpFilter:
    """Answers the readiness probe: the listener takes calls only once all its routes are there."""
    own = "|".join(re.escape(host) for host in sorted(listener.hosts))
    here = regex_pb2.RegexMatcher(regex=rf"(?i)(?:{own}|\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\])(?::\d+)?")
    check = health_check_pb2.HealthCheck(
        pass_through_mode=boolean(False),
        headers=[
            route_components_pb2.HeaderMatcher(name=":path", string_match=string_pb2.StringMatcher(exact=READY_PATH)),
            route_components_pb2.HeaderMatcher(
                name=":authority", string_match=string_pb2.StringMatcher(safe_regex=here)
            ),
        ],
    )
    return _filter("envoy.filters.http.health_check", check)


def _answer_filter() -> hcm_pb2.HttpFilter:
    """Takes internal headers off every answer: first of all filters, hence the last one on the way back."""
    mutations = header_mutation_pb2.Mutations(
        response_mutations=[_remove_matching(prefix) for prefix in INTERNAL_RESPONSE_PREFIXES]
    )
    return _filter("envoy.filters.http.header_mutation", header_mutation_pb2.HeaderMutation(mutations=mutations))


def _lua_filter(listener: Listener) -> hcm_pb2.HttpFilter:
    lua = lua_pb2.Lua(
        default_source_code=base_pb2.DataSource(inline_string=f"{_lua_constants(listener)}{_lua_parts()}"),
        stat_prefix="headgate",
        # The filter asks for a new route selection itself, at the one moment when it is due.
        clear_route_cache=boolean(False),
    )
    return _filter(FILTER, lua)


@lru_cache(maxsize=1)
def _lua_parts() -> str:
    folder = resources.files("headgate.envoy").joinpath("lua", "gateway")
    return "".join(folder.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in _PARTS)


def _lua_constants(listener: Listener) -> str:
    """The names shared with this module, and what the filter must know of its gateway, as Lua tables."""
    names = {
        "scope_header": SCOPE_HEADER,
        "local_header": LOCAL_REPLY_HEADER,
        "call_namespace": CALL_NAMESPACE,
        "report_namespace": FILTER,
        "yield_namespace": YIELD_NAMESPACE,
        "attempt_namespace": ATTEMPT_NAMESPACE,
        "report_key": REPORT_KEY,
    }
    hosts = "".join(f"[{_quoted(host.lower())}]=true," for host in sorted(listener.hosts))
    return (
        f"local NAMES = {{{''.join(f'{name}={_quoted(value)},' for name, value in names.items())}}}\n"
        f"local CONFIG = {{scheme={_quoted(listener.scheme)},hosts={{{hosts}}},suffixes={_list(listener.suffixes)},"
        f"url_headers={_list(URL_HEADERS)},drop_request_headers={_list(_ADDED_HEADERS)},max_distinct={MAX_DISTINCT}}}\n"
    )


def _list(values: tuple[str, ...]) -> str:
    return f"{{{''.join(f'{_quoted(value)},' for value in values)}}}"


def _quoted(text: str) -> str:
    """A Lua string literal; every byte beyond plain letters as a decimal escape, so no text can end it."""
    plain = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in text.encode()) + '"'


def _router() -> hcm_pb2.HttpFilter:
    return _filter("envoy.filters.http.router", router_pb2.Router(suppress_envoy_headers=True))


def _filter(name: str, message: Message) -> hcm_pb2.HttpFilter:
    return hcm_pb2.HttpFilter(name=name, typed_config=any_of(message))


def _local_replies() -> hcm_pb2.LocalReplyConfig:
    """Envoy's own errors as JSON, with the reason where the Lua filter finds it; it then words it better.

    The Lua filter's own answers are left alone: the first mapper that fits is the only one.
    """
    own = accesslog_pb2.MetadataFilter(
        matcher=metadata_pb2.MetadataMatcher(
            filter=CALL_NAMESPACE,
            path=[metadata_pb2.MetadataMatcher.PathSegment(key="own")],
            value=value_pb2.ValueMatcher(bool_match=True),
        ),
        match_if_key_not_found=boolean(False),
    )
    reason = base_pb2.HeaderValueOption(
        header=base_pb2.HeaderValue(
            key=LOCAL_REPLY_HEADER,
            value="%RESPONSE_FLAGS%|%RESPONSE_CODE_DETAILS%|%UPSTREAM_TRANSPORT_FAILURE_REASON%",
        ),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    body = struct_pb2.Struct()
    body.update(
        {"error": {"code": "%RESPONSE_CODE_DETAILS%", "status": "%RESPONSE_CODE%", "message": "%LOCAL_REPLY_BODY%"}}
    )
    error = accesslog_pb2.ComparisonFilter(op=accesslog_pb2.ComparisonFilter.GE)
    error.value.default_value = 400
    error.value.runtime_key = "headgate.local_reply.min_status"
    return hcm_pb2.LocalReplyConfig(
        mappers=[
            hcm_pb2.ResponseMapper(filter=accesslog_pb2.AccessLogFilter(metadata_filter=own)),
            hcm_pb2.ResponseMapper(
                filter=accesslog_pb2.AccessLogFilter(
                    status_code_filter=accesslog_pb2.StatusCodeFilter(comparison=error)
                ),
                headers_to_add=[reason],
                body_format_override=substitution_format_string_pb2.SubstitutionFormatString(json_format=body),
            ),
        ]
    )


def _report_log() -> accesslog_pb2.AccessLog:
    """Sends to the control plane, within a second, the calls that carry a section report, and no others."""
    carries_report = accesslog_pb2.MetadataFilter(
        matcher=metadata_pb2.MetadataMatcher(
            filter=FILTER,
            path=[metadata_pb2.MetadataMatcher.PathSegment(key=key) for key in (REPORT_KEY, "section")],
            value=value_pb2.ValueMatcher(present_match=True),
        ),
        match_if_key_not_found=boolean(False),
    )
    log = als_pb2.HttpGrpcAccessLogConfig(
        common_config=als_pb2.CommonGrpcAccessLogConfig(
            log_name=REPORT_LOG,
            transport_api_version=config_source_pb2.V3,
            buffer_flush_interval=duration(1_000),
        )
    )
    log.common_config.grpc_service.envoy_grpc.cluster_name = CONTROL_PLANE_CLUSTER
    return accesslog_pb2.AccessLog(
        name="envoy.access_loggers.http_grpc",
        filter=accesslog_pb2.AccessLogFilter(metadata_filter=carries_report),
        typed_config=any_of(log),
    )


def _tls(certificate: str) -> tls_pb2.DownstreamTlsContext:
    context = tls_pb2.DownstreamTlsContext()
    context.common_tls_context.alpn_protocols.extend(("h2", "http/1.1"))
    context.common_tls_context.tls_params.tls_minimum_protocol_version = common_pb2.TlsParameters.TLSv1_2
    context.common_tls_context.tls_certificate_sds_secret_configs.add(name=certificate, sds_config=_ads())
    return context
