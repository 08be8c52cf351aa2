"""What holds for every world: compile never fails, gives the same for the same, and keeps one's mistakes one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from golden.profiles import WITH_UNFIT
from harness.proxies import Proxies
from harness.static import validate
from headgate.api.conditions import ConditionStatus, Reason
from headgate.compile.memo import Memo
from headgate.compile.status import statuses
from headgate.compile.world import compile_snapshot, referred
from headgate.envoy.render import RenderMemo, render
from headgate.model import dump
from headgate.model.observations import Observed
from headgate.model.plan import Upstream
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Broken, DataObject, Settings, Snapshot
from headgate.model.verdict import Plan
from headgate.store import Put, Store
from property import worlds

SEEDS = st.integers(0, 2**64)
SETTINGS = settings(
    max_examples=150,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def compiled(snapshot: Snapshot, memo: Memo) -> Plan:
    return compile_snapshot(snapshot, memo, WITH_UNFIT)


def store(puts: Sequence[Put], data: Sequence[DataObject], *, implied: bool = True) -> Store:
    found = Store(Settings(implied_gateway=implied, system_roots=SecretValue(b"roots")))
    for put in puts:
        found.put(put)
    for each in data:
        found.put_data(each)
    found.put_namespace("shop", {"team": "a"})
    return found


def world(seed: int, material: Mapping[str, bytes]) -> tuple[list[Put], list[DataObject]]:
    random = Random(seed)
    return worlds.puts(random), worlds.data(random, material)


def text(plan: Plan) -> str:
    """All of a Plan but the secrets, in the order of its maps."""
    return repr((dump.plan(plan), list(plan.verdicts.items()), list(plan.good.items()), sorted(plan.references)))


def served(plan: Plan) -> dict[str, Upstream]:
    return {key: upstream for gateway in plan.gateways.values() for key, upstream in gateway.upstreams.items()}


@SETTINGS
@given(seed=SEEDS)
def test_whatever_the_models_accept_compiles_and_renders(seed: int, material: Mapping[str, bytes]) -> None:
    puts, data = world(seed, material)
    snapshot = store(puts, data).snapshot()
    plan = compiled(snapshot, Memo())
    assert plan.references == referred(snapshot)
    assert plan.verdicts.keys() == {put.ref for put in puts}
    for gateway in plan.gateways.values():
        render(gateway, RenderMemo())
        named = set(gateway.secrets)
        for upstream in gateway.upstreams.values():
            needed = {credential.secret for section in upstream.sections for credential in section.credentials}
            needed |= {section.tls.roots for section in upstream.sections if section.tls}
            assert needed <= named
            assert upstream.routes[-1].section == "default"
            assert {route.section for route in upstream.routes} <= {section.name for section in upstream.sections}
    for status in statuses(plan, Observed(Proxies(count=1)), {}, NOW).values():
        assert status.document.conditions


@SETTINGS
@given(seed=SEEDS)
def test_every_refusal_says_why(seed: int, material: Mapping[str, bytes]) -> None:
    puts, data = world(seed, material)
    for verdict in compiled(store(puts, data).snapshot(), Memo()).verdicts.values():
        for judgement in (verdict.accepted, verdict.resolved, *(each.accepted for each in verdict.targets)):
            assert (judgement.status is ConditionStatus.TRUE) == (not judgement.message)


@SETTINGS
@given(seed=SEEDS)
def test_the_order_in_which_things_are_said_means_nothing(seed: int, material: Mapping[str, bytes]) -> None:
    puts, data = world(seed, material)
    first = text(compiled(store(puts, data).snapshot(), Memo()))
    Random(seed + 1).shuffle(puts)
    Random(seed + 2).shuffle(data)
    assert text(compiled(store(puts, data).snapshot(), Memo())) == first


@SETTINGS
@given(seed=SEEDS)
def test_a_memo_changes_nothing_but_the_time(seed: int, material: Mapping[str, bytes]) -> None:
    """After each of some edits: the same Plan as from scratch, and again at no cost."""
    puts, data = world(seed, material)
    random, memo, kept = Random(seed + 1), Memo(), store(puts, data)
    for _ in range(6):
        edit(kept, puts, random, material)
        snapshot = kept.snapshot()
        plan = compiled(snapshot, memo)
        assert text(plan) == text(compiled(snapshot, Memo()))
        if random.random() < 0.7:
            kept.accept(plan)
            # What is good now may be fallen back to by what found nothing before.
            short = any(each.resolved.status is not ConditionStatus.TRUE for each in plan.verdicts.values())
            counted = memo.compiled
            again = compiled(kept.snapshot(), memo)
            assert text(again) == text(plan)
            assert memo.compiled == counted or short
            assert all(again.gateways[key] is gateway for key, gateway in plan.gateways.items())


def edit(kept: Store, puts: Sequence[Put], random: Random, material: Mapping[str, bytes]) -> None:
    """One or two changes to whatever there is, often inside of an upstream only."""
    upstreams = [put.ref for put in puts if put.ref.kind == "UpstreamService"]
    for _ in range(random.randint(1, 2)):
        match random.choice(["put", "put", "upstream", "upstream", "remove", "data", "no data", "namespace"]):
            case "upstream" if upstreams:
                kept.put(worlds.put(random.choice(upstreams), random, broken=0.3))
            case "put":
                kept.put(worlds.put(random.choice(list(worlds.refs())), random, broken=0.3))
            case "remove" if puts:
                kept.remove(random.choice(puts).ref)
            case "data":
                for each in worlds.data(random, material)[:1]:
                    kept.put_data(each)
            case "no data":
                kept.remove_data(ObjectRef("Secret", "shop", random.choice(worlds.DATA)))
            case _:
                kept.put_namespace("shop", {"team": random.choice(["a", "b"])})


@SETTINGS
@given(seed=SEEDS)
def test_breaking_one_upstream_changes_no_other(seed: int, material: Mapping[str, bytes]) -> None:
    puts, data = world(seed, material)
    upstreams = [put for put in puts if put.ref.kind == "UpstreamService"]
    kept = store(puts, data)
    before = compiled(kept.snapshot(), Memo())
    if not upstreams:
        return
    victim = Random(seed).choice(upstreams).ref
    kept.put(Put(victim, "broken", Broken(Reason.INVALID_SPEC, "it can't be read")))
    after = compiled(kept.snapshot(), Memo())
    assert _others(after, victim.key) == _others(before, victim.key)


def _others(plan: Plan, key: str) -> dict[str, Upstream]:
    return {name: upstream for name, upstream in served(plan).items() if name != key}


@SETTINGS
@given(seed=SEEDS)
def test_what_was_live_stays_live_when_its_declaration_breaks(seed: int, material: Mapping[str, bytes]) -> None:
    puts, data = world(seed, material)
    kept = store(puts, data)
    before = compiled(kept.snapshot(), Memo())
    kept.accept(before)
    for put in puts:
        kept.put(Put(put.ref, "broken", Broken(Reason.INVALID_SPEC, "it can't be read")))
    after = compiled(kept.snapshot(), Memo())
    assert served(after) == served(before)
    assert dump.plan(after) == dump.plan(before)
    for verdict in after.verdicts.values():
        assert verdict.accepted.status is ConditionStatus.FALSE


@SETTINGS
@given(seed=SEEDS)
def test_what_was_live_stays_live_when_its_secrets_go(seed: int, material: Mapping[str, bytes]) -> None:
    puts, data = world(seed, material)
    kept = store(puts, data)
    before = compiled(kept.snapshot(), Memo())
    kept.accept(before)
    kept.replace_data([])
    after = compiled(kept.snapshot(), Memo())
    assert after.gateways == before.gateways


@pytest.mark.parametrize("seed", range(5))
def test_worlds_are_worth_their_name(seed: int, material: Mapping[str, bytes]) -> None:
    """The worlds serve something and refuse something: else the above would hold of nothing."""
    plans = [compiled(store(*world(seed * 100 + each, material)).snapshot(), Memo()) for each in range(45)]
    assert sum(len(served(plan)) for plan in plans) >= 20
    reasons = {verdict.accepted.reason for plan in plans for verdict in plan.verdicts.values()}
    assert {Reason.ACCEPTED, Reason.INVALID_SPEC, Reason.TARGET_NOT_FOUND, Reason.FORBIDDEN_ADDRESS} <= reasons


@settings(SETTINGS, max_examples=25)
@given(seed=SEEDS)
def test_envoy_takes_whatever_compiles(seed: int, material: Mapping[str, bytes]) -> None:
    plan = compiled(store(*world(seed, material)).snapshot(), Memo())
    for gateway in plan.gateways.values():
        if gateway.upstreams:
            assert validate(render(gateway, RenderMemo())) == ""
