"""One delta ADS stream as a state machine without I/O: requests, publications and the clock in, responses out.

What happens, per event (a "name" is one resource of one type):

| event | effect |
|---|---|
| first request of a type | no names, or `*`: all of CLUSTER, LISTENER, SCOPED_ROUTE; else those names |
| `initial_resource_versions` | what is equal is not sent; what is no longer published is removed |
| wildcard, nothing to send | an empty response, so that Envoy's start goes on |
| subscribe to a name | sent, even if it was sent before; an unknown one when it appears (see below) |
| unsubscribe | forgotten; nothing is sent |
| ACK | the proxy has these versions; what waited for them goes on |
| NACK of one name | that version is not sent again in this stream; the proxy stays on what it had |
| NACK of several names | each goes again by itself: the next NACK names the culprit, the good ones get through |
| publish | changed names are queued, or unqueued if the proxy has that version already |
| ACK of a removed LISTENER or SCOPED_ROUTE | refused ones get one more try: an address or scope key may be free now |
| time | a wait for an acknowledgement ends after `Order.patience` |

Order is make-before-break, per dependency and not per world, so that one upstream's slow cluster holds up nobody else's
route:

- CLUSTER, ENDPOINT, SECRET go at once. (Envoy withholds the ACK of clusters until all of them are warm, and for that
  they need their secrets: waiting there would be a deadlock.)
- LISTENER waits until no CLUSTER is unanswered; SCOPED_ROUTE and ROUTE until the clusters they lead to are answered. If
  such a cluster was refused and the proxy does not have an older one, a changed route stays back (the old one serves);
  a route that the proxy has none of goes nevertheless, for a listener may be warming and waiting for it.
- Removals go when nothing is left to add: SCOPED_ROUTE, then ROUTE, LISTENER, SECRET, ENDPOINT, and CLUSTER last: each
  stage once the one before is answered, and a CLUSTER only when no route that the proxy has, or may have, leads to it.
- Every wait is bounded by `patience`, except those that keep a working configuration alive.

Names that are not published, as tried with Envoy 1.40:

- A SECRET is answered as removed at once, waiting for nothing. Unanswered, its cluster never gets warm, and as long as one
  cluster is not warm no cluster is acknowledged and a starting Envoy does not go on. Answered, the cluster is warm and fails
  closed (401 from the credential injector, no TLS connection), and takes the secret up when it is published.
- The removal of a SECRET in use changes nothing in Envoy: it goes on with the old value while its cluster lives.
- A ROUTE stays unanswered: Envoy ignores the removal of one, and a starting listener waits for it either way. So a scope
  whose route is not published is held back.

A Stream belongs to the event loop's thread. `Stream.poll` returns the next response when the transport can take one, so
what is not yet written is always the newest wish.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from itertools import islice

from headgate.envoy.resource import Resource, Resources, TypeUrl
from headgate.xds.feedback import Ledger
from headgate.xds.leads import Leads
from headgate.xds.messages import Order, Request, Response
from headgate.xds.redact import envoy_words
from headgate.xds.subscription import Answer, Subscription

#: Awaited from every proxy, asked for or not; the others only where a proxy asked.
AWAITED = (TypeUrl.CLUSTER, TypeUrl.LISTENER, TypeUrl.SCOPED_ROUTE, TypeUrl.ROUTE)
REMOVAL_ORDER = (
    TypeUrl.SCOPED_ROUTE,
    TypeUrl.ROUTE,
    TypeUrl.LISTENER,
    TypeUrl.SECRET,
    TypeUrl.ENDPOINT,
    TypeUrl.CLUSTER,
)
#: One bad resource spoils a response of these, and the NACK does not name it.
SPOILING = frozenset({TypeUrl.SCOPED_ROUTE, TypeUrl.ROUTE, TypeUrl.SECRET, TypeUrl.ENDPOINT})
#: Unique keys (a scope's key, a listener's address) that a removal can set free.
EXCLUSIVE = frozenset({TypeUrl.SCOPED_ROUTE, TypeUrl.LISTENER})
#: Keys of `Stream._waiting` besides a cluster's name: for all clusters, and before the name of a route.
_ANY, _ROUTE = "", "\0"
_NOTHING: frozenset[str] = frozenset()
_NEVER = float("inf")


class Stream:
    """The state machine. `references` tells which names a route or scope leads to (`references.References.of`)."""

    def __init__(
        self,
        ledger: Ledger,
        references: Callable[[Resource], frozenset[str]],
        *,
        now: float,
        order: Order | None = None,
    ) -> None:
        self._ledger = ledger
        self._references = references
        self._order = order or Order()
        self._desired: Resources | None = None
        self._types = {type_url: Subscription(type_url) for type_url in TypeUrl}
        self._next_nonce = 0
        self._retry_at: float | None = None
        #: Cluster (or another key) -> names that wait for its answer, and when to stop waiting.
        self._waiting: dict[str, dict[tuple[TypeUrl, str], None]] = {}
        self._timers: list[tuple[float, str]] = []
        self._leads = Leads()
        #: Clusters to be removed once no route leads to them.
        self._kept: set[str] = set()
        #: Routes that a reconnecting proxy holds in a version we never saw: they may lead anywhere.
        self._opaque: set[str] = set()
        self._opened = now

    # ------------------------------------------------------------------ events

    def publish(self, resources: Resources, changed: Mapping[TypeUrl, Iterable[str]], now: float) -> None:
        """New desired state. `changed` names everything that differs from the last one given (added, changed, removed)."""
        first = self._desired is None
        self._desired = resources
        if first:
            for type_url in AWAITED:
                self._ledger.pending(type_url, resources.get(type_url, {}).keys())
            for subscription in self._types.values():
                if subscription.active:
                    self._match_all(subscription)
        else:
            for type_url, names in changed.items():
                for name in names:
                    self._review(type_url, name)
        self._due(now)

    def request(self, request: Request, now: float) -> Answer | None:
        """A message from the proxy. Returns what an ACK or NACK settled, for the log."""
        subscription = self._types[request.type_url]
        answer = None
        if request.nonce:
            answer = self._answered(subscription, request)
        if not subscription.active:
            if request.type_url is TypeUrl.CLUSTER:
                self._opened = now
            subscription.open(request.subscribe, request.initial_versions)
            if self._desired is not None:
                self._match_all(subscription)
        elif request.subscribe:
            names = subscription.add(request.subscribe)
            if "*" in request.subscribe:
                names |= self._wanted(request.type_url).keys()
            for name in names:
                self._review(request.type_url, name)
        if request.unsubscribe:
            self._unsubscribed(subscription, request.unsubscribe)
        self._due(now)
        return answer

    def poll(self, now: float) -> Response | None:
        """The next response to write, or None. Call it again after each, and after every event or `deadline`."""
        if self._desired is None:
            return None
        self._due(now)
        self._retry_at = None
        for type_url in TypeUrl:
            response = self._addition(self._types[type_url], now)
            if response is not None:
                return response
        for type_url in REMOVAL_ORDER:
            response = self._removal(self._types[type_url], now)
            if response is not None:
                return response
        return None

    def deadline(self) -> float | None:
        """When to poll again though nothing happened; valid after a poll that returned None."""
        times = [time for time in (self._retry_at, self._timers[0][0] if self._timers else None) if time is not None]
        return min(times) if times else None

    @property
    def keeps_all_clusters(self) -> bool:
        """Has the proxy come with routes in versions never seen here, and not replaced them yet? They may lead anywhere."""
        return bool(self._opaque)

    def unsure(self, type_url: TypeUrl) -> AbstractSet[str]:
        """Names that were in a response refused as a whole: the proxy may have that version of them, an older, or none."""
        return self._types[type_url].maybe.keys()

    # ------------------------------------------------------------------ sending

    def _addition(self, subscription: Subscription, now: float) -> Response | None:
        """The next response with additions of this type. Names whose turn has not come move to `waiting` on the way."""
        while subscription.changes:
            few = subscription.type_url in SPOILING and len(subscription.changes) <= self._order.single_up_to
            limit, size = 1 if few else self._order.batch_resources, self._order.batch_bytes
            if subscription.type_url is TypeUrl.SCOPED_ROUTE and subscription.fresh:
                # A starting listener binds when the routes of the first response are in: it must hold all scopes.
                limit, size = len(subscription.changes), self._order.first_scopes_bytes
            picked = self._pick(subscription, limit, size, now)
            if picked:
                return self._send(subscription, tuple(picked), now)
        if subscription.unknown:
            return self._remove(subscription, list(subscription.unknown), now)
        if subscription.owes_reply():
            return self._send(subscription, (), now)
        return None

    def _pick(self, subscription: Subscription, limit: int, most_bytes: int, now: float) -> list[Resource]:
        wanted = self._wanted(subscription.type_url)
        picked: list[Resource] = []
        size = 0
        for name in list(islice(subscription.changes, limit)):
            item = wanted[name]
            blocker = self._blocker(item, now)
            if blocker is not None:
                del subscription.changes[name]
                subscription.waiting.add(name)
                self._waiting.setdefault(blocker[0], {})[(item.type_url, name)] = None
                if blocker[1] is not None:
                    heapq.heappush(self._timers, (blocker[1], blocker[0]))
                continue
            single = name in subscription.alone
            # Asked for once: what is kept as a difference is put together for it.
            length = len(item.body)
            if picked and (single or size + length > most_bytes):
                break
            picked.append(item)
            size += length
            if single:
                break
        return picked

    def _blocker(self, item: Resource, now: float) -> tuple[str, float | None] | None:
        """What this one has to wait for, and until when at most (None: until that changes)."""
        clusters = self._types[TypeUrl.CLUSTER]
        if not clusters.active:
            return None
        if item.type_url is TypeUrl.LISTENER:
            end = self._overdue_at(clusters)
            return (_ANY, end) if end is not None and now < end else None
        if item.type_url not in (TypeUrl.SCOPED_ROUTE, TypeUrl.ROUTE):
            return None
        serves = item.name in self._types[item.type_url].held
        if item.type_url is TypeUrl.SCOPED_ROUTE:
            for name in self._references(item):
                if name not in self._wanted(TypeUrl.ROUTE):
                    return _ROUTE + name, None
        for name in self._clusters_of(item):
            wanted = self._wanted(TypeUrl.CLUSTER).get(name)
            if wanted is None:
                continue
            flight = clusters.flights.get(name)
            if flight is not None and flight.version is not None:
                if now < flight.sent_at + self._order.patience:
                    return name, flight.sent_at + self._order.patience
            elif serves and name in clusters.refused and name not in clusters.held:
                return name, None
        return None

    def _clusters_of(self, item: Resource) -> frozenset[str]:
        if item.type_url is TypeUrl.ROUTE:
            return self._references(item)
        routes = self._wanted(TypeUrl.ROUTE)
        found = [self._references(routes[name]) for name in self._references(item) if name in routes]
        return found[0] if found else _NOTHING

    def _removal(self, subscription: Subscription, now: float) -> Response | None:
        if not subscription.removals:
            return None
        end = self._removable_at(subscription.type_url, now)
        if end > now:
            if end != _NEVER:
                self._retry_at = min(end, self._retry_at or end)
            return None
        names = list(islice(subscription.removals, self._order.batch_resources))
        if subscription.type_url is TypeUrl.CLUSTER:
            used = [name for name in names if self._leads.used(name)]
            for name in used:
                del subscription.removals[name]
                self._kept.add(name)
            names = [name for name in names if name not in self._kept]
            if not names:
                return self._removal(subscription, now)
        return self._remove(subscription, names, now)

    def _removable_at(self, type_url: TypeUrl, now: float) -> float:
        """When removals of this type may go at the latest; a time not after `now` means: now."""
        before: tuple[TypeUrl, ...]
        match type_url:
            case TypeUrl.SCOPED_ROUTE:
                return now
            case TypeUrl.ROUTE:
                before = (TypeUrl.SCOPED_ROUTE,)
            case TypeUrl.LISTENER:
                before = (TypeUrl.LISTENER, TypeUrl.ROUTE)
                if self._types[TypeUrl.LISTENER].waiting:
                    before = (*before, TypeUrl.CLUSTER)
            case TypeUrl.SECRET | TypeUrl.ENDPOINT:
                before = (TypeUrl.CLUSTER, TypeUrl.LISTENER)
            case TypeUrl.CLUSTER:
                if self.keeps_all_clusters:
                    return _NEVER
                # A proxy that comes back names its clusters first: until it names its routes, all may be in use.
                if not self._types[TypeUrl.ROUTE].active and now < self._opened + self._order.patience:
                    return self._opened + self._order.patience
                before = (TypeUrl.SCOPED_ROUTE, TypeUrl.LISTENER)
        ends = [self._overdue_at(self._types[other]) or now for other in before]
        return max(ends)

    def _overdue_at(self, subscription: Subscription) -> float | None:
        """When to stop waiting for the answers of this type; None if nothing is unanswered."""
        oldest = subscription.oldest_flight()
        return None if oldest is None else oldest + self._order.patience

    def _send(self, subscription: Subscription, resources: tuple[Resource, ...], now: float) -> Response:
        nonce = self._nonce()
        subscription.depart(nonce, {item.name: item.version for item in resources}, now)
        if subscription.type_url is TypeUrl.ROUTE:
            for item in resources:
                self._leads.sent(item.name, self._references(item))
        return Response(subscription.type_url, nonce, resources)

    def _remove(self, subscription: Subscription, names: list[str], now: float) -> Response:
        nonce = self._nonce()
        subscription.depart(nonce, dict.fromkeys(names), now)
        return Response(subscription.type_url, nonce, removed=tuple(names))

    def _nonce(self) -> str:
        self._next_nonce += 1
        return str(self._next_nonce)

    # ------------------------------------------------------------------ answers

    def _answered(self, subscription: Subscription, request: Request) -> Answer | None:
        answer = subscription.answer(request.nonce, request.error)
        if answer is None:
            return None
        type_url = subscription.type_url
        wanted = self._wanted(type_url)
        good = [name for name, version in answer.applied if name in wanted and wanted[name].version == version]
        if good:
            self._ledger.settled(type_url, good)
        overtaken = [name for name, version in answer.applied if name in wanted and wanted[name].version != version]
        for name in (*overtaken, *answer.refused, *answer.unclear):
            self._review(type_url, name)
        if type_url is TypeUrl.ROUTE:
            self._learn_routes(subscription, answer)
        if type_url is TypeUrl.CLUSTER:
            for name in (*(name for name, _ in answer.applied), *answer.refused):
                self._wake(name)
            if not subscription.flights:
                self._wake(_ANY)
        if answer.removed and type_url in EXCLUSIVE:
            for name in list(subscription.refused):
                del subscription.refused[name]
                self._review(type_url, name)
        return answer

    def _learn_routes(self, subscription: Subscription, answer: Answer) -> None:
        wanted = self._wanted(TypeUrl.ROUTE)
        for name, version in answer.applied:
            self._opaque.discard(name)
            item = wanted.get(name)
            if item is not None and item.version == version and name not in subscription.flights:
                self._lead(name, self._references(item))
        for name in answer.refused:
            if name not in subscription.flights and name not in subscription.maybe:
                self._let_go(self._leads.refused(name))
        for name in answer.removed:
            self._opaque.discard(name)
            if name not in subscription.flights:
                self._lead(name, _NOTHING)

    def _tell_refused(self, subscription: Subscription, name: str) -> None:
        wanted = self._wanted(subscription.type_url).get(name)
        refusal = subscription.refused[name]
        if wanted is not None and wanted.version == refusal.version:
            words = envoy_words(refusal.message, wanted)
            self._ledger.rejected(subscription.type_url, name, refusal.version, words)

    # ------------------------------------------------------------------ reviewing

    def _wanted(self, type_url: TypeUrl) -> Mapping[str, Resource]:
        return (self._desired or {}).get(type_url, {})

    def _review(self, type_url: TypeUrl, name: str) -> None:
        """Queue what is owed for this name, and tell the ledger how it stands."""
        subscription = self._types[type_url]
        wanted = self._wanted(type_url).get(name)
        subscription.review(name, wanted)
        if type_url is TypeUrl.CLUSTER:
            self._kept.discard(name)
            if wanted is None:
                self._wake(name)
        if type_url is TypeUrl.ROUTE and wanted is not None:
            self._wake(_ROUTE + name)
        if wanted is None:
            self._ledger.settled(type_url, (name,))
        elif not subscription.wants(name):
            if type_url in AWAITED:
                self._ledger.pending(type_url, (name,))
        elif subscription.unsettled(name):
            self._ledger.pending(type_url, (name,))
        elif (refusal := subscription.refused.get(name)) is not None and refusal.version == wanted.version:
            self._tell_refused(subscription, name)
        else:
            self._ledger.settled(type_url, (name,))

    def _match_all(self, subscription: Subscription) -> None:
        """Compare everything of a type: at its first request, or when the first publication comes after that."""
        wanted = self._wanted(subscription.type_url)
        names = subscription.names | subscription.held.keys()
        if subscription.wildcard:
            names |= wanted.keys()
        equal = [n for n in names if n in wanted and subscription.held.get(n) == wanted[n].version]
        self._ledger.settled(subscription.type_url, equal)
        if subscription.type_url is TypeUrl.ROUTE:
            for name in equal:
                self._lead(name, self._references(wanted[name]))
            self._opaque = subscription.held.keys() - set(equal)
        for name in sorted(names - set(equal)):
            self._review(subscription.type_url, name)

    def _unsubscribed(self, subscription: Subscription, names: Iterable[str]) -> None:
        type_url = subscription.type_url
        for name in subscription.drop(names):
            if type_url is TypeUrl.ROUTE:
                self._opaque.discard(name)
                self._lead(name, _NOTHING)
            if name in self._wanted(type_url) and type_url in AWAITED:
                self._ledger.pending(type_url, (name,))
            else:
                self._ledger.settled(type_url, (name,))

    def _lead(self, route: str, clusters: frozenset[str]) -> None:
        self._let_go(self._leads.applied(route, clusters))

    def _let_go(self, clusters: Iterable[str]) -> None:
        for name in clusters:
            if name in self._kept:
                self._review(TypeUrl.CLUSTER, name)

    def _wake(self, cluster: str) -> None:
        for type_url, name in self._waiting.pop(cluster, ()):
            self._review(type_url, name)

    def _due(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            self._wake(heapq.heappop(self._timers)[1])
