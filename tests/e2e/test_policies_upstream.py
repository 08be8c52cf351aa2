"""Fields of UpstreamService that say where calls go, how long they may take and what is changed on the way."""

from __future__ import annotations

import contextlib
import time

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from fakes.rawserver import NeverAccepts
from harness.dns import DnsServer
from harness.headgate import Form
from harness.space import Space, plain
from headgate.simulate.behaviours import delayed, hang, respond
from headgate.simulate.server import FakeServer
from headgate.simulate.sse import Sse


def sent(response: httpx.Response) -> list[tuple[str, str]]:
    """The headers that the echoing provider has received."""
    assert response.status_code == 200
    return [(name, value) for name, value in response.json()["headers"]]


def code(response: httpx.Response) -> str:
    """What the gateway itself says is wrong."""
    return str(response.json()["error"]["code"])


@pytest.mark.parametrize("form", list(Form))
def test_upstream_hostname_port_and_base_path(space: Space, provider: FakeServer, dns: DnsServer, form: Form) -> None:
    dns.set("api.provider.test", "127.0.0.1", ttl=60)
    space.put(
        "UpstreamService",
        "api",
        f"""
        provider: generic
        hostname: api.provider.test
        port: {provider.port}
        basePath: /client/v4
        tls: {{mode: None}}
        """,
    )
    space.apply()
    response = space.call("api", "/zones?page=2", form=form)
    assert (response.json()["raw_path"], response.json()["query"]) == ("/client/v4/zones", "page=2")
    assert ("host", f"api.provider.test:{provider.port}") in sent(response)
    assert space.status("api")["host"] == "api.provider.test"


def test_upstream_request_timeout(space: Space, provider: FakeServer) -> None:
    provider.on("/hang", hang())
    provider.on("/slow", delayed(0.6))
    space.put(
        "UpstreamService",
        "short",
        f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, timeouts: {{request: 300ms}}}}",
    )
    space.put(
        "UpstreamService",
        "long",
        f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, timeouts: {{request: 0s}}}}",
    )
    space.apply()
    begun = time.monotonic()
    response = space.call("short", "/hang")
    assert (response.status_code, code(response)) == (504, "RequestTimeout")
    assert 0.29 <= time.monotonic() - begun < 5
    assert space.call("short", "/slow").status_code == 504
    assert space.call("long", "/slow").status_code == 200


def test_upstream_connect_timeout(space: Space) -> None:
    with NeverAccepts() as silent:
        space.put(
            "UpstreamService",
            "api",
            f"{{hostname: 127.0.0.1, port: {silent.port}, tls: {{mode: None}}, timeouts: {{connect: 300ms}}}}",
        )
        space.apply()
        begun = time.monotonic()
        response = space.call("api")
        assert (response.status_code, code(response)) == (503, "ConnectTimeout")
        assert 0.29 <= time.monotonic() - begun < 4


@pytest.mark.serial
def test_upstream_stream_idle_timeout(space: Space, provider: FakeServer) -> None:
    events = Sse()
    provider.default(events)
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        timeouts: {{request: 0s, streamIdle: 500ms}}
        """,
    )
    space.apply()
    with space.stream("api") as response:
        stream = events.accept()
        lines = response.iter_lines()
        # Longer in all than may pass in silence.
        for number in range(4):
            stream.send(str(number))
            assert next(lines) == f"data: {number}"
            assert next(lines) == ""
            time.sleep(0.2)
        begun = time.monotonic()
        with contextlib.suppress(httpx.RemoteProtocolError):
            assert not [line for line in lines if line]
        assert time.monotonic() - begun < 5
        stream.wait_client_gone()


SECTIONS = """
hostname: 127.0.0.1
port: {port}
tls: {{mode: None}}
credentials: [{{name: mark, secretRef: {{name: marks, key: none}}, location: {{header: {{name: x-section}}}}}}]
sections:
- name: prefix
  matches: [{{pathPrefix: /v1/reports}}]
  credentials: [{{name: mark, secretRef: {{name: marks, key: prefix}}, location: {{header: {{name: x-section}}}}}}]
- name: regex
  matches: [{{pathRegex: "/v[12]/models/[^/]+:generate"}}]
  credentials: [{{name: mark, secretRef: {{name: marks, key: regex}}, location: {{header: {{name: x-section}}}}}}]
