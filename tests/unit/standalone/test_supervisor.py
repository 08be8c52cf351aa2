"""A real Envoy under supervision: started, restarted, taken over, drained, and never left behind."""

import asyncio
import contextlib
import errno
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.ports import free_port
from headgate.standalone.admin import ask
from headgate.standalone.launch import Launch, NoEnvoy, PortTaken, find_envoy, require_free
from headgate.standalone.process import ProcessId, identify
from headgate.standalone.state import StateDirectory
from headgate.standalone.supervisor import Pace, Supervisor, running, tail

_TYPE = "type.googleapis.com/envoy.extensions.filters"
QUICK = Pace(first_wait=0.05, drain=5.0, terminate=3.0, log_check=0.05)


@dataclass
class Rig:
    directory: Path
    port: int
    provider: int
    said: list[str] = field(default_factory=list)

    def launch(self, **changes: str) -> Launch:
        socket = self.directory / "admin.sock"
        bootstrap = json.dumps(self.bootstrap(socket) | ({"stats_flush_interval": "7s"} if changes else {}))
        return Launch("default/default", find_envoy(), bootstrap, self.directory / "gateway", socket)

    def supervisor(self, launch: Launch | None = None, pace: Pace = QUICK) -> Supervisor:
        return Supervisor(launch or self.launch(), self.said.append, lambda: require_free("127.0.0.1", self.port), pace)

    def bootstrap(self, socket: Path) -> dict[str, object]:
        manager = {
            "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "headgate",
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "all",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "provider"}}],
                    }
                ]
            },
            "http_filters": [{"name": "router", "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"}}],
        }
        endpoint = {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.provider}}}}
        assignment = {"cluster_name": "provider", "endpoints": [{"lb_endpoints": [endpoint]}]}
        listener = {
            "name": "in",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.port}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
        return {
            "admin": {"address": {"pipe": {"path": str(socket)}}},
            "static_resources": {
                "listeners": [listener],
                "clusters": [{"name": "provider", "load_assignment": assignment}],
            },
        }

    async def call(self) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            return head + await reader.readexactly(2)
        finally:
            writer.close()

    async def ready(self) -> None:
        await self.until(lambda: ask(self.directory / "admin.sock", "/ready"), "Envoy to be ready")

    async def until(self, attempt: Callable[[], Awaitable[object]], what: str) -> None:
        try:
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(OSError, AssertionError):
                        await attempt()
                        return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}; said: {self.said}") from None

    def left(self) -> ProcessId | None:
        return running(self.directory / "gateway")


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hg-") as name:
        yield Path(name)


