"""Which figures of the running parts are told as metrics, and where they are read.

`measure` is called once, when the parts are made. What it registers is called by whoever scrapes, in a thread: numbers and
frozen values alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

from headgate.api.status import UpstreamStatus
from headgate.app.engine import Engine
from headgate.app.happenings import Happenings
from headgate.compile.status import Status
from headgate.control.probing import Answer
from headgate.control.questions import Question
from headgate.kube.counts import WriteCounts
from headgate.kube.elector import Elector
from headgate.kube.events import EventWriter
from headgate.kube.source import KubeSource
from headgate.model.refs import ObjectRef
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.serving import Health
from headgate.xds.replicas import Replicas
from headgate.xds.server import XdsServer

Ask = Callable[[Question], Awaitable[Answer]]


def measure_engine(metrics: Metrics, engine: Engine) -> None:
    """Compiles, failures, and how objects stand."""
    counts = engine.counts
    metrics.count("headgate_compiles_total", "Compiles of everything.", lambda: counts.compiles)
    metrics.count(
        "headgate_compile_failures_total",
        "Compiles that failed for a bug; what was live stayed live.",
        lambda: counts.compile_failures,
    )
    metrics.count(
        "headgate_render_failures_total",
        "Parts of gateways that could not be put into the proxy's terms, at each compile.",
        lambda: counts.render_failures,
    )
    metrics.count(
        "headgate_later_failures_total",
        "Looks at statuses, and what follows a compile, that failed for a bug.",
        lambda: counts.later_failures,
    )
    metrics.gauge(
        "headgate_objects", "Objects by kind and Ready.", lambda: standing(engine.statuses), ("kind", "ready")
    )
    metrics.gauge(
        "headgate_upstreams", "Upstreams by health and circuit.", lambda: health(engine.statuses), ("health", "circuit")
    )


def measure_happenings(metrics: Metrics, happenings: Happenings) -> None:
    """What users were not told."""
    metrics.count(
        "headgate_happenings_dropped_total",
        "Happenings of which no Event was made, because too much happened at once; statuses tell all of it.",
        lambda: happenings.dropped,
    )


def measure_loop(metrics: Metrics, health: Health) -> None:
    """How long everything else has to wait, at worst."""
    metrics.gauge(
        "headgate_loop_longest_pause_seconds",
        "The longest that the event loop was busy with one thing since this replica was ready.",
        lambda: health.longest_pause,
    )


def measure_kube(metrics: Metrics, source: KubeSource, events: EventWriter, elector: Elector) -> None:
    """What is read from the API server, and who may write to it."""
    metrics.gauge("headgate_leading", "Whether this replica may write.", lambda: float(elector.leading))
    read = source.counts
    metrics.count(
        "headgate_listings_total",
        "Listings of everything.",
        lambda: {("ok",): read.listings, ("failed",): read.listing_failures},
        ("result",),
    )
    metrics.count("headgate_events_dropped_total", "Events that could not be written.", lambda: events.dropped)
    metrics.count("headgate_hints_total", "Watch events.", lambda: read.hints)


def measure_writes(metrics: Metrics, writers: Mapping[str, WriteCounts]) -> None:
    """What is written to the API server, by what it is."""

    def written() -> Mapping[tuple[str, ...], float]:
        found: dict[tuple[str, ...], float] = {}
        for what, each in writers.items():
            found[what, "ok"], found[what, "failed"] = each.writes, each.failures
        return found

    metrics.count("headgate_writes_total", "Writes to the API server.", written, ("what", "result"))


def counted(ask: Ask, metrics: Metrics) -> Ask:
    """The same, and each answer is counted."""

    async def asked(question: Question) -> Answer:
        answer = await ask(question)
        metrics.probed(answer.verdict.value if answer.verdict is not None else "None")
        return answer

    return asked


def measure_xds(metrics: Metrics, xds: XdsServer) -> None:
    """The proxies' streams on this replica."""
    metrics.gauge("headgate_xds_streams", "Proxies connected to this replica.", lambda: xds.stats().streams)
    metrics.count("headgate_xds_streams_opened_total", "Streams of proxies.", lambda: xds.stats().streams_opened)
    metrics.count(
        "headgate_xds_streams_cut_total", "Streams of proxies that took no data.", lambda: xds.stats().streams_cut
    )

    def answers() -> Mapping[tuple[str, ...], float]:
        types = xds.stats().types
        found: dict[tuple[str, ...], float] = {}
        for type_url, each in types.items():
            found[(type_url.name.lower(), "ack")] = each.acks
            found[(type_url.name.lower(), "nack")] = each.nacks
        return found

    metrics.count("headgate_xds_answers_total", "Proxies' answers to responses.", answers, ("type", "answer"))


def measure_replicas(metrics: Metrics, replicas: Replicas) -> None:
    """The others."""

    def heard() -> Mapping[tuple[str, ...], float]:
        counts = replicas.counts()
        return {("heard",): counts.heard, ("absent",): counts.absent, ("unheard",): counts.unheard}

    metrics.gauge("headgate_replicas", "Other replicas, by whether they can be asked.", heard, ("state",))


def standing(statuses: Mapping[ObjectRef, Status]) -> Mapping[tuple[str, ...], float]:
    """How many objects of each kind are ready, not, or not known to be."""
    found: Counter[tuple[str, ...]] = Counter()
    for ref, status in statuses.items():
        ready = next((each.status for each in status.document.conditions if each.type == "Ready"), "Unknown")
        found[ref.kind, str(ready)] += 1
    return dict(found)


def health(statuses: Mapping[ObjectRef, Status]) -> Mapping[tuple[str, ...], float]:
    """How many upstreams are in which health and circuit. `Open 1/2` counts as `Open`: how many proxies there are would make
    labels without end."""
    found: Counter[tuple[str, ...]] = Counter()
    for status in statuses.values():
        if isinstance(status.document, UpstreamStatus):
            circuit = (status.document.circuit or "").partition(" ")[0]
            found[str(status.document.health), circuit] += 1
    return dict(found)
