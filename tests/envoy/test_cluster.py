"""What reaches the provider and what comes back: sections, paths, hosts, header rules, ceilings, bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from harness.dataplane import DataPlane
from harness.plans import endpoint, gateway, section, to, upstream
from harness.ports import free_port
from headgate.model.matches import HeaderMatch, HeaderMatchKind, RequestMatch
from headgate.model.plan import Ceilings, HeaderRules, Route, Timeouts, Upstream
from headgate.simulate.behaviours import Gate, echo, respond
from headgate.simulate.recording import RecordedRequest
from headgate.simulate.server import FakeServer


@pytest.fixture(scope="module")
def sections() -> Iterator[tuple[FakeServer, DataPlane]]:
    """One upstream with many sections; each says in its base path which one it is."""
    with FakeServer() as server:
        names = ("default", "prefix", "longer", "regex", "method", "header", "distinct", "pattern")
        each = [section(endpoint(server.port), key=f"demo/api/{name}", base_path=f"/to-{name}") for name in names]

        def by_header(name: str, kind: HeaderMatchKind, value: str = "") -> Route:
            headers = (HeaderMatch(f"X-{name}", kind, value),)
            return Route(RequestMatch(headers=headers), name)

        routes = [
            to("longer", "/v1/models/"),
            to("method", "/v1", methods=("POST", "DELETE")),
            to("prefix", "/v1"),
            to("regex", regex="/things/[0-9]+(:run)?"),
            to("longer", "/also"),
            by_header("header", HeaderMatchKind.EXACT, "yes"),
            by_header("pattern", HeaderMatchKind.REGEX, "v[0-9]+"),
            by_header("distinct", HeaderMatchKind.DISTINCT),
        ]
        with DataPlane(gateway(upstream(*each, routes=routes))) as plane:
            yield server, plane


def _seen(sections: tuple[FakeServer, DataPlane], path: str, method: str = "GET", **headers: str) -> RecordedRequest:
    server, plane = sections
    before = len(server.requests)
    request = plane.client.build_request(
        method, "/", headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    request.extensions["target"] = f"/demo/api{path}".encode()
    assert plane.client.send(request).status_code == 200
    return server.requests[before]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "default"),
        ("/v1", "prefix"),
        ("/v1/", "prefix"),
        ("/v1/x", "prefix"),
        ("/v1?x=1", "prefix"),
        ("/v1beta", "default"),
        ("/v1beta/x", "default"),
        ("/V1/x", "default"),
        ("/v1/models", "longer"),
        ("/v1/models/gemini:generate", "longer"),
        ("/v1/modelsets", "prefix"),
        ("/things/12", "regex"),
        ("/things/12:run", "regex"),
        ("/things/12?run", "regex"),
        ("/things/x", "default"),
        ("/a/things/12", "default"),
        ("/things/12/more", "default"),
        ("/also", "longer"),
        ("/x?/v1", "default"),
        ("/x?a=/v1/x", "default"),
    ],
)
def test_the_first_match_names_the_section(sections: tuple[FakeServer, DataPlane], path: str, name: str) -> None:
    bare, _, query = path.partition("?")
    seen = _seen(sections, path)
    assert seen.target.decode() == f"/to-{name}{bare}" + (f"?{query}" if query else "")


def test_methods_and_headers_match(sections: tuple[FakeServer, DataPlane]) -> None:
    assert _seen(sections, "/v1/x", "POST").raw_path == b"/to-method/v1/x"
    assert _seen(sections, "/v1/x", "PUT").raw_path == b"/to-prefix/v1/x"
    assert _seen(sections, "/v1/models", "POST").raw_path == b"/to-longer/v1/models"
    assert _seen(sections, "/", x_header="yes").raw_path == b"/to-header/"
    assert _seen(sections, "/", x_header="yes please").raw_path == b"/to-default/"
    assert _seen(sections, "/", x_pattern="v12").raw_path == b"/to-pattern/"
    assert _seen(sections, "/", x_pattern="v12b").raw_path == b"/to-default/"
    assert _seen(sections, "/", x_distinct="anything").raw_path == b"/to-distinct/"


@pytest.mark.parametrize(
    "tail",
    [
        "/a%2Fb",
        "/a//b",
        "/%41",
        "/a+b",
        "/(x);y=1",
        "/x?a=1&b=%2F&c",
        "/x?a=b?c=d",
        "/x?url=https://elsewhere.test/%3Fq",
        "/projects/p:run",
        "/emoji/%F0%9F%98%80",
    ],
)
def test_path_and_query_arrive_as_written(sections: tuple[FakeServer, DataPlane], tail: str) -> None:
    assert _seen(sections, tail).target == f"/to-default{tail}".encode()


@pytest.mark.parametrize("base", ["", "/", "/client/v4", "/client/v4/", "/odd\\1$0%2F(x)"])
def test_the_base_path_goes_in_front(provider: FakeServer, base: str) -> None:
    by_regex = section(endpoint(provider.port), key="demo/api/regex", base_path=base)
    rest = section(endpoint(provider.port), base_path=base)
    plan = gateway(upstream(by_regex, rest, routes=[to("regex", regex="/r/.*"), to("default", "/v1")]))
    with DataPlane(plan) as plane:
        for path in ("/r/x?y=1", "/v1", "/v1/z", "/other", "/"):
            assert plane.call("demo/api", path).status_code == 200
    front = base.rstrip("/").encode()
    assert [seen.target for seen in provider.requests] == [
        front + path for path in (b"/r/x?y=1", b"/v1", b"/v1/z", b"/other", b"/")
    ]


def test_header_rules_are_done_in_their_order(provider: FakeServer) -> None:
    rules = HeaderRules(
        remove=("X-Gone", "X-Renewed"),
        set=(("X-Renewed", "new"), ("X-Set", "100% %REQ(host)%"), ("X-Empty", "")),
        add=(("X-Set", "more"), ("X-List", "two")),
    )
    provider.default(echo(200, [("X-Gone", "1"), ("X-Renewed", "old"), ("X-List", "one"), ("X-Kept", "kept")]))
    ruled = section(endpoint(provider.port), request_headers=rules, response_headers=rules)
    sent = [("X-Gone", "1"), ("X-Renewed", "old"), ("X-List", "one"), ("X-Kept", "kept")]
    with DataPlane(gateway(upstream(ruled))) as plane:
        response = plane.call("demo/api", headers=sent)
    (seen,) = provider.requests

    def check(values: dict[str, list[str]]) -> None:
        assert values == {
            "x-gone": [],
            "x-renewed": ["new"],
            "x-set": ["100% %REQ(host)%", "more"],
            "x-list": ["one", "two"],
            "x-kept": ["kept"],
            "x-empty": [""],
        }

    names = ("x-gone", "x-renewed", "x-set", "x-list", "x-kept", "x-empty")
    check({name: seen.header_values(name) for name in names})
    check({name: [v for k, v in response.headers.multi_items() if k == name] for name in names})


def test_rules_for_the_host_are_left_to_the_route(provider: FakeServer) -> None:
    rules = HeaderRules(set=(("Host", "evil.test"), (":authority", "evil.test")), remove=("host", ":path"))
    ruled = section(endpoint(provider.port), request_headers=rules, response_headers=rules)
    with DataPlane(gateway(upstream(ruled))) as plane:
        assert plane.call("demo/api", "/x").status_code == 200
    (seen,) = provider.requests
    assert (seen.header("host"), seen.raw_path) == (f"127.0.0.1:{provider.port}", b"/x")


def test_credential_headers_of_the_provider_never_pass(provider: FakeServer) -> None:
    stripped = section(endpoint(provider.port), strip_request_headers=("x-goog-api-key", "authorization"))
    sent = [("X-Goog-Api-Key", "mine"), ("Authorization", "Bearer mine"), ("x-goog-api-client", "kept")]
    with DataPlane(gateway(upstream(stripped))) as plane:
        plane.call("demo/api", headers=sent)
    (seen,) = provider.requests
    assert (seen.header("x-goog-api-key"), seen.header("authorization")) == (None, None)
    assert seen.header("x-goog-api-client") == "kept"


def test_nothing_of_the_inside_reaches_the_provider(provider: FakeServer) -> None:
    sent = [
        (name, "x")
        for name in (
            "x-hg-started", "x-hg-credential-0", "X-Headgate-Scope", "x-envoy-original-path", "x-envoy-attempt-count",
            "x-forwarded-for", "X-Forwarded-Proto", "x-forwarded-host", "x-envoy-upstream-rq-timeout-ms",
        )
    ]  # fmt: skip
    with DataPlane(gateway(upstream(section(endpoint(provider.port), base_path="/base")))) as plane:
        plane.call("demo/api", headers=sent)
    (seen,) = provider.requests
    assert not [
        name for name, _ in seen.headers if name.startswith(("x-hg-", "x-headgate-", "x-envoy-", "x-forwarded-"))
    ]


def test_pending_calls_beyond_the_ceiling_are_refused_at_once(provider: FakeServer) -> None:
    gate = Gate()
    provider.default(gate)
    ceilings = Ceilings(connections=1, pending=1, requests=2)
    with DataPlane(gateway(upstream(section(endpoint(provider.port), ceilings=ceilings)))) as plane:
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(plane.call("demo/api").status_code)) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        plane.wait_until(lambda: len(answers) >= 4, "the refusals")
        assert answers == [503] * 4
        gate.open()
        for thread in threads:
            thread.join()
        assert sorted(answers) == [200, 200, 503, 503, 503, 503]


def test_sections_do_not_share_a_ceiling(provider: FakeServer) -> None:
    gate = Gate()
    provider.on("/busy", gate)
    ceilings = Ceilings(requests=1)
    busy = section(endpoint(provider.port), key="demo/api/busy", ceilings=ceilings)
    free = section(endpoint(provider.port), ceilings=ceilings)
    with DataPlane(gateway(upstream(busy, free, routes=[to("busy", "/busy")]))) as plane:
        thread = threading.Thread(target=lambda: plane.call("demo/api", "/busy"))
        thread.start()
        gate.wait_held(1)
        assert plane.call("demo/api", "/free").status_code == 200
        assert plane.call("demo/api", "/busy").status_code == 503
        gate.open()
        thread.join()


def test_large_answer_headers_pass_up_to_a_bound(provider: FakeServer) -> None:
    provider.on("/large", respond(200, "", {f"x-{n}": "v" * 8_000 for n in range(10)}))
    provider.on("/too-large", respond(200, "", {f"x-{n}": "v" * 8_000 for n in range(20)}))
    with DataPlane(gateway(upstream(section(endpoint(provider.port))))) as plane:
        assert plane.call("demo/api", "/large").status_code == 200
        assert plane.call("demo/api", "/too-large").status_code in (502, 503)
        assert plane.call("demo/api", "/large").status_code == 200


def test_a_connection_that_cannot_be_made_ends_in_time() -> None:
    timeouts = Timeouts(request=10_000, connect=300, stream_idle=0)
    dead = section(endpoint(free_port()), timeouts=timeouts)
    with DataPlane(gateway(upstream(dead))) as plane:
        assert plane.call("demo/api").status_code == 503


def test_an_edit_of_one_upstream_changes_nothing_of_another(provider: FakeServer) -> None:
    def plan(first_base: str, connect: int) -> list[Upstream]:
        first = section(
            endpoint(provider.port), key="demo/first/default", base_path=first_base,
            timeouts=Timeouts(15_000, connect, 0),
        )  # fmt: skip
        return [upstream(first), upstream(section(endpoint(provider.port), key="demo/second/default"))]

    with DataPlane(gateway(*plan("/a", 1_000))) as plane:
        assert plane.memo.rendered == 2
        plane.call("demo/first")
        plane.call("demo/second")
        plane.update(gateway(*plan("/b", 1_000)))
        assert plane.memo.rendered == 3
        assert plane.stat("cluster_manager.cluster_modified") == 0
        plane.update(gateway(*plan("/b", 1_500)))
        assert plane.memo.rendered == 4
        assert plane.stat("cluster_manager.cluster_modified") == 1
        plane.call("demo/first")
    assert [seen.raw_path for seen in provider.requests] == [b"/a/", b"/", b"/b/"]
