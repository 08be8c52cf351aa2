"""Open-loop load: requests go out at their scheduled times whatever became of the earlier ones.

Latency counts from the scheduled time, so that a stalled gateway shows in every request that it held up and not only in
the one that met it (no coordinated omission). Bounded by count or time. Plain HTTP/1.1 over asyncio streams with
kept-alive connections, because a full client costs more time per request than the gateway under test; it runs in a
thread of its own so that the test can make edits meanwhile:

    with Load([Request(headgate.address, "/default/up/x")], rate=200, seconds=30) as load:
        ...200 edits...
    report = load.report()
    assert not report.failures()
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import h11

READ_SIZE = 65536


@dataclass(frozen=True, slots=True)
class Request:
    """What to send; `address` is (host, port). `name` labels it in the report."""

    address: tuple[str, int]
    target: str = "/"
    method: str = "GET"
    host: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    name: str = ""

    @property
    def label(self) -> str:
        """The name, or what stands for it."""
        return self.name or f"{self.method} {self.target}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One request as it went. Times are in seconds; `scheduled` counts from the start of the load."""

    label: str
    scheduled: float
    late: float
    """How long after its scheduled time it was begun: large values mean that this machine, not the gateway, was slow.
    """
    latency: float
    """From the scheduled time to the last byte of the answer."""
    status: int | None
    """None if no complete answer came."""
    error: str = ""
    reconnected: bool = False
    """A kept-alive connection turned out closed before any of the answer had come, and a new one was used: the race
    that HTTP/1.1 clients have to handle, and no failure.
    """


@dataclass(frozen=True, slots=True)
class Report:
    """All samples of a load, in the order in which they ended."""

    samples: tuple[Sample, ...]
    seconds: float
    unfinished: int = 0
    """Requests still without an answer when waiting for them was given up."""

    @property
    def rate(self) -> float:
        """Requests per second that were sent."""
        return len(self.samples) / self.seconds if self.seconds else 0.0

    def statuses(self, label: str | None = None) -> Counter[int | None]:
        """How often each status came, for all or one label; None stands for no answer."""
        return Counter(s.status for s in self.samples if label in (None, s.label))

    def failures(self, expected: Sequence[int] = (200,)) -> list[Sample]:
        """The samples without one of the expected statuses."""
        return [s for s in self.samples if s.status not in expected]

    def percentile(self, share: float, label: str | None = None) -> float:
        """The latency that `share` (0 to 1) of the samples did not exceed. Raises ValueError without samples."""
        latencies = sorted(s.latency for s in self.samples if label in (None, s.label))
        if not latencies:
            raise ValueError("no samples")
        return latencies[min(len(latencies) - 1, int(share * len(latencies)))]

    def __str__(self) -> str:
        if not self.samples:
            return "no samples"
        shares = ", ".join(f"p{p:g} {self.percentile(p / 100) * 1000:.1f} ms" for p in (50, 90, 99, 99.9))
        lateness = max(s.late for s in self.samples) * 1000
        return (
            f"{len(self.samples)} requests at {self.rate:.1f}/s, {dict(self.statuses())}, {shares}, "
            f"begun at most {lateness:.1f} ms late, {sum(s.reconnected for s in self.samples)} reconnected, "
            f"{self.unfinished} unfinished"
        )


