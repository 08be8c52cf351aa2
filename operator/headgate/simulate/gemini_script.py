"""What a test tells the simulated Gemini to do for a model, and how answers are made of it.

`ModelScript` is edited from the test's thread and read on the server's loop, under a lock. `PacedStream` is a streamed
answer in the test's hand: each chunk goes out when the test says so.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from headgate.simulate.gemini_errors import Failure
from headgate.simulate.sse import StreamHandle


@dataclass(frozen=True, slots=True)
class Ok:
    """A proper answer. Without `text` the prompt's last text is repeated after `echo: `; streams send `chunks` pieces."""

    text: str | None = None
    chunks: int = 3
    thoughts: int = 0
    """Reported as thoughtsTokenCount."""


@dataclass(frozen=True, slots=True)
class MidStream:
    """The stream answers 200, sends `after` chunks, then an error event: status codes never show such a failure.

    Without `failure` the stream breaks off instead. For a unary call the failure is the answer.
    """

    after: int
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class Blocked:
    """A refused prompt is a 200 with promptFeedback.blockReason and no candidates."""

    reason: str = "SAFETY"


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer until the client goes away."""


Step = Ok | MidStream | Blocked | Hang | Failure


@dataclass(slots=True)
class ModelScript:
    """How one model answers: the steps given to `next`, one per call, then `always`."""

    name: str
    default: Step = field(default_factory=Ok)
    upcoming: list[Step] = field(default_factory=list)
    paced: queue.Queue[PacedStream] | None = None
    calls: int = 0
    """How many calls have reached this model, of any method."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, *steps: Step) -> None:
        """The next calls get these, one each."""
        with self.lock:
            self.upcoming.extend(steps)

    def always(self, step: Step) -> None:
        """All calls get this, once `next` is used up."""
        with self.lock:
            self.default = step

    def pace(self) -> None:
        """From now on streams send only what the test sends; take each with `accept`."""
        with self.lock:
            self.paced = queue.Queue()

    def accept(self, timeout: float = 10.0) -> PacedStream:
        """The next paced stream that a client opened. Raises TimeoutError."""
        assert self.paced is not None, "call pace() first"
        try:
            return self.paced.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no stream of {self.name} was opened within {timeout} s") from None

    def take(self) -> Step:
        """The step for a call that has arrived (server side)."""
        with self.lock:
            self.calls += 1
            return self.upcoming.pop(0) if self.upcoming else self.default


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; one word is one token here."""

    prompt: int
    thoughts: int = 0

    def metadata(self, candidates: int) -> dict[str, Any]:
        """usageMetadata after `candidates` output tokens: cumulative, and the total is prompt + candidates + thoughts."""
        counts: dict[str, Any] = {"promptTokenCount": self.prompt, "candidatesTokenCount": candidates}
        if self.thoughts:
            counts["thoughtsTokenCount"] = self.thoughts
        return {
            **counts,
            "totalTokenCount": self.prompt + candidates + self.thoughts,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": self.prompt}],
        }


@dataclass(slots=True)
class Answer:
    """Makes the JSON of one call's responses; counts what has been sent."""

    model: str
    response_id: str
    usage: Usage
    sent_tokens: int = 0

    def chunk(self, text: str, *, last: bool) -> dict[str, Any]:
        """A GenerateContentResponse with one piece of text; every chunk repeats the usage so far."""
        self.sent_tokens += len(text.split())
        candidate: dict[str, Any] = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
        if last:
            candidate["finishReason"] = "STOP"
        return self._around({"candidates": [candidate]})

    def blocked(self, reason: str) -> dict[str, Any]:
        """The answer to a refused prompt."""
        return self._around({"promptFeedback": {"blockReason": reason}})

    def _around(self, content: dict[str, Any]) -> dict[str, Any]:
        usage = self.usage.metadata(self.sent_tokens)
        return {**content, "usageMetadata": usage, "modelVersion": self.model, "responseId": self.response_id}


@dataclass(slots=True)
class Framing:
    """How chunks are put on the wire: server-sent events with `alt=sse`, else one JSON array sent piece by piece."""

    sse: bool
    _started: bool = False

    @property
    def content_type(self) -> str:
        return "text/event-stream" if self.sse else "application/json; charset=UTF-8"

    def item(self, value: dict[str, Any]) -> bytes:
        """One chunk."""
        if self.sse:
            return f"data: {json.dumps(value)}\r\n\r\n".encode()
        opening = ",\r\n" if self._started else "["
        self._started = True
        return (opening + json.dumps(value, indent=2)).encode()

    def end(self) -> bytes:
        """What ends the stream."""
        if self.sse:
            return b""
        return b"\n]\n" if self._started else b"[]\n"


@dataclass(slots=True)
class PacedStream:
    """A streamed answer whose chunks the test sends."""

    handle: StreamHandle
    answer: Answer
    framing: Framing

    def chunk(self, text: str, *, last: bool = False) -> None:
        """Send one chunk."""
        self.handle.send_bytes(self.framing.item(self.answer.chunk(text, last=last)))

    def error(self, failure: Failure) -> None:
        """Send an error event on the 200 that is under way, and end."""
        self.handle.send_bytes(self.framing.item(failure.body))
        self.finish()

    def finish(self) -> None:
        """End the stream."""
        self.handle.send_bytes(self.framing.end())
        self.handle.close()

    def abort(self) -> None:
        """Break the stream off."""
        self.handle.abort()

    def wait_client_gone(self, timeout: float = 10.0) -> None:
        """Wait until the client has gone. Raises TimeoutError."""
        self.handle.wait_client_gone(timeout)


def pieces(text: str, count: int) -> Sequence[str]:
    """`text` in `count` pieces at word boundaries (fewer if it has fewer words), which join to `text` again."""
    words = text.split(" ")
    count = max(1, min(count, len(words)))
    size, extra = divmod(len(words), count)
    result, start = [], 0
    for index in range(count):
        end = start + size + (1 if index < extra else 0)
        result.append((" " if start else "") + " ".join(words[start:end]))
        start = end
    return result
