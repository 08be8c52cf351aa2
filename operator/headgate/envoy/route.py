"""The route configuration of an upstream: sections in their order, what is sent on, how long it may take. Pure.

One RouteConfiguration and one scope per upstream, all three under one name (`namespace/name`) that never moves. The
gateway's own filter has chosen the scope and has taken the upstream's prefix off the path before these routes match.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from envoy.config.core.v3 import base_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2, scoped_route_pb2
from envoy.type.matcher.v3 import regex_pb2, string_pb2

from headgate.envoy.metadata import FILTER as GATEWAY_FILTER
from headgate.envoy.metadata import LOCAL_REPLY_HEADER, route_metadata, upstream_metadata
from headgate.envoy.pack import boolean, duration
from headgate.envoy.resource import Resource, TypeUrl, resource
from headgate.envoy.retry import MARK, STARTED, WAIT, decision, retry_policy, splits
from headgate.envoy.script import FILTER
from headgate.model.matches import HeaderMatch, HeaderMatchKind, PathKind, RequestMatch
from headgate.model.plan import CredentialPlace, HeaderRules, Route, Section, Timeouts, Upstream
from headgate.model.refs import ObjectRef

#: Bytes of a request's body that are kept for another attempt; a call with more is made once, and streams.
RETRY_BODY = 1 << 20

_Message = route_components_pb2.Route
_Header = base_pb2.HeaderValueOption


def render_scope(upstream: Upstream) -> Resource:
    """The scope that leads to the upstream's routes; its key is the upstream's own."""
    key = scoped_route_pb2.ScopedRouteConfiguration.Key(fragments=[{"string_key": upstream.key}])
    scope = scoped_route_pb2.ScopedRouteConfiguration(name=upstream.key, route_configuration_name=upstream.key, key=key)
    return resource(TypeUrl.SCOPED_ROUTE, upstream.key, scope, (upstream.ref,))


def render_routes(upstream: Upstream) -> Resource:
    """The upstream's route configuration."""
    owners: dict[ObjectRef, None] = {upstream.ref: None}
    for section in upstream.sections:
        owners.update(dict.fromkeys(section.owners))
    known = upstream_metadata(upstream)
    host = route_components_pb2.VirtualHost(
        name=upstream.key,
        domains=["*"],
        routes=[message for route in upstream.routes for message in _routes(upstream, route, known.versions)],
        # Read, and removed again, by upstream filters.
        include_request_attempt_count=True,
        request_body_buffer_limit={"value": RETRY_BODY},
    )
    host.metadata.filter_metadata[GATEWAY_FILTER].CopyFrom(known.host)
    message = route_pb2.RouteConfiguration(
        name=upstream.key,
        virtual_hosts=[host],
        # A route may arrive before its cluster: that call gets 503, the rest of the table is in force.
        validate_clusters=boolean(False),
        # Envoy's own answers carry it; a provider's must not.
        response_headers_to_remove=[LOCAL_REPLY_HEADER],
    )
    return resource(TypeUrl.ROUTE, upstream.key, message, tuple(owners))


def _routes(upstream: Upstream, route: Route, versions: Mapping[str, str]) -> Iterator[_Message]:
    """One route, or two where only some methods may be repeated after a reset."""
    section, version = upstream.section(route.section), versions[route.section]
    if section.retry is not None and splits(section.retry):
        allowed = route.match.methods or section.retry.methods
        methods = tuple(method for method in section.retry.methods if method in allowed)
        if methods:
            some = replace(route, match=replace(route.match, methods=methods))
            yield _route(section, version, some, repeatable=True)
    yield _route(section, version, route, repeatable=False)


def _route(section: Section, version: str, route: Route, *, repeatable: bool) -> _Message:
    match, timeouts = route.match, _timeouts(section, route)
    message = _Message(
        name=section.id,
        match=_match(match),
        route=_action(section, match, timeouts, repeatable=repeatable),
        request_headers_to_remove=list(_stripped(section)),
        request_headers_to_add=[*_rules(section.request_headers), *_internal(section, timeouts)],
        response_headers_to_remove=[MARK, WAIT, *_mutable(section.response_headers.remove)],
        response_headers_to_add=_rules(section.response_headers),
    )
    message.metadata.filter_metadata[GATEWAY_FILTER].CopyFrom(
        route_metadata(section, version, streaming=route.streaming)
    )
    if section.retry is not None:
        message.metadata.filter_metadata[FILTER].CopyFrom(decision(section, timeouts))
    return message


def _timeouts(section: Section, route: Route) -> Timeouts:
    return section.stream_timeouts or section.timeouts if route.streaming else section.timeouts


