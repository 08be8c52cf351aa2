"""Golden cases: `input/X.yaml`, as a user would write it, to `output/X.plan.yaml`, `X.status.yaml`, `X.xds.yaml`.

`--update-golden` rewrites the outputs; then read the diff. A case whose name ends in `-error` shows what is said of a
mistake. Every field of every kind is in some case.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
import yaml
from pydantic import BaseModel

from golden.cases import INPUT, OUTPUT, outcome, texts
from harness.static import validate
from headgate.api.kinds import KINDS

CASES = sorted(INPUT.glob("*.yaml"))


def _id(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_case(case: Path, update_golden: bool) -> None:
    found = texts(outcome(case), case.stem)
    for suffix, text in found.items():
        path = OUTPUT / f"{case.stem}.{suffix}.yaml"
        if update_golden:
            path.write_text(text, "utf-8")
        else:
            assert text == path.read_text("utf-8"), f"{path.name} differs: look, then run `make golden`"


@pytest.mark.parametrize("case", CASES, ids=_id)
def test_envoy_takes_it(case: Path) -> None:
    complaints = {key: validate(resources) for key, resources in outcome(case).xds.items()}
    assert {key: words for key, words in complaints.items() if words} == {}


def test_no_output_without_its_input() -> None:
    stems = {case.stem for case in CASES}
    assert [path.name for path in OUTPUT.iterdir() if path.name.split(".")[0] not in stems] == []


def test_no_output_shows_a_secret() -> None:
    """Every value of every Secret in the inputs, looked for in all outputs."""
    values: set[str] = set()
    for case in CASES:
        for document in yaml.safe_load_all(case.read_text("utf-8")):
            if document["kind"] == "Secret":
                values.update(value.strip() for value in document["stringData"].values())
    written = "".join(path.read_text("utf-8") for path in OUTPUT.iterdir())
    telling = {value for value in values if len(value) >= 4 and value != "nothing"}
    assert len(telling) > 5
    assert [value[:2] for value in telling if value in written] == []


def test_every_field_is_in_some_case() -> None:
    used: set[tuple[str, ...]] = set()
    for case in CASES:
        for document in yaml.safe_load_all(case.read_text("utf-8")):
            if document["kind"] in KINDS:
                used.update((document["kind"], *path) for path in _paths(document.get("spec")))
    every = {(name, *path) for name, kind in KINDS.items() for path in _fields(kind.model_fields["spec"].annotation)}
    # `group` has one value, which is its default.
    missing = sorted(path for path in every - used if path[-1] != "group")
    assert missing == []


def _paths(value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (key,)
            yield from ((key, *rest) for rest in _paths(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner)


def _fields(annotation: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            key = info.alias or name
            yield (key,)
            yield from ((key, *rest) for rest in _fields(info.annotation))
    elif get_origin(annotation) in (Union, UnionType, tuple) or hasattr(annotation, "__metadata__"):
        for inner in get_args(annotation):
            yield from _fields(inner)
