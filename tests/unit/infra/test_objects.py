"""What must hold of the objects whatever the gateway."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from golden.infra.cases import CASES, KEY, USUAL, inputs, made, uid
from harness.manifests import expanded
from harness.plans import endpoint, gateway, section, upstream
from headgate.infra.gateway import KINDS, gateway_objects
from headgate.infra.identity import RENEW_AT, ROOTS, identity_due
from headgate.infra.manifest import Manifest, child_name, label_value
from headgate.infra.network import host_names
from headgate.infra.settings import Drain, GatewayInputs, InfraSettings, Scaling
from headgate.infra.upstream import upstream_service
from headgate.model.fleet import ServiceMode
from headgate.model.plan import Gateway, Listener, Upstream
from headgate.model.refs import ObjectRef

#: As the API server has it for Services (RFC 1035).
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
NAMES = st.from_regex(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?", fullmatch=True)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_gateway(port: int = 8080, **changes: Any) -> Gateway:
    api = upstream(section(endpoint(443, "api.example", **changes), key="shop/api/default", allowed_cidrs=()))
    return gateway(api, listener=Listener(address="0.0.0.0", port=port))


def objects(of: Gateway, settings: InfraSettings = USUAL, given_: GatewayInputs | None = None) -> dict[str, Any]:
    found = gateway_objects(of, given_ or inputs(of, settings), settings)
    return {each.ref.kind: each.document() for each in found}


def pod(found: dict[str, Any]) -> Any:
    return found["Deployment"]["spec"]["template"]["spec"]


def every() -> Iterable[Manifest]:
    return (each for case in CASES for each in made(case).objects)


def test_the_same_values_make_the_same_objects() -> None:
    for case in CASES:
        assert made(case).objects == made(case).objects


def test_no_label_or_annotation_of_an_owner_is_on_what_it_owns() -> None:
    for each in every():
        text = json.dumps(each.document())
        assert "argo" not in text
        assert '"team"' not in text
        assert "app.kubernetes.io/instance" not in text


def test_all_are_owned_by_the_object_of_ours_that_they_are_for_and_lie_beside_it() -> None:
    for each in every():
        metadata = each.document()["metadata"]
        (owner,) = metadata["ownerReferences"]
        ref = ObjectRef(owner["kind"], metadata["namespace"], owner["name"])
        assert owner["uid"] == uid(ref)
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "headgate"
        assert (ref.kind == "UpstreamService") == (metadata["labels"]["app.kubernetes.io/component"] == "upstream")


def test_every_kind_is_among_those_that_are_looked_for() -> None:
    assert set(objects(a_gateway())) == set(KINDS)


def test_replicas_are_written_by_the_autoscaler_or_by_us_and_never_by_both() -> None:
    scaled = objects(a_gateway())
    assert "replicas" not in scaled["Deployment"]["spec"]
    assert scaled["HorizontalPodAutoscaler"]["spec"]["minReplicas"] == 2
    fixed = objects(a_gateway(), replace(USUAL, scaling=Scaling(least=4, most=4)))
    assert fixed["Deployment"]["spec"]["replicas"] == 4
    assert "HorizontalPodAutoscaler" not in fixed


def test_neither_a_certificate_nor_an_upstream_restarts_a_pod() -> None:
    before = a_gateway()
    other = replace(a_gateway(), upstreams=gateway(upstream(section(endpoint(80, "b.example")))).upstreams)
    renewed = inputs(before, USUAL)
    assert renewed.identity is not None
    renewed = replace(renewed, identity=replace(renewed.identity, roots="others", renew_at=NOW))
    assert objects(other)["Deployment"] == objects(before)["Deployment"]
    assert objects(other)["NetworkPolicy"] != objects(before)["NetworkPolicy"]
    assert objects(before, given_=renewed)["Deployment"] == objects(before)["Deployment"]
    assert objects(before, given_=renewed)["Secret"] != objects(before)["Secret"]


@pytest.mark.parametrize(
    "changed",
    [
        replace(USUAL, image="another"),
        replace(USUAL, drain=Drain(most=60)),
        replace(USUAL, resources=replace(USUAL.resources, memory_bytes=1 << 30)),
        replace(USUAL, log_level="debug"),
    ],
)
def test_what_a_pod_is_started_with_restarts_it(changed: InfraSettings) -> None:
    assert pod(objects(a_gateway(), changed)) != pod(objects(a_gateway()))


def test_the_bootstrap_reaches_envoy_as_it_is() -> None:
    """Though Kubernetes reads dollars in arguments."""
    given_ = inputs(a_gateway(), USUAL)
    odd = replace(given_, bootstrap=json.dumps({"node": {"metadata": {"a": "$(POD_NAME) $$ $"}}}))
    arguments = pod(objects(a_gateway(), given_=odd))["containers"][0]["args"]
    text = expanded(arguments[1], {"POD_NAME": "never"})
    assert json.loads(text)["node"] == {"metadata": {"a": "$(POD_NAME) $$ $"}}
    assert expanded(arguments[3], {"POD_NAME": "edge-1"}) == "demo/gateway/edge-1"


def test_a_pod_has_time_for_the_longest_drain() -> None:
    for drain in (Drain(), Drain(least=1, most=2, spare=3), Drain(most=3600)):
        found = pod(objects(a_gateway(), replace(USUAL, drain=drain)))
        assert found["terminationGracePeriodSeconds"] > drain.most
        arguments = found["containers"][0]["args"]
        # Beyond that Envoy itself would take no new call.
        assert int(arguments[arguments.index("--drain-time-s") + 1]) > found["terminationGracePeriodSeconds"]


def test_the_pods_port_is_never_the_listeners() -> None:
    for port in (8080, 19002, 19003):
        ports = pod(objects(a_gateway(port)))["containers"][0]["ports"]
        assert len({each["containerPort"] for each in ports}) == 2


def test_the_path_of_the_drain_is_the_gateways_own() -> None:
    """One who knows one gateway's does not know another's; and it stays, or pods would restart for it."""
    one, same, other = (
        pod(objects(a_gateway(), given_=replace(inputs(a_gateway(), USUAL), uid=each))) for each in ("a", "a", "b")
    )
    paths = [each["containers"][0]["lifecycle"]["preStop"]["httpGet"]["path"] for each in (one, same, other)]
    assert paths[0] == paths[1] != paths[2]
    assert re.fullmatch(r"/drain/[0-9a-f]{32}", paths[0])


def test_the_certificate_is_in_the_secret_only() -> None:
    encoded = base64.b64encode(KEY.encode()).decode()
    found = gateway_objects(a_gateway(), inputs(a_gateway(), USUAL), USUAL)
    assert [each.ref.kind for each in found if encoded in each.rest] == ["Secret"]
    without = replace(inputs(a_gateway(), USUAL), identity=None)
    assert "Secret" not in objects(a_gateway(), given_=without)


def test_nobody_gets_in_while_nothing_is_attached() -> None:
    empty = gateway(listener=Listener(address="0.0.0.0", port=8080))
    assert "ingress" not in objects(empty)["NetworkPolicy"]["spec"]
    assert "Ingress" in objects(empty)["NetworkPolicy"]["spec"]["policyTypes"]


@given(NAMES)
def test_every_name_becomes_one_that_a_service_may_have(name: str) -> None:
    found = child_name(name)
    assert SERVICE_NAME.fullmatch(found)
    assert len(found) <= 63
    assert found.endswith("-headgate")
    assert LABEL_VALUE.fullmatch(label_value(name))
    assert len(label_value(name)) <= 63


def test_names_that_differ_stay_different() -> None:
    long = "a" * 80
    names = ["a.b", "a-b", "1a", "gw-1a", long, f"{long}b", "a" * 54, "a" * 55, "a" * 54 + ".b"]
    assert len({child_name(name) for name in names}) == len(names)
    assert len({label_value(name) for name in names}) == len(names)
    assert child_name("edge") == "edge-headgate"


def _at_my_edge(**changes: Any) -> tuple[Gateway, Upstream]:
    at = a_gateway()
    (api,) = at.upstreams.values()
    return replace(at, ref=ObjectRef("IntegrationGateway", "platform", "my.edge")), replace(api, **changes)


def test_an_upstream_may_have_a_service_with_an_address_or_none() -> None:
    here, api = _at_my_edge(service_mode=ServiceMode.NONE)
    assert upstream_service(api, "u", here, USUAL) is None
    found = upstream_service(replace(api, service_mode=ServiceMode.CLUSTER_IP), "u", here, USUAL)
    assert found is not None
    spec = found.document()["spec"]
    assert (spec["type"], [each["port"] for each in spec["ports"]]) == ("ClusterIP", [80, 8080])
    assert "selector" not in spec


def test_an_upstreams_service_leads_to_its_gateways() -> None:
    here, api = _at_my_edge()
    found = upstream_service(api, "u", here, replace(USUAL, cluster_domain="c.example"))
    assert found is not None
    assert found.document()["spec"] == {
        "type": "ExternalName",
        "externalName": f"{child_name('my.edge')}.platform.svc.c.example",
    }


def test_a_gateway_is_called_by_its_services_names() -> None:
    assert host_names(ObjectRef("IntegrationGateway", "platform", "edge"), "c.example") == (
        "edge-headgate",
        "edge-headgate.platform",
        "edge-headgate.platform.svc",
        "edge-headgate.platform.svc.c.example",
    )


@pytest.mark.parametrize(
    ("annotations", "due"),
    [
        ({RENEW_AT: (NOW + timedelta(seconds=1)).isoformat(), ROOTS: "r"}, False),
        ({RENEW_AT: NOW.isoformat(), ROOTS: "r"}, True),
        ({RENEW_AT: (NOW + timedelta(hours=1)).isoformat(), ROOTS: "others"}, True),
        ({RENEW_AT: (NOW + timedelta(hours=1)).isoformat()}, True),
        ({RENEW_AT: "2027-01-01T00:00:00", ROOTS: "r"}, True),  # of no time zone
        ({RENEW_AT: "soon", ROOTS: "r"}, True),
        ({}, True),
    ],
)
def test_when_another_certificate_is_due(annotations: dict[str, str], due: bool) -> None:
    assert identity_due(annotations, "r", NOW) is due


def test_what_is_noted_of_a_certificate_can_be_read_back() -> None:
    found = objects(a_gateway())["Secret"]["metadata"]["annotations"]
    before, after = datetime(2026, 1, 1, 15, 59, tzinfo=UTC), datetime(2026, 1, 1, 16, tzinfo=UTC)
    assert not identity_due(found, "0123456789abcdef", before)
    assert identity_due(found, "0123456789abcdef", after)