def _match(match: RequestMatch) -> route_components_pb2.RouteMatch:
    message = route_components_pb2.RouteMatch()
    prefix = _prefix(match)
    if match.path is not None and match.path.kind is PathKind.REGEX:
        message.safe_regex.regex = match.path.value
    elif prefix:
        message.path_separated_prefix = prefix
    else:
        message.prefix = "/"
    if match.methods:
        regex = regex_pb2.RegexMatcher(regex="|".join(re.escape(method) for method in match.methods))
        message.headers.add(name=":method", string_match=string_pb2.StringMatcher(safe_regex=regex))
    message.headers.extend(_header(header) for header in match.headers)
    return message


def _prefix(match: RequestMatch) -> str:
    """The prefix without its final slash: whole segments are matched anyway."""
    if match.path is None or match.path.kind is not PathKind.PREFIX:
        return ""
    return match.path.value.rstrip("/")


def _header(header: HeaderMatch) -> route_components_pb2.HeaderMatcher:
    matcher = route_components_pb2.HeaderMatcher(name=header.name)
    match header.kind:
        case HeaderMatchKind.EXACT:
            matcher.string_match.exact = header.value
        case HeaderMatchKind.REGEX:
            matcher.string_match.safe_regex.regex = header.value
        case HeaderMatchKind.DISTINCT:
            matcher.present_match = True
    return matcher


def _action(
    section: Section, match: RequestMatch, timeouts: Timeouts, *, repeatable: bool
) -> route_components_pb2.RouteAction:
    action = route_components_pb2.RouteAction(
        cluster=section.id,
        timeout=duration(timeouts.request),
        idle_timeout=duration(timeouts.stream_idle),
        upgrade_configs=[
            route_components_pb2.RouteAction.UpgradeConfig(upgrade_type=upgrade, enabled=boolean(True))
            for upgrade in section.upgrades
        ],
    )
    policy = retry_policy(section, repeatable=repeatable)
    if policy is not None:
        action.retry_policy.CopyFrom(policy)
    authorities = {endpoint.host(tls=section.tls is not None) for endpoint in section.endpoints}
    if len(authorities) == 1:
        action.host_rewrite_literal = authorities.pop()
    else:
        action.auto_host_rewrite.value = True
    _rebase(action, section.base_path, match)
    return action


def _rebase(action: route_components_pb2.RouteAction, base_path: str, match: RequestMatch) -> None:
    """Put the base path in front; the query is no part of this and stays as it is."""
    base = base_path.rstrip("/")
    if not base:
        return
    if match.path is not None and match.path.kind is PathKind.REGEX:
        action.regex_rewrite.pattern.regex = "^/"
        action.regex_rewrite.substitution = base.replace("\\", "\\\\") + "/"
    else:
        action.prefix_rewrite = base + (_prefix(match) or "/")


def _stripped(section: Section) -> Iterable[str]:
    """What a caller may not send through, and what the declaration takes away. A header that a credential yields to the
    caller is left to the gateway's own filter, even where it is listed: taken away here, a user's token would give way to
    the gateway's key.
    """
    headers = [each for each in section.credentials if each.place is CredentialPlace.HEADER]
    names: dict[str, None] = dict.fromkeys(name.lower() for name in section.strip_request_headers)
    names.update(dict.fromkeys(each.key.lower() for each in headers))
    for credential in headers:
        if credential.yields:
            names.pop(credential.key.lower(), None)
    names.update(dict.fromkeys(name.lower() for name in _mutable(section.request_headers.remove)))
    return names


def _internal(section: Section, timeouts: Timeouts) -> Iterator[_Header]:
    if section.retry is not None and timeouts.request > 0:
        yield _option(STARTED, "%START_TIME(%s%3f)%", _Header.OVERWRITE_IF_EXISTS_OR_ADD)


def _rules(rules: HeaderRules) -> list[_Header]:
    """Removal is done first, by Envoy's own order; then set, then add."""
    done = [_option(name, _literal(value), _Header.OVERWRITE_IF_EXISTS_OR_ADD) for name, value in rules.set]
    done += [_option(name, _literal(value), _Header.APPEND_IF_EXISTS_OR_ADD) for name, value in rules.add]
    return [option for option in done if _is_mutable(option.header.key)]


def _literal(value: str) -> str:
    """A value is text, never a command of Envoy's formatter."""
    return value.replace("%", "%%")


def _option(name: str, value: str, action: _Header.HeaderAppendAction) -> _Header:
    return _Header(header=base_pb2.HeaderValue(key=name, value=value), append_action=action, keep_empty_value=True)


def _mutable(names: Iterable[str]) -> Iterator[str]:
    return (name for name in names if _is_mutable(name))


def _is_mutable(name: str) -> bool:
    """The authority and the request line are the route's business; Envoy refuses rules for them."""
    return not name.startswith(":") and name.lower() != "host"
