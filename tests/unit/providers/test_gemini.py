"""The Gemini profile: a test for each of its facts, named after it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from harness.provided import Provided
from headgate.model.answers import BodyHint, Meaning
from headgate.model.observations import ProbeVerdict
from headgate.providers.answers import verdict
from headgate.providers.gemini import GEMINI
from headgate.providers.roots import GOOGLE

FLASH = "/v1beta/models/gemini-2.5-flash"
CHAT = "/v1beta/openai/chat/completions"
LIVE = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"


@pytest.fixture(scope="module")
def gemini() -> Provided:
    return Provided("gemini")


def error(status: int, name: str, *details: Mapping[str, object], message: str = "no") -> bytes:
    return json.dumps({"error": {"code": status, "status": name, "message": message, "details": details}}).encode()


def test_both_versions(gemini: Provided) -> None:
    for version in ("v1", "v1beta", "v1alpha"):
        for kind in ("models", "tunedModels"):
            assert gemini.leads(f"/{version}/{kind}/some-model:generateContent", "POST") == "generate"
            assert gemini.leads(f"/{version}/{kind}/some-model:streamGenerateContent", "POST") == "stream"
    assert gemini.leads("/v1beta/models") == "default"
    assert gemini.leads("/v1beta/models/veo-3:predictLongRunning", "POST") == "default"


def test_key_in_header(gemini: Provided) -> None:
    assert gemini.places(f"{FLASH}:generateContent") == {("Header", "x-goog-api-key", "", False)}
    section = gemini.section("/v1beta/models")
    assert set(section.strip_request_headers) >= {"authorization", "x-goog-api-key"}
    assert set(section.strip_query) == {"access_token", "key"}


def test_compatible_paths(gemini: Provided) -> None:
    for path, section in (
        (CHAT, "openai"),
        ("/v1/openai/embeddings", "openai"),
        ("/v1beta/openai/models", "openai-other"),
        ("/v1beta/openai/batches", "openai-other"),
    ):
        assert gemini.leads(path, "POST") == section
        assert gemini.places(path) == {("Header", "authorization", "Bearer ", False)}
    assert gemini.timeouts(CHAT, "POST").request == 0
    assert gemini.repeats(CHAT, "POST", 503)
    assert not gemini.repeats("/v1beta/openai/batches", "POST", 503)


def test_live_is_websocket(gemini: Provided) -> None:
    section = gemini.section(LIVE)
    assert section.upgrades == ("websocket",)
    assert section.timeouts.request == 0
    assert section.timeouts.stream_idle > gemini.section(f"{FLASH}:streamGenerateContent").timeouts.stream_idle
    assert gemini.section("/v1beta/models").upgrades == ()


def test_uploads_take_long(gemini: Provided) -> None:
    for path, method in (("/upload/v1beta/files", "POST"), ("/v1beta/files/abc:download", "GET")):
        timeouts = gemini.timeouts(path, method)
        assert timeouts.request == 0
        assert timeouts.stream_idle > 0
    assert gemini.timeouts("/v1beta/files").request > 0
    assert "generativelanguage.googleapis.com" in gemini.upstream.authorities


def test_inline_payload(gemini: Provided) -> None:
    assert {section.max_request_body for section in gemini.upstream.sections} == {None}


def test_retried_is_unavailable(gemini: Provided) -> None:
    for verb in ("generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents", "countTokens"):
        assert gemini.repeats(f"{FLASH}:{verb}", "POST", 503), verb
        assert gemini.repeats(f"{FLASH}:{verb}", "POST", 429), verb
    for path in (f"{FLASH}:batchGenerateContent", "/v1beta/cachedContents", "/upload/v1beta/files"):
        assert not gemini.repeats(path, "POST", 503), path
    assert gemini.timeouts(f"{FLASH}:generateContent", "POST").request == 600_000


def test_500_is_often_the_input(gemini: Provided) -> None:
    for status in (499, 500, 504):
        assert not gemini.repeats(f"{FLASH}:generateContent", "POST", status)
        assert not gemini.repeats("/v1beta/models", "GET", status)


def test_wait_is_in_the_body(gemini: Provided) -> None:
    for section in gemini.upstream.sections:
        assert section.retry
        assert section.retry.body_hint is BodyHint.GOOGLE_RETRY_INFO
        assert section.retry.assumed_wait is None


def test_day_is_final(gemini: Provided) -> None:
    def refusal(quota: str) -> bytes:
        failure = {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]}
        info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}
        return error(429, "RESOURCE_EXHAUSTED", failure, info)

    day = refusal("GenerateRequestsPerDayPerProjectPerModel-FreeTier")
    minute = refusal("GenerateRequestsPerMinutePerProjectPerModel-FreeTier")
    assert gemini.means(f"{FLASH}:generateContent", 429, {}, day) == {Meaning.FINAL}
    assert not gemini.repeats(f"{FLASH}:generateContent", "POST", 429, {}, day)
    assert gemini.repeats(f"{FLASH}:generateContent", "POST", 429, {}, minute)
    # Compatible errors come as a list of one.
    assert not gemini.repeats(CHAT, "POST", 429, {}, b"[" + day + b"]")


def test_credit_is_gone(gemini: Provided) -> None:
    patient = Provided("gemini", retry="retryOn: {httpStatusCodes: [402, 503]}")
    assert gemini.means(f"{FLASH}:generateContent", 402) == {Meaning.FINAL}
    assert not patient.repeats("/v1beta/models", "GET", 402)


def test_quota_per_model() -> None:
    gemini = Provided("gemini", "models: 'gemini-2.5-pro, gemini-2.5-flash'")
    assert gemini.leads("/v1/models/gemini-2.5-pro:generateContent", "POST") == "gemini-2-5-pro"
    assert gemini.leads(f"{FLASH}:streamGenerateContent", "POST") == "gemini-2-5-flash"
    assert gemini.leads(f"{FLASH}:countTokens", "POST") == "gemini-2-5-flash"
    for other in (f"{FLASH}-lite", "/v1beta/models/gemini-2x5-pro", "/v1beta/tunedModels/gemini-2.5-pro"):
        assert gemini.leads(f"{other}:generateContent", "POST") == "generate", other
    # What creates something at the provider is repeated nowhere, so it stays outside.
    assert gemini.leads(f"{FLASH}:batchGenerateContent", "POST") == "default"
    assert gemini.timeouts(f"{FLASH}:streamGenerateContent", "POST").request == 0
    assert gemini.timeouts(f"{FLASH}:streamGenerateContent", "POST").stream_idle == 120_000
    assert gemini.timeouts(f"{FLASH}:generateContent", "POST").request == 600_000
    assert gemini.repeats(f"{FLASH}:generateContent", "POST", 503)


def test_bad_key_is_400(gemini: Provided) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    bad = error(400, "INVALID_ARGUMENT", info)
    missing = error(
        403, "PERMISSION_DENIED", message="Method doesn't allow unregistered callers. Please use an API Key."
    )
    anothers = error(403, "PERMISSION_DENIED", message="You do not have permission to access the File x.")
    wrong_input = error(400, "INVALID_ARGUMENT", message="Invalid JSON payload received.")
    for status, body in ((400, bad), (403, missing), (401, b"")):
        assert gemini.means("/v1beta/models", status, {}, body) == {Meaning.CREDENTIAL_REJECTED}
    for status, body in ((403, anothers), (400, wrong_input)):
        assert gemini.means("/v1beta/models", status, {}, body) == frozenset()


def test_models_as_probe(gemini: Provided) -> None:
    assert GEMINI.probe
    assert gemini.leads(GEMINI.probe.path.partition("?")[0]) == "default"
    assert verdict(GEMINI, GEMINI.probe, 200, {}, b'{"models": []}') is ProbeVerdict.HEALTHY
    info = {"reason": "API_KEY_INVALID"}
    refused = error(400, "INVALID_ARGUMENT", info)
    assert verdict(GEMINI, GEMINI.probe, 400, {}, refused) is ProbeVerdict.CREDENTIAL_REJECTED
    assert verdict(GEMINI, GEMINI.probe, 403, {}, b"") is ProbeVerdict.CREDENTIAL_REJECTED
    assert verdict(GEMINI, GEMINI.probe, 429, {}, b"") is ProbeVerdict.RATE_LIMITED
    assert verdict(GEMINI, GEMINI.probe, 503, {}, b"") is ProbeVerdict.UNHEALTHY


def test_roots_of_google(gemini: Provided) -> None:
    assert gemini.trusted() == {root.sha256 for root in GOOGLE}
