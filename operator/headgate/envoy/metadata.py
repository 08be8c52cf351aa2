"""What the gateway's Lua filter knows of a route, and what it tells of a section.

Downwards, `upstream_metadata` puts each section's breaker, limits and addresses under the filter's own name into the
metadata of the upstream's virtual host; each route says which section it is of, and in which version, and the filter reads
a section anew only when that changes. Upwards, the filter leaves a report in dynamic metadata, an access log filter picks
it out and the receiving service reads it with `SectionReport.of`. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from google.protobuf import struct_pb2

from headgate.envoy.automaton import RegexError, automaton
from headgate.envoy.pack import fill, struct
from headgate.model.matches import HeaderMatch, HeaderMatchKind, PathKind, PathMatch, RequestMatch
from headgate.model.plan import Breaker, CredentialPlace, Limit, Millis, Section, Timeouts, Upstream

#: The Lua filter's name, hence the key of what it reads in metadata; also the namespace of its reports.
FILTER: Final = "headgate"
#: Dynamic metadata of one call, from its request to its response.
CALL_NAMESPACE: Final = "headgate.call"
#: Dynamic metadata of one call: what the upstream filter notes of its attempts.
ATTEMPT_NAMESPACE: Final = "headgate.attempt"
#: Dynamic metadata of one call: the headers (lower case) into which a credential goes though the caller may send its own
#: there. What is not in it gets none.
YIELD_NAMESPACE: Final = "headgate.yield"
#: Under `FILTER` in dynamic metadata: the report.
REPORT_KEY: Final = "report"
#: Selects the route configuration; never reaches a provider, and a caller's own is removed first.
SCOPE_HEADER: Final = "x-headgate-scope"
#: How Envoy's own answers are told from a provider's. Every RouteConfiguration must remove it from responses.
LOCAL_REPLY_HEADER: Final = "x-hg-local"
#: No header of these prefixes that a caller sends has any effect or leaves for the provider.
INTERNAL_REQUEST_PREFIXES: Final = ("x-hg-", "x-headgate-", "x-envoy-", "x-forwarded-")
#: No header of these prefixes that a provider sends has any effect or reaches the caller.
INTERNAL_RESPONSE_PREFIXES: Final = ("x-hg-", "x-headgate-", "x-envoy-")
#: Answers' headers whose URLs are rewritten to the gateway's, and never show a credential.
URL_HEADERS: Final = ("location", "content-location", "x-goog-upload-url", "x-goog-upload-control-url")

#: How long a half-open breaker waits for a trial whose section has no time limit of its own.
UNBOUNDED_TRIAL: Final[Millis] = 60_000

_PLACES: Final = {
    CredentialPlace.HEADER: "header",
    CredentialPlace.QUERY: "query",
    CredentialPlace.COOKIE: "cookie",
}

_Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class UpstreamMetadata:
    """`host`: what goes under `filter_metadata[FILTER]` of the upstream's virtual host. `versions`: of each section, by name."""

    host: struct_pb2.Struct
    versions: Mapping[str, str]


def upstream_metadata(upstream: Upstream) -> UpstreamMetadata:
    """What the filter knows of an upstream: under `paths` those that its routes match on, and each section under its id.

    Once for all routes, which are many and say nothing new. Raises `RegexError` where a limit's regular expression is
    outside the supported syntax (`automaton.py`).
    """
    paths = _route_paths(tuple(dict.fromkeys(route.match.path for route in upstream.routes if route.match.path)))
    host = struct_pb2.Struct(fields={"paths": paths})
    tested = _digest(paths)
    versions = {}
    for section in upstream.sections:
        config = host.fields[section.id]
        fill(config, _config(upstream, section))
        versions[section.name] = hashlib.sha256(tested + _digest(config)).hexdigest()[:16]
    return UpstreamMetadata(host, versions)


def route_metadata(section: Section, version: str, *, streaming: bool = False) -> struct_pb2.Struct:
    """What goes under `route.metadata.filter_metadata[FILTER]` of a route of `section`, whose metadata has this version.

    The routes of a section share one configuration, so what differs for `streaming` ones stands here.
    """
    values: dict[str, str | int] = {"section": section.id, "version": version}
    if streaming and section.breaker is not None and section.stream_timeouts is not None:
        values["trial_bound"] = _trial_bound(section.stream_timeouts)
    return struct(values)


def _digest(value: struct_pb2.Value) -> bytes:
    return hashlib.sha256(value.SerializeToString(deterministic=True)).digest()


def _config(upstream: Upstream, section: Section) -> _Json:
    config: _Json = {
        "upstream": upstream.key,
        "scheme": "http" if section.tls is None else "https",
        "authorities": [_without_default_port(a.lower(), section) for a in upstream.authorities],
        "base": section.base_path.rstrip("/"),
        "upgrades": [upgrade.lower() for upgrade in section.upgrades],
        "limits": [_limit(limit) for limit in section.limits],
    }
    if section.strip_query:
        config["strip_query"] = list(section.strip_query)
    if section.strip_cookies:
        config["strip_cookies"] = list(section.strip_cookies)
    if section.breaker is not None:
        config["breaker"] = _breaker(section.breaker, section.timeouts)
    if section.max_request_body is not None:
        config["max_request_body"] = section.max_request_body
    if section.max_request_head is not None:
        config["max_request_head"] = section.max_request_head
    return config | _yielding(section)


