"""The objects that Headgate makes, before a real API server: taken whole, strictly, and fit for the strictest namespaces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import ApiServer
from golden.infra.cases import CASES, made
from harness.apiserver import ServerClient
from headgate.infra.manifest import Manifest
from headgate.kube.resources import CHILDREN

pytestmark = pytest.mark.cluster

Document = dict[str, Any]
Server = Callable[[Document], tuple[int, Document]]
#: Kinds that a dry run of others asks for.
FIRST = ("ServiceAccount",)


@pytest.fixture(scope="module")
def apply(api_server: ApiServer, client: ServerClient) -> Server:
    """Server-side apply as the operator does it, strictly, and for nothing but an answer."""
    for namespace in {each.ref.namespace for case in CASES for each in made(case).objects}:
        document = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
        api_server.kubectl("apply", "--server-side", "--filename=-", given=json.dumps(document))

    def send(document: Document, *, dry_run: bool = True) -> tuple[int, Document]:
        metadata = document["metadata"]
        path = CHILDREN[document["kind"]].path(metadata["namespace"], metadata["name"])
        query = {"fieldManager": "headgate", "force": "true", "fieldValidation": "Strict"}
        answer = client.http.patch(
            path,
            params=query | ({"dryRun": "All"} if dry_run else {}),
            content=json.dumps(document).encode(),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        return answer.status_code, answer.json()

    for name in {name for case in CASES for name in runtimes(case)}:
        document = {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": name},
            "handler": "any",
        }
        api_server.kubectl("apply", "--server-side", "--filename=-", given=json.dumps(document))
    for case in CASES:
        for each in made(case).objects:
            if each.ref.kind in FIRST:
                assert send(each.document(), dry_run=False)[0] in {200, 201}
    return send


def runtimes(case: Path) -> Iterator[str]:
    """RuntimeClasses that pods ask for: a pod of one that is not there is refused."""
    for each in made(case).objects:
        if each.ref.kind == "Deployment" and (
            name := each.document()["spec"]["template"]["spec"].get("runtimeClassName")
        ):
            yield name


def objects() -> Iterator[Any]:
    for case in CASES:
        for each in made(case).objects:
            yield pytest.param(each, id=f"{case.stem}: {each.ref}")


@pytest.mark.parametrize("manifest", [*objects()])
def test_the_server_takes_it(apply: Server, manifest: Manifest) -> None:
    status, answer = apply(manifest.document())
    assert status in {200, 201}, answer["message"]
    assert lost(manifest.document(), answer) == []


def lost(ours: Any, theirs: Any, at: str = "") -> list[str]:
    """Where the server's object has not what ours has. It may have more: defaults."""
    match ours, theirs:
        case dict(), dict():
            return [line for key, value in ours.items() for line in lost(value, theirs.get(key), f"{at}.{key}")]
        case list(), list() if len(ours) == len(theirs):
            pairs = zip(ours, theirs, strict=True)
            return [line for index, pair in enumerate(pairs) for line in lost(*pair, f"{at}[{index}]")]
        case _:
            return [] if ours == theirs else [f"{at}: {ours!r} became {theirs!r}"]


@pytest.mark.parametrize("wrong", ["field", "value"])
def test_the_server_refuses_what_is_wrong(apply: Server, wrong: str) -> None:
    """Or the test before would say nothing."""
    document = next(each.document() for each in made(CASES[0]).objects if each.ref.kind == "Deployment")
    if wrong == "field":
        document["spec"]["template"]["spec"]["terminationGraceSeconds"] = 1
    else:
        document["spec"]["strategy"]["rollingUpdate"] = {"maxUnavailable": 0, "maxSurge": 0}
    assert apply(document)[0] in {400, 422, 500}


def pods() -> Iterator[Any]:
    for case in CASES:
        for each in made(case).objects:
            if each.ref.kind == "Deployment":
                yield pytest.param(each, id=f"{case.stem}: {each.ref.name}")


@pytest.mark.parametrize("manifest", [*pods()])
def test_its_pods_may_run_where_pod_security_is_restricted(
    client: ServerClient, apply: Server, manifest: Manifest
) -> None:
    template = manifest.document()["spec"]["template"]
    status, answer = create_pod(client, manifest, template)
    assert status == 201, answer["message"]
    template["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    status, answer = create_pod(client, manifest, template)
    assert (status, "restricted" in answer["message"]) == (403, True)


def create_pod(client: ServerClient, manifest: Manifest, template: Document) -> tuple[int, Document]:
    document = {"apiVersion": "v1", "kind": "Pod", **template}
    document["metadata"] = {**template["metadata"], "generateName": "trial-"}
    answer = client.http.post(
        f"/api/v1/namespaces/{manifest.ref.namespace}/pods", params={"dryRun": "All"}, json=document
    )
    return answer.status_code, answer.json()
