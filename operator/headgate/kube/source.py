"""Kubernetes as a source of the Store: listed every few minutes, watched in between.

What comes in: pages of listings, hints from kopf's thread (handed over to the loop), metadata of Secrets and ConfigMaps.
`index` decides what is news, the Store gets that alone. Everything here runs on one event loop; nothing is ever written.
Called by the composition root: `run` as a task, `synced` and `read_ahead` before the first compile, `complete` between compile
and publication.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass

import structlog

from headgate.compile.status import Status
from headgate.compile.world import referred
from headgate.kube.access import Access
from headgate.kube.client import Api, ApiProblem, Document, Refused
from headgate.kube.data import DataSource
from headgate.kube.hints import Hints
from headgate.kube.index import Index, Listing
from headgate.kube.pace import Pace
from headgate.kube.reading import Seen, labels, ref_of, seen, status, version_of
from headgate.kube.resources import NAMESPACES, OURS, Resource
from headgate.kube.scope import Scope
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan
from headgate.store import Good, Store

_log = structlog.stdlib.get_logger("headgate.kube")
_NOT_FOUND, _GONE = 404, 410
#: Objects that are read before others get the event loop: 5 ms or so.
_BATCH = 25


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds: from one listing of everything to the next, at least and at most, and for how long a Plan may wait for
    Secrets that nobody has looked at yet."""

    relist: tuple[float, float] = (60.0, 300.0)
    secrets: float = 5.0


@dataclass(slots=True)
class Counts:
    """Since the start."""

    listings: int = 0
    listing_failures: int = 0
    hints: int = 0
    news: int = 0


