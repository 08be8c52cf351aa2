"""Gemini's OpenAI-compatible endpoint, `/v1beta/openai/`, on the models of a simulated Gemini.

Chat completions plain and streamed, embeddings, models. A model's script counts and steers these calls like its own.
Runs on the server's loop. https://ai.google.dev/gemini-api/docs/openai
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.simulate import gemini_answers as answers
from headgate.simulate import gemini_errors as errors
from headgate.simulate.behaviours import Call
from headgate.simulate.gemini_errors import Failure
from headgate.simulate.gemini_script import (
    Answer,
    Blocked,
    Framing,
    Hang,
    MidStream,
    ModelScript,
    Ok,
    PacedStream,
    Usage,
    pieces,
)
from headgate.simulate.sse import StreamHandle

if TYPE_CHECKING:
    from headgate.simulate.gemini import SimulatedGemini

BASE = "/v1beta/openai"
CREATED = 1_700_000_000

Handler = Callable[["SimulatedGemini", Request], Awaitable[ASGIApp]]


def routes(gemini: SimulatedGemini) -> list[Route]:
    """What the endpoint answers; the rest of the application is Gemini's own."""

    def route(path: str, handler: Handler, *methods: str) -> Route:
        return Route(f"{BASE}{path}", _Endpoint(gemini, handler), methods=list(methods))

    return [
        route("/chat/completions", _chat, "POST"),
        route("/embeddings", _embeddings, "POST"),
        route("/models", _models, "GET"),
        route("/models/{model:path}", _model, "GET"),
    ]


class _Endpoint:
    """Checks the key, which comes as a bearer token here, then lets the handler answer."""

    def __init__(self, gemini: SimulatedGemini, handler: Handler) -> None:
        self._gemini = gemini
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        refusal = _refusal(self._gemini, request)
        try:
            answer = _failed(refusal) if refusal else await self._handler(self._gemini, request)
        except ClientDisconnect:
            return
        except json.JSONDecodeError:
            answer = _failed(errors.invalid_argument("Invalid JSON payload received."))
        await answer(scope, receive, send)


def _refusal(gemini: SimulatedGemini, request: Request) -> Failure | None:
    given = request.headers.getlist("authorization")
    if not given:
        return errors.unregistered_caller()
    # Every one must be good, so that a caller's own that got through beside the right one is noticed.
    keys = [value.removeprefix("Bearer ") for value in given if value.startswith("Bearer ")]
    good = len(keys) == len(given) and all(key in gemini.keys for key in keys)
    return None if good else errors.api_key_invalid()


def _failed(cause: Failure) -> ASGIApp:
    # Here Google's error comes as the one element of a list.
    return answers.failure(cause, as_array=True)


@dataclass(slots=True)
class ChatAnswer(Answer):
    """Makes chat.completion.chunk objects."""

    def chunk(self, text: str, *, last: bool) -> dict[str, Any]:
        """One piece of a streamed completion."""
        self.sent_tokens += len(text.split())
        delta = {"role": "assistant", "content": text}
        choice = {"index": 0, "delta": delta, "finish_reason": "stop" if last else None}
        return self._object("chat.completion.chunk", choice)

    def whole(self, text: str) -> dict[str, Any]:
        """A completion at once, with its usage."""
        self.sent_tokens += len(text.split())
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        counts = {"prompt_tokens": self.usage.prompt, "completion_tokens": self.sent_tokens}
        usage = {**counts, "total_tokens": sum(counts.values())}
        return {**self._object("chat.completion", choice), "usage": usage}

    def _object(self, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": self.response_id,
            "object": kind,
            "created": CREATED,
            "model": self.model,
            "choices": [choice],
        }


class ChatFraming(Framing):
    """Server-sent events, with the end that OpenAI's clients wait for."""

    def item(self, value: dict[str, Any]) -> bytes:
        """One chunk."""
        return f"data: {json.dumps(value)}\n\n".encode()

    def end(self) -> bytes:
        """What ends the stream."""
        return b"data: [DONE]\n\n"


