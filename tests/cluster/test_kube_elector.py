"""The election on a real Lease: leadership moves in time, and there are never two that write."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster import ApiServer
from harness.between import Between
from harness.kube import until
from headgate.control.election import Timings
from headgate.kube.access import Access
from headgate.kube.client import Api, Refused
from headgate.kube.elector import Elector, Leadership, NotLeading, WritersEnded, identity
from headgate.kube.resources import LEASES

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]
EMPTY = "{{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {{name: {name}, namespace: default}}}}"
#: One candidate as a process of its own. Each line of the file that all share is one write: when it began, by whom.
CANDIDATE = """
import asyncio, os, signal, sys, time
from pathlib import Path
from headgate.kube.access import Access
from headgate.kube.client import Api
from headgate.kube.elector import Elector, NotLeading, identity

kubeconfig, name, lease, path = sys.argv[1:]
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

async def write(leadership):
    while True:
        async with leadership.write():
            os.write(file, f"{time.monotonic()} {name}\\n".encode())
        await asyncio.sleep(0.01)

async def main():
    async with await Api.open(Access(Path(kubeconfig))) as api:
        elector = Elector(api, "default", lease, identity(name))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, elector.stop)
        async def patient(leadership):
            try:
                await write(leadership)
            except NotLeading:
                await asyncio.Event().wait()
        await elector.run(patient)