class KubeSource:
    """Feeds `store`. `on_said` is called with each object whose status was found other than it was known. `recall` gives what
    was good before this start, when everything has been listed; an ApiProblem of it has everything listed once more.
    `on_unreadable`: `data.unreadable` is another one."""

    def __init__(
        self,
        api: Api,
        access: Access,
        store: Store,
        scope: Scope | None = None,
        times: Times | None = None,
        on_said: Callable[[ObjectRef], None] = lambda _: None,
        recall: Callable[[Callable[[ObjectRef], Seen | None]], Awaitable[Iterable[Good]]] | None = None,
        on_unreadable: Callable[[], None] = lambda: None,
    ) -> None:
        self._recall = recall
        self._api, self._store, self._scope = api, store, scope or Scope()
        self._times, self._on_said = times or Times(), on_said
        self._objects: dict[str, Index[Seen]] = {kind: Index() for kind in OURS}
        self._namespaces: Index[Mapping[str, str]] = Index()
        self._hints = Hints(access, self._scope, self._hint, self.relist)
        #: A kind is not there: somebody has taken the CRD away.
        self._missing = False
        self._statuses: dict[ObjectRef, Status] | None = {}
        self._listed = asyncio.Event()
        self._now = asyncio.Event()
        self._complete = False
        #: Another number whenever an object of ours has come, gone, or may be another one of the same name.
        self.turnover = 0
        self.data = DataSource(api, store, self._scope, self._times.relist, on_unreadable)
        self.counts = Counts()

    async def run(self, ready: asyncio.Event | None = None) -> None:
        """Until cancelled. An API server that does not answer is waited for. `ready`: when to begin with hints. What has
        changed before is hinted at then, and kopf's own listing of ten thousand objects keeps nothing from the proxies."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.data.run())
            group.create_task(self._relist())
            # Listed first, so that what kopf lists in its turn is known already and need not be read again.
            await self._listed.wait()
            if ready is not None:
                await ready.wait()
            group.create_task(self._hints.run())

    async def synced(self) -> None:
        """Wait until everything has been listed once."""
        await self._listed.wait()
        await self.data.synced()

    async def read_ahead(self) -> None:
        """Read what is referred to before the first compile: it would have to be made again with what it asks for. To be
        called when synced; waits as the first `complete` does."""
        self.data.want(referred(self._store.snapshot()))
        await self.data.settled()

    def relist(self) -> None:
        """List everything now."""
        self._now.set()

    def previous(self) -> Mapping[ObjectRef, Status]:
        """The statuses that the first listing found, so that the times in them go on. To be asked once, when synced."""
        found, self._statuses = self._statuses, None
        return found or {}

    def seen(self, ref: ObjectRef) -> Seen | None:
        """An object of ours as the API server had it last."""
        return self._objects[ref.kind].get(ref)

    async def complete(self, plan: Plan) -> bool:
        """Read what a Plan refers to and nobody has looked at; whether the Store has more now, and the Plan is to be made
        anew. The first Plan waits for as long as it takes: it must not take away from the proxies what they have."""
        before = self._store.sequence
        if not self.data.want(plan.references):
            try:
                async with asyncio.timeout(self._times.secrets if self._complete else None):
                    await self.data.settled()
            except TimeoutError:
                _log.warning("kube.plan_without_data", waited=self._times.secrets)
        self._complete = True
        return self._store.sequence != before and self._store.dirty

    # Hints

    def _hint(self, kind: str, gone: bool, document: Document) -> None:
        self.counts.hints += 1
        ref, version = ref_of(kind, document), version_of(document)
        if kind == NAMESPACES.kind:
            self._hint_namespace(ref, version, gone, document)
            return
        index = self._objects[kind]
        if gone:
            if index.remove(ref, version):
                self.counts.news += 1
                self.turnover += 1
                self._store.remove(ref)
        elif index.is_news(ref, version):
            before = index.get(ref)
            found = seen(ref, document, before)
            index.put(ref, version, found)
            self.counts.news += 1
            self.turnover += before is None or before.uid != found.uid
            _log.debug("kube.heard", ref=ref, version=version)
            self._store.put(found.put)
            self._tell(ref, before, found)

    def _hint_namespace(self, ref: ObjectRef, version: str, gone: bool, document: Document) -> None:
        if gone:
            if self._namespaces.remove(ref, version):
                self._store.remove_namespace(ref.name)
        elif self._namespaces.put(ref, version, labels(document)):
            self._store.put_namespace(ref.name, labels(document))

    def _tell(self, ref: ObjectRef, before: Seen | None, found: Seen) -> None:
        if before is not None and before.said != found.said:
            self._on_said(ref)

    # Listings

    async def _relist(self) -> None:
        pace = Pace()
        while True:
            self._now.clear()
            try:
                await self._list_everything()
            except ApiProblem as problem:
                self.counts.listing_failures += 1
                self._missing = self._missing or (isinstance(problem, Refused) and problem.status == _NOT_FOUND)
                wait = pace.wait(problem)
                _log.warning("kube.not_listed", error=str(problem), again_in=round(wait, 1))
            else:
                pace.reset()
                self.counts.listings += 1
                self._listed.set()
                if self._missing:
                    self._missing = False
                    self._hints.again()
                wait = random.uniform(*self._times.relist)  # noqa: S311 - jitter
            try:
                async with asyncio.timeout(wait):
                    await self._now.wait()
            except TimeoutError:
                continue

    async def _list_everything(self) -> None:
        await self._list_namespaces()
        for kind, resource in OURS.items():
            for namespace in self._scope.listed:
                await self._list(kind, resource, namespace)
        if not self._listed.is_set():
            # Nothing is in the Store yet, and no hint has come: last good versions go first.
            if self._recall is not None:
                self._store.restore(await self._recall(self.seen))
            for kind in OURS:
                self._fill(kind)
        self._statuses = None if self._listed.is_set() else self._statuses

    async def _list(self, kind: str, resource: Resource, namespace: str | None) -> None:
        index = self._objects[kind]
        listing = index.begin()
        version = ""
        told = []
        async for page in self._api.pages(resource, namespace):
            version = page.version
            for number, document in enumerate(page.items, 1):
                ref = self._read(index, listing, kind, document)
                if ref is not None:
                    told.append(ref)
                if number % _BATCH == 0:
                    await asyncio.sleep(0)
        self.turnover += index.finish(listing, version, namespace)
        if self._listed.is_set():
            self._fill(kind)
        for ref in told:
            self._on_said(ref)

    def _fill(self, kind: str) -> None:
        """What the index has now is what counts: hints that were newer than the listing are in it."""
        puts = (each.put for _, each in self._objects[kind])
        self._store.replace(kind, puts, as_of=self._store.sequence)

    def _read(self, index: Index[Seen], listing: Listing[Seen], kind: str, document: Document) -> ObjectRef | None:
        """One object of a listing; its reference if its status is other than was known."""
        ref, version = ref_of(kind, document), version_of(document)
        known = index.at(ref, version)
        found = known or seen(ref, document, index.get(ref))
        listing.found[ref] = (version, found)
        if known is not None:
            return None
        if self._statuses is not None and not self._listed.is_set():
            written = status(ref, document)
            if written is not None:
                self._statuses[ref] = written
        before = index.get(ref)
        return ref if before is not None and before.said != found.said else None

    async def _list_namespaces(self) -> None:
        listing = self._namespaces.begin()
        version = ""
        if self._scope.namespaces is None:
            async for page in self._api.pages(NAMESPACES):
                version = page.version
                for document in page.items:
                    listing.found[ref_of(NAMESPACES.kind, document)] = (version_of(document), labels(document))
            self._namespaces.finish(listing, version)
        else:
            # A Role in a namespace lets one read that namespace, and not list all.
            for name in self._scope.namespaces:
                await self._read_namespace(name)
        found = {ref.name: each for ref, each in self._namespaces}
        self._store.replace_namespaces(found, as_of=self._store.sequence)

    async def _read_namespace(self, name: str) -> None:
        ref = ObjectRef(NAMESPACES.kind, "", name)
        try:
            document = await self._api.get(NAMESPACES, None, name)
        except Refused as problem:
            if problem.temporary:
                raise
            if problem.status == _NOT_FOUND:
                self._namespaces.remove(ref, "")
            else:
                _log.warning("kube.namespace_not_read", namespace=name, error=str(problem))
                self._namespaces.put(ref, "unread", {"kubernetes.io/metadata.name": name})
        else:
            self._namespaces.put(ref, version_of(document), labels(document))
