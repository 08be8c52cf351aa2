"""Statuses: verdicts joined with what the proxies say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from harness.declare import EDGE, World, on_gateway, policy, upstream
from harness.proxies import Proxies as Same
from headgate.api.conditions import Condition, Reason
from headgate.api.status import GatewayStatus, PolicyStatus, UpstreamStatus
from headgate.compile.status import Status, statuses
from headgate.model.observations import Acknowledgement, Circuit, Observed, SectionReport
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
BILLING = ObjectRef("UpstreamService", "shop", "billing")
MAIL = ObjectRef("UpstreamService", "shop", "mail")
FUSE = ObjectRef("CircuitBreaker", "shop", "fuse")
GATEWAY = ObjectRef("IntegrationGateway", "shop", "edge")


@dataclass(frozen=True)
class Proxies(Same):
    """By gateway."""

    connected_: Mapping[str, int] = field(default_factory=lambda: {"shop/edge": 2})

    def connected(self, gateway: str) -> int:
        return self.connected_.get(gateway, 0)


def world(text: str = "") -> Plan:
    return World(EDGE + upstream() + upstream("mail") + policy("CircuitBreaker", "fuse") + text).compile()


def of(found: Mapping[ObjectRef, Status], ref: ObjectRef, kind: str) -> Condition:
    return next(each for each in found[ref].document.conditions if each.type == kind)


def triple(found: Mapping[ObjectRef, Status], ref: ObjectRef, kind: str) -> tuple[str, str]:
    condition = of(found, ref, kind)
    return condition.status, condition.reason


def columns(found: Mapping[ObjectRef, Status], ref: ObjectRef = BILLING) -> UpstreamStatus:
    document = found[ref].document
    assert isinstance(document, UpstreamStatus)
    return document


def test_all_is_well_when_every_proxy_has_taken_everything() -> None:
    found = statuses(world(), Observed(Proxies()), {}, NOW)
    for ref in (BILLING, MAIL, FUSE, GATEWAY):
        assert triple(found, ref, "Programmed") == ("True", "Programmed")
        assert triple(found, ref, "Ready") == ("True", "Ready")
    gateway = found[GATEWAY].document
    assert isinstance(gateway, GatewayStatus)
    assert (gateway.attached_upstreams, gateway.proxies) == (2, 2)


def test_envoys_own_words_reach_the_owners_and_no_one_else() -> None:
    words = "Cluster shop/billing/default: max_ejection_percent: value must be less than or equal to 100"
    refused = Acknowledgement(rejected=(words,))
    found = statuses(world(), Observed(Proxies(said={BILLING: refused, FUSE: refused})), {}, NOW)
    for ref in (BILLING, FUSE):
        assert triple(found, ref, "Programmed") == ("False", "RejectedByProxy")
        assert words in of(found, ref, "Programmed").message
        assert triple(found, ref, "Ready") == ("False", "RejectedByProxy")
        assert triple(found, ref, "Accepted") == ("True", "Accepted")
    assert triple(found, MAIL, "Ready") == ("True", "Ready")
    assert columns(found).reason == "RejectedByProxy"


def test_pending_is_not_programmed() -> None:
    found = statuses(world(), Observed(Proxies(said={BILLING: Acknowledgement(pending=1)})), {}, NOW)
    assert triple(found, BILLING, "Programmed") == ("False", "Pending")
    assert of(found, BILLING, "Programmed").message == "1 of 2 proxies have yet to take it"
    assert triple(found, MAIL, "Programmed") == ("True", "Programmed")


def test_a_rejection_says_more_than_what_is_pending() -> None:
    both = Acknowledgement(pending=1, rejected=("no",))
    assert (
        triple(statuses(world(), Observed(Proxies(said={MAIL: both})), {}, NOW), MAIL, "Programmed")[1]
        == "RejectedByProxy"
    )


def test_what_could_not_be_rendered_says_most_with_or_without_a_proxy() -> None:
    failed = Acknowledgement(pending=1, rejected=("no",), failed=("UpstreamService shop/mail: KeyError: 'x'",))
    for proxies in (Proxies(said={MAIL: failed}), Proxies(connected_={}, said={MAIL: failed})):
        found = statuses(world(), Observed(proxies), {}, NOW)
        assert triple(found, MAIL, "Programmed") == triple(found, MAIL, "Ready") == ("False", "RenderFailed")
        assert "UpstreamService shop/mail: KeyError: 'x'" in of(found, MAIL, "Programmed").message
        assert triple(found, MAIL, "Accepted") == ("True", "Accepted")
        assert of(found, BILLING, "Programmed").reason != "RenderFailed"


def test_without_a_proxy_nothing_is_known() -> None:
    found = statuses(world(), Observed(Proxies(connected_={})), {}, NOW)
    assert triple(found, BILLING, "Programmed") == ("Unknown", "NoProxyConnected")
    assert triple(found, BILLING, "Ready") == ("Unknown", "NoProxyConnected")
    # Whoever has only the upstream's status is led on to what keeps the proxies.
    assert "of gateway shop/edge is connected" in of(found, BILLING, "Ready").message
    assert "headgate check" in of(found, BILLING, "Ready").message


def test_a_policy_on_two_gateways_needs_the_proxies_of_both() -> None:
    other = "---\nkind: IntegrationGateway\nmetadata: {name: other}\nspec: {}\n"
    both = (
        "---\nkind: RetryPolicy\nmetadata: {name: both}\nspec: {targetRefs: ["
        "{kind: IntegrationGateway, name: edge}, {kind: IntegrationGateway, name: other}]}\n"
    )
    ref = ObjectRef("RetryPolicy", "shop", "both")
    plan = world(other + both)
    assert plan.verdicts[ref].gateways == ("shop/edge", "shop/other")
    assert triple(statuses(plan, Observed(Proxies()), {}, NOW), ref, "Programmed") == ("Unknown", "NoProxyConnected")
    connected = Proxies(connected_={"shop/edge": 2, "shop/other": 1})
    assert triple(statuses(plan, Observed(connected), {}, NOW), ref, "Programmed") == ("True", "Programmed")


def test_what_is_not_accepted_is_not_programmed_though_an_older_version_is() -> None:
    kept = World(EDGE + upstream())
    kept.compile()
    kept.say(upstream(spec="{hostname: 10.0.0.1}"))
    found = statuses(kept.compile(), Observed(Proxies()), {}, NOW)
    assert triple(found, BILLING, "Programmed") == ("False", "NotAccepted")
    assert of(found, BILLING, "Programmed").message == "the version before it stays in force: see Accepted"
    assert columns(found).host == "api.example"
    assert columns(found).address == "http://billing.shop"


def test_the_time_moves_only_when_the_status_flips() -> None:
    plan = world()
    first = statuses(plan, Observed(Proxies()), {}, NOW)
    pending = Proxies(said={BILLING: Acknowledgement(pending=2)})
    second = statuses(plan, Observed(pending), first, LATER)
    assert of(second, BILLING, "Programmed").last_transition_time == "2026-01-01T12:05:00Z"
    assert of(second, BILLING, "Accepted").last_transition_time == "2026-01-01T12:00:00Z"
    # From one kind of False to another: the message changes, the time does not.
    refused = Proxies(said={BILLING: Acknowledgement(rejected=("no",))})
    third = statuses(plan, Observed(refused), second, LATER + timedelta(minutes=5))
    assert of(third, BILLING, "Programmed").reason == "RejectedByProxy"
    assert of(third, BILLING, "Programmed").last_transition_time == "2026-01-01T12:05:00Z"


def test_the_time_survives_a_restart_by_what_was_written() -> None:
    plan = world()
    first = statuses(plan, Observed(Proxies()), {}, NOW)
    written = {ref: Status(status.document) for ref, status in first.items()}
    second = statuses(plan, Observed(Proxies()), written, LATER)
    assert {ref: each.document for ref, each in second.items()} == {ref: each.document for ref, each in first.items()}


def test_what_did_not_change_is_the_same_object() -> None:
    kept = World(EDGE + "".join(upstream(f"u{number}") for number in range(50)))
    first = statuses(kept.compile(), Observed(Proxies()), {}, NOW)
    kept.say(upstream("u7", "{hostname: other.example}"))
    second = statuses(kept.compile(), Observed(Proxies()), first, LATER)
    assert {ref.name for ref in second if second[ref] is not first[ref]} == {"u7"}
    third = statuses(kept.plan, Observed(Proxies(connected_={"shop/edge": 3})), second, LATER)
    # One proxy more moves nothing but the gateway's count.
    assert {ref.name for ref in third if third[ref].document != second[ref].document} == {"edge"}


def test_an_object_that_is_gone_has_no_status() -> None:
    kept = World(EDGE + upstream() + upstream("mail"))
    first = statuses(kept.compile(), Observed(Proxies()), {}, NOW)
    kept.store.remove(MAIL)
    assert MAIL not in statuses(kept.compile(), Observed(Proxies()), first, LATER)


def test_every_condition_says_which_generation_it_is_of() -> None:
    kept = World(EDGE + upstream(meta=", generation: 7") + policy("RetryPolicy", "calm", meta=", generation: 9"))
    found = statuses(kept.compile(), Observed(Proxies()), {}, NOW)
    assert {each.observed_generation for each in found[BILLING].document.conditions} == {7}
    document = found[ObjectRef("RetryPolicy", "shop", "calm")].document
    assert isinstance(document, PolicyStatus)
    assert {each.observed_generation for each in document.ancestors[0].conditions} == {9}


def test_each_target_has_its_own_condition_and_its_own_time() -> None:
    many = (
        "---\nkind: RetryPolicy\nmetadata: {name: many}\nspec: {targetRefs: ["
        "{kind: UpstreamService, name: billing}, {kind: UpstreamService, name: nobody}]}\n"
    )
    kept = World(EDGE + upstream() + many)
    ref = ObjectRef("RetryPolicy", "shop", "many")
    first = statuses(kept.compile(), Observed(Proxies()), {}, NOW)
    document = first[ref].document
    assert isinstance(document, PolicyStatus)
    assert [(each.ancestor_ref.name, each.conditions[0].reason) for each in document.ancestors] == [
        ("billing", "Accepted"),
        ("nobody", "TargetNotFound"),
    ]
    kept.say(upstream("nobody"))
    document = statuses(kept.compile(), Observed(Proxies()), first, LATER)[ref].document
    assert isinstance(document, PolicyStatus)
    assert [each.conditions[0].last_transition_time[11:16] for each in document.ancestors] == ["12:00", "12:05"]


def test_at_most_sixteen_targets_are_listed() -> None:
    labelled = "".join(upstream(f"u{number}", meta=", labels: {tier: gold}") for number in range(20))
    gold = (
        "---\nkind: RetryPolicy\nmetadata: {name: gold}\n"
        "spec: {targetSelectors: [{kind: UpstreamService, matchLabels: {tier: gold}}]}\n"
    )
    document = statuses(World(EDGE + labelled + gold).compile(), Observed(Proxies()), {}, NOW)[
        ObjectRef("RetryPolicy", "shop", "gold")
    ].document
    assert isinstance(document, PolicyStatus)
    assert len(document.ancestors) == 16


SECTIONED = "{hostname: api.example, sections: [{name: pay, matches: [{pathPrefix: /pay}]}]}"


def report(circuit: Circuit = Circuit.CLOSED, minutes: int = 0, **changes: object) -> SectionReport:
    values: dict[str, object] = {"calls": 10} | changes
    return SectionReport(circuit, NOW - timedelta(minutes=minutes), **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("reports", "health", "circuit", "reason", "since"),
    [
        ({}, "Unknown", "Closed", None, None),
        ({"default": [report()]}, "Healthy", "Closed", None, None),
        (
            {"default": [report(Circuit.OPEN, 4, failure="ConnectTimeout")]},
            *("Unhealthy", "Open 1/2", "ConnectTimeout", "2026-01-01T11:56:00Z"),
        ),
        (
            {"default": [report(Circuit.OPEN, 4, failure="Status503")], "pay": [report()]},
            *("Degraded", "Open 1/2", "Status503", "2026-01-01T11:56:00Z"),
        ),
        (
            {"default": [report(Circuit.OPEN, 4)], "pay": [report(Circuit.OPEN, 9)]},
            *("Unhealthy", "Open 2/2", "CircuitOpen", "2026-01-01T11:51:00Z"),
        ),
        (
            {"default": [report(Circuit.HALF_OPEN, 1, failure="Status500")]},
            *("Degraded", "HalfOpen 1/2", "Status500", "2026-01-01T11:59:00Z"),
        ),
        # The worst of several proxies counts.
        (
            {"default": [report(), report(Circuit.OPEN, 3, failure="Status500")]},
            *("Unhealthy", "Open 1/2", "Status500", "2026-01-01T11:57:00Z"),
        ),
        (
            {"default": [report(failures=6, failing=True, failure="Status500")]},
            *("Degraded", "Closed", "Status500", "2026-01-01T12:00:00Z"),
        ),
        # A provider that has answered no call is not well, be they ever so few.
        (
            {"default": [report(calls=1, failures=1, failing=True, failure="ConnectFailure")]},
            *("Degraded", "Closed", "ConnectFailure", "2026-01-01T12:00:00Z"),
        ),
        # A few failures, or failures that are over, are no news.
        ({"default": [report(failures=2, failing=True)]}, "Healthy", "Closed", None, None),
        ({"default": [report(failures=9, failing=False)]}, "Healthy", "Closed", None, None),
        ({"default": [report(calls=0)]}, "Unknown", "Closed", None, None),
    ],
)
def test_the_columns(
    reports: Mapping[str, list[SectionReport]], health: str, circuit: str, reason: str | None, since: str | None
) -> None:
    plan = World(EDGE + upstream(spec=SECTIONED) + policy("CircuitBreaker", "fuse")).compile()
    said = {("shop/edge", f"shop/billing/{name}"): tuple(each) for name, each in reports.items()}
    found = statuses(plan, Observed(Proxies(), said), {}, NOW)
    document = columns(found)
    assert (document.health, document.circuit, document.reason, document.since) == (health, circuit, reason, since)
    # A vendor's outage never makes an object not ready.
    assert triple(found, BILLING, "Ready") == ("True", "Ready")
    expected = {"Healthy": "True", "Unknown": "Unknown"}.get(health, "False")
    assert of(found, BILLING, "Healthy").status == expected


def test_without_a_breaker_there_is_no_circuit() -> None:
    plan = World(EDGE + upstream()).compile()
    said = {("shop/edge", "shop/billing/default"): (report(Circuit.NONE),)}
    assert columns(statuses(plan, Observed(Proxies(), said), {}, NOW)).circuit is None


def test_not_being_in_force_is_told_before_doing_badly() -> None:
    plan = World(EDGE + upstream() + policy("CircuitBreaker", "fuse")).compile()
    said = {("shop/edge", "shop/billing/default"): (report(Circuit.OPEN, 4, failure="Status503"),)}
    pending = Proxies(said={BILLING: Acknowledgement(pending=1)})
    assert columns(statuses(plan, Observed(pending, said), {}, NOW)).reason == Reason.PENDING


def test_what_another_gateway_says_does_not_count() -> None:
    """It served the upstream before, or it lies."""
    plan = World(EDGE + upstream() + policy("CircuitBreaker", "fuse")).compile()
    said = {("shop/other", "shop/billing/default"): (report(Circuit.OPEN, 4, failure="Status503"),)}
    document = columns(statuses(plan, Observed(Proxies(), said), {}, NOW))
    assert (document.health, document.circuit, document.reason) == ("Unknown", "Closed", None)


def test_the_policies_in_force_are_listed() -> None:
    plan = World(
        EDGE
        + upstream(spec=SECTIONED)
        + on_gateway("RetryPolicy", "everywhere")
        + policy("CircuitBreaker", "fuse", section="pay")
    ).compile()
    listed = columns(statuses(plan, Observed(Proxies()), {}, NOW)).policies
    assert [(each.kind, each.name, each.section_name) for each in listed] == [
        ("CircuitBreaker", "fuse", "pay"),
        ("RetryPolicy", "everywhere", None),
    ]
