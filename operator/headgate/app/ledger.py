"""What a run leaves in its state directory: who it is, every object's status, and what the next run must remember.

Each file is written only when its content differs from what it has. On the event loop; called after every look. A file that
can't be written (the disk is full, someone removed the directory) is logged and tried again the next time: calls are served
and changes taken all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from headgate.api.kinds import KINDS
from headgate.app.engine import Outlook
from headgate.compile.conditions import spell_time
from headgate.compile.status import Status
from headgate.files.records import Record, entry, load
from headgate.files.source import FolderSource
from headgate.model.observations import Circuit, SectionReports
from headgate.model.refs import ObjectRef
from headgate.standalone.process import myself
from headgate.standalone.state import StateDirectory, encoded, write_atomically

_log = structlog.stdlib.get_logger("headgate.run")


class Ledger:
    """Writes below one state directory."""

    def __init__(self, state: StateDirectory) -> None:
        self._state = state
        self._lines: dict[ObjectRef, tuple[object, object, str]] = {}
        self._status = self._sections = b""
        self._records: dict[ObjectRef, tuple[Record, str]] = {}
        self._objects = b""
        #: Files that could not be written the last time.
        self._unwritten: set[Path] = set()

    def begin(self, **run: Any) -> None:
        """Say that this process runs here."""
        self._state.write(self._state.run_file, {"process": myself().to_json(), **run})

    def records(self) -> dict[ObjectRef, Record]:
        """What the last run remembered."""
        return load(self._state.read(self._state.objects_file))

    def previous(self) -> Mapping[ObjectRef, Status]:
        """The statuses that the last run wrote, so that the times in them go on."""
        found: dict[ObjectRef, Status] = {}
        data = self._state.read(self._state.status_file)
        entries = data.get("objects") if isinstance(data, dict) else None
        for each in entries if isinstance(entries, list) else ():
            try:
                kind = KINDS[each["kind"]]
                ref = ObjectRef(each["kind"], each["metadata"]["namespace"], each["metadata"]["name"])
                whole = kind.model_validate(each)
            except (KeyError, TypeError, ValidationError):
                continue
            status = getattr(whole, "status", None)
            if status is not None:
                found[ref] = Status(status)
        return found

    def remember(self, source: FolderSource) -> None:
        """Keep what the next run needs of the objects."""
        lines = {}
        for record in source.records():
            known = self._records.get(record.ref)
            # A thousand models as JSON take longer than all else about an edit.
            lines[record.ref] = (
                known
                if known is not None and known[0] == record
                else (record, json.dumps(entry(record), ensure_ascii=False))
            )
        self._records = lines
        content = f'{{"objects": [\n{_joined(line for _, line in lines.values())}\n]}}\n'.encode()
        if content != self._objects and self._written(self._state.objects_file, content):
            self._objects = content

    def publish(self, source: FolderSource, outlook: Outlook, problems: list[str]) -> None:
        """Write the status file, and which sections are not well."""
        lines = {}
        for ref, item in sorted(source.world.items.items()):
            if not item.ours:
                continue
            status = outlook.statuses.get(ref)
            known = self._lines.get(ref)
            if known is not None and known[0] is item and known[1] is status:
                lines[ref] = known
            else:
                body = shown(item.manifest, ref, source, status)
                lines[ref] = (item, status, json.dumps(body, ensure_ascii=False))
        self._lines = lines
        objects = _joined(line for _, _, line in lines.values())
        content = f'{{"problems": {json.dumps(problems, ensure_ascii=False)},\n"objects": [\n{objects}\n]}}\n'.encode()
        if content != self._status and self._written(self._state.status_file, content):
            self._status = content
        content = encoded({"sections": _unwell(outlook.reports)})
        if content != self._sections and self._written(self._state.sections_file, content):
            self._sections = content

    def _written(self, path: Path, content: bytes) -> bool:
        try:
            write_atomically(path, content)
        except OSError as error:
            if path not in self._unwritten:
                _log.error(
                    "run.state_not_written", file=str(path), error=error.strerror, until_then="what is there is old"
                )
            self._unwritten.add(path)
            return False
        self._unwritten.discard(path)
        return True


def _unwell(reports: SectionReports) -> list[dict[str, str]]:
    """The sections whose breaker is not closed, one entry for each proxy that says so. Nothing that moves with calls."""
    found = [
        {
            "gateway": gateway,
            "section": section,
            "circuit": each.circuit.value,
            "since": spell_time(each.since),
            "failure": each.failure,
        }
        for (gateway, section), said in reports.items()
        for each in said
        if each.circuit in (Circuit.OPEN, Circuit.HALF_OPEN)
    ]
    return sorted(found, key=lambda entry: (entry["gateway"], entry["section"], entry["since"]))


def _joined(lines: Iterable[str]) -> str:
    return ",\n".join(lines)


def shown(manifest: Mapping[str, Any], ref: ObjectRef, source: FolderSource, status: Status | None) -> dict[str, Any]:
    """An object as `kubectl get -o json` would have it."""
    meta = manifest.get("metadata")
    metadata = {
        "creationTimestamp": source.seen(ref),
        **(meta if isinstance(meta, dict) else {}),
        "namespace": ref.namespace,
        "generation": source.generation(ref),
    }
    body = {**manifest, "metadata": metadata}
    if status is not None:
        document = status.document.model_dump(mode="json", by_alias=True, exclude_none=True)
        body["status"] = {key: value for key, value in document.items() if value != []}
    return body
