"""What a test asks of a vendor's client, and what the client saw. All values are frozen; one thread drives a `Call`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

LONGEST = 100
"""Of a text in a summary only so much is shown."""


@dataclass(frozen=True, slots=True)
class Job:
    """One operation: which, where the client is told that the provider is, the key it is given, and what for."""

    operation: str
    base_url: str
    key: str = "unused"
    args: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments for making the client; empty where nothing but its base URL is changed."""


@dataclass(frozen=True, slots=True)
class Raised:
    """An error as the client raised it. `native`: it is of the client's own kind. `code`: what the client says of it."""

    kind: str
    native: bool
    message: str
    status: int | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an operation ended. `calls`: HTTP requests that the client made for it, its own retries among them."""

    value: Any
    error: Raised | None
    calls: int
    events: tuple[Any, ...] = ()

    def succeeded(self) -> Any:
        """The value. Raises AssertionError with the error."""
        assert self.error is None, f"{self.error}"
        return self.value

    def failed(self, *, native: bool = True) -> Raised:
        """The error, which must be of the client's own kind unless `native` is off. Raises AssertionError."""
        assert self.error is not None, f"it went well: {self.value}"
        assert self.error.native or not native, f"not the client's own error: {self.error}"
        return self.error

    def saw(self) -> str:
        """In a line, the same each time."""
        if self.error is not None:
            codes = dict.fromkeys(str(part) for part in (self.error.status, self.error.code) if part is not None)
            told = " ".join(codes)
            return f"{self.error.kind}{f' {told}' if told else ''}: {_short(self.error.message)}"
        parts = [f"{name} {_shown(value)}" for name, value in (self.value or {}).items()]
        if self.events:
            parts.insert(0, f"events {_shown(list(self.events))}")
        return ", ".join(parts) or "done"


class Call(Protocol):
    """An operation under way."""

    def event(self, timeout: float = 10.0) -> Any:
        """The next thing that arrived at the client. Raises TimeoutError; AssertionError if the operation ended."""

    def outcome(self, timeout: float = 30.0) -> Outcome:
        """How it ended. Raises TimeoutError."""


class Client(Protocol):
    """One vendor's client in one language."""

    @property
    def name(self) -> str:
        """What tests and the table call it: `openai-js`."""

    @property
    def title(self) -> str:
        """What people call it: "JavaScript `openai`"."""

    @property
    def version(self) -> str:
        """The version that is installed."""

    def start(self, job: Job) -> Call:
        """Begin an operation, on a client made for it."""


def run(client: Client, job: Job, timeout: float = 30.0) -> Outcome:
    """An operation from beginning to end."""
    return client.start(job).outcome(timeout)


def _shown(value: Any) -> str:
    match value:
        case str():
            return json.dumps(_short(value), ensure_ascii=False)
        case bool() | None:
            return json.dumps(value)
        case int() | float():
            return str(value)
        case Mapping():
            return "{" + ", ".join(f"{key} {_shown(found)}" for key, found in value.items()) + "}"
        case Sequence() if len(value) > 6 or any(
            isinstance(one, Sequence) and not isinstance(one, str) for one in value
        ):
            return f"[{len(value)} items]"
        case Sequence():
            return "[" + ", ".join(_shown(one) for one in value) + "]"
        case _:
            raise TypeError(f"{type(value)} has no place in a table")


def _short(text: str) -> str:
    # The gateway's port is another one each time.
    line = re.sub(r"http://127\.0\.0\.1:\d+", "http://gateway", " ".join(text.split()))
    if len(line) <= LONGEST:
        return line
    return f"{line[: LONGEST if len(line) < 10 * LONGEST else 16]}… ({len(line)} characters)"
