"""What Flux's `wait` makes of an object as the API server has it, before the operator has looked at it and after."""

from __future__ import annotations

import json
import secrets
import subprocess

import pytest

from cluster import ApiServer
from cluster.build import build, unbuilt
from cluster.places import Lines
from harness.require import require

pytestmark = pytest.mark.cluster

UPSTREAM = {
    "apiVersion": "headgate.dev/v1alpha1",
    "kind": "UpstreamService",
    "spec": {"hostname": "api.billing.example"},
}


def verdict(document: object) -> str:
    missing = unbuilt(["kstatus"])
    require(not missing, "not built: kstatus; `make parts` builds it")
    binary = build(["kstatus"], Lines())["kstatus"]
    done = subprocess.run([binary], input=json.dumps([document]), capture_output=True, text=True, check=True)
    return str(json.loads(done.stdout)[0]["status"])


def test_an_object_that_nobody_has_looked_at_is_waited_for(api_server: ApiServer) -> None:
    namespace = f"test-{secrets.token_hex(4)}"
    api_server.kubectl("create", "namespace", namespace)
    document = {**UPSTREAM, "metadata": {"name": "billing", "namespace": namespace}}
    api_server.kubectl("apply", "--server-side", "--filename=-", given=json.dumps(document))

    def stored() -> dict[str, object]:
        return dict(
            json.loads(api_server.kubectl("get", "upstream", "billing", f"--namespace={namespace}", "-o", "json"))
        )

    assert verdict(stored()) == "InProgress"
    status = {
        "observedGeneration": 1,
        "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 1, "reason": "Ready"}],
    }
    api_server.kubectl(
        "apply",
        "--server-side",
        "--subresource=status",
        "--field-manager=headgate",
        "--filename=-",
        given=json.dumps({**{k: v for k, v in document.items() if k != "spec"}, "status": status}),
    )
    found = stored()
    assert found["status"] == status, "what the server had said is gone"
    assert verdict(found) == "Current"
