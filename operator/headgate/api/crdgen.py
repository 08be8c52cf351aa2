"""Writes `crds/` and `docs/reference.md` from the models: `python -m headgate.api.crdgen [--check] [--root DIR]`.

For developers and for the test that holds the committed files to the models; nothing at run time calls it. `--check`
writes nothing and ends with 1 if a file differs.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import yaml

from headgate.api.base import GROUP, VERSION
from headgate.api.generated import Generated
from headgate.api.kinds import KINDS
from headgate.api.meta import Column, Kind
from headgate.api.reference import reference
from headgate.api.schema import Schema, structural_schema

_HEADER = """\
# Generated from headgate.api by `make crds` (python -m headgate.api.crdgen): change the models, not this file.
"""


def crd(kind: type[Kind]) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    names = kind.names
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{names.plural}.{GROUP}",
            "labels": {"app.kubernetes.io/name": "headgate", **kind.labels},
        },
        "spec": {
            "group": GROUP,
            "names": {
                "categories": ["headgate"],
                "kind": names.kind,
                "listKind": f"{names.kind}List",
                "plural": names.plural,
                **({"shortNames": list(names.short)} if names.short else {}),
                "singular": names.singular,
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": [_column(column) for column in kind.columns],
                    "schema": {"openAPIV3Schema": _schema(kind)},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


#: What the API server says of an object that nobody has looked at yet. Without it kstatus, on which Flux's `wait` stands, would
#: take one with no status for done. No message: one that is applied later without a message would keep it. The only default
#: in the schemas: what a user may leave out, profiles fill.
UNSEEN = {"conditions": [{"type": "Ready", "status": "Unknown", "reason": "Pending"}]}


def _schema(kind: type[Kind]) -> Schema:
    schema = structural_schema(kind)
    status = {**schema["properties"]["status"], "default": UNSEEN}
    return {**schema, "properties": {**schema["properties"], "status": status}}


def _column(column: Column) -> dict[str, str | int]:
    found: dict[str, str | int] = {"name": column.name, "type": column.type, "jsonPath": column.json_path}
    if column.description:
        found["description"] = column.description
    if column.priority:
        found["priority"] = column.priority
    return found


class _Dumper(yaml.SafeDumper):
    """YAML without anchors, with the items of lists indented."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (theirs)
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 (theirs)
        super().increase_indent(flow, False)


def render(document: Mapping[str, Any]) -> str:
    """The document as YAML, keys in the order given, the same bytes each time."""
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
    return f"{_HEADER}{text}"


def generate() -> dict[str, str]:
    """Every generated file: its path from the root of the repository, and its text."""
    schemas: dict[str, Schema] = {name: structural_schema(kind) for name, kind in KINDS.items()}
    files = {f"crds/{kind.names.plural}.{GROUP}.yaml": render(crd(kind)) for kind in KINDS.values()}
    files["docs/reference.md"] = reference(list(KINDS.values()), schemas)
    return files


_FILES = Generated(generate, "crds/*.yaml", "headgate.api.crdgen", "crds", (__doc__ or "").split("\n")[0])
stale, write, main = _FILES.stale, _FILES.write, _FILES.main


if __name__ == "__main__":
    sys.exit(main())
