"""What a simulated run makes up where something is referred to and not there."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
import yaml

from headgate.api.conditions import Reason
from headgate.api.upstream import UpstreamService
from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue
from headgate.model.snapshot import Broken, DataEntry, DataObject, Declared, Snapshot
from headgate.simulate.pretend import ANY_KEY, MadeUp, Memo, Props, fill

PROPS = Props({"gemini": "g"}, SecretValue(b"crt"), SecretValue(b"key"), SecretValue(b"roots"))
SECRET = ObjectRef("Secret", "shop", "keys")


def snapshot(spec: str, data: dict[ObjectRef, DataEntry] | None = None) -> Snapshot:
    content = {
        "apiVersion": "headgate.dev/v1alpha1",
        "kind": "UpstreamService",
        "metadata": {"name": "api", "namespace": "shop"},
        "spec": yaml.safe_load(spec),
    }
    ref = ObjectRef("UpstreamService", "shop", "api")
    upstream = Declared(ref, "1", UpstreamService.model_validate(content))
    return Snapshot(upstreams=MappingProxyType({ref.key: upstream}), data=MappingProxyType(data or {}))


def given(**values: str) -> DataEntry:
    content = MappingProxyType({key: SecretValue(value.encode()) for key, value in values.items()})
    return DataEntry(DataObject(SECRET, "r1", content))


def content(snapshot: Snapshot, ref: ObjectRef = SECRET) -> dict[str, SecretValue]:
    current = snapshot.data[ref].current
    assert current is not None
    return dict(current.data)


@pytest.mark.parametrize(("provider", "key"), [("gemini", "g"), ("generic", ANY_KEY), ("unheard-of", ANY_KEY)])
def test_a_key_that_is_missing_is_made_up_to_the_providers_taste(provider: str, key: str) -> None:
    memo = Memo()
    world = snapshot(
        f"hostname: a.example\nprovider: {provider}\ncredentials: [{{name: a, secretRef: {{name: keys, key: token}}}}]"
    )
    assert content(fill(world, PROPS, memo)) == {"token": SecretValue(key.encode())}
    assert list(memo.missing) == [MadeUp(SECRET, "token")]


def test_a_sections_own_too() -> None:
    world = snapshot(
        "hostname: a.example\n"
        "sections: [{name: b, matches: [{pathPrefix: /b}], credentials: [{name: a, secretRef: {name: keys, key: b}}]}]"
    )
    assert content(fill(world, PROPS, Memo())) == {"b": SecretValue(ANY_KEY.encode())}


def test_what_is_given_stays() -> None:
    memo = Memo()
    spec = "credentials: [{name: a, secretRef: {name: keys, key: a}}, {name: b, secretRef: {name: keys, key: b}}]"
    world = snapshot(f"hostname: a.example\n{spec}", {SECRET: given(a="mine", other="x")})
    filled = fill(world, PROPS, memo)
    assert content(filled) == {
        "a": SecretValue(b"mine"),
        "other": SecretValue(b"x"),
        "b": SecretValue(ANY_KEY.encode()),
    }
    assert list(memo.missing) == [MadeUp(SECRET, "b")]
    current = filled.data[SECRET].current
    assert current is not None
    assert current.revision != "r1"


def test_where_nothing_is_missing_nothing_changes() -> None:
    spec = "hostname: a.example\ncredentials: [{name: a, secretRef: {name: keys, key: a}}]"
    world = snapshot(spec, {SECRET: given(a="mine")})
    assert fill(world, PROPS, Memo()) == world


def test_certificates_and_cas_are_made_up_as_well() -> None:
    world = snapshot(
        "hostname: a.example\n"
        "tls:\n"
        "  mode: ClientAndServer\n"
        "  clientCertificateRef: {name: ours}\n"
        "  validation: {caCertificateRefs: [{kind: ConfigMap, name: theirs}]}"
    )
    filled = fill(world, PROPS, Memo())
    certificate = {"tls.crt": SecretValue(b"crt"), "tls.key": SecretValue(b"key")}
    assert content(filled, ObjectRef("Secret", "shop", "ours")) == certificate
    assert content(filled, ObjectRef("ConfigMap", "shop", "theirs")) == {"ca.crt": SecretValue(b"roots")}


def test_the_same_world_has_the_same_map() -> None:
    """By that compile sees that no Secret has changed."""
    memo = Memo()
    world = snapshot("hostname: a.example\ncredentials: [{name: a, secretRef: {name: keys, key: a}}]")
    first = fill(world, PROPS, memo)
    assert fill(world, PROPS, memo).data is first.data
    later = snapshot("hostname: a.example\ncredentials: [{name: a, secretRef: {name: keys, key: b}}]")
    assert content(fill(later, PROPS, memo)) == {"b": SecretValue(ANY_KEY.encode())}


def test_what_can_not_be_read_asks_for_nothing() -> None:
    ref = ObjectRef("UpstreamService", "shop", "api")
    broken: Declared[Any] = Declared(ref, "1", Broken(Reason.INVALID_SPEC, "no"))
    world = Snapshot(upstreams=MappingProxyType({ref.key: broken}))
    assert fill(world, PROPS, Memo()) == world


@pytest.mark.parametrize("edit", ["broken", "another key"])
def test_what_was_good_keeps_its_made_up_key_while_an_edit_is_no_good(edit: str) -> None:
    """It is what is served then."""
    before = snapshot("hostname: a.example\ncredentials: [{name: a, secretRef: {name: keys, key: a}}]")
    after = snapshot("hostname: a.example\ncredentials: [{name: a, secretRef: {name: keys, key: b}}]")
    (good,), (edited,) = before.upstreams.values(), after.upstreams.values()
    now = edited.current if edit == "another key" else Broken(Reason.INVALID_SPEC, "no")
    declared = Declared(good.ref, "2", now, last_good=good.current, last_good_revision="1")  # type: ignore[arg-type]
    world = Snapshot(upstreams=MappingProxyType({good.ref.key: declared}))
    assert content(fill(world, PROPS, Memo())).keys() == ({"a", "b"} if edit == "another key" else {"a"})
