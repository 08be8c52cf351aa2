"""The rights that `headgate check` looks for are those that the chart grants."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from headgate.cli.checking import needs
from headgate.cli.checking.evidence import Right

RULES = Path(__file__).resolve().parents[4] / "charts" / "headgate" / "templates" / "_rules.tpl"


def granted(part: str, namespace: str = "") -> set[Right]:
    """By one of the chart's lists of rules, which are plain YAML between the template's marks."""
    text = re.search(rf'define "headgate\.rules\.{part}" -}}}}\n(.*?)\n{{{{- end', RULES.read_text("utf-8"), re.DOTALL)
    assert text is not None
    return {
        Right(verb, group, resource, namespace, name)
        for rule in yaml.safe_load(text[1])
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [""])
    }


def test_of_a_whole_cluster() -> None:
    wanted = granted("objects") | granted("data") | granted("namespaces") | granted("own", "home")
    assert set(needs.operators("home", [], [])) == wanted


def test_of_some_namespaces() -> None:
    wanted = {right for space in ("shop", "home") for right in granted("objects", space) | granted("namespace", space)}
    wanted |= granted("data", "shop") | granted("own", "home")
    assert set(needs.operators("home", ["shop", "home"], ["shop"])) == wanted
