"""A simulation of the Gemini API, as far as the official Python client uses it, under TLS for the provider's own name.

Faithful to what is documented or was observed of the real one; each such trait has a comment. A test drives it through
`model(name)` (failures in turn, paced streams) and reads `requests` and `files`. It knows keys, models and files; it
does not know models' answers: those echo the prompt.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from headgate.simulate import gemini_answers as answers
from headgate.simulate import gemini_errors as errors
from headgate.simulate import gemini_live, gemini_openai
from headgate.simulate.behaviours import Call
from headgate.simulate.certificates import Authority
from headgate.simulate.gemini_answers import embedding
from headgate.simulate.gemini_errors import SERVICE, Failure
from headgate.simulate.gemini_files import GRANULARITY, FileStore, StoredFile, Upload
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
from headgate.simulate.provider import Failing, SimulatedProvider, phrase
from headgate.simulate.sse import StreamHandle

HOST = SERVICE
API_KEY = "test-gemini-key"
MODELS = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-embedding-001")

Handler = Callable[[Request], Awaitable[ASGIApp]]


class SimulatedGemini(SimulatedProvider):
    """`with SimulatedGemini(ca) as gemini: ...`; a client must trust `ca.pem` and find `HOST` at `gemini.port`."""

    def __init__(
        self,
        ca: Authority,
        *,
        keys: Sequence[str] = (API_KEY,),
        models: Sequence[str] = MODELS,
        addresses: Sequence[str] = ("127.0.0.1",),
        port: int = 0,
        client_ca: bytes | None = None,
        alpn: Sequence[str] = ("h2", "http/1.1"),
        origin: str = f"https://{HOST}",
        chunks: int = 3,
    ) -> None:
        """`origin` is what absolute URLs in answers begin with: the provider's public name, wherever this listens.
        `chunks`: in how many pieces a stream comes, unless a model's script says otherwise."""
        self.keys = frozenset(keys)
        self.origin = origin
        self.store = FileStore()
        self._models_lock = threading.Lock()
        self._models = {name: ModelScript(name, Ok(chunks=chunks)) for name in models}
        super().__init__(
            _application(self),
            addresses=addresses,
            port=port,
            tls=ca.server(HOST),
            client_ca=client_ca,
            alpn=alpn,
            server_header=False,
        )

    def model(self, name: str = MODELS[0]) -> ModelScript:
        """The script of a model; a name not known so far exists from now on."""
        with self._models_lock:
            return self._models.setdefault(name, ModelScript(name))

    @property
    def files(self) -> Mapping[str, StoredFile]:
        """Finished uploads by name (`files/...`)."""
        return dict(self.store.files)

    def known_models(self) -> list[ModelScript]:
        """All models, in the order they came to be."""
        with self._models_lock:
            return list(self._models.values())

    def find(self, name: str) -> ModelScript | None:
        """The script of a model that exists."""
        with self._models_lock:
            return self._models.get(name)

    def refuse(self, request: HTTPConnection) -> Failure | None:
        """What is wrong with the caller's credentials, if anything."""
        given = [*request.headers.getlist("x-goog-api-key"), *request.query_params.getlist("key")]
        if not given:
            # No key: 403 about unregistered callers.
            return errors.unregistered_caller()
        # Every key given must be good, so that a test notices a caller's own key that got through beside the right one.
        return None if all(key in self.keys for key in given) else errors.api_key_invalid()

    def failing(self, how: Failing, path: str) -> ASGIApp:
        """Google's JSON, at the endpoint for OpenAI's clients as the one element of a list."""
        named = re.search(r"/models/([^/:]+)", path)
        model = named[1] if named else MODELS[0]
        cause = errors.of_status(how.status, how.code, how.wait, model=model, phrase=phrase(how))
        return answers.failure(cause, as_array="/openai/" in path)


