"""The pace of a simulated run's streams: a piece at a time, as a model would say them, and not all at once.

Wraps what an answer is sent by. For `--simulate` alone: tests set the pace of the providers that they make themselves.
"""

from __future__ import annotations

import asyncio

from starlette.types import Message, Send

#: Seconds between two pieces of a stream.
PACE = 0.12
_STREAMS = (b"text/event-stream", b"application/json")


def paced(send: Send, seconds: float = PACE) -> Send:
    """Send as `send` does, with a pause before every piece of a stream but the first.

    A stream is an answer of events, or of JSON whose length is not told beforehand.
    """
    streams = begun = False

    async def sending(message: Message) -> None:
        nonlocal streams, begun
        if message["type"] == "http.response.start":
            headers = {name.lower(): value for name, value in message.get("headers", ())}
            kind = headers.get(b"content-type", b"").partition(b";")[0].strip()
            streams = kind in _STREAMS and b"content-length" not in headers
        elif streams and message["type"] == "http.response.body" and message.get("body"):
            if begun and message.get("more_body"):
                await asyncio.sleep(seconds)
            begun = True
        await send(message)

    return sending