class Load:
    """A running load; requests are taken from `requests` in turn. Use as a context manager, or `start` and `stop`."""

    def __init__(
        self,
        requests: Sequence[Request],
        *,
        rate: float,
        seconds: float | None = None,
        count: int | None = None,
        timeout: float = 10.0,
    ) -> None:
        """`rate` is in requests per second. Ends after `count` requests or `seconds`, at least one of which is needed.

        `timeout` bounds each request, from its scheduled time.
        """
        if not requests or rate <= 0:
            raise ValueError("a load needs requests and a rate")
        if seconds is None and count is None:
            raise ValueError("a load needs a bound: seconds, count or both")
        bounds = [b for b in (count, None if seconds is None else int(seconds * rate)) if b is not None]
        self._requests = list(requests)
        self._interval = 1 / rate
        self._count = min(bounds)
        self._timeout = timeout
        self._samples: list[Sample] = []
        self._began = self._ended = 0.0
        self._started = 0
        self._stop = threading.Event()
        self._problem: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._idle: dict[tuple[str, int], list[_Connection]] = {}

    def start(self) -> Self:
        """Begin sending."""
        self._began = self._ended = time.monotonic()
        self._thread.start()
        return self

    def wait(self) -> Report:
        """Wait until it has sent all it was to send and the answers are in; returns the report."""
        self._thread.join()
        return self.report()

    def stop(self) -> Report:
        """Send no more, wait for the answers under way, return the report."""
        self._stop.set()
        return self.wait()

    @property
    def done(self) -> int:
        """How many requests have been answered or have failed."""
        return len(self._samples)

    @property
    def running(self) -> bool:
        """Whether it still sends or waits for answers."""
        return self._thread.is_alive()

    def report(self) -> Report:
        """What has been recorded so far. Raises what broke the load itself, if anything did."""
        if self._problem is not None:
            raise self._problem
        samples = tuple(self._samples)
        return Report(samples, max(self._ended - self._began, 1e-9), max(self._started - len(samples), 0))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as problem:  # noqa: BLE001 - it is raised again in the test's thread
            self._problem = problem

    async def _send_all(self) -> None:
        loop = asyncio.get_running_loop()
        origin = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                scheduled = origin + number * self._interval
                if (wait := scheduled - loop.time()) > 0:
                    await asyncio.sleep(wait)
                if self._stop.is_set():
                    break
                self._started += 1
                self._ended = time.monotonic()
                group.create_task(self._sample(self._requests[number % len(self._requests)], scheduled, origin))
        for connections in self._idle.values():
            for connection in connections:
                connection.close()

    async def _sample(self, request: Request, scheduled: float, origin: float) -> None:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        status: int | None = None
        error, reconnected = "", False
        try:
            async with asyncio.timeout_at(scheduled + self._timeout):
                status, reconnected = await self._send(request)
        except (OSError, h11.ProtocolError, EOFError, TimeoutError) as problem:
            error = f"{type(problem).__name__}: {problem}"
        latency = loop.time() - scheduled
        self._samples.append(
            Sample(request.label, scheduled - origin, begun - scheduled, latency, status, error, reconnected)
        )

    async def _send(self, request: Request) -> tuple[int, bool]:
        """Send on a kept-alive connection if there is one; returns the status, and whether that one was stale."""
        idle = self._idle.setdefault(request.address, [])
        reused = idle.pop() if idle else None
        if reused is not None:
            try:
                return await self._exchange(reused, request), False
            except _Stale:
                pass
        return await self._exchange(await _Connection.open(request.address), request), reused is not None

    async def _exchange(self, connection: _Connection, request: Request) -> int:
        try:
            status = await connection.exchange(request)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            self._idle[request.address].append(connection)
        else:
            connection.close()
        return status


class _Stale(EOFError):
    """The connection was closed before any of the answer came."""


class _Connection:
    """One HTTP/1.1 connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._protocol = h11.Connection(h11.CLIENT)
        self.reusable = False

    @classmethod
    async def open(cls, address: tuple[str, int]) -> _Connection:
        """Connect. Raises OSError."""
        return cls(*await asyncio.open_connection(*address))

    async def exchange(self, request: Request) -> int:
        """Send a request and read its answer to the end; returns the status. Raises _Stale, OSError, h11 errors."""
        host = request.host or "{}:{}".format(*request.address)
        length = [("content-length", str(len(request.body)))] if request.body else []
        head = h11.Request(
            method=request.method, target=request.target, headers=[("host", host), *request.headers.items(), *length]
        )
        self.reusable = False
        parts = [self._protocol.send(head)]
        if request.body:
            parts.append(self._protocol.send(h11.Data(data=request.body)))
        parts.append(self._protocol.send(h11.EndOfMessage()))
        try:
            self._writer.write(b"".join(part for part in parts if part))
            await self._writer.drain()
            first = await self._reader.read(READ_SIZE)
        except ConnectionError as error:
            raise _Stale(str(error)) from None
        if not first:
            raise _Stale("closed without an answer")
        self._protocol.receive_data(first)
        return await self._answer()

    async def _answer(self) -> int:
        status = 0
        while True:
            match self._protocol.next_event():
                case h11.NEED_DATA:
                    self._protocol.receive_data(await self._reader.read(READ_SIZE))
                case h11.Response() as response:
                    status = response.status_code
                case h11.EndOfMessage():
                    if self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE:
                        self._protocol.start_next_cycle()
                        self.reusable = True
                    return status
                case _:
                    pass

    def close(self) -> None:
        """Close without waiting."""
        self._writer.close()
