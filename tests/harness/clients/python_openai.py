"""openai: what tests ask of it, at Gemini's compatible endpoint."""

from __future__ import annotations

from typing import Any

import openai
from openai.types.chat import ChatCompletionUserMessageParam

from harness.clients.calls import Job, Raised
from harness.clients.python import Emit, PythonClient, spread


def client() -> PythonClient:
    """The client, to be used as a context manager."""
    return PythonClient("openai", package="openai", operations=OPERATIONS, describe=describe)


def make(job: Job) -> openai.OpenAI:
    """Nothing changed but the base URL."""
    return openai.OpenAI(api_key=job.key, base_url=job.base_url, **job.options)


def _messages(prompt: str) -> list[ChatCompletionUserMessageParam]:
    return [{"role": "user", "content": prompt}]


def generate(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        answer = one.chat.completions.create(model=job.args["model"], messages=_messages(job.args["prompt"]))
    assert answer.usage is not None
    return {"text": answer.choices[0].message.content, "tokens": answer.usage.total_tokens}


def stream(job: Job, emit: Emit) -> Any:
    chunks = 0
    with make(job) as one:
        messages = _messages(job.args["prompt"])
        for chunk in one.chat.completions.create(model=job.args["model"], messages=messages, stream=True):
            emit(chunk.choices[0].delta.content)
            chunks += 1
    return {"chunks": chunks}


def embed(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        answer = one.embeddings.create(model=job.args["model"], input=job.args["texts"], encoding_format="float")
    return {"vectors": [vector.embedding for vector in answer.data]}


def models(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        return {"names": [model.id for model in one.models.list()]}


def model(job: Job, emit: Emit) -> Any:
    with make(job) as one:
        return {"name": one.models.retrieve(job.args["model"]).id}


def concurrent(job: Job, emit: Emit) -> Any:
    with make(job) as one:

        def ask(number: int) -> str | None:
            messages = _messages(f"call {number}")
            return one.chat.completions.create(model=job.args["model"], messages=messages).choices[0].message.content

        return {"texts": spread(job.args["count"], ask)}


def describe(error: BaseException) -> Raised | None:
    if not isinstance(error, openai.APIError):
        return None
    status = error.status_code if isinstance(error, openai.APIStatusError) else None
    return Raised(type(error).__name__, native=True, message=error.message, status=status, code=error.code)


OPERATIONS = {
    "generate": generate,
    "stream": stream,
    "embed": embed,
    "models": models,
    "model": model,
    "concurrent": concurrent,
}
