"""`headgate providers`, and completion in a shell: as a process, the way a shell and a person ask."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import launch
from headgate.cli.fail import Failure
from headgate.cli.providing import show
from headgate.providers.registry import BUILT_IN


def test_the_table_has_all(capsys: pytest.CaptureFixture[str]) -> None:
    show(None, "")
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["NAME", "HOST", "CREDENTIAL", "SECTIONS", "FROM"]
    assert [line.split()[0] for line in lines] == sorted(BUILT_IN)
    assert all(line.split()[-1] == "headgate" for line in lines)


def test_one_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    show("gemini", "json")
    found = json.loads(capsys.readouterr().out)
    assert found["host"] == "generativelanguage.googleapis.com"
    assert found["credential"] == "header x-goog-api-key"
    assert "stream" in found["sections"]


def test_one_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    show("gemini", "")
    page = capsys.readouterr().out
    assert "generativelanguage.googleapis.com" in page
    assert "https://" in page


def test_a_name_that_is_none() -> None:
    with pytest.raises(Failure, match="there is no provider geminy: did you mean gemini") as raised:
        show("geminy", "")
    assert raised.value.code == 2


def complete(program: str, *words: str) -> list[str]:
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    done = subprocess.run(
        [str(Path(sys.executable).parent / program)],
        env=launch.environment(
            {}, {variable: "complete_bash", "COMP_WORDS": " ".join((program, *words)), "COMP_CWORD": str(len(words))}
        ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("program", ["headgate", "kubectl-headgate"])
def test_completion(program: str) -> None:
    assert complete(program, "prov") == ["providers"]
    assert complete(program, "providers", "gem") == ["gemini"]
    assert complete(program, "get", "up") == ["upstreams"]
    assert "--provider" in complete(program, "new", "upstream", "--pro")
    # Nothing has run: there are no names, and no complaint either.
    assert complete(program, "get", "upstreams", "--state-dir", "/nonexistent", "x") == []


def test_the_script_is_good_bash() -> None:
    script = subprocess.run(
        [*launch.command(), "completion", "bash"],
        env=launch.environment({}, {}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    bash = shutil.which("bash")
    assert bash
    asked = subprocess.run(
        [bash, "-c", f"{script}\ncomplete -p headgate"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "_headgate_completion headgate" in asked.stdout
