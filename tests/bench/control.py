"""The control plane: one changed route from the Store to a real Envoy's acknowledgement and the object's status.

`python -m bench.control SIZE EDITS` measures one size in a process of its own, so that its memory is that of this size, and
writes a Result as JSON. It runs what `headgate run` runs below its folder: Store, Engine (compile, render, publish, join
statuses) and XdsServer, with one Envoy on the other end.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from bench.figures import MIB, Part, Table, peak_mib, percentile, resident_mib
from bench.world import GATEWAY, World
from harness.envoy import Envoy, eventually, give_identity, short_directory
from harness.ports import free_port
from headgate.api.conditions import ConditionStatus, ConditionType
from headgate.app.engine import Engine, Outlook
from headgate.compile.memo import Memo
from headgate.compile.status import Status, StatusMemo, statuses
from headgate.compile.world import compile_snapshot
from headgate.envoy.render import RenderMemo, render
from headgate.envoy.resource import Resources, TypeUrl
from headgate.model.observations import Observed
from headgate.model.refs import ObjectRef
from headgate.model.verdict import Plan
from headgate.providers.registry import BUILT_IN
from headgate.xds.acknowledgements import Answers
from headgate.xds.bootstrap import NodeBootstrap, document
from headgate.xds.pki import CertificateAuthority, ServerTls
from headgate.xds.reports import Reports
from headgate.xds.server import XdsServer, difference

EDITS = 50
#: Seconds for one size, all of it.
LIMIT = 240.0
#: Steps of one edit, in their order, without gRPC and Envoy.
STEPS = ("compile", "accept", "render", "difference", "status")
KINDS_OF_EDIT = ("an upstream", "a retry policy", "a secret", "an upstream more or less")
FEW_EDITS = 10


@dataclass(slots=True)
class Result:
    """Times in milliseconds, memory in MiB. Per edit: `published`, until it is handed to the ADS server; `acknowledged`,
    until Envoy has acknowledged; `told`, until the status says Programmed. `steps`: the CPU time of each pure step alone,
    per edit; `kinds`: that of all of them, by what is edited. `resources` and `bytes` are what one edit sends, the most of
    all edits."""

    size: int
    read_ms: float = 0.0
    first: dict[str, float] = field(default_factory=dict)
    loaded_ms: float = 0.0
    published: list[float] = field(default_factory=list)
    acknowledged: list[float] = field(default_factory=list)
    told: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=dict)
    kinds: dict[str, list[float]] = field(default_factory=dict)
    compiled_at_load: int = 0
    compiled_per_edit: float = 0.0
    rendered_per_edit: float = 0.0
    resources: int = 0
    bytes: int = 0
    first_bytes: int = 0
    base_mib: float = 0.0
    control_mib: float = 0.0
    control_peak_mib: float = 0.0
    envoy_mib: float = 0.0


class _Watch:
    """Notes when what happens. `on_feedback` may come several times for one edit: the last one counts."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.published = 0.0
        self.answered = 0.0
        self.outlook: Outlook | None = None
        self.looked = asyncio.Event()

    def on_feedback(self, gateway: str) -> None:
        self.answered = time.perf_counter()
        if self.engine is not None:
            self.engine.wake(gateway)

    def on_plan(self, _plan: Plan) -> None:
        self.published = time.perf_counter()

    def on_outlook(self, outlook: Outlook) -> None:
        self.outlook = outlook
        self.looked.set()

    async def until_told(self, ref: ObjectRef, generation: int) -> None:
        """Until this object's status says that this generation is programmed."""
        while not self._told(ref, generation):
            self.looked.clear()
            await self.looked.wait()

    def _told(self, ref: ObjectRef, generation: int) -> bool:
        status = self.outlook.statuses.get(ref) if self.outlook else None
        if status is None or status.document.observed_generation != generation:
            return False
        return any(
            (each.type, each.status) == (ConditionType.PROGRAMMED, ConditionStatus.TRUE)
            for each in status.document.conditions
        )


