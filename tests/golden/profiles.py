"""The profiles that golden cases are compiled with: the built-in ones, one that uses all that a profile can say, and some
that are not fit for use, as somebody's plug-in might be."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import CredentialPlace
from headgate.providers.profile import (
    Companion,
    Location,
    Option,
    Options,
    Profile,
    RetryFacts,
    Root,
    SectionProfile,
    TimeoutDefaults,
    listed,
)
from headgate.providers.registry import BUILT_IN, Profiles


def _regex(pattern: str) -> RequestMatch:
    return RequestMatch(PathMatch(PathKind.REGEX, pattern))


def _prefix(path: str) -> RequestMatch:
    return RequestMatch(PathMatch(PathKind.PREFIX, path))


def _regions(options: Options) -> tuple[SectionProfile, ...]:
    regions = listed(options.get("regions", ""))
    return tuple(SectionProfile(region, (_prefix(f"/regions/{region}"),)) for region in regions)


_KEY = Location(CredentialPlace.HEADER, "x-acme-key")
_TOKEN = Companion(Location(CredentialPlace.HEADER, "authorization", "Bearer "), yields=True)

ACME = Profile(
    name="acme",
    host="{project}.acme.example",
    options=(
        Option("project", "The project's name.", "[a-z]{3,20}", "rocket", required=True),
        Option("storage", "The name of a storage host, if there is one.", "[a-z]+", "disk"),
        Option("regions", "Regions that get a section each.", "[a-z]+[0-9]?", "eu1, us2", many=True),
    ),
    credential=_KEY,
    companions=(_TOKEN,),
    strip_headers=("x-acme-key",),
    strip_query=("acme_key",),
    remove_request_headers=("x-acme-debug", "X-Forwarded-Host"),
    remove_response_headers=("set-cookie",),
    authorities=("{project}.acme.example", "{storage}.{project}.acme.example:8443", "files.acme.example"),
    # The CA of roots.pem.
    roots=(Root("golden", "9230ad90516c245490c33e5558be8499b7cc497786c966bb282e351a31c719b5"),),
    timeouts=TimeoutDefaults(request=20_000),
    retry=RetryFacts(client_count_headers=("x-acme-retry-count",)),
    max_request_body=1_000_000,
    max_request_head=16_384,
    sections=(
        SectionProfile(
            "models",
            (_regex("/models/[^/]+:(run|count)"),),
            streams=(_regex("/models/[^/]+:watch"), _prefix("/watch")),
            stream_timeouts=TimeoutDefaults(stream_idle=90_000),
            max_request_body=5_000_000,
        ),
        SectionProfile(
            "realtime",
            (_prefix("/realtime"),),
            streaming=True,
            streams=(_prefix("/socket"),),
            credential=_KEY,
            companions=(Companion(Location(CredentialPlace.QUERY, "acme_key")), _TOKEN),
            upgrades=("websocket",),
        ),
        SectionProfile("us2", (_prefix("/far"),), max_request_body=2_000_000),
    ),
    sections_for=_regions,
)


def _fails(options: Options) -> tuple[SectionProfile, ...]:
    raise LookupError(f"no region in {sorted(options)}")


def _misnames(options: Options) -> tuple[SectionProfile, ...]:
    return (SectionProfile("Not A Label", (_prefix("/"),)),)


def _misspells(options: Options) -> tuple[SectionProfile, ...]:
    return (SectionProfile("sound", (_regex("/(?=x)"),)),)


def _repeats(options: Options) -> tuple[SectionProfile, ...]:
    return (SectionProfile("one", (_prefix("/a"),)), SectionProfile("one", (_prefix("/b"),)))


def _mistakes(options: Options) -> tuple[SectionProfile, ...]:
    return ("one",)  # type: ignore[return-value]


_PLAIN = Profile("", _KEY, host="api.unfit.example")
_UNFIT = (
    replace(_PLAIN, name="unfit-fails", sections_for=_fails),
    replace(_PLAIN, name="unfit-host", host="{nobody}.unfit.example"),
    replace(_PLAIN, name="unfit-mistakes", sections_for=_mistakes),
    replace(_PLAIN, name="unfit-name", sections_for=_misnames),
    replace(_PLAIN, name="unfit-pattern", options=(Option("a", "Anything.", "(?=x)", "x"),)),
    replace(_PLAIN, name="unfit-regex", sections_for=_misspells),
    replace(_PLAIN, name="unfit-twice", sections_for=_repeats),
)

PROFILES: Profiles = MappingProxyType({**BUILT_IN, ACME.name: ACME})
WITH_UNFIT: Profiles = MappingProxyType({**PROFILES, **{profile.name: profile for profile in _UNFIT}})


def profiles_of(case: str) -> Profiles:
    """The profiles of a case; those that are not fit for use are named only where they are used."""
    return WITH_UNFIT if "unfit" in case else PROFILES
