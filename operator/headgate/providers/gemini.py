"""The Gemini API (Google AI): https://ai.google.dev/api."""

from __future__ import annotations

from headgate.model.plan import BodyHint, CredentialPlace, PathKind, PathMatch, RequestMatch
from headgate.providers.profile import Location, Profile, RetryFacts, SectionProfile, TimeoutDefaults


def _verb(*verbs: str) -> RequestMatch:
    """Calls of a model's method, `/v1beta/models/NAME:VERB`, whatever the version and the kind of model."""
    return RequestMatch(path=PathMatch(PathKind.REGEX, f"/.*:({'|'.join(verbs)})"))


# A refusal for quota says in its body, not in a header, when to come back. Of the rest only "unavailable" is worth
# another try: 500 is often an input that is too long, 504 a deadline that would pass again.
_RETRY = RetryFacts(statuses=(429, 503), body_hint=BodyHint.GOOGLE_RETRY_INFO)
# Nothing changes at the provider when these are called twice. Other POSTs create files, caches and batch jobs.
_REPEATABLE = RetryFacts(statuses=_RETRY.statuses, safe_methods=("POST",), body_hint=_RETRY.body_hint)

GEMINI = Profile(
    name="gemini",
    host="generativelanguage.googleapis.com",
    port=443,
    credential=Location(CredentialPlace.HEADER, "x-goog-api-key"),
    # The OpenAI-compatible paths take the key as a bearer token. In a query it would end up in logs.
    strip_headers=("authorization", "x-goog-api-key"),
    strip_query=("key",),
    authorities=("generativelanguage.googleapis.com",),
    # Ten minutes is the deadline of Google's own clients; models think for minutes before the first byte.
    timeouts=TimeoutDefaults(request=600_000, stream_idle=600_000),
    retry=_RETRY,
    sections=(
        SectionProfile(
            name="stream",
            matches=(_verb("streamGenerateContent"),),
            timeouts=TimeoutDefaults(stream_idle=120_000),
            streaming=True,
            retry=_REPEATABLE,
        ),
        SectionProfile(
            name="generate",
            matches=(_verb("generateContent", "embedContent", "batchEmbedContents", "countTokens"),),
            retry=_REPEATABLE,
        ),
    ),
)
