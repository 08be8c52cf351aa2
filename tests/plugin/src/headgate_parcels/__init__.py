"""The Parcels API, which finds and follows parcels: https://parcels.example/docs."""

from __future__ import annotations

from headgate.model.answers import AnswerMark, Meaning, ResetFormat, ResetHeader
from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import CredentialPlace
from headgate.providers.profile import (
    Fact,
    Location,
    Option,
    Options,
    Probe,
    Profile,
    Quota,
    RetryFacts,
    SectionProfile,
    TimeoutDefaults,
    listed,
)

_DOCS = "https://parcels.example/docs"


def _below(path: str, *methods: str) -> RequestMatch:
    return RequestMatch(path=PathMatch(PathKind.PREFIX, path), methods=methods)


def _carriers(options: Options) -> tuple[SectionProfile, ...]:
    """A section for each carrier named: one that is slow must not hold up the others."""
    return tuple(
        SectionProfile(
            name=f"carrier-{carrier}",
            about=f"parcels of {carrier}",
            matches=(_below(f"/v1/carriers/{carrier}"),),
            timeouts=TimeoutDefaults(request=5_000),
        )
        for carrier in listed(options.get("carriers", ""))
    )


_RETRY = RetryFacts(
    statuses=(429, 503),
    reset_headers=(ResetHeader("x-parcels-reset-ms", ResetFormat.MILLISECONDS),),
)

PARCELS = Profile(
    name="parcels",
    title="Parcels API",
    documentation=_DOCS,
    host="{region}.api.parcels.example",
    port=443,
    options=(
        Option("region", "where the account is", "[a-z]{2}", "eu", required=True),
        Option("carriers", "carriers that get a section each", "[a-z]{2,20}", "post, express", many=True),
    ),
    credential=Location(CredentialPlace.HEADER, "x-parcels-key", "Key "),
    strip_headers=("authorization", "x-parcels-key"),
    strip_query=("token",),
    remove_response_headers=("x-parcels-debug",),
    authorities=("{region}.api.parcels.example",),
    timeouts=TimeoutDefaults(request=20_000),
    retry=_RETRY,
    marks=(
        AnswerMark(Meaning.FINAL, (429,), field="code", texts=("MONTH",)),
        AnswerMark(Meaning.CREDENTIAL_REJECTED, (401,)),
    ),
    sections=(
        SectionProfile(
            name="search",
            about="searching, which changes nothing",
            matches=(_below("/v1/search", "POST"),),
            retry=RetryFacts(statuses=_RETRY.statuses, reset_headers=_RETRY.reset_headers, safe_methods=("POST",)),
        ),
        SectionProfile(
            name="events",
            about="the event stream, whose key is in the query",
            matches=(_below("/v1/events"),),
            streaming=True,
            credential=Location(CredentialPlace.QUERY, "token"),
        ),
    ),
    sections_for=_carriers,
    quotas=(Quota("account", 100, "1m", "all calls of an account"),),
    probe=Probe("/v1/me"),
    facts=(
        Fact("month", "A 429 with a code of `MONTH` lasts until the first of the month.", f"{_DOCS}/limits"),
        Fact("search-repeats", "Searching is a POST that changes nothing.", f"{_DOCS}/search"),
    ),
    clients=(("parcels-sdk", '`Parcels(base_url="{base}")`'),),
)
