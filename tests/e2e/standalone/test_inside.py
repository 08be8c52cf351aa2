"""A run within this process, for what only shows after hours or when something in it fails."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from harness import launch
from harness.headgate import Headgate
from harness.ports import free_port
from harness.processes import mentioning, wait_gone
from headgate.app.standalone import Options, Standalone
from headgate.app.tasks import BackgroundEnded
from headgate.model.snapshot import Settings
from headgate.standalone.launch import find_envoy
from headgate.standalone.state import StateDirectory


@pytest.fixture
def short() -> Iterator[Path]:
    """A state directory whose Envoys are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hg-") as name:
        yield Path(name)
        left = mentioning(f"{name}/")
        for process in left:
            process.kill()
        wait_gone(left)


class Run:
    def __init__(self, folder: Path, state: Path, **options: timedelta) -> None:
        port = free_port()
        settings = Settings(listen=("127.0.0.1", port), listen_address="127.0.0.1", implied_gateway=True)
        self.said: list[str] = []
        self.state = StateDirectory(state)
        self.standalone = Standalone(
            Options(folder, settings, self.state, find_envoy(), **options),  # type: ignore[arg-type]
            self.said.append,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.standalone.run())
        await self.until(lambda: "ready" in self.said or task.done(), "ready")
        try:
            yield task
        finally:
            if not task.done():
                os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(30):
                await asyncio.gather(task, return_exceptions=True)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        try:
            async with asyncio.timeout(30):
                while not condition():  # noqa: ASYNC110 - some of it is in files
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"waited in vain for {what}: {self.said}") from None


async def test_certificates_are_renewed_while_it_runs(tmp_path: Path, short: Path) -> None:
    # Certificates count from five minutes ago, and are renewed two thirds into their life: here after a second.
    run = Run(tmp_path, short, certificate_lifetime=timedelta(seconds=151.5))
    async with run.running():
        (identity,) = run.state.gateways.glob("*/identity/client.json")
        first, server = identity.read_bytes(), run.standalone._tls.current
        await run.until(lambda: identity.read_bytes() != first, "a new client certificate")
        assert run.standalone._tls.current is not server
        # An Envoy that starts now gets in with the new ones.
        (process,) = mentioning(f"{short}/")
        process.kill()
        await run.until(lambda: any("is started again" in line for line in run.said), "the restart")
        feedback = run.standalone._xds.feedback
        await run.until(lambda: not feedback("default/default").connected, "the old stream to end")
        await run.until(lambda: feedback("default/default").connected, "the new Envoy to connect")
    assert run.said[-1] == "stopped"
    assert mentioning(f"{short}/") == ()


async def test_a_task_that_ends_ends_the_run_and_leaves_envoy_serving(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path, short)
    async with run.running() as task:
        (envoy,) = mentioning(f"{short}/")
        monkeypatch.setattr(run.standalone._engine, "look", lambda: 1 / 0)
        run.standalone._engine.wake()
        async with asyncio.timeout(10):
            with pytest.raises(BaseExceptionGroup) as raised:
                await task
        assert raised.group_contains(ZeroDivisionError)
        assert envoy.alive()
        words = f"error: headgate failed; Envoy of gateway default/default (process {envoy.pid}) serves on; "
        assert any(line.startswith(words) for line in run.said)
    # The next run takes it over.
    again = Run(tmp_path, short)
    async with again.running():
        assert f"Envoy of gateway default/default still runs (process {envoy.pid}): taken over" in again.said[0]


async def test_a_first_compile_that_fails_starts_nothing(
    tmp_path: Path, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("headgate.app.engine.compile_snapshot", broken)
    run = Run(tmp_path, short)
    with pytest.raises(BackgroundEnded, match="the first compile failed"):
        await run.standalone.run()
    assert mentioning(f"{short}/") == ()


def test_when_nobody_reads_what_it_says_it_ends_in_order(runner: Headgate) -> None:
    run = ["run", "-f", str(runner.folder), "--listen", f"127.0.0.1:{runner.port}", "--state-dir", str(runner.state)]
    process = subprocess.Popen(
        [*launch.command(), *run],
        env=launch.environment({}, {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    while process.stdout.readline() != "ready\n":
        assert process.poll() is None
    process.stdout.close()
    (runner.folder / "one.yaml").unlink()
    assert process.wait(30) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
    assert wait_gone(mentioning(f"{runner.state}/")) == ()
