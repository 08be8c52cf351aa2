"""Which host is simulated by what, and the key that is made up for a provider when none is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headgate.simulate import cloudflare, gemini
from headgate.simulate.certificates import Authority
from headgate.simulate.provider import SimulatedProvider

#: What a host without a simulation of its own is called in lists.
GENERIC = "generic"


@dataclass(frozen=True, slots=True)
class Simulation:
    """One provider. `hosts`: a pattern for the whole name; `key`: what is made up for its profile of the same name;
    `make`: its server for one of the hosts, not started."""

    name: str
    hosts: re.Pattern[str]
    key: str
    make: Callable[[Authority, str], SimulatedProvider]


SIMULATIONS: tuple[Simulation, ...] = (
    Simulation(
        "gemini",
        re.compile(r"generativelanguage\.googleapis\.com"),
        "simulated-gemini-key",
        lambda ca, host: gemini.SimulatedGemini(ca),
    ),
    Simulation(
        "cloudflare",
        re.compile(r"api\.cloudflare\.com"),
        cloudflare.API_TOKEN,
        lambda ca, host: cloudflare.SimulatedCloudflare(ca),
    ),
)

#: Made-up keys by the name of the profile.
KEYS: Mapping[str, str] = MappingProxyType({each.name: each.key for each in SIMULATIONS})


def simulation_of(host: str) -> Simulation | None:
    """What simulates this host, None if nothing does."""
    return next((each for each in SIMULATIONS if each.hosts.fullmatch(host)), None)
