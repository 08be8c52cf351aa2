"""What the conformance rows stand on: a row that differs fails, and the JavaScript clients reach this machine only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness import conformance
from harness.clients.calls import Outcome, Raised
from harness.clients.node import FOLDER, ROOT
from harness.conformance import Key, Recording, Row, Table, markdown, merged, read, write

KEY = Key("gemini", "a plain call", "gemini-py")
SAW = Outcome({"text": "echo: hi"}, None, 1)
TABLE = Table(
    {KEY: Row(1, 1, 'text "echo: hi"')}, {("gemini", "a plain call"): "It."}, {"gemini-py": ("Python", "1.0")}
)


@pytest.fixture(autouse=True)
def committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conformance, "committed", lambda: TABLE)


def test_a_row_is_what_was_committed() -> None:
    Recording(KEY, update=False)(SAW, provider_calls=1)
    for outcome, calls in ((SAW, 2), (Outcome(SAW.value, None, 2), 1), (Outcome({"text": "other"}, None, 1), 1)):
        with pytest.raises(AssertionError, match="now: "):
            Recording(KEY, update=False)(outcome, provider_calls=calls)
    with pytest.raises(AssertionError, match="is not in"):
        Recording(Key("gemini", "another", "gemini-py"), update=False)(SAW, provider_calls=1)


def test_a_row_says_the_same_each_time() -> None:
    error = Raised("ApiError", native=True, message="at http://127.0.0.1:1234/x and 127.0.0.1:80", status=500)
    outcome = Outcome(None, error, 1)
    assert outcome.saw() == "ApiError 500: at http://gateway/x and 127.0.0.1:80"
    with pytest.raises(AssertionError, match="another text each time"):
        Recording(KEY, update=True)(outcome, provider_calls=1)


def test_a_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(TABLE, tmp_path / "data.yaml", tmp_path / "page.md")
    assert read(tmp_path / "data.yaml") == TABLE
    assert (tmp_path / "page.md").read_text("utf-8") == markdown(TABLE)
    assert "| [a plain call](#gemini-a-plain-call) | 1→1 |" in markdown(TABLE)


def test_a_whole_run_leaves_no_row_that_it_did_not_see() -> None:
    new = {Key("gemini", "another", "gemini-py"): Row(1, 0, "done")}
    shows = {("gemini", "another"): "It."}
    assert set(merged(TABLE, new, shows, {}, whole=False).rows) == {KEY, *new}
    assert set(merged(TABLE, new, shows, {}, whole=True).rows) == set(new)


@pytest.mark.parametrize("place", ["http://192.0.2.1:8099/", "http://api.example.com/"])
def test_javascript_reaches_this_machine_only(place: str) -> None:
    node = Path(sys.executable).parent / "node"
    script = f'fetch("{place}").catch((error) => console.log(error.cause?.message ?? error.message))'
    command = [str(node), "--import", "./guard.mjs", "--input-type=module", "-e", script]
    done = subprocess.run(command, cwd=ROOT / FOLDER, capture_output=True, text=True, timeout=30)
    assert "a test may reach only this machine" in done.stdout, done.stdout + done.stderr