def _yielding(section: Section) -> _Json:
    """The headers into which a credential goes only where the caller has none of its own there, and the places where
    callers put their key: those of the other credentials, and the same name elsewhere where it is stripped."""
    yields = [each for each in section.credentials if each.yields and each.place is CredentialPlace.HEADER]
    if not yields:
        return {}
    stripped = {
        CredentialPlace.HEADER: tuple(name.lower() for name in section.strip_request_headers),
        CredentialPlace.QUERY: section.strip_query,
        CredentialPlace.COOKIE: section.strip_cookies,
    }
    keys = [
        {"place": _PLACES[place], "name": name, "prefix": each.prefix}
        for each in section.credentials
        if not each.yields
        for place, names in stripped.items()
        for name in (each.key.lower() if place is CredentialPlace.HEADER else each.key,)
        if place is each.place or name in names
    ]
    return {"yields": [{"header": each.key.lower(), "prefix": each.prefix} for each in yields], "keys": keys}


def _trial_bound(timeouts: Timeouts) -> Millis:
    return timeouts.request or UNBOUNDED_TRIAL


@lru_cache(maxsize=64)
def _route_paths(paths: tuple[PathMatch, ...]) -> struct_pb2.Value:
    """The paths that routes match on: a call whose path can be read in two ways must not meet different ones. Callers must
    not change the message: upstreams of one provider share it."""
    result = struct_pb2.Value()
    fill(result, [_route_path(path) for path in paths])
    return result


def _route_path(path: PathMatch) -> _Json:
    try:
        return _path(path)
    except RegexError:
        # RE2 knows more than the filter does. Then a path with two readings is refused altogether.
        return {"unreadable": True}


def _without_default_port(authority: str, section: Section) -> str:
    return authority.removesuffix(":80" if section.tls is None else ":443")


def _breaker(breaker: Breaker, timeouts: Timeouts) -> _Json:
    config: _Json = {
        "failures": [[range_.low, range_.high] for range_ in breaker.failures],
        "break_duration": breaker.break_duration,
        "max_break_duration": max(breaker.break_duration, breaker.max_break_duration),
        "trials": max(1, breaker.trials),
        "trial_bound": _trial_bound(timeouts),
    }
    if breaker.consecutive is not None:
        config["consecutive"] = breaker.consecutive
    if breaker.rate is not None:
        config["rate"] = {
            "percent": breaker.rate.percent,
            "window": breaker.rate.window,
            "minimum": breaker.rate.minimum,
        }
    return config


def _limit(limit: Limit) -> _Json:
    return {
        "id": limit.id,
        "requests": limit.requests,
        "interval": limit.interval,
        "burst": limit.burst,
        "selectors": [_selector(selector) for selector in limit.selectors],
    }


def _selector(selector: RequestMatch) -> _Json:
    config: _Json = {"headers": [_header(header) for header in selector.headers]}
    if selector.methods:
        config["methods"] = list(selector.methods)
    if selector.path is not None:
        config["path"] = _path(selector.path)
    return config


def _path(path: PathMatch) -> _Json:
    match path.kind:
        case PathKind.EXACT:
            return {"exact": path.value}
        case PathKind.PREFIX:
            return {"prefix": path.value.rstrip("/")}
        case PathKind.REGEX:
            return {"regex": automaton(path.value).as_json()}


def _header(header: HeaderMatch) -> _Json:
    name = header.name.lower()
    match header.kind:
        case HeaderMatchKind.EXACT:
            return {"name": name, "exact": header.value}
        case HeaderMatchKind.REGEX:
            return {"name": name, "regex": automaton(header.value).as_json()}
        case HeaderMatchKind.DISTINCT:
            return {"name": name, "distinct": True}


class CircuitState(StrEnum):
    """The state of a section's breaker; `NONE` where the section has none."""

    NONE = "none"
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True)
class SectionReport:
    """How one section is doing in one proxy, at one moment. Reports are whole: a later `at` replaces an earlier one.

    `at`, `since`, `until`: milliseconds since 1970 by the proxy's clock; `until` is 0 unless the breaker is open.
    `event`: what caused the state (`failures_in_a_row`, `failure_rate`, `break_over`, `trial_failed`,
    `trials_succeeded`), empty for the first one. `failure`: the last failure (`Status503`, `ConnectTimeout`, ...).
    `calls` and `failures` in the last `window` milliseconds; `in_a_row` failures since the last success; `opened`: how
    often the breaker has opened since the proxy's listener started.
    """

    section: str
    state: CircuitState
    at: Millis
    since: Millis
    until: Millis
    event: str
    failure: str
    calls: int
    failures: int
    window: Millis
    in_a_row: int
    opened: int

    @classmethod
    def of(cls, metadata: struct_pb2.Struct) -> SectionReport:
        """Read the Struct that the access log entry has under `FILTER`. Raises ValueError where a field is not there, or the
        section's id is none."""
        report = metadata.fields[REPORT_KEY].struct_value.fields if REPORT_KEY in metadata.fields else {}

        def text(name: str) -> str:
            if name not in report or report[name].WhichOneof("kind") != "string_value":
                raise ValueError(f"section report without text {name!r}")
            return report[name].string_value

        def number(name: str) -> int:
            if name not in report or report[name].WhichOneof("kind") != "number_value":
                raise ValueError(f"section report without number {name!r}")
            return int(report[name].number_value)

        if text("section").count("/") != 2:
            raise ValueError(f"section report of {text('section')!r}")
        return cls(
            section=text("section"),
            state=CircuitState(text("state")),
            at=number("at"),
            since=number("since"),
            until=number("until_time"),
            event=text("event"),
            failure=text("failure"),
            calls=number("calls"),
            failures=number("failures"),
            window=number("window"),
            in_a_row=number("in_a_row"),
            opened=number("opened"),
        )
