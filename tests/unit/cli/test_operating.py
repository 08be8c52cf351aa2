"""`headgate operator`: what keeps it from starting is said in one sentence."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness import launch


def operator(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    state = f"--state-dir={tmp_path / 'state'}"
    environment = launch.environment({}, {})
    environment.pop("KUBECONFIG", None)
    return subprocess.run(
        [*launch.command(), "operator", state, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    done = operator(tmp_path, f"--kubeconfig={tmp_path / 'missing'}")
    assert done.returncode == 1
    assert "give a kubeconfig that exists and can be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_none(tmp_path: Path) -> None:
    done = operator(tmp_path, "--xds-address=here")
    assert done.returncode == 2
    assert "--xds-address here: write it as HOST:PORT" in done.stderr


def test_a_state_directory_that_can_not_be(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    done = operator(tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
