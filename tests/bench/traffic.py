"""The data plane: what a call costs on its way through, and what one worker can carry.

Latency is measured open loop at a fixed rate, well below what any of them sustains; rounds take the ways in turn, in another
order each time, so that the machine's moods meet all of them. Capacity is measured closed loop, by the requests that got
through and by the CPU time that the proxy spent on each: on a shared machine the second is the steadier.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench.figures import Part, Spread, Table, cpu_seconds, percentiles
from bench.rig import BARE, DIRECT, FULL, PLAIN, WAYS, Path, rig
from bench.sender import Job, run

RATE = 500.0
SHARES = ("p50", "p95", "p99")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure. Seconds are per way and round."""

    rounds: int = 5
    seconds: float = 3.0
    bursts: int = 3
    burst_seconds: float = 1.5
    connections: int = 16


def measure(plan: Plan) -> Part:
    """Run all of it."""
    with rig() as running:
        paths = running.paths
        for path in paths.values():
            run(Job(path.port, path.target, 0.5, connections=4))  # warm
        latency, late = _latency(plan, [paths[name] for name in (DIRECT, BARE, PLAIN, FULL)])
        capacity = _capacity(plan, [paths[name] for name in (BARE, *WAYS)])
    return Part(
        (_latency_table(plan, latency, late), _capacity_table(plan, capacity)),
        {
            "rate": RATE,
            "latency_ms": {name: {s: v.plain() for s, v in found.items()} for name, found in latency.items()},
            "capacity": {name: {s: v.plain() for s, v in found.items()} for name, found in capacity.items()},
            "sender_late_ms": round(late, 3),
        },
    )


def _latency(plan: Plan, paths: list[Path]) -> tuple[dict[str, dict[str, Spread]], float]:
    """By name: each percentile over the rounds, and (`added p50`...) its difference to the origin's in the same round."""
    rounds: list[dict[str, dict[str, float]]] = []
    late = 0.0
    for number in range(plan.rounds):
        turn = number % len(paths)
        found = {}
        for path in (*paths[turn:], *paths[:turn]):
            outcome = run(Job(path.port, path.target, plan.seconds, rate=RATE))
            late = max(late, outcome.late)
            found[path.name] = percentiles(outcome.latencies)
        rounds.append(found)
    spreads: dict[str, dict[str, Spread]] = {}
    for path in paths:
        spreads[path.name] = {s: Spread.of(each[path.name][s] for each in rounds) for s in SHARES}
        if path.name != DIRECT:
            added = {s: Spread.of(each[path.name][s] - each[DIRECT][s] for each in rounds) for s in SHARES}
            spreads[path.name] |= {f"added {s}": spread for s, spread in added.items()}
    return spreads, late


def _capacity(plan: Plan, paths: list[Path]) -> dict[str, dict[str, Spread]]:
    """By name: requests per second, CPU microseconds per request, and both as ratios to the bare Envoy's of the round."""
    rounds: list[dict[str, tuple[float, float]]] = []
    for number in range(plan.bursts):
        turn = number % len(paths)
        found = {}
        for path in (*paths[turn:], *paths[:turn]):
            before = cpu_seconds(path.pid)
            outcome = run(Job(path.port, path.target, plan.burst_seconds, connections=plan.connections))
            spent = cpu_seconds(path.pid) - before
            found[path.name] = (outcome.answered / outcome.seconds, spent / outcome.answered * 1e6)
        rounds.append(found)
    return {
        path.name: {
            "rate": Spread.of(each[path.name][0] for each in rounds),
            "rate ratio": Spread.of(each[path.name][0] / each[BARE][0] for each in rounds),
            "cpu_us": Spread.of(each[path.name][1] for each in rounds),
            "cpu ratio": Spread.of(each[path.name][1] / each[BARE][1] for each in rounds),
        }
        for path in paths
    }


def _latency_table(plan: Plan, found: dict[str, dict[str, Spread]], late: float) -> Table:
    rows = []
    for name, spreads in found.items():
        shown = [spreads[f"added {s}"] if name != DIRECT else spreads[s] for s in SHARES]
        rows.append((name if name == DIRECT else f"added by {name}", *(spread.text() for spread in shown)))
    return Table(
        "latency",
        f"Latency at {RATE:.0f} requests/s, ms: median of {plan.rounds} rounds (least to most)",
        ("", *SHARES),
        tuple(rows),
        (f"The sender was at most {late:.1f} ms behind its schedule, which is in the figures.",),
    )


def _capacity_table(plan: Plan, found: dict[str, dict[str, Spread]]) -> Table:
    rows = tuple(
        (
            name,
            each["rate"].text(0),
            each["rate ratio"].text(),
            each["cpu_us"].text(0),
            each["cpu ratio"].text(),
            f"{1e6 / each['cpu_us'].median:,.0f}",
        )
        for name, each in found.items()
    )
    columns = ("", "requests/s", "of bare", "CPU µs/request", "of bare", "a core's worth, requests/s")
    title = f"One worker, {plan.connections} connections, closed loop: median of {plan.bursts} rounds (least to most)"
    return Table("capacity", title, columns, rows)
