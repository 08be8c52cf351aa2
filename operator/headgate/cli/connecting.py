"""A cluster as a command asks it: with the rights of whoever asks, for as long as the command takes.

`Connection` is what the commands have; what goes wrong with the connection as such is a Failure in one sentence.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from headgate.cli.fail import Failure
from headgate.cli.worlds import Cluster, has_cluster

if TYPE_CHECKING:
    from headgate.kube.client import Api

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Connection:
    """`name`: of the context, or of the server where there is none. `server`: its URL. `namespace`: the usual one."""

    api: Api
    name: str
    server: str
    namespace: str


def ask(cluster: Cluster, question: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
    """The answer of a coroutine that is given a connection. Failure if there is none to be had, or if it breaks."""
    with extra():
        from headgate.kube.access import NoAccess
        from headgate.kube.client import Refused, Unreachable
    if cluster == Cluster() and not has_cluster():
        raise Failure("no kubeconfig leads to a cluster: give --kubeconfig, or set KUBECONFIG", code=2)
    server: list[str] = []

    async def run() -> T:
        async with opened(cluster) as connection:
            server.append(connection.server)
            return await question(connection)

    try:
        return asyncio.run(run())
    except NoAccess as problem:
        raise Failure(str(problem)) from None
    except Unreachable as problem:
        raise Failure(unreachable(server[0], problem)) from None
    except Refused as problem:
        raise Failure(f"the API server says no: {problem.message or problem}") from None


@contextlib.asynccontextmanager
async def opened(cluster: Cluster) -> AsyncIterator[Connection]:
    """A connection. Raises NoAccess; nothing has been asked yet."""
    from headgate.kube.access import Access
    from headgate.kube.client import Api

    access = Access(cluster.kubeconfig, cluster.context)
    configuration: Any = await access.configuration()
    name, namespace = access.comforts()
    server = str(configuration.host)
    async with Api(configuration) as api:
        yield Connection(api, name or server, server, namespace)


def unreachable(server: str, problem: Exception) -> str:
    """In a sentence."""
    cause = problem.__cause__
    why = "no answer in time" if isinstance(cause, TimeoutError) else str(cause or problem)
    return f"the API server at {server} can't be reached: {why}"


@contextlib.contextmanager
def extra() -> Iterator[None]:
    """Around imports of what only the extra `operator` brings."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("headgate"):
            raise
        name = (missing.name or "a package").partition(".")[0]
        raise Failure(f"this needs {name}, which is not installed: pip install 'headgate[operator]'") from None
