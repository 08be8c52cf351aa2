"""`headgate validate`: every mistake in a folder, with its place and what to do; nothing is started."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from headgate.cli.fail import Failure
from headgate.cli.inputs import profiles, read, secret_options, settings
from headgate.compile.memo import Memo
from headgate.compile.world import compile_snapshot
from headgate.files.findings import problems as all_problems
from headgate.files.snapshot import snapshot


def validate(folder: Path, secrets: Sequence[str]) -> None:
    """Print all problems; Failure if there is one."""
    world = read(folder, secret_options(secrets))
    plan = compile_snapshot(snapshot(world, settings(("127.0.0.1", 8080))), Memo(), profiles())
    problems = all_problems(world, plan)
    for note in world.notes:
        print(f"note: {note}", file=sys.stderr)
    for problem in problems:
        print(problem)
    ours = sum(1 for item in world.items.values() if item.ours)
    if problems:
        raise Failure(f"{_count(len(problems), 'problem')} in {folder}")
    print(f"{folder}: nothing wrong; {_count(ours, 'object')} of Headgate's in {_count(world.files, 'file')}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
