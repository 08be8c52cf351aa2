"""What an API server says of fields that its CRD does not have, and a status without them. The words are a real one's."""

from __future__ import annotations

from headgate.kube.undeclared import undeclared, without

_BEGIN = "failed to create typed patch object (team/a; headgate.dev/v1alpha1, Kind=UpstreamService): "


def test_what_is_undeclared_is_read_off() -> None:
    assert undeclared(f"{_BEGIN}.status.another: field not declared in schema") == {("another",)}
    nested = '.status.conditions[type="Re]a\\"dy",name="x"].novel: field not declared in schema'
    assert undeclared(_BEGIN + nested) == {("conditions", "novel")}
    both = f"{_BEGIN}errors:\n  .status.one: field not declared in schema\n  .status.a.b: field not declared in schema"
    assert undeclared(both) == {("one",), ("a", "b")}


def test_other_trouble_is_none_of_it() -> None:
    assert undeclared(f"{_BEGIN}.status.observedGeneration: expected numeric (int or float), got string") == set()
    assert undeclared(".spec.novel: field not declared in schema") == set()


def test_the_rest_stays() -> None:
    content = {"host": "h", "new": 1, "list": [{"a": 1, "b": 2}, {"b": 3}], "map": {"a": {"b": 1, "c": 2}}}
    paths = [("new",), ("list", "a"), ("map", "a", "b"), ("not", "there"), ("host", "x")]
    assert without(content, paths) == {"host": "h", "list": [{"b": 2}, {"b": 3}], "map": {"a": {"c": 2}}}
    assert content["list"] == [{"a": 1, "b": 2}, {"b": 3}]
