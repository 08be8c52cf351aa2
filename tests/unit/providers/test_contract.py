"""The contract finds what would not work, one mistake at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from headgate.model.answers import AnswerMark, Meaning, ResetFormat, ResetHeader, StatusRange
from headgate.model.matches import HeaderMatch, HeaderMatchKind, PathKind, PathMatch, RequestMatch
from headgate.model.plan import CredentialPlace
from headgate.providers.contract import problems
from headgate.providers.profile import (
    Companion,
    Fact,
    Location,
    Option,
    Options,
    Probe,
    Profile,
    Quota,
    RetryFacts,
    Root,
    SectionProfile,
    TimeoutDefaults,
    listed,
)
from headgate.providers.roots import GOOGLE

HEADER = CredentialPlace.HEADER


def prefix(path: str) -> RequestMatch:
    return RequestMatch(path=PathMatch(PathKind.PREFIX, path))


def regex(path: str) -> RequestMatch:
    return RequestMatch(path=PathMatch(PathKind.REGEX, path))


def section(**changes: Any) -> SectionProfile:
    return replace(SectionProfile("jobs", (prefix("/jobs"),)), **changes)


def mark(**changes: Any) -> AnswerMark:
    return replace(AnswerMark(Meaning.FINAL, (503,)), **changes)


def option(**changes: Any) -> Option:
    return replace(Option("region", "where", "[a-z]+", "eu", required=True), **changes)


def per_region(options: Options) -> tuple[SectionProfile, ...]:
    return tuple(SectionProfile(f"in-{each}", (prefix(f"/{each}"),)) for each in listed(options.get("regions", "")))


GOOD = Profile(
    name="acme",
    credential=Location(HEADER, "x-acme-key"),
    documentation="https://acme.example/docs",
    host="{region}.acme.example",
    options=(option(), Option("regions", "more", "[a-z]+", "eu, us", many=True)),
    companions=(Companion(Location(HEADER, "authorization", "Bearer "), yields=True),),
    strip_headers=("x-acme-key",),
    authorities=("{region}.acme.example:8443",),
    roots=GOOGLE,
    marks=(mark(meaning=Meaning.NOTHING_RAN, header="x-code", texts=("busy",)),),
    sections=(section(),),
    sections_for=per_region,
    quotas=(Quota("all", 10, "1m", "everyone"),),
    probe=Probe("/ping"),
    facts=(Fact("a-fact", "It is so.", "https://acme.example/docs"), Fact("another", "And so.", "measured with curl")),
    clients=(("curl", "`{base}`"),),
)


def test_a_good_profile_has_no_problems() -> None:
    assert problems(GOOD) == ()


def fails(options: Options) -> tuple[SectionProfile, ...]:
    return (SectionProfile(options["region"], (prefix("/x"),)),)


def forgetful() -> Callable[[Options], tuple[SectionProfile, ...]]:
    numbers = count()
    return lambda options: (SectionProfile(f"n{next(numbers)}", (prefix("/x"),)),)


def of_sections(**changes: Any) -> dict[str, Any]:
    return {"sections": (section(**changes),)}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "Acme"}, "no DNS label"),
    ({"name": "gemini"}, "gemini is a built-in provider"),
    ({"documentation": "http://acme.example"}, "no https address"),
    # Options and hosts
    ({"options": (option(), option())}, "options: region is there twice"),
    ({"options": (option(name="a region"),)}, "letters and digits"),
    ({"options": (option(description=""),)}, "no description"),
    ({"options": (option(pattern="(?=a)"),)}, "RE2"),
    ({"options": (option(example="EU"),)}, "does not fit its pattern"),
    ({"options": (option(required=False),)}, "{region} is no required option"),
    ({"host": "{zone}.acme.example"}, "{zone} is no required option"),
    ({"host": "Api.Acme.example"}, "does not make a host name in lower case"),
    ({"host": "https://acme.example"}, "does not make a host name"),
    ({"authorities": ("acme.example/x",)}, "is no host, with or without a port"),
    ({"authorities": ("{zone}.acme.example",)}, "{zone} is no option"),
    # Credentials
    ({"credential": Location(HEADER, "X-Acme-Key")}, "in lower case"),
    ({"credential": Location(HEADER, "x-other")}, "a caller's own x-other gets through"),
    ({"credential": Location(CredentialPlace.QUERY, "key")}, "a caller's own key gets through"),
    ({"credential": Location(CredentialPlace.COOKIE, "a b")}, "no name for a Cookie"),
    ({"companions": (Companion(Location(HEADER, "x-acme-key")),)}, "Header x-acme-key is there twice"),
    ({"companions": (Companion(Location(CredentialPlace.QUERY, "k"), yields=True),)}, "only a header can yield"),
    ({"strip_headers": ("x-acme-key", "authorization")}, "authorization yields to a caller's own"),
    ({"strip_headers": ("x-acme-key", "X-Other")}, "'X-Other' is no header name in lower case"),
    ({"remove_response_headers": ("Set-Cookie",)}, "'Set-Cookie' is no header name in lower case"),
    (of_sections(companions=(Companion(Location(HEADER, "x-y")),)), "companions without a credential"),
    (of_sections(credential=Location(HEADER, "x-y")), "section jobs: a caller's own x-y gets through"),
    # What holds for all calls
    ({"port": 70_000}, "port: 70000"),
    ({"base_path": "/v1/"}, "to end without one"),
    ({"timeouts": TimeoutDefaults(connect=0)}, "connect is to be whole milliseconds, at least 1"),
    ({"timeouts": TimeoutDefaults(request=1.5)}, "not 1.5"),  # type: ignore[arg-type]
    ({"retry": RetryFacts(statuses=(42,))}, "42 is no status"),
    ({"retry": RetryFacts(safe_methods=("post",))}, "no method in capitals"),
    ({"retry": RetryFacts(reset_headers=(ResetHeader("X-Reset", ResetFormat.SECONDS),))}, "'X-Reset' is no header"),
    ({"retry": RetryFacts(assumed_wait=0)}, "assumed_wait"),
    ({"retry": RetryFacts(client_count_headers=("X-Count",))}, "'X-Count' is no header"),
    ({"max_request_body": 0}, "at least one byte"),
    ({"max_request_head": -1}, "at least one byte"),
    ({"marks": (mark(statuses=()),)}, "it has no status"),
    ({"marks": (mark(statuses=(99,)),)}, "99 is no status"),
    ({"marks": (mark(header="x", field="y", texts=("z",)),)}, "make two marks"),
    ({"marks": (mark(header="X-Code", texts=("z",)),)}, "'X-Code' is no header name"),
    ({"marks": (mark(field="code"),)}, "it needs texts"),
    ({"marks": (mark(field="code", texts=("",)),)}, "none of them empty"),
    ({"marks": (mark(texts=("z",)),)}, "neither a header nor a field"),
    ({"marks": (mark(meaning=Meaning.NOTHING_RAN),)}, "a status alone does not tell"),
    ({"probe": Probe("ping")}, "to begin with a slash"),
    ({"probe": Probe("/", method="get")}, "no method in capitals"),
    ({"probe": Probe("/", expected=())}, "ranges of expected statuses"),
    ({"probe": Probe("/", expected=(StatusRange(299, 200),))}, "ranges of expected statuses"),
    ({"probe": Probe("/", field="status")}, "field and text go together"),
    ({"probe": Probe("/", least_interval=60)}, "in milliseconds"),
    # Sections
    ({"sections": (section(), section(matches=(prefix("/x"),)))}, "sections: jobs is there twice"),
    ({"sections": (section(), section(name="others"))}, "the section jobs has the same match"),
    ({"sections": tuple(section(name=f"s{n}", matches=(prefix(f"/{n}"),)) for n in range(64))}, "more than the 64"),
    (of_sections(name="Jobs"), "its name is no DNS label"),
    (of_sections(name="default"), "describe the profile instead"),
    (of_sections(matches=()), "nothing leads to it"),
    (of_sections(streaming=True, streams=(prefix("/s"),)), "either streaming or streams"),
    (of_sections(stream_timeouts=TimeoutDefaults(request=0)), "stream_timeouts without streams"),
    (of_sections(matches=(RequestMatch(),)), "takes every call"),
    (of_sections(matches=(regex("/(?!x)"),)), "RE2"),
    (of_sections(matches=(prefix("jobs"),)), "no prefix of a path"),
    (of_sections(matches=(RequestMatch(path=PathMatch(PathKind.EXACT, "/x")),)), "by prefix or by regular expression"),
    (of_sections(matches=(RequestMatch(methods=("get",)),)), "no method in capitals"),
    (
        of_sections(matches=(RequestMatch(headers=(HeaderMatch("X-A", HeaderMatchKind.EXACT, "1"),)),)),
        "'X-A' is no header",
    ),
    (of_sections(matches=(RequestMatch(headers=(HeaderMatch("x-a", HeaderMatchKind.DISTINCT),)),)), "only limits tell"),
    (of_sections(matches=(RequestMatch(headers=(HeaderMatch("x-a", HeaderMatchKind.REGEX, "("),)),)), "RE2"),
    (of_sections(upgrades=("WebSocket",)), "no protocol to upgrade to"),
    (of_sections(timeouts=TimeoutDefaults(stream_idle=-1)), "stream_idle"),
    (of_sections(marks=(mark(statuses=()),)), "section jobs: marks: Final on (): it has no status"),
    (of_sections(max_request_body=0), "at least one byte"),
    ({"sections_for": fails}, "raises KeyError"),
    ({"sections_for": forgetful()}, "is not pure"),
    ({"sections_for": lambda options: []}, "is to return a tuple"),
    ({"sections_for": lambda options: (section(name="No"),)}, "section No: its name"),
    # Roots, and what people read
    ({"roots": (Root("A", "ab"),)}, "no SHA-256"),
    ({"roots": (Root("A", "ab" * 32),)}, "not among the well-known CAs"),
    ({"roots": (GOOGLE[0], GOOGLE[0])}, "is there twice"),
    ({"facts": (Fact("A fact", "x", "https://x"),)}, "words of a-z"),
    ({"facts": (Fact("a", "", "https://x"),)}, "it says nothing"),
    ({"facts": (Fact("a", "x", "I heard it"),)}, "it needs a source"),
    ({"facts": (GOOD.facts[0], GOOD.facts[0])}, "facts: a-fact is there twice"),
    ({"clients": (("curl", "somewhere"),)}, "where {base} goes"),
    ({"quotas": (Quota("all", 0, "1m", "x"),)}, "quota 'all'"),
    ({"quotas": (Quota("all", 1, "a minute", "x"),)}, "is not a duration"),
    # Something else altogether
    ({"sections": ("jobs",)}, "a value is not what it should be: AttributeError"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=lambda value: value if isinstance(value, str) else "")
def test_what_would_not_work_is_found(changes: dict[str, Any], words: str) -> None:
    found = problems(replace(GOOD, **changes))
    assert any(words in each for each in found), found
