"""Every rule has an example that it takes and one that it refuses, on which CEL and Python agree."""

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from harness.admission import complaints, escaped, holds
from headgate.api.attachment import PolicySpec, TargetRef
from headgate.api.base import Model, Rule, RuleError
from headgate.api.circuitbreaker import CircuitBreakerSpec, FailureRate
from headgate.api.credential import CredentialLocation
from headgate.api.fleet import Drain, ScaleDown, Scaling
from headgate.api.gateway import AllowedNamespaces, Callers
from headgate.api.healthcheck import ActiveHealthCheck, StatusRange
from headgate.api.kinds import KINDS
from headgate.api.probe import Probe
from headgate.api.ratelimit import ClientSelector, LimitHeaderMatch, LimitPath, LimitRate
from headgate.api.retrypolicy import BackOff, PerRetry, RateLimitedBackOff
from headgate.api.schema import structural_schema
from headgate.api.section import Section, SectionMatch, Timeouts
from headgate.api.tls import SubjectAltName, TlsValidation, UpstreamTls
from headgate.api.upstream import Dns, UpstreamService, UpstreamServiceSpec

Example = dict[str, Any]

TARGET = {"kind": "UpstreamService", "name": "gemini"}
GATEWAY = {"kind": "IntegrationGateway", "name": "shared"}
POLICY: Example = {"targetRefs": [TARGET]}
HEADER = {"name": "x-tenant", "value": "a"}
MATCH = {"pathPrefix": "/v1"}
CA = {"kind": "Secret", "name": "ca"}


def upstream(name: str) -> Example:
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "UpstreamService",
        "metadata": {"name": name},
        "spec": {"provider": "gemini"},
    }


