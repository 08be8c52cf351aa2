"""What a profile knows of repeating calls and of streams, with profiles made for it."""

from __future__ import annotations

from types import MappingProxyType

import pytest

from harness.declare import World, policy, upstream
from headgate.model.answers import AnswerMark, Meaning
from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import CredentialPlace, Timeouts
from headgate.providers.profile import Location, Profile, RetryFacts, SectionProfile, TimeoutDefaults

FINAL = AnswerMark(Meaning.FINAL, (503,), field="code", texts=("BOOT_ERROR",))
QUEUED = AnswerMark(Meaning.NOTHING_RAN, (503, 504), header="proxy-status", texts=("PGRST003",))
PAUSED = AnswerMark(Meaning.PAUSED, (540,))
REJECTED = AnswerMark(Meaning.CREDENTIAL_REJECTED, (401,))
DATA = (RequestMatch(path=PathMatch(PathKind.PREFIX, "/data")),)
STREAMS = (RequestMatch(path=PathMatch(PathKind.PREFIX, "/data/stream")),)


def known(
    *sections: SectionProfile,
    marks: tuple[AnswerMark, ...] = (),
    retry: RetryFacts | None = None,
    timeouts: TimeoutDefaults | None = None,
) -> dict[str, Profile]:
    return {
        "acme": Profile(
            "acme",
            Location(CredentialPlace.HEADER, "authorization"),
            host="acme.example",
            marks=marks,
            retry=retry or RetryFacts(),
            timeouts=timeouts or TimeoutDefaults(),
            sections=sections,
        )
    }


def compiled(profiles: dict[str, Profile], spec: str = "", retry: str | None = "attempts: 2") -> World:
    text = upstream(spec=f"{{provider: acme{', ' if spec else ''}{spec}}}")
    world = World(
        text + (policy("RetryPolicy", "again", retry) if retry is not None else ""), profiles=MappingProxyType(profiles)
    )
    world.compile()
    return world


def test_marks_of_the_profile_then_those_of_the_section_each_once() -> None:
    section = SectionProfile("data", DATA, marks=(QUEUED, PAUSED))
    world = compiled(known(section, marks=(PAUSED, REJECTED, FINAL)))
    found = {name: world.section("billing", name).retry for name in ("data", "default")}
    assert {name: retry.marks for name, retry in found.items() if retry} == {
        "data": (PAUSED, REJECTED, FINAL, QUEUED),
        "default": (PAUSED, REJECTED, FINAL),
    }


def test_marks_count_whatever_statuses_the_user_names() -> None:
    world = compiled(known(marks=(QUEUED,)), retry="retryOn: {httpStatusCodes: [500]}, methods: [GET]")
    retry = world.section("billing").retry
    assert retry
    assert (retry.statuses, retry.methods, retry.marks) == ((500,), ("GET",), (QUEUED,))


def test_marks_alone_repeat_nothing() -> None:
    assert compiled(known(marks=(QUEUED,)), retry=None).section("billing").retry is None


def test_an_assumed_wait_is_the_sections_where_that_has_facts_of_its_own() -> None:
    data, other = SectionProfile("data", DATA, retry=RetryFacts()), SectionProfile("other", STREAMS)
    world = compiled(known(data, other, retry=RetryFacts(assumed_wait=300_000)))
    found = {name: world.section("billing", name).retry for name in ("data", "other", "default")}
    assert {name: retry.assumed_wait for name, retry in found.items() if retry} == {
        "data": None,
        "other": 300_000,
        "default": 300_000,
    }


def test_what_clients_count_in_is_the_sections_where_that_has_facts_of_its_own() -> None:
    data, other = SectionProfile("data", DATA, retry=RetryFacts()), SectionProfile("other", STREAMS)
    world = compiled(known(data, other, retry=RetryFacts(client_count_headers=("x-count",))))
    found = {name: world.section("billing", name).retry for name in ("data", "other")}
    assert {name: retry.client_count_headers for name, retry in found.items() if retry} == {
        "data": (),
        "other": ("x-count",),
    }


@pytest.mark.parametrize(
    ("spec", "streams", "of_section", "of_profile", "expected"),
    [
        ("", {}, {}, {}, Timeouts(0, 5_000, 300_000)),
        ("", {}, {"request": 1}, {"request": 2}, Timeouts(0, 5_000, 300_000)),
        ("", {}, {}, {"connect": 1, "stream_idle": 2}, Timeouts(0, 1, 2)),
        ("", {}, {"connect": 3, "stream_idle": 4}, {"connect": 1, "stream_idle": 2}, Timeouts(0, 3, 4)),
        ("", {"connect": 5, "stream_idle": 6}, {"connect": 3, "stream_idle": 4}, {}, Timeouts(0, 5, 6)),
        ("", {"stream_idle": 0}, {"stream_idle": 4}, {}, Timeouts(0, 5_000, 0)),
        # An upstream's general limit does not cut streams; their silence it may bound.
        (
            "timeouts: {request: 1s, connect: 2s, streamIdle: 3s}",
            {"connect": 5, "stream_idle": 6},
            {},
            {},
            Timeouts(0, 2_000, 3_000),
        ),
        (
            "timeouts: {connect: 2s}, sections: [{name: data, timeouts: {request: 9s, connect: 4s, streamIdle: 0s}}]",
            {"stream_idle": 6},
            {},
            {},
            Timeouts(9_000, 4_000, 0),
        ),
    ],
)
def test_streams_of_a_section(
    spec: str, streams: dict[str, int], of_section: dict[str, int], of_profile: dict[str, int], expected: Timeouts
) -> None:
    section = SectionProfile(
        "data",
        DATA,
        timeouts=TimeoutDefaults(**of_section),
        streams=STREAMS,
        stream_timeouts=TimeoutDefaults(**streams),
    )
    world = compiled(known(section, timeouts=TimeoutDefaults(**of_profile)), spec)
    assert world.section("billing", "data").stream_timeouts == expected
    assert world.section("billing").stream_timeouts is None


def test_what_is_no_stream_keeps_its_own_limits() -> None:
    section = SectionProfile("data", DATA, timeouts=TimeoutDefaults(request=7_000), streams=STREAMS)
    assert compiled(known(section)).section("billing", "data").timeouts == Timeouts(7_000, 5_000, 300_000)
