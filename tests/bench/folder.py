"""The whole way, as a user sees it: a file is saved, and how long until calls are answered by what it says.

`headgate run` as a process, one file per upstream; each edit changes a response header, and a caller asks all the time until
it sees the new one. An answer that is not a 200 is an error of the edit.
"""

from __future__ import annotations

import http.client
import shutil
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.figures import Part, Table, percentile, resident_mib
from bench.rig import origin
from harness.envoy import Envoy, short_directory
from harness.headgate import Headgate
from harness.ports import free_port

EDITS = 30
#: Seconds for an edit to be seen.
PATIENCE = 10.0
GATEWAY = """
apiVersion: headgate.dev/v1alpha1
kind: IntegrationGateway
metadata: {name: gateway}
spec: {default: true, egress: {allowedCIDRs: [127.0.0.0/8]}}
"""
UPSTREAM = """
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {{name: api-{number}}}
spec:
  provider: generic
  hostname: 127.0.0.1
  port: {port}
  tls: {{mode: None}}
  headers: {{response: {{set: [{{name: x-revision, value: "{revision}"}}]}}}}
"""


@dataclass(slots=True)
class Result:
    """`ready_s`: from the start of the process to its saying so. `live_ms`: per edit. `asked`: calls that were made
    meanwhile; `failed`: those that were not answered with 200."""

    size: int
    ready_s: float = 0.0
    live_ms: list[float] = field(default_factory=list)
    asked: int = 0
    failed: int = 0
    control_mib: float = 0.0


def measure(sizes: tuple[int, ...] = (10, 1_000), edits: int = EDITS) -> Part:
    """Each size with a process of its own."""
    results = [_one(size, edits) for size in sizes]
    rows = tuple(
        (
            f"{each.size:,}",
            f"{each.ready_s:.1f}",
            *(f"{percentile(sorted(each.live_ms), share):,.0f}" for share in (0.0, 0.5, 0.99)),
            f"{each.failed} of {each.asked:,}",
            f"{each.control_mib:,.0f}",
        )
        for each in results
    )
    columns = ("upstreams", "ready after, s", "least", "p50", "p99", "calls failed meanwhile", "headgate run, MiB")
    table = Table("folder", f"From saving a file to the first answer by it, ms, {edits} edits", columns, rows)
    return Part((table,), {"sizes": [asdict(each) for each in results]})


def _one(size: int, edits: int) -> Result:
    result = Result(size)
    with ExitStack() as stack:
        directory = stack.enter_context(short_directory())
        port = free_port()
        stack.enter_context(Envoy(origin(port), directory))
        root = Path(tempfile.mkdtemp(prefix="hg-bench-"))
        stack.callback(shutil.rmtree, root, ignore_errors=True)
        headgate = Headgate(root, startup_timeout=PATIENCE * 6)
        stack.callback(headgate.close)
        (headgate.folder / "gateway.yaml").write_text(GATEWAY)
        for number in range(size):
            _save(headgate.folder, number, port, 1)
        began = time.perf_counter()
        headgate.start()
        result.ready_s = time.perf_counter() - began
        caller = http.client.HTTPConnection("127.0.0.1", headgate.port, timeout=5.0)
        stack.callback(caller.close)
        for revision in range(2, edits + 2):
            number = revision * 37 % size
            began = time.perf_counter()
            _save(headgate.folder, number, port, revision)
            _until_seen(caller, number, revision, result)
            result.live_ms.append((time.perf_counter() - began) * 1000)
        result.control_mib = resident_mib(headgate.pid)
        headgate.stop()
    return result


def _save(folder: Path, number: int, port: int, revision: int) -> None:
    """As editors do it: whole, under another name, then renamed."""
    text = UPSTREAM.format(number=number, port=port, revision=revision)
    temporary = folder / f".api-{number}.tmp"
    temporary.write_text(text)
    temporary.replace(folder / f"api-{number}.yaml")


def _until_seen(caller: http.client.HTTPConnection, number: int, revision: int, result: Result) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        caller.request("GET", f"/default/api-{number}/")
        answer = caller.getresponse()
        answer.read()
        result.asked += 1
        result.failed += answer.status != 200
        if answer.getheader("x-revision") == str(revision):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"revision {revision} of api-{number} was not seen within {PATIENCE} s")
        # A poll's own resolution; the condition is what is waited for.
        time.sleep(0.001)
