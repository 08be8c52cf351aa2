"""The chart renders what is meant, takes right values and refuses wrong ones; what is made from it is in step with it."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import manifests
from harness.require import require
from headgate.api.base import GROUP
from headgate.api.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "headgate"
NAMESPACE = manifests.NAMESPACE
Document = dict[str, Any]


@pytest.fixture(autouse=True)
def helm() -> Path:
    """Every test here asks the real one."""
    require(manifests.HELM.exists(), "no helm: `make parts` builds it")
    return manifests.HELM


def named(documents: list[Document], kind: str) -> dict[tuple[str, str], Document]:
    """Those of a kind, by namespace and name."""
    return {
        (document["metadata"].get("namespace", ""), document["metadata"]["name"]): document
        for document in documents
        if document["kind"] == kind
    }


def operator(documents: list[Document]) -> Document:
    """The operator's pod template."""
    found: Document = named(documents, "Deployment")[NAMESPACE, "headgate-operator"]["spec"]["template"]
    return found


def arguments(documents: list[Document]) -> list[str]:
    found: list[str] = operator(documents)["spec"]["containers"][0]["args"]
    return found


@pytest.mark.parametrize(
    "values", [{}, {"namespaces": ["a"]}, {"certManager": {"enabled": True}, "podMonitor": {"enabled": True}}], ids=str
)
def test_helm_finds_nothing_to_complain_about(helm: Path, values: Document, tmp_path: Path) -> None:
    file = tmp_path / "values.json"
    file.write_text(json.dumps(values))
    done = subprocess.run([helm, "lint", "--strict", "--values", file, CHART], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_version_is_the_projects() -> None:
    version = re.search(r'__version__ = "(.+)"', (ROOT / "operator/headgate/__init__.py").read_text())
    assert version is not None
    text = (CHART / "Chart.yaml").read_text()
    assert f'appVersion: "{version[1]}"' in text
    assert f"newTag: {version[1]}" in (ROOT / "manifests/overlays/cluster-wide/kustomization.yaml").read_text()


def test_what_is_made_from_chart_and_crds_is_in_step() -> None:
    assert manifests.stale({**manifests.crds(), **manifests.rendered()}) == [], "run `make manifests` and commit"


def test_crds_are_installed_before_all_else(helm: Path) -> None:
    shown = subprocess.run([helm, "show", "crds", CHART], capture_output=True, text=True, check=True).stdout
    assert all(f"name: {kind.names.plural}.{GROUP}" in shown for kind in KINDS.values())


# Rights


def test_all_namespaces_by_one_cluster_role() -> None:
    documents = manifests.template()
    assert ("", "headgate-operator") in named(documents, "ClusterRole")
    assert set(named(documents, "Role")) == {(NAMESPACE, "headgate-operator-own")}
    assert not [argument for argument in arguments(documents) if argument.startswith("--namespace")]


def test_some_namespaces_by_a_role_in_each_and_nothing_of_the_clusters() -> None:
    documents = manifests.template('namespaces=["a","b"]')
    assert not named(documents, "ClusterRoleBinding")
    assert set(named(documents, "ClusterRole")) == {("", "headgate-view"), ("", "headgate-edit")}
    assert {name for name, role in named(documents, "Role") if role == "headgate-operator"} == {"a", "b", NAMESPACE}
    assert {name for name, role in named(documents, "Role") if role == "headgate-operator-data"} == {
        "a",
        "b",
        NAMESPACE,
    }
    assert set(named(documents, "RoleBinding")) == set(named(documents, "Role"))
    given = [argument for argument in arguments(documents) if "namespace=" in argument]
    assert given == ["--namespace=a", "--namespace=b", f"--namespace={NAMESPACE}"]


def test_secrets_of_some_namespaces_only() -> None:
    """Nothing that is bound for the whole cluster names Secrets or ConfigMaps."""
    documents = manifests.template('secretNamespaces=["keys"]')
    rules = named(documents, "ClusterRole")["", "headgate-operator"]["rules"]
    assert not [rule for rule in rules if {"secrets", "configmaps"} & {*rule["resources"]}]
    assert {name for name, role in named(documents, "Role") if role == "headgate-operator-data"} == {"keys", NAMESPACE}
    given = [argument for argument in arguments(documents) if "namespace=" in argument]
    assert given == [f"--secrets-namespace={NAMESPACE}", "--secrets-namespace=keys"]


def test_no_rule_says_everything() -> None:
    for document in manifests.template():
        for rule in document.get("rules", ()):
            assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_each_right_is_told_in_the_readme_with_its_reason() -> None:
    """Neither fewer nor more than what is rendered, in both modes."""
    told = set()
    for line in (CHART / "README.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `") and len(cells) == 4:
            group, resources, verbs, reason = cells
            assert reason
            told |= {
                (group.strip("`"), resource, verb)
                for resource in re.findall(r"`([^`]+)`", resources)
                for verb in verbs.split(", ")
            }
    given = set()
    for values in ((), ('namespaces=["a"]',)):
        documents = manifests.template(*values, "rbac.aggregate=false")
        for document in [*named(documents, "ClusterRole").values(), *named(documents, "Role").values()]:
            for rule in document["rules"]:
                group = rule["apiGroups"][0] or "core"
                given |= {(group, resource, verb) for resource in rule["resources"] for verb in rule["verbs"]}
    assert told == given


def test_people_get_the_kinds_by_kubernetes_own_roles() -> None:
    roles = named(manifests.template(), "ClusterRole")
    kinds = {kind.names.plural for kind in KINDS.values()}
    for name in ("headgate-view", "headgate-edit"):
        (rule,) = roles["", name]["rules"]
        assert set(rule["resources"]) == kinds
    labels = roles["", "headgate-edit"]["metadata"]["labels"]
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in labels


# Pods


def test_pods_are_as_pod_security_restricted_asks() -> None:
    pod = operator(manifests.template())["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_what_selects_pods_is_in_no_template_that_changes_with_a_version() -> None:
    """A Deployment's selector can't change, and pods must not be replaced because only the chart's version is another."""
    documents = manifests.template()
    labels = operator(documents)["metadata"]["labels"]
    selector = named(documents, "Deployment")[NAMESPACE, "headgate-operator"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= labels.items()
    assert selector == {"app.kubernetes.io/name": "headgate", "app.kubernetes.io/component": "operator"}
    assert "helm.sh/chart" not in labels


def test_the_lease_says_nothing_of_who_holds_it() -> None:
    lease = named(manifests.template(), "Lease")[NAMESPACE, "headgate-operator"]
    assert "spec" not in lease


def test_the_authority_may_be_cert_managers() -> None:
    documents = manifests.template("certManager.enabled=true")
    certificate = named(documents, "Certificate")[NAMESPACE, "headgate-operator"]["spec"]
    assert certificate["isCA"] is True
    assert (NAMESPACE, "headgate-operator") in named(documents, "Issuer")
    assert f"--ca-secret={certificate['secretName']}" in arguments(documents)
    theirs = manifests.template(
        "certManager.enabled=true", 'certManager.issuerRef={"name":"corp","kind":"ClusterIssuer"}'
    )
    assert not named(theirs, "Issuer")


def test_every_argument_is_an_option_of_the_operator() -> None:
    """With all values that make one."""
    values = ('namespaces=["a"]', 'secretNamespaces=["a"]', "certManager.enabled=true", 'gateways.image="envoy:1"')
    given = arguments(manifests.template(*values, 'gateways.pullSecrets=["one"]', "gateways.networkPolicies=false"))
    done = subprocess.run(
        [ROOT / ".venv/bin/headgate", "operator", "--help"],
        capture_output=True,
        text=True,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin", "TERM": "dumb"},
    )
    options = set(re.findall(r"--[a-z-]+", done.stdout))
    assert given[0] == "operator"
    assert {argument.partition("=")[0] for argument in given[1:]} <= options


# Values

WRONG = {
    "replcas=2": "additional properties 'replcas' not allowed",
    'logLevel="loud"': "at '/logLevel': value must be one of",
    'namespaces="shop"': "at '/namespaces': got string, want array",
    'namespaces=["Shop"]': "at '/namespaces/0'",
    "replicas=-1": "at '/replicas': minimum: got -1, want 0",
    'gateways.memory="lots"': "at '/gateways/memory'",
    'gateways.runAsUser="root"': "at '/gateways/runAsUser'",
    'image.digest="abc"': "at '/image/digest'",
    'gateway.spec="default"': "at '/gateway/spec': got string, want object",
    'certManager.duration="1y"': "at '/certManager/duration'",
    'podLabels={"a":1}': "at '/podLabels/a': got number, want string",
}


@pytest.mark.parametrize(("value", "said"), WRONG.items(), ids=WRONG)
def test_a_wrong_value_is_refused_by_its_name(value: str, said: str) -> None:
    with pytest.raises(manifests.ManifestsProblem, match=re.escape(said)):
        manifests.template(value)


RIGHT = [
    'image.digest="sha256:' + "0" * 64 + '"',
    'gateways.runAsUser="any"',
    "runAsUser=null",
    'affinity={"podAntiAffinity":{}}',
    'tolerations=[{"operator":"Exists"}]',
    'extraEnv=[{"name":"A","value":"b"}]',
    "global={}",
    "networkPolicy.enabled=false",
    "podDisruptionBudget.enabled=false",
    "gateway.create=false",
    "rbac.create=false",
]


@pytest.mark.parametrize("value", RIGHT)
def test_a_right_value_is_taken(value: str) -> None:
    assert manifests.template(value)


def test_every_value_is_described_and_has_its_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def look(schema: Document, values: Document, path: str) -> None:
        assert set(values) == set(schema["properties"]) - {"global"} or not values, path
        for name, each in schema["properties"].items():
            assert each.get("description"), f"{path}.{name}"
            if "properties" in each:
                look(each, values[name], f"{path}.{name}")

    look(schema, values, "")


def test_notes_lead_to_the_first_call(helm: Path) -> None:
    command: list[str | Path] = [helm, "install", "headgate", CHART, "--namespace", NAMESPACE, "--dry-run=client"]
    everywhere = subprocess.run(command, capture_output=True, text=True)
    assert everywhere.returncode == 0, everywhere.stderr
    assert "curl http://gemini.shop/v1beta/models" in everywhere.stdout
    assert "kubectl create namespace shop" in everywhere.stdout
    some = subprocess.run([*command, "--set-json", 'namespaces=["a"]'], capture_output=True, text=True, check=True)
    assert "curl http://gemini.a/v1beta/models" in some.stdout
    assert "kubectl create namespace" not in some.stdout


# kustomize


@pytest.mark.parametrize("overlay", ["cluster-wide", "namespaced", "local"])
def test_overlays_are_built_and_are_what_the_chart_says(overlay: str) -> None:
    built = subprocess.run(
        [ROOT / ".venv/bin/kubectl", "kustomize", ROOT / "manifests" / "overlays" / overlay],
        capture_output=True,
        text=True,
        check=True,
    )
    documents = list(yaml.safe_load_all(built.stdout))
    same = manifests.template(*(('namespaces=["shop"]',) if overlay == "namespaced" else ()))
    identities = {(each["kind"], *key) for each in same for key in named([each], each["kind"])}
    found = {(each["kind"], *key) for each in documents for key in named([each], each["kind"])}
    assert found == identities | {("Namespace", "", NAMESPACE)}
    if overlay != "local":
        assert sorted(arguments(documents)) == sorted(arguments(same))
