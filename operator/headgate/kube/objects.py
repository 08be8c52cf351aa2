"""Objects that Headgate makes (Deployments, Services, ...): applied while they are wanted, removed when they are not, put
right when somebody changes or deletes them.

Wanted are whole manifests, with their owner in `ownerReferences`; the garbage collector removes them with their owner, so an
operator that is gone leaves nothing hanging. Each gets a label by which ours are watched (metadata alone). An object of a
wanted name that Headgate did not make, or that another owner has, is left as it is, and that is told by `outcomes`.

What is not wanted is removed only where it is known what its owner wants (`settled`): of an owner of which nothing can be
said now, because its declaration is broken or has not been read, everything stays as it is.

`want` may be called on every replica; `run` only while leading. One event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import structlog

from headgate.infra.manifest import Manifest
from headgate.kube.children import LABEL, VALUE, There, digest, there
from headgate.kube.client import Api, ApiProblem, Document, Refused
from headgate.kube.counts import WriteCounts
from headgate.kube.elector import ONCE_MORE, Leadership, NotLeading
from headgate.kube.metadata import MetadataWatch
from headgate.kube.pace import Pace
from headgate.kube.reading import ref_of
from headgate.kube.replicas import hand_over, hold, left_open, scaled_to_none, with_replicas
from headgate.kube.resources import CHILDREN
from headgate.kube.scope import Scope
from headgate.kube.work import Work
from headgate.model.refs import ObjectRef

_log = structlog.stdlib.get_logger("headgate.kube")
_NOT_FOUND, _CONFLICT, _INVALID = 404, 409, 422
#: Seconds until what the API server does not take, or somebody else has the name of, is tried again.
HOPELESS = 30.0
#: Seconds until it is looked whether the garbage collector was there; the watch tells sooner.
ABOUT_TO_GO = 2.0
#: Writes at the same time.
WRITERS = 8
PERIOD = (60.0, 300.0)


class Result(StrEnum):
    APPLIED = "Applied"
    #: An object of that name is there, and is not Headgate's.
    TAKEN = "Taken"
    #: The API server does not want it (a quota, an admission policy, a namespace that is being deleted, a missing right).
    REFUSED = "Refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a wanted object; `message` says why it is not there."""

    result: Result
    message: str = ""


_APPLIED = Outcome(Result.APPLIED)


@dataclass(frozen=True, slots=True)
class _Applied:
    manifest: str
    uid: str
    mark: str


