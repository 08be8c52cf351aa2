"""Profiles: the built-in ones hold together, others plug in."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from importlib.metadata import EntryPoint

import pytest

from harness.declare import World, upstream
from headgate.model.matches import PathKind
from headgate.model.plan import CredentialPlace
from headgate.model.regex import problem
from headgate.providers.profile import Location, Options, Profile, RetryFacts, SectionProfile
from headgate.providers.registry import BUILT_IN, GROUP, discover

ACME = Profile(
    name="acme",
    credential=Location(CredentialPlace.HEADER, "x-acme-key"),
    host="api.acme.example",
    base_path="/v2",
    strip_headers=("x-acme-key",),
)


def _raising(options: Options) -> tuple[SectionProfile, ...]:
    return (SectionProfile(options["account"], ()),)


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module as an installed package would bring it."""
    module = types.ModuleType("acme_profiles")
    module.__dict__.update(acme=ACME, gemini=Profile("gemini", ACME.credential), wrong="no profile")
    module.__dict__["garbage"] = replace(ACME, name="acme2", retry=RetryFacts(statuses=("503",)))  # type: ignore[arg-type]
    module.__dict__["nameless"] = replace(ACME, name=[])  # type: ignore[arg-type]
    module.__dict__["raising"] = replace(ACME, name="acme3", sections_for=_raising)
    monkeypatch.setitem(sys.modules, "acme_profiles", module)


def point(name: str) -> EntryPoint:
    return EntryPoint(name, f"acme_profiles:{name}", GROUP)


def test_a_plugged_in_profile_serves() -> None:
    profiles, problems = discover([point("acme")])
    assert problems == ()
    assert set(profiles) == {"acme", *BUILT_IN}
    world = World(upstream("acme", "{provider: acme}"), profiles=profiles)
    world.compile()
    section = world.section("acme")
    assert (section.endpoints[0].hostname, section.base_path) == ("api.acme.example", "/v2")
    assert section.strip_request_headers == ("x-acme-key",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing", "can't be loaded"),
        ("wrong", "is no headgate.providers.profile.Profile"),
        ("gemini", "is left out, it is not fit for use: name: gemini is a built-in provider"),
        ("garbage", "is left out, it is not fit for use: retry: '503' is no status"),
        ("nameless", "is left out, it is not fit for use: a value is not what it should be: TypeError"),
        ("raising", "is left out, it is not fit for use: sections_for({}) raises KeyError: 'account'"),
    ],
)
def test_a_wrong_one_is_told_and_harms_nothing(name: str, words: str) -> None:
    profiles, problems = discover([point(name)])
    assert profiles == BUILT_IN
    assert words in problems[0]


def test_of_two_with_one_name_the_first_serves() -> None:
    profiles, problems = discover([point("acme"), EntryPoint("later", "acme_profiles:acme", GROUP)])
    assert profiles["acme"] is ACME
    assert problems == ("provider acme: acme_profiles:acme is left out, the name is taken",)


def test_without_plug_ins_there_are_the_built_in_ones() -> None:
    assert discover([]) == (BUILT_IN, ())


@pytest.mark.parametrize("profile", BUILT_IN.values(), ids=list(BUILT_IN))
def test_profiles_hold_together(profile: Profile) -> None:
    names = [section.name for section in profile.sections]
    assert len(set(names)) == len(names)
    assert "default" not in names
    for name in (*profile.strip_headers, *(header.name for header in profile.retry.reset_headers or ())):
        assert name == name.lower()
    # Where a credential goes by default a caller's own never gets through, declared credential or not.
    if profile.host is not None and profile.credential.place is CredentialPlace.HEADER:
        assert profile.credential.key in profile.strip_headers
    for section in profile.sections:
        assert section.matches
        for match in section.matches:
            if match.path and match.path.kind is PathKind.REGEX:
                assert problem(match.path.value) == ""
