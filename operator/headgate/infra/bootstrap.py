"""What a proxy's bootstrap has more in a pod: how the kubelet sees that it lives, and how it ends without losing a call.

Envoy ends at once when it is told to (SIGTERM), and the official image has neither a shell nor curl for a hook to run. So
the proxy drains itself: a small listener of its own (`POD_PORT`) takes the kubelet's `preStop` call, and a Lua filter there
asks the admin interface to drain (from then on answers close their connections, while new ones are still taken), waits
until no call is in flight and no connection is left that one could come by, and only then answers. The admin interface
listens on an abstract unix socket: reachable within the pod, on no port and with no file, so that the root file system
stays read-only and there is no volume to write to.

The drain's path holds a token made from the gateway's uid: who may not read the gateway or its pods does not know it, and
the NetworkPolicy lets nobody at that port. A proxy that was drained and not ended is found not to live and started again.

Nothing of it is served before Envoy has its first configuration: it starts its workers then. So a startup probe of no end
comes before the liveness probe, or an Envoy that waits for the operator would be ended again and again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from headgate.infra.settings import OTHER_POD_PORT, POD_PORT, Drain

LIVE_PATH: Final = "/live"
#: Abstract unix sockets: a name in the pod's network namespace.
ADMIN_SOCKET, PAUSE_SOCKET = "@headgate-admin", "@headgate-pause"
_ADMIN, _PAUSE = "headgate_pod_admin", "headgate_pod_pause"
#: Calls in flight and connections on the gateway's listener (`stat_prefix` headgate). The admin interface and this listener
#: count apart.
_OPEN: Final = "/stats?filter=^http%5C.headgate%5C.downstream_%28rq%7Ccx%29_active$"
_PAUSE_SECONDS: Final = 0.5
#: How soon Envoy looks for an operator that comes back. Its own longest wait would be half a minute.
_RECONNECT: Final = {"base_interval": "0.5s", "max_interval": "2s"}
_FILTERS = "type.googleapis.com/envoy.extensions.filters."


@dataclass(frozen=True, slots=True)
class PodLife:
    """Of one gateway's pods. The sockets have other names only where several proxies share a network."""

    port: int
    drain_path: str
    drain: Drain
    admin_socket: str = ADMIN_SOCKET
    pause_socket: str = PAUSE_SOCKET


def pod_life(listener_port: int, uid: str, drain: Drain) -> PodLife:
    """For the gateway of this uid."""
    token = hashlib.sha256(f"headgate drain {uid}".encode()).hexdigest()[:32]
    port = POD_PORT if listener_port != POD_PORT else OTHER_POD_PORT
    return PodLife(port, f"/drain/{token}", drain)


def in_pod(bootstrap: str, life: PodLife) -> str:
    """The bootstrap (JSON) with all of that, as compact JSON. Raises ValueError for what is no JSON."""
    document: dict[str, Any] = json.loads(bootstrap)
    document["admin"] = {"address": {"pipe": {"path": life.admin_socket}}}
    static = document.setdefault("static_resources", {})
    static.setdefault("clusters", []).extend([_pipe(_ADMIN, life.admin_socket), _pipe(_PAUSE, life.pause_socket)])
    static.setdefault("listeners", []).extend([_pod_listener(life), _pause_listener(life)])
    services = document.get("dynamic_resources", {}).get("ads_config", {}).get("grpc_services", [])
    for service in services:
        service["envoy_grpc"]["retry_policy"] = {"retry_back_off": dict(_RECONNECT)}
    # How much the proxy has to do goes where its configuration comes from: whoever serves it asks for it.
    reports = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": services[:1]}
    document.setdefault("cluster_manager", {})["load_stats_config"] = reports
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def _pod_listener(life: PodLife) -> dict[str, Any]:
    live = {
        "name": "envoy.filters.http.health_check",
        "typed_config": {
            "@type": f"{_FILTERS}http.health_check.v3.HealthCheck",
            "pass_through_mode": False,
            "headers": [{"name": ":path", "string_match": {"exact": LIVE_PATH}}],
        },
    }
    drain = {
        "name": "envoy.filters.http.lua",
        "typed_config": {
            "@type": f"{_FILTERS}http.lua.v3.Lua",
            "default_source_code": {"inline_string": _script(life)},
        },
    }
    # Every address of the pod, whichever family it has.
    address = {"socket_address": {"address": "::", "port_value": life.port, "ipv4_compat": True}}
    return _listener("headgate_pod", address, [live, drain])


def _pause_listener(life: PodLife) -> dict[str, Any]:
    late = {
        "name": "envoy.filters.http.fault",
        "typed_config": {
            "@type": f"{_FILTERS}http.fault.v3.HTTPFault",
            "delay": {"fixed_delay": f"{_PAUSE_SECONDS}s", "percentage": {"numerator": 100}},
        },
    }
    return _listener("headgate_pod_pause", {"pipe": {"path": life.pause_socket}}, [late])


def _listener(name: str, address: dict[str, Any], filters: list[dict[str, Any]]) -> dict[str, Any]:
    """Of our own, for few and short requests; what no filter answers is 200."""
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{_FILTERS}http.router.v3.Router", "suppress_envoy_headers": True},
    }
    everything = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": f"{_FILTERS}network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "route_config": {"name": name, "virtual_hosts": [{"name": name, "domains": ["*"], "routes": [everything]}]},
        "http_filters": [*filters, router],
        "generate_request_id": False,
        "request_headers_timeout": "10s",
        # A drain is a request that is answered after minutes.
        "stream_idle_timeout": "0s",
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    return {
        "name": name,
        "address": address,
        "filter_chains": [chain],
        "enable_reuse_port": False,
        # A proxy that is full is not dead, and can still be drained.
        "bypass_overload_manager": True,
        "ignore_global_conn_limit": True,
    }


def _pipe(name: str, path: str) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": path}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _script(life: PodLife) -> str:
    names = {"DRAIN_PATH": life.drain_path, "ADMIN": _ADMIN, "PAUSE": _PAUSE, "OPEN": _OPEN}
    drain = life.drain
    seconds = {"LEAST": drain.least, "SILENCE": drain.silence, "MOST": drain.most}
    numbers = {"PAUSE_SECONDS": _PAUSE_SECONDS, **seconds}
    texts = [f'local {name} = "{value}"' for name, value in names.items()]
    return "\n".join([*texts, *(f"local {name} = {value}" for name, value in numbers.items()), _source()])


@lru_cache(maxsize=1)
def _source() -> str:
    return resources.files("headgate.infra").joinpath("drain.lua").read_text(encoding="utf-8")
