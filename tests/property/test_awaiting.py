"""What is awaited, whatever came before: told of what changed alone, it is what one finds who looks at everything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.wanted import World, api, service, slices, with_upstreams, world_of
from headgate.app.awaiting import SETTLE
from headgate.kube.objects import Outcome, Result
from headgate.model.fleet import ServiceMode
from headgate.model.plan import Gateway
from headgate.model.refs import ObjectRef

NAMES = ("a", "b", "c")
MODES = (ServiceMode.EXTERNAL_NAME, ServiceMode.CLUSTER_IP, ServiceMode.NONE)
PODS = (None, (), ("10.0.0.1",), ("10.0.0.1", "10.0.0.2"))


class Run:
    """Two gateways and three upstreams, of which anything may become another at any time."""

    def __init__(self) -> None:
        self.world, self.edge = world_of(*NAMES)
        self.world.made = set()
        self.other = replace(self.edge, ref=self.edge.ref._replace(name="other"))
        self.world.uids[self.other.ref] = "other-uid"
        self.upstreams = {name: (api(name), 0) for name in NAMES}
        self.generation, self.uids = 1, 0
        self.leads = False

    @property
    def owners(self) -> list[ObjectRef]:
        return [self.edge.ref, self.other.ref, *(api(name).ref for name in NAMES)]

    def follow(self) -> None:
        def of(number: int, gateway: Gateway) -> Gateway:
            return with_upstreams(gateway, *(each for each, which in self.upstreams.values() if which == number))

        self.world.follow(of(0, self.edge), of(1, self.other), generation=self.generation)

    def edit(self, name: int, mode: int) -> None:
        which = self.upstreams[NAMES[name % 3]][1]
        self.upstreams[NAMES[name % 3]] = api(NAMES[name % 3], service_mode=MODES[mode % 3]), which
        self.follow()

    def move(self, name: int, _: int) -> None:
        upstream, which = self.upstreams[NAMES[name % 3]]
        self.upstreams[NAMES[name % 3]] = upstream, 1 - which
        self.follow()

    def anew(self, owner: int, _: int) -> None:
        self.uids += 1
        ref = self.owners[owner % 5]
        self.world.uids[ref] = f"uid-{self.uids}"
        assert self.world.made is not None
        self.world.made.discard(ref)
        self.follow()

    def edit_gateway(self, _: int, floor: int) -> None:
        self.generation += 1
        self.world.floors[self.edge.key] = floor % 4 + 2
        self.follow()

    def lead(self, leads: int, _: int) -> None:
        self.leads = bool(leads % 2)
        if not self.leads:
            self.world.slices = None
            known = list(self.world.writer.outcomes)
            self.world.writer.outcomes.clear()
            for ref in known:
                self.world.objects.told(ref)
        self.world.objects.again()

    def pods(self, which: int, ready: int) -> None:
        found = PODS[which % 4] if self.leads else None
        self.world.slices = None if found is None else slices(*found, ready=ready % 3 > 0)
        self.world.objects.again()

    def come(self, which: int, result: int) -> None:
        wanted = [*self.world.writer.objects]
        if self.leads and wanted:
            ref = wanted[which % len(wanted)]
            self.world.came(ref, result=Result.TAKEN if result % 5 == 0 else Result.APPLIED)

    def say(self, owner: int, made: int) -> None:
        """A status in the cluster says so."""
        ref = self.owners[owner % 5]
        assert self.world.made is not None
        if made % 2:
            self.world.made.add(ref)
        else:
            self.world.made.discard(ref)
        self.world.objects.heard(ref)

    def wait(self, tenths: int, _: int) -> None:
        self.world.passes(tenths / 10)


STEPS: tuple[Callable[[Run, int, int], None], ...] = (
    *(Run.edit, Run.move, Run.anew, Run.edit_gateway, Run.lead, Run.lead, Run.pods, Run.pods),
    *(Run.come, Run.come, Run.come, Run.say, Run.say, Run.wait),
)
HISTORIES = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 59), st.integers(0, 59)), max_size=40)


def lived(history: list[tuple[Callable[[Run, int, int], None], int, int]]) -> Run:
    run = Run()
    run.follow()
    for step, one, other in history:
        step(run, one, other)
    return run


@settings(max_examples=50, deadline=None)
@given(HISTORIES)
def test_who_is_told_of_changes_alone_knows_as_much_as_who_looks_at_all(
    history: list[tuple[Callable[[Run, int, int], None], int, int]],
) -> None:
    run = lived(history)
    objects = run.world.objects
    before = dict(objects.reports())
    for owner in run.owners:
        objects.heard(owner)
    objects.again()
    for ref in run.world.writer.objects:
        objects.told(ref)
    assert dict(objects.reports()) == before


@settings(max_examples=50, deadline=None)
@given(HISTORIES)
def test_it_ends_when_all_is_there(history: list[tuple[Callable[[Run, int, int], None], int, int]]) -> None:
    run = lived(history)
    run.lead(1, 0)
    run.world.slices = slices("10.0.0.1")
    run.world.objects.again()
    secrets = [ObjectRef("Secret", each.namespace, f"{each.name}-headgate") for each in run.world.writer.gateways]
    run.world.came(*run.world.writer.objects, *secrets)
    run.world.passes(SETTLE)
    assert run.world.objects.reports() == {}


@settings(max_examples=50, deadline=None)
@given(HISTORIES, st.sampled_from([Outcome(Result.APPLIED), None]))
def test_what_a_status_says_is_made_is_not_taken_back_by_another_leader(
    history: list[tuple[Callable[[Run, int, int], None], int, int]], outcome: Outcome | None
) -> None:
    run = lived(history)
    run.lead(0, 0)
    for number in range(5):
        run.say(number, 1)
    run.lead(1, 0)
    run.world.slices = slices("10.0.0.1")
    run.world.objects.again()
    if outcome is not None:
        run.world.came(service("a"))
    assert run.world.objects.reports() == {}


def test_a_world_has_more_to_wait_for_than_nothing() -> None:
    run = Run()
    run.follow()
    assert run.world.objects.reports().keys() == set(run.owners)
    assert isinstance(run.world, World)
