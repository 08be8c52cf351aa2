"""What a simulated provider is told to do instead of its usual answer: the one hook for tests and for the control API.

A fault is a behaviour, so anything of `behaviours` and `sse` will do (`hang()`, `cut_off()`, an `Sse` whose pace the test
sets), and so will a `Failure` of a provider's own, with its native body. Edited from any thread, read on the server's loop.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from headgate.simulate.behaviours import Behaviour


@dataclass(slots=True)
class _Fault:
    behaviour: Behaviour
    path: str
    method: str | None
    lasting: bool

    def matches(self, method: str, path: str) -> bool:
        return path.startswith(self.path) and self.method in (None, method)


@dataclass(slots=True)
class Faults:
    """`provider.faults.next(rate_limited(), path="/client/v4/zones")`; what nothing here matches is answered as usual.

    Only calls whose credentials are good get this far: a fault never hides a key that was not injected.
    """

    _faults: list[_Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, *behaviours: Behaviour, path: str = "", method: str | None = None) -> None:
        """The next calls get these, one each; only those whose path (decoded) begins with `path`, and of that method."""
        with self._lock:
            self._faults.extend(_Fault(behaviour, path, method, lasting=False) for behaviour in behaviours)

    def always(self, behaviour: Behaviour, *, path: str = "", method: str | None = None) -> None:
        """All such calls get this once `next` is used up, until `clear`. A later one goes before an earlier one."""
        with self._lock:
            self._faults.insert(0, _Fault(behaviour, path, method, lasting=True))

    def clear(self) -> None:
        """Back to usual answers."""
        with self._lock:
            self._faults.clear()

    def take(self, method: str, path: str) -> Behaviour | None:
        """What a call that has arrived gets instead, if anything (server side)."""
        with self._lock:
            found = [fault for fault in self._faults if fault.matches(method, path)]
            chosen = next((f for f in found if not f.lasting), found[0] if found else None)
            if chosen is not None and not chosen.lasting:
                self._faults.remove(chosen)
            return chosen.behaviour if chosen else None
