"""The election of `control.election` on a real Lease: calls with a timeout, a clock, writers started and stopped.

One task per process runs `Elector.run`; what it is given to run while leading must look at `Leadership` before each write.
The lease is given back when `stop` is called, after the writers have ended. Why there are never two that write is told in
`control.election`; this module's part is that `now` is read before a call is sent and after its answer has come, that the
clock goes on while the machine sleeps, and that an identity is used by one start of one process only.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import structlog

from headgate.control.election import (
    Action,
    End,
    Look,
    Lost,
    Observation,
    Phase,
    Read,
    Record,
    Refused,
    StartWriting,
    State,
    Stop,
    StopWriting,
    Tick,
    Timings,
    Write,
    WritersStopped,
    Written,
    step,
)
from headgate.kube import client
from headgate.kube.client import Api, Document
from headgate.kube.reading import version_of
from headgate.kube.resources import LEASES

_log = structlog.stdlib.get_logger("headgate.kube")
_NOT_FOUND, _CONFLICT = 404, 409
#: Seconds that one call may take.
CALL = 2.0
#: Seconds after which a write is tried again for which the right to write was too short. It may have been renewed meanwhile,
#: and then nobody else would do it; if it was not, whoever writes is cancelled before that.
ONCE_MORE = 1.0


class NotLeading(Exception):
    """Another replica may be writing now. It does not mean that this one leads no longer: a write that takes longer than the
    right to write had left is broken off though that was renewed meanwhile."""


class WritersEnded(Exception):
    """What was to go on writing for as long as this replica leads has ended by itself."""


def clock() -> float:
    """Seconds on a clock that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def identity(name: str) -> str:
    """A holder's name that no other start of any process has."""
    return f"{name}_{secrets.token_hex(4)}"


class Leadership:
    """The right to write, as long as it lasts."""

    def __init__(self, remaining: Callable[[], float]) -> None:
        self._remaining = remaining

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[None]:
        """Around each write: raises NotLeading before or, when the right ends meanwhile, in the middle of it."""
        remaining = self._remaining()
        if remaining <= 0:
            raise NotLeading
        end = asyncio.timeout(remaining)
        try:
            async with end:
                yield
        except TimeoutError:
            if end.expired():
                raise NotLeading from None
            raise


class Elector:
    """One candidate for one Lease."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        name: str,
        holder: str,
        timings: Timings | None = None,
        now: Callable[[], float] = clock,
    ) -> None:
        self._api, self._namespace, self._name, self._now = api, namespace, name, now
        self._state = State(holder, timings or Timings())
        self._inbox: asyncio.Queue[Observation] = asyncio.Queue()
        self._call: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._writers: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        #: The Lease as it was read or written last.
        self._document: Document = {}

    @property
    def leading(self) -> bool:
        """Whether this replica may write now."""
        return self._state.may_write(self._now())

    def stop(self) -> None:
        """Stop the writers, give the lease back, and end `run`."""
        self._inbox.put_nowait(Stop())

    async def run(self, write: Callable[[Leadership], Awaitable[None]]) -> None:
        """Until `stop`. `write` is started when the lease is won and cancelled when it is lost, any number of times.

        Raises WritersEnded if it ends or fails by itself.
        """
        try:
            observation: Observation = Tick()
            while True:
                phase = self._state.phase
                self._state, actions = step(self._state, observation, self._now())
                for action in actions:
                    self._carry_out(action, write)
                if self._state.phase is not phase:
                    _log.info("lease", phase=self._state.phase.name.lower(), holder=self._state.identity)
                if self._state.phase is Phase.ENDED:
                    break
                observation = await self._next()
        finally:
            await self._clean_up()
        if self._failure is not None:
            raise WritersEnded(repr(self._failure)) from self._failure

    async def _next(self) -> Observation:
        wait = self._state.wake - self._now()
        if wait == float("inf"):
            return await self._inbox.get()
        try:
            async with asyncio.timeout(max(wait, 0.0)):
                return await self._inbox.get()
        except TimeoutError:
            return Tick()

    def _carry_out(self, action: Action, write: Callable[[Leadership], Awaitable[None]]) -> None:
        match action:
            case Look():
                self._call = asyncio.create_task(self._answer(self._look()))
            case Write():
                self._call = asyncio.create_task(self._answer(self._write(action)))
            case StartWriting():
                self._writers = asyncio.create_task(self._lead(write))
            case StopWriting():
                self._stopping = asyncio.create_task(self._stop_writers())
            case End():
                pass

    def _remaining(self) -> float:
        now = self._now()
        return self._state.until - now if self._state.may_write(now) else 0.0

    async def _lead(self, write: Callable[[Leadership], Awaitable[None]]) -> None:
        try:
            await write(Leadership(self._remaining))
            self._failure = RuntimeError("it returned")
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - told by `run`, after the lease was given back
            _log.exception("lease.writers_ended")
            self._failure = error
        self._inbox.put_nowait(Stop())

    async def _stop_writers(self) -> None:
        if self._writers is not None:
            self._writers.cancel()
            await asyncio.wait([self._writers])
        self._inbox.put_nowait(WritersStopped())

    async def _answer(self, call: Awaitable[Observation]) -> None:
        """Exactly one observation for each call, whatever happens."""
        observation: Observation = Lost()
        try:
            async with asyncio.timeout(CALL):
                observation = await call
        except Exception as error:  # noqa: BLE001 - or a Lease that somebody filled with nonsense
            _log.warning("lease.call", error=repr(error))
        finally:
            self._inbox.put_nowait(observation)

    async def _look(self) -> Observation:
        try:
            document = await self._api.get(LEASES, self._namespace, self._name)
        except client.Refused as problem:
            if problem.status != _NOT_FOUND:
                raise
            self._document = {}
            return Read(None, "")
        self._document = document
        return Read(_record(document), version_of(document))

    async def _write(self, write: Write) -> Observation:
        document = self._filled(write)
        try:
            call = self._api.replace if write.version else self._api.create
            self._document = await call(LEASES, document)
        except client.Refused as problem:
            if problem.status not in {_CONFLICT, _NOT_FOUND}:
                raise
            return Refused()
        return Written(version_of(self._document))

    def _filled(self, write: Write) -> Document:
        """The whole object: what others have put on it (labels, say) stays. The times are for people to read."""
        meta = {"name": self._name, "namespace": self._namespace}
        if write.version:
            meta = {**self._document.get("metadata", {}), **meta, "resourceVersion": write.version}
        before = self._document.get("spec") or {}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        same = before.get("holderIdentity") == write.record.holder and before.get("acquireTime")
        spec = {
            "leaseDurationSeconds": write.record.duration,
            "leaseTransitions": write.record.transitions,
            "acquireTime": before["acquireTime"] if same else now,
            "renewTime": now,
        }
        if write.record.holder:
            spec["holderIdentity"] = write.record.holder
        return {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": meta, "spec": spec}

    async def _clean_up(self) -> None:
        running = [task for task in (self._call, self._stopping, self._writers) if task is not None and not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)


def _record(document: Document) -> Record:
    spec = document.get("spec") or {}
    return Record(
        holder=str(spec.get("holderIdentity") or ""),
        duration=int(spec.get("leaseDurationSeconds") or 0),
        transitions=int(spec.get("leaseTransitions") or 0),
    )
