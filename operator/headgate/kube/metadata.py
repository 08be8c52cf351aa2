"""Which Secrets (or ConfigMaps) there are, and in which version, without ever being sent their content.

Lists metadata alone (`PartialObjectMetadata`), watches from there, and lists again after each watch, which ends after a few
minutes: what a watch missed is seen then. Of the metadata only names and versions are kept: an annotation may hold what
`kubectl apply` was given. One task per namespace or for all; `changed` is called on its event loop.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from headgate.kube.client import Api, ApiProblem, Refused, Unreachable
from headgate.kube.pace import Pace
from headgate.kube.reading import ref_of, version_of
from headgate.kube.resources import Resource
from headgate.model.refs import ObjectRef

_log = structlog.stdlib.get_logger("headgate.kube")
_GONE = 410
#: Seconds of silence after which a watch is taken for dead.
SILENCE = 90.0


class _Expired(Exception):
    """The watch can't go on from where it was."""


class MetadataWatch:
    """`changed(ref, version)` for each object that is there in another version than was known; no version: it is gone."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        namespace: str | None,
        changed: Callable[[ObjectRef, str | None], None],
        period: tuple[float, float],
        silence: float = SILENCE,
    ) -> None:
        self._api, self._resource, self._namespace = api, resource, namespace
        self._changed, self._period, self._silence = changed, period, silence
        self._versions: dict[ObjectRef, str] = {}
        #: It is known what there is.
        self.synced = asyncio.Event()

    def get(self, ref: ObjectRef) -> str | None:
        """The version in which an object is there."""
        return self._versions.get(ref)

    def __len__(self) -> int:
        return len(self._versions)

    async def run(self) -> None:
        """Until cancelled."""
        pace = Pace()
        while True:
            try:
                version = await self._list()
                self.synced.set()
                pace.reset()
                await self._watch(version)
            except _Expired:
                continue
            except ApiProblem as problem:
                _log.warning("kube.metadata", resource=str(self._resource), error=str(problem))
                await asyncio.sleep(pace.wait(problem))

    async def _list(self) -> str:
        found: dict[ObjectRef, str] = {}
        version = ""
        async for page in self._api.pages(self._resource, self._namespace, metadata=True):
            found.update((ref_of(self._resource.kind, each), version_of(each)) for each in page.items)
            version = page.version
        before, self._versions = self._versions, found
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
                    self._resource, self._namespace, version, seconds=seconds, quiet=self._silence, metadata=True
                ):
                    version = self._take(kind, document, version)
                    pace.reset()
            except Unreachable as problem:
                await asyncio.sleep(min(pace.wait(problem), max(left, 0)))
            except Refused as problem:
                if problem.status == _GONE:
                    raise _Expired from problem
                raise

    def _take(self, kind: str, document: dict[str, object], version: str) -> str:
        if kind == "ERROR":
            if document.get("code") == _GONE:
                raise _Expired
            raise Unreachable(f"the watch of {self._resource} said {document.get('message')}")
        if kind == "BOOKMARK":
            return version_of(document) or version
        ref, found = ref_of(self._resource.kind, document), version_of(document)
        if kind == "DELETED":
            self._versions.pop(ref, None)
            self._changed(ref, None)
        else:
            self._versions[ref] = found
            self._changed(ref, found)
        return found
