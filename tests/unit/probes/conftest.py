"""Questions about providers on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.plans import gateway, section, upstream
from headgate.control.questions import Question, question
from headgate.model.answers import StatusRange
from headgate.model.plan import Endpoint, Probe, SecretMaterial


def ask_about(
    *endpoints: Endpoint, secrets: tuple[SecretMaterial, ...] = (), path: str = "/up", **changes: Any
) -> Question:
    """The question about an upstream at these endpoints; changes are of its probe, else of its section."""
    values: dict[str, Any] = {"method": "GET", "expected": (StatusRange(200, 299),), "interval": 1_000, "least": 1_000}
    own = {name: changes.pop(name) for name in list(changes) if name in Probe.__dataclass_fields__ and name != "path"}
    one = upstream(section(*endpoints, **changes))
    one = replace(one, probe=Probe("default", path, **(values | own)))
    found = question(gateway(one, secrets=secrets), one)
    assert found is not None
    return found


@pytest.fixture
def about() -> Callable[..., Question]:
    return ask_about