async def _chat(gemini: SimulatedGemini, request: Request) -> ASGIApp:
    body = json.loads(await request.body() or b"{}")
    script = _script(gemini, str(body.get("model", "")))
    if script is None:
        return _failed(_unknown(str(body.get("model", ""))))
    step = script.take()
    prompt = _prompt(body)
    answer = ChatAnswer(script.name, f"chatcmpl-{script.calls}", Usage(len(prompt.split())))
    text = step.text if isinstance(step, Ok) and step.text is not None else f"echo: {prompt}"
    match step:
        case Hang():
            return answers.hang
        case Failure():
            return _failed(step)
        case MidStream() | Ok() if body.get("stream"):
            return _streamed(script, answer, text, step)
        case MidStream(failure=failure):
            return _failed(failure or errors.internal())
        case Blocked():
            return answers.json_answer(answer.whole(""))
        case Ok():
            return answers.json_answer(answer.whole(text))


def _streamed(script: ModelScript, answer: ChatAnswer, text: str, step: Ok | MidStream) -> ASGIApp:
    framing = ChatFraming(sse=True)
    texts = pieces(text, step.chunks if isinstance(step, Ok) else 3)
    items = [answer.chunk(piece, last=number == len(texts)) for number, piece in enumerate(texts, start=1)]
    failure = None
    if isinstance(step, MidStream):
        failure = step.failure
        items = items[: step.after] + ([failure.body] if failure else [])

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        await call.start(200, answers.stream_headers(framing))
        if script.paced is not None:
            await call.write(b"")
            handle = StreamHandle(asyncio.get_running_loop())
            script.paced.put(PacedStream(handle, ChatAnswer(script.name, answer.response_id, answer.usage), framing))
            if await handle.pump(call.write, call.until_disconnected()):
                await call.write(b"", last=True)
            return
        for item in items:
            await call.write(framing.item(item))
        if isinstance(step, MidStream) and failure is None:
            raise ConnectionAbortedError("broken off on purpose")
        await call.write(b"" if failure else framing.end(), last=True)

    return respond


async def _embeddings(gemini: SimulatedGemini, request: Request) -> ASGIApp:
    body = json.loads(await request.body() or b"{}")
    script = _script(gemini, str(body.get("model", "")))
    if script is None:
        return _failed(_unknown(str(body.get("model", ""))))
    step = script.take()
    if isinstance(step, Failure):
        return _failed(step)
    given = body.get("input", [])
    texts = [given] if isinstance(given, str) else given
    data = [
        {"object": "embedding", "index": index, "embedding": answers.embedding(text, body.get("dimensions"))}
        for index, text in enumerate(texts)
    ]
    used = sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": used, "total_tokens": used}
    return answers.json_answer({"object": "list", "data": data, "model": script.name, "usage": usage})


async def _models(gemini: SimulatedGemini, request: Request) -> ASGIApp:
    return answers.json_answer({"object": "list", "data": [_resource(script) for script in gemini.known_models()]})


async def _model(gemini: SimulatedGemini, request: Request) -> ASGIApp:
    name = request.path_params["model"]
    script = _script(gemini, name)
    return answers.json_answer(_resource(script)) if script else _failed(_unknown(name))


def _resource(script: ModelScript) -> dict[str, Any]:
    return {"id": f"models/{script.name}", "object": "model", "owned_by": "google", "display_name": script.name}


def _script(gemini: SimulatedGemini, name: str) -> ModelScript | None:
    # A model may be named as in a list of models, or by its last part.
    return gemini.find(name.removeprefix("models/"))


def _unknown(name: str) -> Failure:
    return errors.not_found(
        f"models/{name.removeprefix('models/')} is not found for API version v1main, or is not supported for "
        "generateContent. Call ModelService.ListModels to see the list of available models."
    )


def _prompt(body: dict[str, Any]) -> str:
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content", "")
    return content if isinstance(content, str) else " ".join(part.get("text", "") for part in content)
