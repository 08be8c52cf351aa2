"""What Headgate counts of itself, for Prometheus: one `Metrics` per process, made in the composition root and handed down.

Some figures are told as they come (`compiled`, `healed`, `probed`); others are counted where they happen anyway and read when
somebody asks (`count`, `gauge`). Readers are called in the thread of whoever asks: they may read numbers and frozen values,
and nothing else. How many series there are does not grow with the number of upstreams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from headgate import __version__

#: A number, or one for each combination of labels.
Figures = float | Mapping[tuple[str, ...], float]
Read = Callable[[], Figures]
#: Seconds: one upstream changed is milliseconds, a world of ten thousand from nothing is several seconds.
_COMPILE = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """A registry of its own, with Python's and the process's figures in it."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._compile = Histogram(
            "headgate_compile_seconds",
            "How long compiling and rendering everything took, without what it waited for.",
            buckets=_COMPILE,
            registry=self.registry,
        )
        self._healings = Counter(
            "headgate_healing_actions_total",
            "What Headgate did to a gateway because something was wrong with it.",
            ("gateway", "what", "reason"),
            registry=self.registry,
        )
        self._probes = Counter(
            "headgate_probes_total", "Answers of providers to probes.", ("verdict",), registry=self.registry
        )
        self.gauge("headgate_build_info", "The version that runs.", lambda: {(__version__,): 1.0}, ("version",))

    def compiled(self, seconds: float) -> None:
        """Everything was compiled and rendered once."""
        self._compile.observe(seconds)

    def healed(self, gateway: str, what: str, reason: str) -> None:
        """Something was done to a gateway (`namespace/name`). `what` and `reason` are single CamelCase words out of few."""
        self._healings.labels(gateway, what, reason).inc()

    def probed(self, verdict: str) -> None:
        """A provider has answered a probe, or failed to. `verdict`: one CamelCase word out of few."""
        self._probes.labels(verdict).inc()

    def count(self, name: str, about: str, read: Read, labels: Sequence[str] = ()) -> None:
        """A number that only grows, counted elsewhere. `name` ends in `_total`."""
        self.registry.register(_ReadElsewhere(name, about, tuple(labels), read, grows=True))

    def gauge(self, name: str, about: str, read: Read, labels: Sequence[str] = ()) -> None:
        """A number as it is when somebody asks."""
        self.registry.register(_ReadElsewhere(name, about, tuple(labels), read, grows=False))


@dataclass(frozen=True, slots=True)
class _ReadElsewhere(Collector):
    name: str
    about: str
    labels: tuple[str, ...]
    read: Read
    grows: bool

    def describe(self) -> Iterable[Metric]:
        """Its name alone: it is registered before what it reads is there."""
        return [self._family()]

    def collect(self) -> Iterable[Metric]:
        """The figures now."""
        family, found = self._family(), self.read()
        for values, figure in found.items() if isinstance(found, Mapping) else [((), found)]:
            family.add_metric(values, figure)
        return [family]

    def _family(self) -> CounterMetricFamily | GaugeMetricFamily:
        made = CounterMetricFamily if self.grows else GaugeMetricFamily
        return made(self.name, self.about, labels=self.labels)
