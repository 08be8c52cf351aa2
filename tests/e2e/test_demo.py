"""`make demo`, as it is run without a terminal: every scene plays, every claim holds, nothing is left behind."""

from __future__ import annotations

import contextlib
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
    assert left_behind(tmp_path) == []


def test_a_scene_that_does_not_hold_ends_it_in_words_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Even where the run is no more and its Envoy goes on serving, as it should for anybody else."""
    code = (
        "import sys; from demo import __main__ as demo, scenes\n"
        "def killed(stage):\n"
        "    stage._run.kill()\n"
        "    stage.wait(lambda: False, 'better times')\n"
        "scenes.SCENES = (('The run is killed', killed),)\n"
        "sys.exit(demo.main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tools"), "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stderr == ""
    assert "The demo failed: waited in vain for better times" in done.stdout
    assert list(tmp_path.glob("headgate-demo-*")) == []
    assert left_behind(tmp_path) == []


def left_behind(folder: Path) -> list[str]:
    """Command lines of processes that still know this folder."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if str(folder) in line:
                lines.append(line)
    return lines
