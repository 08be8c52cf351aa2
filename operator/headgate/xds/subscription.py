"""What one proxy has asked for, has, and is still owed of one resource type.

Plain bookkeeping on names and versions for `stream.py`, which decides about order between types. Nothing here knows of
clocks or sockets. State is bounded by the number of names: only the newest wish counts, never a queue of changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from headgate.envoy.resource import Resource, TypeUrl

#: A first request without names means "all" for these.
WILDCARD_TYPES = frozenset({TypeUrl.CLUSTER, TypeUrl.LISTENER, TypeUrl.SCOPED_ROUTE})
#: A name of these that is not published is answered as removed (why: `stream.py`).
ANSWERED_IF_UNKNOWN = frozenset({TypeUrl.SECRET, TypeUrl.ENDPOINT})
_COMPACT_AT = 512
_UNSURE = _SEVERAL = ""


@dataclass(frozen=True, slots=True)
class Flight:
    """The newest response about a name that the proxy has not answered; `version` None stands for a removal."""

    nonce: str
    version: str | None
    sent_at: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """A version that the proxy rejected, with its own words."""

    version: str
    message: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What an ACK or NACK settled. `applied` and `removed` are newly known facts about the proxy."""

    applied: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()


class Subscription:
    """One type of one stream. `review(name, wanted)` is the only judge of whether a name is owed to the proxy."""

    def __init__(self, type_url: TypeUrl) -> None:
        self.type_url = type_url
        self.active = False
        self.wildcard = False
        #: Nothing has been sent yet, and the proxy came with nothing.
        self.fresh = False
        self.names: set[str] = set()
        self.held: dict[str, str] = {}
        #: In a response that was refused as a whole, with the version: the proxy may have taken it nevertheless.
        self.maybe: dict[str, str] = {}
        self.flights: dict[str, Flight] = {}
        self.refused: dict[str, Refusal] = {}
        self.changes: dict[str, None] = {}
        self.removals: dict[str, None] = {}
        self.waiting: set[str] = set()
        #: Asked for by name, not published, and the proxy is waiting to hear that.
        self.unknown: dict[str, None] = {}
        self.alone: set[str] = set()
        self._sent: dict[str, dict[str, str | None]] = {}
        self._compact_at = _COMPACT_AT

    def wants(self, name: str) -> bool:
        """Has the proxy asked for this name, by itself or by asking for all?"""
        return self.wildcard or name in self.names

    def owes_reply(self) -> bool:
        """Does a proxy that asked for all wait to hear that there is nothing?"""
        return self.wildcard and self.fresh and not self.changes and not self.waiting

    def unsettled(self, name: str) -> bool:
        """Is something about this name still to be sent or to be answered?"""
        return name in self.changes or name in self.waiting or name in self.flights

    def known_version(self, name: str) -> str | None:
        """The version the proxy has or is about to have; None if it has none, and no real version if that is unsure."""
        flight = self.flights.get(name)
        if flight is not None:
            return flight.version
        return _UNSURE if name in self.maybe else self.held.get(name)

    def review(self, name: str, wanted: Resource | None) -> None:
        """Compare what the proxy has been sent with what is wanted now, and queue or unqueue the difference."""
        self.waiting.discard(name)
        self.changes.pop(name, None)
        self.removals.pop(name, None)
        self.unknown.pop(name, None)
        if not self.wants(name):
            return
        known = self.known_version(name)
        if wanted is None:
            self.alone.discard(name)
            self.refused.pop(name, None)
            if known is not None:
                self.removals[name] = None
            elif self.type_url in ANSWERED_IF_UNKNOWN and name not in self.flights:
                self.unknown[name] = None
            return
        refusal = self.refused.get(name)
        if known != wanted.version and (refusal is None or refusal.version != wanted.version):
            self.changes[name] = None

    def open(self, subscribe: Iterable[str], initial: Mapping[str, str]) -> None:
        """The first request of this type in a stream."""
        self.active = True
        names = set(subscribe)
        self.wildcard = "*" in names or (not names and self.type_url in WILDCARD_TYPES)
        self.names = names - {"*"}
        self.held = {name: version for name, version in initial.items() if self.wants(name)}
        self.fresh = not self.held

    def add(self, subscribe: Iterable[str]) -> set[str]:
        """A later request; returns the names to review. A name asked for again is sent again, as the protocol has it."""
        names = set(subscribe)
        if "*" in names:
            names.discard("*")
            self.wildcard = True
        self.names |= names
        for name in names:
            self._forget(name)
        return names

    def drop(self, unsubscribe: Iterable[str]) -> set[str]:
        """The proxy no longer wants these; returns those that have really gone (a wildcard may still cover one)."""
        gone = set(unsubscribe)
        if "*" in gone:
            self.wildcard = False
            gone |= set(self.held) | set(self.flights) | set(self.changes) | set(self.waiting)
            gone -= self.names | {"*"}
        self.names -= gone
        for name in gone:
            self._forget(name)
            self.review(name, None)
        return gone

    def depart(self, nonce: str, versions: dict[str, str | None], now: float) -> None:
        """A response with these names leaves; `versions` has None for a removal."""
        self._sent[nonce] = versions
        self.fresh = False
        for name, version in versions.items():
            self.flights.pop(name, None)  # so that the order of `flights` stays the order of sending
            self.flights[name] = Flight(nonce, version, now)
            self.changes.pop(name, None)
            self.removals.pop(name, None)
            self.unknown.pop(name, None)
            self.alone.discard(name)
        if len(self._sent) > self._compact_at:
            self._compact()

    def answer(self, nonce: str, error: str | None) -> Answer | None:
        """The proxy's word on a response; None for a nonce that means nothing (any more)."""
        versions = self._sent.pop(nonce, None)
        if versions is None:
            return None
        current = {name: version for name, version in versions.items() if name in self.flights}
        latest = {name for name in current if self.flights[name].nonce == nonce}
        for name in latest:
            del self.flights[name]
        additions = [(name, version) for name, version in current.items() if version is not None]
        removed = tuple(name for name, version in current.items() if version is None)
        for name in removed:
            self.held.pop(name, None)
            self.maybe.pop(name, None)
        if error is None:
            for name, version in additions:
                self.held[name] = version
                self.maybe.pop(name, None)
                self.refused.pop(name, None)
            return Answer(applied=tuple(additions), removed=removed)
        if len(versions) == 1 and additions:
            name, version = additions[0]
            self.refused[name] = Refusal(version, error)
            if self.maybe.get(name) == version:
                del self.maybe[name]
            return Answer(refused=(name,))
        # The NACK of several names spoils the good ones and does not say which is bad: each goes again by itself.
        unclear = tuple(name for name, _ in additions if name in latest)
        self.alone.update(unclear)
        for name, version in additions:
            several = self.maybe.get(name, version) != version
            self.maybe[name] = _SEVERAL if several else version
        return Answer(removed=removed, unclear=unclear)

    def oldest_flight(self) -> float | None:
        """When the longest unanswered response was sent."""
        return next(iter(self.flights.values())).sent_at if self.flights else None

    def _forget(self, name: str) -> None:
        flight = self.flights.pop(name, None)
        if flight is not None and flight.nonce in self._sent:
            self._sent[flight.nonce].pop(name, None)
        self.held.pop(name, None)
        self.maybe.pop(name, None)
        self.refused.pop(name, None)
        self.alone.discard(name)

    def _compact(self) -> None:
        """A proxy that answers nothing must not grow us: forget overtaken versions, and take them as accepted."""
        for nonce, versions in list(self._sent.items()):
            for name in list(versions):
                flight = self.flights.get(name)
                if flight is None or flight.nonce != nonce:
                    version = versions.pop(name)
                    if version is not None and flight is not None:
                        self.held.setdefault(name, version)
            if not versions:
                del self._sent[nonce]
        self._compact_at = max(_COMPACT_AT, 2 * len(self._sent))
