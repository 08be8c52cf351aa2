"""Which pod of which gateway is replaced because it is ready and yet of no use: a state machine without I/O.

Kubernetes replaces what crashes and keeps calls from what is not ready. What it can't see is told by the proxies, and only by
comparison: that a proxy does badly means something where its peers do well.

| suspicion | what is seen, for as long as `Limits.patience` without a break |
|---|---|
| `NotConnected` | no replica of the operator has the pod's proxy, though the pod is ready; they have a peer of it |
| `StaleConfig` | the proxy is connected and has not answered for all that is published; a peer of it has |
| `FailingAlone` | all its calls fail; those of its peers to the same sections don't |

A suspect is replaced only if all of this holds, else it waits and stays a suspect:

| rule | why |
|---|---|
| everything is known: pods, and every replica's proxies | ignorance looks like failure |
| no pod was replaced that is not made up for yet | one at a time, of all gateways |
| long enough has passed since the last one, of any gateway and of this one | it may be our fault; a gateway's wait doubles |
| the gateway's pods are of one template, none is ending, none has just started | not in the midst of a rollout or a drain |
| a peer is ready, and is not under suspicion | never the last one |
| at least half of its pods remain that are ready and not under suspicion | if most are bad, it is not the pods |

Times are seconds of any clock that never goes back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

#: So many calls must have failed, and none succeeded, before a section is said to fail.
CALLS = 3


class Suspicion(StrEnum):
    """Why a pod is replaced."""

    NOT_CONNECTED = "NotConnected"
    STALE_CONFIG = "StaleConfig"
    FAILING_ALONE = "FailingAlone"


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds. `first` and `longest`: between two replacements in one gateway, doubled each time, until it has done without
    for `longest`. `overall`: between any two. `patience`: for which a suspicion has to last, and for which a pod is said to
    have just started. `recovery`: how long a replaced pod's gateway may take to be whole before others are looked at. `look`:
    from one look to the next."""

    patience: float = 60.0
    overall: float = 60.0
    first: float = 300.0
    longest: float = 3_600.0
    recovery: float = 600.0
    look: float = 10.0


@dataclass(frozen=True, slots=True)
class Pod:
    """`template`: the hash of what it was made from; `age`: seconds since it was created."""

    name: str
    uid: str
    ready: bool
    ending: bool
    template: str
    age: float


@dataclass(frozen=True, slots=True)
class Section:
    """How the calls of one section went lately in one proxy: nothing of it where there were too few to tell. `fails`: all of
    them failed. `mixed`: some did, too many to call it well."""

    id: str
    fails: bool
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Proxy:
    """A connected one. `sections`: those that had calls lately."""

    behind: bool = False
    sections: tuple[Section, ...] = ()


