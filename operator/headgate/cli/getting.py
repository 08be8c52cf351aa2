"""`headgate get`: what the run on a state directory last said of every object, in kubectl's form.

Reads the status file, so it works beside a run, and after one; and says when the run is no more.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headgate.api.kinds import KINDS
from headgate.api.meta import Kind
from headgate.cli.fail import Failure
from headgate.cli.table import heads, lay, row, widths
from headgate.cli.worlds import process_of
from headgate.standalone.state import StateDirectory

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for. `output` is "", wide, json or yaml."""

    kind: type[Kind]
    name: str | None = None
    namespace: str | None = None
    all_namespaces: bool = False
    output: str = ""

    def picks(self, entry: Entry) -> bool:
        """Is this object asked for?"""
        meta = entry["metadata"]
        return (
            entry["kind"] == self.kind.names.kind
            and (self.name is None or meta["name"] == self.name)
            and (self.namespace is None or meta["namespace"] == self.namespace)
        )


def kind_of(word: str) -> type[Kind]:
    """A kind by any of its names; Failure if there is none."""
    for kind in KINDS.values():
        names = kind.names
        if word.lower() in {names.kind.lower(), names.plural, names.singular, *names.short}:
            return kind
    if word.lower() in {"gateway", "gateways"}:
        return KINDS["IntegrationGateway"]
    known = ", ".join(sorted(kind.names.plural for kind in KINDS.values()))
    raise Failure(f"there is no resource type {word}: ask for one of {known}", code=2)


def get(state: StateDirectory, question: Question) -> None:
    """Print once."""
    found = [entry for entry in _objects(state) if question.picks(entry)]
    _warn_if_over(state)
    show(question, found)


def show(question: Question, found: Sequence[Entry], world: str = "") -> None:
    """Print what was found; `world`: where nothing was. Failure if it was asked for by its name and isn't there."""
    if question.name is not None and not found:
        where = f" in namespace {question.namespace}" if question.namespace else ""
        raise Failure(f'{question.kind.names.plural} "{question.name}" not found{where}{world}')
    if question.output in {"json", "yaml"}:
        print(_document(question, found), end="")
        return
    if not found:
        where = f" in namespace {question.namespace}" if question.namespace else ""
        print(f"No resources found{where}{world}.", file=sys.stderr)
        return
    for line in Printer(question, found).first(found):
        print(line)


def watch(state: StateDirectory, question: Question) -> None:
    """Print, then every change as it comes, until interrupted."""
    from watchfiles import watch as changes

    printer: Printer | None = None
    before: dict[tuple[str, str], Entry] = {}
    was_alive = True
    seen: Iterator[object] = changes(
        state.root,
        watch_filter=None,
        recursive=False,
        debounce=100,
        step=20,
        rust_timeout=500,
        yield_on_timeout=True,
    )
    while True:
        alive = process_of(state) is not None
        if was_alive and not alive:
            _warn_if_over(state)
        was_alive = alive
        now = {(e["metadata"]["namespace"], e["metadata"]["name"]): e for e in _objects(state) if question.picks(e)}
        gone = [entry for key, entry in before.items() if key not in now]
        changed = [entry for key, entry in now.items() if before.get(key) != entry]
        if printer is None and changed:
            printer = Printer(question, changed)
            lines = printer.first(changed)
        else:
            lines = printer.more(changed + gone) if printer else []
        for line in lines:
            print(line, flush=True)
        before = now
        if next(seen, None) is None:
            return


class Printer:
    """Lines of a table that goes on, or documents."""

    def __init__(self, question: Question, entries: Sequence[Entry]) -> None:
        self._question = question
        spread = len({entry["metadata"]["namespace"] for entry in entries}) > 1
        self._namespaces = question.all_namespaces or (spread and question.namespace is None)
        self._widths: list[int] = []

    def first(self, entries: Sequence[Entry]) -> list[str]:
        """Heads and lines; documents for json and yaml."""
        if self._question.output in {"json", "yaml"}:
            return self.more(entries)
        head = heads(self._question.kind, wide=self._question.output == "wide", namespaces=self._namespaces)
        return self._lay([head, *self._rows(entries)])

    def more(self, entries: Sequence[Entry]) -> list[str]:
        """Further lines, as wide as those before or wider."""
        if self._question.output == "json":
            return [json.dumps(entry, indent=4, ensure_ascii=False) for entry in entries]
        if self._question.output == "yaml":
            return ["---\n" + _yaml(entry).rstrip("\n") for entry in entries]
        return self._lay(self._rows(entries))

    def _rows(self, entries: Sequence[Entry]) -> list[list[str]]:
        now = datetime.now(UTC)
        wide = self._question.output == "wide"
        return [row(self._question.kind, entry, now, wide=wide, namespaces=self._namespaces) for entry in entries]

    def _lay(self, lines: list[list[str]]) -> list[str]:
        self._widths = widths(lines, self._widths)
        return [lay(line, self._widths) for line in lines]


def _objects(state: StateDirectory) -> list[Entry]:
    status = state.read(state.status_file)
    if not isinstance(status, dict) or not isinstance(status.get("objects"), list):
        raise Failure(
            f"nothing has run on the state directory {state.root} yet: start `headgate run`, or name another --state-dir"
        )
    try:
        return sorted(status["objects"], key=lambda entry: (entry["metadata"]["namespace"], entry["metadata"]["name"]))
    except (KeyError, TypeError):
        raise Failure(f"{state.status_file} is damaged: `headgate run` writes it anew") from None


def _warn_if_over(state: StateDirectory) -> None:
    if process_of(state) is not None:
        return
    written = datetime.fromtimestamp(state.status_file.stat().st_mtime).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    print(f"headgate run is not running on {state.root}: this is how things stood at {written}", file=sys.stderr)


def _document(question: Question, found: Sequence[Entry]) -> str:
    body: Any = (
        found[0]
        if question.name is not None and len(found) == 1
        else {"apiVersion": "v1", "kind": "List", "items": list(found)}
    )
    if question.output == "json":
        return json.dumps(body, indent=4, ensure_ascii=False) + "\n"
    return _yaml(body)


def _yaml(body: Any) -> str:
    import yaml

    return str(yaml.safe_dump(body, sort_keys=True, allow_unicode=True, default_flow_style=False))
