"""With a memo, statuses cost what may have changed; they are what they would be without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from types import MappingProxyType

import pytest

from harness.declare import EDGE, World, on_gateway, policy, secret, upstream
from harness.proxies import Proxies
from headgate.compile import documents
from headgate.compile import status as status_
from headgate.compile.status import Status, StatusMemo, statuses
from headgate.model.observations import (
    Acknowledgement,
    Circuit,
    ObjectReport,
    ObjectResult,
    Observed,
    ProbeReport,
    ProbeReports,
    ProbeVerdict,
    SectionReport,
    SectionReports,
)
from headgate.model.refs import ObjectRef

NAMES = ("a", "b", "c", "d")
PROBED = "{hostname: api.example, probe: {path: /}}"
EDGE_REF, KEYS = ObjectRef("IntegrationGateway", "shop", "edge"), ObjectRef("Secret", "shop", "keys")
KEYED = """{hostname: api.example, probe: {path: /}, credentials: [
  {name: key, secretRef: {name: keys, key: token}, location: {header: {name: x-key}}}]}"""
NOW = datetime(2026, 1, 1, tzinfo=UTC)
REPORT = SectionReport(Circuit.CLOSED, NOW, "", calls=1, failures=0, failing=False)


class Life:
    """A world, its proxies and its traffic, changing by chance."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.world = World(
            EDGE + "".join(upstream(name, PROBED) for name in NAMES) + policy("CircuitBreaker", "fuse", target="a")
        )
        self.plan = self.world.compile()
        self.proxies = Proxies(count=1)
        self.reports: dict[tuple[str, str], tuple[SectionReport, ...]] = {}
        self.probes: dict[str, ProbeReport] = {}
        self.objects: dict[ObjectRef, tuple[ObjectReport, ...]] = {}
        self.unreadable: dict[ObjectRef, str] = {}

    def observed(self) -> Observed:
        """Of this moment."""
        return Observed(self.proxies, self.reports, self.probes, self.objects, self.unreadable)

    def probed(self, name: str) -> dict[str, ProbeReport]:
        """What probes say, with something new of this one."""
        verdict = self.random.choice(list(ProbeVerdict))
        return {**self.probes, f"shop/{name}": ProbeReport(verdict, NOW, self.random.choice("xy"))}

    def go_on(self) -> None:
        """One more thing happens."""
        name = self.random.choice(NAMES)
        match self.random.randrange(14):
            case 0:
                self.world.say(upstream(name, f"{{hostname: h{self.random.randrange(3)}.example, probe: {{path: /}}}}"))
            case 1:
                self.world.say(upstream(name, "{hostname: 10.0.0.1}"))
            case 2:
                self.world.store.remove(ObjectRef("UpstreamService", "shop", name))
            case 3:
                target = self.random.choice(NAMES)
                section = self.random.choice(["", "pay"])
                self.world.say(policy("CircuitBreaker", "fuse", target=target, section=section))
            case 4:
                self.world.say(on_gateway("RetryPolicy", "all", f"attempts: {self.random.randint(1, 3)}"))
            case 5:
                self.proxies = replace(self.proxies, count=self.random.randint(0, 2))
            case 6:
                refs = self.random.sample(sorted(self.plan.verdicts), min(3, len(self.plan.verdicts)))
                kinds = (Acknowledgement(pending=1), Acknowledgement(rejected=("no",)))
                self.proxies = replace(self.proxies, said={ref: self.random.choice(kinds) for ref in refs})
            case 7:
                self.proxies = replace(self.proxies, said={})
            case 8 | 9 | 10 | 11 | 12 as what:
                self._go_on_in_the_cluster(what, name)
            case _:
                report = replace(
                    REPORT,
                    circuit=self.random.choice(list(Circuit)),
                    calls=self.random.randint(0, 9),
                    failures=self.random.randint(0, 9),
                    failing=self.random.random() < 0.5,
                )
                self.reports = {**self.reports, ("shop/edge", f"shop/{name}/default"): (report,)}
                if self.random.random() < 0.3:
                    self.reports = {}
        if self.random.random() < 0.8:
            self.plan = self.world.compile()

    def _go_on_in_the_cluster(self, what: int, name: str) -> None:
        match what:
            case 8:
                self.probes = self.probed(name) if self.random.random() < 0.7 else {}
            case 9:
                ref = self.random.choice([ObjectRef("UpstreamService", "shop", name), EDGE_REF])
                result = self.random.choice(list(ObjectResult))
                self.objects = {**self.objects, ref: (ObjectReport("Service", name, result, "no"),)}
                if self.random.random() < 0.3:
                    self.objects = {}
            case 10:
                self.unreadable = {KEYS: "403"} if self.random.random() < 0.5 else {}
            case 11:
                self.world.say(upstream(name, KEYED))
                self.world.say(secret("keys", token=self.random.choice("xyz")))
            case _:
                self.world.store.remove_data(KEYS)
                silent = ("b",) if self.random.random() < 0.5 else ()
                self.proxies = replace(self.proxies, silent=silent)


