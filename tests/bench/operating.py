"""`headgate operator` as a process on a real API server, with a real Envoy as its proxy: how long it takes to start, what it
weighs, how long it writes statuses for, and how long one `kubectl apply` takes to the proxy's acknowledgement.

API server, etcd, operator, Envoy and what measures share the machine's cores. Moments inside the operator come from its log:
`kube.heard` (the watch told it), `operator.planned` (handed to the ADS server), `xds.sent`, `xds.answered`. Everything is on
loopback, and is ended on the way out.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench.figures import MIB, Part, Table, cpu_seconds, peak_mib, percentile, resident_mib
from bench.populated import SYSTEM, populate
from bench.world import GATEWAY, upstream
from cluster import ApiServer
from cluster.apiserver import kubectl
from cluster.build import API_SERVER, unbuilt
from harness import launch
from harness.child import Child
from harness.envoy import Envoy, give_identity, short_directory
from harness.kube import ready_pods, shared_authority
from harness.ports import free_port
from headgate.kube.access import Access
from headgate.kube.client import Api
from headgate.kube.resources import OURS
from headgate.xds.bootstrap import NodeBootstrap, render

EDITS = 120
#: Seconds that any one step may take.
PATIENCE = 400.0
PAUSE = "headgate_loop_longest_pause_seconds "
CRDS = Path(__file__).resolve().parents[2] / "crds"
#: The parts of an edit, in their order: from sending the apply to hearing of it by the watch, to its publication, to the
#: proxy's acknowledgement; and all of it.
PARTS = ("heard", "published", "acknowledged", "whole")


@dataclass(slots=True)
class Result:
    """Seconds, MiB, and for edits milliseconds by part."""

    size: int
    populated_s: float = 0.0
    ready_s: float = 0.0
    ready_cpu_s: float = 0.0
    ready_mib: float = 0.0
    ready_peak_mib: float = 0.0
    #: From ready until the statuses are written that say so of all objects, Envoy's own loading among it.
    statuses_s: float = 0.0
    statuses: int = 0
    statuses_mib: float = 0.0
    pause_ms: float = 0.0
    again_s: float = 0.0
    again_mib: float = 0.0
    edits: dict[str, list[float]] = field(default_factory=lambda: {part: [] for part in PARTS})
    edited_mib: float = 0.0
    peak_mib: float = 0.0
    envoy_mib: float = 0.0


class Operator:
    """The process, and what it says."""

    def __init__(self, kubeconfig: Path, directory: Path, xds: int, number: int) -> None:
        self.log = directory / f"operator-{number}.log"
        self._read = 0
        self._lines: list[dict[str, Any]] = []
        self.began = time.time()
        self._health = free_port()
        arguments = [
            *launch.command(),
            "operator",
            f"--kubeconfig={kubeconfig}",
            f"--xds-address=127.0.0.1:{xds}",
            f"--operator-namespace={SYSTEM}",
            f"--health-address=127.0.0.1:{self._health}",
            "--no-probes",
            "--log-level=debug",
        ]
        self.child = Child(arguments, self.log, environment=launch.environment({}, {}))

    def longest_pause_ms(self) -> float:
        """For how long its event loop was busy with one thing, at most since it was ready."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(each.split()[1]) for each in lines if each.startswith(PAUSE)) * 1000

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged so far."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            more = file.read()
        whole = more[: more.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            if line.startswith(b"{"):
                self._lines.append(json.loads(line))
        return self._lines

    def wait(self, condition: Callable[[dict[str, Any]], bool], what: str, since: int = 0) -> tuple[int, float]:
        """The index and the moment of the first line that is so, from `since` on. Raises AssertionError."""
        found: list[int] = []

        def there() -> bool:
            lines = self.lines()
            found[:] = [index for index in range(since, len(lines)) if condition(lines[index])][:1]
            return bool(found)

        self.child.wait_until(there, what, PATIENCE)
        return found[0], moment(self._lines[found[0]])


def moment(line: dict[str, Any]) -> float:
    """When a line was logged, as `time.time` has it."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()


def says(event: str, **values: Any) -> Callable[[dict[str, Any]], bool]:
    """Whether a line is this event with these values."""
    return lambda line: line["event"] == event and all(line.get(key) == value for key, value in values.items())


@contextmanager
def _api_server() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hg-bench-") as name, ApiServer(Path(name)) as server:
        server.kubectl("apply", "--server-side", f"--filename={CRDS}")
        server.kubectl("wait", "--for=condition=Established", "--timeout=30s", f"--filename={CRDS}")
        yield server.kubeconfig


def measure(size: int = 10_000, edits: int = EDITS, kubeconfig: Path | None = None) -> Part:
    """All of it. `kubeconfig`: a server that has such a world already. Skipped with a word where nothing is built."""
    missing = unbuilt(API_SERVER)
    if missing:
        return Part((), {"skipped": f"not built: {', '.join(missing)}; `make kubernetes` builds them"})
    result = Result(size)
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        if kubeconfig is None:
            kubeconfig = stack.enter_context(_api_server())
            result.populated_s = asyncio.run(populate(kubeconfig, size, free_port()))
        xds = free_port()
        operator = Operator(kubeconfig, directory, xds, 1)
        stack.callback(lambda: operator.child.stop(timeout=60))
        result.ready_s = operator.wait(says("operator.ready"), "ready")[1] - operator.began
        result.ready_mib, result.ready_peak_mib = resident_mib(operator.child.pid), peak_mib(operator.child.pid)
        result.ready_cpu_s = cpu_seconds(operator.child.pid)
        authority = shared_authority(partial(kubectl, kubeconfig), SYSTEM)
        give_identity(authority, GATEWAY, directory / "identity")
        ready_pods(partial(kubectl, kubeconfig), GATEWAY)
        node = NodeBootstrap(GATEWAY, "one", (f"127.0.0.1:{xds}",), directory / "identity")
        envoy = stack.enter_context(Envoy(render(node), directory))
        _statuses(operator, kubeconfig, result)
        asyncio.run(_edits(kubeconfig, operator, result, edits))
        result.pause_ms = operator.longest_pause_ms()
        result.edited_mib, result.peak_mib = resident_mib(operator.child.pid), peak_mib(operator.child.pid)
        result.envoy_mib = envoy.resident_bytes() / MIB
        operator.child.stop(timeout=60)
        again = Operator(kubeconfig, directory, xds, 2)
        stack.callback(lambda: again.child.stop(timeout=60))
        result.again_s = again.wait(says("operator.ready"), "ready again")[1] - again.began
        again.wait(says("kube.statuses_in_step"), "in step again")
        result.again_mib = resident_mib(again.child.pid)
    return Part((_start_table(result), _apply_table(result)), asdict(result))


def _statuses(operator: Operator, kubeconfig: Path, result: Result) -> None:
    """Wait until the proxy has everything and every status says so."""
    ready = operator.wait(says("operator.ready"), "ready")[1]
    operator.wait(says("xds.answered", type="ROUTE"), "taken up by Envoy")
    deadline = time.monotonic() + PATIENCE
    while not asyncio.run(_all_ready(kubeconfig)):
        assert time.monotonic() < deadline, "not every status says Ready"
        time.sleep(2)  # a look lists all of them, which the API server is busy with
    result.statuses_s = time.time() - ready
    operator.wait(says("kube.statuses_in_step"), "in step")
    result.statuses = [each["writes"] for each in operator.lines() if says("kube.statuses_in_step")(each)][-1]
    result.statuses_mib = resident_mib(operator.child.pid)


async def _all_ready(kubeconfig: Path) -> bool:
    async with await Api.open(Access(kubeconfig)) as api:
        async for page in api.pages(OURS["UpstreamService"]):
            for each in page.items:
                conditions = (each.get("status") or {}).get("conditions") or ()
                if not any(one["type"] == "Ready" and one["status"] == "True" for one in conditions):
                    return False
    return True


async def _edits(kubeconfig: Path, operator: Operator, result: Result, edits: int) -> None:
    """One after another: each waits until its status is written, as a person would look."""
    async with await Api.open(Access(kubeconfig)) as api:
        revision = int(time.time())
        for number in range(-1, edits):
            revision += 1
            document = upstream((number * 37 + 37) % result.size, revision)
            del document["metadata"]["generation"]
            since = len(operator.lines())
            began = time.time()
            await api.apply(OURS["UpstreamService"], document)
            found = await asyncio.to_thread(_followed, operator, document, since)
            if number < 0:
                continue  # the first edit meets what the load has left
            for part, before, after in zip(PARTS, (began, *found[:2], began), (*found, found[-1]), strict=True):
                result.edits[part].append((after - before) * 1000)


def _followed(operator: Operator, document: dict[str, Any], since: int) -> tuple[float, float, float]:
    """When the operator heard of it, published it, and was told that the proxy has it."""
    meta = document["metadata"]
    index, heard = operator.wait(says("kube.heard", name=meta["name"], namespace=meta["namespace"]), "heard", since)
    index, published = operator.wait(says("operator.planned"), "published", index)
    route = f"{meta['namespace']}/{meta['name']}"
    sent, _ = operator.wait(says("xds.sent", type="ROUTE", resources=[route]), "sent", index)
    nonce = operator.lines()[sent]["nonce"]
    # Envoy's answer may be read before it is noted that all was sent.
    index, answered = operator.wait(says("xds.answered", type="ROUTE", nonce=nonce), "answered", index)
    operator.wait(says("kube.statuses_in_step"), "in step", index)
    return heard, published, answered


def _start_table(result: Result) -> Table:
    rows = (
        ("started with everything there, to ready", f"{result.ready_s:.1f} s ({result.ready_cpu_s:.1f} s of CPU)"),
        ("memory then (the most until then)", f"{result.ready_mib:,.0f} ({result.ready_peak_mib:,.0f}) MiB"),
        ("from ready until Envoy has all and all statuses say so", f"{result.statuses_s:.1f} s"),
        ("statuses written meanwhile", f"{result.statuses:,}"),
        ("memory when Envoy has all and all statuses say so", f"{result.statuses_mib:,.0f} MiB"),
        ("memory after the edits (the most until then)", f"{result.edited_mib:,.0f} ({result.peak_mib:,.0f}) MiB"),
        ("longest pause of the event loop, from ready on", f"{result.pause_ms:,.0f} ms"),
        ("started again, to ready", f"{result.again_s:.1f} s"),
        ("memory then, all statuses in step", f"{result.again_mib:,.0f} MiB"),
        ("Envoy's memory", f"{result.envoy_mib:,.0f} MiB"),
    )
    return Table("operator", f"`headgate operator` with {result.size:,} upstreams", ("", "measured"), rows)


def _apply_table(result: Result) -> Table:
    names = {
        "heard": "applied to heard: the API server and its watch",
        "published": "heard to published: compiled and rendered",
        "acknowledged": "published to acknowledged by Envoy",
        "whole": "applied to acknowledged",
    }
    rows = tuple(
        (names[part], *(f"{percentile(sorted(result.edits[part]), share):,.1f}" for share in (0.5, 0.9, 0.99, 1.0)))
        for part in PARTS
    )
    title = f"One changed upstream of {result.size:,}, ms, {len(result.edits['whole'])} edits"
    return Table("apply", title, ("", "p50", "p90", "p99", "most"), rows)
