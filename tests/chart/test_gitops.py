"""What Argo CD and Flux make of Headgate's statuses: the shipped Lua in Argo CD's Lua, and kstatus itself."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import manifests
from cluster.build import build, unbuilt
from cluster.places import Lines
from harness.require import require
from headgate.api.base import GROUP, VERSION
from headgate.api.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
GITOPS = ROOT / "manifests" / "gitops"
Document = dict[str, Any]


def goldens() -> Iterator[Document]:
    """Every object of the golden cases with the status that it gets there."""
    for path in sorted((ROOT / "tests/golden/output").glob("*.status.yaml")):
        for key, status in yaml.safe_load(path.read_text("utf-8")).items():
            kind, _, name = key.partition(" ")
            metadata = {"name": name.partition("/")[2], "namespace": name.partition("/")[0], "generation": 1}
            yield {"apiVersion": f"{GROUP}/{VERSION}", "kind": kind, "metadata": metadata, "status": status}


def condition(document: Document, kind: str) -> Document:
    (found,) = (each for each in document["status"]["conditions"] if each["type"] == kind)
    return dict(found)


def asked(program: str, *arguments: str | Path, given: list[Document]) -> list[dict[str, str]]:
    missing = unbuilt([program])
    require(not missing, f"not built: {', '.join(missing)}; `make parts` builds them")
    binary = build([program], Lines())[program]
    done = subprocess.run([binary, *arguments], input=json.dumps(given), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, str]] = json.loads(done.stdout)
    return found


def argo(*given: Document) -> list[dict[str, str]]:
    return asked("lua", GITOPS / "argocd" / "health.lua", given=list(given))


def flux(*given: Document) -> list[dict[str, str]]:
    return asked("kstatus", given=list(given))


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return list(goldens())


@pytest.fixture(scope="module")
def ready(documents: list[Document]) -> Document:
    """An upstream that is in force."""
    return next(
        each for each in documents if each["kind"] == "UpstreamService" and condition(each, "Ready")["status"] == "True"
    )


def changed(document: Document, kind: str, **fields: str) -> Document:
    """With another condition."""
    document = copy.deepcopy(document)
    for each in document["status"]["conditions"]:
        if each["type"] == kind:
            each.update(fields)
    return document


def test_argo_cd_tells_what_is_in_force_from_what_is_wrong(documents: list[Document]) -> None:
    verdicts = {"True": "Healthy", "False": "Degraded", "Unknown": "Progressing"}
    found = argo(*documents)
    assert {each["status"] for each in found} >= {"Healthy", "Degraded"}
    for document, said in zip(documents, found, strict=True):
        expected = condition(document, "Ready")
        assert said["status"] == verdicts[expected["status"]], document["metadata"]
        if said["status"] == "Degraded":
            assert said["message"] == f"{expected['reason']}: {expected['message']}"


def test_flux_waits_for_all_that_is_not_in_force(documents: list[Document]) -> None:
    for document, said in zip(documents, flux(*documents), strict=True):
        current = condition(document, "Ready")["status"] == "True"
        assert said["status"] == ("Current" if current else "InProgress"), document["metadata"]


@pytest.mark.parametrize(
    ("status", "reason", "health"),
    [
        ("False", "Pending", "Progressing"),
        ("Unknown", "NoProxyConnected", "Progressing"),
        ("Unknown", "ReplicaUnreachable", "Progressing"),
        ("False", "RejectedByProxy", "Degraded"),
        ("False", "ServiceNameTaken", "Degraded"),
        ("False", "NoPodReady", "Degraded"),
    ],
)
def test_proxies_that_have_yet_to_take_it_are_progress(ready: Document, status: str, reason: str, health: str) -> None:
    document = changed(ready, "Ready", status=status, reason=reason)
    assert argo(document)[0]["status"] == health
    assert flux(document)[0]["status"] == "InProgress"


def test_an_edit_that_was_not_looked_at_yet_is_progress(ready: Document) -> None:
    document = copy.deepcopy(ready)
    document["metadata"]["generation"] = 2
    assert argo(document)[0]["status"] == "Progressing"
    assert flux(document)[0]["status"] == "InProgress"


def test_one_that_is_being_deleted_is_waited_for(ready: Document) -> None:
    document = copy.deepcopy(ready)
    document["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert argo(document)[0]["status"] == "Progressing"
    assert flux(document)[0]["status"] == "Terminating"


def test_a_vendors_outage_holds_up_nothing(ready: Document) -> None:
    document = changed(ready, "Healthy", status="False", reason="CallsFailing", message="all calls fail")
    (said,) = argo(document)
    assert said == {"status": "Healthy", "message": "in force; CallsFailing: all calls fail"}
    assert flux(document)[0]["status"] == "Current"


def test_what_nobody_has_looked_at_is_progress(ready: Document) -> None:
    """For Argo CD. What Flux makes of it depends on what the API server fills in: see tests/cluster/test_kstatus.py."""
    unseen: list[Document | None] = [{}, {"conditions": []}, None]
    for status in unseen:
        document = {**ready, "status": status}
        assert argo(document)[0]["status"] == "Progressing"


def test_the_config_map_has_the_script_for_every_kind() -> None:
    assert manifests.stale(manifests.health_checks()) == [], "run `make manifests` and commit"
    script = (GITOPS / "argocd" / "health.lua").read_text("utf-8")
    data = yaml.safe_load((GITOPS / "argocd" / "argocd-cm.yaml").read_text("utf-8"))["data"]
    assert data == {f"resource.customizations.health.{GROUP}_{kind}": script for kind in KINDS}


@pytest.mark.parametrize("tool", ["argocd", "flux"])
def test_the_examples_bring_the_chart_that_is_here(tool: str) -> None:
    """Their own schemas are not at hand; that they name what is here is looked at."""
    built = subprocess.run(
        [ROOT / ".venv/bin/kubectl", "kustomize", GITOPS / tool], capture_output=True, text=True, check=True
    )
    text = built.stdout
    assert "charts/headgate" in text
    schema = json.loads((ROOT / "charts/headgate/values.schema.json").read_text("utf-8"))
    for document in yaml.safe_load_all(text):
        spec = document["spec"]
        values = spec.get("values") or spec.get("source", {}).get("helm", {}).get("valuesObject") or {}
        assert set(values) <= set(schema["properties"])