def _application(gemini: SimulatedGemini) -> Starlette:
    def route(path: str, handler: Callable[[SimulatedGemini, Request], Awaitable[ASGIApp]], *methods: str) -> Route:
        return Route(path, _Endpoint(gemini, handler), methods=list(methods))

    routes: list[BaseRoute] = [*gemini_openai.routes(gemini), *gemini_live.routes(gemini)]
    # The Python client 3.x calls /v1 by default, the JavaScript one and older ones /v1beta: both exist.
    for version in ("v1", "v1beta"):
        routes += [
            route(f"/{version}/models", _list_models, "GET"),
            route(f"/{version}/models/{{model}}:{{method}}", _call_model, "POST"),
            route(f"/{version}/models/{{model}}", _get_model, "GET"),
            route(f"/upload/{version}/files", _upload, "POST", "PUT"),
            route(f"/{version}/files", _list_files, "GET"),
            route(f"/{version}/files/{{file}}", _file, "GET", "DELETE"),
        ]
    app = Starlette(routes=routes)
    # What is no method of the API is answered by Google's front end, in HTML.
    app.router.default = answers.not_here
    return app


class _Endpoint:
    """Checks the key, then lets the handler answer. Being an ASGI app, it may stream and see disconnects as it likes."""

    def __init__(
        self, gemini: SimulatedGemini, handler: Callable[[SimulatedGemini, Request], Awaitable[ASGIApp]]
    ) -> None:
        self._gemini = gemini
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # The upload URL is a capability of its own: the client sends its chunks there without the API key.
        exempt = "upload_id" in request.query_params
        refusal = None if exempt else self._gemini.refuse(request)
        try:
            answer = answers.failure(refusal) if refusal else await self._handler(self._gemini, request)
        except ClientDisconnect:
            return
        except json.JSONDecodeError:
            answer = answers.failure(errors.invalid_argument("Invalid JSON payload received."))
        await answer(scope, receive, send)


async def _list_models(gemini: SimulatedGemini, request: Request) -> ASGIApp:
    models = gemini.known_models()
    size = int(request.query_params.get("pageSize", "50"))
    start = int(request.query_params.get("pageToken", "0"))
    body: dict[str, Any] = {"models": [answers.model_resource(m) for m in models[start : start + size]]}
    if start + size < len(models):
        body["nextPageToken"] = str(start + size)
    return answers.json_answer(body)


async def _get_model(gemini: SimulatedGemini, request: Request) -> ASGIApp:
    script = gemini.find(request.path_params["model"])
    return answers.json_answer(answers.model_resource(script)) if script else answers.failure(_unknown_model(request))


async def _call_model(gemini: SimulatedGemini, request: Request) -> ASGIApp:
    script = gemini.find(request.path_params["model"])
    body = json.loads(await request.body() or b"{}")
    method = request.path_params["method"]
    methods = {
        "generateContent": _generate,
        "streamGenerateContent": _stream,
        "countTokens": _count_tokens,
        "embedContent": _embed,
        "batchEmbedContents": _batch_embed,
    }
    if script is None or method not in methods:
        return answers.failure(_unknown_model(request))
    step = script.take()
    if isinstance(step, Hang):
        return answers.hang
    if isinstance(step, Failure):
        # In a stream without alt=sse even an error comes inside the array; the client unwraps a list of one.
        as_array = method == "streamGenerateContent" and not _wants_sse(request)
        return answers.failure(step, as_array=as_array)
    return methods[method](request, script, step, body)


def _generate(request: Request, script: ModelScript, step: Ok | MidStream | Blocked, body: dict[str, Any]) -> ASGIApp:
    answer = _new_answer(script, step, body)
    match step:
        case Blocked(reason=reason):
            return answers.json_answer(answer.blocked(reason))
        case MidStream(failure=failure):
            return answers.failure(failure or errors.internal())
        case Ok(text=text):
            return answers.json_answer(answer.chunk(_reply(text, body), last=True))


