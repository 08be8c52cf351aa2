"""What the operator sees of the proxies of all gateways, wherever they are connected; and what of it is fresh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from headgate.model.observations import ProxyLoad, ProxyLoads, ProxyStates, SectionReports

#: Seconds after which what a proxy said of its load counts for nothing any more: three reports.
FRESH = 15.0


def alone() -> tuple[str, ...]:
    """No replica besides this one."""
    return ()


@dataclass(frozen=True, slots=True)
class Sight:
    """Called on the event loop. `states(gateway)`; `unheard`: the replicas that can't be asked."""

    loads: Callable[[], ProxyLoads]
    states: Callable[[str], ProxyStates]
    reports: Callable[[], SectionReports]
    unheard: Callable[[], tuple[str, ...]] = alone

    def fresh(self, gateway: str) -> tuple[ProxyLoad, ...]:
        """What its proxies said lately, once each: one that has just moved to another replica may be known to both."""
        return fresh(self.loads(), gateway)


def fresh(loads: ProxyLoads, gateway: str) -> tuple[ProxyLoad, ...]:
    """The same, of loads that are at hand."""
    now = datetime.now(UTC)
    newest: dict[str, ProxyLoad] = {}
    for load in sorted(loads.get(gateway, ()), key=lambda each: each.at):
        if (now - load.at).total_seconds() < FRESH:
            newest[load.node] = load
    return tuple(newest.values())
