"""Cloudflare's API: https://developers.cloudflare.com/api."""

from __future__ import annotations

from dataclasses import replace

from headgate.model.answers import AnswerMark, Meaning
from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import CredentialPlace
from headgate.providers import roots
from headgate.providers.profile import (
    Fact,
    Location,
    Probe,
    Profile,
    Quota,
    RetryFacts,
    SectionProfile,
    TimeoutDefaults,
)

_LIMITS = "https://developers.cloudflare.com/fundamentals/api/reference/limits/"
_EDGE_ERRORS = "https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/"
_AI_ERRORS = "https://developers.cloudflare.com/workers-ai/platform/errors/"
_FORMAT_ERROR = "https://github.com/cloudflare/cloudflare-typescript/issues/161"
_AUTH_ERROR = "https://github.com/favonia/cloudflare-ddns/issues/897"

_ACCOUNT = "/client/v4/accounts/[^/]+"
_ZONE = "/client/v4/zones/[^/]+"


def _regex(pattern: str, *methods: str) -> RequestMatch:
    return RequestMatch(path=PathMatch(PathKind.REGEX, pattern), methods=methods)


# 521 to 523: the edge could not reach the API behind it. 520 and 524 come after the API has seen the call, 500 is a defect.
# A 429 without Retry-After is the lockout of five minutes: with the usual longest wait it is handed on at once.
_RETRY = RetryFacts(statuses=(429, 502, 503, 504, 521, 522, 523), assumed_wait=300_000)
_REPEATABLE = replace(_RETRY, safe_methods=("POST",))
# These have counters of their own, so a bare 429 is no lockout.
_OWN_COUNTER = replace(_REPEATABLE, assumed_wait=None)
_UPLOAD_IDLE = 60_000

