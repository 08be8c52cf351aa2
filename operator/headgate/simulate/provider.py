"""What all simulated providers have in common: which keys they take, and how each fails in its own words.

A provider is a server of its own (`AsgiServer`). Tests make one and read it; `headgate run --simulate` makes one per
host, sets `keys` before the start, and asks `failing` for the answers of its fault scripts.
"""

from __future__ import annotations

import math
from collections.abc import Container
from dataclasses import dataclass
from http import HTTPStatus

from starlette.types import ASGIApp

from headgate.simulate.behaviours import as_app, json_response
from headgate.simulate.server import AsgiServer


@dataclass(frozen=True, slots=True)
class Failing:
    """How a call is to fail. `code`: the provider's own word for it, where one status has several. `wait`: seconds after
    which the caller may try again, None for no word about that."""

    status: int
    code: str | None = None
    wait: float | None = None

    @property
    def retry_after(self) -> tuple[tuple[str, str], ...]:
        """The wait as HTTP's own header, in whole seconds; nothing without a wait."""
        return () if self.wait is None else (("retry-after", str(math.ceil(self.wait))),)


class SimulatedProvider(AsgiServer):
    """A server that knows keys. `keys`: every key that is good; read on the server's loop, replaced as a whole."""

    keys: Container[str] = frozenset()

    def failing(self, how: Failing, path: str) -> ASGIApp:
        """The answer in which this provider fails so, to a call of `path`; each has its own error bodies and headers.

        This one is for an API that nothing is known of.
        """
        return as_app(
            json_response({"error": {"status": how.status, "message": phrase(how)}}, how.status, how.retry_after)
        )


def phrase(how: Failing) -> str:
    """A message for people where the provider's own is not known."""
    if how.code:
        return how.code
    try:
        return HTTPStatus(how.status).phrase
    except ValueError:
        return f"status {how.status}"
