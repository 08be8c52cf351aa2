"""Pods that are ready and of no use are replaced, by the replica that leads: what is observed, put together, and what is done.

What decides is `control.healing`. Every `Limits.look` seconds the pods are listed and held against what the proxies say; before
one is deleted they are listed once more. A Deployment makes another one; the old one drains as any other that is deleted. Each
is told as an Event of its gateway and counted. One event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from headgate.app.sight import Sight
from headgate.control import healing
from headgate.control.healing import CALLS, Gateway, Limits, Pod, Proxy, Replace, Section, Seen, State, Suspicion
from headgate.infra.manifest import label_value
from headgate.kube.client import Api, ApiProblem, Refused
from headgate.kube.elector import Leadership, NotLeading
from headgate.kube.events import Happening
from headgate.kube.pods import GatewayPod, list_pods
from headgate.kube.resources import PODS
from headgate.kube.scope import Scope
from headgate.model.observations import Circuit, SectionReport
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan

_log = structlog.stdlib.get_logger("headgate.healing")
#: Seconds for which what a proxy said of a section counts.
LATELY = 30.0
#: The share of failed calls up to which a section is said to do well.
_FEW: Final = 0.1
_WORDS: Final = {
    Suspicion.NOT_CONNECTED: "no replica of the operator has its proxy, while they have its peers'",
    Suspicion.STALE_CONFIG: "its proxy does not take what is published, while its peers have",
    Suspicion.FAILING_ALONE: "all calls through its proxy fail, while its peers' calls to the same upstreams do not",
}


@dataclass(frozen=True, slots=True)
class Telling:
    """Where it is told: Events, and a count by gateway, deed and reason."""

    event: Callable[[Happening], None]
    count: Callable[[str, str, str], None] = lambda _gateway, _what, _reason: None


class Healer:
    """`uid`: a gateway's, as the cluster has it now."""

    def __init__(
        self,
        api: Api,
        scope: Scope,
        sight: Sight,
        telling: Telling,
        uid: Callable[[ObjectRef], str | None],
        limits: Limits | None = None,
    ) -> None:
        self._api, self._scope, self._sight, self._telling, self._uid = api, scope, sight, telling, uid
        self._limits = limits or Limits()
        self._refs: Mapping[tuple[str, str], ObjectRef] = {}
        self.suspects: Mapping[tuple[str, ...], float] = {}

    def follow(self, plan: Plan) -> None:
        """These gateways there are."""
        gateways = plan.gateways.values()
        self._refs = {(each.ref.namespace, label_value(each.ref.name)): each.ref for each in gateways}

    async def run(self, leadership: Leadership) -> None:
        """While this replica leads. What another one has seen before is not known: suspicions begin anew."""
        state = State()
        while True:
            await asyncio.sleep(self._limits.look)
            seen = await self._seen()
            state, action = healing.step(state, seen, self._limits, time.monotonic())
            self.suspects = _counted(state)
            if action is not None:
                await self._replace(action, state, leadership)

    async def _replace(self, action: Replace, state: State, leadership: Leadership) -> None:
        """What can't be done now is not tried again before the gateway's time comes: it counts as done."""
        pod, suspicion = action.pod, action.suspicion
        if not healing.may_still(await self._seen(), action, state, self._limits):
            _log.info("healing.no_more", gateway=action.gateway, pod=pod.name, suspicion=suspicion.value)
            return
        namespace, _, name = action.gateway.partition("/")
        try:
            async with leadership.write():
                await self._api.delete(PODS, namespace, pod.name, uid=pod.uid)
        except (ApiProblem, NotLeading) as problem:
            _log.warning("healing.not_replaced", gateway=action.gateway, pod=pod.name, error=str(problem))
            if not isinstance(problem, Refused):
                return
            note = f"pod {pod.name} should be replaced and can't be: {_WORDS[suspicion]} ({problem.message})"
            self._tell(namespace, name, "PodNotReplaced", suspicion, note)
            return
        _log.warning("healing.replaced", gateway=action.gateway, pod=pod.name, suspicion=suspicion.value)
        lasted = f"for {self._limits.patience:.0f} s and more"
        note = f"pod {pod.name} is ready, but {lasted} {_WORDS[suspicion]} ({suspicion}): it is replaced"
        self._tell(namespace, name, "PodReplaced", suspicion, note)

    def _tell(self, namespace: str, name: str, what: str, suspicion: Suspicion, note: str) -> None:
        ref = ObjectRef("IntegrationGateway", namespace, name)
        self._telling.event(Happening(ref, self._uid(ref) or "", what, note, action="Heal", warning=True))
        self._telling.count(ref.key, what, suspicion.value)

    async def _seen(self) -> Seen:
        """Everything as it is now."""
        try:
            pods = await list_pods(self._api, self._scope)
        except ApiProblem as problem:
            _log.warning("healing.blind", error=str(problem))
            return Seen(complete=False)
        if unheard := self._sight.unheard():
            _log.info("healing.blind", unheard=unheard)
            return Seen(complete=False)
        sections = self._sections()
        by_gateway: dict[str, list[Pod]] = {}
        for each in pods:
            ref = self._refs.get((each.namespace, each.gateway))
            if ref is not None:
                by_gateway.setdefault(ref.key, []).append(_pod(each))
        gateways = {}
        for key, found in by_gateway.items():
            states, start = self._sight.states(key), len(key) + 1
            proxies = {
                node[start:]: Proxy(node in states.behind, tuple(sections.get(node, ()))) for node in states.connected
            }
            gateways[key] = Gateway(tuple(found), proxies)
        return Seen(complete=True, gateways=gateways)

    def _sections(self) -> dict[str, list[Section]]:
        """By node id, how calls went there lately."""
        found: dict[str, list[Section]] = {}
        now = datetime.now(UTC)
        for (_, section), reports in self._sight.reports().items():
            for report in reports:
                if report.heard is not None and (now - report.heard).total_seconds() < LATELY:
                    judged = judge(section, report)
                    if judged is not None:
                        found.setdefault(report.node, []).append(judged)
        return found


def judge(section: str, report: SectionReport) -> Section | None:
    """What one proxy's report says of one section; None: too little."""
    if report.circuit in (Circuit.OPEN, Circuit.HALF_OPEN):
        # Its breaker lets too few calls through to count them.
        return Section(section, fails=True)
    if not report.calls:
        return None
    if report.failures == report.calls:
        return Section(section, fails=True) if report.calls >= CALLS else None
    return Section(section, fails=False, mixed=report.failures > report.calls * _FEW)


def _pod(pod: GatewayPod) -> Pod:
    age = max((datetime.now(UTC) - pod.created).total_seconds(), 0.0)
    return Pod(pod.name, pod.uid, pod.ready, pod.ending, pod.template, age)


def _counted(state: State) -> Mapping[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for (gateway, _), (suspicion, _) in state.suspects.items():
        found[gateway, suspicion.value] = found.get((gateway, suspicion.value), 0) + 1
    return found
