"""kopf as a source of hints: it discovers, authenticates, watches and resumes, and nothing else.

Its operator runs in a thread and event loop of its own, so that a thousand events at once don't hold up the proxies; each
event is handed over to the main loop. Only `on.event` is used: kopf's other handlers write annotations or finalizers on
users' objects. Posting of Events is off, there is no peering, and discovery is done once: nothing is written, and nothing
beyond what is watched need be readable. Whether kopf misses an event, stalls or dies does not matter to what is true, only
to how soon it is known: the periodic listing sees everything. So it is started again whenever it ends, and has everything
listed then. Of a watch that ends by an error kopf tells its log, and goes on without it for good: that is heard here, told, and
has kopf started again. A kind that was not there when it discovered is one that it never looks at: whoever finds that one is
back has it begin `again`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import kopf
import structlog

from headgate.kube.access import Access, bearer
from headgate.kube.client import PAGE, Document
from headgate.kube.resources import NAMESPACES, OURS
from headgate.kube.scope import Scope

_log = structlog.stdlib.get_logger("headgate.kube")
#: Seconds between two starts: the first, and the longest.
PAUSE, LONGEST_PAUSE = 1.0, 30.0
#: Seconds until a watch that the API server does not allow is tried again.
REFUSED = 300.0
_FORBIDDEN = 403
#: Seconds that a watch lasts, that it may be silent (the server sends a bookmark each minute), and that its end is waited
#: for: the thread is a daemon, and has nothing that anyone needs.
WATCH, SILENCE, STOP = 240, 70.0, 2.0
#: Hints that are delivered before others get the event loop: kopf begins with one for each object that there is.
BATCH = 25

#: The kind of object, whether it is gone, and the object.
Deliver = Callable[[str, bool, Document], None]


class Hints:
    """`deliver` is called on the event loop that `run` runs on, and so is `on_restart`: something may have been missed."""

    def __init__(
        self, access: Access, scope: Scope, deliver: Deliver, on_restart: Callable[[], None] = lambda: None
    ) -> None:
        self._access, self._scope, self._deliver, self._on_restart = access, scope, deliver, on_restart
        self._watcher: _Watcher | None = None
        #: How often kopf was started, for tests and metrics.
        self.starts = 0

    async def run(self) -> None:
        """Until cancelled."""
        # Each of its own retries would be a line, and why it ended is told here.
        log = logging.getLogger("kopf")
        log.setLevel(logging.ERROR)
        log.propagate = False
        if not log.handlers:
            log.addHandler(logging.NullHandler())  # or what comes between two runs would go to stderr
        loop = asyncio.get_running_loop()
        pause = PAUSE
        while True:
            began = loop.time()
            self._watcher = watcher = _Watcher(self._access, self._scope, loop, self._deliver)
            self.starts += 1
            if self.starts > 1:
                self._on_restart()
            try:
                error = await watcher.run()
            finally:
                await watcher.stop()
            _log.warning("kube.watches_ended", error=repr(error), again_in=pause)
            await asyncio.sleep(pause)
            pause = PAUSE if loop.time() - began > LONGEST_PAUSE * 2 else min(pause * 2, LONGEST_PAUSE)

    def again(self) -> None:
        """Discover anew, and watch what is there now."""
        if self._watcher is not None:
            self._watcher.abandon()


class _Ends(logging.Handler):
    """Hears of watches that failed, and drops what else kopf says."""

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        super().__init__(logging.ERROR)
        self._failed = failed

    def emit(self, record: logging.LogRecord) -> None:
        """As the base class's."""
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and record.getMessage().startswith("Watcher for "):
            self._failed(error)


