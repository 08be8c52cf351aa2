"""The Gemini API (Google AI): https://ai.google.dev/api."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace

from headgate.model.answers import AnswerMark, BodyHint, Meaning
from headgate.model.matches import PathKind, PathMatch, RequestMatch
from headgate.model.plan import CredentialPlace
from headgate.providers import roots
from headgate.providers.profile import (
    Fact,
    Location,
    Option,
    Options,
    Probe,
    Profile,
    RetryFacts,
    SectionProfile,
    TimeoutDefaults,
    listed,
)

_RATE_LIMITS = "https://ai.google.dev/gemini-api/docs/rate-limits"
_TROUBLE = "https://ai.google.dev/gemini-api/docs/troubleshooting"
_COMPATIBLE = "https://ai.google.dev/gemini-api/docs/openai"
_LIVE = "https://ai.google.dev/api/live"
_FILES = "https://ai.google.dev/api/files"
_HTTP = "https://cloud.google.com/apis/docs/system-parameters"

_REPEATABLE_VERBS = ("generateContent", "embedContent", "batchEmbedContents", "countTokens")
_STREAM_VERB = "streamGenerateContent"
_LABEL_MAX = 63


def _regex(pattern: str) -> RequestMatch:
    return RequestMatch(path=PathMatch(PathKind.REGEX, pattern))


def _verbs(*verbs: str) -> tuple[RequestMatch, ...]:
    """Calls of these methods, `/v1beta/models/NAME:VERB`, whatever the version and the kind of model. One match for each,
    so that none is long: a longer expression, such as a user's own or one for a single model, comes first."""
    return tuple(_regex(f"/.*:{verb}") for verb in verbs)


def _verbs_of(model: str, *verbs: str) -> tuple[RequestMatch, ...]:
    name = re.sub(r"([^A-Za-z0-9_-])", r"\\\1", model)
    return tuple(_regex(f"/[^/]+/models/{name}:{verb}") for verb in verbs)


# A refusal for quota says in its body, not in a header, when to come back. Of the rest only "unavailable" is worth
# another try: 500 is often an input that is too long, 504 a deadline that would pass again.
_RETRY = RetryFacts(statuses=(429, 503), body_hint=BodyHint.GOOGLE_RETRY_INFO)
# Nothing changes at the provider when these are called twice. Other POSTs create files, caches and batch jobs.
_REPEATABLE = replace(_RETRY, safe_methods=("POST",))
_NO_BYTE_YET = 600_000
_BETWEEN_CHUNKS = 120_000
_BEARER = Location(CredentialPlace.HEADER, "authorization", "Bearer ")

_SECTIONS = (
    SectionProfile(
        name="stream",
        about="streamed generation",
        matches=_verbs(_STREAM_VERB),
        timeouts=TimeoutDefaults(stream_idle=_BETWEEN_CHUNKS),
        streaming=True,
        retry=_REPEATABLE,
    ),
    SectionProfile(
        name="generate",
        about="generation, embeddings, counting of tokens",
        matches=_verbs(*_REPEATABLE_VERBS),
        retry=_REPEATABLE,
    ),
    SectionProfile(
        name="openai",
        about="OpenAI-compatible chat and embeddings, streamed or not",
        matches=(_regex("/v1(beta)?/openai/(chat/completions|embeddings)"),),
        # Whether an answer is a stream stands in the request's body, so the time limit of unary calls is its silence.
        timeouts=TimeoutDefaults(stream_idle=_NO_BYTE_YET),
        streaming=True,
        retry=_REPEATABLE,
        credential=_BEARER,
    ),
    SectionProfile(
        name="openai-other",
        about="what else is OpenAI-compatible",
        matches=tuple(
            RequestMatch(path=PathMatch(PathKind.PREFIX, prefix)) for prefix in ("/v1beta/openai", "/v1/openai")
        ),
        credential=_BEARER,
    ),
    SectionProfile(
        name="live",
        about="the Live API",
        # Google's JavaScript client joins `//ws/...` to a base URL without a path, its default one among them.
        matches=(_regex(r"/+ws/google\.ai\.generativelanguage\..*"),),
        timeouts=TimeoutDefaults(stream_idle=900_000),
        streaming=True,
        upgrades=("websocket",),
    ),
    SectionProfile(
        name="files",
        about="uploads and downloads of files",
        matches=(RequestMatch(path=PathMatch(PathKind.PREFIX, "/upload")), _regex("/[^/]+/files/[^/]+:download")),
        timeouts=TimeoutDefaults(stream_idle=_BETWEEN_CHUNKS),
        streaming=True,
    ),
)


def _label(model: str, taken: set[str]) -> str:
    """A section's name for a model; one that is taken gets a suffix that depends on the model alone."""
    plain = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")[:_LABEL_MAX].strip("-") or "model"
    if plain not in taken:
        return plain
    suffix = hashlib.sha256(model.encode()).hexdigest()[:8]
    return f"{plain[: _LABEL_MAX - 9].rstrip('-')}-{suffix}"


def _models(options: Options) -> tuple[SectionProfile, ...]:
    """A section for each model named, in the order given: who was there first keeps its name."""
    taken = {"default", *(section.name for section in _SECTIONS)}
    sections = []
    for model in listed(options.get("models", "")):
        name = _label(model, taken)
        taken.add(name)
        section = SectionProfile(
            name=name,
            about=f"generation, embeddings, counting of tokens by {model}",
            matches=_verbs_of(model, *_REPEATABLE_VERBS),
            streams=_verbs_of(model, _STREAM_VERB),
            stream_timeouts=TimeoutDefaults(request=0, stream_idle=_BETWEEN_CHUNKS),
            retry=_REPEATABLE,
        )
        sections.append(section)
    return tuple(sections)


