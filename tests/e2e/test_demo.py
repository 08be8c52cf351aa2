"""`make demo`, as it is run without a terminal: every scene plays, every claim holds, nothing is left behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.serial


def test_every_scene_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools"), "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    scenes = re.findall(r"^(\d)\. ", done.stdout, re.MULTILINE)
    assert scenes == ["1", "2", "3", "4", "5", "6"]
    # `get upstreams` after each, in every state that the scenes bring about.
    assert done.stdout.count("$ headgate get upstreams") >= len(scenes)
    assert re.search(r"^ +gemini .*Open 1/\d+ +Status503", done.stdout, re.MULTILINE)
    assert "✗" not in done.stdout
    assert "\x1b" not in done.stdout
    assert list(tmp_path.glob("headgate-demo-*")) == []
