"""A real Envoy gets along with the fakes: DNS by c-ares, TLS by name, HTTP/2 by ALPN, streams and uploads."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import rawserver
from fakes.rawserver import RawServer
from harness.dns import DnsServer, Order
from harness.envoy import Envoy
from harness.pki import Authority
from harness.ports import free_port
from headgate.simulate.gemini import API_KEY, HOST, SimulatedGemini
from headgate.simulate.server import FOUR_ADDRESSES

MIB = 1024 * 1024
MODEL = "/v1beta/models/gemini-2.5-flash"
PROMPT = {"contents": [{"parts": [{"text": "one two"}]}]}
EXTENSIONS = "type.googleapis.com/envoy.extensions"


@dataclass(frozen=True, slots=True)
class Setup:
    gemini: SimulatedGemini
    dns: DnsServer
    client: httpx.AsyncClient


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[Setup]:
    ca = Authority()
    port = free_port()
    with SimulatedGemini(ca, addresses=FOUR_ADDRESSES) as gemini, DnsServer() as dns:
        dns.set(HOST, *FOUR_ADDRESSES, order=Order.ONE, ttl=1)
        with Envoy(bootstrap(port, cluster(gemini.port, dns.port, ca.pem)), tmp_path) as envoy:
            await envoy.wait_ready()
            base = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=base, headers={"x-goog-api-key": API_KEY}, trust_env=False) as client:
                yield Setup(gemini, dns, client)


async def test_names_rotate_and_http2_is_spoken(setup: Setup) -> None:
    reached: set[str] = set()
    for answers in range(1, 5):
        setup.dns.wait_for(HOST, answers, qtype="A")
        answer = await setup.client.get("/v1beta/models?pageSize=1")
        assert answer.status_code == 200
        reached.add(setup.gemini.requests[-1].local[0])
    assert len(reached) > 1
    assert {r.http_version for r in setup.gemini.requests} == {"2"}
    assert setup.gemini.handshakes[0].sni == HOST


async def test_streams_pass_as_they_are_sent(setup: Setup) -> None:
    script = setup.gemini.model()
    script.pace()
    async with setup.client.stream("POST", f"{MODEL}:streamGenerateContent?alt=sse", json=PROMPT) as answer:
        stream = script.accept()
        lines = answer.aiter_lines()
        for text in ("first", "second"):
            stream.chunk(text)
            assert text in await anext(lines)
            assert await anext(lines) == ""
    stream.wait_client_gone()


async def test_uploads_pass(setup: Setup) -> None:
    content = bytes(range(256)) * (24 * MIB // 256)
    start = {"x-goog-upload-protocol": "resumable", "x-goog-upload-command": "start"}
    started = await setup.client.post("/upload/v1beta/files", headers=start, json={"file": {}})
    path = started.headers["x-goog-upload-url"].removeprefix(f"https://{HOST}")
    for offset in (0, 8 * MIB, 16 * MIB):
        command = "upload, finalize" if offset == 16 * MIB else "upload"
        fields = {"x-goog-upload-command": command, "x-goog-upload-offset": str(offset)}
        answer = await setup.client.post(path, headers=fields, content=content[offset : offset + 8 * MIB], timeout=30)
        assert answer.status_code == 200
    (stored,) = setup.gemini.files.values()
    assert (stored.size, stored.sha256) == (len(content), hashlib.sha256(content).hexdigest())


async def test_raw_faults_are_faults_to_envoy(tmp_path: Path) -> None:
    faults = {
        # A reset at once meets Envoy while it still connects or just after: which of the two is the kernel's choice.
        rawserver.reset_at_accept(): {"UC", "UF"},
        rawserver.reset_after_request(): {"UC"},
        rawserver.close_without_answer(): {"UC"},
        rawserver.garbage(): {"UPE"},
    }
    port = free_port()
    with RawServer(*faults, rawserver.answer()) as raw:
        plain = {**_endpoints(raw.address, raw.port), "name": "upstream", "type": "STATIC", "connect_timeout": "2s"}
        with Envoy(bootstrap(port, plain), tmp_path) as envoy:
            await envoy.wait_ready()
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
                for flags in faults.values():
                    answer = await client.get("/")
                    assert answer.status_code // 100 == 5
                    assert answer.headers["x-flags"] in flags
                assert (await client.get("/")).text == "ok"


def bootstrap(port: int, cluster: dict[str, Any]) -> dict[str, Any]:
    router = {"name": "router", "typed_config": {"@type": f"{EXTENSIONS}.filters.http.router.v3.Router"}}
    flags = {"header": {"key": "x-flags", "value": "%RESPONSE_FLAGS%"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s", "host_rewrite_literal": HOST}}
    host = {"name": "all", "domains": ["*"], "routes": [route], "response_headers_to_add": [flags]}
    manager = {
        "@type": f"{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [router],
    }
    listener = {
        "name": "in",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def cluster(port: int, dns_port: int, ca_pem: bytes) -> dict[str, Any]:
    resolver = {
        "@type": f"{EXTENSIONS}.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        "resolvers": [{"socket_address": {"address": "127.0.0.1", "port_value": dns_port}}],
        "dns_resolver_options": {"no_default_search_domain": True},
    }
    validation = {
        "trusted_ca": {"inline_string": ca_pem.decode()},
        "match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": HOST}}],
    }
    tls = {
        "@type": f"{EXTENSIONS}.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": HOST,
        "common_tls_context": {"validation_context": validation},
    }
    protocols = {"@type": f"{EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions", "auto_config": {}}
    return {
        **_endpoints(HOST, port),
        "name": "upstream",
        "type": "STRICT_DNS",
        "dns_lookup_family": "V4_ONLY",
        "respect_dns_ttl": True,
        "connect_timeout": "5s",
        "typed_dns_resolver_config": {"name": "cares", "typed_config": resolver},
        "transport_socket": {"name": "tls", "typed_config": tls},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": protocols},
    }


def _endpoints(address: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}}}
    return {"load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]}}
