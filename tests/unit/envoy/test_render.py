"""Rendering: deterministic, memoised per upstream, stable where it has to be."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2, scoped_route_pb2

from harness.everything import everything
from harness.pki import Authority
from harness.plans import endpoint, gateway, opaque, retry, section, to, upstream
from headgate.envoy.render import RenderMemo, render
from headgate.envoy.resource import Resources, TypeUrl
from headgate.model.answers import AnswerMark, Meaning, StatusRange
from headgate.model.plan import (
    Breaker,
    Ceilings,
    Credential,
    CredentialPlace,
    Dns,
    Gateway,
    HeaderRules,
    Limit,
    Section,
    Timeouts,
    Tls,
    Upstream,
)


def _bytes(resources: Resources) -> dict[tuple[TypeUrl, str], bytes]:
    return {(kind, name): each.body for kind, named in resources.items() for name, each in named.items()}


def _cluster(changed: Section) -> bytes:
    return render(gateway(upstream(changed)), RenderMemo())[TypeUrl.CLUSTER][changed.id].body


def test_the_same_plan_gives_the_same_bytes() -> None:
    authority = Authority()
    plan = everything(authority)
    shuffled = list(plan.upstreams.items())
    random.Random(3).shuffle(shuffled)
    again = replace(plan, upstreams=dict(reversed(shuffled)))
    assert _bytes(render(plan, RenderMemo())) == _bytes(render(again, RenderMemo()))


def test_names_are_those_of_the_plan() -> None:
    resources = render(everything(), RenderMemo())
    assert set(resources[TypeUrl.CLUSTER]) == {
        "demo/large/default", "demo/large/full", "demo/large/regex", "other/small/default",
    }  # fmt: skip
    assert set(resources[TypeUrl.ROUTE]) == set(resources[TypeUrl.SCOPED_ROUTE]) == {"demo/large", "other/small"}
    for name, each in resources[TypeUrl.SCOPED_ROUTE].items():
        scope = scoped_route_pb2.ScopedRouteConfiguration.FromString(each.body)
        assert (scope.name, scope.route_configuration_name) == (name, name)
        assert [fragment.string_key for fragment in scope.key.fragments] == [name]
    assert len(resources[TypeUrl.LISTENER]) == 1


def test_every_resource_has_its_owners() -> None:
    resources = render(everything(), RenderMemo())
    for kind in (TypeUrl.ROUTE, TypeUrl.SCOPED_ROUTE):
        for name, each in resources[kind].items():
            assert f"UpstreamService {name}" in [str(owner) for owner in each.owners]
    assert [str(owner) for owner in next(iter(resources[TypeUrl.LISTENER].values())).owners] == [
        "IntegrationGateway demo/gateway"
    ]


def _upstreams(count: int) -> list[Upstream]:
    return [upstream(section(endpoint(80), key=f"demo/u{number}/default")) for number in range(count)]


def test_a_change_to_one_upstream_renders_one() -> None:
    memo = RenderMemo()
    first = render(gateway(*_upstreams(200)), memo)
    assert memo.rendered == 200
    # New objects of equal value, as a compile without memory would make them.
    assert _bytes(render(gateway(*_upstreams(200)), memo)) == _bytes(first)
    assert memo.rendered == 200
    changed = [*_upstreams(200)]
    changed[7] = upstream(section(endpoint(81), key="demo/u7/default"))
    second = render(gateway(*changed), memo)
    assert memo.rendered == 201
    differing = {key for key, body in _bytes(second).items() if _bytes(first)[key] != body}
    assert differing == {(TypeUrl.CLUSTER, "demo/u7/default"), (TypeUrl.ROUTE, "demo/u7")}
    for kind, named in second.items():
        if kind is not TypeUrl.LISTENER:
            assert all(each is first[kind][name] for name, each in named.items() if "u7" not in name)


def test_what_is_gone_is_forgotten() -> None:
    memo = RenderMemo()
    render(gateway(*_upstreams(3)), memo)
    resources = render(gateway(*_upstreams(1)), memo)
    assert set(memo.upstreams) == {"demo/u0"}
    assert set(resources[TypeUrl.CLUSTER]) == {"demo/u0/default"}


PAUSED = AnswerMark(Meaning.PAUSED, (540,))
TOKEN = Credential("token", "demo/keys#token", CredentialPlace.HEADER, "Authorization", "Bearer ")


@pytest.mark.parametrize(
    "change",
    [
        {"base_path": "/v9"},
        {"timeouts": Timeouts(request=1, connect=2_000, stream_idle=1)},
        {"retry": retry(500, attempts=9, methods=("POST",), hint_max=1)},
        {"breaker": Breaker(1, None, (StatusRange(500, 599),), 1, 1, 1)},
        {"limits": (Limit("a", 1, 1, 1),)},
        {"request_headers": HeaderRules(set=(("a", "b"),))},
        {"response_headers": HeaderRules(remove=("a",))},
        {"strip_request_headers": ("a",), "strip_query": ("b",), "strip_cookies": ("c",)},
        {"retry": retry(503, assumed_wait=5_000)},
        {"retry": retry(503, client_count_headers=("x-retry-count",))},
        {"stream_timeouts": Timeouts(request=0, connect=9, stream_idle=1)},
        {"max_request_body": 1, "max_request_head": 1},
        {"owners": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_policy_leaves_the_cluster_as_it_is(change: dict[str, Any]) -> None:
    """Any change to a cluster drops its connections and gives back hosts that were left out."""
    before = section(endpoint(80), retry=retry(503), credentials=(TOKEN,))
    assert _cluster(before) == _cluster(replace(before, **change))


@pytest.mark.parametrize(
    "change",
    [
        {"endpoints": (endpoint(81),)},
        {"dns": Dns(refresh=1), "endpoints": (endpoint(80, "a.test"),)},
        {"tls": Tls("test/roots")},
        {"timeouts": Timeouts(request=15_000, connect=1, stream_idle=60_000)},
        {"ceilings": Ceilings(connections=1)},
        {"credentials": (replace(TOKEN, key="x-key"),)},
        {"credentials": (replace(TOKEN, secret="demo/keys#other"),)},
        {"credentials": (replace(TOKEN, yields=True),)},
        {"retry": None},
        {"retry": retry(503, marks=(PAUSED,))},
        {"upgrades": ("websocket",), "tls": Tls("test/roots")},
        {"allowed_cidrs": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_a_connection_is_made_of_is_in_the_cluster(change: dict[str, Any]) -> None:
    before = section(endpoint(80), retry=retry(503), credentials=(TOKEN,))
    assert _cluster(before) != _cluster(replace(before, **change))


def test_a_rotated_secret_changes_its_own_resource_only() -> None:
    def plan(value: str) -> Gateway:
        keyed = section(endpoint(80), credentials=(TOKEN, replace(TOKEN, key="x-bare", prefix="")))
        return gateway(upstream(keyed), secrets=[opaque("demo/keys#token", value), opaque("demo/other", "same")])

    memo = RenderMemo()
    before, after = _bytes(render(plan("one"), memo)), _bytes(render(plan("two"), memo))
    assert {key for key, body in after.items() if before[key] != body} == {
        (TypeUrl.SECRET, "demo/keys#token"),
        (TypeUrl.SECRET, "demo/keys#token|Bearer "),
    }
    assert memo.rendered == 1


def test_secrets_that_nothing_refers_to_stay_here() -> None:
    """A proxy gets no credential that it has no use for."""
    plan = gateway(upstream(section(endpoint(80))), secrets=[opaque("demo/unused", "value")])
    assert not render(plan, RenderMemo())[TypeUrl.SECRET]


def test_resources_never_print_a_secret() -> None:
    plan = everything()
    resources = render(plan, RenderMemo())
    shown = repr(resources) + repr(plan)
    for secret in ("token-4711-one", "token-4711-two", "PRIVATE KEY"):
        assert secret not in shown
        assert any(secret.encode() in each.body for each in resources[TypeUrl.SECRET].values())


def test_order_of_sections_moves_no_name() -> None:
    def plan(order: Callable[[list[Section]], list[Section]]) -> Gateway:
        sections = [section(endpoint(80 + n), key=f"demo/api/{n}") for n in range(3)]
        routes = [to(str(n), f"/{n}") for n in range(3)]
        made = upstream(*sections, section(endpoint(80)), routes=routes)
        return gateway(replace(made, sections=tuple(order(list(made.sections)))))

    straight = _bytes(render(plan(list), RenderMemo()))
    turned = _bytes(render(plan(lambda items: items[::-1]), RenderMemo()))
    assert straight.keys() == turned.keys()
    clusters = [key for key in straight if key[0] is TypeUrl.CLUSTER]
    assert all(straight[key] == turned[key] for key in clusters)


def test_priorities_have_no_gaps_in_envoy() -> None:
    spread = section(endpoint(1, priority=7), endpoint(2, priority=100), endpoint(3, priority=7))
    cluster = cluster_pb2.Cluster.FromString(_cluster(spread))
    assert [(each.priority, len(each.lb_endpoints)) for each in cluster.load_assignment.endpoints] == [(0, 2), (1, 1)]


def test_an_edit_of_marks_leaves_the_cluster_alone() -> None:
    """Which parts a script has depends on where marks are looked for; what they are is the route's."""
    before = section(endpoint(80), retry=retry(503, marks=(PAUSED,)))
    other = AnswerMark(Meaning.FINAL, (500,), header="x-why", texts=("no",))
    assert _cluster(before) == _cluster(replace(before, retry=retry(503, marks=(other, PAUSED))))


