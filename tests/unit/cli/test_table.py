"""kubectl's table form."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headgate.api.kinds import KINDS
from headgate.api.upstream import UpstreamService
from headgate.cli.table import age, columns, heads, lay, lookup, row, widths

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (121, "2m1s"),
        (599, "9m59s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (731 * 86400, "2y1d"),
        (3000 * 86400, "8y"),
        (-1, "0s"),
        (-10, "<invalid>"),
    ],
)
def test_ages(seconds: int, said: str) -> None:
    assert age((NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z"), NOW) == said


def entry(**status: Any) -> dict[str, Any]:
    return {
        "kind": "UpstreamService",
        "metadata": {"name": "billing", "namespace": "shop", "creationTimestamp": "2026-04-19T12:00:00Z"},
        "spec": {},
        "status": {"provider": "generic", **status},
    }


def test_a_line() -> None:
    conditions = [
        {"type": "Ready", "status": "True", "message": "all good"},
        {"type": "Healthy", "status": "False", "message": "most calls\nfail"},
    ]
    found = entry(
        conditions=conditions,
        health="Unhealthy",
        circuit="Open 1/2",
        reason="ConnectTimeout",
        since="2026-05-01T11:56:00Z",
        host="api.billing.example",
    )
    assert row(UpstreamService, found, NOW, wide=False, namespaces=False) == [
        "billing", "True", "Unhealthy", "Open 1/2", "ConnectTimeout", "4m", "generic", "api.billing.example", "12d",
    ]  # fmt: skip
    wide = row(UpstreamService, found, NOW, wide=True, namespaces=True)
    assert wide[0] == "shop"
    assert "True" in wide
    # What to do about it, whichever condition says so, in one line.
    assert "most calls fail" in wide


def test_what_is_not_known_is_empty() -> None:
    found = {"kind": "UpstreamService", "metadata": {"name": "a", "namespace": "default"}}
    assert row(UpstreamService, found, NOW, wide=False, namespaces=False) == ["a", *[""] * 7, "<unknown>"]


def test_layout_is_kubectls() -> None:
    lines = [
        heads(UpstreamService, wide=False, namespaces=False),
        row(UpstreamService, entry(), NOW, wide=False, namespaces=False),
    ]
    width = widths(lines)
    assert [lay(line, width) for line in lines] == [
        "NAME      READY   HEALTH   CIRCUIT   REASON   SINCE   PROVIDER   HOST   AGE",
        "billing                                               generic           12d",
    ]  # fmt: skip


def test_widths_grow_and_never_shrink() -> None:
    assert widths([["a", "b"]]) == [6, 6]
    assert widths([["abc", "b"]], [9, 6]) == [9, 6]
    assert widths([["a" * 20, "b"]], [9, 6]) == [23, 6]


def test_every_column_of_every_kind_can_be_looked_up() -> None:
    for kind in KINDS.values():
        for column in columns(kind, wide=True):
            assert lookup(column.json_path, {}) is None


def test_a_path_that_columns_may_not_have() -> None:
    with pytest.raises(ValueError, match="not a JSON path"):
        lookup(".spec.items[*].name", {})