#: For each model, in the order of its rules: what the rule takes, what it refuses. In both, all other rules hold.
EXAMPLES: dict[type[Model], list[tuple[list[Example], list[Example]]]] = {
    TargetRef: [
        (
            [TARGET, GATEWAY, {**TARGET, "sectionName": "models"}],
            [{**GATEWAY, "sectionName": "models"}],
        )
    ],
    PolicySpec: [
        (
            [
                POLICY,
                {"targetSelectors": [{"kind": "UpstreamService", "matchLabels": {"team": "shop"}}]},
                {"targetRefs": [], "targetSelectors": [{"kind": "IntegrationGateway", "matchLabels": {"a": ""}}]},
            ],
            [{}, {"targetRefs": []}, {"targetRefs": [], "targetSelectors": []}],
        )
    ],
    CircuitBreakerSpec: [
        (
            [POLICY, {**POLICY, "breakDuration": "100ms"}, {**POLICY, "breakDuration": "1m30s"}],
            [{**POLICY, "breakDuration": "99ms"}, {**POLICY, "breakDuration": "0s"}],
        ),
        (
            [{**POLICY, "maxBreakDuration": "100ms"}],
            [{**POLICY, "maxBreakDuration": "50ms"}],
        ),
        (
            [
                {**POLICY, "breakDuration": "10s", "maxBreakDuration": "10000ms"},
                {**POLICY, "breakDuration": "10s", "maxBreakDuration": "1m"},
            ],
            [{**POLICY, "breakDuration": "1m1s", "maxBreakDuration": "1m"}],
        ),
    ],
    FailureRate: [
        (
            [{"threshold": 50}, {"threshold": 50, "samplingWindow": "1s"}],
            [{"threshold": 50, "samplingWindow": "999ms"}],
        ),
        (
            [{"threshold": 50, "samplingWindow": "10m"}],
            [{"threshold": 50, "samplingWindow": "10m1ms"}, {"threshold": 50, "samplingWindow": "1h"}],
        ),
    ],
    BackOff: [
        ([{}, {"baseInterval": "1ms"}], [{"baseInterval": "0ms"}, {"baseInterval": "0h"}]),
        ([{"maxInterval": "1ms"}], [{"maxInterval": "0s"}]),
        (
            [{"baseInterval": "1s", "maxInterval": "1s"}, {"baseInterval": "1s", "maxInterval": "1m"}],
            [{"baseInterval": "1001ms", "maxInterval": "1s"}],
        ),
    ],
    RateLimitedBackOff: [([{}, {"maxInterval": "1ms"}], [{"maxInterval": "0s"}])],
    PerRetry: [([{}, {"timeout": "1ms"}], [{"timeout": "0s"}])],
    LimitHeaderMatch: [
        (
            [HEADER, {**HEADER, "type": "Exact"}, {"name": "x-tenant", "type": "Distinct"}, {**HEADER, "value": ""}],
            [{"name": "x-tenant"}, {"name": "x-tenant", "type": "Exact"}, {**HEADER, "type": "Distinct"}],
        )
    ],
    LimitPath: [
        (
            [{"value": "/v1"}, {"type": "RegularExpression", "value": "v1|/v2"}, {"type": "Exact", "value": "/"}],
            [{"value": "v1"}, {"type": "Exact", "value": "v1"}, {"type": "PathPrefix", "value": " /"}],
        )
    ],
    ClientSelector: [
        (
            [
                {"methods": ["GET"]},
                {"headers": [HEADER]},
                {"path": {"value": "/v1"}},
                {"methods": [], "headers": [HEADER]},
            ],
            [{}, {"methods": [], "headers": []}],
        )
    ],
    LimitRate: [
        (
            [{"requests": 1200, "interval": "5m"}, {"requests": 1, "interval": "100ms"}],
            [{"requests": 1, "interval": "99ms"}],
        )
    ],
    AllowedNamespaces: [
        (
            [{"from": "Same"}, {"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}}],
            [{"from": "Selector"}, {"from": "All", "selector": {"matchLabels": {"team": "shop"}}}],
        )
    ],
    Callers: [
        (
            [{"from": "Attached"}, {"from": "Selector", "selector": {"matchLabels": {"team": "shop"}}}],
            [{"from": "Selector"}, {"from": "Attached", "selector": {"matchLabels": {"team": "shop"}}}],
        )
    ],
    Scaling: [
        (
            [{}, {"minReplicas": 3}, {"maxReplicas": 1}, {"minReplicas": 3, "maxReplicas": 3}],
            [{"minReplicas": 4, "maxReplicas": 3}],
        )
    ],
    ScaleDown: [([{}, {"stabilizationWindow": "0s"}, {"stabilizationWindow": "1h"}], [{"stabilizationWindow": "61m"}])],
    Drain: [
        ([{}, {"minDuration": "0s"}, {"minDuration": "1h", "timeout": "1h"}], [{"minDuration": "1h1s"}]),
        ([{"timeout": "1h"}, {"timeout": "0s"}], [{"timeout": "1h1ms"}]),
        (
            [{"minDuration": "10s", "timeout": "10000ms"}, {"minDuration": "10s", "timeout": "1m"}],
            [{"minDuration": "11s", "timeout": "10s"}],
        ),
    ],
    StatusRange: [([{"start": 200, "end": 200}, {"start": 200, "end": 299}], [{"start": 300, "end": 299}])],
    ActiveHealthCheck: [
        (
            [{"path": "/"}, {"path": "/", "interval": "1s"}],
            [{"path": "/", "interval": "999ms"}],
        ),
        ([{"path": "/", "timeout": "1ms"}], [{"path": "/", "timeout": "0s"}]),
    ],
    Probe: [([{}, {"interval": "10s"}, {"disabled": True}], [{"interval": "9s999ms"}])],
    CredentialLocation: [
        (
            [{"header": {"name": "Authorization", "prefix": "Bearer "}}, {"queryParameter": "key"}, {"cookie": "c"}],
            [
                {},
                {"queryParameter": "key", "cookie": "c"},
                {"header": {"name": "A"}, "queryParameter": "k", "cookie": "c"},
            ],
        )
    ],
    SubjectAltName: [
        (
            [{"type": "Hostname", "hostname": "api.example"}, {"type": "URI", "uri": "spiffe://td/api"}],
            [
                {"type": "Hostname"},
                {"type": "URI"},
                {"type": "Hostname", "uri": "spiffe://td/api"},
                {"type": "URI", "uri": "spiffe://td/api", "hostname": "api.example"},
            ],
        )
    ],
    TlsValidation: [
        (
            [{}, {"caCertificateRefs": [CA]}, {"caCertificateRefs": [], "wellKnownCACertificates": "System"}],
            [{"caCertificateRefs": [CA], "wellKnownCACertificates": "System"}],
        )
    ],
    UpstreamTls: [
        (
            [{}, {"mode": "ServerOnly"}, {"mode": "ClientAndServer", "clientCertificateRef": {"name": "client"}}],
            [{"mode": "ClientAndServer"}, {"clientCertificateRef": {"name": "client"}}],
        ),
        (
            [{"mode": "None"}, {"validation": {}}, {"mode": "ServerOnly", "validation": {}}],
            [{"mode": "None", "validation": {}}],
        ),
    ],
    SectionMatch: [
        (
            [MATCH, {"pathRegex": "/v[0-9]+/.*"}],
            [{**MATCH, "pathRegex": "/v[0-9]+/.*"}],
        ),
        (
            [MATCH, {"methods": ["GET"]}, {"headers": [HEADER]}, {"methods": [], "pathRegex": "x"}],
            [{}, {"methods": [], "headers": []}],
        ),
    ],
    Timeouts: [
        ([{}, {"request": "0s", "streamIdle": "0s"}, {"connect": "1ms"}], [{"connect": "0s"}]),
    ],
    Section: [
        (
            [{"name": "models", "matches": [MATCH]}, {"name": "stream"}, {"name": "default", "matches": []}],
            [{"name": "default", "matches": [MATCH]}],
        )
    ],
    Dns: [([{}, {"refreshRate": "1s"}], [{"refreshRate": "999ms"}])],
    UpstreamServiceSpec: [
        (
            [
                {"hostname": "api.example"},
                {"hostname": "api.example", "endpoints": []},
                {"endpoints": [{"hostname": "a.example"}]},
            ],
            [{"hostname": "api.example", "endpoints": [{"hostname": "a.example"}]}],
        ),
        (
            [
                {"provider": "gemini"},
                {"provider": "generic", "hostname": "::1"},
                {"endpoints": [{"hostname": "10.0.0.1"}]},
            ],
            [{}, {"provider": "generic"}, {"endpoints": []}],
        ),
        (
            [
                {"provider": "gemini", "providerOptions": {}},
                {"provider": "gemini", "providerOptions": {"a" * 63: "", "é" * 63: "x" * 1024}},
            ],
            [
                {"provider": "gemini", "providerOptions": {"a" * 64: "x"}},
                {"provider": "gemini", "providerOptions": {"a": "x", "é" * 64: "x"}},
            ],
        ),
    ],
    UpstreamService: [
        (
            [upstream("gemini"), upstream("a"), upstream("a" * 63), upstream("0-1")],
            [upstream("a.b"), upstream("a" * 64)],
        )
    ],
}


def models() -> set[type[Model]]:
    """Every model below the kinds, and their bases."""

    def within(annotation: Any) -> Iterator[type[Model]]:
        if isinstance(annotation, type) and issubclass(annotation, Model):
            yield annotation
        for argument in get_args(annotation):
            yield from within(argument)

    found: set[type[Model]] = set()
    waiting: list[type[Model]] = list(KINDS.values())
    while waiting:
        model = waiting.pop()
        if model in found:
            continue
        found.add(model)
        waiting += [base for base in model.__mro__ if issubclass(base, Model)]
        waiting += [inner for info in model.model_fields.values() for inner in within(info.annotation)]
    return found


RULED = sorted((model for model in models() if model.__dict__.get("rules")), key=lambda model: model.__name__)
CASES = [
    pytest.param(model, rule, taken, refused, id=f"{model.__name__}: {rule.message}")
    for model in RULED
    if len(EXAMPLES.get(model, ())) == len(model.__dict__["rules"])
    for rule, (taken, refused) in zip(model.__dict__["rules"], EXAMPLES[model], strict=True)
]


@pytest.mark.parametrize("model", RULED)
def test_each_rule_has_its_examples(model: type[Model]) -> None:
    wanted = [rule.message for rule in model.__dict__["rules"]]
    assert len(EXAMPLES.get(model, ())) == len(wanted), f"give one pair in EXAMPLES for each of {wanted}"
    assert all(taken and refused for taken, refused in EXAMPLES[model])


def test_there_are_no_examples_for_what_is_gone() -> None:
    assert set(EXAMPLES) == set(RULED)


def broken(model: type[Model], example: Example) -> list[str]:
    """The messages of the rules of the model itself (not of parts of it) that pydantic finds broken."""
    try:
        model.model_validate(example, by_alias=True, by_name=False)
    except ValidationError as error:
        (found,) = error.errors()
        assert found["loc"] == ()
        cause = found["ctx"]["error"]
        assert isinstance(cause, RuleError)
        return [str(cause)]
    return []


@pytest.mark.parametrize(("model", "rule", "taken", "refused"), CASES)
def test_cel_and_python_agree_on_a_rule(
    model: type[Model], rule: Rule, taken: list[Example], refused: list[Example]
) -> None:
    for example in taken:
        assert holds(rule.cel, example), example
        assert broken(model, example) == [], example
    for example in refused:
        assert not holds(rule.cel, example), example
        assert broken(model, example) == [rule.message], example


@pytest.mark.parametrize(("model", "rule", "taken", "refused"), CASES)
def test_only_the_rule_itself_refuses_its_example(
    model: type[Model], rule: Rule, taken: list[Example], refused: list[Example]
) -> None:
    """So that a test of one rule can't pass because of another."""
    others = [other for other in model.all_rules() if other is not rule]
    for example in (*taken, *refused):
        assert [other.message for other in others if not holds(other.cel, example)] == [], example


def test_a_broken_rule_names_the_field_to_blame() -> None:
    document = upstream("gemini")
    document["spec"] = {"hostname": "api.example", "tls": {"mode": "ClientAndServer"}}
    with pytest.raises(ValidationError) as caught:
        UpstreamService.read(document)
    (found,) = caught.value.errors()
    assert found["loc"] == ("spec", "tls")
    assert found["ctx"]["error"].field == "clientCertificateRef"
    (complaint,) = complaints(structural_schema(UpstreamService), document)
    assert complaint.startswith(".spec.tls.clientCertificateRef: give clientCertificateRef")


def test_rules_write_names_as_the_server_escapes_them() -> None:
    """`namespace` is a word of CEL, `from` is not; none of our names needs escaping for its characters."""
    names = {name for kind in KINDS.values() for name in _properties(structural_schema(kind))}
    assert {name for name in names if escaped(name) != name} == {"namespace"}
    assert not any("self.namespace" in rule.cel for model in RULED for rule in model.all_rules())


def _properties(schema: dict[str, Any]) -> Iterator[str]:
    for name, inner in schema.get("properties", {}).items():
        yield name
        yield from _properties(inner)
    if "items" in schema:
        yield from _properties(schema["items"])
