"""What probes have found, and what could not be made, is read back from the status as it was told, whatever it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.declare import EDGE, World, secret, upstream
from headgate.compile.documents import Inputs, document
from headgate.compile.recalled import made, missing, recalled
from headgate.compile.wellbeing import of_upstream
from headgate.model.observations import (
    ACKNOWLEDGED,
    PODS,
    Acknowledgement,
    Circuit,
    ObjectReport,
    ObjectResult,
    ProbeReport,
    ProbeVerdict,
    SectionReport,
)

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=3)
SPEC = """{provider: gemini, credentials: [{name: k, secretRef: {name: keys, key: token}}]}"""
FAILING = SectionReport(Circuit.CLOSED, NOW, "Status503", calls=9, failures=9, failing=True)
OPEN = SectionReport(Circuit.OPEN, NOW, "ConnectTimeout", calls=9, failures=9, failing=True)


def told(probed: ProbeReport, report: SectionReport | None = None, spec: str = SPEC) -> dict[str, Any]:
    """The status of an upstream of which this is observed."""
    world = World(upstream(spec=spec) + secret("keys", token="t"))
    world.compile()
    served = world.served("billing")
    assert served is not None
    reports = [(report,) if report and each.name == "default" else () for each in served.sections]
    well = of_upstream(served, reports, probed)
    made = document(Inputs(world.verdict("UpstreamService", "billing"), wellbeing=well), None, NOW)
    return made.model_dump(mode="json", by_alias=True, exclude_none=True)


@pytest.mark.parametrize("spec", [SPEC, "{hostname: a.example.com, probe: {path: '/up?x=1'}}"])
@pytest.mark.parametrize("report", [None, FAILING, OPEN])
@pytest.mark.parametrize(
    ("verdict", "failure"),
    [
        (ProbeVerdict.CREDENTIAL_REJECTED, "Status401"),
        (ProbeVerdict.CREDENTIAL_REJECTED, ""),
        (ProbeVerdict.PAUSED, "Status540"),
    ],
)
def test_what_providers_say_of_the_account(
    verdict: ProbeVerdict, failure: str, report: SectionReport | None, spec: str
) -> None:
    found = recalled(told(ProbeReport(verdict, SINCE, failure), report, spec))
    assert found is not None
    assert (found.verdict, found.failure) == (verdict, failure)


@pytest.mark.parametrize("failure", ["Status503", "Status404", "ConnectTimeout"])
@pytest.mark.parametrize("detail", ["", "no (usable) address", "certificate verify failed: self-signed; see (x)"])
def test_failures_with_all_their_words(failure: str, detail: str) -> None:
    probed = ProbeReport(ProbeVerdict.UNHEALTHY, SINCE, failure, detail)
    status = told(probed)
    found = recalled(status)
    assert found is not None
    again = told(found)
    assert again["conditions"][-1] == status["conditions"][-1], "what is told from it is the same"


def test_since_goes_on_where_it_is_told() -> None:
    status = told(ProbeReport(ProbeVerdict.UNHEALTHY, SINCE, "Status503"))
    ready = {**status, "reason": "Status503", "since": "2026-01-01T11:57:00Z"}
    found = recalled(ready)
    assert found is not None
    assert found.since == SINCE
    other = recalled({**status, "reason": "SecretNotFound", "since": "2025-01-01T00:00:00Z"})
    assert other is not None
    assert other.since == NOW, "the time of something else is not taken for it"


def test_all_is_well() -> None:
    one, other = (recalled(told(ProbeReport(ProbeVerdict.HEALTHY, each))) for each in (SINCE, NOW))
    assert one is not None
    assert one.verdict is ProbeVerdict.HEALTHY
    assert one is other, "ten thousand of them take no room"


@pytest.mark.parametrize(
    "junk",
    [
        {},
        {"conditions": None},
        {"conditions": ["x", {"type": "Ready", "reason": "Healthy"}]},
        {"conditions": [{"type": "Healthy"}]},
        {"conditions": [{"type": "Healthy", "reason": "NoTrafficYet"}]},
        {"conditions": [{"type": "Healthy", "reason": "CircuitOpen"}]},
        {"conditions": [{"type": "Healthy", "reason": "ProbeFailed", "lastTransitionTime": "yesterday"}]},
    ],
)
def test_what_says_nothing_of_probes(junk: dict[str, Any]) -> None:
    assert recalled(junk) is None


TAKEN, REFUSED = ObjectResult.TAKEN, ObjectResult.REFUSED


def unmade(kind: str, objects: tuple[ObjectReport, ...], *, acks: Acknowledgement = ACKNOWLEDGED) -> dict[str, Any]:
    """The status of an object for which these could not be made."""
    world = World(EDGE + upstream(spec=SPEC) + secret("keys", token="t"))
    world.compile()
    verdict = world.verdict(kind, "edge" if kind == "IntegrationGateway" else "billing")
    made = document(Inputs(verdict, proxies=((1, acks),), objects=objects), None, NOW)
    return made.model_dump(mode="json", by_alias=True, exclude_none=True)


@pytest.mark.parametrize("kind", ["UpstreamService", "IntegrationGateway"])
@pytest.mark.parametrize(
    "objects",
    [
        [("Service", "billing", TAKEN, "")],
        [("Service", "billing.dotted", TAKEN, "")],
        [
            (
                "Service",
                "billing",
                REFUSED,
                'services "billing" is forbidden: exceeded quota: few, used: services=5; ask (us)',
            )
        ],
        [("Service", "billing", REFUSED, "")],
        [
            ("Deployment", "edge-headgate", REFUSED, "denied: one; two: three/four"),
            ("EndpointSlice", "billing-1", TAKEN, ""),
            ("Secret", "edge-headgate", TAKEN, ""),
            ("Service", "edge-headgate", REFUSED, "no; Service shop/billing was looked for"),
        ],
        [("Service", "billing", REFUSED, "x" * 40_000)],
    ],
)
def test_what_could_not_be_made(kind: str, objects: list[tuple[str, str, ObjectResult, str]]) -> None:
    reports = tuple(ObjectReport(*each) for each in objects)
    status = unmade(kind, reports)
    found = missing(status)
    assert [each[:3] for each in objects] == [(each.kind, each.name, each.result) for each in found]
    assert unmade(kind, found) == status, "what is told from it is the same"


def test_of_what_is_made_or_not_in_force_nothing_is_missing() -> None:
    assert missing(unmade("UpstreamService", ())) == ()
    reports = (ObjectReport("Service", "billing", TAKEN, ""),)
    assert missing(unmade("UpstreamService", reports, acks=Acknowledgement(failed=("a bug",)))) == ()
    for junk in ({}, {"conditions": 1}, {"conditions": [{"type": "Programmed", "reason": "ObjectRefused"}]}):
        assert missing(junk) == ()


UNREADY = ObjectReport(PODS, "shop/edge", ObjectResult.UNREADY)


def test_pods_that_are_ready_no_more() -> None:
    status = unmade("IntegrationGateway", (UNREADY,))
    assert missing(status) == (UNREADY,)
    assert made(status, 1), "what it is made of is there"


@pytest.mark.parametrize(
    ("result", "there"), [(None, True), (TAKEN, False), (REFUSED, False), (ObjectResult.PENDING, False)]
)
def test_all_is_there_if_the_status_says_so_of_this_generation(result: ObjectResult | None, there: bool) -> None:
    status = unmade("UpstreamService", () if result is None else (ObjectReport("Service", "billing", result),))
    assert made(status, 1) is there
    assert not made(status, 2)
    waiting = unmade("UpstreamService", (), acks=Acknowledgement(pending=1))
    assert not made(waiting, 1)
    for junk in ({}, {"conditions": 1}, {"conditions": [{"type": "Programmed", "status": "True"}]}):
        assert not made(junk, 1)
