"""The garbage collector, and what a large world costs it: a pass over a million objects that are there to stay takes a third of
a second, in which no proxy is answered and no lease renewed, and while a world is being read there is one every second.

`load` before anything is read, `settle` when it has been compiled, `follow_up` when the first statuses have been made. Later a
world goes on to grow in steps, as when a replica begins to lead and learns of all that was written before: what is left after a
pass that took long is not looked through again, so that there is one such pass for each step and not one after another.
"""

from __future__ import annotations

import ctypes
import gc
import time
from contextlib import suppress
from typing import Any

#: While a world is read: objects made until the youngest are looked through, and how often that is until the older are.
#: Whatever is made then stays, so all of them are looked through once, by `settle`.
YOUNG, OLDER, ALL = 5_000, 10, 1_000_000
#: Seconds after which a pass over all that is looked through took long.
LONG = 0.03


class _Passes:
    """Told by the collector of each of its passes, in whichever thread that is."""

    def __init__(self) -> None:
        self._began = 0.0

    def __call__(self, phase: str, info: dict[str, Any]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        elif info["generation"] == _OLDEST and time.perf_counter() - self._began > LONG:
            gc.freeze()


def load() -> None:
    """To be called before a world is read."""
    gc.freeze()  # modules live as long as the process: no need to look through them again and again
    gc.set_threshold(YOUNG, OLDER, ALL)


def settle() -> None:
    """To be called when a world has been read and compiled the first time: what there is now mostly stays. It is never looked
    through again, and pages that were needed on the way go back to the system."""
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):  # glibc has it, others need it less
        ctypes.CDLL(None).malloc_trim(0)


def follow_up() -> None:
    """To be called when what comes of that world has been made as well. From now on what becomes garbage is found as usual."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
    if not any(isinstance(each, _Passes) for each in gc.callbacks):
        gc.callbacks.append(_Passes())


_USUAL = gc.get_threshold()
_OLDEST = len(_USUAL) - 1
