"""google-genai: what tests ask of it."""

from __future__ import annotations

import asyncio
from io import BytesIO
from typing import Any

from google import genai
from google.genai import errors, types

from harness.clients.calls import Job, Raised
from harness.clients.python import Emit, PythonClient, spread


def client() -> PythonClient:
    """The client, to be used as a context manager."""
    return PythonClient("gemini", package="google-genai", operations=OPERATIONS, describe=describe)


def make(job: Job) -> genai.Client:
    """Nothing changed but the base URL."""
    return genai.Client(api_key=job.key, http_options=types.HttpOptions(base_url=job.base_url, **job.options))


def generate(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        answer = one.models.generate_content(model=job.args["model"], contents=job.args["prompt"])
    assert answer.usage_metadata is not None
    return {"text": answer.text, "tokens": answer.usage_metadata.total_token_count}


def stream(job: Job, emit: Emit) -> Any:
    chunks = 0
    with make(job) as one:
        for chunk in one.models.generate_content_stream(model=job.args["model"], contents=job.args["prompt"]):
            emit(chunk.text)
            chunks += 1
    return {"chunks": chunks}


def embed(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        answer = one.models.embed_content(model=job.args["model"], contents=job.args["texts"])
    return {"vectors": [vector.values for vector in answer.embeddings or []]}


def models(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        return {"names": [model.name for model in one.models.list(config={"page_size": 2})]}


def model(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        return {"name": one.models.get(model=job.args["model"]).name}


def tokens(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        answer = one.models.count_tokens(model=job.args["model"], contents=job.args["prompt"])
    return {"tokens": answer.total_tokens}


def upload(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        content = BytesIO(b"x" * job.args["size"])
        file = one.files.upload(file=content, config={"mime_type": "text/plain"})
        assert file.name is not None
        found = one.files.get(name=file.name)
        one.files.delete(name=file.name)
    return {"size": found.size_bytes, "sha256": found.sha256_hash}


def concurrent(job: Job, emit: Emit) -> Any:
    with make(job) as one:

        def ask(number: int) -> str | None:
            return one.models.generate_content(model=job.args["model"], contents=f"call {number}").text

        return {"texts": spread(job.args["count"], ask)}


def live(job: Job, emit: Emit) -> Any:
    async def session() -> None:
        with make(job) as one:
            async with one.aio.live.connect(model=job.args["model"]) as live_session:
                turn = types.Content(role="user", parts=[types.Part(text=job.args["prompt"])])
                await live_session.send_client_content(turns=turn, turn_complete=True)
                async for message in live_session.receive():
                    if message.text:
                        emit(message.text)

    asyncio.run(session())
    return {"closed": True}


def describe(error: BaseException) -> Raised | None:
    if not isinstance(error, errors.APIError):
        return None
    return Raised(type(error).__name__, native=True, message=error.message or "", status=error.code, code=error.status)


OPERATIONS = {
    "generate": generate,
    "stream": stream,
    "embed": embed,
    "models": models,
    "model": model,
    "tokens": tokens,
    "upload": upload,
    "concurrent": concurrent,
    "live": live,
}
