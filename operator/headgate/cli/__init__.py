"""The `headgate` command: its table of commands, and how it ends.

What each may be asked is in `commands`, how it is done in the module that it imports when it is called, so that `--help` and
mistakes are answered at once.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from headgate.cli import completing
from headgate.cli.commands import check, completion, explain, get, new, operator, providers, run, validate
from headgate.cli.commands import compile as compile_
from headgate.cli.fail import Failure

_START = """\b
Begin here:
  mkdir -p apis && headgate new upstream gemini --provider gemini > apis/gemini.yaml
  headgate run -f apis --simulate   (simulated providers, no key)
  headgate run -f apis --secret default/gemini-key/apiKey=env:GEMINI_API_KEY
  headgate get upstreams            (in another terminal)
"""

app = typer.Typer(
    name="headgate",
    help="A gateway for the third-party APIs that software depends on.",
    epilog=_START,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        from headgate import __version__

        print(f"headgate {__version__}")
        raise typer.Exit


app.command(epilog=run.EPILOG)(run.run)
app.command(epilog=operator.EPILOG)(operator.operator)
app.command(epilog=validate.EPILOG)(validate.validate)
app.command(name="compile", epilog=compile_.EPILOG)(compile_.compile_)
app.command(epilog=get.EPILOG)(get.get)
app.command(epilog=explain.EPILOG)(explain.explain)
app.command(epilog=check.EPILOG)(check.check)
app.command(epilog=providers.EPILOG)(providers.providers)
app.command(epilog=completion.EPILOG)(completion.completion)
app.add_typer(new.new, name="new")


def main() -> None:
    """The console script. Exit code 1: it could not be done; 2: it was asked wrongly."""
    completing.prepare()
    try:
        app()
    except Failure as failure:
        print(f"headgate: {failure}", file=sys.stderr)
        sys.exit(failure.code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): nothing is wrong, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO, errno.EFBIG, errno.EDQUOT):
            raise
        print(f"headgate: can't write any more: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
