"""What the run on a state directory serves, or last served: its folder as the run would read it, and what it said.

Reads only. The folder is read as the next run would read it, with what the run remembers of it; values of Secrets that came
by option are not asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headgate.api.conditions import ConditionStatus
from headgate.cli.explained import Cut, Live
from headgate.cli.fail import Failure
from headgate.cli.inputs import settings
from headgate.cli.props import props
from headgate.cli.said import Said, entries, refs_of
from headgate.cli.table import age
from headgate.cli.worlds import process_of
from headgate.compile.explanation import Explanation, Shown
from headgate.files.folder import Folder, FolderProblem
from headgate.files.records import load
from headgate.files.source import FolderSource
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import DataEntry, DataObject, Snapshot
from headgate.simulate import pretend
from headgate.standalone.state import StateDirectory
from headgate.store import Store

#: What stands for the value of a Secret that is known to the run alone.
_PLACEHOLDER = SecretValue(b"known-to-the-run")


class Served:
    """One state directory. Failure if nothing has ever run on it, or its folder is gone."""

    def __init__(self, state: StateDirectory) -> None:
        run = state.read(state.run_file)
        if not isinstance(run, dict) or not isinstance(run.get("folder"), str):
            raise Failure(
                f"nothing has run on the state directory {state.root} yet: start `headgate run`, name another "
                "--state-dir, or explain a folder with -f"
            )
        self._state, self._run = state, run
        self.alive = process_of(state) is not None
        self._records = load(state.read(state.objects_file))
        self._source = self._load(Path(run["folder"]))

    def _load(self, folder: Path) -> FolderSource:
        listen = self._run.get("listen")
        place = (
            (str(listen[0]), int(listen[1])) if isinstance(listen, list) and len(listen) == 2 else ("127.0.0.1", 8080)
        )
        before: dict[str, list[Mapping[str, Any]]] = {}
        for record in self._records.values():
            if record.manifest is not None:
                before.setdefault(record.file, []).append(record.manifest)
        self._store = Store(settings(place))
        source = FolderSource(Folder(folder, (), before), self._store, self._records, lambda *_: None)
        try:
            source.load()
        except FolderProblem as problem:
            raise Failure(f"the folder of the run on {self._state.root}: {problem}") from None
        return source

    @cached_property
    def snapshot(self) -> Snapshot:
        """What is declared, as the run reads it."""
        found = self._store.snapshot()
        given = list(self._given())
        if not given and not self.simulated:
            return found
        made_up = props()
        fitting = {"tls.crt": made_up.certificate, "tls.key": made_up.private_key, "ca.crt": made_up.roots}
        data = dict(found.data)
        for ref, key in given:
            entry = data.get(ref, DataEntry(None))
            values = {**(entry.current.data if entry.current else {}), key: fitting.get(key, _PLACEHOLDER)}
            data[ref] = replace(entry, current=DataObject(ref, "given", MappingProxyType(values)))
        found = replace(found, data=MappingProxyType(data))
        return pretend.fill(found, made_up, pretend.Memo()) if self.simulated else found

    def _given(self) -> Iterator[tuple[ObjectRef, str]]:
        """The Secrets, and their keys, that came by option."""
        for each in self._run.get("secrets") or ():
            namespace, name, key = str(each).split("/", 2)
            yield ObjectRef("Secret", namespace, name), key

    @property
    def simulated(self) -> bool:
        """Whether its providers are simulated."""
        return "control" in self._run

    # What the run said

    @cached_property
    def _said(self) -> Said:
        status = self._state.read(self._state.status_file)
        found = status.get("objects") if isinstance(status, dict) else None
        return Said(entries(found if isinstance(found, list) else ()))

    def live(self, found: Explanation) -> Live:
        """What is known of an upstream beyond its declaration."""
        refs = refs_of(found)
        changed = self._changed(refs)
        in_force, sure = self._in_force(found, changed)
        return Live(
            in_force=in_force,
            sure=sure,
            health=self._said.health(found.ref),
            circuit=self._said.status(found.ref).get("circuit", ""),
            problems=tuple(self._said.problems(found, refs, fresh=not self.alive or bool(changed))),
            circuits=self._circuits(found),
            standing=self._said.standing(found.ref, datetime.now(UTC)) if self.alive else (),
            notes=tuple(self._notes(refs, changed)),
        )

    def _changed(self, refs: Sequence[ObjectRef]) -> list[str]:
        """What is not as the run last read it."""
        items = self._source.world.items
        words = []
        for ref in refs:
            record, item = self._records.get(ref), items.get(ref)
            if item is not None and (record is None or record.digest != item.digest):
                words.append(f"{ref} was {'changed' if record else 'added'}")
        namespaces = {ref.namespace for ref in refs}
        words += [f"{ref} was removed" for ref in self._records if ref not in items and ref.namespace in namespaces]
        return words

    def _in_force(self, found: Explanation, changed: list[str]) -> tuple[str, bool | None]:
        programmed = self._said.condition(found.ref, "Programmed")
        if not self.alive:
            return f"not known: headgate run is not running on {self._state.root}", None
        if changed:
            return "not all of it: the folder is not as the run last read it", None
        if programmed.get("status") == ConditionStatus.TRUE.value and found.shown is Shown.CURRENT:
            return "yes: every proxy has it", True
        message = programmed.get("message") or "the run has not said so yet"
        return f"{'no' if programmed.get('status') == ConditionStatus.FALSE.value else 'not known'}: {message}", False

    def _circuits(self, found: Explanation) -> dict[str, Cut]:
        """The breakers that are not closed, by section."""
        data = self._state.read(self._state.sections_file)
        entries = data.get("sections") if isinstance(data, dict) else None
        circuits = {}
        for each in entries if isinstance(entries, list) and self.alive else ():
            if not isinstance(each, dict):
                continue
            upstream, _, section = str(each.get("section", "")).rpartition("/")
            if upstream == found.ref.key and each.get("gateway") == found.gateway:
                since = str(each.get("since"))
                circuits[section] = Cut(
                    str(each.get("circuit")), since, age(since, datetime.now(UTC)), str(each.get("failure") or "")
                )
        return circuits

    def _notes(self, refs: Sequence[ObjectRef], changed: list[str]) -> Iterator[str]:
        if not self.alive:
            written = datetime.fromtimestamp(self._state.run_file.stat().st_mtime).astimezone()
            yield f"health and circuit are those that the run of {written:%Y-%m-%d %H:%M:%S} said last"
        if changed:
            yield f"the folder differs from what the run last read: {', '.join(changed)}"
        if self.simulated:
            yield "providers are simulated: calls go to this machine, with made-up keys"
        yield from (str(each) for each in self._source.world.problems if each.ref is None or each.ref in refs)
