"""What of an object that Headgate made is taken for a change, by its metadata. What a real API server writes into them:
tests/cluster/test_put_right.py."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest

from headgate.kube.children import there
from headgate.kube.client import Document

SCALER: Document = {
    "kind": "HorizontalPodAutoscaler",
    "metadata": {
        "name": "edge-headgate",
        "namespace": "shop",
        "uid": "1",
        "resourceVersion": "10",
        "labels": {"app.kubernetes.io/managed-by": "headgate"},
        "managedFields": [
            {
                "manager": "headgate",
                "operation": "Apply",
                "time": "2026-01-01T00:00:00Z",
                "fieldsV1": {"f:spec": {"f:maxReplicas": {}, "f:minReplicas": {}}},
            },
            {
                "manager": "kube-controller-manager",
                "operation": "Update",
                "subresource": "status",
                "time": "2026-01-01T00:00:15Z",
                "fieldsV1": {"f:status": {"f:currentReplicas": {}}},
            },
        ],
    },
}


def after(change: Callable[[Document], object]) -> Document:
    found = copy.deepcopy(SCALER)
    found["metadata"]["resourceVersion"] = "11"
    change(found["metadata"])
    return found


def test_a_status_that_is_written_is_no_change() -> None:
    def judged(meta: Document) -> None:
        meta["managedFields"][1] |= {"time": "2026-01-01T00:00:30Z", "fieldsV1": {"f:status": {"f:conditions": {}}}}

    assert there(after(judged)) == there(SCALER)
    assert there(after(lambda meta: meta["managedFields"].pop())) == there(SCALER)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda meta: meta["labels"].clear(), id="a label that is gone"),
        pytest.param(lambda meta: meta["managedFields"][0].update(time="2026-01-01T00:00:07Z"), id="said once more"),
        pytest.param(lambda meta: meta["managedFields"][0]["fieldsV1"]["f:spec"].pop("f:maxReplicas"), id="taken away"),
        pytest.param(
            lambda meta: meta["managedFields"].append(
                {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:maxReplicas": {}}}}
            ),
            id="said by somebody else",
        ),
    ],
)
def test_what_is_declared_in_it_is_a_change(change: Callable[[Document], object]) -> None:
    assert there(after(change)).mark != there(SCALER).mark


def test_where_changes_are_counted_the_count_is_what_matters() -> None:
    def counted(meta: Document) -> None:
        meta["generation"] = 3

    def said_again(meta: Document) -> None:
        counted(meta)
        meta["managedFields"][0]["time"] = "2026-01-01T00:00:07Z"

    assert there(after(said_again)) == there(after(counted))