CLOUDFLARE = Profile(
    name="cloudflare",
    title="Cloudflare API",
    documentation="https://developers.cloudflare.com/api",
    host="api.cloudflare.com",
    port=443,
    credential=Location(CredentialPlace.HEADER, "authorization", "Bearer "),
    strip_headers=("authorization", "x-auth-email", "x-auth-key", "x-auth-user-service-key"),
    # Of its load balancer: one caller's would stick to the gateway's connections, or reach another caller.
    remove_response_headers=("set-cookie",),
    authorities=("api.cloudflare.com",),
    roots=roots.CLOUDFLARE,
    retry=_RETRY,
    marks=(
        AnswerMark(Meaning.CREDENTIAL_REJECTED, (400,), field="code", texts=("6003", "9106")),
        AnswerMark(Meaning.CREDENTIAL_REJECTED, (401,)),
        AnswerMark(Meaning.CREDENTIAL_REJECTED, (403,), field="code", texts=("9109", "10000")),
    ),
    sections=(
        SectionProfile(
            name="graphql",
            about="the GraphQL Analytics API",
            matches=(_regex("/client/v4/graphql"),),
            retry=_REPEATABLE,
        ),
        SectionProfile(name="kv", about="Workers KV", matches=(_regex(f"{_ACCOUNT}/storage/kv(/.*)?"),)),
        SectionProfile(
            name="r2",
            about="R2 buckets and objects",
            matches=(_regex(f"{_ACCOUNT}/r2(/.*)?"),),
            streams=(_regex(f"{_ACCOUNT}/r2/buckets/[^/]+/objects/.+"),),
            stream_timeouts=TimeoutDefaults(request=0, stream_idle=_UPLOAD_IDLE),
        ),
        SectionProfile(
            name="stream",
            about="Stream, its uploads among them",
            matches=(_regex(f"{_ACCOUNT}/stream"), _regex(f"{_ACCOUNT}/(stream|media)/.*")),
            streams=(
                _regex(f"{_ACCOUNT}/stream", "POST"),
                _regex(f"{_ACCOUNT}/(stream|media)/.*", "PATCH"),
            ),
            stream_timeouts=TimeoutDefaults(request=0, stream_idle=_UPLOAD_IDLE),
        ),
        SectionProfile(
            name="purge", about="purging the cache", matches=(_regex(f"{_ZONE}/(.+/)?purge_cache"),), retry=_OWN_COUNTER
        ),
        SectionProfile(
            name="ai",
            about="Workers AI, streamed or not",
            matches=(_regex(f"{_ACCOUNT}/ai/(run|v1)/.+"),),
            # Whether an answer is a stream stands in the request's body.
            timeouts=TimeoutDefaults(stream_idle=300_000),
            streaming=True,
            retry=_OWN_COUNTER,
            marks=(AnswerMark(Meaning.FINAL, (429,), field="code", texts=("3036",)),),
        ),
    ),
    quotas=(
        Quota("user", 1200, "5m", "all calls of one user: dashboard, keys and tokens together; beyond it, none for 5m"),
    ),
    probe=Probe("/client/v4/user/tokens/verify", field="status", text="active"),
    facts=(
        Fact("base-has-a-version", "Clients' base URL ends in `/client/v4`.", "https://developers.cloudflare.com/api"),
        Fact(
            "bearer-token",
            "A token goes into `Authorization: Bearer`; the older keys into `X-Auth-Email` and `X-Auth-Key`, or"
            " `X-Auth-User-Service-Key`.",
            "https://developers.cloudflare.com/fundamentals/api/how-to/make-api-calls/",
        ),
        Fact("cookies-of-the-balancer", "Answers set cookies of a load balancer.", _FORMAT_ERROR),
        Fact(
            "lockout",
            "1,200 requests in five minutes for a user, however they come in; then every call is refused for five minutes.",
            _LIMITS,
        ),
        Fact("retry-after-on-429", "A 429 of the REST API has Retry-After; GraphQL has no such headers.", _LIMITS),
        Fact(
            "no-idempotency-key",
            "There is no idempotency key, so a POST or PATCH that may have arrived is not repeated.",
            "https://github.com/cloudflare/cloudflare-python",
        ),
        Fact("edge-errors", "521, 522 and 523: the edge could not reach the server behind it.", _EDGE_ERRORS),
        Fact(
            "graphql-reads",
            "The GraphQL API only reads, by POST, and counts apart from REST (at most 320 in five minutes).",
            "https://developers.cloudflare.com/analytics/graphql-api/limits/",
        ),
        Fact(
            "purge-counts-apart",
            "Purging has buckets of its own for each account, and purging twice does no harm.",
            "https://developers.cloudflare.com/cache/how-to/purge-cache/",
        ),
        Fact(
            "uploads-take-long",
            "Videos of up to 200 MB are sent in one POST, longer ones by tus; R2 objects pass through the API as well.",
            "https://developers.cloudflare.com/stream/uploading-videos/",
        ),
        Fact(
            "kv-apart",
            "Values of Workers KV are served apart from the control plane, and go on when that fails.",
            "https://blog.cloudflare.com/post-mortem-on-cloudflare-control-plane-and-analytics-outage/",
        ),
        Fact(
            "ai-streams",
            "Workers AI answers below `/ai/run` and, as OpenAI does, below `/ai/v1`, streamed if the body asks for it.",
            "https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility/",
        ),
        Fact("ai-allocation", "A 429 with code 3036 says that the day's free allocation is used up.", _AI_ERRORS),
        Fact("malformed-token-is-400", "A malformed token is answered by 400 with code 6003.", _FORMAT_ERROR),
        Fact(
            "no-token-is-400",
            "A call without credentials is answered by 400 with code 9106.",
            "https://github.com/cloudflare/workers-sdk/issues/13656",
        ),
        Fact("refused-token", "A token that is refused: 401, or 403 with code 9109 or 10000.", _AUTH_ERROR),
        Fact(
            "verify-as-probe",
            "`/user/tokens/verify` says `active` of a token that is good; the call counts like any other.",
            "https://developers.cloudflare.com/fundamentals/api/troubleshooting/",
        ),
        Fact(
            "roots-of-cloudflare",
            "Certificates come from Google Trust Services, Let's Encrypt, SSL.com, DigiCert or Sectigo.",
            "https://developers.cloudflare.com/ssl/reference/certificate-authorities/",
        ),
    ),
    clients=(
        ("Python cloudflare", '`Cloudflare(base_url="{base}/client/v4")`, or `CLOUDFLARE_BASE_URL`'),
        ("JavaScript cloudflare", '`new Cloudflare({baseURL: "{base}/client/v4"})`'),
        ("Python and JavaScript openai", "Workers AI: `{base}/client/v4/accounts/ACCOUNT/ai/v1`"),
        ("Go cloudflare-go", '`option.WithBaseURL("{base}/client/v4/")`'),
        ("wrangler", "`CLOUDFLARE_API_BASE_URL={base}/client/v4`"),
    ),
)
