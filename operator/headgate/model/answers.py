"""What an answer of a provider says, and how to tell: its statuses, what it means beyond them, when to come back.

Part of the Plan, and of what a provider's profile knows. Frozen values.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class ResetFormat(StrEnum):
    """How a header says when to try again."""

    SECONDS = "Seconds"
    UNIX_TIMESTAMP = "UnixTimestamp"
    HTTP_DATE = "HTTPDate"
    #: Whole seconds or an HTTP date, as RFC 9110 has Retry-After.
    RETRY_AFTER = "RetryAfter"
    MILLISECONDS = "Milliseconds"


@dataclass(frozen=True, slots=True)
class ResetHeader:
    name: str
    format: ResetFormat


class BodyHint(StrEnum):
    """Dialects that say in the body of a refusal when to try again."""

    #: `google.rpc.RetryInfo.retryDelay` in `error.details[]` (JSON).
    GOOGLE_RETRY_INFO = "GoogleRetryInfo"


class Meaning(StrEnum):
    """What an answer of the provider says beyond its status."""

    #: The call was turned away before anything was done: it may be repeated whatever its method.
    NOTHING_RAN = "NothingRan"
    #: The same call would be answered the same way for long: it is never repeated.
    FINAL = "Final"
    #: The credential is wrong, expired or not allowed to do this; the provider itself is well. Never repeated.
    CREDENTIAL_REJECTED = "CredentialRejected"
    #: The account or project is switched off until somebody switches it on. Never repeated.
    PAUSED = "Paused"


@dataclass(frozen=True, slots=True)
class AnswerMark:
    """How to recognise an answer that means more than its status.

    The status is in `statuses`, and, where `header` is given, that header (lower case) contains one of `texts`; where
    `field` is given, some string or number of that name anywhere in the JSON body contains one of `texts`. With neither
    the status alone says it. Not both. Comparison is of plain text, upper and lower case told apart.
    """

    meaning: Meaning
    statuses: tuple[int, ...]
    header: str = ""
    field: str = ""
    texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusRange:
    """HTTP statuses from `low` to `high`, both included."""

    low: int
    high: int
