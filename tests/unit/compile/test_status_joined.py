"""What statuses say of objects that are missing, of Secrets that may not be read, of replicas that don't answer, and of how
far a credential has come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType

import pytest

from harness.declare import EDGE, World, upstream
from harness.proxies import Proxies
from headgate.api.conditions import Condition
from headgate.api.status import UpstreamStatus
from headgate.compile.status import Status, StatusMemo, statuses
from headgate.model.observations import (
    PODS,
    Acknowledgement,
    ObjectReport,
    ObjectResult,
    Observed,
)
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import DataObject

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
BILLING = ObjectRef("UpstreamService", "shop", "billing")
MAIL = ObjectRef("UpstreamService", "shop", "mail")
GATEWAY = ObjectRef("IntegrationGateway", "shop", "edge")
KEYS = ObjectRef("Secret", "shop", "keys")
CREDENTIAL = "{name: key, secretRef: {name: keys, key: token}, location: {header: {name: x-key}}}"
KEYED = f"{{hostname: api.example, credentials: [{CREDENTIAL}]}}"


def of(found: Mapping[ObjectRef, Status], ref: ObjectRef, kind: str) -> Condition:
    return next(each for each in found[ref].document.conditions if each.type == kind)


def triple(found: Mapping[ObjectRef, Status], ref: ObjectRef, kind: str) -> tuple[str, str]:
    condition = of(found, ref, kind)
    return condition.status, condition.reason


def document(found: Mapping[ObjectRef, Status], ref: ObjectRef = BILLING) -> UpstreamStatus:
    said = found[ref].document
    assert isinstance(said, UpstreamStatus)
    return said


def report(kind: str, name: str, result: ObjectResult, message: str = "") -> ObjectReport:
    return ObjectReport(kind, name, result, message)


def key(version: str, value: bytes = b"k-1") -> DataObject:
    return DataObject(KEYS, value.decode(), MappingProxyType({"token": SecretValue(value)}), version)


def test_a_service_that_is_somebody_elses_is_told_with_what_to_do() -> None:
    plan = World(EDGE + upstream() + upstream("mail")).compile()
    taken = {BILLING: (report("Service", "billing", ObjectResult.TAKEN, "there is one"),)}
    found = statuses(plan, Observed(Proxies(), objects=taken), {}, NOW)
    for kind in ("Programmed", "Ready"):
        assert triple(found, BILLING, kind) == ("False", "ServiceNameTaken")
    message = of(found, BILLING, "Programmed").message
    assert message.startswith("Service shop/billing is there already")
    assert "rename one of the two" in message
    assert "serviceMode: None" in message
    assert document(found).reason == "ServiceNameTaken"
    assert triple(found, MAIL, "Ready") == ("True", "Ready")
    assert triple(found, GATEWAY, "Ready") == ("True", "Ready")


def test_an_object_of_a_gateway_that_is_refused_is_told_though_no_proxy_can_come() -> None:
    plan = World(EDGE + upstream()).compile()
    refused = (
        report("Deployment", "edge-headgate", ObjectResult.REFUSED, "exceeded quota: small"),
        report("Service", "edge-headgate", ObjectResult.TAKEN),
    )
    found = statuses(plan, Observed(Proxies(count=0), objects={GATEWAY: refused}), {}, NOW)
    assert triple(found, GATEWAY, "Programmed") == ("False", "ObjectRefused")
    message = of(found, GATEWAY, "Programmed").message
    assert "Deployment shop/edge-headgate: exceeded quota: small" in message
    assert "Service shop/edge-headgate is there already" in message
    assert triple(found, BILLING, "Programmed") == ("Unknown", "NoProxyConnected")
    taken = {GATEWAY: refused[1:]}
    found = statuses(plan, Observed(Proxies(), objects=taken), {}, NOW)
    assert triple(found, GATEWAY, "Programmed") == ("False", "ObjectNameTaken")


@pytest.mark.parametrize(
    ("awaited", "expected", "words"),
    [
        (
            (report("Service", "billing", ObjectResult.PENDING), report(PODS, "shop/edge", ObjectResult.STARTING)),
            ("False", "Pending"),
            "Service shop/billing is being made; no pod of gateway shop/edge is ready yet, so that calls would find nobody",
        ),
        (
            (report(PODS, "shop/edge", ObjectResult.PENDING),),
            ("False", "Pending"),
            "shop/edge is ready is not known yet",
        ),
        (
            (report(PODS, "shop/edge", ObjectResult.SETTLING),),
            ("False", "Pending"),
            "shop/edge is ready since a moment",
        ),
        (
            (report("Service", "billing", ObjectResult.SETTLING),),
            ("False", "Pending"),
            "Service shop/billing was made a moment ago",
        ),
        ((report(PODS, "shop/edge", ObjectResult.UNREADY),), ("False", "NoPodReady"), "is ready any more"),
    ],
)
def test_what_is_awaited_is_told_where_all_else_is_well(
    awaited: tuple[ObjectReport, ...], expected: tuple[str, str], words: str
) -> None:
    plan, memo = World(EDGE + upstream() + upstream("mail")).compile(), StatusMemo()
    before = statuses(plan, Observed(Proxies()), {}, NOW, memo)
    found = statuses(plan, Observed(Proxies(), objects={BILLING: awaited}), before, NOW, memo)
    for kind in ("Programmed", "Ready"):
        assert triple(found, BILLING, kind) == expected
    assert words in of(found, BILLING, "Programmed").message
    assert document(found).address == document(before).address, "which is where it is about to be called"
    assert found[MAIL] is before[MAIL]
    # It hides nothing, and none of what is worse.
    for observed in (
        Observed(Proxies(count=0)),
        Observed(Proxies(silent=("b",))),
        Observed(Proxies(said={BILLING: Acknowledgement(pending=1)})),
        Observed(Proxies(said={BILLING: Acknowledgement(rejected=("no",))})),
        Observed(Proxies(), objects={BILLING: (report("Service", "billing", ObjectResult.TAKEN),)}),
    ):
        without = statuses(plan, observed, {}, NOW)
        objects = {BILLING: (*awaited, *observed.objects.get(BILLING, ()))}
        together = statuses(plan, replace(observed, objects=objects), {}, NOW)
        assert together[BILLING].document == without[BILLING].document
    assert triple(statuses(plan, Observed(Proxies()), found, NOW, memo), BILLING, "Ready") == ("True", "Ready")


def test_what_proxies_refuse_is_worse_than_what_the_cluster_does() -> None:
    plan = World(EDGE + upstream()).compile()
    taken = {BILLING: (report("Service", "billing", ObjectResult.TAKEN),)}
    proxies = Proxies(said={BILLING: Acknowledgement(rejected=("Cluster: no",))})
    assert (
        triple(statuses(plan, Observed(proxies, objects=taken), {}, NOW), BILLING, "Programmed")[1] == "RejectedByProxy"
    )


@pytest.mark.parametrize(
    ("proxies", "expected"),
    [
        (Proxies(), ("Unknown", "ReplicaUnreachable")),
        # They may be connected there.
        (Proxies(count=0), ("Unknown", "ReplicaUnreachable")),
        (Proxies(said={BILLING: Acknowledgement(pending=1)}), ("False", "Pending")),
        (Proxies(said={BILLING: Acknowledgement(rejected=("no",))}), ("False", "RejectedByProxy")),
    ],
)
def test_a_replica_that_does_not_answer_makes_it_unknown_where_it_would_be_true(
    proxies: Proxies, expected: tuple[str, str]
) -> None:
    plan, memo = World(EDGE + upstream()).compile(), StatusMemo()
    before = statuses(plan, Observed(proxies), {}, NOW, memo)
    found = statuses(plan, Observed(replace(proxies, silent=("headgate-operator-b",))), before, NOW, memo)
    assert triple(found, BILLING, "Programmed") == expected
    if expected[1] == "ReplicaUnreachable":
        assert "headgate-operator-b" in of(found, BILLING, "Programmed").message
        assert triple(found, GATEWAY, "Ready") == expected


def test_a_secret_that_may_not_be_read_is_not_said_to_be_missing() -> None:
    plan, memo = World(EDGE + upstream("billing", KEYED) + upstream("mail")).compile(), StatusMemo()
    before = statuses(plan, Observed(Proxies()), {}, NOW, memo)
    assert triple(before, BILLING, "ResolvedRefs") == ("False", "SecretNotFound")
    why = {KEYS: "403 Forbidden: cannot get resource"}
    found = statuses(plan, Observed(Proxies(), unreadable=why), before, NOW, memo)
    for kind in ("ResolvedRefs", "Ready"):
        assert triple(found, BILLING, kind) == ("False", "SecretForbidden")
    message = of(found, BILLING, "ResolvedRefs").message
    assert message.startswith("spec.credentials[0].secretRef: Secret shop/keys may not be read (403 Forbidden")
    assert "a Role in namespace shop with get, list and watch of secrets" in message
    assert found[MAIL] is before[MAIL]
    # And back.
    last = statuses(plan, Observed(Proxies()), found, NOW, memo)
    assert triple(last, BILLING, "ResolvedRefs") == ("False", "SecretNotFound")


def test_what_was_read_once_stays_in_force_and_that_is_said() -> None:
    world = World(EDGE + upstream("billing", KEYED))
    world.store.put_data(key("7"))
    world.compile()
    world.store.remove_data(KEYS)
    found = statuses(world.compile(), Observed(Proxies(), unreadable={KEYS: "403"}), {}, NOW)
    assert of(found, BILLING, "ResolvedRefs").message.endswith("; the value used last stays in force")
    (credential,) = document(found).credentials
    assert (credential.secret_resource_version, credential.state) == ("7", "Missing")


class Rotation:
    """An upstream with a key, and what its status says of the key."""

    def __init__(self) -> None:
        self.world, self.memo = World(EDGE + upstream("billing", KEYED) + upstream("mail")), StatusMemo()
        self.found: Mapping[ObjectRef, Status] = {}

    def said(self, proxies: Proxies) -> tuple[str | None, str]:
        self.found = statuses(self.world.compile(), Observed(proxies), self.found, NOW, self.memo)
        (credential,) = document(self.found).credentials
        assert (credential.name, credential.section_name) == ("key", None)
        return credential.secret_resource_version, credential.state


def test_who_rotates_a_key_sees_when_the_old_one_may_go() -> None:
    rotation = Rotation()
    waiting = Proxies(said={BILLING: Acknowledgement(pending=1)})
    rotation.world.store.put_data(key("100"))
    assert rotation.said(Proxies(count=0)) == ("100", "Unknown")
    assert rotation.said(waiting) == ("100", "Rolling")
    assert rotation.said(Proxies()) == ("100", "InUse")
    # Another edit of the upstream is no rotation; neither is a proxy that is new, or a replica that is away.
    assert rotation.said(waiting) == ("100", "InUse")
    assert rotation.said(Proxies(count=0)) == ("100", "InUse")
    assert rotation.said(Proxies(silent=("b",))) == ("100", "InUse")
    rotation.world.store.put_data(key("200", b"k-2"))
    assert rotation.said(waiting) == ("200", "Rolling")
    assert rotation.said(Proxies(said={BILLING: Acknowledgement(rejected=("no",))})) == ("200", "Rolling")
    assert rotation.said(Proxies(silent=("b",))) == ("200", "Unknown")
    mail = rotation.found[MAIL]
    assert rotation.said(Proxies()) == ("200", "InUse")
    rotation.world.store.remove_data(KEYS)
    rotation.said(Proxies())
    assert rotation.said(Proxies()) == ("200", "Missing")
    assert mail.document.conditions


def test_a_version_that_changes_no_byte_is_told_too() -> None:
    """Or whoever waits for the version of the Secret would wait for ever."""
    rotation = Rotation()
    rotation.world.store.put_data(key("100"))
    assert rotation.said(Proxies()) == ("100", "InUse")
    gateway = rotation.world.plan.gateways["shop/edge"].upstreams["shop/billing"]
    rotation.world.store.put_data(key("101"))
    assert rotation.said(Proxies()) == ("101", "InUse")
    assert rotation.world.plan.gateways["shop/edge"].upstreams["shop/billing"] is gateway


def test_without_versions_every_change_is_one() -> None:
    rotation = Rotation()
    rotation.world.store.put_data(key(""))
    assert rotation.said(Proxies()) == (None, "InUse")
    assert rotation.said(Proxies(said={BILLING: Acknowledgement(pending=1)})) == (None, "Rolling")


def test_a_credential_of_an_upstream_that_is_not_served_is_unused() -> None:
    rotation = Rotation()
    rotation.world.store.put_data(key("100"))
    rotation.world.say(upstream("billing", KEYED.replace("api.example", "10.0.0.1")))
    assert rotation.said(Proxies()) == ("100", "Unused")


def test_sections_have_credentials_of_their_own() -> None:
    own = f"sections: [{{name: pay, matches: [{{pathPrefix: /pay}}], credentials: [{CREDENTIAL}]}}]"
    world = World(EDGE + upstream("billing", KEYED[:-1] + f", {own}}}"))
    world.store.put_data(key("100"))
    found = statuses(world.compile(), Observed(Proxies()), {}, NOW)
    assert [(each.name, each.section_name) for each in document(found).credentials] == [("key", None), ("key", "pay")]


def test_only_the_owners_of_what_is_news_are_looked_at() -> None:
    world, memo = World(EDGE + "".join(upstream(f"u{number}") for number in range(50))), StatusMemo()
    asked: list[ObjectRef] = []

    class Asked(Proxies):
        def of(self, gateway: str, owner: ObjectRef) -> Acknowledgement:
            asked.append(owner)
            return super().of(gateway, owner)

    u7 = ObjectRef("UpstreamService", "shop", "u7")
    before = statuses(world.compile(), Observed(Asked()), {}, NOW, memo)
    asked.clear()
    taken = {u7: (report("Service", "u7", ObjectResult.TAKEN),)}
    found = statuses(world.compile(), Observed(Asked(), objects=taken), before, NOW, memo)
    assert set(asked) == {GATEWAY, u7}
    assert [ref for ref in found if found[ref] is not before[ref]] == [u7]
