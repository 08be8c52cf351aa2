"""The proxies' answers and reports, told by object."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from headgate.envoy.failure import failure
from headgate.envoy.metadata import CircuitState, SectionReport
from headgate.envoy.resource import Resource, TypeUrl
from headgate.model.observations import ACKNOWLEDGED, Acknowledgement, Circuit
from headgate.model.refs import ObjectRef
from headgate.xds.acknowledgements import Answers
from headgate.xds.feedback import GatewayFeedback, Refused
from headgate.xds.reports import Reports

ONE = ObjectRef("UpstreamService", "default", "one")
TWO = ObjectRef("UpstreamService", "default", "two")
POLICY = ObjectRef("RetryPolicy", "default", "both")


def resource(type_url: TypeUrl, name: str, *owners: ObjectRef) -> Resource:
    return Resource(type_url, name, "v", b"", owners)


CLUSTERS = {name: resource(TypeUrl.CLUSTER, name, ref, POLICY) for name, ref in (("one", ONE), ("two", TWO))}
ROUTES = {"one": resource(TypeUrl.ROUTE, "one", ONE)}
VIEW = GatewayFeedback("a/b", {TypeUrl.CLUSTER: CLUSTERS, TypeUrl.ROUTE: ROUTES}, ("n1", "n2"))


def test_nothing_open_is_acknowledged() -> None:
    answers = Answers([VIEW])
    assert answers.connected("a/b") == 2
    assert answers.connected("no/such") == 0
    assert answers.of("a/b", ONE) is ACKNOWLEDGED
    assert answers.of("no/such", ONE) is ACKNOWLEDGED
    assert answers.settled("a/b")
    assert not answers.settled("no/such")
    assert not Answers([replace(VIEW, proxies=())]).settled("a/b")


def test_what_is_open_is_told_to_every_owner() -> None:
    pending = {TypeUrl.CLUSTER: {"one": 2, "gone since": 2}, TypeUrl.ROUTE: {"one": 1}}
    answers = Answers([replace(VIEW, pending=pending)])
    assert answers.of("a/b", ONE) == answers.of("a/b", POLICY) == Acknowledgement(pending=2)
    assert answers.of("a/b", TWO) is ACKNOWLEDGED
    assert not answers.settled("a/b")


def test_a_refusal_is_told_in_the_proxys_words() -> None:
    refused = {(TypeUrl.CLUSTER, "two"): Refused("v", "no such thing", ("n1",))}
    answers = Answers([replace(VIEW, rejected=refused)])
    words = ("Cluster two: no such thing",)
    assert answers.of("a/b", TWO) == answers.of("a/b", POLICY) == Acknowledgement(rejected=words)
    assert answers.of("a/b", ONE) is ACKNOWLEDGED
    assert answers.settled("a/b")


def test_what_was_never_published_is_told_to_whom_it_belongs() -> None:
    failures = [
        failure((TWO, POLICY), str(TWO), KeyError("x"), kept=True),
        failure((POLICY,), "secret s", ValueError(), kept=False),
    ]
    answers = Answers([VIEW], {"a/b": failures, "no/such": failures})
    of_two = f"{TWO}: KeyError: 'x': the version before stays in force"
    assert answers.of("a/b", TWO) == Acknowledgement(failed=(of_two,))
    assert answers.of("a/b", POLICY) == Acknowledgement(
        failed=(of_two, "secret s: ValueError: nothing of it is in force")
    )
    assert set(answers.told("a/b")) == {TWO, POLICY}
    assert answers.of("a/b", ONE) is answers.of("no/such", TWO) is ACKNOWLEDGED


REPORT = SectionReport(
    section="default/one/default",
    state=CircuitState.OPEN,
    at=2_000,
    since=1_500,
    until=9_000,
    event="failures_in_a_row",
    failure="Status503",
    calls=9,
    failures=4,
    window=10_000,
    in_a_row=4,
    opened=1,
)


def test_reports_are_kept_per_proxy_and_only_news_is_told() -> None:
    told: list[str] = []
    reports = Reports(told.append)
    reports.take("a/b", 1, REPORT)
    reports.take("a/b", 2, replace(REPORT, state=CircuitState.CLOSED))
    assert told == ["a/b"] * 2
    first, second = reports.all()["a/b", "default/one/default"]
    assert (first.circuit, second.circuit) == (Circuit.OPEN, Circuit.CLOSED)
    assert first.since == datetime.fromtimestamp(1.5, UTC)
    assert (first.failure, first.calls, first.failures, first.failing) == ("Status503", 9, 4, True)
    reports.take("a/b", 1, replace(REPORT, at=3_000))
    assert len(told) == 2
    reports.take("a/b", 1, replace(REPORT, at=1_000, calls=1))
    assert reports.all()["a/b", "default/one/default"][0].calls == 9
    reports.forget("a/b", 1)
    reports.forget("a/b", 2)
    reports.forget("a/b", 2)
    assert len(told) == 4
    assert dict(reports.all()) == {}
