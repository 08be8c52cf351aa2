"""Edge Functions of a simulated Supabase project: an echo and a stream, and whatever a test adds.

https://supabase.com/docs/guides/functions. The platform's own failures are in `supabase_errors`, for `faults`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from starlette.requests import Request

from headgate.simulate import supabase_errors as errors
from headgate.simulate.behaviours import Behaviour, Call, json_response, respond
from headgate.simulate.sse import EVENT_STREAM
from headgate.simulate.supabase_tokens import Caller

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Function:
    """A function. `verify_jwt`: the platform lets only JWTs through to it, so no key that is none.

    https://supabase.com/docs/guides/functions/auth
    """

    behaviour: Behaviour
    verify_jwt: bool = False


class Functions:
    """All functions by name; tests may add their own."""

    def __init__(self) -> None:
        self.functions = {
            "echo": Function(_echo),
            "stream": Function(_stream),
            "members": Function(_echo, verify_jwt=True),
        }

    async def answer(self, request: Request, caller: Caller | None) -> Behaviour:
        """Invoke the function that the path names."""
        name = request.scope["path"].strip("/").partition("/")[0]
        function = self.functions.get(name)
        if function is None:
            return errors.no_such_function()
        if request.method not in METHODS:
            return errors.function(405, "METHOD_NOT_ALLOWED", "Method not allowed")
        refusal = _refusal(request, caller) if function.verify_jwt else None
        return refusal or function.behaviour


def _refusal(request: Request, caller: Caller | None) -> Behaviour | None:
    authorization = request.headers.get("authorization")
    if authorization is None:
        return errors.function(401, "UNAUTHORIZED_NO_AUTH_HEADER", "Missing authorization header")
    token = authorization.removeprefix("Bearer ")
    if token.count(".") != 2:
        return errors.function(401, "UNAUTHORIZED_INVALID_JWT_FORMAT", "Invalid JWT")
    if caller is None or caller.fault:
        return errors.function(401, "UNAUTHORIZED_LEGACY_JWT", "Invalid JWT")
    return None


async def _echo(call: Call) -> None:
    """What was sent comes back: JSON as JSON beside method and user agent, all else as it is."""
    if not await call.drain():
        return
    kind = call.record.header("content-type") or "text/plain"
    if kind.startswith("application/json"):
        answer = {"method": call.record.method, "received": call.record.json() if call.record.body else None}
        await json_response(answer, 200, {"x-served-by": "supabase-edge-runtime"})(call)
        return
    fields = {"content-type": kind, "x-served-by": "supabase-edge-runtime"}
    await respond(200, call.record.body or b"Hello from Functions!", fields)(call)


async def _stream(call: Call) -> None:
    """Three events."""
    if await call.drain():
        await call.start(200, EVENT_STREAM)
        for number in range(1, 4):
            await call.write(f"data: {json.dumps({'part': number})}\n\n".encode())
        await call.write(b"", last=True)