def _stream(request: Request, script: ModelScript, step: Ok | MidStream | Blocked, body: dict[str, Any]) -> ASGIApp:
    framing = Framing(_wants_sse(request))
    answer = _new_answer(script, step, body)
    if script.paced is not None:
        return _paced(script, framing, answer)
    wanted = step.chunks if isinstance(step, Ok) else 3
    texts = pieces(_reply(step.text if isinstance(step, Ok) else None, body), wanted)
    items = [answer.chunk(text, last=number == len(texts)) for number, text in enumerate(texts, start=1)]
    match step:
        case Blocked(reason=reason):
            items = [answer.blocked(reason)]
        case MidStream(after=after, failure=failure):
            # Errors arrive on a 200 that is under way, as one more event.
            items = items[:after] + ([failure.body] if failure else [])
        case Ok():
            pass
    cut_off = isinstance(step, MidStream) and step.failure is None

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        await call.start(200, answers.stream_headers(framing))
        for item in items:
            await call.write(framing.item(item))
        if cut_off:
            raise ConnectionAbortedError("broken off on purpose")
        await call.write(framing.end(), last=True)

    return respond


def _paced(script: ModelScript, framing: Framing, answer: Answer) -> ASGIApp:
    waiting = script.paced
    assert waiting is not None

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(scope, receive, send)
        await call.start(200, answers.stream_headers(framing))
        await call.write(b"")
        handle = StreamHandle(asyncio.get_running_loop())
        waiting.put(PacedStream(handle, answer, framing))
        if await handle.pump(call.write, call.until_disconnected()):
            await call.write(b"", last=True)

    return respond


