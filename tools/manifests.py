"""Writes what is made from the chart and the CRDs: `python tools/manifests.py [--check] [--crds]`.

The chart is the one source of what an installation is; the kustomize base and overlays are what Helm renders from it, without
what only Helm needs. The CRDs' one source is `crds/`; the chart and kustomize have copies, since neither reads files beside
its own folder. `--crds`: only these, which takes no Helm. Called by make and by the tests.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
CHART = ROOT / "charts" / "headgate"
HELM = ROOT / ".venv" / "bin" / "helm"
NAMESPACE = "headgate-system"
_HEADER = "# Rendered from charts/headgate by `make manifests`: change the chart, not this file.\n"
_RBAC = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
#: What only Helm writes and reads.
_HELMS_OWN = ("helm.sh/chart", "app.kubernetes.io/managed-by", "app.kubernetes.io/instance")


class ManifestsProblem(Exception):
    """Why they can't be made."""


def template(*values: str, namespace: str = NAMESPACE, name: str = "headgate") -> list[dict[str, Any]]:
    """What Helm renders from the chart with these values. Raises ManifestsProblem with what Helm said."""
    if not HELM.exists():
        raise ManifestsProblem("there is no helm: `make parts` builds it")
    command: list[str | Path] = [
        HELM,
        "template",
        name,
        CHART,
        "--namespace",
        namespace,
        *(f"--set-json={value}" for value in values),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ManifestsProblem(done.stderr.strip())
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def health_checks() -> dict[str, str]:
    """The part of Argo CD's ConfigMap that has our health check, once for each kind: a key can have no wildcard."""
    script = (ROOT / "manifests/gitops/argocd/health.lua").read_text("utf-8")
    kinds = [yaml.safe_load(path.read_text("utf-8"))["spec"] for path in sorted((ROOT / "crds").glob("*.yaml"))]
    header = "# Made from health.lua by `make manifests`. Argo CD's own keys beside these stay as they are.\ndata:\n"
    body = "".join("    " + line + "\n" if line else "\n" for line in script.splitlines())
    keys = [f"resource.customizations.health.{kind['group']}_{kind['names']['kind']}" for kind in kinds]
    return {"manifests/gitops/argocd/argocd-cm.yaml": header + "".join(f"  {key}: |\n{body}" for key in keys)}


def crds() -> dict[str, str]:
    """Copies of the CRDs, by path."""
    found = {path.name: path.read_text("utf-8") for path in sorted((ROOT / "crds").glob("*.yaml"))}
    listed = "".join(f"  - {name}\n" for name in found)
    return {
        **{
            f"{folder}/{name}": text
            for folder in ("charts/headgate/crds", "manifests/crds")
            for name, text in found.items()
        },
        "manifests/crds/kustomization.yaml": "# Copies of crds/, for kustomize reads nothing beside its own folder.\n"
        f"apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{listed}",
    }


def rendered() -> dict[str, str]:
    """The parts of kustomizations that come from the chart, by path."""
    everywhere = template()
    some = template('namespaces=["shop"]')
    return {
        **health_checks(),
        "manifests/base/operator.yaml": _text(_without(everywhere, {*_RBAC, "IntegrationGateway"})),
        "manifests/base/gateway.yaml": _text(_only(everywhere, {"IntegrationGateway"})),
        "manifests/overlays/cluster-wide/rbac.yaml": _text(_only(everywhere, _RBAC)),
        "manifests/overlays/namespaced/rbac.yaml": _text(_only(some, _RBAC)),
    }


def stale(files: Mapping[str, str]) -> list[str]:
    """Paths of those that are absent, differ, or should be gone."""
    differing = [
        path for path, text in files.items() if not (ROOT / path).is_file() or (ROOT / path).read_text("utf-8") != text
    ]
    owned = [
        folder
        for folder in ("charts/headgate/crds", "manifests/crds")
        if any(path.startswith(folder) for path in files)
    ]
    left = [str(path.relative_to(ROOT)) for folder in owned for path in (ROOT / folder).glob("*")]
    return differing + [path for path in left if path not in files]


def _only(documents: Sequence[dict[str, Any]], kinds: set[str]) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] in kinds]


def _without(documents: Sequence[dict[str, Any]], kinds: set[str]) -> list[dict[str, Any]]:
    return [document for document in documents if document["kind"] not in kinds]


class _Dumper(yaml.SafeDumper):
    """YAML without anchors, with the items of lists indented."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (theirs)
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 (theirs)
        super().increase_indent(flow, False)


def _text(documents: Sequence[dict[str, Any]]) -> str:
    for document in documents:
        _strip(document)
    return _HEADER + yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=120, explicit_start=True)


def _strip(document: Any) -> None:
    """Labels that only Helm's own bookkeeping needs, wherever they are."""
    match document:
        case dict():
            for key in _HELMS_OWN:
                document.pop(key, None)
            for each in document.values():
                _strip(each)
        case list():
            for each in document:
                _strip(each)
        case _:
            pass


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python tools/manifests.py", description="Write what the chart is the source of."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if a file is out of date")
    parser.add_argument("--crds", action="store_true", help="only the copies of the CRDs")
    given = parser.parse_args()
    try:
        files = crds() if given.crds else {**crds(), **rendered()}
    except ManifestsProblem as problem:
        sys.exit(str(problem))
    old = stale(files)
    if given.check:
        if old:
            print(f"out of date, run `make manifests`: {', '.join(old)}", file=sys.stderr)
        return int(bool(old))
    for path in old:
        target = ROOT / path
        if path in files:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(files[path], "utf-8")
        else:
            target.unlink()
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
