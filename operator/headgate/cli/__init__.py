"""The `headgate` command: what may be asked, and nothing of how it is done.

Each command imports what it needs when it is called, so that `--help` and mistakes are answered at once.
"""

from __future__ import annotations

import errno
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from headgate.cli import completing
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

new = typer.Typer(help="Print a starting YAML.", no_args_is_help=True)
app.add_typer(new, name="new")


class ListOutput(StrEnum):
    JSON = "json"


class PlanOutput(StrEnum):
    PLAN = "plan"
    XDS = "xds"
    OBJECTS = "objects"


class GetOutput(StrEnum):
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


class ExplainOutput(StrEnum):
    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


NamespaceOption = Annotated[str, typer.Option("--namespace", "-n", help="The namespace.")]
FolderOption = Annotated[
    Path, typer.Option("--filename", "-f", metavar="DIR", help="A folder of YAML files, or one file.")
]
SecretOption = Annotated[
    list[str],
    typer.Option(
        "--secret",
        metavar="NAMESPACE/NAME/KEY=env:VAR",
        help="A Secret's value from the environment, or with file:PATH from a file. May be repeated.",
    ),
]
ListenOption = Annotated[
    str,
    typer.Option(
        "--listen",
        metavar="HOST:PORT",
        help="Where the default gateway takes calls; other gateways take their own port on this host.",
    ),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        help="Where a run keeps what outlives it. Default: $XDG_STATE_HOME/headgate/default.",
    ),
]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    if version:
        from headgate import __version__

        print(f"headgate {__version__}")
        raise typer.Exit


@app.command(
    epilog="""\b
Examples:
  headgate run -f apis --secret shop/gemini-key/apiKey=env:GEMINI_API_KEY
  headgate run -f apis --secret shop/gemini-key/apiKey=file:key.txt --listen :8080
  headgate run -f apis --simulate
"""
)
def run(
    folder: FolderOption,
    listen: ListenOption = "127.0.0.1:8080",
    state_dir: StateOption = None,
    envoy: Annotated[
        str | None,
        typer.Option(
            "--envoy", metavar="PATH", help="The Envoy to start. Default: the one that is installed with Headgate."
        ),
    ] = None,
    secret: SecretOption = [],  # noqa: B006 - typer wants it so
    dns_resolver: Annotated[
        list[str],
        typer.Option(
            "--dns-resolver",
            metavar="HOST:PORT",
            help="Ask this name server, by its address, instead of the system's. May be repeated.",
        ),
    ] = [],  # noqa: B006
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", help="What is logged to standard error.")
    ] = LogLevel.WARNING,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate",
            help="Call simulated providers on this machine in place of the real ones; no key is needed, and none leaves.",
        ),
    ] = False,
    no_probes: Annotated[
        bool,
        typer.Option("--no-probes", help="Never ask providers by itself whether they are well: call only when called."),
    ] = False,
) -> None:
    """Serve a folder of YAML, and follow its changes until Ctrl-C."""
    from headgate.cli.running import run as command

    command(folder, listen, state_dir, envoy, secret, dns_resolver, str(log_level), simulate, probes=not no_probes)


@app.command(
    epilog="""\b
Examples:
  headgate operator
  headgate operator --kubeconfig ~/.kube/config --namespace shop --state-dir /tmp/headgate
"""
)
def operator(
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            "--kubeconfig",
            metavar="FILE",
            help="How to reach the API server. Default: $KUBECONFIG, the pod's service account, ~/.kube/config.",
        ),
    ] = None,
    context: Annotated[str | None, typer.Option("--context", metavar="NAME", help="Of the kubeconfig.")] = None,
    namespace: Annotated[
        list[str],
        typer.Option("--namespace", "-n", metavar="NAME", help="Look at this one only. May be repeated."),
    ] = [],  # noqa: B006 - typer wants it so
    secrets_namespace: Annotated[
        list[str],
        typer.Option(
            "--secrets-namespace",
            metavar="NAME",
            help="Read Secrets and ConfigMaps in this one only. May be repeated. Default: wherever upstreams are looked at.",
        ),
    ] = [],  # noqa: B006
    xds_address: Annotated[
        str,
        typer.Option("--xds-address", metavar="HOST:PORT", help="Where the gateways' proxies come for their config."),
    ] = "0.0.0.0:18000",
    state_dir: Annotated[
        Path, typer.Option("--state-dir", metavar="DIR", help="Where the certificate authority of the proxies is kept.")
    ] = Path("/var/lib/headgate"),
    lease_namespace: Annotated[
        str, typer.Option("--lease-namespace", metavar="NAME", help="Where replicas agree on which of them writes.")
    ] = "headgate-system",
    cluster_domain: Annotated[
        str, typer.Option("--cluster-domain", metavar="NAME", help="The domain of the cluster's Services.")
    ] = "cluster.local",
    log_level: Annotated[
        LogLevel, typer.Option("--log-level", help="What is logged to standard error.")
    ] = LogLevel.INFO,
) -> None:
    """Serve what a Kubernetes cluster declares, and write back how it is doing."""
    from headgate.cli.operating import operator as command

    command(
        kubeconfig,
        context,
        namespace,
        secrets_namespace,
        xds_address,
        state_dir,
        lease_namespace,
        cluster_domain,
        str(log_level),
    )


@app.command(
    epilog="""\b
Example, for a pipeline:
  headgate validate -f apis --secret shop/gemini-key/apiKey=env:ANY
"""
)
def validate(folder: FolderOption, secret: SecretOption = []) -> None:  # noqa: B006
    """Say what is wrong in a folder of YAML: where, and what to do. Exit code 0 when nothing is."""
    from headgate.cli.validating import validate as command

    command(folder, secret)


