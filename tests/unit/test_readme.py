"""What the README shows is true: its example is valid, its targets and files exist."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from headgate.api.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
EXAMPLE = [
    document for block in re.findall(r"```yaml\n(.*?)```", README, re.DOTALL) for document in yaml.safe_load_all(block)
]


def test_there_is_an_example_of_an_upstream_and_each_policy() -> None:
    assert {document["kind"] for document in EXAMPLE} == set(KINDS) - {"IntegrationGateway"}


@pytest.mark.parametrize("document", EXAMPLE, ids=lambda document: document["kind"])
def test_the_example_is_valid(document: dict[str, object]) -> None:
    kind = KINDS[str(document["kind"])]
    read = kind.model_validate(document)
    # Unknown fields are ignored when read, so a misspelt one shows only in what is left out.
    assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == document


def test_the_command_that_validates_the_example_does_so(tmp_path: Path) -> None:
    (command,) = re.findall(r"^\$ headgate (validate .*)$", README, re.MULTILINE)
    (tmp_path / "apis").mkdir()
    (tmp_path / "apis" / "gemini.yaml").write_text("---\n".join(re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)))
    environment = {**os.environ, "GEMINI_API_KEY": "a-key", "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-m", "headgate", *shlex.split(command)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)`", README))
    assert named
    assert named <= targets


def test_every_file_linked_to_exists() -> None:
    linked = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert linked
    assert [target for target in linked if not (ROOT / target).exists()] == []
