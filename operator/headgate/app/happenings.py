"""What happened, for `kubectl describe` and `kubectl get events`: transitions of statuses, told as Events.

Everything between this comment and `Happenings` is pure. What an object's status says is reduced to what people have been
told of it (`Told`); an Event is told where that changes. What is neither here nor there (a change on its way to the proxies, no
proxy connected, a breaker on trial) is no news, and what was told before it stands.

Each replica follows all statuses, so that none tells anew what was so already: at a start, what stands in the cluster counts as
told. Only the one that leads is heard. What the leader before had no time to tell is told by the next one, if the status of the
object in the cluster does not say it yet.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from headgate.api.conditions import Condition, ConditionStatus, ConditionType, Reason
from headgate.api.status import CredentialState, UpstreamStatus
from headgate.compile.documents import Document
from headgate.compile.status import Status
from headgate.kube.elector import Leadership
from headgate.kube.events import Happening
from headgate.kube.reading import Seen, said
from headgate.model.observations import Circuit
from headgate.model.overlay import differing, same_keys
from headgate.model.refs import ObjectRef

#: Events at once, and for each second after that: a gateway's mistake is one of all its upstreams.
BURST, RATE = 100, 10.0
#: Seconds for which a replica that does not lead remembers what it would have told.
MEMORY = 60.0
#: Statuses that are followed before others get the event loop: 5 ms or so.
BATCH = 250


@dataclass(frozen=True, slots=True)
class Told:
    """What people know of an object. `ready` and `health`: the reason, or the condition's name where all is well; "": nothing
    yet. `words`: the message beside `ready`. `circuit`: Open, Closed or nothing. `credentials`: the version in use, by name and
    section."""

    ready: str = ""
    words: str = ""
    health: str = ""
    circuit: str = ""
    credentials: Mapping[tuple[str, str | None], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class News:
    """One Event, but for whom it is about."""

    reason: str
    note: str
    warning: bool = False


def told(document: Document, before: Told) -> Told:
    """What people know when they have seen this status, after `before`."""
    conditions = {each.type: each for each in document.conditions}
    ready, words = _ready(conditions.get(ConditionType.READY), before)
    if not isinstance(document, UpstreamStatus):
        return Told(ready, words)
    return Told(
        ready,
        words,
        _health(conditions.get(ConditionType.HEALTHY), before),
        _circuit(document, conditions.get(ConditionType.HEALTHY), before),
        _in_use(document, before),
    )


def news(document: Document, before: Told, after: Told) -> tuple[News, ...]:
    """What to tell of an object whose status says this now."""
    return tuple(_of_ready(document, before, after) + _of_health(document, before, after) + _of_keys(before, after))


def _ready(found: Condition | None, before: Told) -> tuple[str, str]:
    if found is None or found.status == ConditionStatus.UNKNOWN.value or found.reason == Reason.PENDING:
        return before.ready, before.words
    if found.status == ConditionStatus.TRUE.value:
        return Reason.READY, ""
    return found.reason, found.message


def _health(found: Condition | None, before: Told) -> str:
    if found is None or found.status == ConditionStatus.UNKNOWN.value:
        return before.health
    return Reason.HEALTHY if found.status == ConditionStatus.TRUE.value else found.reason


def _circuit(document: UpstreamStatus, healthy: Condition | None, before: Told) -> str:
    """That a breaker is closed is believed when there was a call: a replica that has heard nothing yet says so too."""
    circuit = (document.circuit or "").partition(" ")[0]
    unknown = healthy is None or healthy.status == ConditionStatus.UNKNOWN.value
    return before.circuit if circuit == Circuit.HALF_OPEN or (circuit == Circuit.CLOSED and unknown) else circuit


def _in_use(document: UpstreamStatus, before: Told) -> Mapping[tuple[str, str | None], str]:
    found = {}
    for each in document.credentials:
        key = (each.name, each.section_name)
        version = each.secret_resource_version if each.state is CredentialState.IN_USE else None
        if version or key in before.credentials:
            found[key] = version or before.credentials[key]
    return found


def _of_ready(document: Document, before: Told, after: Told) -> list[News]:
    if (after.ready, after.words) == (before.ready, before.words):
        return []
    if after.ready != Reason.READY:
        return [News(after.ready, after.words or "what is declared is not in force", warning=True)]
    address = document.address if isinstance(document, UpstreamStatus) else None
    note = f"what is declared is in force{' again' if before.ready else ''}{f', at {address}' if address else ''}"
    return [News(Reason.READY, note)]


def _of_health(document: Document, before: Told, after: Told) -> list[News]:
    words = next((each.message for each in document.conditions if each.type == ConditionType.HEALTHY), "")
    found = []
    if after.circuit == Circuit.OPEN and before.circuit != Circuit.OPEN:
        found.append(News("CircuitOpened", words or "calls are refused for now", warning=True))
    elif after.circuit == Circuit.CLOSED and before.circuit == Circuit.OPEN:
        found.append(News("CircuitClosed", "calls go to the provider again"))
    if after.health == before.health or after.health in ("", Reason.CIRCUIT_OPEN):
        return found
    if after.health != Reason.HEALTHY:
        return [*found, News(after.health, words, warning=True)]
    if before.health not in ("", Reason.CIRCUIT_OPEN):
        found.append(News(Reason.HEALTHY, "the provider is well again"))
    return found


def _of_keys(before: Told, after: Told) -> list[News]:
    return [
        News(
            "CredentialRotated",
            f"credential {name}{f' of section {section}' if section else ''}: all proxies send the value of version "
            f"{version} of its Secret; the one before may go",
        )
        for (name, section), version in after.credentials.items()
        if before.credentials.get((name, section), version) != version
    ]


class Happenings:
    """Follows statuses. `previous`: those that stood in the cluster at the start. `seen`: how an object stands there now.
    `tell` is heard where this replica leads. One event loop."""

    def __init__(
        self,
        previous: Mapping[ObjectRef, Status],
        seen: Callable[[ObjectRef], Seen | None],
        tell: Callable[[Happening], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._statuses, self._seen, self._tell, self._clock = previous, seen, tell, clock
        #: What people know of those objects whose latest status does not say all of it.
        self._told: dict[ObjectRef, Told] = {}
        #: What was not heard: when, which status said it, and what.
        self._unheard: deque[tuple[float, ObjectRef, Status, tuple[News, ...]]] = deque(maxlen=BURST)
        self._others: deque[tuple[ObjectRef, Status | None, Status]] = deque()
        self._leading = False
        self._tokens, self._filled = float(BURST), clock()
        self.dropped = 0

    def look(self, statuses: Mapping[ObjectRef, Status]) -> None:
        """These are the statuses now. What is the same object as last time costs a comparison by identity."""
        before, self._statuses = self._statuses, statuses
        if before is statuses:
            return
        self._pass_on()
        for ref in differing(before, statuses):
            status = statuses.get(ref)
            if status is not None:
                self._others.append((ref, before.get(ref), status))
        self._some()
        if not same_keys(before, statuses):
            for ref in self._told.keys() - statuses.keys():
                del self._told[ref]

    def _some(self) -> None:
        """Follow a part, and the rest when others have had the event loop: at a start all of ten thousand are other ones."""
        for _ in range(min(BATCH, len(self._others))):
            self._follow(*self._others.popleft())
        if self._others:
            asyncio.get_running_loop().call_soon(self._some)

    def _pass_on(self) -> None:
        while self._others:
            self._follow(*self._others.popleft())

    async def run(self, _leadership: Leadership) -> None:
        """While this replica leads. To be started before anything writes statuses, and after what `tell` writes to."""
        self.lead()
        try:
            await asyncio.Event().wait()
        finally:
            self._leading = False

    def lead(self) -> None:
        """This replica leads from now on, and has written no status yet."""
        self._pass_on()
        self._leading = True
        earliest, come = self._clock() - MEMORY, self._come_to()
        for number, (at, ref, _, found) in enumerate(self._unheard):
            there = self._seen(ref)
            if at >= earliest and there is not None and number > come.get(ref, -1):
                self._say(ref, there, found)
        self._unheard.clear()

    def _come_to(self) -> Mapping[ObjectRef, int]:
        """Up to which one the leader before has told of what was not heard: an object's status in the cluster says it. What this
        replica took for true before that one was heard of here is no news either."""
        come: dict[ObjectRef, int] = {}
        for number, (_, ref, status, _) in enumerate(self._unheard):
            there, latest = self._seen(ref), self._statuses.get(ref)
            if there is not None and any(there.said.settled == _settled(each) for each in (status, latest) if each):
                come[ref] = number
        return come

    def _follow(self, ref: ObjectRef, earlier: Status | None, status: Status) -> None:
        known = self._told.pop(ref, None) or (told(earlier.document, Told()) if earlier is not None else Told())
        after = told(status.document, known)
        if after != told(status.document, Told()):
            self._told[ref] = after
        found = news(status.document, known, after)
        if not found:
            return
        if not self._leading:
            self._unheard.append((self._clock(), ref, status, found))
        elif (there := self._seen(ref)) is not None:
            self._say(ref, there, found)

    def _say(self, ref: ObjectRef, there: Seen, found: Iterable[News]) -> None:
        now = self._clock()
        self._tokens = min(float(BURST), self._tokens + (now - self._filled) * RATE)
        self._filled = now
        for each in found:
            if self._tokens < 1:
                self.dropped += 1
                continue
            self._tokens -= 1
            self._tell(Happening(ref, there.uid, each.reason, each.note, warning=each.warning))


def _settled(status: Status) -> bytes:
    return said(status.document.model_dump(mode="json", by_alias=True, exclude_none=True)).settled
