"""Which objects of one resource there are, by their metadata: of Secrets, content is never sent.

Lists metadata alone (`PartialObjectMetadata`), watches from there, and lists again after each watch, which ends after a few
minutes: what a watch missed is seen then. Of the metadata only what `keep` makes of it is kept: an annotation may hold what
`kubectl apply` was given. One task per namespace or for all; `changed` is called on its event loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import structlog

from headgate.kube.client import Api, ApiProblem, Document, Refused, Unreachable
from headgate.kube.pace import Pace
from headgate.kube.reading import ref_of, version_of
from headgate.kube.resources import Resource
from headgate.model.refs import ObjectRef

_log = structlog.stdlib.get_logger("headgate.kube")
_GONE = 410
#: Seconds of silence after which a watch is taken for dead.
SILENCE = 90.0


V = TypeVar("V")


class _Expired(Exception):
    """The watch can't go on from where it was."""


class MetadataWatch(Generic[V]):
    """`changed(ref, kept)` for each object of which something else is kept now than was; None: it is gone. Without `metadata`,
    whole objects come, for those whose content is wanted and small."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        namespace: str | None,
        keep: Callable[[Document], V],
        changed: Callable[[ObjectRef, V | None], None],
        period: tuple[float, float],
        labels: str = "",
        *,
        metadata: bool = True,
    ) -> None:
        self._api, self._resource, self._namespace, self._labels = api, resource, namespace, labels
        self._metadata = metadata
        self._keep, self._changed, self._period = keep, changed, period
        self._kept: dict[ObjectRef, V] = {}
        #: It is known what there is, or that it is not to be known.
        self.synced = asyncio.Event()
        #: It is known what there is.
        self.listed = asyncio.Event()

    def all(self) -> dict[ObjectRef, V]:
        """What is there."""
        return dict(self._kept)

    def refs(self) -> Iterable[ObjectRef]:
        """The objects that there are."""
        return self._kept.keys()

    def get(self, ref: ObjectRef) -> V | None:
        """What is kept of an object; None if there is none."""
        return self._kept.get(ref)

    async def run(self) -> None:
        """Until cancelled."""
        pace = Pace()
        while True:
            try:
                version = await self._list()
                self.synced.set()
                self.listed.set()
                pace.reset()
                await self._watch(version)
            except _Expired:
                continue
            except ApiProblem as problem:
                if not problem.temporary:
                    self.synced.set()
                _log.warning("kube.metadata", resource=str(self._resource), error=str(problem))
                await asyncio.sleep(pace.wait(problem))

    async def _list(self) -> str:
        found: dict[ObjectRef, V] = {}
        version = ""
        async for page in self._api.pages(
            self._resource, self._namespace, metadata=self._metadata, labels=self._labels
        ):
            found.update((ref_of(self._resource.kind, each), self._keep(each)) for each in page.items)
            version = page.version
        before, self._kept = self._kept, found
        for ref in before.keys() - found.keys():
            self._changed(ref, None)
        for ref, each in found.items():
            if before.get(ref) != each:
                self._changed(ref, each)
        return version

    async def _watch(self, version: str) -> None:
        """Until the time is up; what breaks off before that goes on from where it was."""
        loop = asyncio.get_running_loop()
        until = loop.time() + random.uniform(*self._period)  # noqa: S311 - jitter
        pace = Pace()
        while (left := until - loop.time()) > 0:
            try:
                seconds = max(1, int(left))
                async for kind, document in self._api.watch(
                    self._resource,
                    self._namespace,
                    version,
                    seconds=seconds,
                    # It ends by then; one that has not has died.
                    quiet=min(SILENCE, seconds + 2.0),
                    metadata=self._metadata,
                    labels=self._labels,
                ):
                    version = self._take(kind, document, version)
                    pace.reset()
            except Unreachable as problem:
                await asyncio.sleep(min(pace.wait(problem), max(left, 0)))
            except Refused as problem:
                if problem.status == _GONE:
                    raise _Expired from problem
                raise

    def _take(self, kind: str, document: Document, version: str) -> str:
        """Take in one event; the version to go on from."""
        if kind == "ERROR":
            if document.get("code") == _GONE:
                raise _Expired
            raise Unreachable(f"the watch of {self._resource} said {document.get('message')}")
        if kind == "BOOKMARK":
            return version_of(document) or version
        ref = ref_of(self._resource.kind, document)
        if kind == "DELETED":
            if self._kept.pop(ref, None) is not None:
                self._changed(ref, None)
        else:
            kept = self._keep(document)
            if self._kept.get(ref) != kept:
                self._kept[ref] = kept
                self._changed(ref, kept)
        return version_of(document)
