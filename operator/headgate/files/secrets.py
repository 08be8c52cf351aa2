"""Secrets from outside the folder: `--secret NAMESPACE/NAME/KEY=env:VAR` or `file:PATH`, so that no key is in a file.

Called by the CLI (to read the options) and by `folder` (to read the values). No message shows a value.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headgate.model.refs import ObjectRef
from headgate.model.secret import SecretValue

_OPTION = re.compile(
    r"(?P<namespace>[a-z0-9]([-a-z0-9]*[a-z0-9])?)/(?P<name>[a-z0-9]([-a-z0-9.]*[a-z0-9])?)/(?P<key>[-._a-zA-Z0-9]+)=(?P<kind>env|file):(?P<source>.+)"
)


class SecretProblem(ValueError):
    """An option that can't be read, or a value that is not there; the message says what to do and shows no value."""


@dataclass(frozen=True, slots=True)
class SecretOption:
    """One `--secret`: the key of a Secret and where its value is."""

    ref: ObjectRef
    key: str
    variable: str = ""
    path: Path | None = None

    @property
    def spelled(self) -> str:
        """The key as the option spells it, `namespace/name/key`."""
        return f"{self.ref.key}/{self.key}"


def option(text: str) -> SecretOption:
    """Read one option; SecretProblem if it is none. What follows the equals sign is not repeated: it may be a key."""
    found = _OPTION.fullmatch(text)
    if found is None:
        shown = text.partition("=")[0] if "=" in text else "the value given"
        raise SecretProblem(
            f"--secret {shown}: write it as NAMESPACE/NAME/KEY=env:VARIABLE or NAMESPACE/NAME/KEY=file:PATH"
        )
    ref = ObjectRef("Secret", found["namespace"], found["name"])
    if found["kind"] == "env":
        return SecretOption(ref, found["key"], variable=found["source"])
    return SecretOption(ref, found["key"], path=Path(found["source"]).expanduser())


def fetch(wanted: SecretOption, environment: Mapping[str, str] = os.environ) -> SecretValue:
    """The value now; SecretProblem when it is not there. One newline at the end of a file is not part of the value."""
    if wanted.path is None:
        value = environment.get(wanted.variable, "")
        if not value:
            if (
                wanted.variable not in environment
            ):  # what was given may be the key itself (`env:$VARIABLE`): not repeated
                words = "the environment variable is not set: export it, and write its name after env: without $"
                raise SecretProblem(f"--secret {wanted.spelled}: {words}")
            raise SecretProblem(
                f"--secret {wanted.spelled}: the environment variable {wanted.variable} is empty: export it before the start"
            )
        return SecretValue(value.encode())
    try:
        content = wanted.path.read_bytes()
    except OSError as error:
        # What is not there may be no path but the key itself (`file:$KEY`), and is not repeated then.
        which = wanted.path if wanted.path.is_absolute() or wanted.path.exists() else "the file after file:"
        raise SecretProblem(f"--secret {wanted.spelled}: {which} can't be read: {error.strerror}") from None
    content = content.removesuffix(b"\n").removesuffix(b"\r")
    if not content:
        raise SecretProblem(f"--secret {wanted.spelled}: {wanted.path} is empty: put the value into it")
    return SecretValue(content)
