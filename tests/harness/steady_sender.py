"""An application in a pod that calls all the time, and keeps of every call how it went. It repeats none.

Runs by itself (`python3 -c PROGRAM URL`), with what Headgate's image has. Open loop: calls go out at their times, whatever became
of the earlier ones, and their latency counts from there. They go as applications' do: most of them over a pool of kept-alive
connections, some over one of their own that is resolved and opened anew, some take a second, some are long streams, and some go
over connections that were silent for a while. A connection that the other side has closed is not used again, which any client
sees before it sends; one that breaks while a call is on it is a failed call.

Port 8090 is the test's: `/samples?from=N` has the samples from the Nth on and the time of the oldest call under way,
`/call?url=URL` makes one call.
"""

import asyncio
import itertools
import json
import sys
import time
import urllib.parse
from dataclasses import dataclass, field

import h11

URL = urllib.parse.urlsplit(sys.argv[1])
TIMEOUT = 60.0
#: Kind of call: how many a second.
RATES = {"kept": 30.0, "post": 8.0, "fresh": 8.0, "slow": 3.0, "rare": 3.0, "stream": 0.4}
#: So many connections are used in turn for rare calls: each is silent for as many seconds as that takes.
RARE = 40
PATHS = {"slow": "/v1/slow", "stream": "/v1/stream"}
BODY = b"x" * 4096


@dataclass(eq=False)
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    @property
    def usable(self) -> bool:
        """Whether another call may go over it."""
        return not (self.reader.at_eof() or self.writer.is_closing()) and self.protocol.our_state is h11.IDLE

    async def exchange(self, head: h11.Request, body: bytes) -> tuple[h11.Response, bytes]:
        parts = [head, *([h11.Data(body)] if body else []), h11.EndOfMessage()]
        self.writer.write(b"".join(self.protocol.send(part) or b"" for part in parts))
        answer, content = None, b""
        while True:
            match event := self.protocol.next_event():
                case h11.NEED_DATA:
                    self.protocol.receive_data(await self.reader.read(65536))
                case h11.Response():
                    answer = event
                case h11.Data():
                    content += event.data
                case h11.EndOfMessage():
                    assert answer is not None
                    if self.protocol.our_state is h11.DONE and self.protocol.their_state is h11.DONE:
                        self.protocol.start_next_cycle()
                    return answer, content
                case h11.ConnectionClosed():
                    raise EOFError("closed without an answer")
                case _:
                    pass


async def opened(url: urllib.parse.SplitResult) -> Connection:
    return Connection(*await asyncio.open_connection(url.hostname, url.port or 80))


class Sender:
    def __init__(self) -> None:
        self.samples: list[dict[str, object]] = []
        self.under_way: dict[int, float] = {}
        self.pool: list[Connection] = []
        self.rare: list[list[Connection]] = [[] for _ in range(RARE)]
        self.numbers = itertools.count()

    async def every(self, kind: str, rate: float, group: asyncio.TaskGroup) -> None:
        # Begun apart, so that not all kinds' calls fall on one moment.
        start = time.monotonic() + 0.37 / rate
        for turn in itertools.count():
            await asyncio.sleep(max(0.0, start + turn / rate - time.monotonic()))
            number = next(self.numbers)
            self.under_way[number] = time.time()
            group.create_task(self.call(number, kind, turn, start + turn / rate))

    async def call(self, number: int, kind: str, turn: int, due: float) -> None:
        late, used, problem = time.monotonic() - due, "", ""
        try:
            async with asyncio.timeout(TIMEOUT):
                connection = self.known(kind, turn)
                used = "new" if connection is None else "kept"
                connection = connection or await opened(URL)
                used += " {}:{}".format(*connection.writer.get_extra_info("sockname")[:2])
                problem = await self.use(connection, kind, turn, number)
        except Exception as error:  # noqa: BLE001 - whatever it is, the call failed
            problem = f"{type(error).__name__}: {error}"
        at = self.under_way.pop(number)
        latency = time.monotonic() - due
        sample = {"kind": kind, "at": at, "late": late, "latency": latency, "used": used, "problem": problem}
        self.samples.append(sample)

    def known(self, kind: str, turn: int) -> Connection | None:
        """One that is open already."""
        waiting = {"fresh": [], "rare": self.rare[turn % RARE]}.get(kind, self.pool)
        while waiting:
            connection = waiting.pop()
            if connection.usable:
                return connection
            connection.writer.close()
        return None

    async def use(self, connection: Connection, kind: str, turn: int, number: int) -> str:
        """What is wrong with the answer; empty if it is the origin's."""
        body = BODY if kind == "post" else b""
        headers = [("host", str(URL.hostname)), ("x-call", str(number))]
        headers += [("content-length", str(len(body)))] if body else []
        headers += [("connection", "close")] if kind == "fresh" else []
        method = "POST" if body else "GET"
        try:
            head = h11.Request(method=method, target=PATHS.get(kind, "/v1/x"), headers=headers)
            answer, content = await connection.exchange(head, body)
        except BaseException:
            connection.writer.close()
            raise
        if not connection.usable:
            connection.writer.close()
        else:
            (self.rare[turn % RARE] if kind == "rare" else self.pool).append(connection)
        if answer.status_code != 200 or (b"x-origin", b"yes") not in list(answer.headers):
            return f"{answer.status_code} {content[:200]!r}"
        told = json.loads(content)
        return "" if (told["x-call"], told["size"]) == (str(number), len(body)) else f"another's answer: {told}"

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1].decode()
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query))
        if target.startswith("/samples"):
            ended = self.samples[int(query["from"]) :]
            told: object = {"samples": ended, "oldest": min(self.under_way.values(), default=time.time())}
        else:
            told = await once(urllib.parse.urlsplit(query["url"]))
        body = json.dumps(told).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()


async def once(url: urllib.parse.SplitResult) -> tuple[int, str]:
    """Status and body; status 0 where there is no answer."""
    try:
        async with asyncio.timeout(10):
            connection = await opened(url)
            head = h11.Request(
                method="GET", target=url.path, headers=[("host", str(url.hostname)), ("connection", "close")]
            )
            try:
                answer, content = await connection.exchange(head, b"")
            finally:
                connection.writer.close()
    except (OSError, EOFError, TimeoutError, h11.ProtocolError) as error:
        return 0, f"{type(error).__name__}: {error}"
    return answer.status_code, content.decode()


async def main() -> None:
    sender = Sender()
    await asyncio.start_server(sender.control, "0.0.0.0", 8090)
    async with asyncio.TaskGroup() as group:
        for kind, rate in RATES.items():
            group.create_task(sender.every(kind, rate, group))


if __name__ == "__main__":
    asyncio.run(main())
