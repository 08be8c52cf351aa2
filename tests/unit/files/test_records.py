"""What one run leaves to the next about a folder's objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headgate.files.folder import Folder
from headgate.files.records import Record, entry, load
from headgate.files.source import Change, FolderSource
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Broken
from headgate.model.verdict import Plan
from headgate.store import Store

REF = ObjectRef("UpstreamService", "default", "a")
TEXT = """\
apiVersion: headgate.dev/v1alpha1
kind: UpstreamService
metadata: {name: a, labels: {team: x}}
spec: {hostname: api.example.com, timeouts: {request: 30s}, upgrades: [websocket]}
"""


def dump(source: FolderSource) -> dict[str, Any]:
    return {"objects": [entry(record) for record in source.records()]}


class Run:
    """A source with its store, as one run has them; what compiles clean is accepted as a whole."""

    def __init__(self, folder: Path, records: dict[ObjectRef, Record]) -> None:
        self.changes: list[Change] = []
        before: dict[str, list[dict[str, object]]] = {}
        for record in records.values():
            if record.manifest:
                before.setdefault(record.file, []).append(record.manifest)
        self.store = Store()
        self.source = FolderSource(
            Folder(folder, before=before), self.store, records, lambda _, changes: self.changes.extend(changes)
        )
        self.source.load()

    def accept(self) -> None:
        declared = self.store.snapshot().upstreams.values()
        self.store.accept(
            Plan(good={each.ref: each.revision for each in declared if not isinstance(each.current, Broken)})
        )

    def left(self) -> dict[ObjectRef, Record]:
        return load(json.loads(json.dumps(dump(self.source))))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(TEXT)
    return tmp_path


def test_nothing_changed_so_nothing_moves(folder: Path) -> None:
    first = Run(folder, {})
    first.accept()
    second = Run(folder, first.left())
    second.accept()
    assert second.left() == first.left()
    assert second.left()[REF].generation == 1
    declared = second.store.snapshot().upstreams["default/a"]
    assert declared.last_good == declared.current


def test_the_generation_goes_on_where_it_was(folder: Path) -> None:
    first = Run(folder, {})
    first.accept()
    (folder / "a.yaml").write_text(TEXT.replace("30s", "31s"))
    second = Run(folder, first.left())
    assert second.left()[REF].generation == 2
    assert second.left()[REF].seen == first.left()[REF].seen
    current = second.store.snapshot().upstreams["default/a"].current
    assert not isinstance(current, Broken)
    assert current.metadata.generation == 2


def test_a_broken_object_has_its_last_good_version(folder: Path) -> None:
    first = Run(folder, {})
    first.accept()
    (folder / "a.yaml").write_text(TEXT.replace("30s", "soon"))
    second = Run(folder, first.left())
    declared = second.store.snapshot().upstreams["default/a"]
    assert isinstance(declared.current, Broken)
    assert declared.last_good is not None
    assert declared.last_good.spec == first.store.snapshot().upstreams["default/a"].current.spec  # type: ignore[union-attr]
    # It is kept for as long as it takes.
    third = Run(folder, second.left())
    assert third.store.snapshot().upstreams["default/a"].last_good == declared.last_good


def test_a_file_that_can_not_be_read_stands_for_what_it_was(folder: Path) -> None:
    first = Run(folder, {})
    first.accept()
    (folder / "a.yaml").write_text("a: b: c")
    second = Run(folder, first.left())
    assert (
        second.store.snapshot().upstreams["default/a"].current == first.store.snapshot().upstreams["default/a"].current
    )


@pytest.mark.parametrize("junk", [None, [], {}, {"objects": 5}, {"objects": [None, {}, {"kind": "x"}]}])
def test_junk_is_dropped(junk: object) -> None:
    assert load(junk) == {}


def test_a_good_version_that_a_newer_headgate_wrote_is_dropped(folder: Path) -> None:
    first = Run(folder, {})
    first.accept()
    body = dump(first.source)
    body["objects"][0]["good"]["spec"]["hostname"] = {"from": "the future"}
    assert load(body) == {}
