"""The CRDs on a real kube-apiserver: taken as they are, and of one mind with pydantic and with the harness's admission."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster import ApiServer
from crd.test_agreement import SCHEMAS, heard, read, sample
from crd.test_rules import EXAMPLES, POLICY, RULED
from harness.apiserver import ServerClient
from headgate.api import crdgen, types
from headgate.api.attachment import PolicySpec, TargetRef
from headgate.api.base import Model
from headgate.api.circuitbreaker import CircuitBreakerSpec, FailureRate
from headgate.api.credential import CredentialLocation
from headgate.api.fleet import Drain, ScaleDown, Scaling
from headgate.api.gateway import AllowedNamespaces, Callers
from headgate.api.healthcheck import ActiveHealthCheck, StatusRange
from headgate.api.kinds import KINDS
from headgate.api.probe import Probe
from headgate.api.ratelimit import ClientSelector, LimitHeaderMatch, LimitPath, LimitRate
from headgate.api.retrypolicy import BackOff, PerRetry, RateLimitedBackOff
from headgate.api.section import Section, SectionMatch, Timeouts
from headgate.api.tls import SubjectAltName, TlsValidation, UpstreamTls
from headgate.api.upstream import Dns, UpstreamService, UpstreamServiceSpec

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 300

Document = dict[str, Any]
Host = tuple[str, Callable[[Document], Document]]

API = {"hostname": "api.example"}
LIMIT = {"requests": 1, "interval": "1s"}
CA = {"kind": "Secret", "name": "ca"}


def limited(selector: Document) -> Document:
    return {**POLICY, "rules": [{"name": "a", "clientSelectors": [selector], "limit": LIMIT}]}


def credential(location: Document) -> Document:
    return {**API, "credentials": [{"name": "a", "secretRef": {"name": "a", "key": "b"}, "location": location}]}


def section(given: Document) -> Document:
    return {**API, "sections": [given]}


#: In which kind, and where in its spec, a model's examples stand. Around them is as little as can be.
HOSTS: dict[type[Model], Host] = {
    TargetRef: ("RetryPolicy", lambda example: {"targetRefs": [example]}),
    PolicySpec: ("RetryPolicy", lambda example: example),
    CircuitBreakerSpec: ("CircuitBreaker", lambda example: example),
    FailureRate: ("CircuitBreaker", lambda example: {**POLICY, "failureRate": example}),
    BackOff: ("RetryPolicy", lambda example: {**POLICY, "perRetry": {"backOff": example}}),
    PerRetry: ("RetryPolicy", lambda example: {**POLICY, "perRetry": example}),
    RateLimitedBackOff: ("RetryPolicy", lambda example: {**POLICY, "rateLimitedBackOff": example}),
    LimitHeaderMatch: ("RateLimit", lambda example: limited({"headers": [example]})),
    LimitPath: ("RateLimit", lambda example: limited({"path": example})),
    ClientSelector: ("RateLimit", limited),
    LimitRate: ("RateLimit", lambda example: {**POLICY, "rules": [{"name": "a", "limit": example}]}),
    AllowedNamespaces: ("IntegrationGateway", lambda example: {"allowedNamespaces": example}),
    Callers: ("IntegrationGateway", lambda example: {"callers": example}),
    Scaling: ("IntegrationGateway", lambda example: {"scaling": example}),
    ScaleDown: ("IntegrationGateway", lambda example: {"scaling": {"scaleDown": example}}),
    Drain: ("IntegrationGateway", lambda example: {"drain": example}),
    StatusRange: (
        "UpstreamService",
        lambda example: {**API, "healthCheck": {"active": {"path": "/", "expectedStatuses": [example]}}},
    ),
    ActiveHealthCheck: ("UpstreamService", lambda example: {**API, "healthCheck": {"active": example}}),
    CredentialLocation: ("UpstreamService", credential),
    SubjectAltName: (
        "UpstreamService",
        lambda example: {**API, "tls": {"validation": {"caCertificateRefs": [CA], "subjectAltNames": [example]}}},
    ),
    TlsValidation: ("UpstreamService", lambda example: {**API, "tls": {"validation": example}}),
    UpstreamTls: ("UpstreamService", lambda example: {**API, "tls": example}),
    Probe: ("UpstreamService", lambda example: {**API, "probe": example}),
    SectionMatch: ("UpstreamService", lambda example: section({"name": "a", "matches": [example]})),
    Timeouts: ("UpstreamService", lambda example: {**API, "timeouts": example}),
    Section: ("UpstreamService", section),
    Dns: ("UpstreamService", lambda example: {**API, "dns": example}),
    UpstreamServiceSpec: ("UpstreamService", lambda example: example),
}


def hosted(model: type[Model], example: Document) -> Document:
    """An object with the example in it."""
    if model is UpstreamService:
        return copy.deepcopy(example)
    kind, place = HOSTS[model]
    head = {"apiVersion": "headgate.dev/v1alpha1", "kind": kind, "metadata": {"name": "a"}}
    return {**head, "spec": place(copy.deepcopy(example))}


def cases() -> Iterator[Any]:
    for model in EXAMPLES:
        for rule, (taken, refused) in zip(model.__dict__["rules"], EXAMPLES[model], strict=True):
            yield pytest.param(model, rule.message, taken, refused, id=f"{model.__name__}: {rule.message}")


def test_all_are_established(api_server: ApiServer) -> None:
    found = json.loads(api_server.kubectl("get", "crds", "-o", "json"))["items"]
    established = {
        crd["spec"]["names"]["kind"]: {status["type"]: status["status"] for status in crd["status"]["conditions"]}
        for crd in found
        if crd["spec"]["group"] == "headgate.dev"
    }
    # A schema that is not structural would be established all the same, with a condition that says so.
    assert established == {kind: {"NamesAccepted": "True", "Established": "True"} for kind in KINDS}


def test_every_model_with_rules_has_its_place() -> None:
    assert {*HOSTS, UpstreamService} == set(RULED)


@pytest.mark.parametrize(("model", "message", "taken", "refused"), [*cases()])
def test_the_server_judges_by_a_rule(
    client: ServerClient, model: type[Model], message: str, taken: list[Document], refused: list[Document]
) -> None:
    for example in taken:
        answer = client.create(hosted(model, example))
        assert answer.taken, (example, answer.message)
    for example in refused:
        answer = client.create(hosted(model, example))
        assert answer.status == 422, (example, answer.body)
        assert message in answer.message, example


@pytest.mark.parametrize(
    ("kind", "spec", "words"),
    [
        ("UpstreamService", {"hostname": "https://api.example/v1"}, types.HOSTNAME_WORDS),
        ("UpstreamService", {**API, "timeouts": {"request": "5 sec"}}, types.DURATION_WORDS),
        (
            "RateLimit",
            {**POLICY, "rules": [{"name": "a", "limit": {**LIMIT, "interval": "5 sec"}}]},
            types.DURATION_WORDS,
        ),
    ],
)
def test_a_slip_of_the_hand_is_answered_by_how_to_write_it(
    client: ServerClient, kind: str, spec: Document, words: str
) -> None:
    head = {"apiVersion": "headgate.dev/v1alpha1", "kind": kind, "metadata": {"name": "slip"}}
    answer = client.create({**head, "spec": spec})
    assert answer.status == 422
    assert words in answer.message
    assert "conversion" not in answer.message, "a rule beside it has not tripped over it"


def as_sent(value: Any) -> Any:
    """As kubectl sends it: 200.0 is 200 to Go. To the server itself it is no int, once a rule looks at it."""
    if isinstance(value, dict):
        return {key: as_sent(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_sent(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def no_number(value: Any) -> bool:
    """Whether a number in it is too large for a float: that is no JSON to the server, even where it would drop it."""
    if isinstance(value, dict):
        return any(no_number(inner) for inner in value.values())
    if isinstance(value, list):
        return any(no_number(item) for item in value)
    return isinstance(value, int) and abs(value) > sys.float_info.max


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_judges_as_pydantic_does(client: ServerClient, kind: str) -> None:
    """Documents as users write them, slips of the hand included."""
    different, compared = [], 0
    for seed in range(SAMPLES):
        document = sample(kind, seed)
        if no_number(document):
            continue
        compared += 1
        ours, answer = read(kind, document), client.create(as_sent(document))
        assert answer.status in (201, 400, 422), answer
        if answer.taken == bool(ours):
            different.append((seed, document.get("spec", document), ours, answer.message))
    assert different == []
    assert compared >= SAMPLES * 0.9


def test_a_whole_float_is_not_an_int_to_a_rule(client: ServerClient) -> None:
    """What `as_sent` says of the server, so that it is known when it changes."""
    document = hosted(StatusRange, {"start": 200.0, "end": 299})
    assert "expected int, got float64" in client.create(document).message
    assert client.create(as_sent(document)).taken


@pytest.mark.parametrize("kind", KINDS)
def test_the_server_fills_no_default(client: ServerClient, kind: str) -> None:
    """Or a profile could not fill it any more."""
    schema, compared = SCHEMAS[kind]["properties"]["spec"], 0
    for seed in range(SAMPLES):
        document = sample(kind, seed)
        answer = client.create(as_sent(document))
        if answer.taken:
            assert answer.body["spec"] == heard(document["spec"], schema), seed
            assert answer.body.keys() == {"apiVersion", "kind", "metadata", "spec", "status"}
            assert answer.body["status"] == crdgen.UNSEEN
            compared += 1
    assert compared >= 40


def examples() -> list[Document]:
    files = sorted((ROOT / "manifests" / "examples").rglob("*.yaml"))
    documents = [document for file in files for document in yaml.safe_load_all(file.read_text("utf-8")) if document]
    return [document for document in documents if document["kind"] in KINDS]


def test_the_examples_are_stored_as_they_are_written(client: ServerClient) -> None:
    written = examples()
    assert written
    for document in written:
        document["metadata"].pop("namespace", None)
        answer = client.create(document, dry_run=False)
        assert answer.taken, (document, answer.message)
        assert client.get(document)["spec"] == document["spec"]
