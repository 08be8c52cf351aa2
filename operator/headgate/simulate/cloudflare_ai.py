"""Workers AI of the simulated Cloudflare API, in its own form and in OpenAI's.

https://developers.cloudflare.com/workers-ai/get-started/rest-api/ and .../configuration/open-ai-compatibility/. The model
echoes the prompt. A stream whose pace the test sets is a fault: `faults.next(Sse(), path=...)`.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from headgate.simulate import cloudflare_errors as errors
from headgate.simulate.behaviours import Behaviour, Call, json_response
from headgate.simulate.cloudflare_answers import Route, envelope, json_body
from headgate.simulate.sse import EVENT_STREAM

MODEL = "@cf/meta/llama-3.1-8b-instruct"
_CREATED = 1767225600


class WorkersAi:
    """The models, and the calls to them."""

    def __init__(self, models: Sequence[str] = (MODEL,)) -> None:
        self.models = set(models)

    def routes(self) -> list[Route]:
        """Where which call goes."""
        # Model names have slashes: the Python client encodes them, wrangler and curl don't.
        return [
            ("POST", "/accounts/{account}/ai/run/{model:path}", self._run),
            ("POST", "/accounts/{account}/ai/v1/chat/completions", self._chat),
        ]

    async def _run(self, request: Request) -> Behaviour:
        model, body = request.path_params["model"], await json_body(request)
        if model not in self.models:
            return errors.no_such_model(model)
        prompt = body["prompt"] if "prompt" in body else _last(body)
        if not isinstance(prompt, str):
            return errors.bad_request(5006, "Error: required properties at '/' are 'prompt' or 'messages'")
        reply, usage = f"echo: {prompt}", _usage(prompt)
        if body.get("stream"):
            pieces = [{"response": piece} for piece in _pieces(reply)]
            return _events([*pieces, {"response": "", "usage": usage}])
        return envelope({"response": reply, "tool_calls": [], "usage": usage})

    async def _chat(self, request: Request) -> Behaviour:
        body = await json_body(request)
        model, prompt = body.get("model"), _last(body)
        if model not in self.models:
            return errors.no_such_model(str(model))
        if not isinstance(prompt, str):
            return errors.bad_request(5006, "Error: required properties at '/' are 'messages'")
        reply, usage = f"echo: {prompt}", _usage(prompt)
        frame = {"id": f"id-{secrets.token_hex(6)}", "created": _CREATED, "model": model}
        if body.get("stream"):
            return _events(_chunks(frame, reply, usage if _wants_usage(body) else None))
        message = {"role": "assistant", "content": reply}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        # No envelope here: the answer is OpenAI's, errors are still Cloudflare's.
        return json_response({**frame, "object": "chat.completion", "choices": [choice], "usage": usage})


def _chunks(frame: dict[str, Any], reply: str, usage: dict[str, int] | None) -> list[dict[str, Any]]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return {**frame, "object": "chat.completion.chunk", "choices": [choice]}

    spoken = [chunk({"role": "assistant", "content": piece}) for piece in _pieces(reply)]
    counted = [{**frame, "object": "chat.completion.chunk", "choices": [], "usage": usage}] if usage else []
    return [*spoken, chunk({}, "stop"), *counted]


def _events(items: Sequence[dict[str, Any]]) -> Behaviour:
    async def behaviour(call: Call) -> None:
        if await call.drain():
            await call.start(200, EVENT_STREAM)
            for item in items:
                await call.write(f"data: {json.dumps(item)}\n\n".encode())
            await call.write(b"data: [DONE]\n\n", last=True)

    return behaviour


def _last(body: dict[str, Any]) -> Any:
    messages = body.get("messages") or [{}]
    return messages[-1].get("content")


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    return [word if number == 0 else f" {word}" for number, word in enumerate(words)]


def _usage(prompt: str) -> dict[str, int]:
    asked = len(prompt.split())
    return {"prompt_tokens": asked, "completion_tokens": asked + 1, "total_tokens": 2 * asked + 1}


def _wants_usage(body: dict[str, Any]) -> bool:
    return bool((body.get("stream_options") or {}).get("include_usage"))
