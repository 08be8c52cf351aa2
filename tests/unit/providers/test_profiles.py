"""The built-in profiles as a whole: each keeps to the contract, each fact has its test, each root is what it is called."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from harness.provided import Provided
from headgate.providers.contract import problems
from headgate.providers.gemini import GEMINI
from headgate.providers.profile import Profile, Root
from headgate.providers.registry import BUILT_IN
from headgate.providers.roots import CLOUDFLARE, GOOGLE, well_known

HERE = Path(__file__).parent


@pytest.mark.parametrize("profile", BUILT_IN.values(), ids=list(BUILT_IN))
def test_it_keeps_to_the_contract(profile: Profile) -> None:
    assert problems(profile) == ()


@pytest.mark.parametrize("profile", BUILT_IN.values(), ids=list(BUILT_IN))
def test_every_fact_has_its_test_and_every_test_its_fact(profile: Profile) -> None:
    path = HERE / f"test_{profile.name.replace('-', '_')}.py"
    functions = [each.name for each in ast.parse(path.read_text("utf-8")).body if isinstance(each, ast.FunctionDef)]
    tests = {name for name in functions if name.startswith("test_")}
    assert tests == {f"test_{fact.name.replace('-', '_')}" for fact in profile.facts}


@pytest.mark.parametrize("root", CLOUDFLARE, ids=lambda root: root.name.replace(" ", "-"))
def test_a_root_is_the_one_that_it_is_called_after(root: Root) -> None:
    subject = well_known()[root.sha256]
    # GlobalSign's older roots have one common name for all, and their own in the unit.
    assert f"CN={root.name}," in subject or subject.endswith(f",OU={root.name}")


def test_hosts_behind_cloudflare_may_have_certificates_of_google() -> None:
    assert set(GOOGLE) < set(CLOUDFLARE)


@pytest.mark.parametrize(
    ("models", "names"),
    [
        ("gemini-2.5-pro", ["gemini-2-5-pro"]),
        ("gemini-2.5-pro, gemini-2-5-pro", ["gemini-2-5-pro", "gemini-2-5-pro-85eb01ed"]),
        ("gemini-2-5-pro, gemini-2.5-pro", ["gemini-2-5-pro", "gemini-2-5-pro-6d734050"]),
        ("stream, live", ["live-247610f4", "stream-dca83e71"]),
    ],
)
def test_sections_of_models_never_clash(models: str, names: list[str]) -> None:
    served = Provided("gemini", f"models: '{models}'")
    fixed = {"default", *(section.name for section in GEMINI.sections)}
    found = sorted(section.name for section in served.upstream.sections if section.name not in fixed)
    assert found == sorted(names)


def test_a_model_added_later_takes_nobodys_name() -> None:
    before = {each.name for each in Provided("gemini", "models: 'gemini-2.5-pro'").upstream.sections}
    after = {each.name for each in Provided("gemini", "models: 'gemini-2.5-pro, gemini-2-5-pro'").upstream.sections}
    assert before < after


def test_a_model_with_a_long_name_gets_a_section() -> None:
    name = "m" * 99
    served = Provided("gemini", f"models: '{name}, {name}x'")
    assert served.leads(f"/v1/models/{name}:generateContent", "POST") != served.leads(
        f"/v1/models/{name}x:generateContent", "POST"
    )
