"""The Secrets by which the gateways' proxies prove who they are: issued by the leader, renewed in time, put back.

One per gateway. Whether another certificate is due is told by the Secret's metadata alone (`infra.identity.identity_due`, and
who wrote its fields), so a new leader issues nothing that is still good, and content is never read. Nothing is ever removed
here: a Secret goes with its gateway.

`want` and `refresh` may be called on every replica, `run` only while leading. One event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from headgate.infra.identity import RENEW_AT, identity_due, identity_secret
from headgate.infra.manifest import Owner, child_name
from headgate.infra.settings import Identity
from headgate.kube.children import LABEL, VALUE, There, applied, there
from headgate.kube.client import Api, ApiProblem, Document, Refused
from headgate.kube.counts import WriteCounts
from headgate.kube.elector import ONCE_MORE, Leadership, NotLeading
from headgate.kube.metadata import MetadataWatch
from headgate.kube.objects import ABOUT_TO_GO, HOPELESS, PERIOD, Outcome, Result, is_another, left_behind, taken
from headgate.kube.pace import Pace
from headgate.kube.resources import SECRETS
from headgate.kube.scope import Scope
from headgate.kube.work import Work
from headgate.model.refs import ObjectRef

_log = structlog.stdlib.get_logger("headgate.kube")
_NOT_FOUND = 404
#: Seconds: what is good is looked at again at least so often, by the wall clock.
LONGEST = 600.0
#: Seconds: what was issued is not replaced sooner, unless it is gone. The watch may be late, or somebody may write each one.
QUIET = 5.0
WRITERS = 2


@dataclass(frozen=True, slots=True)
class Issuer:
    """`issue` makes an identity for a gateway (`namespace/name`); `roots` tells which roots it would go with."""

    issue: Callable[[str], Identity]
    roots: Callable[[], str]


@dataclass(frozen=True, slots=True)
class _Held:
    """A Secret as its metadata tells. `whole`: all of its content is as Headgate wrote it."""

    there: There
    notes: tuple[tuple[str, str], ...]
    whole: bool


class IdentityWriter:
    """`on_outcome` is called with a Secret whose outcome is another one; there are none but while leading."""

    def __init__(
        self,
        api: Api,
        issuer: Issuer,
        scope: Scope | None = None,
        on_outcome: Callable[[ObjectRef], None] = lambda _: None,
        period: tuple[float, float] = PERIOD,
    ) -> None:
        self._api, self._issuer, self._scope = api, issuer, scope or Scope()
        self._on_outcome, self._period = on_outcome, period
        #: By the Secret that it is to have: a gateway and its uid.
        self._wanted: Mapping[ObjectRef, Owner] = {}
        self._watches: list[MetadataWatch[_Held]] = []
        self._paces: dict[ObjectRef, Pace] = {}
        self._issued: dict[ObjectRef, float] = {}
        self._work: Work[ObjectRef] = Work()
        self.outcomes: dict[ObjectRef, Outcome] = {}
        self.counts = WriteCounts()

    def want(self, gateways: Mapping[ObjectRef, str]) -> None:
        """These gateways, with their uids, are to have one each."""
        before = self._wanted
        self._wanted = {secret_of(gateway): Owner(gateway, uid) for gateway, uid in gateways.items()}
        for secret, owner in self._wanted.items():
            if before.get(secret) != owner:
                self._work.add(secret)
        for secret in before.keys() - self._wanted.keys():
            self.outcomes.pop(secret, None)
            self._paces.pop(secret, None)
            self._issued.pop(secret, None)

    def gateway_of(self, secret: ObjectRef) -> ObjectRef | None:
        """Whose it is to be."""
        owner = self._wanted.get(secret)
        return None if owner is None else owner.ref

    def refresh(self) -> None:
        """The roots are others."""
        for secret in self._wanted:
            self._work.add(secret)

    async def idle(self) -> None:
        """Wait until all that could be done is."""
        await self._work.idle()

    async def run(self, leadership: Leadership) -> None:
        """While this replica leads."""

        async def bring(secret: ObjectRef) -> float | None:
            return await self._bring(secret, leadership)

        self._watches = [
            MetadataWatch(self._api, SECRETS, each, _held, self._changed, self._period, f"{LABEL}={VALUE}")
            # Where Secrets may not be read no gateway can be.
            for each in self._scope.listed_data
        ]
        try:
            async with asyncio.TaskGroup() as group:
                for watch in self._watches:
                    group.create_task(watch.run())
                for watch in self._watches:
                    await watch.synced.wait()
                await self._work.run(bring, WRITERS, first=self._wanted)
        finally:
            self._forget()

    def _forget(self) -> None:
        """From now on another replica knows what comes of what is wanted."""
        known = list(self.outcomes)
        self.outcomes.clear()
        for secret in known:
            self._on_outcome(secret)

    def _changed(self, secret: ObjectRef, _: _Held | None) -> None:
        if secret in self._wanted:
            self._work.add(secret)

    async def _bring(self, secret: ObjectRef, leadership: Leadership) -> float | None:
        owner = self._wanted.get(secret)
        if owner is None:
            return None
        try:
            held = next((found for each in self._watches if (found := each.get(secret)) is not None), None)
            held = held or await self._look(secret)
            if held is not None and left_behind(held.there, owner.ref, owner.uid):
                return ABOUT_TO_GO
            if held is not None and (trouble := taken(secret, held.there, owner.uid)):
                self._tell(secret, Outcome(Result.TAKEN, trouble))
                return HOPELESS
            if held is not None and held.whole and not self._due(held):
                self._tell(secret, Outcome(Result.APPLIED))
                return _wait(held)
            now = asyncio.get_running_loop().time()
            if held is not None and (wait := self._issued.get(secret, -QUIET) + QUIET - now) > 0:
                return wait
            await self._issue(owner, held, leadership)
            self._issued[secret] = now
        except NotLeading:
            return ONCE_MORE
        except ApiProblem as problem:
            self.counts.failures += 1
            _log.warning("kube.identity_not_written", ref=str(secret), error=str(problem))
            if problem.temporary:
                return self._paces.setdefault(secret, Pace()).wait(problem)
            if isinstance(problem, Refused) and is_another(problem):
                return 0.5
            self._tell(
                secret, Outcome(Result.REFUSED, problem.message if isinstance(problem, Refused) else str(problem))
            )
            return HOPELESS
        self._paces.pop(secret, None)
        self._tell(secret, Outcome(Result.APPLIED))
        return LONGEST

    def _due(self, held: _Held) -> bool:
        return identity_due(dict(held.notes), self._issuer.roots(), datetime.now(UTC))

    async def _issue(self, owner: Owner, held: _Held | None, leadership: Leadership) -> None:
        document = identity_secret(owner, self._issuer.issue(owner.ref.key)).document()
        if held is not None:
            document["metadata"]["uid"] = held.there.uid
        async with leadership.write():
            await self._api.apply(SECRETS, document)
        self.counts.writes += 1
        _log.info("kube.identity_issued", gateway=owner.ref.key)

    async def _look(self, secret: ObjectRef) -> _Held | None:
        """What the watches don't show: a Secret without our label."""
        try:
            return _held(await self._api.get(SECRETS, secret.namespace, secret.name))
        except Refused as problem:
            if problem.status == _NOT_FOUND:
                return None
            raise

    def _tell(self, secret: ObjectRef, outcome: Outcome) -> None:
        if secret in self._wanted and self.outcomes.get(secret) != outcome:
            self.outcomes[secret] = outcome
            self._on_outcome(secret)


def secret_of(gateway: ObjectRef) -> ObjectRef:
    """The Secret of a gateway's identity."""
    return ObjectRef("Secret", gateway.namespace, child_name(gateway.name))


def _held(document: Document) -> _Held:
    meta = document["metadata"]
    notes = tuple(sorted((meta.get("annotations") or {}).items()))
    return _Held(there(document), tuple(each for each in notes if each[0].startswith("headgate.dev/")), _whole(meta))


def _whole(meta: Document) -> bool:
    """Whether nobody else wrote any of the content, nor took any of it away: then Headgate no longer owns that field."""
    ours: set[str] = {key for each in applied(meta) for key in each.get("f:data", {}) if key.startswith("f:")}
    every = [(each.get("fieldsV1") or {}).get("f:data", {}) for each in meta.get("managedFields") or ()]
    others = sum(1 for each in every if each)
    return len(ours) > 1 and others == 1


def _wait(held: _Held) -> float:
    """Seconds until another one is due, or until it is to be looked at."""
    renew_at = datetime.fromisoformat(dict(held.notes)[RENEW_AT])
    return min(max((renew_at - datetime.now(UTC)).total_seconds(), 1.0), LONGEST)
