"""What a test does when a part it needs is missing: skip on a developer's machine, fail under CI."""

import os
from typing import TypeVar

import pytest

T = TypeVar("T")


def require(part: T | None, reason: str) -> T:
    """Return `part` if it is there (truthy); otherwise skip, or fail where `CI` is `true`.

    >>> envoy = require(shutil.which("envoy"), "no Envoy on PATH: `make setup` brings one")
    """
    __tracebackhide__ = True
    if part:
        return part
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"missing under CI: {reason}", pytrace=False)
    pytest.skip(reason)
