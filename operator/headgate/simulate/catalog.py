"""Which host is simulated by what, and the key that is made up for a provider when none is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headgate.simulate import cloudflare, gemini, supabase_management
from headgate.simulate.certificates import Authority
from headgate.simulate.provider import SimulatedProvider
from headgate.simulate.supabase import SimulatedSupabase
from headgate.simulate.supabase_tokens import PUBLISHABLE_KEY

#: The models that a simulated Gemini has in a run: more than tests need, for whoever tries one of their own.
MODELS = (*gemini.MODELS, "gemini-2.5-flash-lite", "gemini-2.0-flash", "gemini-3-pro-preview")
#: In so many pieces a stream of its models comes: enough to be seen coming.
CHUNKS = 10
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
        lambda ca, host: gemini.SimulatedGemini(ca, models=MODELS, chunks=CHUNKS),
    ),
    Simulation(
        "cloudflare",
        re.compile(r"api\.cloudflare\.com"),
        cloudflare.API_TOKEN,
        lambda ca, host: cloudflare.SimulatedCloudflare(ca),
    ),
    Simulation(
        "supabase-management",
        re.compile(r"api\.supabase\.com"),
        supabase_management.ACCESS_TOKEN,
        lambda ca, host: supabase_management.SimulatedSupabaseManagement(ca),
    ),
    # Each project is one of its own. What is made up is the key that sees what row-level security lets everyone see.
    Simulation(
        "supabase",
        re.compile(r"[a-z0-9-]+\.supabase\.co"),
        PUBLISHABLE_KEY,
        lambda ca, host: SimulatedSupabase(ca, host=host),
    ),
)

#: Made-up keys by the name of the profile.
KEYS: Mapping[str, str] = MappingProxyType({each.name: each.key for each in SIMULATIONS})


def simulation_of(host: str) -> Simulation | None:
    """What simulates this host, None if nothing does."""
    return next((each for each in SIMULATIONS if each.hosts.fullmatch(host)), None)
