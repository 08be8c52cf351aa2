"""Broken folders: what `headgate validate` says of each, word for word, and what of it is served all the same.

Below `folders/`, each case has `input/` and `expected.txt`: the problems, then the upstreams in force.
"""

from pathlib import Path

import pytest

from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.files.findings import problems
from headgate.files.folder import Folder
from headgate.files.snapshot import snapshot
from headgate.model.snapshot import Settings
from headgate.model.verdict import Plan

FOLDERS = Path(__file__).parent / "folders"
CASES = sorted(path.name for path in FOLDERS.iterdir())
SETTINGS = Settings(listen=("127.0.0.1", 8080), listen_address="127.0.0.1", implied_gateway=True)


def served(plan: Plan) -> list[str]:
    """What callers can reach, and by which policies it is shaped."""
    lines = []
    for gateway in plan.gateways.values():
        for upstream in gateway.upstreams.values():
            policies = sorted({str(use.policy) for use in plan.verdicts[upstream.ref].policies})
            lines.append(f"served: {upstream.ref}{' with ' if policies else ''}{', '.join(policies)}")
    return lines


@pytest.mark.parametrize("case", CASES)
def test_a_broken_folder(case: str, update_golden: bool) -> None:
    world = Folder(FOLDERS / case / "input").read()
    plan = compile_snapshot(snapshot(world, SETTINGS), Memo())
    found = problems(world, plan)
    text = "".join(f"{line}\n" for line in [*map(str, found), *served(plan)])
    expected = FOLDERS / case / "expected.txt"
    if update_golden:
        expected.write_text(text)
    assert found, "a broken folder has something to say"
    assert "UpstreamService default/sound" in text
    assert text == expected.read_text()


def test_all_are_there() -> None:
    assert len(CASES) == 11
