"""Secrets and ConfigMaps that something refers to: read one by one, kept while they are referred to, and no longer.

What is referred to comes from compile (`Plan.references`), by `want`; that something has changed, from the metadata watches.
Values are in the Store and nowhere else. One event loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import structlog

from headgate.kube.client import Api, ApiProblem, Refused
from headgate.kube.index import newer
from headgate.kube.metadata import MetadataWatch
from headgate.kube.pace import Pace
from headgate.kube.reading import data, ref_of, version_of
from headgate.kube.resources import DATA
from headgate.kube.scope import Scope
from headgate.model.refs import ObjectRef
from headgate.store import Store

_log = structlog.stdlib.get_logger("headgate.kube")
_NOT_FOUND = 404
#: Calls at the same time.
READERS = 16
#: As many of one namespace are read together; objects in one answer, each of which may have a mebibyte.
MANY, TOGETHER = 20, 50


class DataSource:
    """Feeds `store` with Secrets and ConfigMaps. `period`: seconds between two listings, at least and at most, and until
    what may not be read is tried again. `on_unreadable` is called when other ones may not be read, or for another reason."""

    def __init__(
        self,
        api: Api,
        store: Store,
        scope: Scope,
        period: tuple[float, float],
        on_unreadable: Callable[[], None] = lambda: None,
    ) -> None:
        self._api, self._store, self._scope = api, store, scope
        self._period, self._on_unreadable = period, on_unreadable
        self._watches = [
            MetadataWatch(api, resource, namespace, version_of, self._changed, period)
            for resource in DATA.values()
            for namespace in scope.listed_data
        ]
        #: Wanted, and the version that the Store has; None: it is not there, or not to be read. "": not looked at yet.
        self._held: dict[ObjectRef, str | None] = {}
        self._references: Iterable[ObjectRef] = ()
        self._reading: dict[ObjectRef, asyncio.Task[None]] = {}
        self._again: set[ObjectRef] = set()
        self._work = asyncio.Semaphore(READERS)
        self._settled = asyncio.Event()
        self._settled.set()
        self._why: dict[ObjectRef, str] = {}
        self._shown: Mapping[ObjectRef, str] | None = None
        self._later: dict[ObjectRef, asyncio.TimerHandle] = {}

    @property
    def unreadable(self) -> Mapping[ObjectRef, str]:
        """Why those that may not be read may not. Another mapping when it says something else."""
        if self._shown is None:
            self._shown = MappingProxyType(dict(self._why))
        return self._shown

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
            for handle in self._later.values():
                handle.cancel()
            readers = list(self._reading.values())
            for task in readers:
                task.cancel()
            await asyncio.gather(*readers, return_exceptions=True)

    def want(self, references: frozenset[ObjectRef]) -> bool:
        """These are referred to, and no others. Whether all of them have been looked at. The very same as last time cost
        nothing."""
        if references is self._references:
            return self._settled.is_set()
        self._references = references
        wanted = {ref for ref in references if ref.kind in DATA}
        for ref in self._held.keys() - wanted:
            del self._held[ref]
            self._explain(ref, "")
            self._store.remove_data(ref)
        new = wanted - self._held.keys()
        self._held.update(dict.fromkeys(new, ""))
        for ref in self._read_together(new, wanted):
            if self._scope.may_read(ref.namespace):
                self._read(ref)
            else:
                self._absent(ref, "it is in a namespace whose Secrets and ConfigMaps are not to be read")
        return self._settled.is_set()

    def _read_together(self, new: set[ObjectRef], wanted: set[ObjectRef]) -> set[ObjectRef]:
        """Read many of one namespace by listing it, where nothing is there that is not wanted; the rest is returned. Ten
        thousand calls take longer than everything else at the start."""
        groups: dict[tuple[str, str], set[ObjectRef]] = {}
        for ref in new:
            groups.setdefault((ref.kind, ref.namespace), set()).add(ref)
        many = {key for key, group in groups.items() if len(group) >= MANY}
        if many:
            there = (ref for watch in self._watches for ref in watch.refs())
            others = {(ref.kind, ref.namespace) for ref in there if ref not in wanted}
            for kind, namespace in many - others:
                group = groups.pop((kind, namespace))
                self._settled.clear()
                task = asyncio.create_task(self._list(kind, namespace, group), name=f"list {kind} of {namespace}")
                self._reading.update(dict.fromkeys(group, task))
        return {ref for group in groups.values() for ref in group}

    async def _list(self, kind: str, namespace: str, group: set[ObjectRef]) -> None:
        """What the listing doesn't have, and what has changed meanwhile, is read by itself afterwards."""
        left = set(group)
        try:
            async with self._work:
                async for page in self._api.pages(DATA[kind], namespace, limit=TOGETHER):
                    for document in page.items:
                        ref = ref_of(kind, document)
                        if ref in left:
                            left.discard(ref)
                            self._present(ref, document)
        except Exception as error:  # noqa: BLE001 - whatever it was, the reading of each tells what to do about it
            _log.warning("kube.data_not_listed", namespace=namespace, error=str(error) or type(error).__name__)
        for ref in group:
            self._reading.pop(ref, None)
        for ref in (left | (self._again & group)) & self._held.keys():
            self._read(ref)
        if not self._reading:
            self._settled.set()

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
            self._explain(ref, "")
            self._store.put_data(data(ref, document))

    def _absent(self, ref: ObjectRef, why: str) -> None:
        if ref not in self._held:
            return
        self._held[ref] = None
        self._explain(ref, why)
        if why and self._scope.may_read(ref.namespace):
            # A right that is given later is told by nobody.
            wait = random.uniform(*self._period)  # noqa: S311 - jitter
            self._later[ref] = asyncio.get_running_loop().call_later(wait, self._retry, ref)
        self._store.remove_data(ref)

    def _retry(self, ref: ObjectRef) -> None:
        if ref in self._why:
            self._read(ref)

    def _explain(self, ref: ObjectRef, why: str) -> None:
        """Why it may not be read; "": it may, or nobody wants to know."""
        handle = self._later.pop(ref, None)
        if handle is not None:
            handle.cancel()
        if self._why.get(ref, "") == why:
            return
        self._shown = None
        if why:
            self._why[ref] = why
            _log.warning("kube.data_unreadable", ref=str(ref), error=why)
        else:
            del self._why[ref]
        self._on_unreadable()
