"""`headgate explain`: why an upstream is as it is, by the folder that a run serves, by any other, or by a cluster.

What is declared is compiled anew, that one upstream only, with notes of where each value comes from. No secret's value is
needed. What the proxies made of it, the state directory of a run says, or the statuses in the cluster.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from headgate.api.kinds import POLICIES
from headgate.cli.explained import Live, document, lines
from headgate.cli.fail import Failure
from headgate.cli.getting import kind_of
from headgate.cli.inputs import profiles, read, secret_options, settings
from headgate.cli.worlds import Cluster
from headgate.compile.explanation import Explanation, explain
from headgate.files.snapshot import snapshot
from headgate.model.refs import ObjectRef
from headgate.model.snapshot import Snapshot
from headgate.standalone.state import StateDirectory

#: What stands for the gateway's address where no run says it.
_NOWHERE = ("127.0.0.1", 8080)


class Source(Protocol):
    """What serves what is declared."""

    def live(self, found: Explanation) -> Live:
        """What is known of an upstream beyond its declaration."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked for, of which world. `output` is text, json or yaml. `secrets`: options, for a folder."""

    resource: str
    name: str
    world: Cluster | StateDirectory | Path
    namespace: str | None = None
    section: str | None = None
    output: str = "text"
    secrets: Sequence[str] = ()


def command(question: Question) -> None:
    """Print the explanation; Failure where there is nothing to explain."""
    kind = kind_of(question.resource).names.kind
    if kind in POLICIES:
        from headgate.cli.explaining_policies import command as of_policies

        return of_policies(kind, question)
    if kind != "UpstreamService":
        raise Failure(f"explain is for upstreams and policies, and not for {question.resource}", code=2)
    world, served = source(question)
    ref = pick(question, (each.ref for each in world.upstreams.values()))
    found = explain(world, ref.key, profiles())
    _check_section(found, question.section)
    if served is None:
        # Where callers reach it, only a run could say.
        found, live = replace(found, address=""), _of_folder(question, found)
    else:
        live = served.live(found)
    if question.output == "text":
        show(lines(found, live, question.section))
    else:
        print(spelled(document(found, live, question.section), question.output), end="")
    return None


def source(question: Question) -> tuple[Snapshot, Source | None]:
    """What is declared; and what serves it, unless it is a folder that was named."""
    if isinstance(question.world, Path):
        world = read(question.world, secret_options(question.secrets))
        for problem in world.problems:
            print(problem, file=sys.stderr)
        return snapshot(world, settings(_NOWHERE)), None
    if question.secrets:
        raise Failure("--secret goes with -f: elsewhere values of Secrets are not needed", code=2)
    if isinstance(question.world, Cluster):
        from headgate.cli.clustered import Clustered

        clustered = Clustered(question.world, kind_of(question.resource).names.kind, question.name, question.namespace)
        return clustered.snapshot, clustered
    from headgate.cli.served import Served

    served = Served(question.world)
    return served.snapshot, served


def pick(question: Question, known: Iterable[ObjectRef]) -> ObjectRef:
    """The one object that is meant; Failure where there is none, or where there are several."""
    every = sorted(known)
    where = f" in {question.world}" if isinstance(question.world, Path) else ""
    found = [each for each in every if each.name == question.name and question.namespace in (None, each.namespace)]
    if len(found) > 1:
        names = ", ".join(each.namespace for each in found)
        raise Failure(f"there is a {question.name} in each of the namespaces {names}: say which with -n", code=2)
    if found:
        return found[0]
    asked = f"{question.namespace}/{question.name}" if question.namespace else question.name
    near = [each.key for each in every if each.name == question.name]
    alike = difflib.get_close_matches(question.name, [each.name for each in every], n=3, cutoff=0.5)
    near += [each.key for each in every if each.name in alike and each.key not in near]
    few = [each.key for each in every] if len(every) <= 10 else []
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(few)}" if few else ""
    raise Failure(f'{question.resource} "{asked}" not found{where}{f": {hint}" if hint else ""}')


def _check_section(found: Explanation, section: str | None) -> None:
    names = [each.name for each in found.sections]
    if section is not None and names and section not in names:
        raise Failure(f"{found.ref} has no section {section}: it has {', '.join(names)}")


def _of_folder(question: Question, found: Explanation) -> Live:
    return Live(f"not asked: this is what {question.world} means", problems=found.problems, numbered=False)


def show(every: Iterable[list[tuple[str, str]]]) -> None:
    """Print lines, with colours where a terminal shows them."""
    from rich.console import Console
    from rich.text import Text

    styles = {"strong": "bold", "bad": "red", "good": "green", "quiet": "dim", "": ""}
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    for pieces in every:
        console.print(Text.assemble(*((text, styles[style]) for text, style in pieces)))


def spelled(body: Mapping[str, Any], output: str) -> str:
    """Plain data as JSON or YAML."""
    if output == "json":
        return json.dumps(body, indent=4, ensure_ascii=False) + "\n"
    import yaml

    return str(yaml.safe_dump(body, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1_000))
