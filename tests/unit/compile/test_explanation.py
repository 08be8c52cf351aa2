"""Where values come from: that every one is shown, that every one has an origin, and that asking changes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest

from harness.declare import EDGE, World, on_gateway, policy, secret, upstream
from headgate.compile.effective import FIELDS, GROUPS, Row
from headgate.compile.explanation import Explanation, Part, Shown, explain
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot, examine
from headgate.files.folder import Folder
from headgate.files.snapshot import snapshot
from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import CredentialPlace, Section, Tls
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Settings, Snapshot
from headgate.providers.profile import Location, Profile, SectionProfile, TimeoutDefaults

INPUT = Path(__file__).parents[2] / "golden" / "input"
EXAMPLES = Path(__file__).parents[3] / "manifests" / "examples"
CASES = [*sorted(INPUT.glob("*.yaml")), *sorted(EXAMPLES.glob("*.yaml"))]
#: Shown in ways of their own, or nobody's choice.
ELSEWHERE = {"id", "name", "owners", "credentials", "limits"}


def read(case: Path) -> Snapshot:
    settings = Settings(listen=("127.0.0.1", 8080), implied_gateway=True, system_roots=SecretValue(b"roots"))
    return snapshot(Folder(case).read(), settings)


def explained(text: str, key: str = "shop/billing") -> Explanation:
    return explain(World(text).store.snapshot(), key)


def part(found: Explanation, name: str = "default") -> Part:
    (section,) = [each for each in found.sections if each.name == name]
    return section


def rows(found: Explanation, group: str, name: str, section: str = "default") -> list[tuple[object, str]]:
    own = [each for each in part(found, section).rows if (each.group, each.name) == (group, name)]
    return [(each.value, str(each.origin)) for each in own]


def test_every_field_of_a_section_is_shown() -> None:
    shown = {field.get.partition(".")[0] for field in FIELDS}
    assert shown | ELSEWHERE == {field.name for field in dataclasses.fields(Section)}
    assert not shown & ELSEWHERE


def test_every_field_of_what_a_section_is_made_of_is_shown() -> None:
    shown = {field.get for field in FIELDS}
    for name, kind in (("tls", Tls), ("retry", "Retry"), ("breaker", "Breaker"), ("ceilings", "Ceilings")):
        import headgate.model.plan as plan

        model = kind if isinstance(kind, type) else getattr(plan, kind)
        wanted = {f"{name}.{field.name}" for field in dataclasses.fields(model)} - {"breaker.rate"}
        assert wanted <= shown, name


def test_groups_are_all_known() -> None:
    assert {field.group for field in FIELDS} | {"credentials", "limits"} == set(GROUPS)


def every_row(world: Snapshot) -> Iterator[tuple[str, Row]]:
    for key in world.upstreams:
        for section in explain(world, key).sections:
            yield from ((f"{key}/{section.name}", row) for row in section.rows)


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_value_has_an_origin(case: Path) -> None:
    lost = [(where, row) for where, row in every_row(read(case)) if row.origin is None]
    assert lost == []


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_asking_changes_nothing(case: Path) -> None:
    world = read(case)
    memo = Memo()
    plan = compile_snapshot(world, memo)
    for key in world.upstreams:
        found = examine(world, key)
        assert found.outcome.current == memo.outcomes[key].current
        assert found.outcome.gateway == memo.outcomes[key].gateway
        ref = found.outcome.declared.ref
        assert found.verdicts[ref] == plan.verdicts[ref]
        if found.outcome.in_force is not None:
            upstream_ = found.outcome.in_force.upstream
            assert upstream_ is not None
            assert found.notes is not None
            assert found.notes.sections == upstream_.sections


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_lists_are_shown_whole(case: Path) -> None:
    """Entries are told apart by origin, and none is lost or made up."""
    world = read(case)
    for key in world.upstreams:
        found = examine(world, key)
        assert found.notes is not None or not explain(world, key).sections
        for section, shown in zip(
            found.notes.sections if found.notes else (), explain(world, key).sections, strict=True
        ):
            for field in FIELDS:
                value: object = section
                for name in field.get.split("."):
                    value = getattr(value, name) if value is not None else None
                if field.each and isinstance(value, tuple):
                    entries = [
                        each
                        for row in shown.rows
                        if (row.group, row.name) == (field.group, field.name) and isinstance(row.value, tuple)
                        for each in row.value
                    ]
                    assert sorted(entries) == sorted(str(field.spell(each)) for each in value), (key, field.name)


def test_a_value_is_from_the_nearest_and_names_those_that_it_won_over() -> None:
    found = explained(
        upstream(
            "gemini",
            "{provider: gemini, timeouts: {request: 30s}, sections: [{name: generate, timeouts: {request: 5s}}]}",
        ),
        "shop/gemini",
    )
    (own,) = [each for each in part(found, "generate").rows if each.name == "request"]
    assert (own.value, str(own.origin)) == ("5s", "UpstreamService shop/gemini, section generate")
    assert [(str(origin), value) for origin, value in own.over] == [
        ("UpstreamService shop/gemini", "30s"),
        ("provider gemini", "10m"),
        ("default", "1m"),
    ]


def test_a_list_is_told_apart_by_origin() -> None:
    text = upstream("gemini", "{provider: gemini}") + policy("RetryPolicy", "again", target="gemini")
    found = explained(text, "shop/gemini")
    assert rows(found, "retries", "methods", "generate") == [
        (("DELETE", "GET", "HEAD", "OPTIONS", "PUT"), "default"),
        (("POST",), "provider gemini, section generate"),
    ]
    found = explained(text + policy("RetryPolicy", "again", "methods: [POST, GET]", target="gemini"), "shop/gemini")
    ((methods, origin),) = rows(found, "retries", "methods", "generate")
    assert (set(methods), origin) == ({"GET", "POST"}, "RetryPolicy shop/again")  # type: ignore[call-overload]


def test_streams_of_a_section() -> None:
    streams = (RequestMatch(path=PathMatch(PathKind.PREFIX, "/data/stream")),)
    section = SectionProfile(
        "data",
        (RequestMatch(path=PathMatch(PathKind.PREFIX, "/data")),),
        streams=streams,
        stream_timeouts=TimeoutDefaults(stream_idle=90_000),
    )
    acme = Profile("acme", Location(CredentialPlace.HEADER, "x-key"), host="acme.example", sections=(section,))
    world = World(upstream(spec="{provider: acme}")).store.snapshot()
    found = explain(world, "shop/billing", MappingProxyType({"acme": acme}))
    assert (part(found, "data").matches, part(found, "data").streams) == (("/data",), ("/data/stream",))
    assert rows(found, "streams", "request", "data") == [("none", "provider acme, section data")]
    assert rows(found, "streams", "stream idle", "data") == [("1m30s", "provider acme, section data")]
    assert rows(found, "streams", "request") == []


def test_what_lifts_a_bound_is_named() -> None:
    acme = Profile("acme", Location(CredentialPlace.HEADER, "x-key"), host="acme.example", max_request_body=1 << 20)
    for spec, value, origin in (
        ("{provider: acme}", "1Mi", "provider acme"),
        ("{provider: acme, maxRequestBody: 0}", "no bound", "UpstreamService shop/billing"),
        ("{provider: acme, maxRequestBody: 1500}", "1500 bytes", "UpstreamService shop/billing"),
    ):
        found = explain(World(upstream(spec=spec)).store.snapshot(), "shop/billing", MappingProxyType({"acme": acme}))
        assert rows(found, "calls", "max body") == [(value, origin)]


def test_retries_that_are_none_say_why() -> None:
    assert rows(explained(upstream()), "retries", "policy") == [("none: no RetryPolicy is attached", "default")]
    found = explained(upstream() + policy("RetryPolicy", "never", "attempts: 0"))
    assert rows(found, "retries", "attempts") == [(0, "RetryPolicy shop/never")]
    hurried = policy("RetryPolicy", "slow", "perRetry: {backOff: {baseInterval: 9s}}")
    found = explained(upstream(spec="{hostname: a.example, timeouts: {request: 5s}}") + hurried)
    assert rows(found, "retries", "attempts") == [("none: there is no time for any", "RetryPolicy shop/slow")]
    assert "a first wait of 9s does not fit" in found.problems[0].message


def test_the_nearest_policy_counts_and_the_others_are_named() -> None:
    text = (
        EDGE
        + upstream(spec="{hostname: a.example, sections: [{name: pay, matches: [{pathPrefix: /pay}]}]}")
        + on_gateway("CircuitBreaker", "fleet")
        + policy("CircuitBreaker", "whole")
        + policy("CircuitBreaker", "pay", section="pay")
    )
    found = explained(text)
    assert {each.policy.name: (each.sections, each.why) for each in found.policies} == {
        "fleet": (
            (),
            (
                ("Nearer", "CircuitBreaker shop/whole is nearer, on the upstream"),
                ("Nearer", "CircuitBreaker shop/pay is nearer, on section pay"),
            ),
        ),
        "pay": (("pay",), ()),
        "whole": (("default",), (("Nearer", "CircuitBreaker shop/pay is nearer, on section pay"),)),
    }
    assert rows(found, "breaker", "policy", "pay") == [("on section pay", "CircuitBreaker shop/pay")]
    assert found.problems == ()


def test_one_that_is_attached_twice_does_not_win_over_itself() -> None:
    refs = "[{kind: UpstreamService, name: billing}, {kind: UpstreamService, name: billing, sectionName: default}]"
    breaker = f"---\nkind: CircuitBreaker\nmetadata: {{name: both}}\nspec: {{targetRefs: {refs}}}\n"
    found = explained(upstream() + breaker)
    assert [(each.sections, each.everywhere, each.why) for each in found.policies] == [(("default",), True, ())]


def test_the_oldest_of_a_kind_wins_and_the_other_hears_why() -> None:
    found = explained(
        upstream()
        + policy("RetryPolicy", "a", meta=", creationTimestamp: 2026-02-01T00:00:00Z")
        + policy("RetryPolicy", "z", meta=", creationTimestamp: 2026-01-01T00:00:00Z")
    )
    assert {each.policy.name: each.everywhere for each in found.policies} == {"a": False, "z": True}
    (problem,) = found.problems
    assert (problem.ref.name, problem.reason) == ("a", "Conflicted")
    assert "RetryPolicy shop/z is attached to UpstreamService shop/billing already" in problem.message


def test_policies_that_miss_it_by_a_letter_or_can_not_be_read_are_named() -> None:
    world = World(
        upstream()
        + policy("RetryPolicy", "missed", target="biling")
        + policy("RetryPolicy", "elsewhere", target="something-else")
        + policy("CircuitBreaker", "wrong", "maxBreakDuration: 1s")
        + policy("RateLimit", "gone", "rules: [{name: a, limit: {requests: 1, interval: 1s}}]")
    )
    world.break_("RateLimit", "gone")
    found = explain(world.store.snapshot(), "shop/billing")
    assert {each.policy.name: each.sections for each in found.policies} == {"missed": (), "wrong": (), "gone": ()}
    assert {each.ref.name: each.reason for each in found.problems} == {
        "missed": "TargetNotFound",
        "wrong": "InvalidSpec",
        "gone": "InvalidSpec",
    }


def test_a_policy_of_another_upstream_of_a_like_name_is_none_of_this_one() -> None:
    found = explained(upstream() + upstream("billing2") + policy("RetryPolicy", "other", target="billing2"))
    assert found.policies == ()


def test_the_last_good_version_is_shown_where_it_serves() -> None:
    world = World(upstream(spec="{hostname: a.example, timeouts: {request: 9s}}"))
    world.compile()
    world.say(upstream(spec="{hostname: 10.0.0.1}", meta=", generation: 2"))
    found = explain(world.store.snapshot(), "shop/billing")
    assert (found.shown, found.generation, found.served) == (Shown.LAST_GOOD, 2, 1)
    assert rows(found, "timeouts", "request") == [("9s", "UpstreamService shop/billing")]
    assert "10.0.0.1 is not a public address" in found.problems[0].message
    world.break_("UpstreamService", "billing", generation=3)
    found = explain(world.store.snapshot(), "shop/billing")
    assert (found.shown, found.generation, found.served) == (Shown.LAST_GOOD, 3, 1)


def test_what_can_not_be_served_is_shown_as_it_would_be() -> None:
    found = explained(
        upstream(spec="{hostname: a.example, credentials: [{name: key, secretRef: {name: keys, key: token}}]}")
    )
    assert found.shown is Shown.UNSERVED
    assert rows(found, "credentials", "key") == [("Secret shop/keys, key token", "UpstreamService shop/billing")]
    assert found.problems[0].condition == "ResolvedRefs"


def test_nothing_is_shown_of_what_can_not_be_read() -> None:
    world = World(upstream())
    world.break_("UpstreamService", "billing")
    found = explain(world.store.snapshot(), "shop/billing")
    assert (found.shown, found.sections) == (Shown.UNREADABLE, ())
    assert found.problems[0].message == "it can't be read: mend it"


def test_no_secret_is_in_it() -> None:
    spec = "{hostname: a.example, credentials: [{name: key, secretRef: {name: keys, key: token}}]}"
    assert "top-secret" not in repr(explained(upstream(spec=spec) + secret(token="top-secret-4711")))


def test_sections_differ_by_values_and_by_objects() -> None:
    spec = "{hostname: a.example, sections: [{name: pay, matches: [{pathPrefix: /pay}]}]}"
    found = explained(upstream(spec=spec))
    assert part(found, "pay").beyond(part(found)) == ()
    found = explained(upstream(spec=spec) + policy("RetryPolicy", "one") + policy("RetryPolicy", "pay", section="pay"))
    differs = part(found, "pay").beyond(part(found))
    assert [(row.group, row.name) for row in differs] == [("retries", "policy")]
    found = explained(
        upstream(spec=spec)
        + policy("CircuitBreaker", "one", "consecutiveFailures: 3, failureRate: {threshold: 10}")
        + policy("CircuitBreaker", "pay", "consecutiveFailures: 3", section="pay")
    )
    lost = [row.name for row in part(found, "pay").beyond(part(found)) if row.value == "none"]
    assert lost == ["failure rate", "window", "min requests"]
