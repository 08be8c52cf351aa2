"""`headgate get` of a cluster: listed, and watched with -w, with the rights of whoever asks."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from headgate.api.meta import Kind
from headgate.cli.connecting import Connection, ask, extra
from headgate.cli.fail import Failure
from headgate.cli.getting import Printer, Question, show
from headgate.cli.worlds import Cluster

if TYPE_CHECKING:
    from headgate.kube.client import Refused

Document = dict[str, Any]
_NOT_FOUND, _FORBIDDEN, _GONE = 404, 403, 410
#: Seconds: one watch, the silence that it may have, and the pause after one that broke.
_WATCH, _QUIET, _PAUSE = 300, 120.0, 1.0


def get(cluster: Cluster, question: Question, *, watch: bool) -> None:
    """Print once, or until interrupted. The namespace is the context's, unless one is named or all are."""

    async def answer(connection: Connection) -> None:
        namespace = None if question.all_namespaces else question.namespace or connection.namespace
        asked = replace(question, namespace=namespace)
        if watch:
            await _watch(connection, asked)
        else:
            found, _ = await _listed(connection, asked)
            show(asked, found, f" of {connection.name}")

    ask(cluster, answer)


def names(cluster: Cluster, kind: type[Kind], namespace: str | None) -> list[str]:
    """Of the objects of a kind, for completion; Failure if they can't be had."""

    async def answer(connection: Connection) -> list[str]:
        found, _ = await _listed(connection, Question(kind, namespace=namespace or connection.namespace))
        return [str(each["metadata"]["name"]) for each in found]

    return ask(cluster, answer)


async def _listed(connection: Connection, question: Question) -> tuple[list[Document], str]:
    """What is asked for, in the order of names, and the version of the listing."""
    with extra():
        from headgate.kube.client import Refused
        from headgate.kube.resources import OURS
    resource = OURS[question.kind.names.kind]
    found, version = [], ""
    try:
        if question.name is not None and question.namespace is not None:
            one = _plain(await connection.api.get(resource, question.namespace, question.name), resource.kind)
            return [one], str(one["metadata"].get("resourceVersion", ""))
        async for page in connection.api.pages(resource, question.namespace):
            found += [_plain(each, resource.kind) for each in page.items]
            version = page.version
    except Refused as problem:
        # A name that is not there is said by `show`, and 404 for a listing means that the kind is unknown.
        if problem.status == _NOT_FOUND and question.name is not None and "not found" in problem.message:
            return [], ""
        raise Failure(_why(problem, str(resource), connection, question)) from None
    found = [each for each in found if question.picks(each)]
    return sorted(found, key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"])), version


def _why(problem: Refused, resource: str, connection: Connection, question: Question) -> str:
    if problem.status == _NOT_FOUND:
        return f"{connection.name} does not know {resource}: is Headgate installed there? `headgate check` looks"
    if problem.status == _FORBIDDEN:
        where = f"in namespace {question.namespace}" if question.namespace else "in all namespaces: name one with -n"
        return f"you may not read {resource} {where} ({problem.message})"
    return f"the API server says no: {problem.message or problem}"


def _plain(document: Document, kind: str) -> Document:
    """Without the bookkeeping that kubectl doesn't show either."""
    meta = {key: value for key, value in document["metadata"].items() if key != "managedFields"}
    return {**document, "kind": kind, "metadata": meta}


async def _watch(connection: Connection, question: Question) -> None:
    from headgate.kube.client import Refused, Unreachable

    printer: Printer | None = None
    known: dict[tuple[str, str], Document] = {}
    every = replace(question, name=None)  # a name does not lead a watch: what is picked does
    while True:
        try:
            found, version = await _listed(connection, every)
            now = {_key(each): each for each in found if question.picks(each)}
            news = [each for key, each in now.items() if known.get(key) != each]
            printer = _say(printer, question, [*news, *(each for key, each in known.items() if key not in now)])
            known = now
            printer = await _follow(connection, question, version, known, printer)
        except Unreachable as problem:
            print(f"{problem}; again in a moment", file=sys.stderr)
            await asyncio.sleep(_PAUSE)
        except Refused as problem:
            if problem.status != _GONE and not problem.temporary:
                raise
            await asyncio.sleep(_PAUSE)


async def _follow(
    connection: Connection, question: Question, version: str, known: dict[tuple[str, str], Document], printer: Any
) -> Printer | None:
    from headgate.kube.resources import OURS

    resource = OURS[question.kind.names.kind]
    async for kind, document in connection.api.watch(
        resource, question.namespace, version, seconds=_WATCH, quiet=_QUIET
    ):
        if kind == "ERROR":  # the version is too old: list anew
            break
        if kind == "BOOKMARK" or not question.picks({**document, "kind": resource.kind}):
            continue
        entry = _plain(document, resource.kind)
        known[_key(entry)] = entry
        if kind == "DELETED":
            del known[_key(entry)]
        printer = _say(printer, question, [entry])
    found: Printer | None = printer
    return found


def _say(printer: Printer | None, question: Question, entries: list[Document]) -> Printer | None:
    if not entries:
        return printer
    lines = printer.more(entries) if printer else (printer := Printer(question, entries)).first(entries)
    for line in lines:
        print(line, flush=True)
    return printer


def _key(document: Document) -> tuple[str, str]:
    return document["metadata"]["namespace"], document["metadata"]["name"]