class _Watcher:
    """One run of kopf."""

    def __init__(self, access: Access, scope: Scope, loop: asyncio.AbstractEventLoop, deliver: Deliver) -> None:
        self._access, self._scope, self._loop, self._deliver = access, scope, loop, deliver
        self._stopping = threading.Event()
        self._ended = asyncio.Event()
        self._error: BaseException | None = None
        #: Filled in kopf's thread, emptied on the event loop; and whether that will look there.
        self._hints: deque[tuple[str, bool, Document]] = deque()
        self._looking = False
        self._thread = threading.Thread(target=self._main, name="kopf", daemon=True)

    async def run(self) -> BaseException | None:
        """Until it ends, or one of its watches has; why it did."""
        log, ends = logging.getLogger("kopf"), _Ends(self._failed)
        log.addHandler(ends)
        try:
            self._thread.start()
            await self._ended.wait()
        finally:
            log.removeHandler(ends)
        return self._error

    def _failed(self, error: BaseException) -> None:
        """In kopf's thread: one of its watches is no more."""
        if threading.get_ident() != self._thread.ident:
            return  # of a run before
        # Where trying again at once would be of no use, the others go on meanwhile.
        wait = REFUSED if getattr(error, "status", None) == _FORBIDDEN else 0.0
        _log.warning("kube.watch_ended", error=str(next(iter(error.args), error)), again_in=wait)
        self._error = error

        def end() -> None:
            self._loop.call_later(wait, self.abandon)

        self._hand_over(end)

    async def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP):
                await self._ended.wait()

    def abandon(self) -> None:
        """Have `run` return, however long the thread takes to end."""
        self._stopping.set()
        self._ended.set()

    def _main(self) -> None:
        try:
            asyncio.run(self._operate())
        except BaseException as error:  # noqa: BLE001 - whatever it was, it is told and the thread ends
            self._error = error
        self._hand_over(self._ended.set)

    async def _operate(self) -> None:
        kopfs = kopf.operator(
            registry=self._registry(),
            settings=_settings(),
            standalone=True,
            clusterwide=self._scope.namespaces is None,
            namespaces=self._scope.namespaces or (),
            stop_flag=self._stopping,
        )
        operator = asyncio.create_task(kopfs)
        try:
            while not (await asyncio.wait({operator}, timeout=STOP))[0]:
                if self._stopping.is_set():
                    _cancel_all_but(operator)
            await operator
        finally:
            # One of kopf's threads waits for the flag, and the loop would wait for that thread.
            self._stopping.set()

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        watched = list(OURS.values())
        if self._scope.namespaces is None:
            watched.append(NAMESPACES)
        for resource in watched:
            handler = self._handler(resource.kind)
            kopf.on.event(resource.group, resource.version, resource.plural, registry=registry, id="hint")(handler)
        return registry

    def _handler(self, kind: str) -> Callable[..., Any]:
        async def hint(event: kopf.RawEvent, **_: Any) -> None:
            gone = event["type"] == "DELETED"
            document: Any = event["object"]
            self._hints.append((kind, gone, document))
            if not self._looking:
                self._looking = True
                self._hand_over(self._deliver_hints)

        return hint

    def _deliver_hints(self) -> None:
        """On the event loop."""
        self._looking = False  # before looking: what comes after that asks for another look
        try:
            for _ in range(BATCH):
                if not self._hints:
                    return
                self._deliver(*self._hints.popleft())
        finally:
            if self._hints:
                self._looking = True
                self._loop.call_soon(self._deliver_hints)

    def _hand_over(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is there to tell
            self._loop.call_soon_threadsafe(call)

    async def _login(self, **_: Any) -> kopf.ConnectionInfo:
        """The same access as everything else has, read anew: kopf asks again when a token is no longer taken."""
        found = await self._access.configuration()
        token = bearer(found)
        return kopf.ConnectionInfo(
            server=found.host,
            ca_path=found.ssl_ca_cert or None,
            insecure=not found.verify_ssl,
            certificate_path=found.cert_file or None,
            private_key_path=found.key_file or None,
            scheme=token[0] if token else None,
            token=token[1] if token else None,
            username=found.username or None,
            password=found.password or None,
            proxy_url=found.proxy or None,
        )


def _cancel_all_but(operator: asyncio.Task[None]) -> None:
    """kopf cancels each of its watches once. One that is about to hear that its connection failed goes on in spite of that, for
    ever, and beside the watches of the run after this one."""
    for task in asyncio.all_tasks() - {operator, asyncio.current_task()}:
        task.cancel()


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.process.ultimate_exiting_timeout = None  # it would kill the whole process
    settings.watching.server_timeout = WATCH
    settings.watching.client_timeout = WATCH + 30
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = SILENCE
    settings.watching.chunk_size = PAGE
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    # Also how soon a server that was away is found again.
    settings.networking.error_backoffs = (1, 2, 2)
    settings.queueing.idle_timeout = 1  # a task is kept for each object that long
    settings.persistence.consistency_timeout = 0
    settings.persistence.diffbase_storage = _NoDifferences()
    settings.persistence.progress_storage = _NoProgress()
    return settings


class _NoDifferences(kopf.DiffBaseStorage):
    """What kopf's other handlers go by. Here it would be three deep copies of each object for nobody: most of what ten thousand
    of them cost."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def store(self, **_: Any) -> None:
        """Nothing is ever written."""


class _NoProgress(kopf.ProgressStorage):
    """As above: of an event nothing is remembered."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        """Nothing is ever written."""

    def purge(self, **_: Any) -> None:
        """Nothing is there."""

    def touch(self, **_: Any) -> None:
        """Nothing is ever written."""

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence
