"""The authority behind the proxies' certificates, kept in a Secret: all replicas issue from one root.

Whichever replica is first makes it; each reads it again every minute (`follow`). Only the one that leads changes it (`run`):
it rotates the root long before that runs out (`control.rotation`). Where somebody else's CA is named (a Secret of type
kubernetes.io/tls, as cert-manager keeps one for a Certificate with isCA), that one's certificate and key are taken over as
next root whenever they are new; the Secret itself is only ever read.

One event loop. `authority` may be used once `load` has returned. Keys go nowhere but into the Secret.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from headgate.api.base import GROUP
from headgate.control.rotation import SPREAD, Roots, Step, due
from headgate.infra.settings import Identity
from headgate.kube.authority import Kept, SecretFiles
from headgate.kube.client import Api, ApiProblem, Refused
from headgate.kube.elector import Leadership, NotLeading
from headgate.kube.pace import Pace
from headgate.model.secret import SecretValue
from headgate.xds.identity import contents
from headgate.xds.pki import SIGNER, CertificateAuthority, Clock, utc_now
from headgate.xds.storage import Memory

_log = structlog.stdlib.get_logger("headgate.operator")
_CONFLICT = 409
NAME = "headgate-ca"
#: When the rotation that is under way came to its steps, RFC 3339.
BEGUN, COMPLETED = f"{GROUP}/rotation-begun", f"{GROUP}/rotation-completed"


class AuthorityProblem(ValueError):
    """There is no authority to be had; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where the authority is kept, and where its roots come from: `given` names somebody else's Secret, "" for none.

    `poll`: seconds between two looks. `spread`: how long a root is known before it signs.
    """

    namespace: str
    given: str = ""
    leaf_lifetime: timedelta = timedelta(hours=24)
    root_lifetime: timedelta = timedelta(days=3650)
    poll: float = 60.0
    spread: timedelta = SPREAD


class SharedAuthority:
    """`on_change` is called when the roots, or the one that signs, are others than before."""

    def __init__(
        self, api: Api, keeping: Keeping, on_change: Callable[[], None] = lambda: None, clock: Clock = utc_now
    ) -> None:
        self._keeping, self._on_change, self._clock = keeping, on_change, clock
        self._secret = SecretFiles(api, keeping.namespace, NAME)
        self._source = SecretFiles(api, keeping.namespace, keeping.given) if keeping.given else None
        self._storage = Memory()
        self._kept: Kept | None = None
        #: From reading until that is taken in: or what was read before a write would be taken in after it.
        self._turn = asyncio.Lock()
        self._authority: CertificateAuthority | None = None

    @property
    def authority(self) -> CertificateAuthority:
        """It stays the same object for as long as this lives."""
        if self._authority is None:
            raise AuthorityProblem("the authority has not been loaded")
        return self._authority

    def roots(self) -> str:
        """Which roots are trusted, and which of them signs, as a short text."""
        return hashlib.sha256(self.authority.roots_pem).hexdigest()[:16]

    def identity(self, gateway: str) -> Identity:
        """A new one for a gateway (`namespace/name`)."""
        credential = self.authority.client(gateway)
        files = contents(credential, self.authority.roots_pem)
        return Identity({name: SecretValue(each) for name, each in files.items()}, credential.renew_at, self.roots())

    async def load(self) -> CertificateAuthority:
        """Read it, or make it where there is none. Waits for an API server that does not answer, and for a CA that is named
        and not there yet; raises AuthorityProblem for what will not mend itself."""
        pace = Pace()
        while True:
            try:
                kept = await self._secret.read()
                if kept is None or SIGNER not in kept.files:
                    await self._make(kept)
                elif await self._opens(kept):
                    return self.authority
            except ApiProblem as problem:
                if not problem.temporary and not _beaten(problem):
                    raise AuthorityProblem(f"{self._secret}: {problem}") from problem
                _log.warning("authority.not_read", error=str(problem))
                await asyncio.sleep(pace.wait(problem))

    async def _opens(self, kept: Kept) -> bool:
        """Go by what was read; False for an authority that has run out while no operator was there to see to it, which is made
        anew: nobody is trusted by it any more."""
        self._storage.files = kept.files
        try:
            authority = self._opened(self._storage)
        except ValueError as error:
            message = f"{self._secret} is damaged ({error}): delete it, and another one is made"
            raise AuthorityProblem(message) from error
        if authority.expires <= self._clock():
            _log.warning("authority.run_out", secret=str(self._secret), ended=authority.expires.isoformat())
            await self._make(kept)
            return False
        self._authority, self._kept = authority, kept
        return True

    async def follow(self) -> None:
        """Take in what another replica changed, until cancelled."""
        while True:
            await asyncio.sleep(self._keeping.poll)
            try:
                async with self._turn:
                    kept = await self._secret.read()
                    if kept is not None:
                        self._adopt(kept)
            except ApiProblem as problem:
                _log.warning("authority.not_read", error=str(problem))

    async def run(self, leadership: Leadership) -> None:
        """Rotate it, and put it back where it was deleted, while this replica leads."""
        while True:
            try:
                async with self._turn:
                    await self._tend(leadership)
            except NotLeading:
                pass
            except ApiProblem as problem:
                _log.warning("authority.not_written", error=str(problem))
            await asyncio.sleep(self._keeping.poll)

    async def _tend(self, leadership: Leadership) -> None:
        kept = await self._secret.read()
        if kept is None:
            async with leadership.write():
                notes = self._kept.notes if self._kept else {}
                self._kept = await self._secret.write(None, self._storage.files, notes)
            _log.warning("authority.put_back", secret=str(self._secret))
            return
        if not self._adopt(kept):
            return
        given = await self._given()
        step = due(self._roots(given, kept.notes), self._clock(), self._keeping.spread)
        if step is None:
            return
        try:
            files, notes = self._stepped(step, given, kept)
        except ValueError as error:
            _log.error("authority.not_rotated", step=step.name.lower(), error=str(error))
            return
        async with leadership.write():
            stored = await self._secret.write(kept, files, notes)
        _log.info("authority.rotated", step=step.name.lower())
        self._adopt(stored)

    def _roots(self, given: bytes | None, notes: Mapping[str, str]) -> Roots:
        authority = self.authority
        return Roots(
            begins=authority.began,
            ends=authority.expires,
            leaf_lifetime=authority.leaf_lifetime,
            rotating=authority.rotating,
            retiring=authority.retiring,
            given=self._source is not None,
            other=given is not None and not authority.knows(given),
            begun=_time(notes.get(BEGUN)),
            completed=_time(notes.get(COMPLETED)),
        )

    def _stepped(self, step: Step, given: bytes | None, kept: Kept) -> tuple[Mapping[str, bytes], Mapping[str, str]]:
        """Files and notes after a step. Raises ValueError for a given CA that can't sign."""
        storage = Memory(kept.files)
        authority = self._opened(storage)
        notes = dict(kept.notes)
        now = self._clock().isoformat(timespec="seconds")
        match step:
            case Step.BEGIN:
                authority.begin_rotation(given)
                notes[BEGUN] = now
            case Step.COMPLETE:
                authority.complete_rotation()
                notes[COMPLETED] = now
                notes.pop(BEGUN, None)
            case Step.RETIRE:
                authority.retire()
                notes.pop(COMPLETED, None)
        return storage.files, notes

    async def _make(self, empty: Kept | None) -> None:
        """Fill the Secret, or create it. Who comes second is refused, and reads what the first one made."""
        files: Mapping[str, bytes] = {}
        if self._source is not None:
            given = await self._given()
            if given is None:
                _log.warning("authority.waiting", secret=str(self._source))
                await asyncio.sleep(min(self._keeping.poll, 5.0))
                return
            files = {SIGNER: given}
        storage = Memory(files)
        try:
            made = self._opened(storage)
        except ValueError as error:
            raise AuthorityProblem(f"{self._source}: {error}") from error
        if made.expires <= self._clock():
            _log.warning("authority.waiting", secret=str(self._source), ran_out=made.expires.isoformat())
            await asyncio.sleep(min(self._keeping.poll, 5.0))
            return
        await self._secret.write(empty, storage.files, empty.notes if empty else {})
        _log.info("authority.made", secret=str(self._secret))

    def _adopt(self, kept: Kept) -> bool:
        """Go by what was read; false for what is damaged, which changes nothing."""
        before = self._storage.files
        if self._kept is not None and kept.version == self._kept.version:
            return True
        self._storage.files = kept.files
        try:
            if SIGNER not in kept.files:
                raise ValueError("there is no root in it")
            self.authority.reload()
        except ValueError as error:
            self._storage.files = before
            self.authority.reload()
            _log.error("authority.damaged", secret=str(self._secret), error=str(error))
            return False
        self._kept = kept
        if kept.files != before:
            self._on_change()
        return True

    def _opened(self, storage: Memory) -> CertificateAuthority:
        keeping = self._keeping
        return CertificateAuthority(
            storage, root_lifetime=keeping.root_lifetime, leaf_lifetime=keeping.leaf_lifetime, clock=self._clock
        )

    async def _given(self) -> bytes | None:
        """The CA that is named, certificate and key; None where none is, or there is not yet."""
        if self._source is None:
            return None
        try:
            kept = await self._source.read()
        except ApiProblem as problem:
            _log.warning("authority.given_not_read", secret=str(self._source), error=str(problem))
            return None
        files = kept.files if kept is not None else {}
        if not files.get("tls.crt") or not files.get("tls.key"):
            return None
        return files["tls.crt"].rstrip() + b"\n" + files["tls.key"]


def _beaten(problem: ApiProblem) -> bool:
    """Whether another replica was quicker."""
    return isinstance(problem, Refused) and problem.status == _CONFLICT


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
