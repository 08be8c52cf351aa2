"""`make bench`: measure, print tables, keep the figures in `tests/bench/results/latest.json`.

    python tests/bench/run.py [--only traffic|control|folder|memory|feed|reports ...] [--quick] [--write]

`--write` also puts the tables into docs/benchmarks.md, between the markers there. Only loopback is called, everything is
bounded, and all that was started is ended, also when it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from rich.console import Console
from rich.table import Table as Shown

from bench import control, feed, folder, memory, operating, reports, traffic
from bench.figures import Part, Table

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "latest.json"
DOCUMENT = HERE.parents[1] / "docs" / "benchmarks.md"
#: Seconds after which a run gives up.
LIMIT = 900
#: With the part that takes long, and is made only when asked for.
CLUSTER, LONG_LIMIT = "cluster", 2400


def _parts(*, quick: bool) -> dict[str, Callable[[], Part]]:
    if quick:
        return {
            "traffic": lambda: traffic.measure(traffic.Plan(rounds=3, seconds=1.0, bursts=3, burst_seconds=0.5)),
            "control": lambda: control.measure((10, 1_000), edits=20),
            "folder": lambda: folder.measure((10, 200), edits=10),
            "memory": lambda: memory.measure(200),
            "feed": lambda: feed.measure(200, 11.0),
            "reports": lambda: reports.measure(200, seconds=5.0),
            CLUSTER: lambda: operating.measure(200, edits=20),
        }
    return {
        "traffic": lambda: traffic.measure(traffic.Plan()),
        "control": lambda: control.measure((10, 1_000, 10_000)),
        "folder": folder.measure,
        "memory": memory.measure,
        "feed": feed.measure,
        "reports": reports.measure,
        CLUSTER: operating.measure,
    }


def _machine() -> dict[str, str]:
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {"cores": str(os.cpu_count()), "processor": model, "python": platform.python_version()}


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


def _show(console: Console, table: Table) -> None:
    shown = Shown(title=table.title, title_justify="left", title_style="bold", caption="\n".join(table.notes) or None)
    for number, column in enumerate(table.columns):
        shown.add_column(column, justify="right" if number else "left")
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)
    console.print()


def _write(tables: list[Table], machine: dict[str, str]) -> None:
    """Put each table between its markers. Raises ValueError for one without."""
    text = DOCUMENT.read_text(encoding="utf-8")
    facts = (
        f"{machine['cores']} shared cores ({machine['processor']}), Python {machine['python']}; "
        f"load average {machine['load before']} before and {machine['load after']} after the run."
    )
    parts = {"machine": f"{facts}\n"} | {each.name: f"**{each.title}**\n\n{each.markdown()}" for each in tables}
    for name, content in parts.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{DOCUMENT.name} has no place for {name}")
        text = f"{before}{begin}\n{content}\n{end}{after}"
    DOCUMENT.write_text(text, encoding="utf-8")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description="Measure Headgate's data plane and control plane on this machine.")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=("traffic", "control", "folder", "memory", "feed", "reports", CLUSTER),
        help="these parts only",
    )
    parser.add_argument("--quick", action="store_true", help="one minute: shows that it works, not how fast")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    limit = LONG_LIMIT if CLUSTER in (arguments.only or ()) else LIMIT
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"gave up after {limit} s"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    signal.alarm(limit)
    console = Console(width=None if sys.stdout.isatty() else 160)
    machine = _machine() | {"load before": _load()}
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()), highlight=False)
    figures: dict[str, object] = {}
    tables: list[Table] = []
    for name, measure in _parts(quick=arguments.quick).items():
        if name not in (arguments.only or [each for each in _parts(quick=True) if each != CLUSTER]):
            continue
        began = time.monotonic()
        part = measure()
        figures[name] = part.figures
        tables += part.tables
        if "skipped" in part.figures:
            console.print(f"{name}: {part.figures['skipped']}")
        for table in part.tables:
            _show(console, table)
        console.print(f"[dim]{name}: {time.monotonic() - began:.0f} s, load average {_load()}[/dim]\n")
    machine["load after"] = _load()
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"machine": machine, **figures}, indent=1) + "\n")
    console.print(f"figures: {RESULTS.relative_to(HERE.parents[1])}")
    if arguments.write:
        _write(tables, machine)
        console.print(f"tables: {DOCUMENT.relative_to(HERE.parents[1])}")


if __name__ == "__main__":
    main()