def test_routes_of_a_section_share_one_configuration() -> None:
    """A version of its own for streams would have the gateway read the section anew at every change of route."""
    breaker = Breaker(1, None, (StatusRange(500, 599),), 1, 1, 1)
    streams = Timeouts(request=90_000, connect=1, stream_idle=1)
    bounded = section(endpoint(80), breaker=breaker, stream_timeouts=streams, retry=retry(503))
    plan = upstream(bounded, routes=[replace(to("default", "/live"), streaming=True)])
    body = render(gateway(plan), RenderMemo())[TypeUrl.ROUTE]["demo/api"].body
    live, rest = route_pb2.RouteConfiguration.FromString(body).virtual_hosts[0].routes
    told = [each.metadata.filter_metadata["headgate"].fields for each in (live, rest)]
    assert told[0]["version"] == told[1]["version"]
    assert told[0]["config"] == told[1]["config"]
    assert (told[0]["trial_bound"].number_value, "trial_bound" in told[1]) == (90_000, False)
    waits = [each.metadata.filter_metadata["headgate.upstream"].fields["headgate.retry"] for each in (live, rest)]
    assert [each.struct_value.fields["timeout"].number_value for each in waits] == [90_000, 15_000]


def test_a_header_that_yields_is_not_taken_away_by_the_route() -> None:
    yielding = section(
        endpoint(80),
        credentials=(replace(TOKEN, key="apikey", prefix=""), replace(TOKEN, yields=True)),
        strip_request_headers=("authorization", "x-other"),
    )
    body = render(gateway(upstream(yielding)), RenderMemo())[TypeUrl.ROUTE]["demo/api"].body
    (route,) = route_pb2.RouteConfiguration.FromString(body).virtual_hosts[0].routes
    assert list(route.request_headers_to_remove) == ["x-other", "apikey"]


def test_a_reset_is_tried_again_on_a_route_of_its_own() -> None:
    resources = render(everything(), RenderMemo())
    routes = route_pb2.RouteConfiguration.FromString(resources[TypeUrl.ROUTE]["demo/large"].body)
    full = [route for route in routes.virtual_hosts[0].routes if route.name == "demo/large/full"]
    methods = [
        next(header.string_match.safe_regex.regex for header in route.match.headers if header.name == ":method")
        for route in full[:2]
    ]
    triggers = [route.route.retry_policy.retry_on.split(",") for route in full[:2]]
    assert methods == ["GET", "GET|POST"]
    assert ["reset" in each for each in triggers] == [True, False]
