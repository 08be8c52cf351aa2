"""What `headgate explain upstream api -f X.yaml` prints, word for word: `explain/X.yaml` to `X.txt`, one of them to JSON too.

`--update-golden` rewrites the outputs; then read the diff.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headgate.cli.explaining import Question, command

EXPLAIN = Path(__file__).parent / "explain"
CASES = sorted(EXPLAIN.glob("*.yaml"))


def said(case: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **asked: str) -> str:
    monkeypatch.chdir(EXPLAIN)
    command(Question("upstream", "api", Path(case.name), **asked))
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("case", "suffix", "output"),
    [*((case, "txt", "text") for case in CASES), (EXPLAIN / "conflicts.yaml", "json", "json")],
    ids=lambda found: found.stem if isinstance(found, Path) else "",
)
def test_case(
    case: Path,
    suffix: str,
    output: str,
    update_golden: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = said(case, capsys, monkeypatch, output=output)
    path = EXPLAIN / f"{case.stem}.{suffix}"
    if update_golden:
        path.write_text(text, "utf-8")
    assert text == path.read_text("utf-8"), f"{path.name} differs: look, then run `make golden`"
    assert "explained-47" not in text, "a secret is in it"


def test_no_output_without_its_input() -> None:
    stems = {case.stem for case in CASES}
    assert [path.name for path in EXPLAIN.iterdir() if path.stem not in stems] == []


def test_one_section_is_shown_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    text = said(EXPLAIN / "nearest.yaml", capsys, monkeypatch, section="pay")
    assert "section pay\n" in text
    assert "section default" not in text
    assert "api.billing.example:443" in text
    only = json.loads(said(EXPLAIN / "nearest.yaml", capsys, monkeypatch, section="pay", output="json"))
    assert [each["name"] for each in only["sections"]] == ["pay"]
