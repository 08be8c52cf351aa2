"""What the models have in common: how a document is read, and what is said of what is not."""

from typing import Any

import pytest
from pydantic import ValidationError

from headgate.api.base import unknown_fields
from headgate.api.circuitbreaker import CircuitBreakerSpec
from headgate.api.gateway import IntegrationGateway
from headgate.api.kinds import KINDS
from headgate.api.ratelimit import RateLimit
from headgate.api.retrypolicy import RetryPolicySpec
from headgate.api.upstream import UpstreamService

TARGET = {"kind": "UpstreamService", "name": "gemini"}


def upstream(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "UpstreamService",
        "metadata": {"name": "gemini", "namespace": "shop"},
        "spec": {"hostname": "api.example", **spec},
    }


def faults(document: dict[str, Any]) -> list[tuple[tuple[int | str, ...], str]]:
    with pytest.raises(ValidationError) as caught:
        KINDS[document["kind"]].read(document)
    return [(error["loc"], error["type"]) for error in caught.value.errors()]


def test_objects_are_frozen_and_lists_are_tuples() -> None:
    found = UpstreamService.read(upstream(upgrades=["websocket"]))
    assert found.spec.upgrades == ("websocket",)
    assert found.spec == UpstreamService.read(upstream(upgrades=["websocket"])).spec
    with pytest.raises(ValidationError, match="frozen"):
        found.spec.port = 80  # type: ignore[misc]


def test_types_are_not_bent() -> None:
    assert faults(upstream(port="443")) == [(("spec", "port"), "int_type")]
    assert faults(upstream(port=True)) == [(("spec", "port"), "int_type")]
    assert faults(upstream(port=443.5)) == [(("spec", "port"), "int_type")]
    assert faults(upstream(provider=1)) == [(("spec", "provider"), "string_type")]
    assert faults(upstream(upgrades="websocket")) == [(("spec", "upgrades"), "tuple_type")]
    assert faults(upstream(upgrades={"websocket": 1})) == [(("spec", "upgrades"), "tuple_type")]


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert UpstreamService.read(upstream(port=443.0)).spec.port == 443
    codes = CircuitBreakerSpec.model_validate({"targetRefs": [TARGET], "httpErrorCodes": [500.0, 503]})
    assert codes.http_error_codes == (500, 503)


def test_null_is_the_same_as_left_out() -> None:
    nulls = {"endpoints": None, "upgrades": None, "port": None, "tls": {"mode": None, "validation": None}}
    assert UpstreamService.read(upstream(**nulls)).spec == UpstreamService.read(upstream(tls={})).spec
    assert faults(upstream(gatewayRef={"name": None})) == [(("spec", "gatewayRef", "name"), "missing")]
    assert faults(upstream(upgrades=[None])) == [(("spec", "upgrades", 0), "literal_error")]
    gateway = {"kind": "IntegrationGateway", "metadata": {"name": "a"}, "spec": {"default": None}}
    assert IntegrationGateway.read(gateway).spec.default is False


def test_only_the_names_of_the_crd_are_heard() -> None:
    document = upstream(base_path="/x")
    assert UpstreamService.read(document).spec.base_path is None
    assert list(unknown_fields(UpstreamService, document)) == [("spec", "base_path")]
    assert UpstreamService.read(upstream(basePath="/x")).spec.base_path == "/x"


def test_a_name_given_twice_is_told_at_its_list() -> None:
    rule = {"name": "a", "limit": {"requests": 1, "interval": "1s"}}
    document = {
        "kind": "RateLimit",
        "metadata": {"name": "a"},
        "spec": {"targetRefs": [TARGET], "rules": [rule, rule]},
    }
    assert faults(document) == [(("spec", "rules"), "not_unique")]
    document["spec"]["rules"] = [rule, {**rule, "name": "b"}]  # type: ignore[index]
    assert [found.name for found in RateLimit.read(document).spec.rules_] == ["a", "b"]


def test_the_rules_of_a_base_hold_in_what_is_made_of_it() -> None:
    messages = [rule.message for rule in CircuitBreakerSpec.all_rules()]
    assert messages[0] == "name at least one target in targetRefs or targetSelectors"
    assert len(messages) == 4
    for spec in (CircuitBreakerSpec, RetryPolicySpec):
        with pytest.raises(ValidationError, match="name at least one target"):
            spec.model_validate({})


def test_unknown_fields_are_found_wherever_they_are_and_do_no_harm() -> None:
    document = upstream(
        hostnam="x",
        sections=[{"name": "default", "timeouts": {"requests": "1s"}}, {"name": "a", "matches": [{"pathPrefx": "/"}]}],
    )
    document["spek"] = {}
    document["metadata"]["annotations"] = {"theirs": "own"}
    assert set(unknown_fields(UpstreamService, document)) == {
        ("spek",),
        ("spec", "hostnam"),
        ("spec", "sections", 0, "timeouts", "requests"),
        ("spec", "sections", 1, "matches", 0, "pathPrefx"),
    }
    del document["spec"]["sections"][1]
    assert UpstreamService.read(document).spec.hostname == "api.example"


@pytest.mark.parametrize("document", [None, [], "text", 1])
def test_what_is_no_object_has_no_unknown_fields_and_is_refused(document: Any) -> None:
    assert list(unknown_fields(UpstreamService, document)) == []
    with pytest.raises(ValidationError):
        UpstreamService.model_validate(document)


@pytest.mark.parametrize("name", ["a/b", "A", "", "a b", "é", "a" * 254])
def test_a_name_that_no_cluster_would_take_is_refused(name: str) -> None:
    """Names are put together to `namespace/name`, so a slash in one would be another's."""
    document = {"kind": "RateLimit", "metadata": {"name": name}, "spec": {}}
    assert (("metadata", "name"), "string_too_short" if not name else "string_pattern_mismatch") in faults(
        document
    ) or (("metadata", "name"), "string_too_long") in faults(document)


def test_metadata_is_read_as_the_server_writes_it() -> None:
    document = upstream()
    document["metadata"] |= {
        "uid": "1b6b",
        "resourceVersion": "17",
        "generation": 3,
        "creationTimestamp": "2026-01-02T03:04:05Z",
        "labels": None,
        "managedFields": [{"manager": "kubectl"}],
    }
    found = UpstreamService.read(document).metadata
    assert (found.generation, found.resource_version, found.labels) == (3, "17", {})
    assert found.creation_timestamp is not None
    assert found.creation_timestamp.isoformat() == "2026-01-02T03:04:05+00:00"


def test_models_share_what_they_know_of_the_fields_that_were_given() -> None:
    one, other, more = (UpstreamService.read(upstream(**spec)).spec for spec in ({"port": 1}, {"port": 2}, {}))
    assert one.model_fields_set is other.model_fields_set
    assert one.model_fields_set - more.model_fields_set == {"port"}
    assert "port" not in more.model_dump(exclude_unset=True)
