"""Small statistics, and what processes cost: percentiles, min/median/max over rounds, CPU time and memory by /proc."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over several rounds."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Of at least one value."""
        found = sorted(values)
        return cls(found[0], statistics.median(found), found[-1])

    def text(self, digits: int = 2) -> str:
        """`median (least to most)`."""
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f} to {self.most:,.{digits}f})"

    def plain(self) -> dict[str, float]:
        """For JSON."""
        return {"min": round(self.least, 4), "median": round(self.median, 4), "max": round(self.most, 4)}


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value that `share` (0 to 1) of these sorted ones don't exceed."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """p50, p95 and p99."""
    ordered = sorted(values)
    return {f"p{share}": percentile(ordered, share / 100) for share in (50, 95, 99)}


def cpu_seconds(pid: int) -> float:
    """What all threads of a process have spent on a core so far."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def resident_mib(pid: int | str = "self") -> float:
    """Resident memory of a process."""
    return _status_kib(pid, "VmRSS") / 1024


def peak_mib(pid: int | str = "self") -> float:
    """The most that it was."""
    return _status_kib(pid, "VmHWM") / 1024


def _status_kib(pid: int | str, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(name)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text; `name` is the marker in docs/benchmarks.md."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """As Markdown, without the title."""
        lines = [
            f"| {' | '.join(self.columns)} |",
            f"|{'|'.join(['---', *['---:'] * (len(self.columns) - 1)])}|",
            *(f"| {' | '.join(row)} |" for row in self.rows),
        ]
        return "\n".join([*lines, "", *self.notes]).rstrip() + "\n"


@dataclass(frozen=True, slots=True)
class Part:
    """What one module measured: tables for people, figures for machines."""

    tables: tuple[Table, ...]
    figures: dict[str, Any]