async def whole(size: int, edits: int) -> Result:
    """Everything, with Envoy; then the pure steps by themselves."""
    result = Result(size, base_mib=resident_mib())
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        began = time.perf_counter()
        world = World(size, free_port())
        result.read_ms = (time.perf_counter() - began) * 1000
        authority = CertificateAuthority(directory / "authority")
        watch = _Watch()
        reports = Reports()
        xds = XdsServer(
            ServerTls(authority, ["127.0.0.1"]), on_feedback=watch.on_feedback, add_services=[reports.add_to]
        )
        (port,) = await xds.start(["127.0.0.1:0"])
        give_identity(authority, GATEWAY, directory / "identity")
        bootstrap = NodeBootstrap(GATEWAY, "one", (f"127.0.0.1:{port}",), directory / "identity")
        envoy = stack.enter_context(Envoy(document(bootstrap), directory))
        await eventually(lambda: xds.feedback(GATEWAY).connected > 0, "Envoy to connect")
        engine = Engine(
            world.store,
            xds,
            reports,
            profiles=BUILT_IN,
            previous={},
            on_plan=watch.on_plan,
            on_outlook=watch.on_outlook,
        )
        watch.engine = engine
        running: asyncio.Task[None] | None = None
        try:
            running = await _load(engine, xds, watch, result)
            await _edit(world, xds, watch, result, edits)
            result.control_mib, result.control_peak_mib = resident_mib(), peak_mib()
            result.envoy_mib = envoy.resident_bytes() / MIB
        finally:
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            await xds.stop()
    _alone(size, edits, result)
    return result


async def _load(engine: Engine, xds: XdsServer, watch: _Watch, result: Result) -> asyncio.Task[None]:
    """The first compile, then the engine's own loop until Envoy has everything."""
    began = time.perf_counter()
    await engine.compile()
    result.first["published"] = (watch.published - began) * 1000
    running = asyncio.create_task(engine.run())
    async with asyncio.timeout(LIMIT):
        while watch.outlook is None or not watch.outlook.answers.settled(GATEWAY):
            watch.looked.clear()
            await watch.looked.wait()
    result.loaded_ms = (watch.answered - began) * 1000
    refused = xds.feedback(GATEWAY).rejected
    if refused:
        raise RuntimeError(f"Envoy refuses {len(refused)} resources: {next(iter(refused.items()))}")
    result.first_bytes = sum(xds.stats().of(type_url).bytes for type_url in TypeUrl)
    return running


async def _edit(world: World, xds: XdsServer, watch: _Watch, result: Result, edits: int) -> None:
    # The first edit meets what the load has left; it is no part of the figures.
    for number in range(-1, edits):
        before = xds.stats()
        began = time.perf_counter()
        ref, generation = world.edit((number * 37 + 37) % world.size)
        await asyncio.wait_for(watch.until_told(ref, generation), 30)
        told = time.perf_counter()
        after = xds.stats()
        if number < 0:
            continue
        result.published.append((watch.published - began) * 1000)
        result.acknowledged.append((watch.answered - began) * 1000)
        result.told.append((told - began) * 1000)
        sent = sum(after.of(each).resources - before.of(each).resources for each in TypeUrl)
        size = sum(after.of(each).bytes - before.of(each).bytes for each in TypeUrl)
        result.resources, result.bytes = max(result.resources, sent), max(result.bytes, size)


class _Alone:
    """The pure steps by themselves. In CPU time: nothing waits here, and other processes on the machine are not in it."""

    def __init__(self, size: int) -> None:
        self.world = World(size, 1)
        self.memo, self.rendering, self._status_memo = Memo(), RenderMemo(), StatusMemo()
        self._resources: Resources = {}
        self._known: Mapping[ObjectRef, Status] = {}

    def step(self) -> dict[str, float]:
        """From what is in the Store to the statuses; milliseconds by step."""
        times = [time.process_time()]
        plan = compile_snapshot(self.world.store.snapshot(), self.memo)
        times.append(time.process_time())
        self.world.store.accept(plan)
        times.append(time.process_time())
        before, self._resources = self._resources, render(plan.gateways[GATEWAY], self.rendering)
        times.append(time.process_time())
        difference(before, self._resources)
        times.append(time.process_time())
        self._known = statuses(plan, Observed(Answers([])), self._known, datetime.now(UTC), self._status_memo)
        times.append(time.process_time())
        return {name: (end - start) * 1000 for name, start, end in zip(STEPS, times[:-1], times[1:], strict=True)}


