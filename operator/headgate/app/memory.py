"""The garbage collector, and what a large world costs it: a pass over a million objects that are there to stay takes a third of
a second, in which no proxy is answered.
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress


def settle() -> None:
    """To be called when a world has been read and compiled the first time: what there is now mostly stays. It is never looked
    through again, and pages that were needed on the way go back to the system."""
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):  # glibc has it, others need it less
        ctypes.CDLL(None).malloc_trim(0)
