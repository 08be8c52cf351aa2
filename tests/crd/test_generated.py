"""What is committed is what the models say, and the generator says so when it is not."""

from pathlib import Path

import pytest
import yaml

from headgate.api import crdgen
from headgate.api.kinds import KINDS
from headgate.api.meta import Kind

ROOT = Path(__file__).resolve().parents[2]


def test_the_committed_files_are_what_the_generator_gives() -> None:
    assert crdgen.stale(ROOT) == [], "run `make crds` and commit"


def test_there_is_one_crd_for_each_kind_and_a_reference() -> None:
    assert set(crdgen.generate()) == {
        "crds/integrationgateways.headgate.dev.yaml",
        "crds/upstreams.headgate.dev.yaml",
        "crds/retrypolicies.headgate.dev.yaml",
        "crds/circuitbreakers.headgate.dev.yaml",
        "crds/ratelimits.headgate.dev.yaml",
        "docs/reference.md",
    }


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_file_holds_the_crd_and_says_how_it_came_about(kind: type[Kind]) -> None:
    text = crdgen.generate()[f"crds/{kind.names.plural}.headgate.dev.yaml"]
    assert text.startswith("# Generated from headgate.api by `make crds`")
    assert yaml.safe_load(text) == crdgen.crd(kind)


def test_generating_twice_gives_the_same_bytes() -> None:
    assert crdgen.generate() == crdgen.generate()


def test_writing_then_checking(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(tmp_path)]
    assert crdgen.main(["--check", *root]) == 1
    assert "crds/upstreams.headgate.dev.yaml" in capsys.readouterr().err
    assert crdgen.main(root) == 0
    assert len(capsys.readouterr().out.splitlines()) == 6
    assert crdgen.main(["--check", *root]) == 0
    assert crdgen.main(root) == 0
    assert capsys.readouterr().out == "", "nothing has changed, so nothing is written"


@pytest.mark.parametrize("name", ["crds/upstreams.headgate.dev.yaml", "docs/reference.md"])
def test_a_change_by_hand_is_seen_and_undone(tmp_path: Path, name: str) -> None:
    crdgen.write(tmp_path)
    (tmp_path / name).write_text((tmp_path / name).read_text("utf-8") + "# mine\n", "utf-8")
    assert crdgen.stale(tmp_path) == [name]
    crdgen.write(tmp_path)
    assert crdgen.stale(tmp_path) == []


def test_the_crd_of_a_kind_that_is_gone_goes_too(tmp_path: Path) -> None:
    crdgen.write(tmp_path)
    (tmp_path / "crds" / "olds.headgate.dev.yaml").write_text("x", "utf-8")
    assert crdgen.stale(tmp_path) == ["crds/olds.headgate.dev.yaml"]
    crdgen.write(tmp_path)
    assert crdgen.stale(tmp_path) == []
