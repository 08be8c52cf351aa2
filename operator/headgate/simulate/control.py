"""The control API of a simulation: what the providers got, and how they are to misbehave. HTTP with JSON, on loopback.

    GET    /                    every simulated host, with the number of its calls
    GET    /HOST                one of them
    GET    /HOST/calls          its last calls: method, path, status, which places held a credential; never a value
    POST   /HOST/faults         work this script off (or this list of them): see `script.Script`
    DELETE /HOST/faults         behave again

Runs on a server's loop of its own; stages may be asked from any thread. A browser is refused: what a page elsewhere could
make it send has its host's name or an origin.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from headgate.simulate.script import Calls, Hosts, Script
from headgate.simulate.stage import Stage

_SCRIPTS: TypeAdapter[tuple[Script, ...]] = TypeAdapter(tuple[Script, ...])
_OWN = ("127.0.0.1", "localhost")


def control_app(stages: Callable[[], Mapping[str, Stage]]) -> ASGIApp:
    """The API over these stages, by host."""

    async def every(_: Request) -> Response:
        return _json(Hosts(hosts=tuple(stage.record() for _, stage in sorted(stages().items()))))

    async def one(_: Request, stage: Stage) -> Response:
        return _json(stage.record())

    async def calls(_: Request, stage: Stage) -> Response:
        count, last = stage.calls()
        return _json(Calls(count=count, calls=last))

    async def add(request: Request, stage: Stage) -> Response:
        try:
            body = json.loads(await request.body())
            scripts = _SCRIPTS.validate_python(body if isinstance(body, list) else [body])
        except ValidationError as error:
            return _problem(400, _sentences(error))
        except (ValueError, RecursionError) as error:
            return _problem(400, f"the body is no JSON that is taken: {error}")
        for script in scripts:
            stage.add(script)
        return _json(stage.record(), 201)

    async def clear(_: Request, stage: Stage) -> Response:
        stage.clear()
        return _json(stage.record())

    def of_host(answer: Callable[[Request, Stage], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        async def answered(request: Request) -> Response:
            known = stages()
            stage = known.get(request.path_params["host"].lower())
            if stage is None:
                there = ", ".join(sorted(known)) or "none"
                return _problem(404, f"no host {request.path_params['host']} is simulated; there are: {there}")
            return await answer(request, stage)

        return _guarded(answered)

    return Starlette(
        routes=[
            Route("/", _guarded(every), methods=["GET"]),
            Route("/{host}", of_host(one), methods=["GET"]),
            Route("/{host}/calls", of_host(calls), methods=["GET"]),
            Route("/{host}/faults", of_host(add), methods=["POST"]),
            Route("/{host}/faults", of_host(clear), methods=["DELETE"]),
        ]
    )


def _guarded(answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def guarded(request: Request) -> Response:
        if request.url.hostname not in _OWN or "origin" in request.headers:
            return _problem(403, "the control API is for programs on this machine, not for web pages")
        return await answer(request)

    return guarded


def _json(document: BaseModel, status: int = 200) -> Response:
    return Response(document.model_dump_json(by_alias=True, indent=1) + "\n", status, media_type="application/json")


def _problem(status: int, message: str) -> Response:
    return Response(json.dumps({"error": message}) + "\n", status, media_type="application/json")


def _sentences(error: ValidationError) -> str:
    def sentence(each: Any) -> str:
        index, *steps = each["loc"]
        where = ".".join(str(step) for step in (*([index] if index else []), *steps))
        if each["type"] in ("model_type", "dataclass_type"):
            message = 'a fault is a JSON object, such as {"status": 503}'
        else:
            message = str(each["msg"]).removeprefix("Value error, ")
        return f"{where}: {message}" if where else message

    return "; ".join(sentence(each) for each in error.errors())
