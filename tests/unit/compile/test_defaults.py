"""The documented defaults are those that hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.compile import defaults
from headgate.compile.findings import spell_duration
from headgate.model.answers import StatusRange

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "defaults.md").read_text("utf-8")
EVERYWHERE, BY_PROVIDER = TEXT.split("## By provider")


def _words(values: tuple[object, ...]) -> str:
    return ", ".join(str(value) for value in values)


def _range(ranges: tuple[StatusRange, ...]) -> str:
    (one,) = ranges
    return f"{one.low} to {one.high}"


ROWS = {
    "port with TLS": str(defaults.PORT_TLS),
    "port without TLS": str(defaults.PORT_PLAIN),
    "listener port": str(defaults.LISTENER_PORT),
    "timeouts.request": spell_duration(defaults.REQUEST),
    "timeouts.connect": spell_duration(defaults.CONNECT),
    "timeouts.streamIdle": spell_duration(defaults.STREAM_IDLE),
    "RetryPolicy attempts": str(defaults.ATTEMPTS),
    "RetryPolicy retryOn.triggers": _words(defaults.TRIGGERS),
    "RetryPolicy retryOn.httpStatusCodes": _words(defaults.RETRIED_STATUSES),
    "RetryPolicy methods": _words(defaults.RETRIED_METHODS),
    "RetryPolicy perRetry.backOff.baseInterval": spell_duration(defaults.BACK_OFF_BASE),
    "RetryPolicy perRetry.backOff.maxInterval": f"{defaults.BACK_OFF_FACTOR} times baseInterval",
    "RetryPolicy rateLimitedBackOff.resetHeaders": ", ".join(f"{h.name} ({h.format})" for h in defaults.RESET_HEADERS),
    "RetryPolicy rateLimitedBackOff.maxInterval": spell_duration(defaults.HINT_MAX),
    "CircuitBreaker consecutiveFailures": f"{defaults.CONSECUTIVE_FAILURES}, unless failureRate is given",
    "CircuitBreaker failureRate.samplingWindow": spell_duration(defaults.RATE_WINDOW),
    "CircuitBreaker failureRate.minimumRequests": str(defaults.RATE_MINIMUM),
    "CircuitBreaker httpErrorCodes": _range(defaults.FAILURES),
    "CircuitBreaker breakDuration": spell_duration(defaults.BREAK),
    "CircuitBreaker maxBreakDuration": f"{defaults.BREAK_FACTOR} times breakDuration",
    "CircuitBreaker halfOpen.requests": str(defaults.TRIALS),
    "healthCheck.active method": defaults.CHECK_METHOD,
    "healthCheck.active interval": spell_duration(defaults.CHECK_INTERVAL),
    "healthCheck.active timeout": spell_duration(defaults.CHECK_TIMEOUT),
    "healthCheck.active unhealthyThreshold": str(defaults.CHECK_UNHEALTHY),
    "healthCheck.active healthyThreshold": str(defaults.CHECK_HEALTHY),
    "healthCheck.active expectedStatuses": _range(defaults.CHECK_EXPECTED),
    "probe.interval": f"{spell_duration(defaults.PROBE_INTERVAL)}, or more where the provider's profile asks for it",
    "probe.expectedStatuses": _range(defaults.PROBE_EXPECTED),
}


@pytest.mark.parametrize("what", ROWS)
def test_the_table_says_what_holds(what: str) -> None:
    assert f"| {what} | {ROWS[what]} |" in EVERYWHERE


def test_every_default_is_in_the_table() -> None:
    constants = [name for name in vars(defaults) if name.isupper()]
    assert len(constants) == len(ROWS)


def test_what_a_provider_fills_in_is_left_to_its_page() -> None:
    assert "(providers/README.md)" in BY_PROVIDER
