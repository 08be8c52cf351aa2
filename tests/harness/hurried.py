"""`headgate` that replaces a pod after a second of suspicion and not after a minute: how long it waits is tried elsewhere."""

from __future__ import annotations

from typing import Any
from unittest import mock

from headgate.app import healing, tending
from headgate.control.healing import Limits

LIMITS = Limits(patience=1.0, overall=1.0, first=1.0, longest=5.0, recovery=2.0, look=0.5)


class HurriedHealer(healing.Healer):
    """With limits of its own."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given[:5], limits=LIMITS)


def main() -> None:
    """As `headgate`."""
    from headgate.cli import main as headgate

    with mock.patch.object(tending, "Healer", HurriedHealer):
        headgate()


if __name__ == "__main__":
    main()
