"""A vendor's Python client: its operations run in a thread of their own, each on a client made for it.

`calls` counts what leaves through httpx, which all these clients use, in either of its two packages.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from importlib.metadata import version
from types import TracebackType
from typing import Any, Self
from unittest import mock

import httpx
import httpx2

from harness.clients.calls import Job, Outcome, Raised

Emit = Callable[[Any], None]
Operation = Callable[[Job, Emit], Any]
Describe = Callable[[BaseException], Raised | None]

_counted: ContextVar[list[None] | None] = ContextVar("counted", default=None)


@dataclass(slots=True)
class _Job:
    """An operation in its thread. `said` has events, then the outcome."""

    said: queue.Queue[tuple[str, Any]] = field(default_factory=queue.Queue)
    events: list[Any] = field(default_factory=list)
    ended: Outcome | None = None

    def event(self, timeout: float = 10.0) -> Any:
        kind, what = self._next(timeout)
        assert kind == "event", f"it ended, and nothing more arrived: {what}"
        self.events.append(what)
        return what

    def outcome(self, timeout: float = 30.0) -> Outcome:
        while self.ended is None:
            kind, what = self._next(timeout)
            if kind == "event":
                self.events.append(what)
            else:
                self.ended = Outcome(what.value, what.error, what.calls, tuple(self.events))
        return self.ended

    def _next(self, timeout: float) -> tuple[str, Any]:
        try:
            return self.said.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"the client said nothing for {timeout} s") from None


class PythonClient:
    """`with PythonClient("openai", package="openai", operations=..., describe=...) as client: ...`.

    `describe` says what an error of the client's own kind tells, and None for any other.
    """

    def __init__(self, module: str, *, package: str, operations: Mapping[str, Operation], describe: Describe) -> None:
        self.name = f"{module}-py"
        self.title = f"Python `{package}`"
        self._package = package
        self._operations = operations
        self._describe = describe
        self._stack = ExitStack()

    @property
    def version(self) -> str:
        """The version installed."""
        return version(self._package)

    def start(self, job: Job) -> _Job:
        """Begin an operation."""
        started = _Job()
        context = copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._run, job, started), name=f"{self.name}-{job.operation}", daemon=True
        )
        thread.start()
        return started

    def __enter__(self) -> Self:
        for module in (httpx, httpx2):
            self._stack.enter_context(_counting(module.HTTPTransport, "handle_request"))
            self._stack.enter_context(_counting(module.AsyncHTTPTransport, "handle_async_request"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _run(self, job: Job, started: _Job) -> None:
        calls: list[None] = []
        _counted.set(calls)
        try:
            value = self._operations[job.operation](job, lambda event: started.said.put(("event", event)))
            outcome = Outcome(value, None, len(calls))
        except BaseException as error:  # noqa: BLE001 - whatever was raised is what the test wants to see
            plain = Raised(type(error).__name__, native=False, message=str(error))
            outcome = Outcome(None, self._describe(error) or plain, len(calls))
        started.said.put(("ended", outcome))


def spread(count: int, ask: Callable[[int], Any]) -> list[Any]:
    """`ask(0)` to `ask(count - 1)` at the same time, each in a thread, all counted with the operation that asks."""
    with ThreadPoolExecutor(count) as pool:
        return [done.result() for done in [pool.submit(copy_context().run, ask, number) for number in range(count)]]


def _counting(transport: type[Any], method: str) -> Any:
    real = getattr(transport, method)
    if hasattr(real, "counts"):
        # Another client of the run is counting already: once is enough.
        return nullcontext()

    def counted(self: Any, request: Any) -> Any:
        calls = _counted.get()
        if calls is not None:
            calls.append(None)
        return real(self, request)

    counted.counts = True  # type: ignore[attr-defined]
    return mock.patch.object(transport, method, counted)