@app.command(
    name="compile",
    epilog="""\b
Examples:
  headgate compile -f apis | jq '.gateways[].upstreams | keys'
  headgate compile -f apis -o xds
""",
)
def compile_(
    folder: FolderOption,
    output: Annotated[
        PlanOutput,
        typer.Option(
            "--output",
            "-o",
            help="plan: what was declared, resolved to the last value; xds: what Envoy is sent; "
            "objects: what was declared, with its verdict.",
        ),
    ] = PlanOutput.PLAN,
    secret: SecretOption = [],  # noqa: B006
    listen: ListenOption = "127.0.0.1:8080",
) -> None:
    """Show what a folder of YAML becomes; no secret is in it."""
    from headgate.cli.compiling import show

    show(folder, str(output), secret, listen)


@app.command(
    epilog="""\b
Examples:
  headgate get upstreams
  headgate get upstreams -o wide -w
  headgate get ratelimits -n shop -o yaml
"""
)
def get(
    resource: Annotated[
        str,
        typer.Argument(
            metavar="RESOURCE",
            help="upstreams, integrationgateways, retrypolicies, circuitbreakers or ratelimits.",
            autocompletion=completing.resources,
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Only this one.", autocompletion=completing.names)
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Only this namespace. Default: all.")
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="All namespaces, with a column for them.")
    ] = False,
    output: Annotated[GetOutput | None, typer.Option("--output", "-o", help="How to print.")] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on printing what changes.")] = False,
    state_dir: StateOption = None,
) -> None:
    """Show how every API and policy is doing.

    What the run on the state directory last said is shown, with and after the run alike.
    """
    from headgate.cli import getting as command
    from headgate.standalone.state import StateDirectory, default_directory

    state = StateDirectory(state_dir or default_directory())
    question = command.Question(
        command.kind_of(resource), name, None if all_namespaces else namespace, all_namespaces, output or ""
    )
    if watch:
        command.watch(state, question)
    else:
        command.get(state, question)


@app.command(
    epilog="""\b
Examples:
  headgate explain upstream gemini
  headgate explain upstream gemini -n shop --section generate
  headgate explain upstream gemini -f apis -o json
  headgate explain retrypolicy gemini       (where it applies, and where not)
"""
)
def explain(
    resource: Annotated[
        str,
        typer.Argument(
            metavar="RESOURCE",
            help="upstream; or a kind of policy, for its targets.",
            autocompletion=completing.resources,
        ),
    ],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which one.", autocompletion=completing.names)],
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Its namespace, where several have one of the name.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--filename", "-f", metavar="DIR", help="By this folder of YAML, not by what a run serves."),
    ] = None,
    section: Annotated[str | None, typer.Option("--section", help="Only this section, all of it.")] = None,
    output: Annotated[ExplainOutput, typer.Option("--output", "-o", help="How to print.")] = ExplainOutput.TEXT,
    secret: SecretOption = [],  # noqa: B006
    state_dir: StateOption = None,
) -> None:
    """Say why an API is treated as it is.

    The effective policy of each of its sections: every value with the object, the provider's profile or the default that
    it comes from and what it won over; the policies that lost, and why; what is wrong; and whether all of it is in force.
    Sections are shown by how they differ from the section default.
    """
    from headgate.cli import explaining
    from headgate.standalone.state import StateDirectory, default_directory

    state = StateDirectory(state_dir or default_directory())
    explaining.command(
        explaining.Question(resource, name, state, namespace, folder, section, str(output), tuple(secret))
    )


@app.command(
    epilog="""\b
Examples:
  headgate providers
  headgate providers supabase       (everything that is known of it)
"""
)
def providers(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Everything about this one.", autocompletion=completing.providers),
    ] = None,
    output: Annotated[ListOutput | None, typer.Option("--output", "-o", help="How to print.")] = None,
) -> None:
    """Show the providers that are known.

    Where they are, where keys go, which sections they have; and of one of them, everything and where it is known from.
    """
    from headgate.cli.providing import show

    show(name, output or "")


@new.command(
    name="upstream",
    short_help="Print a starting YAML for one API, with its policies.",
    epilog="""\b
Examples:
  headgate new upstream --provider gemini -n shop > apis/gemini.yaml
  headgate new upstream base --provider supabase --option project=abcdefghijklmnopqrst
  headgate new upstream billing --hostname api.billing.example
""",
)
def new_upstream(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Its name. Default: the provider's.")] = None,
    provider: Annotated[
        str,
        typer.Option("--provider", "-p", help="See `headgate providers`.", autocompletion=completing.providers),
    ] = "generic",
    namespace: NamespaceOption = "default",
    hostname: Annotated[
        str | None, typer.Option("--hostname", metavar="HOST", help="Where it is, if the provider does not say.")
    ] = None,
    option: Annotated[
        list[str],
        typer.Option("--option", metavar="KEY=VALUE", help="An entry of providerOptions. May be repeated."),
    ] = [],  # noqa: B006
) -> None:
    """Print a starting YAML for one API: the upstream with a retry policy, a circuit breaker and a limit."""
    from headgate.cli.starting import upstream as command

    command(provider, name, namespace, hostname, option)


@app.command(
    epilog="""\b
Examples:
  source <(headgate completion bash)
  headgate completion fish > ~/.config/fish/completions/headgate.fish
"""
)
def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish")]) -> None:
    """Print what a shell needs for completion.

    Commands, options, providers and the names of what runs are completed then.
    """
    print(completing.script(shell))


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