def _alone(size: int, edits: int, result: Result) -> None:
    """At the first load, per edit, and for the kinds of edits that concern more than one object."""
    alone = _Alone(size)
    result.first |= alone.step()
    result.compiled_at_load = alone.memo.compiled
    alone.world.edit(0)
    alone.step()  # the first edit after the load is no part of the figures
    compiled, rendered = alone.memo.compiled, alone.rendering.rendered
    spent = []
    for number in range(edits):
        alone.world.edit((number * 41) % size)
        spent.append(alone.step())
    result.steps = {name: [each[name] for each in spent] for name in STEPS}
    result.compiled_per_edit = (alone.memo.compiled - compiled) / edits
    result.rendered_per_edit = (alone.rendering.rendered - rendered) / edits
    kinds: dict[str, Callable[[int], object]] = {
        KINDS_OF_EDIT[0]: alone.world.edit,
        KINDS_OF_EDIT[1]: alone.world.edit_policy,
        KINDS_OF_EDIT[2]: alone.world.rotate,
        KINDS_OF_EDIT[3]: lambda _: alone.world.add_or_remove(),
    }
    for kind, make in kinds.items():
        result.kinds[kind] = []
        for number in range(FEW_EDITS):
            make((number * 43) % size)
            result.kinds[kind].append(sum(alone.step().values()))


def run(size: int, edits: int) -> Result:
    """Measure in a process of its own. Raises RuntimeError with what it wrote if it fails."""
    command = [sys.executable, "-m", "bench.control", str(size), str(edits)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            said, wrong = child.communicate(timeout=LIMIT)
        except BaseException:
            # Not killed: it has an Envoy to end.
            child.terminate()
            raise
    if child.returncode:
        raise RuntimeError(f"{size} upstreams failed: {wrong[-4000:]}")
    return Result(**json.loads(said))


def measure(sizes: tuple[int, ...], edits: int = EDITS) -> Part:
    """All sizes, one after another."""
    results = [run(size, edits) for size in sizes]
    return Part(
        (_edit_table(results), _step_table(results), _kind_table(results), _load_table(results)),
        {"sizes": _plain(results)},
    )


def _middle(values: list[float]) -> str:
    ordered = sorted(values)
    return f"{percentile(ordered, 0.5):,.2f} / {percentile(ordered, 0.99):,.2f}"


def _edit_table(results: list[Result]) -> Table:
    rows = tuple(
        (
            f"{each.size:,}",
            _middle(each.published),
            _middle(each.acknowledged),
            _middle(each.told),
            f"{each.compiled_per_edit:g}",
            f"{each.rendered_per_edit:g}",
            f"{each.resources} ({each.bytes} bytes)",
        )
        for each in results
    )
    columns = ("upstreams", "published", "acknowledged", "in the status", "compiled", "rendered", "sent")
    title = f"One changed route, ms from the Store on: p50 / p99 of {len(results[0].told)} edits"
    return Table("edit", title, columns, rows)


def _step_table(results: list[Result]) -> Table:
    rows = tuple((f"{each.size:,}", *(_middle(each.steps[name]) for name in STEPS)) for each in results)
    return Table("steps", "The steps of an edit by themselves, ms of CPU time: p50 / p99", ("upstreams", *STEPS), rows)


def _kind_table(results: list[Result]) -> Table:
    rows = tuple((f"{each.size:,}", *(_middle(each.kinds[kind]) for kind in KINDS_OF_EDIT)) for each in results)
    title = f"All of these steps together by what is edited, ms of CPU time: p50 / most of {FEW_EDITS}"
    return Table("kinds", title, ("upstreams", *KINDS_OF_EDIT), rows)


def _load_table(results: list[Result]) -> Table:
    rows = tuple(
        (
            f"{each.size:,}",
            f"{each.first['compile']:,.0f}",
            f"{each.first['render']:,.0f}",
            f"{each.loaded_ms:,.0f}",
            f"{each.compiled_at_load:,}",
            f"{each.first_bytes / 1024:,.0f}",
            f"{each.base_mib:,.0f}",
            f"{each.control_mib:,.0f}",
            f"{each.envoy_mib:,.0f}",
        )
        for each in results
    )
    columns = (
        "upstreams",
        "compile, ms",
        "render, ms",
        "to the last acknowledgement, ms",
        "compiled",
        "sent, KiB",
        "control process empty, MiB",
        "loaded, MiB",
        "Envoy, MiB",
    )
    return Table("load", "First load, from a Store that holds everything", columns, rows)


def _plain(results: list[Result]) -> list[dict[str, Any]]:
    return [asdict(each) for each in results]


def main() -> None:
    """One size."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30), logger_factory=_to_stderr())
    result = asyncio.run(whole(int(sys.argv[1]), int(sys.argv[2])))
    json.dump(asdict(result), sys.stdout)


def _to_stderr() -> structlog.PrintLoggerFactory:
    return structlog.PrintLoggerFactory(sys.stderr)


if __name__ == "__main__":
    main()
