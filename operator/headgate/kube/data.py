"""Secrets and ConfigMaps that something refers to: read one by one, kept while they are referred to, and no longer.

What is referred to comes from compile (`Plan.references`), by `want`; that something has changed, from the metadata watches.
Values are in the Store and nowhere else. One event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import structlog

from headgate.kube.client import Api, ApiProblem, Refused
from headgate.kube.index import newer
from headgate.kube.metadata import MetadataWatch
from headgate.kube.pace import Pace
from headgate.kube.reading import data, version_of
from headgate.kube.resources import DATA
from headgate.kube.scope import Scope
from headgate.model.refs import ObjectRef
from headgate.store import Store

_log = structlog.stdlib.get_logger("headgate.kube")
_NOT_FOUND = 404
#: Calls at the same time.
READERS = 16


class DataSource:
    """Feeds `store` with Secrets and ConfigMaps. `period`: seconds between two listings, at least and at most."""

    def __init__(self, api: Api, store: Store, scope: Scope, period: tuple[float, float]) -> None:
        self._api, self._store, self._scope = api, store, scope
        self._watches = [
            MetadataWatch(api, resource, namespace, version_of, self._changed, period)
            for resource in DATA.values()
            for namespace in scope.listed_data
        ]
        #: Wanted, and the version that the Store has; None: it is not there, or not to be read. "": not looked at yet.
        self._held: dict[ObjectRef, str | None] = {}
        self._reading: dict[ObjectRef, asyncio.Task[None]] = {}
        self._again: set[ObjectRef] = set()
        self._work = asyncio.Semaphore(READERS)
        self._settled = asyncio.Event()
        self._settled.set()
        #: Why those that may not be read may not.
        self.unreadable: dict[ObjectRef, str] = {}

    async def synced(self) -> None:
        """Wait until it is known what there is."""
        for watch in self._watches:
            await watch.synced.wait()

    def version(self, ref: ObjectRef) -> str | None:
        """The resourceVersion of what the Store has."""
        return self._held.get(ref) or None

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for watch in self._watches:
                    group.create_task(watch.run())
        finally:
            readers = list(self._reading.values())
            for task in readers:
                task.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    def want(self, references: Iterable[ObjectRef]) -> bool:
        """These are referred to, and no others. Whether all of them have been looked at."""
        wanted = {ref for ref in references if ref.kind in DATA}
        for ref in self._held.keys() - wanted:
            del self._held[ref]
            self.unreadable.pop(ref, None)
            self._store.remove_data(ref)
        for ref in wanted - self._held.keys():
            self._held[ref] = ""
            if self._scope.may_read(ref.namespace):
                self._read(ref)
            else:
                self._absent(ref, "it is in a namespace whose Secrets and ConfigMaps are not to be read")
        return self._settled.is_set()

    async def settled(self) -> None:
        """Wait until all that is wanted has been looked at: as long as the API server gives no answer, good or bad."""
        await self._settled.wait()

    def _changed(self, ref: ObjectRef, version: str | None) -> None:
        held = self._held.get(ref, ...)
        if held is ...:
            return
        if version is None:
            # It may be there again: what is read decides.
            self._read(ref)
        elif not isinstance(held, str) or not held or newer(version, held):
            self._read(ref)

    def _read(self, ref: ObjectRef) -> None:
        """Start to read, or read once more when the reading that is under way has ended."""
        if ref in self._reading:
            self._again.add(ref)
            return
        self._settled.clear()
        task = asyncio.create_task(self._follow(ref), name=f"read {ref}")
        self._reading[ref] = task
        task.add_done_callback(lambda _: self._done(ref))

    def _done(self, ref: ObjectRef) -> None:
        self._reading.pop(ref, None)
        if not self._reading:
            self._settled.set()

    async def _follow(self, ref: ObjectRef) -> None:
        pace = Pace()
        while ref in self._held:
            self._again.discard(ref)
            try:
                async with self._work:
                    document = await self._api.get(DATA[ref.kind], ref.namespace, ref.name)
                self._present(ref, document)
                del document
            except ApiProblem as problem:
                if problem.temporary:
                    _log.warning("kube.data_not_read", ref=str(ref), error=str(problem))
                    await asyncio.sleep(pace.wait(problem))
                    continue
                missing = isinstance(problem, Refused) and problem.status == _NOT_FOUND
                self._absent(ref, "" if missing else str(problem))
            except Exception as error:  # noqa: BLE001 - a bug costs one Secret, not the process
                self._absent(ref, f"it can't be read: {type(error).__name__}")
            if ref not in self._again:
                return

    def _present(self, ref: ObjectRef, document: dict[str, object]) -> None:
        if ref in self._held:
            self._held[ref] = version_of(document)
            self.unreadable.pop(ref, None)
            self._store.put_data(data(ref, document))

    def _absent(self, ref: ObjectRef, why: str) -> None:
        if ref not in self._held:
            return
        self._held[ref] = None
        with contextlib.suppress(KeyError):
            del self.unreadable[ref]
        if why:
            self.unreadable[ref] = why
            _log.warning("kube.data_unreadable", ref=str(ref), error=why)
        self._store.remove_data(ref)
