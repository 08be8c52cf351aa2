"""A Supabase project: its database over REST and GraphQL, Auth, Storage, Functions and Realtime.

https://supabase.com/docs
"""

from __future__ import annotations

from headgate.model.answers import AnswerMark, Meaning
from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import CredentialPlace
from headgate.providers import roots
from headgate.providers.profile import (
    Companion,
    Fact,
    Location,
    Option,
    Probe,
    Profile,
    RetryFacts,
    SectionProfile,
    TimeoutDefaults,
)

_KEYS = "https://supabase.com/docs/guides/api/api-keys"
_PLATFORM_STATUSES = "https://supabase.com/docs/guides/platform/http-status-codes"
_FUNCTION_ERRORS = "https://supabase.com/docs/guides/functions/error-codes"
_FUNCTION_LIMITS = "https://supabase.com/docs/guides/functions/limits"
_STORAGE_ERRORS = "https://supabase.com/docs/guides/storage/debugging/error-codes"
_AUTH_LIMITS = "https://supabase.com/docs/guides/auth/rate-limits"
_AUTH_SOURCE = "https://github.com/supabase/auth"
_POSTGREST_ERRORS = "https://docs.postgrest.org/en/stable/references/errors.html"
_SELF_HOSTED = "https://github.com/supabase/supabase/tree/master/docker/volumes/api/envoy"

_EDGE = (521, 522, 523)
# Not PGRST001, for all that the documentation says: it is also what a connection that is lost during a call becomes.
_COULD_NOT_CONNECT = ("PGRST000", "PGRST002")
_NO_CONNECTION_FREE = ("PGRST003",)


def _prefix(path: str) -> RequestMatch:
    return RequestMatch(path=PathMatch(PathKind.PREFIX, path))


def _nothing_ran(status: int, codes: tuple[str, ...]) -> tuple[AnswerMark, AnswerMark]:
    """PostgREST's own codes; newer versions have them in a header too, which is at hand before the body."""
    return (
        AnswerMark(Meaning.NOTHING_RAN, (status,), field="code", texts=codes),
        AnswerMark(Meaning.NOTHING_RAN, (status,), header="proxy-status", texts=codes),
    )


# The key, and beside it a user's token, where clients repeat the key if there is no user. A user's token must pass, or the
# database's row-level security would see the key's role in place of the user.
_APIKEY = Location(CredentialPlace.HEADER, "apikey")
_TOKEN = Companion(Location(CredentialPlace.HEADER, "authorization", "Bearer "), yields=True)

