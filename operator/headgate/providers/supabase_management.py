"""Supabase's Management API, for organizations and projects: https://supabase.com/docs/reference/api."""

from __future__ import annotations

from headgate.model.answers import AnswerMark, Meaning, ResetFormat, ResetHeader
from headgate.model.plan import CredentialPlace
from headgate.providers import roots
from headgate.providers.profile import Fact, Location, Probe, Profile, Quota, RetryFacts

_GUIDE = "https://supabase.com/docs/reference/api/introduction"

SUPABASE_MANAGEMENT = Profile(
    name="supabase-management",
    title="Supabase Management API",
    documentation=_GUIDE,
    host="api.supabase.com",
    port=443,
    credential=Location(CredentialPlace.HEADER, "authorization", "Bearer "),
    strip_headers=("authorization",),
    authorities=("api.supabase.com",),
    roots=roots.CLOUDFLARE,
    retry=RetryFacts(
        statuses=(429, 502, 503, 504, 521, 522, 523),
        reset_headers=(
            ResetHeader("retry-after", ResetFormat.RETRY_AFTER),
            ResetHeader("x-ratelimit-reset", ResetFormat.SECONDS),
        ),
    ),
    marks=(AnswerMark(Meaning.CREDENTIAL_REJECTED, (401,)),),
    quotas=(Quota("scope", 120, "1m", "each user and project, for each endpoint; some endpoints allow less"),),
    probe=Probe("/v1/projects"),
    facts=(
        Fact("bearer-token", "A personal access token or one of OAuth is a bearer token.", _GUIDE),
        Fact(
            "seconds-left",
            "`X-RateLimit-Reset` is how many seconds are left, not a moment.",
            "https://github.com/supabase/cli/tree/develop/apps/cli-e2e/fixtures",
        ),
        Fact("quota", "120 calls a minute for each user, project and endpoint; some have less.", _GUIDE),
        Fact("bad-token-is-401", "A 401 is about the token: there is no other in a call.", _GUIDE),
        Fact("projects-as-probe", "Listing projects is the plainest call.", _GUIDE),
        Fact(
            "roots-of-cloudflare",
            "The API is behind Cloudflare, and has its certificates.",
            "https://developers.cloudflare.com/ssl/reference/certificate-authorities/",
        ),
    ),
    clients=(("curl, and whatever takes a base URL", "`{base}/v1`"),),
)