- name: methods
  matches: [{{pathPrefix: /things, methods: [PUT, DELETE]}}]
  credentials: [{{name: mark, secretRef: {{name: marks, key: methods}}, location: {{header: {{name: x-section}}}}}}]
- name: headers
  matches:
  - headers: [{{name: x-plan, type: Exact, value: gold}}, {{name: x-region, value: eu}}]
  - headers: [{{name: x-plan, type: RegularExpression, value: "plat.*"}}]
  credentials: [{{name: mark, secretRef: {{name: marks, key: headers}}, location: {{header: {{name: x-section}}}}}}]
"""


def test_upstream_section_matches(space: Space, provider: FakeServer) -> None:
    names = ("none", "prefix", "regex", "methods", "headers")
    space.secret("marks", {name: name for name in names})
    space.put("UpstreamService", "api", SECTIONS.format(port=provider.port))
    space.apply()
    calls: list[tuple[str, str, dict[str, str], str]] = [
        ("GET", "/v1/reports", {}, "prefix"),
        ("GET", "/v1/reports/3?x=1", {}, "prefix"),
        ("GET", "/v1/reportsx", {}, "none"),
        ("POST", "/v2/models/a:generate", {}, "regex"),
        ("POST", "/v2/models/a:generate/x", {}, "none"),
        ("PUT", "/things/1", {}, "methods"),
        ("DELETE", "/things", {}, "methods"),
        ("GET", "/things/1", {}, "none"),
        ("GET", "/", {"x-plan": "gold", "x-region": "eu"}, "headers"),
        ("GET", "/", {"x-plan": "gold"}, "none"),
        ("GET", "/", {"x-plan": "golden", "x-region": "eu"}, "none"),
        ("GET", "/", {"x-plan": "platinum"}, "headers"),
        # A path says more than headers do.
        ("GET", "/v1/reports", {"x-plan": "platinum"}, "prefix"),
    ]
    for method, path, headers, section in calls:
        received = dict(sent(space.call("api", path, method=method, headers=headers)))
        assert received["x-section"] == section, (method, path, headers)


def test_upstream_section_timeouts(space: Space, provider: FakeServer) -> None:
    provider.on("/slow*", delayed(0.6))
    events = Sse()
    provider.on("/slow/events", events)
    with NeverAccepts() as silent:
        space.put(
            "UpstreamService",
            "api",
            f"""
            hostname: 127.0.0.1
            port: {provider.port}
            tls: {{mode: None}}
            timeouts: {{request: 200ms, streamIdle: 30s}}
            sections:
            - name: slow
              matches: [{{pathPrefix: /slow}}]
              timeouts: {{request: 5s, streamIdle: 1s}}
            """,
        )
        space.put(
            "UpstreamService",
            "far",
            f"""
            hostname: 127.0.0.1
            port: {silent.port}
            tls: {{mode: None}}
            timeouts: {{connect: 20s, request: 30s}}
            sections: [{{name: near, matches: [{{pathPrefix: /near}}], timeouts: {{connect: 200ms}}}}]
            """,
        )
        space.apply()
        assert space.call("api", "/slow").status_code == 200
        provider.on("/other", delayed(0.6))
        assert code(space.call("api", "/other")) == "RequestTimeout"
        assert code(space.call("far", "/near")) == "ConnectTimeout"
        begun = time.monotonic()
        with space.stream("api", "/slow/events") as response, contextlib.suppress(httpx.RemoteProtocolError):
            assert not response.read()
        assert time.monotonic() - begun < 4


def test_upstream_headers(space: Space, provider: FakeServer) -> None:
    provider.default(respond(200, headers=[("x-powered-by", "native"), ("x-kept", "1"), ("x-added", "native")]))
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        headers:
          request:
            set: [{{name: User-Agent, value: "headgate 100%"}}]
            add: [{{name: x-tag, value: ours}}]
            remove: [x-secret, cookie]
          response:
            set: [{{name: x-kept, value: "2"}}]
            add: [{{name: x-added, value: ours}}]
            remove: [x-powered-by]
        """,
    )
    space.apply()
    headers = {"user-agent": "curl", "x-tag": "theirs", "x-secret": "s", "cookie": "c=1", "x-other": "o"}
    response = space.call("api", headers=headers)
    (seen,) = provider.requests
    assert seen.header_values("user-agent") == ["headgate 100%"]
    assert ",".join(seen.header_values("x-tag")).replace(" ", "") == "theirs,ours"
    assert (seen.header("x-secret"), seen.header("cookie"), seen.header("x-other")) == (None, None, "o")
    assert "x-powered-by" not in response.headers
    assert response.headers.get_list("x-kept") == ["2"]
    assert response.headers.get_list("x-added", split_commas=True) == ["native", "ours"]


