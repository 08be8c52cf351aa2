"""How a command fails: one clear sentence on standard error, and an exit code."""

from __future__ import annotations


class Failure(Exception):
    """Ends a command. Code 1: it could not do what was asked; 2: it was asked wrongly."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
