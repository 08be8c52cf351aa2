"""What is told as differences from the last time, after any edits, is what it would be from scratch: what proxies are sent, what
has changed of it, and what is said of each object."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from golden.infra.cases import USUAL
from harness.proxies import Proxies
from headgate.compile.memo import Memo
from headgate.compile.status import Status, StatusMemo, statuses
from headgate.compile.world import compile_snapshot
from headgate.envoy.render import RenderMemo, render
from headgate.envoy.resource import Resources, TypeUrl
from headgate.infra.gateway import gateway_objects, same_objects
from headgate.infra.settings import GatewayInputs
from headgate.model.observations import Acknowledgement, Circuit, Observed, ProbeReport, ProbeVerdict, SectionReport
from headgate.model.plan import Gateway
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan
from headgate.xds.marks import Marks
from headgate.xds.server import difference
from property.test_compile import edit, store, world

SEEDS = st.integers(0, 2**64)
SETTINGS = settings(
    max_examples=50,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def said(resources: Resources) -> dict[TypeUrl, dict[str, tuple[str, tuple[ObjectRef, ...], bytes]]]:
    """All that resources say."""
    return {
        kind: {name: (each.version, each.owners, each.body) for name, each in every.items()}
        for kind, every in resources.items()
        if every
    }


def apart(before: Resources, after: Resources) -> dict[TypeUrl, list[str]]:
    """What has changed, found by looking at all of it."""
    found = {}
    for kind in TypeUrl:
        one = {name: each.version for name, each in before.get(kind, {}).items()}
        other = {name: each.version for name, each in after.get(kind, {}).items()}
        names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
        if names:
            found[kind] = names
    return found


@SETTINGS
@given(seed=SEEDS)
def test_what_proxies_are_sent(seed: int, material: Mapping[str, bytes]) -> None:
    puts, data = world(seed, material)
    random, memo, kept = Random(seed + 1), Memo(), store(puts, data)
    memos: dict[str, RenderMemo] = {}
    sent: dict[str, Resources] = {}
    marks: dict[str, Marks] = {}
    for _ in range(5):
        plan = compile_snapshot(kept.snapshot(), memo)
        kept.accept(plan)
        for key, gateway in plan.gateways.items():
            resources = render(gateway, memos.setdefault(key, RenderMemo()))
            assert said(resources) == said(render(gateway, RenderMemo()))
            before = sent.get(key, {})
            assert difference(before, resources) == apart(before, resources)
            mark, fresh = marks.setdefault(key, Marks()), Marks()
            mark.update(before, resources)
            fresh.update(None, resources)
            assert (mark.digest, {each: mark[each] for each in mark}) == (
                fresh.digest,
                {each: fresh[each] for each in fresh},
            )
            sent[key] = resources
        edit(kept, puts, random, material)


@SETTINGS
@given(seed=SEEDS)
def test_what_a_fleet_is_made_of(seed: int, material: Mapping[str, bytes]) -> None:
    puts, data = world(seed, material)
    random, memo, kept = Random(seed + 1), Memo(), store(puts, data)
    inputs = GatewayInputs("uid", "{}", "/ready")
    before: Mapping[str, Gateway] = {}
    for _ in range(5):
        after = compile_snapshot(kept.snapshot(), memo).gateways
        for key in before.keys() & after.keys():
            one, other = before[key], after[key]
            if same_objects(one, other):
                assert gateway_objects(one, inputs, USUAL) == gateway_objects(other, inputs, USUAL)
        before = after
        edit(kept, puts, random, material)


def observed(plan: Plan, before: Observed, random: Random) -> Observed:
    """What is heard of some of it: mostly the same as before."""
    refs = list(plan.verdicts)
    keys = [
        (key, section.id)
        for key, gateway in plan.gateways.items()
        for each in gateway.upstreams.values()
        for section in each.sections
    ]
    upstreams = [key for gateway in plan.gateways.values() for key in gateway.upstreams]
    acks = Proxies(
        random.choice([1, 1, 1, 2]), {ref: Acknowledgement(pending=1) for ref in refs if random.random() < 0.2}
    )
    reports, probes = before.reports, before.probes
    if keys and random.random() < 0.5:
        told = SectionReport(random.choice(list(Circuit)), NOW, calls=3, failures=random.randint(0, 3))
        reports = {**reports, random.choice(keys): (told,)}
    if upstreams and random.random() < 0.5:
        probes = {**probes, random.choice(upstreams): ProbeReport(random.choice(list(ProbeVerdict)), NOW)}
    return Observed(acks, reports, probes)


@SETTINGS
@given(seed=SEEDS)
def test_what_is_said_of_each_object(seed: int, material: Mapping[str, bytes]) -> None:
    puts, data = world(seed, material)
    random, memo, kept = Random(seed + 1), Memo(), store(puts, data)
    joined: Mapping[ObjectRef, Status] = {}
    known, heard = StatusMemo(), Observed(Proxies())
    for _ in range(5):
        plan = compile_snapshot(kept.snapshot(), memo)
        kept.accept(plan)
        heard = observed(plan, heard, random)
        whole = statuses(plan, heard, joined, NOW)
        found = statuses(plan, heard, joined, NOW, known)
        assert {ref: each.document for ref, each in found.items()} == {
            ref: each.document for ref, each in whole.items()
        }
        assert found.keys() == plan.verdicts.keys()
        # What says the same is the same object: nobody writes it again.
        assert all(found[ref] is joined[ref] for ref in found if ref in joined and whole[ref] is joined[ref])
        joined = found
        if random.random() < 0.8:
            edit(kept, puts, random, material)
