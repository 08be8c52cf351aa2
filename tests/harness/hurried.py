"""`headgate` that replaces a pod after a second of suspicion and not after a minute: how long it waits is tried elsewhere."""

from __future__ import annotations

from typing import Any
from unittest import mock

from headgate.app import healing, tending
from headgate.control.healing import Limits

LIMITS = Limits(patience=1.0, overall=1.0, first=1.0, longest=5.0, recovery=2.0, look=0.5)
_healer: Any = healing.Healer


def _hurried(*given: Any) -> Any:
    """With limits of its own, in the place of the last that is given."""
    return _healer(*given[:-1], LIMITS)


def main() -> None:
    """As `headgate`."""
    from headgate.cli import main as headgate

    with mock.patch.object(tending, "Healer", _hurried):
        headgate()


if __name__ == "__main__":
    main()