class ObjectWriter:
    """`on_outcome` is called whenever the outcome of a wanted object is another one; there are none but while leading.
    `on_revived`: a Deployment that was scaled to none has so many again; with its owner and the owner's uid. `kinds`:
    names in `resources.CHILDREN`."""

    def __init__(
        self,
        api: Api,
        kinds: Iterable[str],
        scope: Scope | None = None,
        on_outcome: Callable[[ObjectRef], None] = lambda _: None,
        period: tuple[float, float] = PERIOD,
        on_revived: Callable[[ObjectRef, str, int], None] = lambda _owner, _uid, _number: None,
    ) -> None:
        self._api, self._kinds, self._scope = api, tuple(kinds), scope or Scope()
        self._on_outcome, self._period, self._on_revived = on_outcome, period, on_revived
        self._wanted: Mapping[ObjectRef, Document | Manifest] | None = None
        self._settled: Mapping[ObjectRef, str] | None = None
        self._there: dict[str, list[MetadataWatch[There]]] = {}
        self._applied: dict[ObjectRef, _Applied] = {}
        self._paces: dict[ObjectRef, Pace] = {}
        self._work: Work[ObjectRef] = Work()
        self._known = asyncio.Event()
        self.outcomes: dict[ObjectRef, Outcome] = {}
        self.counts = WriteCounts()

    def want(
        self, objects: Mapping[ObjectRef, Document | Manifest], settled: Mapping[ObjectRef, str] | None = None
    ) -> None:
        """These, and no others of the owners in `settled` (by uid; None: of all). What is the same object as last time costs a
        comparison by identity. Thousands had better be Manifests: as text they take a fifth of what they take as dicts."""
        before, self._wanted = self._wanted or {}, objects
        known, self._settled = self._settled, settled
        self._known.set()
        for ref, manifest in objects.items():
            if before.get(ref) is not manifest:
                self._work.add(ref)
        for ref in before.keys() - objects.keys():
            self.outcomes.pop(ref, None)
            self._paces.pop(ref, None)
            self._work.add(ref)
        if settled is not known:
            self._look_again(settled or {}, known or {})

    def forget(self, refs: Iterable[ObjectRef]) -> None:
        """These are something else now than what has an outcome: they have none until that is brought about."""
        for ref in refs:
            self.outcomes.pop(ref, None)

    def _look_again(self, settled: Mapping[ObjectRef, str], known: Mapping[ObjectRef, str]) -> None:
        """At what there is of owners of which it has become known what they want."""
        owners = {ref for ref, uid in settled.items() if known.get(ref) != uid}
        for watch in (each for every in self._there.values() for each in every) if owners else ():
            for ref, found in watch.all().items():
                if found.controller is not None and found.controller.ref in owners:
                    self._work.add(ref)

    async def idle(self) -> None:
        """Wait until all that could be done is."""
        await self._work.idle()

    async def run(self, leadership: Leadership) -> None:
        """While this replica leads."""

        async def bring(ref: ObjectRef) -> float | None:
            return await self._bring(ref, leadership)

        try:
            await self._keep(bring)
        finally:
            self._forget()

    def _forget(self) -> None:
        """From now on another replica knows what comes of what is wanted."""
        known = list(self.outcomes)
        self.outcomes.clear()
        for ref in known:
            self._on_outcome(ref)

    async def _keep(self, bring: Callable[[ObjectRef], Awaitable[float | None]]) -> None:
        self._applied.clear()
        self._there = {
            kind: [
                MetadataWatch(
                    self._api,
                    CHILDREN[kind],
                    each,
                    there,
                    lambda ref, _: self._work.add(ref),
                    self._period,
                    f"{LABEL}={VALUE}",
                )
                for each in self._scope.listed
            ]
            for kind in self._kinds
        }
        watches = [watch for every in self._there.values() for watch in every]
        async with asyncio.TaskGroup() as group:
            for watch in watches:
                group.create_task(watch.run())
            for watch in watches:
                await watch.synced.wait()
            # Before anything is wanted, nothing is known to be unwanted.
            await self._known.wait()
            every = [ref for watch in watches for ref in watch.all()]
            await self._work.run(bring, WRITERS, first=[*(self._wanted or {}), *every])

    def _found(self, ref: ObjectRef) -> There | None:
        return next((found for watch in self._there[ref.kind] if (found := watch.get(ref)) is not None), None)

    async def _bring(self, ref: ObjectRef, leadership: Leadership) -> float | None:
        manifest, found = self._manifest(ref), self._found(ref)
        wanted = (self._wanted or {}).get(ref)
        try:
            if manifest is None:
                if found is not None and self._may_go(found):
                    async with leadership.write():
                        await self._remove(ref, found)
                return None
            outcome, again = await self._apply(ref, manifest, found, leadership)
            self._tell(ref, wanted, outcome)
            return again
        except NotLeading:
            return ONCE_MORE
        except ApiProblem as problem:
            self.counts.failures += 1
            _log.warning("kube.object_not_written", ref=str(ref), error=str(problem))
            if problem.temporary:
                return self._paces.setdefault(ref, Pace()).wait(problem)
            if isinstance(problem, Refused) and is_another(problem):
                return 0.5  # it was replaced just now: the watch is about to tell
            words = problem.message if isinstance(problem, Refused) else str(problem)
            self._tell(ref, wanted, Outcome(Result.REFUSED, words))
            return HOPELESS

    def _manifest(self, ref: ObjectRef) -> Document | None:
        wanted = (self._wanted or {}).get(ref)
        return wanted.document() if isinstance(wanted, Manifest) else wanted

    def _may_go(self, found: There) -> bool:
        if self._settled is None or found.controller is None:
            return found.ours and self._settled is None
        # Of an owner that is gone too: the garbage collector sees to that.
        return found.ours and self._settled.get(found.controller.ref) == found.controller.uid

    async def _remove(self, ref: ObjectRef, found: There) -> None:
        self._applied.pop(ref, None)
        try:
            await self._api.delete(CHILDREN[ref.kind], ref.namespace, ref.name, uid=found.uid)
            self.counts.writes += 1
        except Refused as problem:
            if problem.status not in {_NOT_FOUND, _CONFLICT}:
                raise

    async def _apply(
        self, ref: ObjectRef, manifest: Document, found: There | None, leadership: Leadership
    ) -> tuple[Outcome | None, float | None]:
        """What comes of it, if that is known by now, and when to look again."""
        labels = {**manifest["metadata"].get("labels", {}), LABEL: VALUE}
        meta = {**manifest["metadata"], "labels": labels}
        marked = digest([manifest, labels])
        if found is not None and self._applied.get(ref) == _Applied(marked, found.uid, found.mark):
            return _APPLIED, None
        if found is None:
            found = await self._look(ref)
        if found is not None:
            owner, uid = owner_of(manifest)
            if left_behind(found, owner, uid):
                return None, ABOUT_TO_GO
            if trouble := taken(ref, found, uid):
                return Outcome(Result.TAKEN, trouble), HOPELESS
            meta["uid"] = found.uid  # another object of that name is not to be written over
        document = {**manifest, "metadata": meta}
        now = await self._send(ref, document, found, leadership)
        self._applied[ref] = _Applied(marked, now.uid, now.mark)
        self._paces.pop(ref, None)
        return _APPLIED, None

    async def _send(self, ref: ObjectRef, document: Document, found: There | None, leadership: Leadership) -> There:
        if not left_open(document):
            return there(await self._write(ref, document, leadership))
        scaler = self._manifest(ref._replace(kind="HorizontalPodAutoscaler"))
        least = 1 if scaler is None else scaler["spec"].get("minReplicas", 1)
        if found is None:
            found = there(await self._write(ref, with_replicas(document, least), leadership))
        if found.counts:
            await hand_over(self._api, ref, leadership)
        now = await self._write(ref, document, leadership)
        if scaler is not None and scaled_to_none(now):
            now = await hold(self._api, now, least, leadership)
            self.counts.writes += 1
            _log.warning("kube.scaled_from_none", ref=str(ref), replicas=least)
            self._on_revived(*owner_of(document), least)
        return there(now)

    async def _write(self, ref: ObjectRef, document: Document, leadership: Leadership) -> Document:
        async with leadership.write():
            answer = await self._api.apply(CHILDREN[ref.kind], document)
        self.counts.writes += 1
        return answer

    async def _look(self, ref: ObjectRef) -> There | None:
        """What the watches don't show: an object without our label."""
        try:
            return there(await self._api.get(CHILDREN[ref.kind], ref.namespace, ref.name))
        except Refused as problem:
            if problem.status == _NOT_FOUND:
                return None
            raise

    def _tell(self, ref: ObjectRef, tried: Document | Manifest | None, outcome: Outcome | None) -> None:
        """What came of this; what is wanted by now may be another, whose turn comes at once."""
        wanted = (self._wanted or {}).get(ref)
        if outcome is not None and wanted is not None and wanted is tried and self.outcomes.get(ref) != outcome:
            self.outcomes[ref] = outcome
            self._on_outcome(ref)


