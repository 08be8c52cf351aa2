"""What is left after a long pass of the garbage collector is not looked through again. In a process of its own: it is the
collector of the whole process."""

from __future__ import annotations

import subprocess
import sys

_GROWN = """
import gc
from headgate.app import memory
memory.LONG = {long}
memory.load()
memory.settle()
memory.follow_up()
memory.follow_up()
assert sum(isinstance(each, memory._Passes) for each in gc.callbacks) == 1
before = gc.get_freeze_count()
kept = [[number] for number in range(100_000)]
gc.collect()
print(gc.get_freeze_count() - before >= len(kept))
"""


def grown(long: float) -> str:
    command = [sys.executable, "-c", _GROWN.format(long=long)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_what_a_long_pass_leaves_is_frozen() -> None:
    assert grown(0.0) == "True"


def test_a_short_one_changes_nothing() -> None:
    assert grown(600.0) == "False"
