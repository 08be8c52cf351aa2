"""The proxies' answers and reports in the middle's own words (`model.observations`), for the status compile.

Made of frozen views at one moment, and itself frozen; costs what is open or refused, not what is served.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

from headgate.envoy import metadata
from headgate.envoy.failure import RenderFailure
from headgate.envoy.resource import TypeUrl
from headgate.model.observations import ACKNOWLEDGED, Acknowledgement, Circuit, SectionReport
from headgate.model.refs import ObjectRef
from headgate.xds.feedback import GatewayFeedback

_CIRCUITS = {
    metadata.CircuitState.NONE: Circuit.NONE,
    metadata.CircuitState.CLOSED: Circuit.CLOSED,
    metadata.CircuitState.OPEN: Circuit.OPEN,
    metadata.CircuitState.HALF_OPEN: Circuit.HALF_OPEN,
}

_NONE: Mapping[str, Iterable[RenderFailure]] = MappingProxyType({})


class Answers:
    """What the proxies of all gateways made of what is published (`model.observations.Acknowledgements`). `failures`: what
    could not be rendered, and so not be published, of which gateway."""

    def __init__(
        self, views: Iterable[GatewayFeedback], failures: Mapping[str, Iterable[RenderFailure]] = _NONE
    ) -> None:
        self._views = {view.gateway: view for view in views}
        self._owners = {key: _by_owner(view, failures.get(key, ())) for key, view in self._views.items()}

    def connected(self, gateway: str) -> int:
        """How many proxies of this gateway are connected."""
        view = self._views.get(gateway)
        return view.connected if view else 0

    def of(self, gateway: str, owner: ObjectRef) -> Acknowledgement:
        """How they took what `owner` owns."""
        return self._owners.get(gateway, {}).get(owner, ACKNOWLEDGED)

    def told(self, gateway: str) -> Iterable[ObjectRef]:
        """The owners of what is open, refused or failed."""
        return self._owners.get(gateway, {}).keys()

    def exceptions(self, gateway: str) -> Mapping[ObjectRef, Acknowledgement]:
        """What there is to tell, by owner."""
        return self._owners.get(gateway, {})

    def gateways(self) -> Iterable[str]:
        """Those that this is about."""
        return self._views.keys()

    def view(self, gateway: str) -> GatewayFeedback | None:
        """What this is made of."""
        return self._views.get(gateway)

    def unheard(self) -> tuple[str, ...]:
        """This replica alone is asked."""
        return ()

    def settled(self, gateway: str) -> bool:
        """Is a proxy connected, and has each answered for all that is published?"""
        view = self._views.get(gateway)
        return view is not None and view.connected > 0 and not any(view.pending.values())


def _by_owner(view: GatewayFeedback, failures: Iterable[RenderFailure]) -> Mapping[ObjectRef, Acknowledgement]:
    pending: dict[ObjectRef, int] = {}
    words: dict[ObjectRef, set[str]] = {}
    for type_url, names in view.pending.items():
        for name, proxies in names.items():
            for owner in _owners(view, type_url, name):
                pending[owner] = max(pending.get(owner, 0), proxies)
    for (type_url, name), refused in view.rejected.items():
        sort = type_url.rpartition(".")[2]
        for owner in _owners(view, type_url, name):
            words.setdefault(owner, set()).add(f"{sort} {name}: {refused.message}")
    failed: dict[ObjectRef, set[str]] = {}
    for failure in failures:
        for owner in failure.owners:
            failed.setdefault(owner, set()).add(failure.words)
    return {
        owner: Acknowledgement(
            pending.get(owner, 0), tuple(sorted(words.get(owner, ()))), tuple(sorted(failed.get(owner, ())))
        )
        for owner in pending.keys() | words.keys() | failed.keys()
    }


def _owners(view: GatewayFeedback, type_url: TypeUrl, name: str) -> tuple[ObjectRef, ...]:
    found = (view.resources or {}).get(type_url, {}).get(name)
    return found.owners if found else ()


def section_report(report: metadata.SectionReport, node: str = "", heard: datetime | None = None) -> SectionReport:
    """A proxy's report as the status compile reads it."""
    return SectionReport(
        circuit=_CIRCUITS[report.state],
        since=datetime.fromtimestamp(report.since / 1000, UTC),
        failure=report.failure,
        calls=report.calls,
        failures=report.failures,
        failing=report.in_a_row > 0,
        node=node,
        heard=heard,
    )
