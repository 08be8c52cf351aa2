"""The committed conformance table is what the tests declare, its page is made of it, and its versions are the ones here.

That each row says what happens is asserted by the test of that row.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.clients.all import Clients
from harness.conformance import PAGE, committed, markdown

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def not_being_written(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-conformance"):
        pytest.skip("the table is being written")


def test_the_rows_are_those_of_the_tests(tmp_path: Path) -> None:
    """Whatever part of the tests runs now, all of them are collected for this, in another process."""
    place = tmp_path / "rows.json"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/clients", "--collect-only", "-q", f"--conformance-rows={place}"],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTEST_XDIST_WORKER": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    declared = {
        (provider, scenario, client): shows for provider, scenario, client, shows in json.loads(place.read_text())
    }
    table = committed()
    rows = {(key.provider, key.scenario, key.client): table.shows[key.provider, key.scenario] for key in table.rows}
    assert rows == declared, "`make conformance` writes the table anew"


def test_the_page_is_made_of_the_table() -> None:
    assert PAGE.read_text("utf-8") == markdown(committed()), "`make conformance` writes the page anew"


def test_there_are_at_least_sixty_scenarios() -> None:
    assert len(committed().rows) >= 60


def test_the_versions_are_those_installed(clients: Clients) -> None:
    table = committed()
    installed = {name: (clients.get(name).title, clients.get(name).version) for name in table.clients}
    assert table.clients == installed, "`make conformance` writes the table anew"
