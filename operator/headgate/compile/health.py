"""Active health checks, and where they may go: they pass by the address guard of the proxies."""

from __future__ import annotations

from headgate.api.conditions import Reason
from headgate.compile import defaults
from headgate.compile.draft import Context, Draft
from headgate.compile.origins import Layer, nearest
from headgate.model.answers import StatusRange
from headgate.model.plan import HealthCheck


def fill(context: Context, draft: Draft) -> None:
    """Set the health check. Needs the endpoints."""
    if context.spec.health_check is None:
        return
    spec = context.spec.health_check.active
    path = ("spec", "healthCheck", "active")
    interval = context.findings.duration((*path, "interval"), spec.interval, defaults.CHECK_INTERVAL, least=1_000)
    timeout = context.findings.duration((*path, "timeout"), spec.timeout, defaults.CHECK_TIMEOUT, least=1)
    if spec.timeout is not None and timeout > interval:
        context.findings.reject((*path, "timeout"), f"{spec.timeout} is longer than the interval: shorten it")
    expected = sorted({(each.start, each.end) for each in spec.expected_statuses})
    draft.health_check = HealthCheck(
        path=spec.path,
        method=spec.method or defaults.CHECK_METHOD,
        interval=interval,
        timeout=timeout,
        unhealthy_threshold=spec.unhealthy_threshold or defaults.CHECK_UNHEALTHY,
        healthy_threshold=spec.healthy_threshold or defaults.CHECK_HEALTHY,
        expected=tuple(StatusRange(low, high) for low, high in expected) or defaults.CHECK_EXPECTED,
        hostname=spec.hostname.lower() if spec.hostname else None,
    )
    nearest(context.noting(), "healthCheck", (Layer.UPSTREAM,), draft.health_check)
    _check_reach(context, draft)


def _check_reach(context: Context, draft: Draft) -> None:
    """A name may resolve to anything, and the guard doesn't see checks: only literal addresses are sure, or a gateway
    whose owner has opened private networks anyway."""
    if context.gateway is None or context.gateway.allowed_cidrs:
        return
    named = next((endpoint.hostname for endpoint in draft.endpoints if not endpoint.literal), None)
    if named is not None:
        message = (
            f"a check of the name {named} would pass by the address guard: give IP addresses as endpoints, or let the "
            f"owner of IntegrationGateway {context.gateway.ref.key} set egress.allowedCIDRs; "
            "without it endpoints that fail in traffic are left out all the same"
        )
        context.findings.reject(("spec", "healthCheck"), message, Reason.FORBIDDEN_ADDRESS)
