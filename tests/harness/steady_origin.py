"""A provider in a pod: answers who has a good key, and keeps by key how many calls came and when the last one did.

Runs by itself (`python3 -c`), with what Headgate's image has. Port 8080 is the provider's: `/v1/slow` takes a second,
`/v1/stream` twelve, anything else comes at once; every answer has the caller's `x-call` and `x-edition` again. Port 8081 is the
test's: what was seen, as JSON.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator

import h11

GOOD = frozenset(sys.argv[1:])
SLOW, STREAM, STEP = 1.0, 12.0, 0.25
#: By key: how many calls, and the time of the last (seconds since the epoch).
seen: dict[str, tuple[int, float]] = {}


async def requests(
    reader: asyncio.StreamReader, connection: h11.Connection
) -> AsyncIterator[tuple[h11.Request, int, float]]:
    """Each with the size of its body, and the time at which its head came."""
    head, size, came = None, 0, 0.0
    while True:
        match event := connection.next_event():
            case h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            case h11.Request():
                head, size, came = event, 0, time.time()
            case h11.Data():
                size += len(event.data)
            case h11.EndOfMessage():
                assert head is not None
                yield head, size, came
                if connection.our_state is not h11.DONE:
                    return
                connection.start_next_cycle()
            case _:
                return


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = h11.Connection(h11.SERVER)

    async def send(event: h11.Event) -> None:
        writer.write(connection.send(event) or b"")
        await writer.drain()

    try:
        async for head, size, came in requests(reader, connection):
            headers = dict(head.headers)
            key = headers.get(b"x-api-key", b"").decode()
            seen[key] = (seen.get(key, (0, 0.0))[0] + 1, max(came, seen.get(key, (0, 0.0))[1]))
            told = {name: headers.get(name, b"").decode() for name in (b"x-call", b"x-edition")}
            body = json.dumps({name.decode(): value for name, value in told.items()} | {"size": size}).encode()
            meta = [(b"x-origin", b"yes"), (b"content-type", b"application/json")]
            if key not in GOOD:
                await send(h11.Response(status_code=401, headers=[*meta, (b"content-length", b"0")]))
            elif head.target.startswith(b"/v1/stream"):
                await send(h11.Response(status_code=200, headers=[*meta, (b"transfer-encoding", b"chunked")]))
                for _ in range(int(STREAM / STEP)):
                    await send(h11.Data(b" "))
                    await asyncio.sleep(STEP)
                await send(h11.Data(body))
            else:
                await asyncio.sleep(SLOW if head.target.startswith(b"/v1/slow") else 0)
                length = str(len(body)).encode()
                await send(h11.Response(status_code=200, headers=[*meta, (b"content-length", length)]))
                await send(h11.Data(body))
            await send(h11.EndOfMessage())
    except (OSError, h11.ProtocolError):
        pass
    finally:
        writer.close()


async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    body = json.dumps(seen).encode()
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
    await writer.drain()
    writer.close()


async def main() -> None:
    await asyncio.start_server(tell, "0.0.0.0", 8081)
    async with await asyncio.start_server(answer, "0.0.0.0", 8080, backlog=1000) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