@pytest.fixture
async def release() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def rig(directory: Path, release: asyncio.Event) -> AsyncIterator[Rig]:
    """`release` must be set before the provider answers."""

    async def provider(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await release.wait()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(provider, "127.0.0.1", 0)
    rig = Rig(directory, free_port(), server.sockets[0].getsockname()[1])
    yield rig
    left = rig.left()
    if left is not None:
        os.kill(left.pid, signal.SIGKILL)
    release.set()
    server.close()


@contextlib.asynccontextmanager
async def supervised(supervisor: Supervisor) -> AsyncIterator[asyncio.Task[None]]:
    await supervisor.begin()
    task = asyncio.create_task(supervisor.run())
    try:
        yield task
    finally:
        await supervisor.stop(drain=False)
        async with asyncio.timeout(10):
            await task


def pid(supervisor: Supervisor) -> int:
    assert supervisor.process is not None
    return supervisor.process.pid


async def test_a_crash_is_told_with_its_last_words_and_repaired(rig: Rig, release: asyncio.Event) -> None:
    release.set()
    supervisor = rig.supervisor()
    async with supervised(supervisor):
        await rig.ready()
        assert b"200 OK" in await rig.call()
        first = pid(supervisor)
        os.kill(first, signal.SIGKILL)

        async def restarted() -> None:
            assert supervisor.process is not None
            assert pid(supervisor) != first

        await rig.until(restarted, "a new Envoy")
        await rig.ready()
        assert b"200 OK" in await rig.call()
        assert rig.said[0].startswith("Envoy of gateway default/default was ended by SIGKILL; its last words:\n    [")
        assert rig.said[1] == "Envoy of gateway default/default is started again in 0.05 s"
        assert supervisor.restarts == 1
        second = supervisor.process
    assert second is not None
    assert not second.alive()
    assert not (rig.directory / "gateway" / "envoy.json").exists()


async def test_what_can_not_start_is_tried_again_ever_more_slowly(rig: Rig) -> None:
    launch = Launch("default/default", find_envoy(), '{"nonsense": 1}', rig.directory / "gateway", rig.directory / "a")
    supervisor = rig.supervisor(launch, Pace(first_wait=0.02, longest_wait=0.08))
    async with supervised(supervisor):

        async def four_times() -> None:
            assert supervisor.restarts >= 4

        await rig.until(four_times, "four restarts")
    waits = [line.split(" again in ")[1] for line in rig.said if " again in " in line]
    assert waits[:4] == ["0.02 s", "0.04 s", "0.08 s", "0.08 s"]
    assert "nonsense" in rig.said[0]


async def test_a_stable_one_is_restarted_quickly(rig: Rig) -> None:
    supervisor = rig.supervisor(pace=Pace(first_wait=0.02, stable_after=0.0))
    async with supervised(supervisor):
        for count in range(1, 4):
            await rig.ready()
            os.kill(pid(supervisor), signal.SIGKILL)

            async def restarted(count: int = count) -> None:
                assert supervisor.restarts == count
                assert supervisor.process is not None

            await rig.until(restarted, "a restart")
    assert [line.split(" again in ")[1] for line in rig.said if " again in " in line] == ["0.02 s"] * 3


async def test_one_that_outlived_its_run_is_taken_over(rig: Rig, release: asyncio.Event) -> None:
    release.set()
    first = rig.supervisor()
    await first.begin()
    await rig.ready()
    process = first.process
    second = rig.supervisor()
    async with supervised(second):
        assert second.process == process
        assert rig.said == [f"Envoy of gateway default/default still runs (process {pid(second)}): taken over"]
        assert b"200 OK" in await rig.call()
        # One that is not our child is restarted as well.
        os.kill(pid(second), signal.SIGKILL)

        async def restarted() -> None:
            assert second.process not in (None, process)

        await rig.until(restarted, "a new Envoy")
    assert rig.left() is None


async def test_one_that_was_started_otherwise_is_replaced(rig: Rig, release: asyncio.Event) -> None:
    release.set()
    first = rig.supervisor()
    await first.begin()
    await rig.ready()
    process = first.process
    assert process is not None
    second = rig.supervisor(rig.launch(other="bootstrap"))
    async with supervised(second):
        assert not process.alive()
        assert second.process is not None
        await rig.ready()
        assert "was started otherwise than is now asked for: replaced" in rig.said[0]


async def test_a_reused_process_id_is_left_alone(rig: Rig) -> None:
    """The record of an earlier run names a process id that somebody else has now."""
    bystander = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        found = identify(bystander.pid)
        assert found is not None
        launch = rig.launch()
        launch.directory.mkdir()
        earlier = {**found.to_json(), "started": found.started - 1}
        launch.record_file.write_text(json.dumps({"process": earlier, "fingerprint": launch.fingerprint()}))
        supervisor = rig.supervisor(launch)
        async with supervised(supervisor):
            assert pid(supervisor) != bystander.pid
        assert found.alive()
    finally:
        bystander.kill()
        await bystander.wait()


async def test_calls_in_flight_finish_and_no_new_ones_begin(rig: Rig, release: asyncio.Event) -> None:
    supervisor = rig.supervisor()
    await supervisor.begin()
    task = asyncio.create_task(supervisor.run())
    await rig.ready()
    call = asyncio.create_task(rig.call())

    async def in_flight() -> None:
        stats = await ask(rig.directory / "admin.sock", "/stats?filter=http.headgate.downstream_rq_active")
        assert "downstream_rq_active: 1" in stats

    await rig.until(in_flight, "the call to be in flight")
    stopping = asyncio.create_task(supervisor.stop())

    async def refused() -> None:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", rig.port)

    async def attempt() -> None:
        try:
            await refused()
        except BaseException as error:
            raise AssertionError from error

    await rig.until(attempt, "new connections to be refused")
    assert not call.done()
    assert not stopping.done()
    release.set()
    assert b"200 OK" in await call
    async with asyncio.timeout(5):
        await stopping
        await task
    assert rig.left() is None


async def test_a_call_that_never_ends_does_not_hold_up_the_end(rig: Rig) -> None:
    supervisor = rig.supervisor(pace=Pace(drain=0.3, terminate=3.0))
    await supervisor.begin()
    await rig.ready()
    call = asyncio.create_task(rig.call())

    async def in_flight() -> None:
        stats = await ask(rig.directory / "admin.sock", "/stats?filter=http.headgate.downstream_rq_active")
        assert "downstream_rq_active: 1" in stats

    await rig.until(in_flight, "the call to be in flight")
    process = supervisor.process
    async with asyncio.timeout(5):
        await supervisor.stop()
    assert process is not None
    assert not process.alive()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await call


async def test_a_taken_port_is_told_before_anything_starts(rig: Rig) -> None:
    taken = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", rig.port)
    async with taken:
        with pytest.raises(PortTaken) as raised:
            await rig.supervisor().begin()
    assert str(raised.value) == (
        f"can't listen on 127.0.0.1:{rig.port}: address already in use: stop what listens there, or choose another address "
        "(--listen, or the gateway's spec.listener)"
    )
    assert rig.left() is None


async def test_one_that_can_not_be_recorded_is_not_left_to_itself(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StateDirectory, "write", staticmethod(full))
    supervisor = rig.supervisor()
    with pytest.raises(OSError, match="No space left"):
        await supervisor.begin()
    process = supervisor.process
    assert process is not None
    await supervisor.stop(drain=False)
    assert not process.alive()


async def test_the_log_does_not_grow_without_bound(rig: Rig) -> None:
    supervisor = rig.supervisor(pace=Pace(log_bytes=2000, log_check=0.02))
    async with supervised(supervisor):
        await rig.ready()
        log = supervisor.launch.log_file
        with log.open("ab") as file:
            file.write(b"early\n" * 1000)

        async def rotated() -> None:
            assert log.stat().st_size < 2000
            assert log.with_suffix(".log.1").stat().st_size == 2000

        await rig.until(rotated, "the log to be cut")
        with log.open("ab") as file:
            file.write(b"late\n")
        assert log.read_bytes().endswith(b"late\n")
        assert not log.read_bytes().startswith(b"\0")


def test_the_tail_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old\n" + "".join(f"line {n}\n" for n in range(20)))
    assert tail(log, 4, lines=2) == ["line 18", "line 19"]
    assert tail(log, log.stat().st_size) == []
    assert tail(tmp_path / "none", 0) == []


def test_which_envoy_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "my-envoy"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_envoy(str(program)) == program
    assert find_envoy().name == "envoy"
    with pytest.raises(NoEnvoy, match="--envoy /nowhere: there is no such program"):
        find_envoy("/nowhere")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoEnvoy, match=r"install headgate\[standalone\]"):
        find_envoy()
    program.rename(tmp_path / "envoy")
    assert find_envoy() == tmp_path / "envoy"