@dataclass(frozen=True, slots=True)
class Gateway:
    """One at one moment. `proxies`: those connected to any replica, by pod name."""

    pods: tuple[Pod, ...] = ()
    proxies: Mapping[str, Proxy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """All gateways at one moment, by `namespace/name`. `complete`: the pods were listed just now, and no replica of the
    operator is out of reach."""

    complete: bool
    gateways: Mapping[str, Gateway] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replace:
    """To be done: delete exactly this pod."""

    gateway: str
    pod: Pod
    suspicion: Suspicion


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one gateway: not before `due`; the next wait."""

    due: float
    wait: float
    last: float


@dataclass(frozen=True, slots=True)
class Healed:
    """The last replacement: which pod, when, and whether the gateway is whole again since."""

    gateway: str
    uid: str
    at: float
    over: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """`suspects`: by gateway and the pod's uid, what of, and since when without a break."""

    suspects: Mapping[tuple[str, str], tuple[Suspicion, float]] = field(default_factory=dict)
    paces: Mapping[str, Pace] = field(default_factory=dict)
    last: Healed | None = None


def step(state: State, seen: Seen, limits: Limits, now: float) -> tuple[State, Replace | None]:
    """One look, and the one pod to replace now, if any. The replacement counts as done from then on, whatever comes of it."""
    if not seen.complete:
        # What was suspected before may be over by now.
        return replace(state, suspects={}), None
    state = replace(state, suspects=_suspects(state, seen, now), last=_recovered(state.last, seen, limits, now))
    if not _overall(state, limits, now):
        return state, None
    for key, gateway in sorted(seen.gateways.items()):
        pace = state.paces.get(key)
        if (pace is not None and now < pace.due) or not _settled(gateway, limits):
            continue
        for pod in gateway.pods:
            suspect = state.suspects.get((key, pod.uid))
            if suspect is None or now - suspect[1] < limits.patience or not _spared(key, gateway, pod, state):
                continue
            return _replaced(state, key, pod, limits, now), Replace(key, pod, suspect[0])
    return state, None


def may_still(seen: Seen, action: Replace, state: State, limits: Limits) -> bool:
    """Whether a replacement is right by what was looked up since: the pods may be others by now."""
    gateway = seen.gateways.get(action.gateway)
    if not seen.complete or gateway is None or not _settled(gateway, limits):
        return False
    there = next((pod for pod in gateway.pods if pod.uid == action.pod.uid), None)
    return there is not None and there.ready and _spared(action.gateway, gateway, there, state)


def _suspects(state: State, seen: Seen, now: float) -> dict[tuple[str, str], tuple[Suspicion, float]]:
    found = {}
    for key, gateway in seen.gateways.items():
        for pod in gateway.pods:
            suspicion = suspected(gateway, pod)
            if suspicion is not None:
                before = state.suspects.get((key, pod.uid))
                since = before[1] if before is not None and before[0] is suspicion else now
                found[key, pod.uid] = (suspicion, since)
    return found


def suspected(gateway: Gateway, pod: Pod) -> Suspicion | None:
    """What is seen of a pod at this moment: the first table."""
    if not pod.ready or pod.ending:
        return None
    proxy = gateway.proxies.get(pod.name)
    peers = [gateway.proxies[each.name] for each in _peers(gateway, pod) if each.name in gateway.proxies]
    if proxy is None:
        return Suspicion.NOT_CONNECTED if peers else None
    if proxy.sections and all(each.fails for each in proxy.sections):
        failing = {each.id for each in proxy.sections}
        theirs = [each for peer in peers for each in peer.sections if each.id in failing]
        if theirs and not any(each.fails or each.mixed for each in theirs):
            return Suspicion.FAILING_ALONE
    if proxy.behind and any(not peer.behind for peer in peers):
        return Suspicion.STALE_CONFIG
    return None


def _peers(gateway: Gateway, pod: Pod) -> Iterator[Pod]:
    """The others of a gateway that take calls."""
    return (each for each in gateway.pods if each.uid != pod.uid and each.ready and not each.ending)


def _settled(gateway: Gateway, limits: Limits) -> bool:
    """No rollout, no drain, and no pod on its way. One that is not ready for long is stuck, and not on its way."""
    pods = gateway.pods
    if len({pod.template for pod in pods}) > 1 or any(pod.ending for pod in pods):
        return False
    return all(pod.age >= limits.patience for pod in pods)


def _spared(key: str, gateway: Gateway, pod: Pod, state: State) -> bool:
    """Whether enough remains without this one."""
    well = [each for each in _peers(gateway, pod) if (key, each.uid) not in state.suspects]
    return bool(well) and 2 * len(well) >= len(gateway.pods)


def _overall(state: State, limits: Limits, now: float) -> bool:
    last = state.last
    return last is None or (last.over and now - last.at >= limits.overall)


def _recovered(last: Healed | None, seen: Seen, limits: Limits, now: float) -> Healed | None:
    """Whether the last replaced pod is gone, and all pods of its gateway are ready again; or that took too long to wait for."""
    if last is None or last.over:
        return last
    gateway = seen.gateways.get(last.gateway)
    gone = gateway is None or all(pod.uid != last.uid for pod in gateway.pods)
    whole = gateway is None or all(pod.ready and not pod.ending for pod in gateway.pods)
    return replace(last, over=(gone and whole) or now - last.at >= limits.recovery)


def _replaced(state: State, key: str, pod: Pod, limits: Limits, now: float) -> State:
    before = state.paces.get(key)
    wait = limits.first
    if before is not None and now - before.last < before.wait + limits.longest:
        wait = min(before.wait * 2, limits.longest)
    paces = {**state.paces, key: Pace(now + wait, wait, now)}
    return replace(state, paces=paces, last=Healed(key, pod.uid, now))