@pytest.mark.parametrize("seed", range(40))
def test_a_memo_changes_nothing_but_the_time(seed: int) -> None:
    life, memo, now = Life(seed), StatusMemo(), NOW
    with_memo: Mapping[ObjectRef, Status] = {}
    without: Mapping[ObjectRef, Status] = {}
    for _ in range(40):
        life.go_on()
        now += timedelta(seconds=1)
        before = dict(with_memo)
        observed = life.observed()
        with_memo = statuses(life.plan, observed, with_memo, now, memo)
        without = statuses(life.plan, observed, without, now)
        assert {ref: each.document for ref, each in with_memo.items()} == {
            ref: each.document for ref, each in without.items()
        }
        for ref, each in with_memo.items():
            if ref in before and before[ref].document == each.document:
                # A writer sees by identity that there is nothing to write; an upstream edited without effect is new.
                assert before[ref] is each or before[ref].inputs != each.inputs


def test_only_what_may_have_changed_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[ObjectRef] = []
    made = documents.document

    def noted(*arguments: object) -> object:
        looked.append(arguments[0].verdict.ref)  # type: ignore[attr-defined]
        return made(*arguments)  # type: ignore[arg-type]

    asked: list[ObjectRef] = []

    class Asked(Proxies):
        def of(self, gateway: str, owner: ObjectRef) -> Acknowledgement:
            asked.append(owner)
            return super().of(gateway, owner)

    world, memo = World(EDGE + "".join(upstream(f"u{number}") for number in range(100))), StatusMemo()
    world.compile()
    found = statuses(world.compile(), Observed(Asked()), {}, NOW, memo)
    monkeypatch.setattr(status_, "document", noted)
    u7, edge = ObjectRef("UpstreamService", "shop", "u7"), ObjectRef("IntegrationGateway", "shop", "edge")

    def again(proxies: Proxies, reports: SectionReports, probes: ProbeReports = MappingProxyType({})) -> None:
        nonlocal found
        asked.clear()
        looked.clear()
        found = statuses(world.compile(), Observed(proxies, reports, probes), found, NOW, memo)

    again(Asked(), {})
    assert (set(asked), looked) == ({edge}, [])
    world.say(upstream("u7", "{hostname: other.example}"))
    again(Asked(), {})
    assert (set(asked), looked) == ({edge, u7}, [u7])
    again(Asked(said={u7: Acknowledgement(pending=1)}), {})
    assert (set(asked), looked) == ({edge, u7}, [u7])
    again(Asked(), {("shop/edge", "shop/u7/default"): (REPORT,)})
    assert (set(asked), looked) == ({edge, u7}, [u7])
    probes = {"shop/u8": ProbeReport(ProbeVerdict.PAUSED, NOW)}
    again(Asked(), {("shop/edge", "shop/u7/default"): (REPORT,)}, probes)
    assert (set(asked), looked) == ({edge, ObjectRef("UpstreamService", "shop", "u8")}, []), "it has no probe"
    again(Asked(count=3), {("shop/edge", "shop/u7/default"): (REPORT,)})
    assert len(set(asked)) == 101
    # An earlier result is no ground to stand on.
    statuses(world.plan, Observed(Asked()), dict(found), NOW, memo)
    assert len(set(asked)) == 101
