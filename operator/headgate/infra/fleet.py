"""A gateway's own say over the installation's defaults. Pure."""

from __future__ import annotations

from dataclasses import replace

from headgate.infra.settings import Drain, InfraSettings, Resources, Scaling
from headgate.model.fleet import Fleet

_SECOND = 1000


def own(fleet: Fleet, settings: InfraSettings) -> InfraSettings:
    """The settings as they are for one gateway. Whoever makes something of them for a gateway asks here first: its bootstrap
    (`resources.heap_bytes`), its objects, how many proxies its calls in flight ask for (`scaling`)."""
    return replace(
        settings,
        image=fleet.image or settings.image,
        resources=_resources(fleet, settings.resources),
        scaling=_scaling(fleet, settings.scaling),
        drain=_drain(fleet, settings.drain),
        pull_secrets=tuple(dict.fromkeys((*settings.pull_secrets, *fleet.pod.pull_secrets))),
    )


def _resources(fleet: Fleet, usual: Resources) -> Resources:
    """Memory that is only requested is also the limit, and the other way round; a limit that is only of one is no bound for
    the other."""
    limit = fleet.memory_limit or fleet.memory_request or usual.memory_bytes
    return Resources(
        cpu_millis=fleet.cpu_request or min(usual.cpu_millis, fleet.cpu_limit or usual.cpu_millis),
        memory_bytes=limit,
        cpu_limit_millis=fleet.cpu_limit or usual.cpu_limit_millis,
        memory_request_bytes=fleet.memory_request,
    )


def _scaling(fleet: Fleet, usual: Scaling) -> Scaling:
    """One bound that is given moves the other one out of its way."""
    least, most = fleet.min_replicas, fleet.max_replicas
    if least is None:
        least = usual.least if most is None else min(usual.least, most)
    if most is None:
        most = max(usual.most, least)
    return Scaling(
        least=least,
        most=most,
        cpu_millis=fleet.target_cpu or usual.cpu_millis,
        in_flight=fleet.target_in_flight or usual.in_flight,
        calm=usual.calm if fleet.calm is None else fleet.calm // _SECOND,
    )


def _drain(fleet: Fleet, usual: Drain) -> Drain:
    """Whole seconds, rounded up. One bound that is given moves the other one out of its way."""
    least = _seconds(fleet.drain_least)
    most = _seconds(fleet.drain_most)
    if least is None:
        least = usual.least if most is None else min(usual.least, most)
    if most is None:
        most = max(usual.most, least)
    return replace(usual, least=least, most=most)


def _seconds(millis: int | None) -> int | None:
    return None if millis is None else -(-millis // _SECOND)
