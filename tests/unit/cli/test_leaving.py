"""Libraries that are left out of what is imported."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from headgate.cli.leaving import without


def test_what_is_left_out_is_found_again_afterwards() -> None:
    assert "this" not in sys.modules
    with without("this"), pytest.raises(ModuleNotFoundError):
        importlib.import_module("this")
    assert "this" not in sys.modules


def test_what_is_there_already_stays() -> None:
    with without("sys"):
        assert sys.modules["sys"] is sys


def test_the_operator_is_made_without_what_is_for_terminals() -> None:
    code = """
import sys
from headgate.cli.leaving import without
with without("rich", "click", "pygments"):
    import headgate.cli.operating, headgate.app.operator
assert not {"rich", "click", "pygments"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
