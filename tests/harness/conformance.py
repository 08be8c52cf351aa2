"""The conformance table: what each vendor's client sees through the gateway, and how often the provider is called for it.

A test declares its rows by a marker and the client it is parametrized with, and records what happened:

    @pytest.mark.scenario("gemini", "a plain call", "The answer, and the provider gets the real key.")
    def test_plain(client, conformance):
        conformance(run(client, job), provider_calls=1)

The table is committed (`tests/clients/conformance.yaml`, and `docs/conformance.md` for people). Recording compares with
it, so that a change of behaviour fails; with `--update-conformance` it writes instead. Rows are of one thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from harness.clients.calls import Outcome

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "clients" / "conformance.yaml"
PAGE = ROOT / "docs" / "conformance.md"
PROVIDERS = {"gemini": "Gemini", "cloudflare": "Cloudflare", "supabase": "Supabase"}


INTRODUCTION = """# Conformance

What the vendors' own clients see through Headgate, with nothing of them changed but their base URL (their key is the word
`unused`: the gateway puts the real one in). Each row is a test with the real client, the real gateway and a provider on
loopback; `make conformance` writes this page, and a test fails when what happens is not what stands here.

{rows} rows in {scenarios} scenarios. In the overviews `a→b` means: the client made *a* HTTP requests, and *b* calls reached
the provider; ✗ marks what ends with an error of the client's own kind. So `1→2` is a retry by the gateway, and `✗ 1→0` a
refusal by it. A dash: the client has no such call.
"""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which row."""

    provider: str
    scenario: str
    client: str

    def __str__(self) -> str:
        return f"{self.provider} / {self.scenario} / {self.client}"


@dataclass(frozen=True, slots=True)
class Row:
    """What happened: HTTP requests of the client, calls that reached the provider, and what the client saw."""

    client_calls: int
    provider_calls: int
    saw: str


@dataclass(slots=True)
class Table:
    """All rows; `shows` has a sentence for each scenario, `clients` each client's title and version."""

    rows: dict[Key, Row] = field(default_factory=dict)
    shows: dict[tuple[str, str], str] = field(default_factory=dict)
    clients: dict[str, tuple[str, str]] = field(default_factory=dict)

    def scenarios(self, provider: str) -> list[str]:
        """The provider's scenarios, in the order of the tests."""
        return [scenario for found, scenario in self.shows if found == provider]


def read(path: Path = DATA) -> Table:
    """The committed table; an empty one if there is none."""
    if not path.exists():
        return Table()
    data = yaml.safe_load(path.read_text("utf-8"))
    table = Table(clients={name: (one["title"], one["version"]) for name, one in data["clients"].items()})
    for provider, scenarios in data["scenarios"].items():
        for scenario, found in scenarios.items():
            table.shows[provider, scenario] = found["shows"]
            for client, row in found["clients"].items():
                table.rows[Key(provider, scenario, client)] = Row(**row)
    return table


@lru_cache(maxsize=1)
def committed() -> Table:
    """The table as it was when the run began. Not to be changed."""
    return read()


def write(table: Table, data: Path = DATA, page: Path = PAGE) -> None:
    """The table, and its page."""
    clients = {name: {"title": one[0], "version": one[1]} for name, one in sorted(table.clients.items())}
    scenarios: dict[str, Any] = {}
    for (provider, scenario), shows in table.shows.items():
        rows = {
            key.client: {"client_calls": row.client_calls, "provider_calls": row.provider_calls, "saw": row.saw}
            for key, row in sorted(table.rows.items())
            if (key.provider, key.scenario) == (provider, scenario)
        }
        scenarios.setdefault(provider, {})[scenario] = {"shows": shows, "clients": rows}
    text = yaml.safe_dump({"clients": clients, "scenarios": scenarios}, sort_keys=False, allow_unicode=True, width=116)
    data.write_text("# Written by `make conformance`; tests compare what they see with it.\n" + text, "utf-8")
    page.write_text(markdown(table), "utf-8")


def markdown(table: Table) -> str:
    """The page for people."""
    lines = [INTRODUCTION.format(rows=len(table.rows), scenarios=len(table.shows))]
    for provider, title in PROVIDERS.items():
        if table.scenarios(provider):
            lines += _section(table, provider, title)
    return "\n".join(lines).rstrip() + "\n"


def _section(table: Table, provider: str, title: str) -> Iterable[str]:
    clients = sorted({key.client for key in table.rows if key.provider == provider})
    heads = [f"{table.clients[name][0]} {table.clients[name][1]}" for name in clients]
    lines = [f"## {title}", "", _line(["", *heads]), _line(["---"] * (len(heads) + 1))]
    for scenario in table.scenarios(provider):
        cells = [_cell(table.rows.get(Key(provider, scenario, name))) for name in clients]
        lines.append(_line([f"[{scenario}](#{_anchor(title, scenario)})", *cells]))
    for scenario in table.scenarios(provider):
        lines += ["", f"### {title}: {scenario}", "", table.shows[provider, scenario], ""]
        lines += [_line(["client", "requests", "reached the provider", "the client saw"]), _line(["---"] * 4)]
        for name in clients:
            row = table.rows.get(Key(provider, scenario, name))
            if row is not None:
                told = [table.clients[name][0], str(row.client_calls), str(row.provider_calls), _code(row.saw)]
                lines.append(_line(told))
    return [*lines, ""]


def _cell(row: Row | None) -> str:
    if row is None:
        return "–"
    failed = re.match(r"[A-Z]\w+(?: [^:]*)?: ", row.saw)
    return f"{'✗ ' if failed else ''}{row.client_calls}→{row.provider_calls}"


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("|", "\\|") + "`"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _anchor(title: str, scenario: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", f"{title} {scenario}".lower())
    return kept.replace(" ", "-")


class Recording:
    """What one test records: its row. Used as the fixture `conformance`."""

    def __init__(self, key: Key, *, update: bool) -> None:
        self.key = key
        self.row: Row | None = None
        self._update = update

    def __call__(self, outcome: Outcome, *, provider_calls: int) -> None:
        """Compare with the committed row, or keep it for the new table. Raises AssertionError."""
        assert self.row is None, "a test has one row for each client"
        self.row = Row(outcome.calls, provider_calls, outcome.saw())
        changing = re.search(r"127\.0\.0\.1:\d+|\d{4}-\d\d-\d\dT", self.row.saw)
        assert not changing, f"{self.row.saw!r} is another text each time: {changing.group()}"
        if self._update:
            return
        expected = committed().rows.get(self.key)
        assert expected is not None, f"{self.key} is not in {DATA.name}: `make conformance` writes it"
        assert self.row == expected, f"{self.key}\n  now:       {self.row}\n  committed: {expected}"


def merged(
    old: Table,
    rows: Mapping[Key, Row],
    shows: Mapping[tuple[str, str], str],
    clients: Mapping[str, tuple[str, str]],
    *,
    whole: bool,
) -> Table:
    """The table with what a run recorded; a run of all tests leaves no row that it did not declare."""
    kept = {} if whole else old.rows
    told = dict(shows) if whole else {**old.shows, **shows}
    named = dict(clients) if whole else {**old.clients, **clients}
    return Table({**kept, **rows}, told, named)
