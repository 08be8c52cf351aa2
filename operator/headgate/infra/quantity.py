"""Amounts in the words in which an API server gives them back, so that what is applied is what is read. Pure."""

from __future__ import annotations

from typing import Final

_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti")
_DECIMAL: Final = ("", "k", "M", "G", "T")


def memory(size: int) -> str:
    """Of bytes."""
    whole = size % (1 << 20) == 0
    return _shortest(size, 1 << 10, _BINARY) if whole else _shortest(size, 1000, _DECIMAL)


def cpu(millis: int) -> str:
    """Of thousandths of a core."""
    return f"{millis}m" if millis % 1000 else str(millis // 1000)


def _shortest(amount: int, step: int, units: tuple[str, ...]) -> str:
    """The largest unit of which it is a whole number."""
    found = 0
    while amount and amount % step == 0 and found + 1 < len(units):
        amount, found = amount // step, found + 1
    return f"{amount}{units[found]}"
