"""Objects as kubectl prints them: the columns that the kinds declare, three spaces apart, ages in kubectl's words. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from headgate.api.meta import Column, Kind

_STEP = re.compile(r"\.([A-Za-z0-9_-]+)|\[(\d+)\]|\[\?\(@\.([A-Za-z0-9_-]+)([!=]=)\"([^\"]*)\"\)\]")
_MINIMUM, _GAP = 6, 3


def lookup(path: str, data: Any) -> Any:
    """What a column's JSON path finds, or None. Knows what our columns use: names, indexes, and filters by equality or its
    opposite, of which the first match counts, as it does in kubectl."""
    position = 0
    for found in _STEP.finditer(path):
        if found.start() != position:
            break
        position = found.end()
        name, index, key, test, value = found.groups()
        if name is not None:
            data = data.get(name) if isinstance(data, Mapping) else None
        elif index is not None:
            data = data[int(index)] if isinstance(data, Sequence) and int(index) < len(data) else None
        else:
            entries = [entry for entry in data if isinstance(entry, Mapping)] if isinstance(data, list) else []
            data = next((entry for entry in entries if (entry.get(key) == value) == (test == "==")), None)
    if position != len(path):
        raise ValueError(f"not a JSON path that columns may have: {path}")
    return data


def columns(kind: type[Kind], *, wide: bool) -> list[Column]:
    """The columns to show."""
    return [column for column in kind.columns if wide or column.priority == 0]


def heads(kind: type[Kind], *, wide: bool, namespaces: bool) -> list[str]:
    """The first line."""
    return [*(["NAMESPACE"] if namespaces else []), "NAME", *(c.name.upper() for c in columns(kind, wide=wide))]


def row(kind: type[Kind], entry: Mapping[str, Any], now: datetime, *, wide: bool, namespaces: bool) -> list[str]:
    """One object's line."""
    meta = entry["metadata"]
    cells = [str(meta["namespace"])] if namespaces else []
    return [*cells, str(meta["name"]), *(_cell(column, entry, now) for column in columns(kind, wide=wide))]


def _cell(column: Column, entry: Mapping[str, Any], now: datetime) -> str:
    value = lookup(column.json_path, entry)
    if column.type == "date":
        if value is None:
            return "<unknown>" if column.json_path == ".metadata.creationTimestamp" else ""
        return age(value, now)
    if value is None:
        return ""
    # A line is a line: a message may have several.
    return str(value).lower() if isinstance(value, bool) else " ".join(str(value).split())


def widths(lines: Iterable[Sequence[str]], known: Sequence[int] = ()) -> list[int]:
    """The width of each column but the last, never less than what is known."""
    found = list(known)
    for line in lines:
        for index, cell in enumerate(line):
            if index == len(found):
                found.append(_MINIMUM)
            found[index] = max(found[index], len(cell) + _GAP)
    return found


def lay(line: Sequence[str], width: Sequence[int]) -> str:
    """One line, padded; nothing behind the last cell."""
    padded = [cell.ljust(size) for cell, size in zip(line[:-1], width, strict=False)]
    return ("".join(padded) + line[-1]).rstrip()


def age(moment: str, now: datetime) -> str:
    """How long ago, as kubectl says it."""
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return "<invalid>"
    seconds = int((now - then.replace(tzinfo=then.tzinfo or UTC)).total_seconds())
    if seconds < -1:
        return "<invalid>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    if minutes < 10:
        return f"{minutes}m{_rest(seconds % 60, 's')}"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{_rest(minutes % 60, 'm')}"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{_rest(hours % 24, 'h')}"
    if days < 730:
        return f"{days}d"
    if days < 365 * 8:
        return f"{days // 365}y{_rest(days % 365, 'd')}"
    return f"{days // 365}y"


def _rest(number: int, unit: str) -> str:
    return f"{number}{unit}" if number else ""
