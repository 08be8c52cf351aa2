"""What the data plane's benchmarks call: an Envoy that answers by itself, an Envoy that only routes to it, and Headgate's.

All on loopback, with one worker each, HTTP/1.1 without TLS on both sides, so that what differs is what Headgate adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from harness import plans
from harness.dataplane import DataPlane
from harness.envoy import Envoy, short_directory
from harness.ports import free_port
from headgate.model.answers import StatusRange
from headgate.model.matches import HeaderMatch, HeaderMatchKind, RequestMatch
from headgate.model.plan import Breaker, Credential, CredentialPlace, FailureRate, Limit, Section
from headgate.providers.gemini import GEMINI

_TYPE = "type.googleapis.com/envoy.extensions.filters"
#: What the origin answers with: the size of a short JSON answer.
BODY = "x" * 1024
#: A limit that no load here reaches.
NEVER = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Path:
    """One way to the origin: where to send, and the process whose time is counted."""

    name: str
    port: int
    target: str
    pid: int


@dataclass(frozen=True, slots=True)
class Rig:
    """All that runs. `paths` by name."""

    paths: dict[str, Path]


def _listening(port: int, route: dict[str, Any], clusters: list[dict[str, Any]]) -> dict[str, Any]:
    manager = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"}}
        ],
    }
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def origin(port: int) -> dict[str, Any]:
    """The bootstrap of an Envoy that answers every request itself."""
    answer = {"status": 200, "body": {"inline_string": BODY}}
    return _listening(port, {"match": {"prefix": "/"}, "direct_response": answer}, [])


def bare(port: int, origin_port: int) -> dict[str, Any]:
    """The bootstrap of an Envoy with a router, one cluster and nothing else."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": origin_port}}
    cluster = {
        "name": "origin",
        "connect_timeout": "2s",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "origin",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    return _listening(port, {"match": {"prefix": "/"}, "route": {"cluster": "origin"}}, [cluster])


def retry() -> dict[str, Any]:
    """Retries on the usual statuses."""
    return {"retry": plans.retry(502, 503, 504)}


def retry_by_body() -> dict[str, Any]:
    """The same with what the profile of Gemini knows: hints and marks in bodies."""
    of_sections = (mark for section in GEMINI.sections for mark in section.marks)
    marks = tuple(dict.fromkeys((*GEMINI.marks, *of_sections)))
    return {"retry": plans.retry(429, 502, 503, 504, body_hint=GEMINI.retry.body_hint, marks=marks)}


def breaker() -> dict[str, Any]:
    """Consecutive failures and a failure rate."""
    rate = FailureRate(percent=50, window=10_000, minimum=20)
    failures = (StatusRange(500, 599),)
    return {
        "breaker": Breaker(
            consecutive=5, rate=rate, failures=failures, break_duration=10_000, max_break_duration=60_000, trials=1
        )
    }


def limits() -> dict[str, Any]:
    """One for all calls, one by method and header, one per value of a header."""
    exact = RequestMatch(methods=("GET",), headers=(HeaderMatch("host", HeaderMatchKind.REGEX, "127.*"),))
    distinct = RequestMatch(headers=(HeaderMatch("host", HeaderMatchKind.DISTINCT),))
    return {
        "limits": tuple(
            Limit(f"demo/limit/{name}@demo/target", NEVER, 1000, NEVER, selectors)
            for name, selectors in (("all", ()), ("some", (exact,)), ("each", (distinct,)))
        )
    }


def credential() -> dict[str, Any]:
    """One header."""
    injected = Credential("key", "demo/key", CredentialPlace.HEADER, "authorization", "Bearer ")
    return {"credentials": (injected,), "strip_request_headers": ("authorization",)}


#: Ways of Headgate's to the origin, by name, with what their section has. The address guard is in all of them.
WAYS: dict[str, dict[str, Any]] = {
    "headgate, no policy": {},
    "+ credential": credential(),
    "+ retry": retry(),
    "+ breaker": breaker(),
    "+ 3 limits": limits(),
    "headgate, all of it": {**credential(), **retry(), **breaker(), **limits()},
}
DIRECT, BARE, PLAIN, FULL = "origin itself", "bare Envoy", "headgate, no policy", "headgate, all of it"


@contextmanager
def rig() -> Iterator[Rig]:
    """Everything up and warm; ended on the way out."""
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        origin_port, bare_port = free_port(), free_port()
        origin_envoy = stack.enter_context(Envoy(origin(origin_port), directory))
        bare_envoy = stack.enter_context(Envoy(bare(bare_port, origin_port), directory))
        sections: list[Section] = [
            plans.section(plans.endpoint(origin_port), key=f"demo/way{index}/default", **changes)
            for index, changes in enumerate(WAYS.values())
        ]
        gateway = plans.gateway(
            *(plans.upstream(section) for section in sections), secrets=[plans.opaque("demo/key", "not-a-secret")]
        )
        plane = stack.enter_context(DataPlane(gateway))
        for envoy in (origin_envoy, bare_envoy):
            plane.wait_until(envoy.is_ready, "the Envoys beside it")
        paths = [
            Path(DIRECT, origin_port, "/v1/things", origin_envoy.pid),
            Path(BARE, bare_port, "/v1/things", bare_envoy.pid),
        ]
        for index, name in enumerate(WAYS):
            paths.append(Path(name, plane.port, f"/demo/way{index}/v1/things", plane.envoy.pid))
        yield Rig({path.name: path for path in paths})
        assert plane.lua_errors() == 0, "Lua failed, so what was measured is not what was meant"
