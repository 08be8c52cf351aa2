"""The documentation of providers is what the profiles say, and its examples work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from harness.declare import World, secret
from headgate.model.plan import CredentialPlace
from headgate.providers import docs
from headgate.providers.contract import problems
from headgate.providers.profile import Profile
from headgate.providers.registry import BUILT_IN

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "plugging-in-a-provider.md").read_text("utf-8")
PROFILES = pytest.mark.parametrize("profile", BUILT_IN.values(), ids=list(BUILT_IN))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_committed_pages_are_up_to_date() -> None:
    assert docs.stale(ROOT) == [], "run `make providers` and commit"


def test_it_writes_what_differs_and_removes_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path)]
    assert docs.main(["--check", *root]) == 1
    assert "run `make providers`" in capsys.readouterr().err
    assert docs.main(root) == 0
    assert docs.main(["--check", *root]) == 0
    left = tmp_path / "docs" / "providers" / "left.md"
    left.write_text("x")
    (tmp_path / "docs" / "providers" / "gemini.md").write_text("x")
    assert docs.stale(tmp_path) == ["docs/providers/gemini.md", "docs/providers/left.md"]
    docs.write(tmp_path)
    assert docs.stale(tmp_path) == []
    assert not left.exists()


@PROFILES
def test_the_example_of_a_page_is_served(profile: Profile) -> None:
    (text,) = blocks(docs.page(profile), "yaml")
    world = World(text + secret(f"{profile.name}-key", apiKey="k"))
    world.compile()
    section = world.section(profile.name)
    assert section.retry is not None
    (*_, credential) = section.credentials
    assert credential.place is CredentialPlace.HEADER


@PROFILES
def test_a_page_names_every_section_and_every_source(profile: Profile) -> None:
    text = docs.page(profile)
    for section in profile.sections:
        assert section.about, section.name
        assert f"| `{section.name}` | {section.about}" in text
    for fact in profile.facts:
        assert f"| {fact.said} |" in text
        assert f"]({fact.source})" in text


@PROFILES
def test_tables_have_as_many_cells_in_each_row(profile: Profile) -> None:
    widths: list[int] = []
    for line in docs.page(profile).splitlines():
        if not line.startswith("|"):
            widths = []
            continue
        widths.append(len(re.findall(r"(?<!\\)\|", line)))
        assert len(set(widths)) == 1, line


@pytest.fixture(scope="module")
def acme() -> Profile:
    """The profile of the guide, run as it stands."""
    module = ModuleType("headgate_acme")
    exec(compile(blocks(GUIDE, "python")[0], "headgate_acme.py", "exec"), module.__dict__)
    profile = module.__dict__["ACME"]
    assert isinstance(profile, Profile)
    return profile


def test_the_guides_profile_keeps_to_the_contract(acme: Profile) -> None:
    assert problems(acme) == ()


def test_the_guides_profile_serves(acme: Profile) -> None:
    (text,) = blocks(docs.page(acme), "yaml")
    world = World(text + secret("acme-key", apiKey="k"), profiles={**BUILT_IN, "acme": acme})
    world.compile()
    assert world.section("acme").endpoints[0].hostname == "eu.api.acme.example"
    served = world.served("acme")
    assert served
    assert [section.name for section in served.sections] == ["default", "events", "search"]


def test_the_guides_test_is_one(acme: Profile, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("headgate_acme")
    module.__dict__["ACME"] = acme
    monkeypatch.setitem(sys.modules, "headgate_acme", module)
    exec(compile(blocks(GUIDE, "python")[1], "test_acme.py", "exec"), {})


def test_the_guides_package_has_the_entry_point_that_is_looked_for() -> None:
    import tomllib

    project = tomllib.loads(blocks(GUIDE, "toml")[0])
    assert project["project"]["entry-points"] == {"headgate.providers": {"acme": "headgate_acme:ACME"}}


def test_every_file_linked_to_exists() -> None:
    for path in (ROOT / "docs" / "plugging-in-a-provider.md", *(ROOT / "docs" / "providers").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", path.read_text("utf-8")):
            assert "://" in target or (path.parent / target).exists(), (path.name, target)


def test_the_generator_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headgate.providers.docs", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_examples_are_yaml_of_two_documents() -> None:
    for profile in BUILT_IN.values():
        (text,) = blocks(docs.page(profile), "yaml")
        assert [each["kind"] for each in yaml.safe_load_all(text)] == ["UpstreamService", "RetryPolicy"]
