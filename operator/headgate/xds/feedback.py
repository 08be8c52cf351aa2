"""What the proxies made of what they were sent, joined per gateway.

Streams report through a `Ledger` each; the status compile reads a frozen `GatewayFeedback`. Only exceptions are kept (what
is still open, what was refused), as sets per proxy: an acknowledgement removes from a set and costs the same at ten
and at forty thousand resources; a view is made only when someone reads, from the open and refused names alone.

All of it belongs to the event loop's thread. A view may go anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from headgate.envoy.resource import Resources, TypeUrl


@dataclass(frozen=True, slots=True)
class Acked:
    """Every connected proxy (at least one) applied this version."""


@dataclass(frozen=True, slots=True)
class Pending:
    """Not known to be applied everywhere. `proxies` is how many still have to answer; 0 when none is connected."""

    proxies: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """At least one proxy refused this version and stays on what it had. `message` is Envoy's own, of the first in `nodes`."""

    message: str
    nodes: tuple[str, ...]


Verdict = Acked | Pending | Rejected


@dataclass(frozen=True, slots=True)
class Refused:
    """One refused resource of a gateway: which version, by which nodes, and why."""

    version: str
    message: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GatewayFeedback:
    """One gateway's proxies at one moment. Cheap to ask, safe to keep and to hand to another thread."""

    gateway: str
    #: What is published; None before the first publish.
    resources: Resources | None = field(default=None, repr=False)
    #: Node ids of the connected proxies, sorted; the same id twice while an old connection lingers.
    proxies: tuple[str, ...] = ()
    #: Those of them that have not answered for everything.
    behind: tuple[str, ...] = ()
    pending: Mapping[TypeUrl, Mapping[str, int]] = field(default_factory=dict)
    rejected: Mapping[tuple[TypeUrl, str], Refused] = field(default_factory=dict)

    @property
    def connected(self) -> int:
        """How many proxies are connected."""
        return len(self.proxies)

    def of(self, type_url: TypeUrl, name: str, version: str) -> Verdict:
        """The verdict on exactly this version. A version that is not the published one is pending everywhere.

        A SECRET or ENDPOINT that a proxy has not asked for counts as settled for it: nothing there uses it (a cluster is
        acknowledged only once its secrets are in). Routes are awaited from the start, since their scope brings them.
        """
        published = (self.resources or {}).get(type_url, {}).get(name)
        if published is None or published.version != version:
            return Pending(self.connected)
        refused = self.rejected.get((type_url, name))
        if refused is not None:
            return Rejected(refused.message, refused.nodes)
        if not self.proxies:
            return Pending(0)
        waiting = self.pending.get(type_url, {}).get(name, 0)
        return Pending(waiting) if waiting else Acked()


class Ledger:
    """One stream's side: what is open and what was refused there. Names given twice or never known do no harm."""

    def __init__(self, node_id: str, touched: Callable[[], None]) -> None:
        self.node_id = node_id
        self.open: dict[TypeUrl, set[str]] = {type_url: set() for type_url in TypeUrl}
        self.refused: dict[tuple[TypeUrl, str], tuple[str, str]] = {}
        self._touched = touched

    def pending(self, type_url: TypeUrl, names: Collection[str]) -> None:
        """These are published and not yet answered."""
        self.open[type_url].update(names)
        self._clear(type_url, names)
        self._touched()

    def settled(self, type_url: TypeUrl, names: Collection[str]) -> None:
        """These are applied, or withdrawn, or no longer of interest to the proxy."""
        self.open[type_url].difference_update(names)
        self._clear(type_url, names)
        self._touched()

    def rejected(self, type_url: TypeUrl, name: str, version: str, message: str) -> None:
        """The published version of this one was refused."""
        self.open[type_url].discard(name)
        self.refused[(type_url, name)] = (version, message)
        self._touched()

    def _clear(self, type_url: TypeUrl, names: Iterable[str]) -> None:
        if self.refused:
            for name in names:
                self.refused.pop((type_url, name), None)


class Feedback:
    """All gateways' ledgers. `on_change(gateway)` is called at the first change, then not again until a `view` was taken."""

    def __init__(self, on_change: Callable[[str], None] = lambda _: None) -> None:
        self._on_change = on_change
        self._resources: dict[str, Resources] = {}
        self._ledgers: dict[str, dict[int, Ledger]] = {}
        self._views: dict[str, GatewayFeedback] = {}
        self._told: set[str] = set()

    def publish(self, gateway: str, resources: Resources | None) -> None:
        """What is published now; None when the gateway is withdrawn."""
        if resources is None:
            self._resources.pop(gateway, None)
        else:
            self._resources[gateway] = resources
        self._touch(gateway)

    def connect(self, gateway: str, node_id: str) -> Ledger:
        """A stream begins. The ledger is the handle to `disconnect` it."""
        ledger = Ledger(node_id, lambda: self._touch(gateway))
        self._ledgers.setdefault(gateway, {})[id(ledger)] = ledger
        self._touch(gateway)
        return ledger

    def disconnect(self, gateway: str, ledger: Ledger) -> None:
        """The stream ended: its proxy no longer counts."""
        ledgers = self._ledgers.get(gateway, {})
        ledgers.pop(id(ledger), None)
        if not ledgers:
            self._ledgers.pop(gateway, None)
        self._touch(gateway)

    def view(self, gateway: str) -> GatewayFeedback:
        """The state now; the same object until something changes."""
        view = self._views.get(gateway)
        if view is None:
            view = self._views[gateway] = self._build(gateway)
        self._told.discard(gateway)
        return view

    def gateways(self) -> tuple[str, ...]:
        """Keys of all gateways that are published or connected, sorted."""
        return tuple(sorted(self._resources.keys() | self._ledgers.keys()))

    def _touch(self, gateway: str) -> None:
        self._views.pop(gateway, None)
        if gateway not in self._told:
            self._told.add(gateway)
            self._on_change(gateway)

    def _build(self, gateway: str) -> GatewayFeedback:
        ledgers = sorted(self._ledgers.get(gateway, {}).values(), key=lambda ledger: ledger.node_id)
        pending: dict[TypeUrl, Mapping[str, int]] = {}
        for type_url in TypeUrl:
            counts: Counter[str] = Counter()
            for ledger in ledgers:
                counts.update(ledger.open[type_url])
            if counts:
                pending[type_url] = MappingProxyType(counts)
        refused: dict[tuple[TypeUrl, str], list[tuple[str, str, str]]] = {}
        for ledger in ledgers:
            for key, (version, message) in ledger.refused.items():
                refused.setdefault(key, []).append((ledger.node_id, version, message))
        return GatewayFeedback(
            gateway=gateway,
            resources=self._resources.get(gateway),
            proxies=tuple(ledger.node_id for ledger in ledgers),
            behind=tuple(ledger.node_id for ledger in ledgers if any(ledger.open.values())),
            pending=MappingProxyType(pending),
            rejected=MappingProxyType(
                {
                    key: Refused(said[0][1], said[0][2], tuple(node for node, _, _ in said))
                    for key, said in refused.items()
                }
            ),
        )