def _count_tokens(request: Request, script: ModelScript, step: object, body: dict[str, Any]) -> ASGIApp:
    count = _tokens(body)
    return answers.json_answer(
        {"totalTokens": count, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": count}]}
    )


def _embed(request: Request, script: ModelScript, step: object, body: dict[str, Any]) -> ASGIApp:
    return answers.json_answer(
        {"embedding": {"values": embedding(_text(body.get("content", {})), body.get("outputDimensionality"))}}
    )


def _batch_embed(request: Request, script: ModelScript, step: object, body: dict[str, Any]) -> ASGIApp:
    """What the Python client's `embed_content` calls, even for a single text."""
    wrong = [r.get("model") for r in body["requests"] if r.get("model") != f"models/{script.name}"]
    if wrong:
        # Each request names the model again, and it must be the one in the path.
        return answers.failure(
            errors.invalid_argument(f"BatchEmbedContentsRequest.requests.model: unexpected {wrong[0]!r}")
        )
    vectors = [embedding(_text(r["content"]), r.get("outputDimensionality")) for r in body["requests"]]
    return answers.json_answer({"embeddings": [{"values": vector} for vector in vectors]})


async def _upload(gemini: SimulatedGemini, request: Request) -> ASGIApp:
    headers = {name.lower(): value for name, value in request.headers.items()}
    commands = {c.strip() for c in headers.get("x-goog-upload-command", "").split(",")}
    version = request.url.path.split("/")[2]
    if commands == {"start"}:
        started = gemini.store.start(version, headers, json.loads(await request.body() or b"{}"))
        if isinstance(started, Failure):
            return answers.failure(started)
        return _started(gemini, started)
    upload = gemini.store.uploads.get(request.query_params.get("upload_id", ""))
    if upload is None:
        return answers.failure(errors.not_found("Upload not found."), {"x-goog-upload-status": "cancelled"})
    if commands == {"query"}:
        return answers.empty({"x-goog-upload-status": "active", "x-goog-upload-size-received": str(upload.received)})
    if commands == {"cancel"}:
        del gemini.store.uploads[upload.id]
        return answers.empty({"x-goog-upload-status": "cancelled"})
    if not commands <= {"upload", "finalize"} or not commands:
        return answers.failure(errors.invalid_argument("Invalid X-Goog-Upload-Command."))
    return await _take_chunk(gemini, request, upload, headers, final="finalize" in commands)


def _started(gemini: SimulatedGemini, upload: Upload) -> ASGIApp:
    # An absolute https URL on the provider's own host, whatever host the caller used to get here: followed as it is, an
    # upload through a gateway would leave it at this point.
    url = f"{gemini.origin}/upload/{upload.version}/files?upload_id={upload.id}&upload_protocol=resumable"
    return answers.empty(
        {
            "x-goog-upload-status": "active",
            "x-goog-upload-url": url,
            "x-goog-upload-control-url": url,
            "x-goog-upload-chunk-granularity": str(GRANULARITY),
            "x-guploader-uploadid": upload.id,
        }
    )


async def _take_chunk(
    gemini: SimulatedGemini, request: Request, upload: Upload, headers: dict[str, str], *, final: bool
) -> ASGIApp:
    refusal = gemini.store.check_chunk(upload, headers)
    if refusal:
        return answers.failure(refusal, {"x-goog-upload-status": "active"})
    upload.busy, before = True, upload.received
    try:
        async for data in request.stream():
            upload.digest.update(data)
            upload.received += len(data)
    finally:
        upload.busy = False
    refusal = gemini.store.check_progress(upload, upload.received - before, final=final)
    if refusal:
        return answers.failure(refusal, {"x-goog-upload-status": "active"})
    if not final:
        return answers.empty({"x-goog-upload-status": "active", "x-goog-upload-size-received": str(upload.received)})
    stored = gemini.store.finalize(upload)
    return answers.json_answer(
        {"file": stored.resource(gemini.origin, upload.version)}, headers={"x-goog-upload-status": "final"}
    )


async def _list_files(gemini: SimulatedGemini, request: Request) -> ASGIApp:
    version = request.url.path.split("/")[1]
    files = [stored.resource(gemini.origin, version) for stored in gemini.store.files.values()]
    return answers.json_answer({"files": files} if files else {})


async def _file(gemini: SimulatedGemini, request: Request) -> ASGIApp:
    name = f"files/{request.path_params['file']}"
    stored = gemini.store.files.get(name)
    if stored is None:
        # A file of somebody else's and one that never was look the same.
        message = f"You do not have permission to access the File {name.removeprefix('files/')} or it may not exist."
        return answers.failure(Failure(403, "PERMISSION_DENIED", message))
    if request.method == "DELETE":
        del gemini.store.files[name]
        return answers.json_answer({})
    return answers.json_answer(stored.resource(gemini.origin, request.url.path.split("/")[1]))


def _wants_sse(request: Request) -> bool:
    # Without alt=sse a stream is a JSON array.
    return parse_qs(request.url.query).get("alt") == ["sse"]


def _unknown_model(request: Request) -> Failure:
    version = request.url.path.split("/")[1]
    name, method = request.path_params["model"], request.path_params.get("method", "getModel")
    return errors.not_found(
        f"models/{name} is not found for API version {version}, or is not supported for {method}. "
        "Call ModelService.ListModels to see the list of available models and their supported methods."
    )


def _new_answer(script: ModelScript, step: Ok | MidStream | Blocked, body: dict[str, Any]) -> Answer:
    thoughts = step.thoughts if isinstance(step, Ok) else 0
    return Answer(script.name, secrets.token_urlsafe(16), Usage(_tokens(body), thoughts))


def _reply(text: str | None, body: dict[str, Any]) -> str:
    contents = body.get("contents") or [{}]
    return text if text is not None else f"echo: {_text(contents[-1])}"


def _tokens(body: dict[str, Any]) -> int:
    contents = body.get("contents") or body.get("generateContentRequest", {}).get("contents", [])
    return sum(len(_text(content).split()) for content in contents)


def _text(content: dict[str, Any]) -> str:
    return " ".join(part["text"] for part in content.get("parts", []) if "text" in part)
