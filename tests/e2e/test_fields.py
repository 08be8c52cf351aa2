"""A field is in a CRD only when it works: each one, and each of its enumerated values, is used by a black-box test."""

from __future__ import annotations

from pathlib import Path

from harness import fields

ROOT = Path(__file__).resolve().parents[2]
BLACK_BOX = ("clients", "e2e")
#: Where fields are used that mean something in a cluster only. Tests of the CRDs alone are no use of a field.
IN_CLUSTERS = ("test_gateway_fields.py",)


def modules() -> list[Path]:
    found = [path for name in BLACK_BOX for path in sorted((ROOT / "tests" / name).rglob("*.py"))]
    clusters = [ROOT / "tests" / "cluster" / name for name in IN_CLUSTERS]
    return [*found, *clusters, ROOT / "tests" / "harness" / "space.py"]


def test_every_field_is_used_by_a_black_box_test() -> None:
    declared = fields.declared(sorted((ROOT / "crds").glob("*.yaml")))
    assert len(declared) > 100
    used = fields.used(modules())
    missing = sorted(declared.keys() - used.keys())
    assert missing == []


def test_every_enumerated_value_is_used_by_a_black_box_test() -> None:
    declared = fields.declared(sorted((ROOT / "crds").glob("*.yaml")))
    used = fields.used(modules())
    missing = {
        path: sorted(values - used[path].values)
        for path, values in declared.items()
        if path in used and values - used[path].values
    }
    assert missing == {}


def test_black_box_tests_use_only_fields_that_there_are() -> None:
    """A misspelt field in a test would be tolerated by the reader, and the test would show nothing."""
    declared = fields.declared(sorted((ROOT / "crds").glob("*.yaml")))
    free = {
        path
        for path in declared
        if path.endswith(("matchLabels", "nodeSelector", "labels", "annotations", "providerOptions"))
    }
    unknown = {path for path in fields.used(modules()).keys() - declared.keys() if path.rpartition(".")[0] not in free}
    assert sorted(unknown) == []