def test_upstream_upgrades(space: Space, provider: FakeServer) -> None:
    space.put("UpstreamService", "closed", plain(provider.port))
    space.put(
        "UpstreamService",
        "open",
        f"{{hostname: 127.0.0.1, port: {provider.port}, tls: {{mode: None}}, upgrades: [websocket]}}",
    )
    space.apply()
    base = f"ws://127.0.0.1:{space.headgate.port}/{space.namespace}"
    with connect(f"{base}/open/socket?x=1") as socket:
        for message in ("hello", b"\x00\x01", "x" * 100_000):
            socket.send(message)
            assert socket.recv(timeout=10) == message
    (seen,) = [record for record in provider.requests if record.websocket]
    assert seen.target == b"/socket?x=1"
    with pytest.raises(InvalidStatus) as caught, connect(f"{base}/closed/socket"):
        pass
    assert caught.value.response.status_code == 403
    assert len(provider.requests) == 1


def test_upstream_max_request_body(space: Space, provider: FakeServer) -> None:
    space.put(
        "UpstreamService",
        "api",
        f"""
        hostname: 127.0.0.1
        port: {provider.port}
        tls: {{mode: None}}
        maxRequestBody: 1k
        sections:
        - name: uploads
          matches: [{{pathPrefix: /uploads}}]
          maxRequestBody: 0.5Mi
        - name: notes
          matches: [{{pathPrefix: /notes}}]
          maxRequestBody: 10
        - name: anything
          matches: [{{pathPrefix: /anything}}]
          maxRequestBody: 0
        """,
    )
    space.apply()

    def posted(path: str, size: int) -> int:
        response = space.call("api", path, method="POST", content=b"x" * size)
        assert response.status_code == 200 or code(response) == "BodyTooLarge"
        return response.status_code

    assert [posted("/", 1_000), posted("/", 1_001)] == [200, 413]
    assert [posted("/uploads/a", 524_288), posted("/uploads/a", 524_289)] == [200, 413]
    assert [posted("/notes", 10), posted("/notes", 11)] == [200, 413]
    assert posted("/anything", 2_000_000) == 200
    assert [record.target for record in provider.requests] == [b"/", b"/uploads/a", b"/notes", b"/anything"]


def test_upstream_provider_options(space: Space, provider: FakeServer, dns: DnsServer) -> None:
    project = "abcdefghijklmnopqrst"
    dns.set(f"{project}.supabase.co", "127.0.0.1", ttl=60)
    space.secret("keys", {"anon": "sb_publishable_key"})
    space.put(
        "UpstreamService",
        "project",
        f"""
        provider: supabase
        providerOptions: {{project: abcdefghijklmnopqrst}}
        port: {provider.port}
        tls: {{mode: None}}
        credentials: [{{name: key, secretRef: {{name: keys, key: anon}}}}]
        """,
    )
    space.apply()
    assert space.status("project")["host"] == f"{project}.supabase.co"
    without = dict(sent(space.call("project", "/rest/v1/todos")))
    assert without["host"] == f"{project}.supabase.co:{provider.port}"
    assert (without["apikey"], without["authorization"]) == ("sb_publishable_key", "Bearer sb_publishable_key")
    headers = {"apikey": "theirs", "authorization": "Bearer a-users-token", "x-middleware-subrequest": "a"}
    user = dict(sent(space.call("project", "/rest/v1/todos", headers=headers)))
    assert (user["apikey"], user["authorization"]) == ("sb_publishable_key", "Bearer a-users-token")
    assert "x-middleware-subrequest" not in user


def test_upstream_provider_options_that_are_wrong(space: Space, provider: FakeServer) -> None:
    space.put("UpstreamService", "project", "{provider: supabase, providerOptions: {project: my.project/}}")
    space.put("UpstreamService", "none", "{provider: supabase}")
    space.write()
    accepted = space.wait("UpstreamService", "project", "Accepted", "False")
    assert "spec.providerOptions.project: 'my.project/' does not fit" in accepted["message"]
    accepted = space.wait("UpstreamService", "none", "Accepted", "False")
    assert "has to be told project" in accepted["message"]