def taken(ref: ObjectRef, found: There, uid: str) -> str:
    """Why an object must be left to whoever has it; empty if it is the owner's of this uid."""
    if not found.ours:
        return f"there is a {ref.kind} {ref.key} already, which Headgate did not make: rename one of the two"
    if found.controller is not None and found.controller.uid != uid:
        return (
            f"there is a {ref.kind} {ref.key} already, which belongs to {found.controller.ref}: rename one of the two"
        )
    return ""


def left_behind(found: There, owner: ObjectRef, uid: str) -> bool:
    """Whether it is of an owner of this name that was deleted, and made anew: the garbage collector is about to take it away."""
    return found.controller is not None and found.controller.ref == owner and found.controller.uid != uid


def owner_of(manifest: Document) -> tuple[ObjectRef, str]:
    """The one that a manifest is made for, and its uid; nobody where it is for nobody."""
    meta = manifest["metadata"]
    owner: Document = next(iter(meta.get("ownerReferences") or ()), {})
    return ObjectRef(owner.get("kind", ""), meta["namespace"], owner.get("name", "")), owner.get("uid", "")


def is_another(problem: Refused) -> bool:
    """Whether the object of that name has another uid, or another version, than was given."""
    return problem.status == _CONFLICT or (problem.status == _INVALID and "metadata.uid" in problem.message)


def wanted(manifests: Iterable[Document]) -> dict[ObjectRef, Document]:
    """Manifests by what they are of."""
    return {ref_of(each["kind"], each): each for each in manifests}
