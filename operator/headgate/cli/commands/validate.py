"""`headgate validate`: what may be asked."""

from __future__ import annotations

from headgate.cli.options import FolderOption, SecretOption

EPILOG = """\b
Example, for a pipeline:
  headgate validate -f apis --secret shop/gemini-key/apiKey=env:ANY
"""


def validate(folder: FolderOption, secret: SecretOption = []) -> None:  # noqa: B006
    """Say what is wrong in a folder of YAML: where, and what to do. Exit code 0 when nothing is."""
    from headgate.cli.validating import validate as command

    command(folder, secret)
