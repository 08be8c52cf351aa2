"""The Gemini API's error bodies, as pure values.

The shape is Google's usual one, an `error` with code, message, status and details. Wordings may drift; what programs
read (code, status, reason, quotaId, retryDelay) is as documented or as users of the real API reported it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

SERVICE = "generativelanguage.googleapis.com"


@dataclass(frozen=True, slots=True)
class Failure:
    """An error answer."""

    code: int
    status: str
    message: str
    details: Sequence[Mapping[str, Any]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON body."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.details:
            error["details"] = [dict(detail) for detail in self.details]
        return {"error": error}


def api_key_invalid() -> Failure:
    """A bad key is a 400, not a 401: telling credential trouble from a bad request needs the body."""
    message = "API key not valid. Please pass a valid API key."
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "API_KEY_INVALID",
            "domain": "googleapis.com",
            "metadata": {"service": SERVICE},
        },
        {"@type": "type.googleapis.com/google.rpc.LocalizedMessage", "locale": "en-US", "message": message},
    ]
    return Failure(400, "INVALID_ARGUMENT", message, details)


def unregistered_caller() -> Failure:
    """No key at all is a 403 about "unregistered callers"."""
    return Failure(
        403,
        "PERMISSION_DENIED",
        "Method doesn't allow unregistered callers (callers without established identity). "
        "Please use API Key or other form of API consumer identity to call this API.",
    )


def rate_limited(retry_delay: str | None = "2s", *, model: str = "gemini-2.5-flash") -> Failure:
    """429 for requests per minute. There is no Retry-After header: the delay stands in the body as
    RetryInfo.retryDelay, a duration that may have nine decimals ("45.837906927s").
    """
    return _quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", retry_delay, model)


def daily_quota_spent(retry_delay: str | None = "33s", *, model: str = "gemini-2.5-flash") -> Failure:
    """429 whose quotaId says PerDay: no retry helps before midnight Pacific, whatever retryDelay says."""
    return _quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", retry_delay, model)


def exhausted_without_details() -> Failure:
    """The bare 429 without any details exists as well; it speaks of overload as much as of a quota."""
    return Failure(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).")


def credit_gone() -> Failure:
    """402: prepaid credit is used up."""
    return Failure(402, "RESOURCE_EXHAUSTED", "Your prepaid credits are depleted.")


def overloaded() -> Failure:
    """503, the one status that Google's own client configuration retries for POST."""
    return Failure(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")


def internal() -> Failure:
    """500, often a too long input."""
    return Failure(500, "INTERNAL", "An internal error has occurred. Please retry or report.")


def deadline_exceeded() -> Failure:
    """504."""
    return Failure(504, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete.")


def cancelled() -> Failure:
    """499."""
    return Failure(499, "CANCELLED", "The operation was cancelled.")


def invalid_argument(message: str) -> Failure:
    """400 for a bad request."""
    return Failure(400, "INVALID_ARGUMENT", message)


def not_found(message: str) -> Failure:
    """404 with Google's JSON body."""
    return Failure(404, "NOT_FOUND", message)


#: google.rpc's names for what HTTP has numbers for.
_STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def of_status(status: int, code: str | None, wait: float | None, *, model: str, phrase: str) -> Failure:
    """The error that goes with an HTTP status. `code`: a reason or part of a quotaId, where one status has several
    (`API_KEY_INVALID`, `PerDay`); `wait`: seconds in a RetryInfo; `phrase`: the message where none is known."""
    delay = None if wait is None else f"{wait:g}s"
    match status, code:
        case 400, "API_KEY_INVALID":
            return api_key_invalid()
        case 429, "PerDay":
            return daily_quota_spent(delay, model=model)
        case 429, _:
            return exhausted_without_details() if delay is None else rate_limited(delay, model=model)
        case _:
            pass
    known = {402: credit_gone, 499: cancelled, 500: internal, 503: overloaded, 504: deadline_exceeded}.get(status)
    found = known() if known else Failure(status, code or _STATUS.get(status, "UNKNOWN"), phrase)
    return found if delay is None else replace(found, details=[*found.details, _retry_info(delay)])


def _retry_info(delay: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def _quota(quota_id: str, retry_delay: str | None, model: str) -> Failure:
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [
                {
                    "quotaMetric": f"{SERVICE}/generate_content_free_tier_requests",
                    "quotaId": quota_id,
                    "quotaDimensions": {"location": "global", "model": model},
                    "quotaValue": "10",
                }
            ],
        },
        {
            "@type": "type.googleapis.com/google.rpc.Help",
            "links": [
                {
                    "description": "Learn more about Gemini API quotas",
                    "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
                }
            ],
        },
    ]
    if retry_delay is not None:
        details.append(_retry_info(retry_delay))
    message = "You exceeded your current quota, please check your plan and billing details."
    return Failure(429, "RESOURCE_EXHAUSTED", message, details)