asyncio.run(main())
"""


@pytest.fixture
async def api(api_server: ApiServer) -> AsyncIterator[Api]:
    async with await Api.open(Access(api_server.kubeconfig)) as found:
        yield found


class Candidates:
    """Processes that compete for one Lease."""

    def __init__(self, kubeconfig: Path, directory: Path) -> None:
        self._kubeconfig, self._file = kubeconfig, directory / "writes"
        self._file.touch()
        self.lease = f"test-{secrets.token_hex(4)}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", CANDIDATE, str(self._kubeconfig), name, self.lease, str(self._file)]
        self.processes[name] = subprocess.Popen(command, env={"PYTHONPATH": str(ROOT / "operator"), "PATH": "/usr/bin"})
        return self.processes[name]

    def writes(self) -> list[tuple[float, str]]:
        lines = [line.split() for line in self._file.read_text().splitlines()]
        return [(float(at), name) for at, name in lines]

    def leader(self, since: float = 0.0) -> str | None:
        """Who wrote last, if that was after `since`."""
        writes = self.writes()
        return writes[-1][1] if writes and writes[-1][0] > since else None

    def terms(self) -> list[str]:
        """Who wrote, in order. Two that write at the same time would come by turns."""
        terms: list[str] = []
        for _, name in sorted(self.writes()):
            if not terms or terms[-1] != name:
                terms.append(name)
        return terms

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def candidates(api_server: ApiServer, tmp_path: Path) -> AsyncIterator[Candidates]:  # type: ignore[misc]
    found = Candidates(api_server.kubeconfig, tmp_path)
    # As the chart ships it: with none, a first leader waits until another one's would have ended.
    api_server.kubectl("create", "--filename=-", given=EMPTY.format(name=found.lease))
    try:
        yield found
    finally:
        found.end()


async def first(candidates: Candidates) -> tuple[str, str]:
    """Start two; who leads, and who follows."""
    candidates.start("a")
    candidates.start("b")
    await until(candidates.leader, "somebody leads", 90)
    leader = candidates.leader()
    assert leader is not None
    return leader, "b" if leader == "a" else "a"


async def test_a_killed_leader_is_followed_within_15_seconds(candidates: Candidates) -> None:
    leader, other = await first(candidates)
    candidates.processes[leader].kill()
    killed = time.monotonic()
    await until(lambda: candidates.leader() == other, "the other leads")
    took = candidates.writes()[-1][0] - killed
    print(f"leader killed: the other writes after {took:.1f} s")
    assert took < 15
    assert candidates.terms() == [leader, other]


@pytest.mark.slow
async def test_a_frozen_leader_wakes_up_as_a_follower(candidates: Candidates) -> None:
    leader, other = await first(candidates)
    candidates.processes[leader].send_signal(signal.SIGSTOP)
    frozen = time.monotonic()
    await until(lambda: candidates.leader() == other, "the other leads")
    took = candidates.writes()[-1][0] - frozen
    print(f"leader frozen: the other writes after {took:.1f} s")
    assert took < 15
    candidates.processes[leader].send_signal(signal.SIGCONT)
    woken = len(candidates.writes())
    await until(lambda: len(candidates.writes()) > woken + 200, "the other goes on")
    assert candidates.terms() == [leader, other]


async def test_a_leader_that_is_told_to_end_gives_the_lease_back(api: Api, candidates: Candidates) -> None:
    leader, other = await first(candidates)
    candidates.processes[leader].terminate()
    told = time.monotonic()
    await until(lambda: candidates.leader() == other, "the other leads")
    took = candidates.writes()[-1][0] - told
    print(f"leader told to end: the other writes after {took:.1f} s")
    assert took < 5
    assert candidates.processes[leader].wait(10) == 0
    assert candidates.terms() == [leader, other]
    found = await api.get(LEASES, "default", candidates.lease)
    assert found["spec"]["holderIdentity"].startswith(f"{other}_")
    assert found["spec"]["leaseTransitions"] >= 1


@pytest.mark.slow
async def test_an_unreachable_api_server_ends_leadership_before_a_rival_may_lead(
    api_server: ApiServer, api: Api, tmp_path: Path
) -> None:
    name = f"test-{secrets.token_hex(4)}"
    async with (
        Between(api_server.kubeconfig).running() as between,
        await Api.open(Access(between.kubeconfig(tmp_path))) as cut_off,
        await Api.open(Access(api_server.kubeconfig)) as direct,
    ):
        log: list[tuple[float, str, str]] = []

        def writer(who: str):  # type: ignore[no-untyped-def]
            async def write(_: Leadership) -> None:
                log.append((time.monotonic(), who, "starts"))
                try:
                    await asyncio.Event().wait()
                finally:
                    log.append((time.monotonic(), who, "ends"))

            return write

        one = Elector(cut_off, "default", name, identity("one"))
        two = Elector(direct, "default", name, identity("two"))
        async with asyncio.TaskGroup() as group:
            group.create_task(one.run(writer("one")))
            await until(lambda: log, "one leads")
            group.create_task(two.run(writer("two")))
            # Renewals reach the server and their answers do not: as bad as it gets.
            path = f"/apis/coordination.k8s.io/v1/namespaces/default/leases/{name}"
            between.answers[("PUT", path)] = (500, 3.0)
            between.answers[("GET", path)] = (500, 3.0)
            await until(lambda: len(log) == 3, "two leads")
            assert [each[1:] for each in log] == [("one", "starts"), ("one", "ends"), ("two", "starts")]
            print(f"cut off: the writers ended {log[2][0] - log[1][0]:.1f} s before the rival's started")
            assert log[2][0] - log[1][0] > 2
            assert not one.leading
            assert two.leading
            one.stop()
            two.stop()
    found = await api.get(LEASES, "default", name)
    assert "holderIdentity" not in found["spec"]


async def test_a_writer_that_fails_gives_the_lease_back_and_is_told(api: Api) -> None:
    name = f"test-{secrets.token_hex(4)}"
    await api.create(
        LEASES,
        {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": {"name": name, "namespace": "default", "labels": {"kept": "yes"}},
        },
    )

    async def write(_: Leadership) -> None:
        raise RuntimeError("a bug")

    elector = Elector(api, "default", name, identity("one"))
    with pytest.raises(WritersEnded, match="a bug"):
        await elector.run(write)
    found = await api.get(LEASES, "default", name)
    assert "holderIdentity" not in found["spec"]
    assert found["metadata"]["labels"] == {"kept": "yes"}


async def test_the_right_to_write_ends_in_the_middle_of_a_write() -> None:
    left = [0.05]
    leadership = Leadership(lambda: left[0])
    with pytest.raises(NotLeading):
        async with leadership.write():
            await asyncio.Event().wait()
    with pytest.raises(TimeoutError):
        async with leadership.write():
            raise TimeoutError("one of the call's own")
    left[0] = 0.0
    with pytest.raises(NotLeading):
        async with leadership.write():
            raise AssertionError("not reached")


async def test_a_deleted_lease_is_made_again_by_its_leader(api: Api) -> None:
    name = f"test-{secrets.token_hex(4)}"
    timings = Timings(lease=3, renew=0.2, retry=0.1, step_down=2.0, deadline=2.5)

    async def write(_: Leadership) -> None:
        await asyncio.Event().wait()

    elector = Elector(api, "default", name, identity("one"), timings)
    async with asyncio.TaskGroup() as group:
        group.create_task(elector.run(write))
        await until(lambda: elector.leading, "it leads")
        await api.delete(LEASES, "default", name)
        for _ in range(50):
            try:
                found = await api.get(LEASES, "default", name)
                break
            except Refused:
                await asyncio.sleep(0.1)
        assert json.dumps(found["spec"]["holderIdentity"]).startswith('"one_')
        assert elector.leading
        elector.stop()