SUPABASE = Profile(
    name="supabase",
    title="Supabase",
    documentation="https://supabase.com/docs/guides/api",
    host="{project}.supabase.co",
    port=443,
    options=(
        Option(
            name="project",
            description="the project's reference, 20 letters, as in its URL",
            pattern="[a-z]{20}",
            example="abcdefghijklmnopqrst",
            required=True,
        ),
    ),
    credential=_APIKEY,
    companions=(_TOKEN,),
    strip_headers=("apikey",),
    strip_query=("apikey",),
    # Its CDN has refused every call with this header, which web frameworks set.
    remove_request_headers=("x-middleware-subrequest",),
    authorities=("{project}.supabase.co", "{project}.storage.supabase.co"),
    roots=roots.CLOUDFLARE,
    timeouts=TimeoutDefaults(request=60_000, connect=5_000),
    # No plain 504: what timed out would time out again, and again load the database. 520 answers heads that are too long.
    # Their clients repeat reads on 503 and 520 by themselves, whatever the answer says about it.
    retry=RetryFacts(statuses=(429, 502, 503, *_EDGE), client_count_headers=("x-retry-count",)),
    marks=(
        AnswerMark(Meaning.PAUSED, (540,)),
        AnswerMark(Meaning.PAUSED, (402,)),
        # A user's own token that has expired is a 401 as well, and no fault of the key's: only these texts tell.
        AnswerMark(
            Meaning.CREDENTIAL_REJECTED,
            (401,),
            field="message",
            texts=("No API key found", "Invalid API key", "Unregistered API key", "Legacy API keys are disabled"),
        ),
    ),
    max_request_head=16_384,
    sections=(
        SectionProfile(
            name="rest",
            about="the database over REST (PostgREST)",
            matches=(_prefix("/rest/v1"),),
            marks=(*_nothing_ran(503, _COULD_NOT_CONNECT), *_nothing_ran(504, _NO_CONNECTION_FREE)),
        ),
        SectionProfile(name="graphql", about="the database over GraphQL", matches=(_prefix("/graphql/v1"),)),
        SectionProfile(
            name="auth",
            about="users and their tokens",
            matches=(_prefix("/auth/v1"),),
            timeouts=TimeoutDefaults(request=30_000),
            retry=RetryFacts(statuses=(429, 502, 503, *_EDGE), assumed_wait=10_000),
            max_request_body=1_048_576,
        ),
        SectionProfile(
            name="storage",
            about="buckets and files",
            matches=tuple(_prefix(f"/storage/v1{path}") for path in ("", "/object/list", "/object/list-v2")),
            streams=tuple(_prefix(f"/storage/v1/{path}") for path in ("object", "upload", "render", "s3")),
            stream_timeouts=TimeoutDefaults(request=0, stream_idle=120_000),
            retry=RetryFacts(statuses=(423, 429, 502, 503, 504, *_EDGE, 544)),
            # Storage says most of its statuses in the body only, under a 400.
            marks=(AnswerMark(Meaning.NOTHING_RAN, (400, 423), field="code", texts=("ResourceLocked", "LockTimeout")),),
        ),
        SectionProfile(
            name="functions",
            about="Edge Functions, which may stream",
            matches=(_prefix("/functions/v1"),),
            # Longer than the platform's own 150 s, so that its 504 is what the caller sees.
            timeouts=TimeoutDefaults(stream_idle=160_000),
            streaming=True,
            upgrades=("websocket",),
            marks=(
                AnswerMark(Meaning.FINAL, (503,), field="code", texts=("BOOT_ERROR",)),
                AnswerMark(Meaning.FINAL, (503,), header="sb-error-code", texts=("BOOT_ERROR",)),
                AnswerMark(Meaning.FINAL, (546,)),
            ),
        ),
        SectionProfile(
            name="realtime",
            about="changes, presence and broadcasts",
            matches=(_prefix("/realtime/v1"),),
            timeouts=TimeoutDefaults(stream_idle=120_000),
            streaming=True,
            credential=_APIKEY,
            companions=(Companion(Location(CredentialPlace.QUERY, "apikey")), _TOKEN),
            upgrades=("websocket",),
        ),
    ),
    probe=Probe("/auth/v1/health"),
    facts=(
        Fact("host-from-reference", "A project is at `REFERENCE.supabase.co`.", "https://supabase.com/docs/guides/api"),
        Fact(
            "section-per-service",
            "Each service has its own path and can fail alone.",
            "https://github.com/orgs/supabase/discussions/48947",
        ),
        Fact("key-replaced", "`apikey` has the project's key; a caller's own never passes.", _KEYS),
        Fact(
            "users-token-passes",
            "`Authorization` has the user's token, as `Bearer TOKEN`; where there is no user, clients repeat the key, and the two"
            " must be equal. A call without a user's token has the key's rights: where users choose the headers of calls, the"
            " publishable key is the one to give to the gateway.",
            _KEYS,
        ),
        Fact(
            "realtime-in-query",
            "Realtime is a WebSocket whose clients have the key in the query.",
            "https://supabase.com/docs/guides/realtime/protocol",
        ),
        Fact(
            "storage-on-two-hosts",
            "Storage answers on `REFERENCE.storage.supabase.co` as well.",
            "https://supabase.com/docs/guides/storage/uploads/resumable-uploads",
        ),
        Fact(
            "refused-header",
            "In March 2025 the CDN refused all calls with `x-middleware-subrequest`.",
            "https://status.supabase.com/incidents/nyv01zmx5yxr",
        ),
        Fact(
            "long-head",
            "URL and headers of more than 16 KB are answered by 520, each time, though clients try again: refused here.",
            "https://supabase.com/docs/guides/troubleshooting/http-api-issues",
        ),
        Fact(
            "rest-60s",
            "A call of the database API ends after 60 seconds.",
            "https://supabase.com/docs/guides/database/postgres/timeouts",
        ),
        Fact("auth-is-quick", "Auth takes bodies of up to 1 MB and ends a call after ten seconds.", _AUTH_SOURCE),
        Fact(
            "auth-says-no-wait",
            "Auth counts by address and says 429 without Retry-After; a token comes back every 2 to 10 seconds.",
            _AUTH_LIMITS,
        ),
        Fact(
            "refresh-once",
            "A refresh token that is used twice is an error, so POSTs of Auth are repeated only where nothing was sent.",
            "https://supabase.com/docs/guides/auth/sessions",
        ),
        Fact(
            "nothing-ran",
            "`PGRST000`, `PGRST002` (503) and `PGRST003` (504): no connection to the database, or no schema yet, so nothing"
            " ran. `PGRST001`, `57P01` and the SQLSTATEs `08...` are 503 too, and may come in the middle of a call or after"
            " it was done.",
            _POSTGREST_ERRORS,
        ),
        Fact(
            "codes-in-a-header",
            "Since PostgREST 13 the code is in `Proxy-Status` too.",
            "https://github.com/PostgREST/postgrest/pull/3955",
        ),
        Fact(
            "clients-count",
            "Its clients repeat a read of the database up to three times on 503, 520 or a lost connection, with the number of"
            " the repetition in `X-Retry-Count`; they don't know `x-should-retry`.",
            "https://github.com/supabase/supabase-js/blob/master/packages/core/postgrest-js/src/fetchWithRetry.ts",
        ),
        Fact(
            "storage-is-busy",
            "423 (locked), 429, 503 `SlowDown` and 544 of Storage ask to try again later.",
            _STORAGE_ERRORS,
        ),
        Fact(
            "lock-is-a-400",
            "Most errors of Storage are a 400 that says its real status in the body; a lock is one of them.",
            "https://github.com/supabase/storage/blob/master/src/internal/errors/storage-error.ts",
        ),
        Fact(
            "files-take-long",
            "Files of Storage pass for as long as bytes flow.",
            "https://supabase.com/docs/guides/storage/uploads/file-limits",
        ),
        Fact(
            "functions-150s",
            "A function has 150 seconds to begin its answer, which may be a stream or a WebSocket.",
            _FUNCTION_LIMITS,
        ),
        Fact("boot-error", "503 `BOOT_ERROR`: the function itself doesn't start.", _FUNCTION_ERRORS),
        Fact("resource-limit", "546: the function used up its memory or time, and would again.", _PLATFORM_STATUSES),
        Fact("paused", "540: the project is paused until its owner wakes it up.", _PLATFORM_STATUSES),
        Fact("restricted", "402: the project is restricted for its use or its bills.", _PLATFORM_STATUSES),
        Fact("no-key", "401 with `No API key found` or `Invalid API key` is about the key.", _SELF_HOSTED),
        Fact(
            "users-401",
            "PostgREST's 401s (`PGRST301`, `PGRST303`) are about the user's token, not the key.",
            _POSTGREST_ERRORS,
        ),
        Fact(
            "health-as-probe",
            "`/auth/v1/health` answers with any key; `/rest/v1/` wants a secret one.",
            "https://github.com/supabase/auth#get-health",
        ),
        Fact(
            "behind-cloudflare",
            "Projects are behind Cloudflare, and have its certificates.",
            "https://github.com/orgs/supabase/discussions/48947",
        ),
    ),
    clients=(
        ("JavaScript @supabase/supabase-js", '`createClient("{base}", "unused")`'),
        ("Python supabase", '`create_client("{base}", "unused")`'),
    ),
)