def _rejected(*statuses: int, field: str = "", texts: tuple[str, ...] = ()) -> AnswerMark:
    return AnswerMark(Meaning.CREDENTIAL_REJECTED, statuses, field=field, texts=texts)


GEMINI = Profile(
    name="gemini",
    title="Gemini API",
    documentation="https://ai.google.dev/api",
    host="generativelanguage.googleapis.com",
    port=443,
    credential=Location(CredentialPlace.HEADER, "x-goog-api-key"),
    # What Google takes as a credential, in headers and in the query; there it would also end up in logs.
    strip_headers=("authorization", "x-goog-api-key"),
    strip_query=("access_token", "key"),
    authorities=("generativelanguage.googleapis.com",),
    options=(
        Option(
            name="models",
            description="models that get a section each, so that breakers and limits are theirs alone",
            pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}",
            example="gemini-2.5-pro, gemini-2.5-flash",
            many=True,
        ),
    ),
    roots=roots.GOOGLE,
    # Ten minutes is the deadline of Google's own clients; models think for minutes before the first byte.
    timeouts=TimeoutDefaults(request=600_000, stream_idle=_NO_BYTE_YET),
    retry=_RETRY,
    marks=(
        # The day's requests are used up: no wait of a few seconds helps, whatever RetryInfo says beside it.
        AnswerMark(Meaning.FINAL, (429,), field="quotaId", texts=("PerDay",)),
        AnswerMark(Meaning.FINAL, (402,)),
        _rejected(400, field="reason", texts=("API_KEY_INVALID",)),
        _rejected(401),
        # A file of another project is a 403 too, so it is the text that tells.
        _rejected(403, field="message", texts=("unregistered callers", "API key")),
        _rejected(403, field="reason", texts=("API_KEY_", "CONSUMER_", "SERVICE_DISABLED")),
    ),
    sections=_SECTIONS,
    sections_for=_models,
    # Every page of models costs the same; one entry says as much.
    probe=Probe("/v1beta/models?pageSize=1"),
    facts=(
        Fact(
            "both-versions",
            "Clients call `/v1` and `/v1beta`, and a method follows the model's name after a colon.",
            "https://ai.google.dev/gemini-api/docs/api-versions",
        ),
        Fact(
            "key-in-header",
            "The key goes into `x-goog-api-key`; Google also takes `key` and `access_token` in the query.",
            _HTTP,
        ),
        Fact(
            "compatible-paths",
            "Below `/openai` the same key is a bearer token; a stream is asked for in the body.",
            _COMPATIBLE,
        ),
        Fact("live-is-websocket", "The Live API is a WebSocket below `/ws/google.ai.generativelanguage`.", _LIVE),
        Fact(
            "uploads-take-long",
            "Files of up to 2 GB go to `/upload`; the URL that an upload begins with is on the same host.",
            _FILES,
        ),
        Fact(
            "inline-payload",
            "Inline payloads may have 100 MB (20 MB before 2026): no bound here, because it moves.",
            "https://blog.google/innovation-and-ai/technology/developers-tools/gemini-api-new-file-limits/",
        ),
        Fact(
            "retried-is-unavailable",
            "Google's own clients repeat generating, embedding and counting, POST or not, on UNAVAILABLE (503) only, and"
            " give up after ten minutes.",
            "https://github.com/googleapis/google-cloud-python/tree/main/packages/google-ai-generativelanguage",
        ),
        Fact(
            "500-is-often-the-input",
            "A 500 is often an input that is too long, a 504 a deadline that passes again.",
            _TROUBLE,
        ),
        Fact(
            "wait-is-in-the-body",
            "A 429 has no Retry-After: `RetryInfo.retryDelay` in its body says how long to wait.",
            "https://github.com/vercel/ai/issues/18627",
        ),
        Fact(
            "day-is-final",
            "Requests per day are renewed at midnight Pacific time; a 429 for them names a `quotaId` with `PerDay`.",
            _RATE_LIMITS,
        ),
        Fact("credit-is-gone", "402 says that prepaid credit is used up.", _TROUBLE),
        Fact(
            "quota-per-model",
            "Limits hold for each model of a project, and overload is of one model: hence a section for each.",
            _RATE_LIMITS,
        ),
        Fact(
            "bad-key-is-400",
            "A wrong key is answered by 400 with the reason `API_KEY_INVALID`, a missing one by 403.",
            "https://github.com/google/timesketch/pull/3703",
        ),
        Fact(
            "models-as-probe",
            "Listing one model tells whether the key is good and costs no tokens.",
            "https://ai.google.dev/api/models",
        ),
        Fact(
            "roots-of-google",
            "Google's certificates come from its own roots, cross-signed by GlobalSign.",
            "https://pki.goog/faq/",
        ),
    ),
    clients=(
        (
            "Python google-genai",
            (
                '`genai.Client(http_options={"base_url": "{base}"})`, or `GOOGLE_GEMINI_BASE_URL`;'
                " its Live API always speaks `wss`: give the gateway `listener.tls`"
            ),
        ),
        ("JavaScript @google/genai", '`new GoogleGenAI({httpOptions: {baseUrl: "{base}"}})`'),
        ("Python openai", '`OpenAI(base_url="{base}/v1beta/openai/")`, or `OPENAI_BASE_URL`'),
        ("JavaScript openai", '`new OpenAI({baseURL: "{base}/v1beta/openai/"})`, or `OPENAI_BASE_URL`'),
    ),
)
