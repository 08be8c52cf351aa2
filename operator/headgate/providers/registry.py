"""All profiles: the built-in ones and those that installed packages bring.

A package brings one by an entry point in the group `headgate.providers` whose object is a Profile. `discover` reads the
environment and is for the composition root, once, at start; compile is handed its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from headgate.providers.cloudflare import CLOUDFLARE
from headgate.providers.gemini import GEMINI
from headgate.providers.generic import GENERIC
from headgate.providers.profile import Profile
from headgate.providers.supabase import SUPABASE
from headgate.providers.supabase_management import SUPABASE_MANAGEMENT

GROUP = "headgate.providers"

Profiles = Mapping[str, Profile]

BUILT_IN: Profiles = MappingProxyType(
    {profile.name: profile for profile in (CLOUDFLARE, GEMINI, GENERIC, SUPABASE, SUPABASE_MANAGEMENT)}
)


def discover(points: Iterable[EntryPoint] | None = None) -> tuple[Profiles, tuple[str, ...]]:
    """The profiles by name, and a sentence for each that could not be used. A built-in name can't be taken, and one that
    does not keep to the contract is left out: compile and rendering rely on it for all upstreams."""
    found = dict(BUILT_IN)
    problems = []
    for point in sorted(
        entry_points(group=GROUP) if points is None else points, key=lambda each: (each.name, each.value)
    ):
        try:
            profile = point.load()
        except Exception as error:  # noqa: BLE001 - someone else's code; without it the rest has to work
            problems.append(f"provider {point.name}: {point.value} can't be loaded: {error}")
            continue
        if not isinstance(profile, Profile):
            problems.append(f"provider {point.name}: {point.value} is no headgate.providers.profile.Profile")
        elif wrong := _unfit(profile):
            problems.append(f"provider {point.name}: {point.value} is left out, it is not fit for use: {wrong}")
        elif profile.name in found:
            problems.append(f"provider {profile.name}: {point.value} is left out, the name is taken")
        else:
            found[profile.name] = profile
    return MappingProxyType(found), tuple(problems)


def _unfit(profile: Profile) -> str:
    from headgate.providers.contract import (
        unfit,
    )  # only where there are plug-ins; and it knows the built-in ones from here

    return "; ".join(unfit(profile))
