"""What the cluster says of a gateway's Service, said again for an upstream's."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.infra.endpoints import answered, of_gateway, read_slice, upstream_endpoints
from headgate.infra.manifest import Document
from headgate.model.refs import ObjectRef

GATEWAY = ObjectRef("IntegrationGateway", "edge", "main")
UPSTREAM = ObjectRef("UpstreamService", "shop", "billing")
PORTS = [{"name": "http", "port": 10080, "protocol": "TCP", "appProtocol": "http"}]


def endpoint(address: str, **conditions: bool) -> dict[str, Any]:
    return {
        "addresses": [address],
        "conditions": conditions or {"ready": True, "serving": True, "terminating": False},
        "nodeName": "one",
        "zone": "a",
        "targetRef": {"kind": "Pod", "namespace": "edge", "name": address},
        "hints": {"forZones": [{"name": "a"}]},
    }


def slice_(name: str, *endpoints: dict[str, Any], service: str = "main-headgate", **more: Any) -> Document:
    meta = {"name": name, "namespace": "edge", "labels": {"kubernetes.io/service-name": service}}
    return {"metadata": meta, "addressType": "IPv4", "ports": PORTS, "endpoints": list(endpoints), **more}


def test_addresses_ports_and_conditions_are_said_again_under_the_upstreams_name() -> None:
    draining = {"ready": False, "serving": True, "terminating": True}
    there = read_slice(slice_("main-headgate-x1", endpoint("10.0.0.1"), endpoint("10.0.0.2", **draining)))
    (made,) = (each.document() for each in upstream_endpoints(UPSTREAM, "uid", GATEWAY, (there,)))
    assert made["metadata"]["name"] == "billing-main-headgate-x1"
    assert made["metadata"]["namespace"] == "shop"
    assert made["metadata"]["labels"]["kubernetes.io/service-name"] == "billing"
    assert made["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == "headgate.dev"
    assert made["metadata"]["ownerReferences"][0]["name"] == "billing"
    assert (made["addressType"], made["ports"]) == ("IPv4", PORTS)
    assert [each["conditions"] for each in made["endpoints"]] == [endpoint("")["conditions"], draining]
    assert all(set(each) == {"addresses", "conditions", "nodeName", "zone"} for each in made["endpoints"])


def test_both_families_are_said_again_and_nothing_of_other_services() -> None:
    six = slice_("main-headgate-y", endpoint("fd00::1"), addressType="IPv6")
    found = [slice_("main-headgate-x"), six, slice_("other-headgate-z", service="other-headgate")]
    slices = of_gateway([read_slice(each) for each in found], GATEWAY)
    made = [each.document() for each in upstream_endpoints(UPSTREAM, "uid", GATEWAY, slices)]
    assert [(each["metadata"]["name"], each["addressType"]) for each in made] == [
        ("billing-main-headgate-x", "IPv4"),
        ("billing-main-headgate-y", "IPv6"),
    ]
    assert of_gateway(slices, ObjectRef("IntegrationGateway", "elsewhere", "main")) == ()


def test_an_order_without_a_meaning_changes_nothing() -> None:
    one, two = endpoint("10.0.0.1"), endpoint("10.0.0.2")
    assert read_slice(slice_("x", one, two)) == read_slice(slice_("x", two, one))
    assert read_slice(slice_("x", endpoints=None)).endpoints == ()


DRAINING = {"ready": False, "serving": True, "terminating": True}


@pytest.mark.parametrize(
    ("endpoints", "found"),
    [
        ([], False),
        ([endpoint("10.0.0.1")], True),
        ([endpoint("10.0.0.1", ready=False)], False),
        ([endpoint("10.0.0.1", ready=False, serving=False, terminating=True)], False),
        # Calls go there where nobody else is.
        ([endpoint("10.0.0.1", **DRAINING)], True),
        ([endpoint("10.0.0.1", ready=False), endpoint("10.0.0.2")], True),
        # Nothing said is ready, as the API has it.
        ([{"addresses": ["10.0.0.1"]}], True),
        ([{"addresses": ["10.0.0.1"], "conditions": {"serving": True}}], True),
    ],
)
def test_whether_calls_find_anybody(endpoints: list[dict[str, Any]], found: bool) -> None:
    assert answered([read_slice(slice_("main-headgate-x", *endpoints))]) is found
    assert answered([read_slice(slice_("main-headgate-y")), read_slice(slice_("z", *endpoints))]) is found


def test_without_slices_nobody_is_found() -> None:
    assert not answered(())
