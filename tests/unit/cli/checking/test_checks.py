"""What `headgate check` says of recorded installations, word for word; and each check, of one where one thing is otherwise.

`python -m harness.evidence FILE` made the recordings, on a real cluster: `installed` where all is well but a provider that
can't be reached, `crashing` where the operator has an option that it does not know, `broken` where a lot is wrong at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.evidence import load
from headgate.cli.checking.command import BLIND, WRONG, document, judge, show
from headgate.cli.checking.evidence import Document, Evidence, Look, Right, Rights
from headgate.cli.checking.findings import Check, Mark
from headgate.cli.checking.server import differences
from headgate.cli.checking.table import BEFORE, INSTALLED

RECORDINGS = Path(__file__).parent
CHECKS: dict[str, Check] = {name: check for section in INSTALLED for name, check in section.checks}
FORBIDDEN = Look(status=403, why="you may not")
EMPTY = Look()


@pytest.fixture(scope="module")
def installed() -> Evidence:
    return load(RECORDINGS / "installed.json")


@pytest.fixture(scope="module")
def broken() -> Evidence:
    return load(RECORDINGS / "broken.json")


def said(name: str, evidence: Evidence) -> list[tuple[Mark, str]]:
    return [(each.mark, each.text) for each in CHECKS[name](evidence)]


@pytest.mark.parametrize("name", ["installed", "crashing", "broken"])
def test_word_for_word(name: str, update_golden: bool, capsys: pytest.CaptureFixture[str]) -> None:
    show(judge(load(RECORDINGS / f"{name}.json"), INSTALLED))
    text = capsys.readouterr().out
    path = RECORDINGS / f"{name}.txt"
    if update_golden:
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8"), f"{path.name} differs: look, then run with --update-golden"


def test_no_secret_is_recorded() -> None:
    for path in RECORDINGS.glob("*.json"):
        assert "PRIVATE KEY" not in path.read_text("utf-8")
        evidence = load(path)
        assert all("data" not in each for each in (*evidence.identities.items, *evidence.authority.items))


def test_exit_codes_and_json(installed: Evidence, broken: Evidence) -> None:
    assert judge(installed, INSTALLED).code == 0, "a provider that is unwell is none of the installation's faults"
    assert judge(broken, INSTALLED).code == WRONG
    away = judge(replace(Evidence("https://here", "here", "there"), unreachable="it is away"), INSTALLED)
    assert away.code == BLIND
    assert [title for title, _ in away.sections] == ["Kubernetes"], "of the rest nothing is known"
    found: Any = document(judge(broken, INSTALLED))
    assert found["ok"] is False
    (apis,) = [each for each in found["sections"] if each["title"] == "APIs"]
    assert {"name", "result", "message", "advice"} == apis["checks"][0].keys()


def altered(look: Look, change: Callable[[Document], Document], number: int = 0) -> Look:
    items = list(look.items)
    items[number] = change(items[number])
    return replace(look, items=tuple(items))


def with_look(evidence: Evidence, field: str, look: Look) -> Evidence:
    changed: dict[str, Any] = {field: look}
    return replace(evidence, **changed)


def with_status(**status: Any) -> Callable[[Document], Document]:
    return lambda found: {**found, "status": {**found.get("status", {}), **status}}


def with_spec(**spec: Any) -> Callable[[Document], Document]:
    return lambda found: {**found, "spec": {**found["spec"], **spec}}


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("namespace", "home"),
        ("deployment", "operator"),
        ("lease", "lease"),
        ("xds-service", "operator_service"),
        ("authority", "authority"),
        ("gateways", "gateways"),
        ("gateway-pods", "deployments"),
        ("gateway-service", "services"),
        ("gateway-identity", "identities"),
        ("gateway-network-policy", "network_policies"),
        ("upstreams", "upstreams"),
        ("metrics", "metrics"),
    ],
)
def test_what_may_not_be_read_is_said_and_not_taken_for_missing(installed: Evidence, name: str, field: str) -> None:
    found = said(name, with_look(installed, field, FORBIDDEN))
    assert [mark for mark, _ in found] == [Mark.SKIPPED]
    assert found[0][1].endswith("not looked at, you may not")


@pytest.mark.parametrize(
    ("name", "field", "words"),
    [
        ("namespace", "home", "there is no namespace headgate-system"),
        ("deployment", "operator", "there is no Deployment headgate-operator"),
        ("lease", "lease", "there is no Lease headgate-operator"),
        ("xds-service", "operator_service", "there is no Service headgate-operator"),
        ("xds-service", "slices", "leads nowhere"),
        ("authority", "authority", "there is no Secret headgate-ca"),
        ("gateway-pods", "deployments", "has no Deployment shop/edge-headgate"),
        ("gateway-service", "services", "has no Service shop/edge-headgate"),
        ("gateway-service", "slices", "leads to no pod"),
        ("gateway-identity", "identities", "has no Secret shop/edge-headgate"),
        ("upstream-names", "services", "upstream shop/gemini has no Service"),
    ],
)
def test_what_is_missing_is_wrong(installed: Evidence, name: str, field: str, words: str) -> None:
    ((mark, text),) = said(name, with_look(installed, field, EMPTY))
    assert mark is Mark.WRONG
    assert words in text


def test_a_missing_policy_or_metrics_server_is_no_fault(installed: Evidence) -> None:
    (policy,) = said("gateway-network-policy", replace(installed, network_policies=EMPTY))
    (metrics,) = said("metrics", replace(installed, metrics=Look(status=404)))
    assert policy[0] is metrics[0] is Mark.WARNING


def test_versions_of_kubernetes(installed: Evidence) -> None:
    assert said("version", installed)[0][0] is Mark.GOOD
    old = replace(installed, version={"gitVersion": "v1.29.9-eks-1"})
    assert said("version", old) == [(Mark.WRONG, "Kubernetes v1.29.9-eks-1 is too old")]


@pytest.mark.parametrize(("seconds", "words"), [(-90, "behind"), (90, "ahead of")])
def test_clocks_that_differ(installed: Evidence, seconds: int, words: str) -> None:
    late = replace(installed, own_clock=installed.clock + timedelta(seconds=seconds))
    assert said("clock", late) == [(Mark.WARNING, f"this machine's clock is 90 s {words} the API server's")]


def test_a_lease_that_is_not_renewed(installed: Evidence) -> None:
    later = replace(installed, clock=installed.clock + timedelta(minutes=5))
    ((mark, text),) = said("lease", later)
    assert mark is Mark.WRONG
    assert "and it lasts 10 s" in text
    ahead = replace(installed, clock=installed.clock - timedelta(minutes=5))
    ((mark, text),) = said("lease", ahead)
    assert mark is Mark.WARNING
    assert "ahead of the API server's" in text


def test_certificates_run_out(installed: Evidence) -> None:
    ((mark, text),) = said("gateway-identity", replace(installed, clock=installed.clock + timedelta(days=2)))
    assert mark is Mark.WARNING
    assert "should have been renewed" in text
    until = installed.authorities["authority.pem"]
    soon = replace(installed, clock=until - timedelta(days=3))
    assert said("authority", soon)[0][0] is Mark.WARNING
    follows = replace(soon, authorities={**installed.authorities, "next.pem": until + timedelta(days=3650)})
    assert said("authority", follows)[0][0] is Mark.GOOD
    assert said("authority", replace(installed, clock=until))[0][0] is Mark.WRONG


def test_a_replica_that_is_away(installed: Evidence) -> None:
    one = replace(installed, operator=altered(installed.operator, with_status(readyReplicas=1)))
    assert said("deployment", one) == [(Mark.WARNING, "1 of 2 replicas of the operator are ready")]
    none = replace(installed, operator=altered(installed.operator, with_status(readyReplicas=0)))
    assert said("deployment", none)[0][0] is Mark.WRONG
    off = replace(installed, operator=altered(installed.operator, with_spec(replicas=0)))
    assert "scaled to 0" in said("deployment", off)[0][1]


def test_proxies_that_are_not_connected(installed: Evidence) -> None:
    cut_off = replace(installed, gateways=altered(installed.gateways, with_status(proxies=0)))
    assert said("gateway-proxies", cut_off) == [
        (Mark.WRONG, "gateway shop/edge: 0 proxies are connected of 1 ready pods")
    ]


def test_a_gateway_that_is_scaled_to_none(installed: Evidence) -> None:
    off = altered(altered(installed.deployments, with_spec(replicas=0)), with_status(readyReplicas=0))
    (found,) = CHECKS["gateway-pods"](replace(installed, deployments=off))
    assert found.mark is Mark.WRONG
    assert found.text == "gateway shop/edge has no pods: its Deployment edge-headgate is scaled to 0"
    assert "kubectl -n shop scale deployment edge-headgate" in found.advice


def test_an_edit_that_nobody_has_seen(installed: Evidence) -> None:
    def edited(found: Document) -> Document:
        return {**found, "metadata": {**found["metadata"], "generation": 9}}

    newer = replace(installed, upstreams=altered(installed.upstreams, edited))
    assert said("upstreams", newer) == [
        (Mark.WRONG, "upstream shop/gemini: the operator has not seen the newest edit of it")
    ]


def test_many_faults_are_cut_short(installed: Evidence) -> None:
    many = Look(tuple({"metadata": {"name": f"api-{n}", "namespace": "shop"}} for n in range(40)))
    found = list(CHECKS["upstreams"](replace(installed, upstreams=many)))
    assert len(found) == 11
    assert found[-1].text == "and 30 more"
    assert found[-1].advice == "headgate get upstreams -A -o wide"


def test_an_alias_of_what_is_gone(installed: Evidence) -> None:
    lone = Look(tuple(each for each in installed.services.items if each["metadata"]["name"] == "gemini"))
    ((mark, text),) = said("upstream-names", replace(installed, services=lone))
    assert mark is Mark.WRONG
    assert text == "Service shop/gemini is an alias of edge-headgate.shop.svc.cluster.local, which is not there"


def test_a_crd_that_is_missing_or_not_established(installed: Evidence) -> None:
    gone = replace(installed, definitions={**installed.definitions, "RateLimit": Look(status=404)})
    assert said("crds", gone) == [(Mark.WRONG, "CRD ratelimits.headgate.dev is not there")]
    crd = installed.definitions["RateLimit"]
    conditions = [{"type": "Established", "status": "False", "message": "not all names are accepted"}]
    young = {**installed.definitions, "RateLimit": altered(crd, with_status(conditions=conditions))}
    ((mark, text),) = said("crds", replace(installed, definitions=young))
    assert mark is Mark.WRONG
    assert text.endswith("is not established: not all names are accepted")


def test_a_crd_of_another_version(installed: Evidence) -> None:
    crd = installed.definitions["RetryPolicy"]
    (version,) = crd.items[0]["spec"]["versions"]
    whole = version["schema"]["openAPIV3Schema"]
    fields = whole["properties"]["spec"]["properties"]
    less = {key: value for key, value in fields.items() if key != "hedging" and key != "attempts"}

    def of(properties: Any) -> Evidence:
        spec = {**whole["properties"]["spec"], "properties": properties}
        schema = {"openAPIV3Schema": {**whole, "properties": {**whole["properties"], "spec": spec}}}
        other = altered(crd, with_spec(versions=[{**version, "schema": schema}]))
        return replace(installed, definitions={**installed.definitions, "RetryPolicy": other})

    ((mark, text),) = said("crds", of(less))
    assert mark is Mark.WARNING
    assert "but an older one: it lacks spec.attempts" in text
    ((_, text),) = said("crds", of({**fields, "patience": {"type": "string"}}))
    assert "but a newer one: it also has spec.patience" in text
    ((_, text),) = said("crds", of({**less, "patience": {"type": "string"}}))
    assert "it lacks spec.attempts, and also has spec.patience" in text


def test_differences_of_what_is_the_same_are_none() -> None:
    one = {"a": [{"name": "x", "type": "string"}, {"name": "y"}], "b": {}}
    assert differences(one, {"b": {}, "a": [{"name": "y"}, {"name": "x", "type": "string"}]}) == ([], [])


def test_rights(installed: Evidence) -> None:
    right = Right("patch", "", "services", "shop")
    lacking = replace(installed, rights=Rights({right: False}))
    assert said("rights", lacking) == [(Mark.WRONG, "the operator may not patch services in shop")]
    unknown = replace(installed, rights=Rights(why="you may not"))
    assert said("rights", unknown) == [(Mark.SKIPPED, "the operator's rights: not looked at, you may not")]
    before = judge(replace(installed, installing=Rights({right: False})), BEFORE)
    assert "you may not patch services in shop" in [each.text for each in before.findings()]
    assert before.code == WRONG
