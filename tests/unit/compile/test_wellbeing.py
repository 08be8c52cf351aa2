"""What probes say and what the proxies say, joined: the table of `compile.wellbeing`, line by line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from harness.declare import World, policy, secret, upstream
from headgate.api.conditions import Reason
from headgate.compile.wellbeing import Health, Wellbeing, of_upstream
from headgate.model.observations import Circuit, ProbeReport, ProbeVerdict, SectionReport
from headgate.model.plan import Upstream

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=3)
SPEC = """{provider: gemini, credentials: [{name: k, secretRef: {name: keys, key: token}}]%s}"""

QUIET: tuple[SectionReport, ...] = ()
GOOD = (SectionReport(Circuit.CLOSED, NOW, calls=9),)
FAILING = (SectionReport(Circuit.CLOSED, NOW, "Status503", calls=9, failures=9, failing=True),)
OPEN = (SectionReport(Circuit.OPEN, NOW, "ConnectTimeout", calls=9, failures=9, failing=True),)
TRYING = (SectionReport(Circuit.HALF_OPEN, NOW, "Status500", calls=9, failures=9, failing=True),)

WELL = ProbeReport(ProbeVerdict.HEALTHY, SINCE)
REJECTED = ProbeReport(ProbeVerdict.CREDENTIAL_REJECTED, SINCE, "Status400")
PAUSED = ProbeReport(ProbeVerdict.PAUSED, SINCE, "Status540")
DOWN = ProbeReport(ProbeVerdict.UNHEALTHY, SINCE, "ConnectFailure")


def served(extra: str = "", more: str = "") -> Upstream:
    world = World(upstream(spec=SPEC % extra) + secret(token="t", other="o") + policy("CircuitBreaker", "fuse") + more)
    world.compile()
    found = world.served("billing")
    assert found is not None, world.verdict("UpstreamService", "billing")
    return found


UPSTREAM = served()


def joined(reports: tuple[SectionReport, ...], probed: ProbeReport | None, of: Upstream = UPSTREAM) -> Wellbeing:
    """With these reports on the section `default`, and none on others."""
    return of_upstream(of, [reports if each.name == "default" else () for each in of.sections], probed)


@pytest.mark.parametrize("reports", [QUIET, GOOD, FAILING, OPEN, TRYING])
@pytest.mark.parametrize(
    ("probed", "reason"), [(REJECTED, Reason.CREDENTIAL_REJECTED), (PAUSED, Reason.PROJECT_PAUSED)]
)
def test_what_the_provider_says_of_the_account_comes_first(
    reports: tuple[SectionReport, ...], probed: ProbeReport, reason: Reason
) -> None:
    found = joined(reports, probed)
    assert (found.health, found.reason, found.failure, found.since) == (Health.UNHEALTHY, reason, reason, SINCE)
    assert found.circuit == joined(reports, None).circuit


@pytest.mark.parametrize("reports", [FAILING, OPEN, TRYING])
@pytest.mark.parametrize("probed", [WELL, DOWN])
def test_calls_that_fail_say_more_than_a_probe(reports: tuple[SectionReport, ...], probed: ProbeReport) -> None:
    found, seen = joined(reports, probed), joined(reports, None)
    assert (found.health, found.reason, found.failure, found.since) == (
        seen.health,
        seen.reason,
        seen.failure,
        seen.since,
    )
    assert ("probes fail" in found.message) is (probed is DOWN)
    assert seen.message in found.message


@pytest.mark.parametrize(
    ("reports", "probed", "health", "reason", "failure"),
    [
        (QUIET, None, Health.UNKNOWN, Reason.NO_TRAFFIC_YET, ""),
        (QUIET, WELL, Health.HEALTHY, Reason.HEALTHY, ""),
        (QUIET, DOWN, Health.UNHEALTHY, Reason.PROBE_FAILED, "ConnectFailure"),
        (GOOD, None, Health.HEALTHY, Reason.HEALTHY, ""),
        (GOOD, WELL, Health.HEALTHY, Reason.HEALTHY, ""),
        (GOOD, DOWN, Health.UNHEALTHY, Reason.PROBE_FAILED, "ConnectFailure"),
    ],
)
def test_where_no_call_fails(
    reports: tuple[SectionReport, ...], probed: ProbeReport | None, health: Health, reason: Reason, failure: str
) -> None:
    found = joined(reports, probed)
    assert (found.health, found.reason, found.failure) == (health, reason, failure)
    assert found.since == (SINCE if probed is DOWN else None)
    assert found.circuit.startswith("Closed")


def test_a_section_with_another_key_may_be_well() -> None:
    own = "credentials: [{name: k, secretRef: {name: keys, key: other}}]"
    found = joined(QUIET, REJECTED, served(f", sections: [{{name: pay, matches: [{{pathPrefix: /pay}}], {own}}}]"))
    assert (found.health, found.reason) == (Health.DEGRADED, Reason.CREDENTIAL_REJECTED)


def test_what_is_said_says_what_to_do() -> None:
    rejected = joined(QUIET, REJECTED).message
    assert rejected == (
        "the provider refuses the key in Secret shop/keys, key token (GET /v1beta/models is answered with status 400): "
        "put one that is in force there"
    )
    assert "switch it on" in joined(QUIET, PAUSED).message
    assert joined(QUIET, DOWN).message == "probes fail (GET /v1beta/models ends in ConnectFailure)"
    told = joined(QUIET, ProbeReport(ProbeVerdict.UNHEALTHY, SINCE, "TLSFailure", "certificate has expired")).message
    assert told == "probes fail (GET /v1beta/models ends in TLSFailure, certificate has expired)"
    missing = joined(QUIET, ProbeReport(ProbeVerdict.UNHEALTHY, SINCE, "Status404")).message
    assert "set spec.probe.path, or spec.probe.disabled" in missing


def test_a_provider_that_wants_a_key_where_none_is_declared() -> None:
    world = World(upstream(spec="{provider: gemini}"))
    world.compile()
    keyless = world.served("billing")
    assert keyless is not None
    assert "add it to spec.credentials" in joined(QUIET, REJECTED, keyless).message


def test_a_report_about_what_is_no_longer_probed_counts_for_nothing() -> None:
    assert joined(QUIET, REJECTED, served(", probe: {disabled: true}")).health is Health.UNKNOWN
