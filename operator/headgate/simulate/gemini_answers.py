"""The simulated Gemini's HTTP answers, with the headers that Google's front ends put on them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.simulate.behaviours import Call
from headgate.simulate.gemini_errors import Failure
from headgate.simulate.gemini_script import Framing, ModelScript

DIMENSIONS = 8

# What Google's front ends put on every answer, roughly: a gateway must cope with it and pass it on.
_HEADERS = {
    "vary": "Origin, X-Origin, Referer",
    "server": "scaffolding on HTTPServer2",
    "x-xss-protection": "0",
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
    "alt-svc": 'h3=":443"; ma=2592000,h3-29=":443"; ma=2592000',
}


async def not_here(scope: Scope, receive: Receive, send: Send) -> None:
    """What is no method of the API is answered by the front end, in HTML."""
    page = (
        b"<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n<p><b>404.</b> That's an error.\n"
    )
    call = Call(scope, receive, send)
    if await call.drain():
        await call.start(404, {"content-type": "text/html; charset=UTF-8", "content-length": str(len(page))})
        await call.write(page, last=True)


async def hang(scope: Scope, receive: Receive, send: Send) -> None:
    """No answer."""
    await Call(scope, receive, send).until_disconnected()


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> ASGIApp:
    """JSON, indented as Google indents it."""
    return _body(status, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(), headers)


def failure(cause: Failure, headers: Mapping[str, str] | None = None, *, as_array: bool = False) -> ASGIApp:
    """An error; `as_array` as the one element of a list."""
    body = [cause.body] if as_array else cause.body
    return json_answer(body, cause.code, {**cause.headers, **(headers or {})})


def empty(headers: Mapping[str, str]) -> ASGIApp:
    """A 200 without a body."""
    return _body(200, b"", headers)


def _body(status: int, body: bytes, headers: Mapping[str, str] | None) -> ASGIApp:
    fields = {
        "content-type": "application/json; charset=UTF-8",
        **_HEADERS,
        **(headers or {}),
        "content-length": str(len(body)),
    }

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        # An error may be known before the body has come; an unread rest would break the connection for the next call.
        if await call.drain():
            await call.start(status, fields)
            await call.write(body, last=True)

    return respond


def stream_headers(framing: Framing) -> dict[str, str]:
    """The headers of a stream."""
    return {"content-type": framing.content_type, "content-disposition": "attachment", **_HEADERS}


def model_resource(script: ModelScript) -> dict[str, Any]:
    """The Model resource in JSON."""
    generation = (
        ["embedContent", "batchEmbedContents"] if "embedding" in script.name else ["generateContent", "countTokens"]
    )
    return {
        "name": f"models/{script.name}",
        "version": "001",
        "displayName": script.name,
        "inputTokenLimit": 1048576,
        "outputTokenLimit": 65536,
        "supportedGenerationMethods": generation,
    }


def embedding(text: str, dimensions: int | None = None) -> list[float]:
    """The vector that this one gives for a text: always the same one."""
    digest = hashlib.shake_256(text.encode()).digest(dimensions or DIMENSIONS)
    return [round(byte / 255 - 0.5, 6) for byte in digest]
